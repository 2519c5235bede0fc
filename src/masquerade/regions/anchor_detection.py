"""Detectors that give a box and points for each anchor of a square picture, as BlazeFace does.

Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs" (2019).
BlazePose's detector of people and the detector of palms are of this kind.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Array, nms
from masquerade.regions.litert import LiteRtNetwork, sigmoid

NMS_IOU = 0.3
Strides = tuple[tuple[int, int], ...]


class Found(NamedTuple):
    """What one anchor found, in pixels of the picture."""

    box: Array  # (4,): x0, y0, x1, y1
    points: Array  # (p, 2)
    score: float  # 0 to 1


@cache
def anchors(side: int, strides: Strides) -> Array:
    """(N, 2), the centres of the cells, in parts of the picture's side.

    `strides` are the cells' sides in pixels, each with its number of anchors a cell.
    """
    rows = []
    for stride, count in strides:
        cells = (np.arange(side // stride) + 0.5) / (side // stride)
        grid = np.stack(np.meshgrid(cells, cells), axis=-1)  # (h, w, 2)
        rows.append(np.repeat(grid.reshape(-1, 2), count, axis=0))
    return np.concatenate(rows)


def letterbox(
    pixels: NDArray[np.uint8], side: int, *, lowest: float, edge: float
) -> tuple[NDArray[np.float32], Array, float]:
    """A picture (h, w, 3) scaled into the middle of a square (side, side, 3), as a network sees it.

    Black becomes `lowest`, white 1, and what lies beside the picture `edge`. Also gives where its
    upper left corner lies (x, y), and how many pixels of the square one of the picture takes.
    """
    height, width = pixels.shape[:2]
    longest = max(height, width)
    size = max(1, round(width * side / longest)), max(1, round(height * side / longest))
    how = cv2.INTER_AREA if longest > side else cv2.INTER_LINEAR
    small = cv2.resize(pixels, size, interpolation=how)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    square = np.full((side, side, 3), edge, np.float32)
    levels = small * np.float32((1 - lowest) / 255) + np.float32(lowest)
    square[top : top + size[1], left : left + size[0]] = levels
    return square, np.array([left, top]), side / longest


class AnchorDetector:
    """A detector on anchors; an instance serves one thread at a time.

    Args:
        name: of the network, in `model_files.MODEL_FILES`.
        strides: of its anchors, see `anchors`.
        lowest: what it is given for black; white is 1.
        threshold: lowest score, 0 to 1.
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(
        self,
        name: str,
        *,
        strides: Strides,
        lowest: float,
        threshold: float,
        folder: Path | None = None,
    ) -> None:
        self.strides, self.lowest, self.threshold = strides, lowest, threshold
        self._network = LiteRtNetwork(name, folder=folder)

    def __call__(self, pixels: NDArray[np.uint8]) -> list[Found]:
        """What is in a picture (h, w, 3), best first; of those that overlap, the best."""
        side = self._network.side
        square, corner, scale = letterbox(pixels, side, lowest=self.lowest, edge=0)
        values, logits = self._network(square)
        scores = sigmoid(logits[:, 0])
        keep = scores >= self.threshold
        cells = anchors(side, self.strides)[keep, None]  # (n, 1, 2)
        # Centre, size and points; all but the size are told from the anchor.
        pairs = values.reshape(len(values), -1, 2)[keep].astype(np.float64)
        half, points = pairs[:, 1:2] / 2, pairs + cells * side  # (n, 1, 2), (n, 2 + p, 2)
        boxes = np.concatenate([points[:, :1] - half, points[:, :1] + half], axis=1) - corner
        points = (points[:, 2:] - corner) / scale
        rows = boxes.reshape(-1, 4) / scale
        order = nms(rows, scores[keep], NMS_IOU)
        return [Found(rows[i], points[i], float(scores[keep][i])) for i in order]

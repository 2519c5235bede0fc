"""Finds people in a frame, with the square in which the landmark network wants to see each.

The network is BlazePose's detector (Bazarevsky et al., "BlazePose: On-device real-time body pose
tracking", 2020), which predicts for each anchor of a 224 x 224 picture a box of the face and four
points: the middle of the hips, a point on the circle around the whole body, the middle of the
shoulders and a point on the circle around the upper body.
"""

from dataclasses import dataclass
from functools import cache
from math import atan2, cos, hypot, sin
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Array, nms
from masquerade.regions.litert import LiteRtNetwork, sigmoid

U8 = NDArray[np.uint8]
STRIDES = {8: 2, 16: 2, 32: 6}  # of the cells of the anchors, and anchors in each
REACH = 1.25  # half side of the square over the radius of the circle around the body
NMS_IOU = 0.3
SAME = 0.5  # distance of two squares' centres, in half sides, below which they are one person
SAME_SIZE = 1.6  # and ratio of their sides
TILE = 0.6  # side of a tile over the frame's, in both directions


@dataclass(frozen=True, slots=True)
class Square:
    """A turned square of a picture."""

    x: float  # its centre, in pixels
    y: float
    half: float  # half its side, in pixels
    angle: float  # radians by which its upward axis is turned clockwise from the picture's

    @classmethod
    def around(cls, centre: Array, rim: Array) -> "Square":
        """The square of a person with the hips at `centre`, whose circle goes through `rim`."""
        across, up = float(rim[0] - centre[0]), float(centre[1] - rim[1])
        half = REACH * max(hypot(across, up), 1.0)
        return cls(float(centre[0]), float(centre[1]), half, atan2(across, up))

    def matrix(self, side: int) -> Array:
        """(2, 3), from pixels of a crop (side, side) to pixels of the picture."""
        turned = 2 * self.half / side * self.axes()
        corner = np.array([self.x, self.y]) - turned.sum(axis=1) * side / 2
        return np.column_stack([turned, corner])

    def axes(self) -> Array:
        """(2, 2), the directions to the right and down of the square, as columns."""
        across, down = cos(self.angle), sin(self.angle)
        return np.array([[across, -down], [down, across]])

    def to_picture(self, points: NDArray[np.floating], side: int) -> Array:
        """(N, 2) in pixels of a crop (side, side), in pixels of the picture."""
        matrix = self.matrix(side)
        return np.asarray(points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2])

    def scaled(self, factor: float, x: float = 0.0, y: float = 0.0) -> "Square":
        """The same square in a picture that is `factor` larger, moved by (x, y)."""
        return Square(self.x * factor + x, self.y * factor + y, self.half * factor, self.angle)

    def same_person(self, other: "Square") -> bool:
        """Whether two squares are of one person, by place and size."""
        near = hypot(self.x - other.x, self.y - other.y) < SAME * min(self.half, other.half)
        ratio = self.half / other.half
        return near and 1 / SAME_SIZE < ratio < SAME_SIZE


def crop(pixels: U8, square: Square, side: int) -> U8:
    """(side, side, 3), what lies in a square of a picture (h, w, 3); black outside of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, square.matrix(side), (side, side), flags=flags))


@cache
def anchors(side: int) -> Array:
    """(N, 2), the centres of the cells, in parts of the picture's side."""
    rows = []
    for stride, count in STRIDES.items():
        cells = (np.arange(side // stride) + 0.5) / (side // stride)
        grid = np.stack(np.meshgrid(cells, cells), axis=-1)  # (h, w, 2)
        rows.append(np.repeat(grid.reshape(-1, 2), count, axis=0))
    return np.concatenate(rows)


class PoseDetector:
    """BlazePose's person detector; an instance serves one thread at a time.

    Args:
        threshold: lowest score, 0 to 1.
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(self, *, threshold: float = 0.3, folder: Path | None = None) -> None:
        self.threshold = threshold
        self._network = LiteRtNetwork("pose detection", folder=folder)

    def __call__(self, pixels: U8, *, tiles: bool = False) -> list[tuple[Square, float]]:
        """The squares and scores of the people in a picture (h, w, 3), best first.

        `tiles` looks also at four overlapping tiles, in which small people are larger.
        """
        found = self._detect(pixels)
        if tiles:
            height, width = pixels.shape[:2]
            h, w = round(TILE * height), round(TILE * width)
            for top in (0, height - h):
                for left in (0, width - w):
                    part = self._detect(pixels[top : top + h, left : left + w])
                    found += [(one.scaled(1, left, top), score) for one, score in part]
        kept: list[tuple[Square, float]] = []
        for square, score in sorted(found, key=lambda one: -one[1]):
            if not any(square.same_person(other) for other, _ in kept):
                kept.append((square, score))
        return kept

    def _detect(self, pixels: U8) -> list[tuple[Square, float]]:
        side = self._network.side
        height, width = pixels.shape[:2]
        scale = side / max(height, width)
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = cv2.resize(
            pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        )
        left, top = (side - size[0]) // 2, (side - size[1]) // 2
        boxed = np.zeros((side, side, 3), np.float32)  # 0 is the middle of its range
        boxed[top : top + size[1], left : left + size[0]] = small / np.float32(127.5) - 1
        values, logits = self._network(boxed)
        scores = sigmoid(logits[:, 0])
        kept = scores >= self.threshold
        scores, points = scores[kept], values[kept] / side  # (n, 12)
        cells = anchors(side)[kept]
        centre, half = points[:, :2] + cells, points[:, 2:4] / 2
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        out = []
        for i in nms(boxes, scores, NMS_IOU):
            hips, rim = ((points[i, k : k + 2] + cells[i]) * side for k in (4, 6))
            square = Square.around(hips, rim)
            out.append((square.scaled(1 / scale, -left / scale, -top / scale), float(scores[i])))
        return out

"""Finds people in a frame, with the square in which the landmark network wants to see each.

The network is BlazePose's detector (Bazarevsky et al., "BlazePose: On-device real-time body pose
tracking", 2020), which predicts for each anchor of a 224 x 224 picture a box of the face and four
points: the middle of the hips, a point on the circle around the whole body, the middle of the
shoulders and a point on the circle around the upper body.
"""

from dataclasses import dataclass
from math import atan2, cos, hypot, sin
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.regions.anchor_detection import AnchorDetector
from masquerade.regions.boxes import Array

STRIDES = ((8, 2), (16, 2), (32, 6))  # of the cells of the anchors, and anchors in each
REACH = 1.25  # half side of the square over the radius of the circle around the body
SAME = 0.5  # distance of two squares' centres, in half sides, below which they are one person
SAME_SIZE = 1.6  # and ratio of their sides


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
        up = rim - centre
        return cls.upright(centre, up, REACH * max(float(np.hypot(*up)), 1.0))

    @classmethod
    def upright(cls, centre: Array, up: Array, half: float) -> "Square":
        """The square around a centre in which a direction of the picture points up."""
        x, y = map(float, centre)
        return cls(x, y, half, atan2(float(up[0]), -float(up[1])))

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

    def scaled(self, factor: float) -> "Square":
        """The same square in a picture that is `factor` larger."""
        return Square(self.x * factor, self.y * factor, self.half * factor, self.angle)

    def same_person(self, other: "Square") -> bool:
        """Whether two squares are of one person, by place and size."""
        near = hypot(self.x - other.x, self.y - other.y) < SAME * min(self.half, other.half)
        ratio = self.half / other.half
        return near and 1 / SAME_SIZE < ratio < SAME_SIZE

    def touches(self, other: "Square") -> bool:
        """Whether the circles in two squares overlap."""
        return hypot(self.x - other.x, self.y - other.y) < self.half + other.half


def crop(pixels: U8, square: Square, side: int) -> U8:
    """(side, side, 3), what lies in a square of a picture (h, w, 3); black outside of it."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, square.matrix(side), (side, side), flags=flags))


class PoseDetector:
    """BlazePose's person detector; an instance serves one thread at a time.

    Args:
        threshold: lowest score, 0 to 1.
        folder: of the model files; None: the installed package.

    Raises:
        MissingError: LiteRT or the network is not installed.
    """

    def __init__(self, *, threshold: float = 0.3, folder: Path | None = None) -> None:
        self._network = AnchorDetector(
            "pose detection", strides=STRIDES, lowest=-1.0, threshold=threshold, folder=folder
        )

    def __call__(self, pixels: U8) -> list[tuple[Square, float]]:
        """The squares and scores of the people in a picture (h, w, 3), best first.

        Points 0 and 1 are the middle of the hips and the rim of the circle.
        """
        people: list[tuple[Square, float]] = []
        for detection in self._network(pixels):
            square = Square.around(detection.points[0], detection.points[1])
            if not any(square.same_person(known) for known, _ in people):
                people.append((square, detection.score))
        return people

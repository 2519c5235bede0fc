"""Places for the names of points in a plot, so that no name covers a point or another name.

Knows neither the page nor matplotlib: pixels in, pixels out, y down or up alike.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

DISTANCES = (8.0, 16.0, 26.0, 38.0, 52.0, 68.0, 86.0, 106.0)  # from the point, in pixels
ANGLES = (0.0, 0.35, -0.35, 2.84, -2.84, math.pi, 0.8, -0.8, 2.3, -2.3, 1.3, -1.3, 1.9, -1.9)
FAR = 12.0  # beyond this distance a line leads from the point to its name


class Box(NamedTuple):
    """A rectangle."""

    left: float
    low: float
    right: float
    high: float

    def overlap(self, other: "Box") -> float:
        """The area that two rectangles share."""
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.high, other.high) - max(self.low, other.low)
        return max(0.0, wide) * max(0.0, tall)


class Place(NamedTuple):
    """Where a name goes: the end of it that faces the point, half way up."""

    x: float
    y: float
    leftwards: bool  # whether the name ends there rather than begins
    far: bool  # whether a line should lead to it


def place_labels(
    points: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    area: Box,
    *,
    radius: float = 6.0,
) -> list[Place]:
    """A place for each point's name, the nearest that is free; else the one that covers least.

    Args:
        points: in pixels.
        sizes: (width, height) of each name.
        area: that names must lie in.
        radius: of what is drawn at the points.
    """
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    crowd = [sum(math.dist(a, b) < 40 for b in points) for a in points]
    places: dict[int, Place] = {}
    # who stands alone is placed first and keeps the nearest place; of a crowd the outer ones
    for index in sorted(range(len(points)), key=lambda i: (crowd[i], -points[i][1], points[i][0])):
        best: tuple[float, Place, Box] | None = None
        for far, angle in product(DISTANCES, ANGLES):
            place, box = _candidate(points[index], sizes[index], far, angle)
            outside = box.overlap(box) - box.overlap(area)
            covered = 10 * outside + sum(box.overlap(other) for other in taken)
            if best is None or covered < best[0] - 1e-9:
                best = (covered, place, box)
            if covered <= 0:
                break
        assert best is not None
        places[index] = best[1]
        taken.append(best[2])
    return [places[index] for index in range(len(points))]


def _candidate(
    point: tuple[float, float], size: tuple[float, float], far: float, angle: float
) -> tuple[Place, Box]:
    x, y = point[0] + far * math.cos(angle), point[1] + far * math.sin(angle)
    leftwards, half = math.cos(angle) < 0, size[1] / 2
    left = x - size[0] if leftwards else x
    return Place(x, y, leftwards, far > FAR), Box(left, y - half, left + size[0], y + half)

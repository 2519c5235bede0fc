"""Runs a face detector on the areas of a keyframe that changed, and keeps detections elsewhere.

Before a camera that stands still most of the picture is the same from frame to frame, and a network
that sees every pixel spends most of its time on walls. A face can only come where pixels change. So
the detector runs on the areas that changed, with a margin and with all of every detection that they
touch, and detections in the rest stay. It runs on the whole frame now and then: a face that it sees
in some frames only, by chance, counts as well.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box, scaled_box
from masquerade.regions.region import Frame, fit_size
from masquerade.regions.unchanged_frames import MAX_SKIPPED, averaged_copy, changed_cells

Detect = Callable[[Frame], list[Box]]
MARGIN = 0.1  # of a frame's longest side, which is detected in around what changed
LARGEST = 0.6  # share of a frame from which the detector runs on all of it
STEP = 32  # pixels of the grid that areas lie on, as CenterFace halves a picture five times
MOST_AREAS = 4


class Area(NamedTuple):
    """A rectangle in pixels: x0 <= x < x1, y0 <= y < y1."""

    x0: int
    y0: int
    x1: int
    y1: int

    def touches(self, other: "Area") -> bool:
        """Whether two rectangles share a pixel."""
        return max(self.x0, other.x0) < min(self.x1, other.x1) and max(self.y0, other.y0) < min(
            self.y1, other.y1
        )

    def joined(self, other: "Area") -> "Area":
        """The smallest rectangle around both."""
        return Area(
            min(self.x0, other.x0),
            min(self.y0, other.y0),
            max(self.x1, other.x1),
            max(self.y1, other.y1),
        )

    @property
    def pixels(self) -> int:
        """The number of pixels in the rectangle."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


@dataclass(frozen=True, slots=True)
class CroppedFrame:
    """A crop of a scaled frame, which detectors take as a frame of its own."""

    frame: Frame
    pixels: NDArray[np.uint8]  # (h, w, 3) of the copy
    area: Area  # in its pixels

    @property
    def width(self) -> int:
        """Pixels."""
        return self.area.x1 - self.area.x0

    @property
    def height(self) -> int:
        """Pixels."""
        return self.area.y1 - self.area.y0

    def rgb(self, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Return the RGB pixels (h, w, 3), scaled to `size` (w, h) if it is given."""
        left, top, right, bottom = self.area
        pixels = self.pixels[top:bottom, left:right]
        if size in (None, (self.width, self.height)):
            return np.ascontiguousarray(pixels)
        return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)

    def in_frame(self, box: Box) -> Box:
        """A box in this area as a box in the frame."""
        left, top = self.area.x0, self.area.y0
        in_copy = replace(box, x0=box.x0 + left, y0=box.y0 + top, x1=box.x1 + left, y1=box.y1 + top)
        height, width = self.pixels.shape[:2]
        return scaled_box(in_copy, (self.frame.width / width, self.frame.height / height))


@dataclass(slots=True)
class _Last:
    """The last detections in frames of one rotation, and the picture they were made in."""

    copy: NDArray[np.uint8]  # (h, w), each area as it was when the detector last ran on it
    boxes: list[Box]
    runs: int = 0  # since the last on the whole frame


class DetectInChangedAreas:
    """Runs a detector on areas of keyframes that changed, and repeats detections in the rest.

    Args:
        detect: what finds boxes in a frame, in a part of one, or in a rotated one, which is
            remembered apart.
        scale: what the detector fits frames into; see `fit_size`.
        most: keyframes in a row on which the detector does not run as a whole.
    """

    def __init__(
        self, detect: Detect, scale: tuple[int, int] | int | None = None, most: int = MAX_SKIPPED
    ) -> None:
        self._detect, self._scale, self._most = detect, scale, most
        self._last: dict[int, _Last] = {}  # by the frame's rotation

    def __call__(self, frame: Frame) -> list[Box]:
        """Return the boxes of the next keyframe."""
        angle, now = getattr(frame, "angle", 0), averaged_copy(frame, self._scale)
        last = self._last.get(angle)
        if last is None or last.runs >= self._most or last.copy.shape != now.shape:
            return self._detect_in_all(frame, angle, now)
        size = fit_size(frame, self._scale)
        areas = changed_areas(changed_cells(last.copy, now), frame, size, last.boxes)
        if areas is None:
            return self._detect_in_all(frame, angle, now)
        last.runs += 1
        if not areas:
            return list(last.boxes)
        copy, detected = frame.rgb(size), list[Box]()
        for area in areas:
            part = CroppedFrame(frame, copy, area)
            last.boxes = [box for box in last.boxes if not area.touches(_around(box, frame, size))]
            detected += [part.in_frame(box) for box in self._detect(part)]
            seen = _scaled(area, size, now.shape[::-1])
            inside = slice(seen.y0, seen.y1), slice(seen.x0, seen.x1)
            last.copy[inside] = now[inside]
        last.boxes += detected  # no detection of one area is left out for the next one
        return list(last.boxes)

    def _detect_in_all(self, frame: Frame, angle: int, now: NDArray[np.uint8]) -> list[Box]:
        boxes = self._detect(frame)
        self._last[angle] = _Last(now, list(boxes))
        return boxes


def changed_areas(
    cells: NDArray[np.bool_], frame: Frame, size: tuple[int, int], boxes: list[Box]
) -> list[Area] | None:
    """Return the areas to run the detector on, in a copy of `size` (w, h); None: the whole frame.

    Args:
        cells: (h, w), where the frame differs from what the detector last ran on.
        frame: whose pixels `boxes` are in.
        size: (w, h).
        boxes: detections, none of which is cut by an area.
    """
    if not cells.any():
        return []
    margin = round(MARGIN * max(size))
    _, _, stats, _ = cv2.connectedComponentsWithStats(cells.astype(np.uint8), connectivity=8)
    areas = [
        _grown(_scaled(Area(x, y, x + w, y + h), cells.shape[::-1], size), margin, size)
        for x, y, w, h, _ in stats[1:].tolist()
    ]
    unchanged = [_around(box, frame, size) for box in boxes]
    areas = _apart(areas, unchanged, size)
    if len(areas) > MOST_AREAS or sum(area.pixels for area in areas) > LARGEST * size[0] * size[1]:
        return None
    return areas


def _apart(areas: list[Area], boxes: list[Area], size: tuple[int, int]) -> list[Area]:
    """Rectangles that overlap neither each other nor a box that they do not hold wholly.

    Those that would are joined.
    """
    waiting, done = list(areas), list[Area]()
    while waiting:
        area = waiting.pop()
        for neighbour in [*done, *boxes]:
            if area.touches(neighbour) and area.joined(neighbour) != area:
                area = area.joined(neighbour)
        area = _grown(area, 0, size)
        if touched := [neighbour for neighbour in done if area.touches(neighbour)]:
            done = [neighbour for neighbour in done if neighbour not in touched]
            for neighbour in touched:
                area = area.joined(neighbour)
            waiting.append(area)
        elif any(area.touches(box) and area.joined(box) != area for box in boxes):
            waiting.append(area)
        else:
            done.append(area)
    return done


def _grown(area: Area, margin: int, size: tuple[int, int]) -> Area:
    """A rectangle with a margin, rounded outwards to multiples of STEP, inside a size (w, h)."""
    return Area(
        max(0, (area.x0 - margin) // STEP * STEP),
        max(0, (area.y0 - margin) // STEP * STEP),
        min(size[0], -(-(area.x1 + margin) // STEP) * STEP),
        min(size[1], -(-(area.y1 + margin) // STEP) * STEP),
    )


def _scaled(area: Area, before: tuple[int, ...], after: tuple[int, ...]) -> Area:
    """A rectangle scaled from one picture size (w, h) to another, rounded outwards."""
    x, y = after[0] / before[0], after[1] / before[1]
    return Area(
        int(area.x0 * x), int(area.y0 * y), int(np.ceil(area.x1 * x)), int(np.ceil(area.y1 * y))
    )


def _around(box: Box, frame: Frame, size: tuple[int, int]) -> Area:
    """A detected box with a margin of a quarter, in pixels of a copy of size (w, h)."""
    box = scaled_box(box, (size[0] / frame.width, size[1] / frame.height))
    more_x, more_y = box.width / 4, box.height / 4
    return Area(
        max(0, int(box.x0 - more_x)),
        max(0, int(box.y0 - more_y)),
        min(size[0], int(np.ceil(box.x1 + more_x))),
        min(size[1], int(np.ceil(box.y1 + more_y))),
    )

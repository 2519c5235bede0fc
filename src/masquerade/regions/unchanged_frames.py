"""Skips a detector on frames that look like the last one that it was run on.

Before a camera that stands still, in a room where nobody moves, every frame shows the same. Frames
are compared with the last one that was detected in, not with the one before, so that slow movement
adds up. Small cells are averaged, so that a camera's noise is no change and a small face is one.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.region import Frame, fit_size

Found = TypeVar("Found")

SIDE = 320  # longest side in pixels of the copies that are compared, at least
REDUCTION = 2  # from what a detector sees to its copy, at most, so that a small face is a change
CELL = 5  # side in their pixels of the cells that are averaged
CHANGE = 6  # grey levels, of 255, by which no cell may differ
MAX_SKIPPED = 8  # runs in a row that are left out, so that what is seen in few frames counts
MAX_SKIPPED_FRAMES = 27  # between two runs, however far apart keyframes are; at 24 frames a second
# that is about a second, and of a slower video, of which more frames are keyframes, up to 9 runs


class SkipUnchangedFrames(Generic[Found]):
    """Runs a detector on keyframes that changed, and repeats its last detections in others.

    Args:
        detect: what finds something in a frame, or in a rotated one, which is remembered apart.
        scale: what the detector fits frames into; see `fit_size`.
        most: runs in a row that are left out.
    """

    def __init__(
        self,
        detect: Callable[[Frame], Found],
        scale: tuple[int, int] | int | None = None,
        most: int = MAX_SKIPPED,
    ) -> None:
        self._detect, self._scale, self._most = detect, scale, most
        self._last: dict[int, tuple[NDArray[np.uint8], Found, int]] = {}  # by rotation

    def __call__(self, frame: Frame) -> Found:
        """Return the detections of the next keyframe: new ones, or the last ones if it is alike."""
        angle, now = getattr(frame, "angle", 0), averaged_copy(frame, self._scale)
        if angle in self._last:
            before, boxes, left_out = self._last[angle]
            if left_out < self._most and _alike(before, now):
                self._last[angle] = before, boxes, left_out + 1
                return boxes
        boxes = self._detect(frame)
        self._last[angle] = now, boxes, 0
        return boxes


def most_left_out(every: int) -> int:
    """How many runs may be left out in a row where keyframes are `every` frames apart."""
    return min(MAX_SKIPPED, max(0, MAX_SKIPPED_FRAMES // every - 1))


def averaged_copy(frame: Frame, scale: tuple[int, int] | int | None) -> NDArray[np.uint8]:
    """A small grey copy in which each pixel is the mean of its cell, for a detector's `scale`."""
    small = frame.rgb(fit_size(frame, max(SIDE, max(fit_size(frame, scale)) // REDUCTION)))
    return np.asarray(cv2.blur(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), (CELL, CELL)), np.uint8)


def changed_cells(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The cells (h, w) in which two averaged copies of one size differ by CHANGE or more."""
    return np.asarray(cv2.absdiff(before, now) >= CHANGE)


def _alike(before: NDArray[np.uint8], now: NDArray[np.uint8]) -> bool:
    return before.shape == now.shape and not changed_cells(before, now).any()

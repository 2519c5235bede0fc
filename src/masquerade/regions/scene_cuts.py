"""Scene cut detection from thumbnails of consecutive frames.

A missed cut holds a box a few frames too long; a false cut ends a track and may uncover a face. So
three criteria must agree: the colour histogram changes, the pixels change, and the pattern of light
and dark changes. A flash changes only the first two, a fast pan only the last two.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.region import Frame

THUMBNAIL = (64, 36)
BINS = 8  # of the histogram, per channel
MIN_HISTOGRAM_DISTANCE = 0.45  # total variation, 0 to 1
MIN_PIXEL_CHANGE = 20.0  # mean absolute change, of 255
MAX_CORRELATION = 0.5  # of the grey thumbnails


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The small copy (36, 64, 3) of RGB pixels (h, w, 3) that `is_cut` compares."""
    height, width = pixels.shape[:2]
    if (width, height) == THUMBNAIL:
        return pixels
    large = height >= 4 * THUMBNAIL[1] and width >= 4 * THUMBNAIL[0]
    if large and not (height % 2 or width % 2):
        # squares of four first, which OpenCV averages fast
        half = width // 2, height // 2
        pixels = np.asarray(cv2.resize(pixels, half, interpolation=cv2.INTER_AREA), np.uint8)
    return np.asarray(cv2.resize(pixels, THUMBNAIL, interpolation=cv2.INTER_AREA), np.uint8)


MarkedFrame = tuple[Frame, bool]
"""A frame, and whether a scene cut lies before it."""


def is_cut(before: NDArray[np.uint8] | None, after: NDArray[np.uint8]) -> bool:
    """Whether a scene cut lies between two consecutive frames, given as thumbnails (36, 64, 3).

    `before` is None at the start of a video, which is no cut.
    """
    if before is None:
        return False
    change = np.abs(after.astype(np.int16) - before).mean()
    if change < MIN_PIXEL_CHANGE:
        return False
    distance = np.abs(_histogram(after) - _histogram(before)).sum() / 2
    return bool(distance > MIN_HISTOGRAM_DISTANCE and _correlation(before, after) < MAX_CORRELATION)


def mark_cuts(frames: Iterable[Frame]) -> Iterator[MarkedFrame]:
    """Each frame, and whether a scene cut lies before it."""
    before = None
    for frame in frames:
        after = thumbnail(frame.rgb(THUMBNAIL))
        yield frame, is_cut(before, after)
        before = after


def _histogram(small: NDArray[np.uint8]) -> NDArray[np.float64]:
    cells = small.reshape(-1, 3).astype(np.intp) // (256 // BINS)
    index = (cells[:, 0] * BINS + cells[:, 1]) * BINS + cells[:, 2]
    return np.bincount(index, minlength=BINS**3) / len(index)


def _correlation(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    a, b = (x.mean(axis=2) - x.mean() for x in (before, after))
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0

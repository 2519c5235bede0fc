"""Scene cuts, from thumbnails of the frames, one at a time.

A cut missed lets a box stay a few frames too long; a cut invented ends a track and may bare a
face. So three signs must agree: another distribution of colours, another picture, and another
pattern of light and dark. A flash changes the first two only, a fast pan the last two.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL = (64, 36)
BINS = 8
COLOURS = 0.45  # least distance of two colour histograms, 0 to 1
CHANGE = 20.0  # least mean change of a pixel, of 255
LIKENESS = 0.5  # most correlation of two grey pictures


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The small copy that cuts are told from, (36, 64, 3).

    Args:
        pixels: (h, w, 3) RGB of any size.
    """
    size = THUMBNAIL if pixels.shape[:2] != THUMBNAIL[::-1] else None
    small = pixels if size is None else cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def is_cut(before: NDArray[np.uint8] | None, after: NDArray[np.uint8]) -> bool:
    """Whether a scene cut lies between two frames that follow each other.

    Args:
        before: thumbnail of the first, (36, 64, 3); None at a video's start, which is no cut.
        after: thumbnail of the second.
    """
    if before is None:
        return False
    change = np.abs(after.astype(np.int16) - before).mean()
    if change < CHANGE:
        return False
    colours = np.abs(_histogram(after) - _histogram(before)).sum() / 2
    return bool(colours > COLOURS and _likeness(before, after) < LIKENESS)


def _histogram(small: NDArray[np.uint8]) -> NDArray[np.float64]:
    cells = small.reshape(-1, 3).astype(np.intp) // (256 // BINS)
    index = (cells[:, 0] * BINS + cells[:, 1]) * BINS + cells[:, 2]
    return np.bincount(index, minlength=BINS**3) / len(index)


def _likeness(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> float:
    a, b = (x.mean(axis=2) - x.mean() for x in (before, after))
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / scale) if scale > 0 else 0.0

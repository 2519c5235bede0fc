"""Boxes that hide all of a region when `--regions boxes:FILE` reads them, for `--export-boxes`.

Templates give maps of strengths, silhouettes reach beyond boxes or have none, and some sources hide
whole frames; a file holds boxes alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from masquerade.regions.boxes import Box, Source, box_pixels
from masquerade.regions.masks import WHOLE_LABELS, Mask, binary
from masquerade.regions.region import Region


def exported_boxes(region: Region, *, width: int, height: int) -> tuple[Box, ...]:
    """Return the boxes of a region, and boxes around what it hides without one.

    Args:
        region: of a frame.
        width: of the frame, in pixels.
        height: of the frame, in pixels.
    """
    source: Source = "detected" if region.detected else "interpolated"
    boxes = list(region.boxes)
    if region.full_frame and not any(box.label == "frame" for box in boxes):
        boxes.append(Box(0, 0, width, height, 1.0, source=source, label="frame"))
    if region.mask is not None:
        beyond = (region.mask > 0) * np.uint8(255)
        for box in boxes:
            if box.label in WHOLE_LABELS:
                beyond[box_pixels(box)] = 0
        # of a person, which is scaled as the mask is
        boxes += _boxes_around(beyond, source, "person")
    if region.strength is not None:
        boxes += _boxes_around(region.strength, source, "template")
    return tuple(boxes)


def _boxes_around(mask: Mask, source: Source, label: str) -> Iterator[Box]:
    """A box around each connected part of what is hidden by half or more."""
    if not cv2.countNonZero(mask):
        return
    _, _, parts, _ = cv2.connectedComponentsWithStats(binary(mask), connectivity=8)
    for x, y, wide, high, _ in parts[1:].tolist():  # the first one is what is not hidden
        yield Box(x, y, x + wide, y + high, 1.0, source=source, label=label)

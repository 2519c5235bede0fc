"""Boxes that hide all of a region when `--regions boxes:FILE` reads them, for `--export-boxes`.

Templates give maps of strengths, and other sources hide whole frames; a file holds boxes alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2

from masquerade.regions.boxes import Box, Source
from masquerade.regions.masks import Mask, binary
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
    if region.strength is not None:
        boxes += _boxes_around(region.strength, source)
    return tuple(boxes)


def _boxes_around(strength: Mask, source: Source) -> Iterator[Box]:
    """A box around each connected part of what is hidden by half or more."""
    _, _, parts, _ = cv2.connectedComponentsWithStats(binary(strength), connectivity=8)
    for x, y, wide, high, _ in parts[1:].tolist():  # the first one is what is not hidden
        yield Box(x, y, x + wide, y + high, 1.0, source=source, label="template")

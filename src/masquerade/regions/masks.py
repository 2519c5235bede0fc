"""Boxes and silhouettes to a mask: how far each pixel of a frame is to be hidden."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, sqrt
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box

Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]
Shape = Literal["ellipse", "box", "silhouette"]
ROUND = sqrt(2) / 1.3  # at a margin of 1.3 the ellipse goes through the corners of the box
OUTLINED = 0.15  # a box with less silhouette than this share of its area is drawn as a box


def rasterize(
    boxes: Iterable[Box],
    *,
    width: int,
    height: int,
    shape: Shape = "ellipse",
    margin: float = 1.3,
    feather: float = 0,
    mask: Mask | None = None,
    strength: Mask | None = None,
    ignore: Mask | None = None,
) -> Mask:
    """Draw what is to be hidden: (H, W), 255 hides a pixel, 0 leaves it exactly as it is.

    Args:
        boxes: what to cover, in pixels.
        width: pixels across, W.
        height: pixels down, H.
        shape: `ellipse` (at the default margin it goes through the corners of the box, which is
            what chins and foreheads need), `box`, or `silhouette` where there is one and the box
            where there is none.
        margin: factor on a box's width and height, about its centre; a silhouette grows alike.
        feather: pixels over which the edge fades. It fades outwards only: inside it is all 255.
        mask: (H, W) silhouette, nonzero on it.
        strength: (H, W), 0 to 255, hides besides, as it is: neither grown nor made hard.
        ignore: (H, W), zero where everything is to be ignored: nothing is hidden there.
    """
    out = np.zeros((height, width), np.uint8)
    outline = mask if shape == "silhouette" else None
    if outline is not None:
        out = _outline(outline, margin, feather)
    for box in boxes:
        if outline is None or _share(outline, box) < OUTLINED:
            round_ = shape == "ellipse" and box.label != "frame"
            _draw(out, box, ROUND * margin if round_ else margin, feather, round_=round_)
    if strength is not None:
        np.maximum(out, strength, out=out)
    if ignore is not None:
        out[ignore == 0] = 0
    return out


def _draw(out: Mask, box: Box, factor: float, feather: float, *, round_: bool) -> None:
    """Draw one box into a mask, touching only the pixels about it."""
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    a, b = factor * box.width / 2, factor * box.height / 2
    height, width = out.shape
    left, right = max(0, floor(x - a - feather)), min(width, ceil(x + a + feather))
    top, bottom = max(0, floor(y - b - feather)), min(height, ceil(y + b + feather))
    if left >= right or top >= bottom:
        return
    # Distances are of a pixel's nearest point, so that a pixel that is touched is covered.
    dx = np.maximum(np.abs(np.arange(left, right, dtype=np.float32) + 0.5 - x) - 0.5, 0)[None]
    dy = np.maximum(np.abs(np.arange(top, bottom, dtype=np.float32) + 0.5 - y) - 0.5, 0)[:, None]
    reach = (dx / a) ** 2 + (dy / b) ** 2 if round_ else np.maximum(dx / a, dy / b)
    level = np.asarray(reach, np.float32)  # (h, w), 1 on the edge
    part = out[top:bottom, left:right]
    part[level <= 1] = 255
    if feather > 0:
        beyond = _beyond_ellipse(dx, dy, level) if round_ else _beyond_box(dx, dy, a, b)
        np.maximum(part, _faded(beyond, feather), out=part)


def _beyond_ellipse(dx: Floats, dy: Floats, level: Floats) -> Floats:
    """Pixels from an ellipse's edge along the ray from its centre; 0 inside."""
    return np.sqrt(dx**2 + dy**2) * (1 - 1 / np.sqrt(np.maximum(level, 1)))


def _beyond_box(dx: Floats, dy: Floats, a: float, b: float) -> Floats:
    """Pixels from a box's edge; 0 inside."""
    return np.hypot(np.maximum(dx - a, 0), np.maximum(dy - b, 0))


def _faded(beyond: Floats, feather: float) -> Mask:
    if feather <= 0:
        return np.where(beyond <= 0, np.uint8(255), np.uint8(0))
    return np.rint(255 * (1 - beyond / feather).clip(0, 1)).astype(np.uint8)


def _share(outline: Mask, box: Box) -> float:
    """How much of a box lies on the silhouette, 0 to 1."""
    height, width = outline.shape
    inside = box.clipped(width, height)
    if inside is None:
        return 1.0
    part = outline[floor(inside.y0) : ceil(inside.y1), floor(inside.x0) : ceil(inside.x1)]
    return float(np.count_nonzero(part)) / part.size


def _outline(outline: Mask, margin: float, feather: float) -> Mask:
    """A silhouette, wider by what the margin gives a part of a tenth of the frame's height."""
    wider = max(0.0, margin - 1) / 2 * outline.shape[0] / 10
    free = np.where(outline == 0, np.uint8(255), np.uint8(0))
    if not free.any():
        return ~free
    if free.all():
        return np.zeros_like(outline)
    away = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return _faded(np.maximum(away - wider, 0), feather)


def ellipses(
    boxes: Iterable[Box],
    *,
    part: tuple[float, float, float],
    frame: tuple[int, int],
    size: tuple[int, int],
) -> Mask:
    """An ellipse in each box, on a copy of another size: (h, w), 255 inside.

    Args:
        boxes: in pixels of the frame.
        part: the ellipse's width, top and bottom in parts of its box.
        frame: (W, H).
        size: (w, h) of the copy.
    """
    out = np.zeros((size[1], size[0]), np.uint8)
    across, down = size[0] / frame[0], size[1] / frame[1]
    wide, top, bottom = part
    for box in boxes:
        x, y = (box.x0 + box.x1) / 2 * across, (box.y0 + (top + bottom) / 2 * box.height) * down
        axes = wide / 2 * box.width * across, (bottom - top) / 2 * box.height * down
        cv2.ellipse(out, (round(x), round(y)), _whole(axes), 0, 0, 360, 255, cv2.FILLED)
    return out


def _whole(axes: tuple[float, float]) -> tuple[int, int]:
    return max(1, round(axes[0])), max(1, round(axes[1]))

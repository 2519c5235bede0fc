"""Rasterization: boxes and silhouettes become a mask of how far to hide each pixel."""

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
ELLIPSE = sqrt(2) / 1.3  # at a scale of 1.3 the ellipse goes through the corners of the box
ROUNDING = 1e-4  # of distances, so that a pixel that is just touched is covered
MIN_SILHOUETTE = 0.15  # share of a box; with less silhouette than this it is drawn as a box
OUTLINED_LABELS = ("person", "hand", "part")
"""Labels of boxes whose silhouettes are in the mask that the same region source gives."""
SIZED_LABELS = ("drawn", "template")
"""Labels of boxes as large as what they hide: drawn by hand, or around what templates hid."""
WHOLE_LABELS = (*OUTLINED_LABELS, *SIZED_LABELS, "text", "frame")
"""Labels of boxes that are hidden to their corners, which an ellipse at a small scale is not."""


def rasterize(
    boxes: Iterable[Box],
    *,
    width: int,
    height: int,
    shape: Shape = "ellipse",
    scale: float,
    feather: float = 0,
    mask: Mask | None = None,
    strength: Mask | None = None,
) -> Mask:
    """Draw a mask, (H, W): 255 hides a pixel, 0 leaves it exactly as it is.

    Args:
        boxes: what to cover, in pixels.
        width: W, in pixels.
        height: H, in pixels.
        shape: `ellipse` (at a scale of 1.3 through the corners of the box, as chins and
            foreheads need), `box`, or `silhouette`, which leaves out boxes of people and hands
            whose silhouettes are in the mask, and draws all others.
        scale: factor on a box's width and height, about its centre; a silhouette grows alike.
        feather: pixels over which the edge fades, outwards only: inside all is 255.
        mask: (H, W) silhouettes, nonzero on them; hidden whatever the shape.
        strength: (H, W), 0 to 255, a soft mask added unchanged: neither grown nor thresholded.
    """
    out = np.zeros((height, width), np.uint8)
    if mask is not None:
        out = _grow_silhouette(mask, scale, feather)
    for box in drawn_boxes(boxes, shape=shape, mask=mask):
        if box.label in (*SIZED_LABELS, "frame"):
            own = 1.0 if box.label in SIZED_LABELS else scale
            _draw(out, box, own, feather, ellipse=False)
            continue
        # A silhouette may lack a face that was detected beside it. One that lies beside them all is
        # hidden as wide as its box, and as high as faces alone are.
        face = shape == "silhouette" and box.label == "face"
        if shape == "ellipse" or face:
            _draw(out, box, ELLIPSE * scale, feather, ellipse=True)
        if (shape != "ellipse" or box.label in WHOLE_LABELS) and not (face and covers(mask, box)):
            _draw(out, box, scale, feather, ellipse=False)
    if strength is not None:
        np.maximum(out, strength, out=out)
    return out


def drawn_boxes(boxes: Iterable[Box], *, shape: str, mask: Mask | None) -> list[Box]:
    """The boxes that are drawn into a mask: all but those whose silhouettes are in it already.

    Args:
        boxes: of a region.
        shape: as of `rasterize`.
        mask: (H, W) silhouettes of the region; None: it has none.
    """
    if shape != "silhouette" or mask is None:
        return list(boxes)
    return [box for box in boxes if box.always_drawn or not is_outlined(box, mask)]


def is_outlined(box: Box, mask: Mask) -> bool:
    """Whether a box needs no drawing, as its source's silhouettes (H, W) show what is in it."""
    # The box of a part holds what is to stay visible.
    return box.label == "part" or (box.label in OUTLINED_LABELS and covers(mask, box))


def covers(mask: Mask | None, box: Box) -> bool:
    """Whether silhouettes (H, W) cover 15 % of a box or more."""
    return mask is not None and _silhouette_share(mask, box) >= MIN_SILHOUETTE


def _draw(out: Mask, box: Box, factor: float, feather: float, *, ellipse: bool) -> None:
    """Draw one box into a mask, touching only the pixels around it."""
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
    reach = (dx / a) ** 2 + (dy / b) ** 2 if ellipse else np.maximum(dx / a, dy / b)
    level = np.asarray(reach, np.float32)  # (h, w), 1 on the edge
    part = out[top:bottom, left:right]
    part[level <= 1 + ROUNDING] = 255
    if feather > 0:
        if ellipse:  # distance from the edge along the ray from the centre
            outside = np.sqrt(dx**2 + dy**2) * (1 - 1 / np.sqrt(np.maximum(level, 1)))
        else:
            outside = np.hypot(np.maximum(dx - a, 0), np.maximum(dy - b, 0))
        np.maximum(part, _fade(outside, feather), out=part)


def _fade(distance: Floats, feather: float) -> Mask:
    """255 up to distance 0, fading to 0 over `feather` pixels."""
    if feather <= 0:
        return (distance <= 0) * np.uint8(255)  # twenty times as fast as numpy's `where`
    return np.rint(255 * (1 - distance / feather).clip(0, 1)).astype(np.uint8)


def _silhouette_share(silhouette: Mask, box: Box) -> float:
    """How much of a box lies on the silhouette, 0 to 1."""
    height, width = silhouette.shape
    inside = box.clip(width, height)
    if inside is None:
        return 1.0
    part = silhouette[floor(inside.y0) : ceil(inside.y1), floor(inside.x0) : ceil(inside.x1)]
    return float(np.count_nonzero(part)) / part.size


def _grow_silhouette(silhouette: Mask, scale: float, feather: float) -> Mask:
    """Dilate a silhouette by what `scale` adds to a tenth of the frame's height, and feather it."""
    radius = max(0.0, scale - 1) / 2 * silhouette.shape[0] / 10
    out = np.zeros_like(silhouette)
    x, y, wide, high = cv2.boundingRect(silhouette)
    if not wide:
        return out
    # Distances are computed where they are needed alone: this is half of all work on a mask.
    reach = ceil(radius + feather) + 1
    rows = slice(max(0, y - reach), y + high + reach)
    columns = slice(max(0, x - reach), x + wide + reach)
    free = (silhouette[rows, columns] == 0) * np.uint8(255)
    if not free.any():
        out[rows, columns] = 255
        return out
    distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    out[rows, columns] = _fade(distance - radius, feather)
    return out


def resize_mask(mask: Mask, width: int, height: int) -> Mask:
    """A mask at another size, (height, width), 255 where half of a pixel or more is covered."""
    return binary(cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR))


def binary(levels: object) -> Mask:
    """255 where a level of 0 to 255 is above 127, else 0."""
    return np.asarray((np.asarray(levels) > 127) * np.uint8(255), np.uint8)


def draw_ellipses(
    boxes: Iterable[Box],
    *,
    part: tuple[float, float, float],
    frame: tuple[int, int],
    size: tuple[int, int],
) -> Mask:
    """An ellipse in each box, on a scaled copy of the frame: (h, w), 255 inside.

    `part` is its width, top and bottom in parts of its box. Boxes are in pixels of the frame, whose
    size is (W, H); the copy's is (w, h).
    """
    out = np.zeros((size[1], size[0]), np.uint8)
    across, down = size[0] / frame[0], size[1] / frame[1]
    wide, top, bottom = part
    for box in boxes:
        x, y = (box.x0 + box.x1) / 2 * across, (box.y0 + (top + bottom) / 2 * box.height) * down
        axes = wide / 2 * box.width * across, (bottom - top) / 2 * box.height * down
        axes_px = max(1, round(axes[0])), max(1, round(axes[1]))
        cv2.ellipse(out, (round(x), round(y)), axes_px, 0, 0, 360, 255, cv2.FILLED)
    return out


def share_inside(a: Mask, b: Mask) -> float:
    """How much of silhouette a lies in silhouette b, 0 to 1."""
    own = a > 0
    return float((b[own] > 0).mean()) if own.any() else 1.0

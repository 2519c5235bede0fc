"""Alpha blending that methods share: the rewritten frame over its source, weighted by the mask."""

from collections.abc import Callable

import cv2
import numpy as np
from torch import Tensor

from masquerade.arrays import U8


def blend(clip: Tensor, rewritten: Tensor, mask: Tensor | None) -> Tensor:
    """clip + mask (rewritten - clip), all (B, C, T, H, W); exact where the mask is 0 or 1."""
    return rewritten if mask is None else clip.lerp(rewritten, mask)


def bounds(mask: U8, *, step: int = 1) -> tuple[slice, slice] | None:
    """The rows and columns that hold all of a mask (H, W), in whole squares of `step` pixels."""
    if not mask.any():
        return None
    x, y, width, height = cv2.boundingRect(mask)
    bottom, right = -(-(y + height) // step) * step, -(-(x + width) // step) * step
    rows, columns = mask.shape
    return slice(y // step * step, min(bottom, rows)), slice(x // step * step, min(right, columns))


def blend_bytes(frame: U8, rewritten: U8, mask: U8) -> U8:
    """Blend bytes: round(frame + mask / 255 (rewritten - frame)) of (H, W, 3) under (H, W).

    Where everything is hidden it is `rewritten` itself, no copy.
    """
    if mask.min() == 255:
        return rewritten
    if not cv2.countNonZero(cv2.inRange(mask, 1, 254)):  # in a fiftieth of the time
        return np.asarray(cv2.copyTo(rewritten, mask, frame.copy()), np.uint8)
    alpha = cv2.merge((mask, mask, mask)).astype(np.uint16)
    # + 127 rounds to nearest, and is exact at both ends
    total = frame * (255 - alpha) + rewritten * alpha + 127
    return (total // 255).astype(np.uint8)


def rewrite_regions(
    frames: U8,
    rewrite: Callable[[U8], U8],
    *,
    mask: U8 | None,
    step: int = 1,
    full_frame: bool = False,
) -> U8:
    """Rewrite frames (T, H, W, 3) where the mask (T, H, W) is not 0, and nothing else.

    `rewrite` is given the bounding box of the mask, (h, w, 3), with edges on multiples of `step`;
    or the full frame, for methods whose output depends on where a crop starts.
    """
    if mask is None:
        if len(frames) == 1:  # the usual case, without a copy
            return rewrite(frames[0])[None]
        return np.stack([rewrite(frame) for frame in frames])
    out = frames.copy()
    for result, frame, hidden in zip(out, frames, mask, strict=True):
        part = bounds(hidden, step=step)
        if part is not None:
            new = rewrite(frame)[part] if full_frame else rewrite(np.ascontiguousarray(frame[part]))
            result[part] = blend_bytes(frame[part], new, hidden[part])
    return out

"""How a rewritten frame is laid over its source: fully at `where` 255, not at all at 0."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

U8 = NDArray[np.uint8]


def laid_over(clip: Tensor, rewritten: Tensor, where: Tensor | None) -> Tensor:
    """lerp(clip, rewritten, where): bit-exact at both ends. All (B, C, T, H, W)."""
    return rewritten if where is None else clip.lerp(rewritten, where)


def bounds(where: U8, *, step: int = 1) -> tuple[slice, slice] | None:
    """The rows and columns of (H, W) that hold all of `where`, on a grid of `step`."""
    if not where.any():
        return None
    x, y, width, height = cv2.boundingRect(where)
    bottom, right = -(-(y + height) // step) * step, -(-(x + width) // step) * step
    return slice(y // step * step, bottom), slice(x // step * step, right)


def mix(frame: U8, rewritten: U8, where: U8) -> U8:
    """round(frame + where / 255 (rewritten - frame)) of (H, W, 3) under (H, W)."""
    alpha = cv2.merge((where, where, where)).astype(np.uint16)
    # 255 = 0 in this sum's error: exact at both ends, nearest in between
    total = frame * (255 - alpha) + rewritten * alpha + 127
    return (total // 255).astype(np.uint8)


def over_frames(
    frames: U8, rewrite: Callable[[U8], U8], *, where: U8 | None, step: int = 1, whole: bool = False
) -> U8:
    """Rewrite each frame (T, H, W, 3) where `where` (T, H, W) is not 0, touching nothing else.

    Args:
        rewrite: (h, w, 3) -> (h, w, 3), of the part of a frame that is hidden.
        step: the part starts and ends on multiples of it (or at the frame's edge).
        whole: `rewrite` is given the whole frame instead.
    """
    if where is None:
        if len(frames) == 1:  # the usual case, without a copy
            return rewrite(frames[0])[None]
        return np.stack([rewrite(frame) for frame in frames])
    out = frames.copy()
    for result, frame, mask in zip(out, frames, where, strict=True):
        part = bounds(mask, step=step)
        if part is not None:
            new = rewrite(frame)[part] if whole else rewrite(np.ascontiguousarray(frame[part]))
            result[part] = mix(frame[part], new, mask[part])
    return out

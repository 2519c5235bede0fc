"""How a rewritten frame is laid over its source: fully at `mask` 255, not at all at 0."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

U8 = NDArray[np.uint8]


def laid_over(clip: Tensor, rewritten: Tensor, mask: Tensor | None) -> Tensor:
    """lerp(clip, rewritten, mask): bit-exact at both ends. All (B, C, T, H, W)."""
    return rewritten if mask is None else clip.lerp(rewritten, mask)


def bounds(mask: U8, *, step: int = 1) -> tuple[slice, slice] | None:
    """The rows and columns of (H, W) that hold all of `mask`, on a grid of `step`."""
    if not mask.any():
        return None
    x, y, width, height = cv2.boundingRect(mask)
    bottom, right = -(-(y + height) // step) * step, -(-(x + width) // step) * step
    return slice(y // step * step, bottom), slice(x // step * step, right)


def mix(frame: U8, rewritten: U8, mask: U8) -> U8:
    """round(frame + mask / 255 (rewritten - frame)) of (H, W, 3) under (H, W)."""
    alpha = cv2.merge((mask, mask, mask)).astype(np.uint16)
    # 255 = 0 in this sum's error: exact at both ends, nearest in between
    total = frame * (255 - alpha) + rewritten * alpha + 127
    return (total // 255).astype(np.uint8)


def over_frames(
    frames: U8, rewrite: Callable[[U8], U8], *, mask: U8 | None, step: int = 1, whole: bool = False
) -> U8:
    """Rewrite each frame (T, H, W, 3) where `mask` (T, H, W) is not 0, touching nothing else.

    Args:
        rewrite: (h, w, 3) -> (h, w, 3), of the part of a frame that is hidden.
        step: the part starts and ends on multiples of it (or at the frame's edge).
        whole: `rewrite` is given the whole frame instead.
    """
    if mask is None:
        if len(frames) == 1:  # the usual case, without a copy
            return rewrite(frames[0])[None]
        return np.stack([rewrite(frame) for frame in frames])
    out = frames.copy()
    for result, frame, hidden in zip(out, frames, mask, strict=True):
        part = bounds(hidden, step=step)
        if part is not None:
            new = rewrite(frame)[part] if whole else rewrite(np.ascontiguousarray(frame[part]))
            result[part] = mix(frame[part], new, hidden[part])
    return out

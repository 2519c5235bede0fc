"""Mask mean: the chosen regions become one flat colour, their own mean in that frame.

The masking baseline of Ilic et al. (CVPR 2024, section 4.1), which fills segmented people. Keeps
one colour per frame, the mean of clothing and skin.
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.arrays import U8
from masquerade.methods.blend import blend, blend_bytes, bounds


class MaskMean(Anonymizer):
    """Fill everything, or the chosen regions, with their mean colour in each frame."""

    dynamic_size = True
    framewise = True
    card = Card(
        hides="everything in the region but its mean colour; its outline stays",
        undo="no: one colour per frame is left of the region",
        needs="nothing",
        paper="masking baseline of Ilic et al. CVPR 2024",
    )

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        wide = torch.promote_types(clip.dtype, torch.float32)  # sums of halves overflow
        weight = clip.new_ones(1).expand(clip[:, :1].shape) if mask is None else mask
        weight = weight.to(wide)
        total = weight.sum((-2, -1), keepdim=True).clamp(min=1e-6)
        mean = (clip * weight).sum((-2, -1), keepdim=True) / total  # (B, 3, T, 1, 1)
        mean = mean.to(clip.dtype)
        return Anonymized(blend(clip, mean.expand_as(clip), mask), mask)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        if mask is None:
            means = [cv2.mean(frame)[:3] for frame in frames]
            flat = np.rint(means).astype(np.uint8)[:, None, None]  # (T, 1, 1, 3)
            return np.broadcast_to(flat, frames.shape).copy(), None
        out = frames.copy()
        for i, (frame, hidden) in enumerate(zip(frames, mask, strict=True)):
            part = bounds(hidden)
            if part is not None:
                # float32, added row by row, stands still beyond 2^24 and loses what follows
                inside = frame[part].reshape(-1, 3).astype(np.float64)
                weight = hidden[part].reshape(-1).astype(np.float64)
                mean = weight @ inside / weight.sum()
                flat = np.broadcast_to(mean.round().astype(np.uint8), frame[part].shape)
                out[i][part] = blend_bytes(frame[part], flat, hidden[part])
        return out, None

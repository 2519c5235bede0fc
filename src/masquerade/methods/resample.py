"""Area-averaging resize on tensors, as cv2.INTER_AREA does it on images, on any device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def area_weights(size: int, target: int) -> Tensor:
    """(target, size): how much of each input pixel lies in each output pixel; rows sum to 1."""
    edges = torch.arange(target + 1, dtype=torch.float64) * size / target
    left = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], left + 1) - torch.maximum(edges[:-1, None], left)
    return (overlap.clamp(min=0) * target / size).float()


def area_resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Shrink (..., H, W) to (..., height, width), every pixel weighing alike."""
    rows = area_weights(frames.shape[-2], height).to(frames)
    columns = area_weights(frames.shape[-1], width).to(frames)
    return rows @ frames @ columns.T


def resized(clip: Tensor, size: Sequence[int], shown: Tensor | None = None) -> Tensor:
    """(B, C, T, H, W) to (B, C, T, *size), antialiased where it shrinks.

    Args:
        clip: frames.
        size: rows and columns.
        shown: (B, 1, T, H, W) of 0 or 1; each pixel is the mean over shown ones alone. Were the
            others mixed in, the rim of what is shown would tell of what is not.
    """
    if shown is not None:
        return resized(clip * shown, size) / resized(shown, size).clamp(min=1e-4)
    if tuple(clip.shape[3:]) == tuple(size):
        return clip
    batch, channels, frames = clip.shape[:3]
    flat = clip.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
    flat = F.interpolate(flat, size=tuple(size), mode="bilinear", antialias=True)
    return flat.reshape(batch, frames, channels, *size).transpose(1, 2)

"""Area-averaging resize on tensors, as cv2.INTER_AREA does it on images, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


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

"""What a kernel machine measures of what it is shown."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

BINS = 6  # of each colour


def picture(seen: Tensor) -> Tensor:
    """The mean frame, coarse."""
    return F.adaptive_avg_pool2d(seen.mean(dim=2), (14, 18)).flatten(1)


def course(seen: Tensor) -> Tensor:
    """Every frame, coarser."""
    return F.adaptive_avg_pool3d(seen, (seen.shape[2], 7, 9)).flatten(1)


def colours(seen: Tensor) -> Tensor:
    """How often each of 6 x 6 x 6 colours occurs, as its square root."""
    bins = (seen * BINS).long().clamp(max=BINS - 1).flatten(2)  # (B, 3, T * H * W)
    codes = (bins[:, 0] * BINS + bins[:, 1]) * BINS + bins[:, 2]
    counts = torch.zeros(len(seen), BINS**3).scatter_add_(1, codes, torch.ones(codes.shape))
    return (counts / codes.shape[1]).sqrt()


FEATURES: dict[str, Callable[[Tensor], Tensor]] = {
    "picture": picture,
    "course": course,
    "colours": colours,
}
"""(B, C, T, H, W) of a look to (B, D)."""

"""Gradient reversal (Ganin & Lempitsky, ICML 2015): the same step as a negated loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class _Reversed(torch.autograd.Function):
    """What goes in comes out; its gradient comes back negated."""

    @staticmethod
    def forward(ctx: Any, clip: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return clip.view_as(clip)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.weight * gradient, None


def reversed_gradient(clip: Tensor, weight: float) -> Tensor:
    """The clip as it is, whose gradient is multiplied by minus `weight` on its way back."""
    return _Reversed.apply(clip, weight)  # type: ignore[no-untyped-call]

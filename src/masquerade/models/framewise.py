"""A network of single frames over a clip of any size, the network working at its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LONG = 4  # times the short side that the long one may be inside

Rewrite = Callable[[Tensor], Tensor]
"""(N, 3, h, w) to the same, in [0, 1]."""


def one_by_one(rewrite: Rewrite, clip: Tensor, *, short: int) -> Tensor:
    """(B, 3, T, H, W) frame by frame: what one becomes does not depend on how many come with it.

    Args:
        rewrite: the network.
        clip: of any size.
        short: the shorter side in pixels at which the network works.
    """
    frames = torch.split(clip.transpose(1, 2).flatten(0, 1), 1)
    return _clips(torch.cat([_rewritten(rewrite, frame, short) for frame in frames]), like=clip)


def together(rewrite: Rewrite, clip: Tensor, *, short: int) -> Tensor:
    """The same for all frames at once, for training.

    Args:
        rewrite: as above.
        clip: as above.
        short: as above.
    """
    frames = clip.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
    return _clips(_rewritten(rewrite, frames, short), like=clip)


def inner_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) at which the network sees a frame; its shape stays, unless it is a strip."""
    scale, most = short / min(height, width), LONG * short
    return min(round(height * scale), most), min(round(width * scale), most)


def carried_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) of what the output can really carry."""
    tall, wide = inner_size(height, width, short)
    return min(height, tall), min(width, wide)


def _rewritten(rewrite: Rewrite, frames: Tensor, short: int) -> Tensor:
    height, width = frames.shape[-2:]
    inner = _resized(frames.float(), inner_size(height, width, short))
    return _resized(rewrite(inner), (height, width)).clamp(0, 1).to(frames.dtype)


def _clips(frames: Tensor, *, like: Tensor) -> Tensor:
    """(B * T, 3, H, W) to (B, 3, T, H, W)."""
    return torch.stack(torch.split(frames, like.shape[2])).transpose(1, 2)


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    if frames.shape[-2:] == size:
        return frames
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True)

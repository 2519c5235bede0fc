"""Run an image network on each frame of a clip of any size, at the network's own working size."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ASPECT = 4  # the longer side is at most this many times the shorter one at the working size

ImageTransform = Callable[[Tensor], Tensor]
"""(N, 3, h, w) to the same, in [0, 1]."""


def transform_frames(
    transform: ImageTransform, clip: Tensor, *, short: int, batched: bool = False
) -> Tensor:
    """Transform (B, 3, T, H, W) frame by frame, so that no frame's result depends on the others.

    `short` is the shorter side in pixels at which the network works; `batched` gives it all frames
    in one batch, for training and for a graph of any number of frames.
    """
    # Contiguous, as resizing rounds otherwise where the strides are those of more frames.
    frames = clip.transpose(1, 2).flatten(0, 1).contiguous()  # (B * T, 3, H, W)
    parts = [frames] if batched else torch.split(frames, 1)
    out = torch.cat([_transform(transform, part, short) for part in parts])
    return out.reshape(clip.shape[0], clip.shape[2], *out.shape[1:]).transpose(1, 2)


def resize_clip(clip: Tensor, size: Sequence[int], *, antialias: bool = True) -> Tensor:
    """Resize (B, C, T, H, W) to (B, C, T, *size), bilinearly; never in half precision."""
    if tuple(clip.shape[3:]) == tuple(size):
        return clip
    batch, channels, frames = clip.shape[:3]
    flat = clip.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
    flat = flat.float() if flat.dtype in (torch.float16, torch.bfloat16) else flat
    flat = F.interpolate(flat, size=tuple(size), mode="bilinear", antialias=antialias)
    return flat.reshape(batch, frames, channels, *size).transpose(1, 2)


def working_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) at which the network reads a frame: the same aspect, unless it is a strip."""
    scale, most = short / min(height, width), MAX_ASPECT * short
    return min(round(height * scale), most), min(round(width * scale), most)


def effective_size(height: int, width: int, short: int) -> tuple[int, int]:
    """(height, width) of the detail that the output can have."""
    working_height, working_width = working_size(height, width, short)
    return min(height, working_height), min(width, working_width)


def _transform(transform: ImageTransform, frames: Tensor, short: int) -> Tensor:
    height, width = frames.shape[-2:]
    small = _resize(frames.float(), working_size(height, width, short))
    return _resize(transform(small).float(), (height, width)).clamp(0, 1).to(frames.dtype)


def _resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    if frames.shape[-2:] == size:
        return frames
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True)

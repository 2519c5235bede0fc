"""Several views of one clip, windows in time or a mirror image, whose predictions are averaged."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.datasets.augmentation import mirror
from masquerade.datasets.clip_sampling import evenly_spaced, middle_crop
from masquerade.errors import UsageError
from masquerade.extraction.dataset import cut_windows


@dataclass(frozen=True, kw_only=True)
class Views:
    """Which views of a clip a network is shown."""

    times: int = 1  # windows, with starts evenly spaced over the stored frames
    crop: float = 1.0  # side of a middle square as a share of the shorter side; 1: the whole frame
    size: int | None = None  # side in pixels that crops are resized to; None: they stay as they are
    # a still, whose frames are all alike, is shown as the whole frame in place of the crop; it
    # needs a size, so that both are as large
    whole_stills: bool = False
    mirror: bool = False  # the mirror image of each too


ONE_VIEW = Views()


def random_windows(
    clips: Tensor, frames: int | None, generator: torch.Generator, *, step: int = 1
) -> Tensor:
    """Return a random window of `frames` frames of each (C, T, H, W); None: all.

    They start at every `step`-th frame: where that is `frames`, at a stored window's first.
    """
    starts = window_starts(len(clips), clips.shape[2], frames, generator, step=step)
    if starts is None or frames is None:
        return clips
    return cut_windows(clips, starts, frames)


def window_starts(
    count: int, held: int, frames: int | None, generator: torch.Generator, *, step: int = 1
) -> Tensor | None:
    """(B,) where `random_windows` begins in clips of `held` frames; None: they are whole."""
    room = _room(held, frames)
    return step * torch.randint(room // step + 1, (count,), generator=generator) if room else None


def iterate_views(clips: Tensor, views: Views, *, frames: int | None = None) -> Iterator[Tensor]:
    """Yield every view of (B, C, T, H, W) clips, each (B, C, frames, h, w)."""
    if views.whole_stills and views.size is None:
        raise UsageError("Whole stills and crops of videos are one batch where both have a size.")
    length = clips.shape[2] if frames is None else frames
    stills = (clips == clips[:, :, :1]).flatten(1).all(1) if views.whole_stills else None
    for start in evenly_spaced(_room(clips.shape[2], frames), views.times):
        window = part = clips[:, :, start : start + length]
        if views.crop != 1:
            height, width = window.shape[-2:]
            side = round(views.crop * min(height, width))
            y, x = middle_crop(height, width, side)
            part = window[..., y : y + side, x : x + side]
        if views.size is not None:
            part = _resized(part, views.size)
            if stills is not None and stills.any():
                part[stills] = _resized(window[stills], views.size)
        yield part
        if views.mirror:
            yield mirror(part)


def _resized(clips: Tensor, size: int) -> Tensor:
    """A copy of clips, of size x size pixels and in [0, 1]."""
    frames = clips.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
    frames = frames.float() / 255 if clips.dtype == torch.uint8 else frames.clone()
    if frames.shape[-2:] != (size, size):
        frames = F.interpolate(frames, (size, size), mode="bilinear", antialias=True)
    return frames.reshape(len(clips), -1, *frames.shape[1:]).transpose(1, 2)


def _room(held: int, frames: int | None) -> int:
    if frames is not None and not 1 <= frames <= held:
        raise UsageError(f"A window of {frames} frames does not fit clips of {held}.")
    return 0 if frames is None else held - frames

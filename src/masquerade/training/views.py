"""Several views of one clip, windows in time and crops in space, whose predictions are averaged."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.datasets.augmentation import mirror
from masquerade.datasets.clip_sampling import crops, evenly_spaced
from masquerade.errors import UsageError
from masquerade.extraction.dataset import cut_windows


@dataclass(frozen=True, kw_only=True)
class Views:
    """Which views of a clip a network is shown."""

    times: int = 1  # windows, with starts evenly spaced over the stored frames
    places: int = 1  # square crops, evenly spaced along the longer side
    crop: float = 1.0  # side as a share of the shorter side; 1 and one place: the frame as it is
    size: int | None = None  # side in pixels that crops are resized to; None: they stay as they are
    # a still, whose frames are all alike, is shown as the whole frame in place of each crop; it
    # needs a size, so that both are as large
    whole_stills: bool = False
    mirror: bool = False  # the mirror image of each too


ONE_VIEW = Views()
PAPER_VIEWS = Views(times=5, places=3)
"""5 clips x 3 crops, as VideoMAE does and STPrivacy says (docs/papers.md 1.11)."""


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
        window = clips[:, :, start : start + length]
        parts = [window]
        if views.places > 1 or views.crop != 1:
            height, width = window.shape[-2:]
            side = round(views.crop * min(height, width))
            corners = crops(height, width, side, number=views.places)
            parts = [window[..., y : y + side, x : x + side] for y, x in corners]
        for part in parts:
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

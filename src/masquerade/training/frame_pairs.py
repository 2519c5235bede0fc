"""Two frames, or two runs of frames, of one clip: the positive pairs of a contrastive adversary."""

from dataclasses import dataclass

import torch
from torch import Tensor

from masquerade.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The distance in the video of the two frames of a pair (SPAct's sampler; docs/papers.md 2.5).

    They are taken from frames that are extracted for them alone, since the clips that networks see
    are shorter than some gaps, or spread over a video of any length.
    """

    least: int = 1  # frames of the video, at least
    most: int | None = None  # at most; None: any
    frames: int  # extracted from each video
    stride: int | None  # frames of the video from one of them to the next; None: over all of it

    def __post_init__(self) -> None:
        if self.stride is None and (self.least, self.most) != (1, None):
            raise UsageError("A gap with a least or most distance needs a stride.")
        low, high = self.steps
        if self.least < 1 or not low <= high < self.frames:
            raise UsageError("A gap needs frames enough to hold two that are so far apart.")

    @property
    def steps(self) -> tuple[int, int]:
        """Return the least and the most, counted in the extracted frames."""
        reach = self.frames - 1
        if self.stride is None:
            return 1, reach
        most = reach if self.most is None else min(self.most // self.stride, reach)
        return -(-self.least // self.stride), most


FAR = Gap(least=65, frames=9, stride=13)
NEAR = Gap(most=7, frames=8, stride=1)
FREE = Gap(frames=16, stride=None)
GAPS: dict[str, Gap] = {"free": FREE, "far": FAR, "near": NEAR}
"""SPAct, table 6: any two frames of the video, more than 64 frames apart, fewer than 8."""


def frame_pairs(
    clip: Tensor, generator: torch.Generator, gap: Gap | None = None
) -> tuple[Tensor, Tensor]:
    """Draw a pair of frames from each clip, in random order: two tensors (B, 3, 1, H, W).

    With a gap, clips have `gap.frames` frames, and what repeats the last one is left out; of a clip
    of one frame both are the same.
    """
    count, frames = clip.shape[0], clip.shape[2]
    # Two different frames where there are two: a frame paired with itself makes the task trivial.
    low, high = (min(1, frames - 1), frames - 1) if gap is None else gap.steps
    shown = torch.full((count,), frames) if gap is None else frames_on_grid(clip, gap)
    shown = shown.clamp(min=low + 1)  # of a video that is too short, the nearest to what is asked
    highest = (shown - 1).clamp(max=high)
    steps = low + (torch.rand(count, generator=generator) * (highest - low + 1)).long()
    # From 0 to shown - 1 - step.
    first = (torch.rand(count, generator=generator) * (shown - steps)).long()
    swapped = torch.rand(count, generator=generator) < 0.5
    a, b = torch.where(swapped, first + steps, first), torch.where(swapped, first, first + steps)
    rows = torch.arange(count)
    return clip[rows, :, a][:, :, None], clip[rows, :, b][:, :, None]


def frames_on_grid(clips: Tensor, gap: Gap) -> Tensor:
    """Count the frames (B,) of clips (B, C, T, H, W) that are the gap's stride apart.

    Where a video ends before, its last frame is repeated. With a stride above 1 the first of these
    is nearer to the frame before it, which cannot be seen: the last that differs does not count.
    """
    count, frames = clips.shape[0], clips.shape[2]
    if gap.stride is None:
        return torch.full((count,), frames)
    same = (clips[:, :, 1:] == clips[:, :, :-1]).transpose(1, 2).flatten(2).all(2)  # (B, T - 1)
    repeated = same.flip(1).long().cumprod(1).sum(1).cpu()
    return frames - repeated - int(gap.stride > 1)


def segment_pairs(clip: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return two different runs of frames, (B, 3, T // 2, H, W), for adversaries of motion."""
    half = max(1, clip.shape[2] // 2)
    starts = clip.shape[2] - half + 1
    first, second = (torch.randperm(starts, generator=generator).tolist() * 2)[:2]
    return clip[:, :, first : first + half], clip[:, :, second : second + half]

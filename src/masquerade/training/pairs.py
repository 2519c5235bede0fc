"""Two views of one clip, by which a self-supervised adversary recognizes it again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from masquerade.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far apart in the video the two frames of a pair lie (SPAct's sampler; FACTS 2.5).

    They are taken from frames that are read for them alone, since the clips that networks see are
    shorter than some gaps, or spread over a video of any length.

    Args:
        least: frames of the video, at least.
        most: at most; None: any.
        frames: that are read of each video.
        stride: frames of the video from one of them to the next.
    """

    least: int = 1
    most: int | None = None
    frames: int
    stride: int

    def __post_init__(self) -> None:
        low, high = self.steps
        if self.least < 1 or not low <= high < self.frames:
            raise UsageError("A gap needs two frames as far apart among those that it reads.")

    @property
    def steps(self) -> tuple[int, int]:
        """The least and the most, counted in the frames that are read."""
        reach = self.frames - 1
        most = reach if self.most is None else min(self.most // self.stride, reach)
        return -(-self.least // self.stride), most


FAR = Gap(least=65, frames=8, stride=13)
NEAR = Gap(most=7, frames=8, stride=1)
GAPS: dict[str, Gap | None] = {"free": None, "far": FAR, "near": NEAR}
"""SPAct's table 6: any two frames of a clip, more than 64 frames apart, fewer than 8."""


def frame_pairs(clip: Tensor, draw: torch.Generator, gap: Gap | None = None) -> tuple[Tensor, ...]:
    """Two frames of each clip, in either order.

    Args:
        clip: (B, 3, T, H, W); with T = 1 both are the same. With a gap its T = gap.frames.
        draw: on the CPU.
        gap: how far apart; None: any two.

    Returns:
        Twice (B, 3, 1, H, W).
    """
    count, frames = clip.shape[0], clip.shape[2]
    # Two different frames where there are two: a frame beside itself teaches nothing.
    low, high = (min(1, frames - 1), frames - 1) if gap is None else gap.steps
    steps = torch.randint(low, high + 1, (count,), generator=draw)
    first = (torch.rand(count, generator=draw) * (frames - steps)).long()  # 0 to frames - 1 - step
    turned = torch.rand(count, generator=draw) < 0.5
    a, b = torch.where(turned, first + steps, first), torch.where(turned, first, first + steps)
    rows = torch.arange(count)
    return tuple(clip[rows, :, at][:, :, None] for at in (a, b))


def segment_pairs(clip: Tensor, draw: torch.Generator) -> tuple[Tensor, ...]:
    """Two different runs of frames, each half of the clip, for an adversary that sees motion.

    Args:
        clip: (B, 3, T, H, W), T of at least 2; one frame is both runs.
        draw: on the CPU.

    Returns:
        Twice (B, 3, T // 2, H, W).
    """
    half = max(1, clip.shape[2] // 2)
    starts = clip.shape[2] - half + 1
    first, second = (torch.randperm(starts, generator=draw).tolist() * 2)[:2]
    return tuple(clip[:, :, at : at + half] for at in (first, second))

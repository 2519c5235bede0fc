"""Two views of one clip, by which a self-supervised adversary recognizes it again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far apart in the video the two frames of a pair lie (SPAct's sampler; FACTS 2.5).

    Args:
        least: frames of the video, at least.
        most: at most; None: any.
    """

    least: int = 0
    most: int | None = None

    def steps(self, frames: int, stride: int) -> tuple[int, int]:
        """The same in frames of a clip, from, to; a clip that is too short gives what it has.

        Args:
            frames: T of the clip.
            stride: frames of the video from one to the next.
        """
        low = min(-(-self.least // stride), frames - 1)
        high = frames - 1 if self.most is None else min(self.most // stride, frames - 1)
        # Two different frames where there are two: a frame beside itself teaches nothing.
        low = max(low, min(1, frames - 1))
        return low, max(low, high)


FREE = Gap()
FAR = Gap(least=65)
NEAR = Gap(most=7)
GAPS = {"free": FREE, "far": FAR, "near": NEAR}
"""SPAct's table 6: unconstrained, more than 64 frames, fewer than 8."""


def frame_pairs(clip: Tensor, gap: Gap, stride: int, draw: torch.Generator) -> tuple[Tensor, ...]:
    """Two frames of each clip, in either order.

    Args:
        clip: (B, 3, T, H, W); with T = 1 both are the same.
        gap: how far apart.
        stride: frames of the video from one frame of the clip to the next.
        draw: on the CPU.

    Returns:
        Twice (B, 3, 1, H, W).
    """
    count, frames = clip.shape[0], clip.shape[2]
    low, high = gap.steps(frames, stride)
    steps = torch.randint(low, high + 1, (count,), generator=draw)
    first = (torch.rand(count, generator=draw) * (frames - steps)).long()  # 0 to frames - 1 - step
    turned = torch.rand(count, generator=draw) < 0.5
    a, b = torch.where(turned, first + steps, first), torch.where(turned, first, first + steps)
    rows = torch.arange(count)
    return tuple(clip[rows, :, at][:, :, None] for at in (a, b))


def segment_pairs(clip: Tensor, draw: torch.Generator) -> tuple[Tensor, ...]:
    """Two runs of frames, each half of the clip, for an adversary that sees motion.

    Args:
        clip: (B, 3, T, H, W), T of at least 2.
        draw: on the CPU.

    Returns:
        Twice (B, 3, T // 2, H, W).
    """
    half = max(1, clip.shape[2] // 2)
    starts = torch.randint(clip.shape[2] - half + 1, (2,), generator=draw).tolist()
    return tuple(clip[:, :, at : at + half] for at in starts)

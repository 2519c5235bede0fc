"""The UNet that rewrites frames in SPAct (Dave et al., CVPR 2022, 3.1), with bilinear upsampling.

17,267,523 parameters at width 64, for three channels in and out (FACTS 2.1).
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DoubleConv(nn.Sequential):
    """Two 3 x 3 convolutions, each with a batch norm and a ReLU.

    Args:
        width_in: channels in.
        width: channels out.
        middle: channels in between; None: as out.
    """

    def __init__(self, width_in: int, width: int, *, middle: int | None = None) -> None:
        middle = middle or width
        super().__init__(
            nn.Conv2d(width_in, middle, 3, padding=1),
            nn.BatchNorm2d(middle),
            nn.ReLU(inplace=True),
            nn.Conv2d(middle, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )


class Halving(nn.Module):
    """Stages of frames, each at half the size of the one before: any size from 16 pixels on.

    Args:
        width: channels of the first stage; the others have two, four, eight and eight times that.
        halvings: stages after the first, 1 to 4.
    """

    def __init__(self, *, width: int, halvings: int = 4) -> None:
        super().__init__()
        self.widths = [width, 2 * width, 4 * width, 8 * width, 8 * width][: halvings + 1]
        self.enter = DoubleConv(3, width)
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(self.widths))

    def stages(self, frames: Tensor) -> list[Tensor]:
        """(B, width, H, W) and so on, halved; the fifth is (B, 8 width, H // 16, W // 16).

        Args:
            frames: (B, 3, H, W).
        """
        found = [self.enter(frames)]
        for step in self.down:
            found.append(step(F.max_pool2d(found[-1], 2)))
        return found


class UNet(Halving):
    """Frames (B, 3, H, W) to (B, 3, H, W), unbounded; any size from 16 pixels on.

    Args:
        width: as in `Halving`.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__(width=width)
        # Each step takes what came up and, as wide, what comes across.
        self.up = nn.ModuleList(
            DoubleConv(2 * across, out, middle=across)
            for across, out in zip(
                self.widths[-2::-1], [4 * width, 2 * width, width, width], strict=True
            )
        )
        self.leave = nn.Conv2d(width, 3, 1)

    def forward(self, frames: Tensor) -> Tensor:
        # Twice as quick on a CPU, where these channels are few.
        found = self.stages(frames.contiguous(memory_format=torch.channels_last))
        x = found.pop()
        for step, across in zip(self.up, reversed(found), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = step(torch.cat([across, _padded(x, across)], dim=1))
        return self.leave(x)


def _padded(x: Tensor, like: Tensor) -> Tensor:
    """Halving drops an odd row or column; it comes back as zeros."""
    tall, wide = like.shape[-2] - x.shape[-2], like.shape[-1] - x.shape[-1]
    return F.pad(x, [wide // 2, wide - wide // 2, tall // 2, tall - tall // 2])

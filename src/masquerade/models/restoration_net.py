"""A small U-shaped network that restores frames from what an anonymizer left of them.

Its output is the published frame plus what it learned to add (a residual, as in DnCNN, Zhang et
al., IEEE Transactions on Image Processing 2017), so that before it is trained it changes nothing.
Every second row and column is a channel of its own (as in FFDNet, Zhang et al., ibid. 2018), which
makes it fast on a CPU.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

INPUTS = 6  # channels: the frame, and the mean of the frames around it
STEP = 2  # pixels a side of the squares whose pixels are channels
WIDTHS = 24, 32, 32  # channels at half, a quarter and an eighth of the frame's size
SLOPE = 0.1  # of what is below 0: units that are cut off there do not come back in a short training


class RestorationNet(nn.Module):
    """Frames and the mean of their neighbours, (B, 6, H, W), to restored frames (B, 3, H, W).

    Any size from 8 pixels on; values are in [0, 1], and the output is not clamped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.enter = _block(INPUTS * STEP**2, WIDTHS[0])
        self.down = nn.ModuleList(_block(a, b) for a, b in pairwise(WIDTHS))
        self.up = nn.ModuleList(_block(a + b, a) for a, b in reversed(list(pairwise(WIDTHS))))
        self.leave = nn.Conv2d(WIDTHS[0], 3 * STEP**2, 3, padding=1)
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        whole = F.pad(frames, [0, width % STEP, 0, height % STEP], mode="replicate")
        stages = [self.enter(F.pixel_unshuffle(whole, STEP))]
        for step in self.down:
            stages.append(step(F.avg_pool2d(stages[-1], 2, ceil_mode=True)))
        x = stages.pop()
        for step, skip in zip(self.up, reversed(stages), strict=True):
            x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = step(torch.cat([skip, x], dim=1))
        added = F.pixel_shuffle(self.leave(x), STEP)[..., :height, :width]
        return frames[:, :3] + added


def _block(width_in: int, width: int) -> nn.Sequential:
    """Two 3 x 3 convolutions, without a norm: the mean brightness of a frame is to be kept."""
    first, second = nn.Conv2d(width_in, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
    return nn.Sequential(first, nn.LeakyReLU(SLOPE), second, nn.LeakyReLU(SLOPE))

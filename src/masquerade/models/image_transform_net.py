"""The image transformation network of Johnson et al. (ECCV 2016), VITA's and ALF's anonymizer.

A 9 x 9 convolution, two of stride 2, residual blocks, two transposed ones of stride 2 and a last
9 x 9 one, each with an instance norm and without bias: 1,677,638 parameters (docs/papers.md 4).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.building_blocks import conv2d

EPS = 1e-3


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width, 3), _conv(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.relu(self.first(x)))


class ImageTransformNet(nn.Module):
    """Frames (B, 3, H, W) to (B, 3, H, W) in [0, 1]; any size from 8 pixels on.

    `widths` are channels at full, half and quarter size, `blocks` residual blocks at quarter size.
    """

    def __init__(self, *, widths: tuple[int, int, int] = (32, 64, 128), blocks: int = 5) -> None:
        super().__init__()
        a, b, c = widths
        self.enter = _conv(3, a, 9)
        self.down = nn.ModuleList([_conv(a, b, 3, stride=2), _conv(b, c, 3, stride=2)])
        self.blocks = nn.Sequential(*[ResidualBlock(c) for _ in range(blocks)])
        self.up = nn.ModuleList([_upsample(c, b), _upsample(b, a)])
        self.leave = _conv(a, 3, 9)

    def forward(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        x = F.relu(self.enter(frames))
        for down in self.down:
            x = F.relu(down(x))
        x = self.blocks(x)
        for up in self.up:
            x = F.relu(up(x))
        x = x[..., :height, :width]  # odd sizes come back one longer
        return (torch.tanh(self.leave(x)) + 1) / 2


def _conv(width_in: int, width: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    conv = conv2d(width_in, width, kernel, stride=stride)
    return nn.Sequential(conv, nn.InstanceNorm2d(width, eps=EPS, affine=True))


def _upsample(width_in: int, width: int) -> nn.Sequential:
    conv = nn.ConvTranspose2d(width_in, width, 3, stride=2, padding=1, output_padding=1, bias=False)
    return nn.Sequential(conv, nn.InstanceNorm2d(width, eps=EPS, affine=True))

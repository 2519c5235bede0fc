"""UNet and AutoEncoder of frames, with bilinear upsampling.

The UNet is SPAct's anonymizer (Dave et al., CVPR 2022, 3.1): 17,267,523 parameters at width 64.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DoubleConv(nn.Sequential):
    """Two 3 x 3 convolutions, each with a batch norm and a ReLU; `middle` channels in between."""

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


class Encoder(nn.Module):
    """The UNet's contracting path, for frames of any size from 16 pixels on.

    The first stage has `width` channels; 1 to 4 `halvings` have two, four, eight, eight times that.
    """

    def __init__(self, *, width: int, halvings: int = 4) -> None:
        super().__init__()
        self.widths = [width, 2 * width, 4 * width, 8 * width, 8 * width][: halvings + 1]
        self.enter = DoubleConv(3, width)
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(self.widths))

    def stages(self, frames: Tensor) -> list[Tensor]:
        """(B, 3, H, W) to (B, width, H, W) and so on to (B, 8 width, H // 16, W // 16)."""
        features = [self.enter(frames)]
        for step in self.down:
            features.append(step(F.max_pool2d(features[-1], 2)))
        return features


class UNet(Encoder):
    """Frames (B, 3, H, W) to (B, 3, H, W), unbounded; any size from 16 pixels on."""

    def __init__(self, *, width: int = 64) -> None:
        super().__init__(width=width)
        # Each step takes the upsampled features and the skip connection, of equal width.
        widths = zip(self.widths[-2::-1], [4 * width, 2 * width, width, width], strict=True)
        self.up = nn.ModuleList(DoubleConv(2 * a, b, middle=a) for a, b in widths)
        self.leave = nn.Conv2d(width, 3, 1)

    def forward(self, frames: Tensor) -> Tensor:
        # channels_last is twice as fast on a CPU, where these channels are few.
        skips = self.stages(frames.contiguous(memory_format=torch.channels_last))
        x = skips.pop()
        for step, skip in zip(self.up, reversed(skips), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            # Zeros for the odd row or column that pooling drops.
            rows, columns = skip.shape[-2] - x.shape[-2], skip.shape[-1] - x.shape[-1]
            x = F.pad(x, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2])
            x = step(torch.cat([skip, x], dim=1))
        return self.leave(x)


class AutoEncoder(Encoder):
    """The UNet without skip connections: frames (B, 3, H, W) to a code and back, unbounded.

    Noisy-Features and Collective add noise to the code (docs/papers.md 4).
    """

    def __init__(self, *, width: int = 64, halvings: int = 4) -> None:
        super().__init__(width=width, halvings=halvings)
        self.up = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(self.widths[::-1]))
        self.leave = nn.Conv2d(width, 3, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W) to the code, (B, 8 width, H // 16, W // 16) after four halvings."""
        return self.stages(frames)[-1]

    def decode(self, code: Tensor, size: tuple[int, int]) -> Tensor:
        """The code to frames (B, 3, *size), `size` being (height, width) of the encoded ones."""
        x = code
        for level, step in zip(reversed(range(len(self.up))), self.up, strict=True):
            height, width = (side >> level for side in size)
            x = step(F.interpolate(x, size=(height, width), mode="bilinear", align_corners=True))
        return self.leave(x)

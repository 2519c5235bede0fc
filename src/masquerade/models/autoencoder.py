"""A convolutional autoencoder of frames: SPAct's UNet without skip connections.

Noisy-Features and Collective add noise to its code (docs/papers.md 4).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.unet import DoubleConv, Encoder


class AutoEncoder(Encoder):
    """Frames (B, 3, H, W) to a code and back, unbounded; any size from 16 pixels on."""

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

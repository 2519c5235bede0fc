"""A frame auto-encoder: SPAct's UNet without what it takes across, so that all must pass the end.

The features at its bottom are what Collective's noise goes into (FACTS 4).
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.unet import DoubleConv, Halving


class AutoEncoder(Halving):
    """Frames (B, 3, H, W) to features and back, unbounded; any size from 16 pixels on.

    Args:
        width: as in `Halving`.
        halvings: as there; fewer leave a wider code.
    """

    def __init__(self, *, width: int = 64, halvings: int = 4) -> None:
        super().__init__(width=width, halvings=halvings)
        self.up = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(self.widths[::-1]))
        self.leave = nn.Conv2d(width, 3, 1)

    def encode(self, frames: Tensor) -> Tensor:
        """The last stage: (B, 8 width, H // 16, W // 16) after four halvings.

        Args:
            frames: (B, 3, H, W).
        """
        return self.stages(frames)[-1]

    def decode(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, 3, *size).

        Args:
            features: as `encode` gives them.
            size: (height, width) of the frames that they are of.
        """
        x = features
        for level, step in zip(reversed(range(len(self.up))), self.up, strict=True):
            tall, wide = (side >> level for side in size)  # as halving left it
            x = step(F.interpolate(x, size=(tall, wide), mode="bilinear", align_corners=True))
        return self.leave(x)

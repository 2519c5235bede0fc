"""Tiny3d, a small 3-D CNN that learns motion and appearance from scratch in minutes on two cores.

Three convolutions of 3 x 3 x 3, 16-32-64 wide, each with a batch norm: 70,900 parameters at four
outputs. A transformer of its size does not learn motion from scratch (docs/papers.md 8.5).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.building_blocks import init_convolutions


class Tiny3d(nn.Module):
    """Clips (B, C, T, H, W) of any size from about 32 pixels to logits (B, classes).

    Each convolution halves rows and columns, from the third on time too; a fourth one widens the
    receptive field for frames beyond about 64 pixels.
    """

    head_names = ("head",)

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        widths: tuple[int, ...] = (16, 32, 64),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        sizes = (in_channels, *widths)
        self.convs = nn.ModuleList(
            nn.Conv3d(a, b, 3, stride=(1 if at < 2 else 2, 2, 2), padding=1, bias=False)
            for at, (a, b) in enumerate(zip(sizes, widths, strict=False))
        )
        self.norms = nn.ModuleList(nn.BatchNorm3d(width) for width in widths)
        self.width, self.dropout = widths[-1], dropout
        self.head = nn.Linear(self.width, classes)
        init_convolutions(self)

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        # Faster on a CPU, where channels are few; group norms round more so.
        if clip.device.type == "cpu" and isinstance(self.norms[0], nn.BatchNorm3d):
            clip = clip.contiguous(memory_format=torch.channels_last_3d)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            clip = F.relu(norm(conv(clip)), inplace=True)
        return clip.mean(dim=(2, 3, 4))

    def forward(self, clip: Tensor) -> Tensor:
        return self.head(F.dropout(self.pooled(clip), self.dropout, self.training))

"""Extreme low resolution: about a dozen rows of pixels per frame, enlarged by repeating them.

Ryoo et al., "Privacy-Preserving Human Activity Recognition from Extreme Low Resolution", AAAI 2017,
and "Extreme Low Resolution Activity Recognition with Multi-Siamese Embedding Learning", AAAI 2018.
Hides detail, and next to nothing of who it is. Both papers publish a plainly downsampled frame;
what they train are recognizers of such frames (`masquerade.training.low_resolution`).

Differs from `downsample` in that the number of pixels that are left is fixed, so that a larger
video shows no more than a small one. The papers' sensor records nothing else; a file keeps the
reduced size with `--size model`.
"""

from typing import Annotated, ClassVar

from masquerade.anonymizer import Card, Presets
from masquerade.errors import UsageError
from masquerade.methods.area_resizing import DownsamplingAnonymizer
from masquerade.ranges import at_least


class ELR(DownsamplingAnonymizer):
    """Show every frame, or the chosen regions, as a few large pixels.

    Args:
        factor: s, side of the squares of pixels that become one in a frame whose shorter side is
            `short`; 16, 32 or 64.
        short: the shorter side in pixels that `factor` refers to; `short / factor` rows (columns of
            an upright video) are left of every frame.
    """

    card = Card(
        hides="detail: a dozen rows of pixels are left, whatever the size, which hardly hides "
        "identity; colours and places stay",
        undo="not from one frame; partly by super-resolution from several, or by trained networks",
        needs="nothing",
        paper="ELR, Ryoo et al. AAAI 2017 and 2018; s as in Ilic et al. CVPR 2024",
    )

    presets: ClassVar[Presets] = {
        "paper": {"factor": 20, "short": 240},  # the papers' 16 x 12 pixels, of a frame of 4:3
        "s16": {"factor": 16},  # 14 rows, the finest of Ilic et al.'s table
        "s32": {"factor": 32},  # 7 rows
        "s64": {"factor": 64},  # 3 rows
    }

    def __init__(
        self,
        *,
        factor: Annotated[int, at_least(2, 16384)] = 16,
        short: Annotated[int, at_least(2, 16384)] = 224,
    ) -> None:
        super().__init__()
        if factor > short:
            raise UsageError(f"elr needs a --factor of at most --short, not {factor} of {short}.")
        self.factor, self.short = factor, short

    def size(self, height: int, width: int) -> tuple[int, int]:
        least = self.factor * min(height, width)
        tall, wide = height * self.short // least, width * self.short // least
        return min(max(1, height // 2), tall), min(max(1, width // 2), wide)

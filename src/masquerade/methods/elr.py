"""Extreme low resolution: a dozen rows of pixels a frame, brought back by repeating them.

Ryoo et al., "Privacy-Preserving Human Activity Recognition from Extreme Low Resolution", AAAI 2017,
and "Extreme Low Resolution Activity Recognition with Multi-Siamese Embedding Learning", AAAI 2018.
Both papers publish a plain reduced frame, which is what this is; what they learn is how to read
such frames, and that is `masquerade.training.low_resolution`.

Differs from `downsample`: the pixels that are left are counted, not those that become one, so that
a larger video shows no more than a small one. The paper's sensor takes no other picture; a file
keeps the reduced size with `--size model`.
"""

from __future__ import annotations

from masquerade.anonymizer import Card
from masquerade.errors import UsageError
from masquerade.methods.resample import Reduced


class ELR(Reduced):
    """Show every frame, or the chosen regions, as a few large pixels.

    Args:
        factor: s, how many pixels of a side become one where the shorter side has `short`; 16, 32
            or 64.
        short: the shorter side in pixels that `factor` is meant for; `short / factor`
            rows, or columns of an upright one, are left of every frame.
    """

    card = Card(
        hides="all detail; colours, where people are and how they move stay",
        undo="no single frame; several of one person sharpen each other, and networks learn to",
        needs="nothing",
        paper="ELR, Ryoo et al. AAAI 2017 and 2018; s as in Ilic et al. CVPR 2024",
    )

    def __init__(self, *, factor: int = 16, short: int = 224) -> None:
        super().__init__()
        if not 1 <= factor <= short:
            raise UsageError(
                f"elr needs a factor of at least 1 and a short side of at least the factor, "
                f"got {factor} and {short}."
            )
        self.factor, self.short = factor, short

    def size(self, height: int, width: int) -> tuple[int, int]:
        least = self.factor * min(height, width)
        tall, wide = height * self.short // least, width * self.short // least
        return min(height, tall), min(width, wide)


def paper() -> ELR:
    """The papers' 12 rows, 16 x 12 pixels of a frame of 4:3."""
    return ELR(factor=20, short=240)


def s16() -> ELR:
    """14 rows, the finest of Ilic et al.'s table."""
    return ELR(factor=16)


def s32() -> ELR:
    """7 rows."""
    return ELR(factor=32)


def s64() -> ELR:
    """3 rows."""
    return ELR(factor=64)

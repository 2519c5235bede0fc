"""Low resolution: the frame is reduced by a factor and brought back by repeating its pixels.

The baseline of STPrivacy and SPAct (factors 2, 4). The factor is that of the frame's own pixels
(`elr` counts what is left instead). A file may keep the reduced size: `--size model`.
"""

from __future__ import annotations

from masquerade.anonymizer import Card
from masquerade.errors import UsageError
from masquerade.methods.resample import Reduced


class Downsample(Reduced):
    """Reduce the resolution of everything, or of the chosen regions.

    Args:
        factor: how many pixels of a side become one.
    """

    card = Card(
        hides="detail smaller than `factor` pixels; at 2 and 4 hardly who it is",
        undo="partly: several frames of one person sharpen each other",
        needs="nothing",
        paper="baseline of STPrivacy ICCV 2023, SPAct CVPR 2022",
    )

    def __init__(self, *, factor: int = 16) -> None:
        super().__init__()
        if factor < 1:
            raise UsageError(f"downsample needs a factor of at least 1, got {factor}.")
        self.factor = factor

    def size(self, height: int, width: int) -> tuple[int, int]:
        return max(1, height // self.factor), max(1, width // self.factor)

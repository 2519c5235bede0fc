"""Downsampling: the resolution is reduced by a factor and enlarged by repeating pixels.

The baseline of STPrivacy and SPAct (factors 2 and 4). Hides detail, keeps colours, scene and
motion. The factor is relative to the frame (`elr` fixes the number of pixels that are left). A file
can keep the reduced size: `--size model`.
"""

from typing import Annotated

from masquerade.anonymizer import Card
from masquerade.methods.area_resizing import DownsamplingAnonymizer
from masquerade.ranges import at_least


class Downsample(DownsamplingAnonymizer):
    """Reduce the resolution of everything, or of the chosen regions.

    Args:
        factor: side of the squares of pixels that become one.
    """

    card = Card(
        hides="detail smaller than its factor; factors 2 and 4 hardly hide identity",
        undo="partly: super-resolution from several frames",
        needs="nothing",
        paper="baseline of STPrivacy ICCV 2023, SPAct CVPR 2022",
    )

    def __init__(self, *, factor: Annotated[int, at_least(2, 16384)] = 16) -> None:
        super().__init__()
        self.factor = factor

    def size(self, height: int, width: int) -> tuple[int, int]:
        return max(1, height // self.factor), max(1, width // self.factor)

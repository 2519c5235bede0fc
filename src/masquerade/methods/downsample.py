"""Low resolution: the frame is reduced by a factor and brought back by repeating its pixels.

The baseline of STPrivacy and SPAct (factors 2, 4) its factor that of the
frame's own pixels (`elr` counts what is left instead). A file may keep the reduced size:
`--size model`.
"""

from __future__ import annotations

from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import UsageError
from masquerade.methods.blend import U8, laid_over, over_frames
from masquerade.methods.resample import reduced, reduced_bytes


class Downsample(Anonymizer):
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

    def forward(
        self, clip: Tensor, *, where: Tensor | None = None, carry: None = None
    ) -> Anonymized:
        shown = reduced(clip, *self.size(*clip.shape[-2:]))
        return Anonymized(laid_over(clip, shown, where), where)

    def on_bytes(
        self, frames: U8, *, where: U8 | None = None, carry: None = None
    ) -> tuple[U8, None]:
        return over_frames(frames, self._reduced, where=where, whole=True), None

    def _reduced(self, frame: U8) -> U8:
        return reduced_bytes(frame, *self.size(*frame.shape[:2]))

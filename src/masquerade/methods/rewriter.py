"""A network that rewrites single frames, as a method: what SPAct, VITA and noise features share."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, TrainingOutput
from masquerade.methods.blend import laid_over
from masquerade.models.per_frame import effective_size, transform_frames, transform_frames_batched


class Rewriter(Anonymizer):
    """Show what a network makes of each frame, over the clip or its chosen regions.

    A subclass has the network and says in `_rewritten` how a frame goes through it.

    Args:
        short: the shorter side in pixels at which the network works.
    """

    framewise = True
    learned = True

    def __init__(self, *, short: int) -> None:
        super().__init__()
        self.short = short

    def size(self, height: int, width: int) -> tuple[int, int]:
        return effective_size(height, width, self.short)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        rewritten = transform_frames(self._rewritten, clip, short=self.short)
        return Anonymized(laid_over(clip, rewritten, mask), mask)

    def training_output(self, clip: Tensor, *, class_token: Tensor | None = None) -> TrainingOutput:
        return TrainingOutput(transform_frames_batched(self._rewritten, clip, short=self.short))

    def _rewritten(self, frames: Tensor) -> Tensor:
        """(N, 3, h, w) to the same, in [0, 1]."""
        raise NotImplementedError

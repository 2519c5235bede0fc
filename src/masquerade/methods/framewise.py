"""The base class of methods whose network transforms single frames: SPAct, VITA, noise features."""

from typing import Annotated, Any

from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, TrainingOutput
from masquerade.methods.blend import blend
from masquerade.models.per_frame import effective_size, transform_frames
from masquerade.ranges import at_least

Side = Annotated[int, at_least(16, 4096)]


class FramewiseAnonymizer(Anonymizer):
    """Transform each frame by a network, which a subclass applies in `_transform`.

    Args:
        short: shorter side in pixels of the network's input.
    """

    framewise = True
    learned = True

    def __init__(self, *, short: int) -> None:
        super().__init__()
        self.short = short

    def size(self, height: int, width: int) -> tuple[int, int]:
        return effective_size(height, width, self.short)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        rewritten = transform_frames(self._transform, clip, short=self.short)
        return Anonymized(blend(clip, rewritten, mask), mask)

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        rewritten = transform_frames(self._transform, clip, short=self.short, batched=True)
        return Anonymized(blend(clip, rewritten, mask))

    def training_output(self, clip: Tensor, *, class_token: Tensor | None = None) -> TrainingOutput:
        rewritten = transform_frames(self._transform, clip, short=self.short, batched=True)
        return TrainingOutput(rewritten)

    def _transform(self, frames: Tensor) -> Tensor:
        """(N, 3, h, w) to (N, 3, h, w) in [0, 1]."""
        raise NotImplementedError

"""People as white figures on black: what they do is seen, and nothing of how they or the place are.

Beyond the papers. Whoever the detector misses is black like the scene, where other covers would
show a person bare.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.methods.blend import U8


class Silhouette(Anonymizer):
    """Show where the regions are, white on black, and nothing else."""

    card = Card(
        hides="everything but the outline: appearance, scene, who was not found; gait stays",
        undo="no: nothing but the mask is in the output",
        needs="regions with an outline, such as people; a detector on the CPU",
        paper="beyond the papers",
    )
    alone = True

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, clip: Tensor, *, where: Tensor | None = None, carry: None = None
    ) -> Anonymized:
        shown = clip.new_ones(clip.shape) if where is None else where.expand_as(clip)
        return Anonymized(shown.clone(), None)

    def on_bytes(
        self, frames: U8, *, where: U8 | None = None, carry: None = None
    ) -> tuple[U8, None]:
        if where is None:
            return np.full_like(frames, 255), None
        return where[..., None].repeat(3, axis=-1), None

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
    regions_only = True

    def __init__(self) -> None:
        super().__init__()

    def forward(
        self, clip: Tensor, *, mask: Tensor | None = None, state: None = None
    ) -> Anonymized:
        shown = clip.new_ones(clip.shape) if mask is None else mask.expand_as(clip)
        return Anonymized(shown.clone(), None)

    def on_bytes(
        self, frames: U8, *, mask: U8 | None = None, state: None = None
    ) -> tuple[U8, None]:
        if mask is None:
            return np.full_like(frames, 255), None
        return mask[..., None].repeat(3, axis=-1), None

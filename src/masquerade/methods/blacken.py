"""Blacken: the chosen regions become black. Hides most and keeps least of all masks.

The baseline of STPrivacy and SPAct, which blacken detected people.
"""

from typing import Any

import numpy as np
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card, Planes
from masquerade.arrays import U8
from masquerade.methods.blend import blend, rewrite_regions


class Blacken(Anonymizer):
    """Paint everything, or the chosen regions, black."""

    dynamic_size = True
    framewise = True
    card = Card(
        hides="everything in the region; its outline, and how that moves, stay",
        undo="no: nothing of the region is left",
        needs="nothing",
        paper="baseline of STPrivacy ICCV 2023, SPAct CVPR 2022",
    )

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        return Anonymized(blend(clip, clip.new_zeros(()).expand_as(clip), mask), mask)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        return rewrite_regions(frames, np.zeros_like, mask=mask), None

    def on_planes(self, planes: Planes) -> Planes:
        black = np.full_like(planes.y, 0 if planes.full_range else 16)
        grey = np.full_like(planes.cb, 128)
        return planes._replace(y=black, cb=grey, cr=grey.copy())

"""Silhouette: the mask itself, people as white figures on black.

Beyond the papers. Hides appearance and scene, keeps outline, pose and motion. A person whom the
detector misses is black like the scene, whereas other methods would show them uncovered.
"""

from typing import Any

import cv2
import numpy as np
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.arrays import U8


class Silhouette(Anonymizer):
    """Show only the regions' silhouettes, white on black."""

    framewise = True
    card = Card(
        hides="all but the outline of people, white on black; gait stays",
        undo="no: nothing but the mask is in the output",
        needs="regions with an outline, such as people; a detector on the CPU",
        paper="beyond the papers",
    )
    regions_only = True
    dynamic_size = True
    removed_channels = ("appearance", "place")

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        shown = clip.new_ones(clip.shape) if mask is None else mask.expand_as(clip)
        return Anonymized(shown.clone(), None)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        if mask is None:
            return np.full_like(frames, 255), None
        out = np.empty((*mask.shape, 3), np.uint8)
        for picture, plane in zip(out, mask, strict=True):
            cv2.merge((plane, plane, plane), picture)
        return out, None

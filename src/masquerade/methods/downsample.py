"""Low resolution: the frame is reduced by a factor and brought back by repeating its pixels.

The baseline of STPrivacy and SPAct (factors 2, 4) and of Ryoo et al.'s extreme low resolution as
Ilic et al. run it (16, 32, 64). A file may keep the reduced size: `--size model`.
"""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card
from masquerade.errors import UsageError
from masquerade.methods.blend import U8, laid_over, over_frames
from masquerade.methods.resample import area_resize


class Downsample(Anonymizer):
    """Reduce the resolution of everything, or of the chosen regions.

    Args:
        factor: how many pixels of a side become one.
    """

    card = Card(
        hides="detail smaller than `factor` pixels; at 2 and 4 hardly who it is",
        undo="partly: several frames of one person sharpen each other",
        needs="nothing",
        paper="baseline of STPrivacy ICCV 2023, SPAct CVPR 2022; ELR, Ryoo et al. AAAI 2017",
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
        h, w = clip.shape[-2:]
        small = area_resize(clip, *self.size(h, w))
        large = small[..., _nearest(w, small.shape[-1])][..., _nearest(h, small.shape[-2]), :]
        return Anonymized(laid_over(clip, large, where), where)

    def on_bytes(
        self, frames: U8, *, where: U8 | None = None, carry: None = None
    ) -> tuple[U8, None]:
        return over_frames(frames, self._reduced, where=where, whole=True), None

    def _reduced(self, frame: U8) -> U8:
        h, w = frame.shape[:2]
        height, width = self.size(h, w)
        small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        if h % height == 0 and w % width == 0:  # then OpenCV's nearest pixel is ours, and quicker
            return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST), np.uint8)
        return np.asarray(small, np.uint8)[:, _nearest(w, width)][_nearest(h, height)]


def _nearest(size: int, small: int) -> list[int]:
    """For each of `size` pixels, which of the `small` ones lies over its centre."""
    return [(2 * i + 1) * small // (2 * size) for i in range(size)]

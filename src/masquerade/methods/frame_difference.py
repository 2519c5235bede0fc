"""Thresholded frame difference: white where a pixel's grey changed since the frame before.

The simplest picture of motion alone, and the mark that a learned anonymizer has to beat: it is what
BDQ (Kumawat & Nagahara, ECCV 2022) starts from, without what that learns. Colour, texture and all
that stands still are gone; outline, gait and the edges of clothes stay wherever something moves.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import U8, Anonymized, Anonymizer, Card
from masquerade.errors import UsageError
from masquerade.methods.blend import laid_over, mix

RED, GREEN, BLUE = 77, 150, 29  # of 256: BT.601's grey in whole numbers, so that both paths agree
UNIT = 255 * (RED + GREEN + BLUE)  # white

Greys = NDArray[np.int32]


class FrameDifference(Anonymizer):
    """Show only where the picture changes, frame by frame.

    Args:
        change: change of grey, 0 to 1, above which a pixel is white.
        most: a frame in which a larger share than this changed is a cut or a flash, which would
            show the scene; it stays black.
    """

    card = Card(
        hides="colour, texture and all that stands still; outlines, gait and large prints stay",
        undo="no single frame; who moves as they do is still told by a trained network",
        needs="nothing",
        paper="the input of BDQ, Kumawat & Nagahara ECCV 2022, thresholded",
    )

    def __init__(self, *, change: float = 0.06, most: float = 0.5) -> None:
        super().__init__()
        if not 0 <= change < 1 or not 0 < most <= 1:
            raise UsageError(
                "frame-difference needs change in [0, 1) and most in (0, 1], "
                f"got {change} and {most}."
            )
        self.change, self.most = change, most

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        levels = (clip * 255).round().clamp(0, 255)
        weights = clip.new_tensor([RED, GREEN, BLUE]).reshape(1, 3, 1, 1, 1)
        grey = (levels * weights).sum(1)  # (B, T, H, W), whole numbers, exact in float
        first = grey[:, :1] if state is None else torch.as_tensor(state).to(grey)[:, None]
        before = torch.cat([first, grey[:, :-1]], 1)  # the first frame of a video repeats
        changed = (grey - before).abs() > self._level()
        shown = changed.sum((2, 3), keepdim=True) <= self.most * grey.shape[2] * grey.shape[3]
        white = (changed & shown)[:, None].to(clip).expand_as(clip)
        return Anonymized(laid_over(clip, white, mask), mask, grey[:, -1].int().cpu().numpy())

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        out = np.empty_like(frames)
        before: Greys | None = None if state is None else state[0]
        for t, frame in enumerate(frames):
            now = frame @ np.array([RED, GREEN, BLUE], np.int32)
            white = self._changed(now, now if before is None else before)
            picture = np.broadcast_to(white[..., None], frame.shape)
            out[t] = picture if mask is None else mix(frame, picture, mask[t])
            before = now
        return out, state if before is None else before[None]

    def _changed(self, now: Greys, before: Greys) -> U8:
        changed = np.abs(now - before) > self._level()
        if changed.sum() > self.most * changed.size:
            return np.zeros(now.shape, np.uint8)
        return changed * np.uint8(255)

    def _level(self) -> float:
        return self.change * UNIT

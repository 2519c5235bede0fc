"""Thresholded frame difference: white where a pixel's grey level changed since the last frame.

The simplest motion-only baseline, which a learned anonymizer has to beat: BDQ (Kumawat & Nagahara,
ECCV 2022) without what it learns. Hides colour, texture and everything static; keeps the outlines,
gait and edges of clothes of whatever moves.
"""

from typing import Annotated, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card, GraphStateSpec
from masquerade.arrays import U8
from masquerade.methods.blend import blend, blend_bytes
from masquerade.ranges import Allowed, Share

RED, GREEN, BLUE = 77, 150, 29  # of 256: BT.601 in integers, so that floats and bytes agree
WHITE = 255 * (RED + GREEN + BLUE)

Greys = NDArray[np.int32]

Below = Allowed("0 or more and below 1", lambda value: 0 <= value < 1)


class FrameDifference(Anonymizer):
    """Show only where the video changes from frame to frame.

    Args:
        change: change of the grey level, 0 to 1, above which a pixel is white.
        most: largest share of pixels that may change; a frame above it is a cut or a flash, which
            would show the scene, and becomes black.
    """

    dynamic_size = True
    resumable = state_from_last_frame = True
    graph_state_spec = GraphStateSpec(
        ("batch", "height", "width"), "grey levels of the frame before this window", -1.0
    )
    card = Card(
        hides="all but what changes from frame to frame; outlines, gait and large prints stay",
        undo="hardly; trained networks still recognize people by how they move",
        needs="nothing",
        paper="the input of BDQ, Kumawat & Nagahara ECCV 2022, thresholded",
    )

    def __init__(self, *, change: Annotated[float, Below] = 0.06, most: Share = 0.5) -> None:
        super().__init__()
        self.change, self.most = change, most

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        before = None if state is None else torch.as_tensor(state).to(clip)
        out = self.graph(clip, mask=mask, state=before)
        return out._replace(hidden=mask, state=out.state.int().cpu().numpy())

    def graph(self, clip: Tensor, *, mask: Tensor | None, state: Tensor | None) -> Anonymized:
        levels = (clip * 255).round().clamp(0, 255)
        weights = clip.new_tensor([RED, GREEN, BLUE]).reshape(1, 3, 1, 1, 1)
        grey = (levels * weights).sum(1)  # (B, T, H, W), integers, exact in float
        first = grey[:, :1]
        if state is not None:
            first = torch.where(state[:, None] < 0, first, state[:, None])
        before = torch.cat([first, grey], 1)[:, :-1]  # a video's first frame has no change
        changed = (grey - before).abs() > self.change * WHITE
        shown = changed.sum((2, 3), keepdim=True) <= self.most * grey.shape[2] * grey.shape[3]
        white = (changed & shown)[:, None].to(clip).expand_as(clip)
        return Anonymized(blend(clip, white, mask), None, grey[:, -1])

    def graph_state(self, state: Any, clip: Tensor) -> Tensor:
        """The grey levels of the frame before, (B, H, W); below 0 where there is none."""
        return clip[:, 0, 0] * 0 - 1 if state is None else torch.as_tensor(state).to(clip)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        out = np.empty_like(frames)
        before: Greys | None = None if state is None else state[0]
        for t, frame in enumerate(frames):
            red, green, blue = (channel.astype(np.uint16) for channel in cv2.split(frame))
            # at most 65,280: 16 bits hold it, and are far faster than a product of matrices
            now = (RED * red + GREEN * green + BLUE * blue).astype(np.int32)
            white = self._changed(now, now if before is None else before)
            picture = np.broadcast_to(white[..., None], frame.shape)
            out[t] = picture if mask is None else blend_bytes(frame, picture, mask[t])
            before = now
        return out, state if before is None else before[None]

    def _changed(self, now: Greys, before: Greys) -> U8:
        changed = np.abs(now - before) > self.change * WHITE
        if changed.sum() > self.most * changed.size:
            return np.zeros(now.shape, np.uint8)
        return changed * np.uint8(255)

"""Pixelation: each block of pixels becomes its mean. Small blocks leave people recognizable.

The baseline of Ilic et al. (CVPR 2024, section 4.1): average pooling over 4 x 4 or 16 x 16 blocks
of a frame whose short side is 224, then nearest-neighbour enlargement. Hides detail, keeps colours
and motion. Blocks grow with the frame, so that a setting hides as much in a large video as in a
small one.
"""

from typing import Annotated, Any, ClassVar

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Card, Planes, Presets
from masquerade.arrays import U8
from masquerade.methods.area_resizing import rewrite_planes
from masquerade.methods.blend import blend, rewrite_regions
from masquerade.ranges import at_least


class Pixelate(Anonymizer):
    """Turn everything, or the chosen regions, into a mosaic of blocks.

    Args:
        block: side of a block in pixels of a frame whose short side is `short`.
        short: short side that `block` refers to; 0: `block` is in the frame's own pixels.
    """

    framewise = True
    card = Card(
        hides="detail smaller than a block; blocks of 4 and 16 pixels hardly hide identity",
        undo="partly: by networks trained on mosaics, or super-resolution from several frames",
        needs="nothing",
        paper="baseline of Ilic et al. CVPR 2024",
    )

    # The paper's blocks at 224
    presets: ClassVar[Presets] = {"fine": {"block": 4}, "coarse": {"block": 16}}

    def __init__(
        self,
        *,
        block: Annotated[int, at_least(2, 16384)] = 16,
        short: Annotated[int, at_least(0, 16384)] = 224,
    ) -> None:
        super().__init__()
        self.block, self.short = block, short

    def side(self, height: int, width: int) -> int:
        """A block's side in pixels of a frame of this size."""
        if not self.short:
            return self.block
        return max(2, round(self.block * min(height, width) / self.short))

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        h, w = clip.shape[-2:]
        side = self.side(h, w)
        block = min(side, h), min(side, w)  # of a larger one nothing else lies in the frame
        wide = torch.promote_types(clip.dtype, torch.float32)  # sums of halves overflow
        frames = clip.flatten(1, 2).to(wide)  # (B, C * T, H, W)
        padding = (0, -w % block[1], 0, -h % block[0])
        sums, counts = (
            F.avg_pool2d(F.pad(x, padding), block, divisor_override=1)
            for x in (frames, frames.new_ones(1, 1, h, w))
        )
        # a block cut by the frame's edge is the mean of its own pixels
        blocks = (sums / counts).to(clip.dtype)
        mosaic = blocks.repeat_interleave(block[0], -2).repeat_interleave(block[1], -1)[..., :h, :w]
        return Anonymized(blend(clip, mosaic.reshape(clip.shape), mask), mask)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        side = self.side(*frames.shape[1:3])
        return rewrite_regions(frames, lambda part: mosaic(part, side), mask=mask, step=side), None

    def on_planes(self, planes: Planes) -> Planes:
        side = self.side(*planes.y.shape)
        half = None if side % 2 else lambda plane: mosaic(plane, side // 2)
        return rewrite_planes(planes, lambda plane: mosaic(plane, side), half=half)


def mosaic(frame: U8, side: int) -> U8:
    """Block means of (H, W, 3) or (H, W), from its upper left corner."""
    h, w = frame.shape[:2]
    out = np.empty_like(frame)
    for rows in (slice(0, h // side * side), slice(h // side * side, h)):
        for columns in (slice(0, w // side * side), slice(w // side * side, w)):
            part = frame[rows, columns]
            if part.size:
                size = (part.shape[1], part.shape[0])
                blocks = (-(-size[0] // side), -(-size[1] // side))
                means = cv2.resize(part, blocks, interpolation=cv2.INTER_AREA)
                # INTER_NEAREST takes a neighbour's mean at the edges of some sides, such as 49
                exact = cv2.INTER_NEAREST_EXACT
                out[rows, columns] = cv2.resize(means, size, interpolation=exact)
    return out

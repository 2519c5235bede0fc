"""Resizing that methods share: area averaging (as cv2.INTER_AREA) and antialiased bilinear."""

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Planes
from masquerade.arrays import U8
from masquerade.methods.blend import blend, rewrite_regions
from masquerade.models.per_frame import resize_clip


def area_weights(size: int, target: int) -> Tensor:
    """(target, size): the share of each input pixel in each output pixel; rows sum to 1."""
    edges = torch.arange(target + 1, dtype=torch.float64) * size / target
    left = torch.arange(size, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], left + 1) - torch.maximum(edges[:-1, None], left)
    return (overlap.clamp(min=0) * target / size).float()


def area_resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Downsample (..., H, W) to (..., height, width) by area averaging."""
    rows = area_weights(frames.shape[-2], height).to(frames)
    columns = area_weights(frames.shape[-1], width).to(frames)
    return rows @ frames @ columns.T


def downsample(frames: Tensor, height: int, width: int) -> Tensor:
    """(..., H, W) as (height, width) pixels, each repeated to the original size."""
    small = area_resize(frames, height, width)
    h, w = frames.shape[-2:]
    return small[..., _nearest(w, width)][..., _nearest(h, height), :]


def downsample_bytes(frame: U8, height: int, width: int) -> U8:
    """`downsample` of one frame (H, W, 3), within one level."""
    h, w = frame.shape[:2]
    small = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    if h % height == 0 and w % width == 0:  # then this gives the same pixels, and is faster
        exact = cv2.INTER_NEAREST_EXACT
        return np.asarray(cv2.resize(small, (w, h), interpolation=exact), np.uint8)
    return np.asarray(small, np.uint8)[:, _nearest(w, width)][_nearest(h, height)]


def _nearest(size: int, small: int) -> list[int]:
    """For each of `size` pixels, the one of `small` that contains its centre."""
    return [(2 * i + 1) * small // (2 * size) for i in range(size)]


def rewrite_planes(
    planes: Planes, rewrite: Callable[[U8], U8], *, half: Callable[[U8], U8] | None = None
) -> Planes:
    """Rewrite brightness (H, W) by `rewrite`, and colour (H / 2, W / 2) by `half`.

    Without `half` colour is enlarged to the size of the frame, rewritten as brightness is, and
    averaged over the four pixels that share it, as it is on the way to RGB and back.
    """
    if half is None:

        def half(plane: U8) -> U8:
            return halve(rewrite(double(plane)))

    return planes._replace(y=rewrite(planes.y), cb=half(planes.cb), cr=half(planes.cr))


def double(plane: U8) -> U8:
    """Enlarge a plane (h, w) to (2h, 2w) by repeating samples."""
    h, w = plane.shape
    return np.asarray(cv2.resize(plane, (2 * w, 2 * h), interpolation=cv2.INTER_NEAREST), np.uint8)


def halve(plane: U8) -> U8:
    """Shrink a plane (2h, 2w) to (h, w) by averaging squares of four."""
    h, w = plane.shape
    return np.asarray(cv2.resize(plane, (w // 2, h // 2), interpolation=cv2.INTER_AREA), np.uint8)


def resize(clip: Tensor, size: Sequence[int], shown: Tensor | None = None) -> Tensor:
    """(B, C, T, H, W) to (B, C, T, *size), antialiased where it shrinks.

    With `shown`, (B, 1, T, H, W) of 0 or 1, each pixel is the mean over shown ones alone. Were the
    others mixed in, the rim of what is shown would tell of what is not.
    """
    if shown is not None:
        return resize(clip * shown, size) / resize(shown, size).clamp(min=1e-4)
    return resize_clip(clip, size)


class DownsamplingAnonymizer(Anonymizer):
    """A method that downsamples every frame to its `size` and repeats the pixels."""

    framewise = True
    caution = (
        "several frames together show more than each of them, as each samples what is filmed a "
        "little differently."
    )

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        shown = downsample(clip, *self.size(*clip.shape[-2:]))
        return Anonymized(blend(clip, shown, mask), mask)

    def on_bytes(self, frames: U8, *, mask: U8 | None = None, state: Any = None) -> tuple[U8, Any]:
        return rewrite_regions(frames, self._downsample, mask=mask, full_frame=True), None

    def on_planes(self, planes: Planes) -> Planes:
        h, w = planes.y.shape
        height, width = self.size(h, w)

        def rewrite(plane: U8) -> U8:
            return downsample_bytes(plane, height, width)

        even = h % (2 * height) == 0 and w % (2 * width) == 0  # whole squares of colour
        return rewrite_planes(planes, rewrite, half=rewrite if even else None)

    def _downsample(self, frame: U8) -> U8:
        return downsample_bytes(frame, *self.size(*frame.shape[:2]))

"""Noise fields that are advected by optical flow and stay white, however long the video.

Ilic et al. (CVPR 2024), eq. 4, applied step by step: N(p, t) = N(p + v(p, t), t - 1). Warping an
image again and again blurs it (bilinear) or smears it into streaks (nearest). Here every pixel of
the previous noise is used at most once: what would be a second copy, or comes from outside the
frame, is drawn anew. As which pixel goes where depends on the flow alone, the noise of each frame
is exactly as independent and uniform as that of the first.
"""

import hashlib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32, U8
from masquerade.models.optical_flow import pixel_grid, remap

BLOCK = 4  # side in pixels of the blocks that share a residual; larger blurs motion, smaller adds
# disorder

Part = tuple[slice, slice]  # rows and columns of a frame
Draw = Callable[[int], U8]  # n to (n, 3), fresh noise


class Secret(bytes):
    """Bytes that no log, receipt or traceback shows."""

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__


class NoiseField(NamedTuple):
    """The noise of one frame.

    noise:    (H, W, 3), uniform bytes.
    residual: (H / 4, W / 4, 2), the motion (x, y) in pixels that rounding has withheld from each
              block so far.
    """

    noise: U8
    residual: F32


def derive_key(secret: str) -> Secret:
    """32 bytes from a user's secret by scrypt, slow enough that guessing is expensive."""
    key = hashlib.scrypt(secret.encode(), salt=b"masquerade key", n=2**14, r=8, p=1, dklen=32)
    return Secret(key)


def uniform(key: bytes, purpose: str, *shape: int) -> U8:
    """Uniform bytes that depend on the key and the purpose alone.

    From SHAKE-256: unlike that of common generators, its published output reveals nothing of the
    rest.
    """
    drawn = hashlib.shake_256(key + purpose.encode()).digest(math.prod(shape))
    return np.frombuffer(drawn, np.uint8).reshape(shape)


def new_field(noise: U8) -> NoiseField:
    """The noise (H, W, 3) of the first frame of a video or scene."""
    blocks = (-(-side // BLOCK) for side in noise.shape[:2])
    return NoiseField(noise, np.zeros((*blocks, 2), np.float32))


def advect(field: NoiseField, part: Part, flow: F32, draw: Draw) -> NoiseField:
    """The noise one frame later, moved within one part of the frame.

    Motion is rounded to whole pixels. What rounding withholds is kept as each block's mean and
    added to the next step, so that noise neither lags nor blurs. Noise that moves into the part
    from outside is drawn anew where it was, so that no copy of it waits there. The part starts at
    multiples of `BLOCK`; the flow (h, w, 2) goes from frame t to t - 1.
    """
    height, width = field.noise.shape[:2]
    h, w = flow.shape[:2]
    rows, columns = (slice(side.start // BLOCK, -(-side.stop // BLOCK)) for side in part)
    blocks = rows, columns
    source = _sources(part, flow)
    source += _warp_residual(field.residual, blocks, flow)
    nearest = np.rint(source)
    x = nearest[0].astype(np.int32).clip(-1, width)
    y = nearest[1].astype(np.int32).clip(-1, height)
    # Only the box that the sources lie in, as a frame is often far larger than its regions
    box = _box(y, height), _box(x, width)
    top, start = box[0].start, box[1].start
    # One more column and row, for all that is outside the frame; -1, too, finds one of them
    used_by = np.full([side.stop - side.start + 1 for side in box], -1, np.int32)
    index = ((y - top) * used_by.shape[1] + x - start).astype(np.intp)
    own = np.arange(h * w, dtype=np.int32).reshape(h, w)
    used_by.reshape(-1)[index] = own
    used_by[-1] = used_by[:, -1] = -1
    fresh = np.flatnonzero(used_by.take(index) != own)
    left = used_by[:-1, :-1] >= 0
    inside = [
        slice(max(0, hidden.start - side.start), max(0, hidden.stop - side.start))
        for hidden, side in zip(part, box, strict=True)
    ]
    left[*inside] = False
    drawn = draw(len(fresh) + int(left.sum()))
    moved = np.asarray(remap(field.noise, tuple(nearest), nearest=True))
    moved.reshape(-1, 3)[fresh] = drawn[: len(fresh)]
    noise, residual = field.noise.copy(), field.residual.copy()
    noise[box][left] = drawn[len(fresh) :]
    source -= nearest
    noise[part], residual[blocks] = moved, np.stack([_block_means(axis) for axis in source], -1)
    return NoiseField(noise, residual)


def _box(places: NDArray[np.int32], length: int) -> slice:
    """From the first to the last of some places of a side that lie on it; one pixel at least."""
    first = min(max(0, int(places.min())), length - 1)
    return slice(first, max(first + 1, min(length, int(places.max()) + 1)))


def _block_means(pixels: F32) -> F32:
    """(h / 4, w / 4, ...), the mean of each block of (h, w, ...)."""
    height, width = pixels.shape[:2]
    down, right = -height % BLOCK, -width % BLOCK
    if down or right:
        pixels = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    size = (width + right) // BLOCK, (height + down) // BLOCK
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _warp_residual(residual: F32, blocks: Part, flow: F32) -> F32:
    """(2, h, w), the residual of the block that each pixel comes from."""
    height, width = flow.shape[:2]
    source = np.rint(_sources(blocks, _block_means(flow) / np.float32(BLOCK)))
    found = np.moveaxis(remap(residual, tuple(source), nearest=True), -1, 0)
    return found.repeat(BLOCK, axis=2).repeat(BLOCK, axis=1)[:, :height, :width]


def warp_once(noise: U8, part: Part, flow: F32, sampling: Literal["nearest", "bilinear"]) -> U8:
    """Eq. 4 as printed, N(p + v(p, t), 1), over one part of the frame; (h, w, 3).

    The noise (H, W, 3) is the first frame's, the flow (h, w, 2) goes from frame t to t - 1.
    """
    return np.asarray(remap(noise, tuple(_sources(part, flow)), nearest=sampling == "nearest"))


def warp_forward(noise: U8, part: Part, flow: F32) -> U8:
    """Eq. 4 as the authors' code has it (docs/papers.md 3.5, items 4 to 6); (h, w, 3).

    `flow`, (h, w, 2), goes from frame t - 1 to t. The code's grid runs from -1 to 1 over the
    centres of pixels but is read as if over their outer edges, so that zero flow is not the
    identity. Outside the frame the noise is not moved.
    """
    size = np.array([noise.shape[1], noise.shape[0]], np.float32)
    source = np.rint(_coordinates(part) * size / np.maximum(size - 1, 1) + flow - 0.5)
    inside = ((source >= 0) & (source < size)).all(-1, keepdims=True)
    return np.where(inside, remap(noise, source, nearest=True), noise[part])


def _coordinates(part: Part) -> F32:
    """(h, w, 2): every pixel's own (x, y) in the frame."""
    rows, columns = part
    grid = pixel_grid(rows.stop - rows.start, columns.stop - columns.start)
    return grid + np.array([columns.start, rows.start], np.float32)


def _sources(part: Part, flow: F32) -> F32:
    """(2, h, w): every pixel's x and y in the frame plus its flow (h, w, 2), without a grid.

    x and y lie apart, as NumPy computes with every second number in more than twice the time.
    """
    rows, columns = part
    out = np.empty((2, *flow.shape[:2]), np.float32)
    np.add(flow[..., 0], np.arange(columns.start, columns.stop, dtype=np.float32), out=out[0])
    np.add(flow[..., 1], np.arange(rows.start, rows.stop, dtype=np.float32)[:, None], out=out[1])
    return out

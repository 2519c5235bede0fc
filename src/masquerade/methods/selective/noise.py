"""Noise that moves as the content does and stays noise, however long the video.

Ilic et al. (CVPR 2024), eq. 4, advected: N(p, t) = N(p + v(p, t), t-1). Moving an image again and
again blurs it (bilinear) or smears it into streaks (nearest). Here every pixel of the frame before
is shown at most once: whatever would be a second copy, or comes from beyond the frame, is drawn
anew. So the noise of each frame is independent and uniform like that of the first, exactly and
not about: which pixel goes where depends on the flow alone, never on the values.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np

from masquerade.models.optical_flow import F32, U8, pixel_grid, remap

BLOCK = 4  # pixels a side that share what rounding left over: more disorder, less, blurs motion

Part = tuple[slice, slice]
Draw = Callable[[int], U8]


class Secret(bytes):
    """Bytes that no log, receipt or traceback shows."""

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__


class Field(NamedTuple):
    """The noise of one frame.

    noise: (H, W, 3), uniform bytes.
    rest:  (H / 4, W / 4, 2), by how much of a pixel (x, y) each block was moved too little so far.
    """

    noise: U8
    rest: F32


def stretched(secret: str) -> Secret:
    """32 bytes of a person's secret, slow to make, so that guesses are not cheap to try."""
    made = hashlib.scrypt(secret.encode(), salt=b"masquerade key", n=2**14, r=8, p=1, dklen=32)
    return Secret(made)


def uniform(key: bytes, purpose: str, *shape: int) -> U8:
    """Uniform bytes of a shape that depend on the key and the purpose alone.

    SHAKE-256: no part of the noise that is published tells another part, as the state of a common
    random generator would.
    """
    drawn = hashlib.shake_256(key + purpose.encode()).digest(math.prod(shape))
    return np.frombuffer(drawn, np.uint8).reshape(shape)


def new_field(noise: U8) -> Field:
    """The noise of a video's (or a scene's) first frame.

    Args:
        noise: (H, W, 3).
    """
    return Field(noise, np.zeros((*(-(-side // BLOCK) for side in noise.shape[:2]), 2), np.float32))


def advected(field: Field, part: Part, flow: F32, draw: Draw) -> Field:
    """The noise one frame later, moved in one part of the frame.

    The flow is followed in whole pixels. What rounding cuts off is kept, a block's mean of it, and
    added to the next step, so that noise neither lags nor blurs. What is moved into the part from
    outside is drawn anew where it was: a copy must not wait there until the part comes by.

    Args:
        part: rows and columns of (H, W), which start at multiples of `BLOCK`.
        flow: (h, w, 2) in pixels, from frame t to t-1.
        draw: n -> (n, 3), fresh noise.
    """
    height, width = field.noise.shape[:2]
    h, w = flow.shape[:2]
    rows, columns = (slice(side.start // BLOCK, -(-side.stop // BLOCK)) for side in part)
    blocks = rows, columns
    there = _here(part) + flow + _carried(field.rest, blocks, flow)
    near = np.rint(there)
    x, y = near[..., 0].astype(np.intp), near[..., 1].astype(np.intp)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    index = np.where(inside, y * width + x, height * width)  # one slot more, for beyond the frame
    own = np.arange(h * w, dtype=np.int32).reshape(h, w)
    shown_by = np.full(height * width + 1, -1, np.int32)
    shown_by[index] = own
    fresh = ~inside | (shown_by[index] != own)
    left = shown_by[:-1].reshape(height, width) >= 0
    left[part] = False
    needed = int(np.count_nonzero(fresh))
    drawn = draw(needed + int(np.count_nonzero(left)))
    moved = np.asarray(remap(field.noise, near, nearest=True))
    moved[fresh] = drawn[:needed]
    noise, rest = field.noise.copy(), field.rest.copy()
    noise[left] = drawn[needed:]
    noise[part], rest[blocks] = moved, _means(there - near)
    return Field(noise, rest)


def _means(pixels: F32) -> F32:
    """(h / 4, w / 4, 2), the mean of each block of (h, w, 2)."""
    height, width = pixels.shape[:2]
    down, right = -height % BLOCK, -width % BLOCK
    if down or right:
        pixels = cv2.copyMakeBorder(pixels, 0, down, 0, right, cv2.BORDER_REPLICATE)  # type: ignore[assignment]
    size = (width + right) // BLOCK, (height + down) // BLOCK
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.float32)


def _carried(rest: F32, blocks: Part, flow: F32) -> F32:
    """(h, w, 2), what each pixel's block was moved too little where it comes from."""
    height, width = flow.shape[:2]
    there = np.rint(_here(blocks) + _means(flow) / BLOCK)
    found = np.asarray(remap(rest, there, nearest=True))
    size = found.shape[1] * BLOCK, found.shape[0] * BLOCK
    full = np.asarray(cv2.resize(found, size, interpolation=cv2.INTER_NEAREST), np.float32)
    return full[:height, :width]


def moved_once(noise: U8, part: Part, flow: F32, sampling: Literal["nearest", "bilinear"]) -> U8:
    """N(p + v(p, t), 1): eq. 4 as printed, over one part of the frame; (h, w, 3).

    Args:
        noise: (H, W, 3), the first frame's.
        flow: (h, w, 2) in pixels, from frame t to t-1.
    """
    return np.asarray(remap(noise, _here(part) + flow, nearest=sampling == "nearest"))


def moved_as_in_code(noise: U8, part: Part, flow: F32) -> U8:
    """The same as the authors' code has it (FACTS 3.5, 4 to 6); (h, w, 3).

    Its grid runs from -1 to 1 over the pixels' centres and is read as if over their outer edges,
    so that zero flow is not the identity. Beyond the frame the noise is not moved.

    Args:
        flow: (h, w, 2), from frame t-1 to t.
    """
    size = np.array([noise.shape[1], noise.shape[0]], np.float32)
    there = np.rint(_here(part) * size / np.maximum(size - 1, 1) + flow - 0.5)
    inside = ((there >= 0) & (there < size)).all(-1, keepdims=True)
    return np.where(inside, remap(noise, there, nearest=True), noise[part])


def _here(part: Part) -> F32:
    """(h, w, 2): every pixel's own (x, y) in the frame."""
    rows, columns = part
    here = pixel_grid(rows.stop - rows.start, columns.stop - columns.start)
    return here + np.array([columns.start, rows.start], np.float32)

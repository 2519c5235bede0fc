"""Drawing posed limbs: frames, part masks, optical flow and keypoints."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.mimes.body_pieces import KEYPOINTS, PARTS, Piece
from masquerade.datasets.mimes.motion import F64, Limb, axes

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Index = NDArray[np.intp]
Pixels = tuple[Index, Index, Index]

_FINE = 3  # subpixels; odd, so that a pixel's middle is a subpixel's middle
_SHIFT = 4  # fractional bits of a corner


class Posed(NamedTuple):
    """Position and orientation of every limb in every frame: (L, T, 2) each, in pixels."""

    numbers: dict[str, int]
    origin: F64
    along: F64
    across: F64


def pose_limbs(limbs: Mapping[str, Limb], facing: int) -> Posed:
    """The limbs as arrays; facing is 1 to the right, -1 to the left."""
    angle = np.stack([limb.angle for limb in limbs.values()])  # (L, T)
    origin = np.stack([limb.origin for limb in limbs.values()])
    return Posed({name: i for i, name in enumerate(limbs)}, origin, *axes(angle, facing))


def draw_labels(pieces: Sequence[Piece], pose: Posed, *, scale: float, size: int) -> U8:
    """The visible piece of each subpixel, 0 for none: (T, 3 * size, 3 * size).

    Pieces are drawn in order, the farthest first; scale is a standing person's height in pixels.
    """
    out = np.zeros((pose.origin.shape[1], size * _FINE, size * _FINE), np.uint8)
    corners = [_corners(piece, pose, scale) for piece in pieces]
    for t, canvas in enumerate(out):
        for label, outline in enumerate(corners, 1):
            cv2.fillConvexPoly(canvas, outline[t], label, cv2.LINE_8, _SHIFT)
    return out


def at_pixel_middles(labels: U8) -> U8:
    """The label at the middle of each pixel: (T, H, W)."""
    return np.ascontiguousarray(labels[:, _FINE // 2 :: _FINE, _FINE // 2 :: _FINE])


def paint(labels: U8, pieces: Sequence[Piece], still: U8, shade: F32, shadows: U8) -> U8:
    """The coloured figure over a still (H, W, 3) background, antialiased: (T, H, W, 3).

    `shade` (T, H, W) scales the figure's colours, `shadows` (T, H, W) darkens the background.
    """
    palette = np.zeros((256, 4), np.uint8)
    palette[1 : len(pieces) + 1, :3] = [piece.colour for piece in pieces]
    palette[1 : len(pieces) + 1, 3] = 255
    packed = palette.view(np.uint32)[:, 0]
    out = np.repeat(still[None], len(labels), 0)
    for t, fine in enumerate(labels):
        rows, columns = _around(shadows[t], fine)
        part = fine[rows.start * _FINE : rows.stop * _FINE, columns.start * _FINE :]
        part = part[:, : (columns.stop - columns.start) * _FINE]
        whole = packed[part].view(np.uint8).reshape(*part.shape, 4)
        size = (columns.stop - columns.start, rows.stop - rows.start)
        small = cv2.resize(whole, size, interpolation=cv2.INTER_AREA).astype(np.float32)
        here = t, rows, columns
        bare = (1 - small[..., 3] / 255) * (1 - shadows[here] / np.float32(255))
        mixed = small[..., :3] * shade[here][..., None] + still[rows, columns] * bare[..., None]
        out[here] = np.minimum(mixed, 255)
    return out


def limb_coordinates(shown: U8, pieces: Sequence[Piece], pose: Posed) -> tuple[Pixels, Index, F64]:
    """The person's N pixels (t, y, x), their limbs (N,) and their (u, v) on the limb (N, 2)."""
    t, y, x = np.nonzero(shown)
    where = t, y, x
    limb = np.array([0, *(pose.numbers[piece.limb] for piece in pieces)])[shown[where]]
    at = limb, t
    away = np.stack((x, y), -1) - pose.origin[at]  # (N, 2), x and y
    u, v = (away * pose.along[at]).sum(-1), (away * pose.across[at]).sum(-1)
    return where, limb, np.stack((u, v), -1)


def shading(shown: U8, pieces: Sequence[Piece], where: Pixels, v: F64, *, scale: float) -> F32:
    """(T, H, W): limbs are darker towards their edges, so that they look round."""
    width = np.array([np.inf, *(scale * piece.round_ or np.inf for piece in pieces)])
    across = np.clip(v / width[shown[where]], -1, 1)
    out = np.ones(shown.shape, np.float32)
    out[where] = 1 - 0.45 * across**2 + 0.1 * across
    return out


def true_flow(
    shape: tuple[int, int, int], where: Pixels, limb: Index, place: F64, pose: Posed
) -> F32:
    """(T, H, W, 2): from each pixel to its place in the frame before, even if occluded there.

    Zero in the background and in the first frame.
    """
    before = limb, np.maximum(where[0] - 1, 0)
    u, v = place[:, :1], place[:, 1:]
    past = pose.origin[before] + u * pose.along[before] + v * pose.across[before]
    moved = past - np.stack((where[2], where[1]), -1)
    moved[where[0] == 0] = 0
    out = np.zeros((*shape, 2), np.float32)
    out[where] = moved
    return out


def shadow(hips: F64, *, scale: float, ground: float, size: int) -> U8:
    """A soft dark ellipse on the ground under the hips (T, 2), in pixels: (T, H, W)."""
    out = np.zeros((len(hips), size, size), np.uint8)
    axis = (round(0.17 * scale * 16), round(0.035 * scale * 16))
    for canvas, (x, _) in zip(out, hips, strict=True):
        middle = (round(x * 16), round(ground * 16))
        cv2.ellipse(canvas, middle, axis, 0, 0, 360, 80, -1, cv2.LINE_AA, _SHIFT)
    return out


def part_masks(shown: U8, pieces: Sequence[Piece]) -> U8:
    """(T, H, W), numbers of `PARTS`."""
    table = np.array([0, *(PARTS.index(piece.part) for piece in pieces)], np.uint8)
    return table[shown]


def joints(places: Mapping[str, tuple[str, float, float]], pose: Posed, *, scale: float) -> F32:
    """(T, K, 2): x and y of `KEYPOINTS` in pixels, also where occluded."""
    out = []
    for limb, u, v in (places[name] for name in KEYPOINTS):
        at = pose.numbers[limb]
        out.append(pose.origin[at] + scale * (u * pose.along[at] + v * pose.across[at]))
    return np.stack(out, 1).astype(np.float32)


def _corners(piece: Piece, pose: Posed, scale: float) -> NDArray[np.int32]:
    """(T, n, 2) in 16ths of a subpixel."""
    at = pose.numbers[piece.limb]
    outline = scale * piece.outline
    u, v = outline[:, :1], outline[:, 1:]
    corners = pose.origin[at][:, None] + u * pose.along[at][:, None] + v * pose.across[at][:, None]
    fine = corners * _FINE + (_FINE - 1) / 2
    return np.rint(fine * 2**_SHIFT).astype(np.int32)


def _around(shadow: U8, fine: U8) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of the figure and its shadow."""
    left, top, width, height = cv2.boundingRect(fine)
    x, y, w, h = cv2.boundingRect(shadow)
    columns = slice(min(left // _FINE, x), max(-(-(left + width) // _FINE), x + w))
    rows = slice(min(top // _FINE, y), max(-(-(top + height) // _FINE), y + h))
    return rows, columns

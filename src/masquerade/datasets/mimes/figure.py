"""`Figure`: draw a posed person as frames, part masks, optical flow and keypoints."""

from collections.abc import Iterable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32, F64, U8
from masquerade.datasets.mimes.body_pieces import PARTS, keypoint_places, pieces
from masquerade.datasets.mimes.motion import Limb, axes
from masquerade.datasets.mimes.people import Person
from masquerade.datasets.mimes.scenes import GROUND

_FINE = 3  # subpixels; odd, so that a pixel's middle is a subpixel's middle
_SHIFT = 4  # fractional bits of a corner


class Figure:
    """A person in all frames of a clip, and the ground truth of every pixel that shows them.

    `limbs` are in pixels, `facing` is 1 to the right, -1 to the left, `scale` is the person's
    standing height in pixels, and `size` the side of the frames.
    """

    def __init__(
        self, person: Person, limbs: Mapping[str, Limb], *, facing: int, scale: float, size: int
    ) -> None:
        self.person, self.scale, self.size = person, scale, size
        self.pieces = pieces(person)
        self.numbers = {name: i for i, name in enumerate(limbs)}
        self.origin = np.stack([limb.origin for limb in limbs.values()])  # (L, T, 2)
        angle = np.stack([limb.angle for limb in limbs.values()])
        self.along, self.across = axes(angle, facing)  # (L, T, 2) each
        self.fine = self._draw()
        middles = slice(_FINE // 2, None, _FINE)
        self.shown = np.ascontiguousarray(self.fine[:, middles, middles])  # (T, H, W)
        numbers = self._by_piece([self.numbers[piece.limb] + 1 for piece in self.pieces], 0)
        self.limbs: U8 = numbers.astype(np.uint8)  # (T, H, W) of the visible limb; 0 for none
        self.where = np.nonzero(self.shown)  # t, y, x of the N pixels that show the person
        t, y, x = self.where
        self.limb = numbers[self.where] - 1  # (N,)
        at = self.limb, t
        away = np.stack((x, y), -1) - self.origin[at]
        self.u, self.v = (away * self.along[at]).sum(-1), (away * self.across[at]).sum(-1)  # (N,)

    def paint(self, still: U8) -> U8:
        """The figure over a still (H, W, 3) background, antialiased: (T, H, W, 3)."""
        palette = np.zeros((256, 4), np.uint8)
        palette[1 : len(self.pieces) + 1, :3] = [piece.colour for piece in self.pieces]
        palette[1 : len(self.pieces) + 1, 3] = 255
        packed = palette.view(np.uint32)[:, 0]
        out = np.repeat(still[None], len(self.fine), 0)
        shade, shadows = self._shading(), self._shadows()
        for t, fine in enumerate(self.fine):
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

    def parts(self) -> U8:
        """(T, H, W), numbers of `PARTS`."""
        return self._by_piece([PARTS.index(piece.part) for piece in self.pieces], 0).astype(
            np.uint8
        )

    def flow(self) -> F32:
        """(T, H, W, 2): from each pixel to its place in the frame before, even if occluded there.

        Zero in the background and in the first frame.
        """
        t, y, x = self.where
        before = self.limb, np.maximum(t - 1, 0)
        moved = self._in_frame(before, self.u[:, None], self.v[:, None]) - np.stack((x, y), -1)
        moved[t == 0] = 0
        out = np.zeros((*self.shown.shape, 2), np.float32)
        out[self.where] = moved
        return out

    def keypoints(self) -> F32:
        """(T, K, 2): x and y of `KEYPOINTS` in pixels, also where occluded."""
        out = []
        for limb, u in keypoint_places(self.person):
            at = self.numbers[limb]
            out.append(self.origin[at] + self.scale * (u * self.along[at]))
        return np.stack(out, 1).astype(np.float32)

    def _draw(self) -> U8:
        """The visible piece of each subpixel, from 1, 0 for none: (T, 3 * size, 3 * size)."""
        out = np.zeros((self.origin.shape[1], self.size * _FINE, self.size * _FINE), np.uint8)
        for label, piece in enumerate(self.pieces, 1):
            u, v = np.hsplit(self.scale * piece.outline, 2)
            corners = self._in_frame(np.s_[self.numbers[piece.limb], :, None], u, v)  # (T, n, 2)
            fine = corners * _FINE + (_FINE - 1) / 2
            outlines = np.rint(fine * 2**_SHIFT).astype(np.int32)
            for canvas, outline in zip(out, outlines, strict=True):
                cv2.fillConvexPoly(canvas, outline, label, cv2.LINE_8, _SHIFT)
        return out

    def _in_frame(self, at: Any, u: F64, v: F64) -> F64:
        """x and y of places on limbs; `at` indexes limbs and frames."""
        return self.origin[at] + u * self.along[at] + v * self.across[at]

    def _by_piece(self, values: Iterable[float], background: float) -> NDArray[Any]:
        """(T, H, W): of each pixel the value of the piece that it shows."""
        return np.array([background, *values])[self.shown]

    def _shading(self) -> F32:
        """(T, H, W): limbs are darker towards their edges, so that they look round."""
        widths = [self.scale * piece.round_ or np.inf for piece in self.pieces]
        across = np.clip(self.v / self._by_piece(widths, np.inf)[self.where], -1, 1)
        out = np.ones(self.shown.shape, np.float32)
        out[self.where] = 1 - 0.45 * across**2 + 0.1 * across
        return out

    def _shadows(self) -> U8:
        """(T, H, W): a soft dark ellipse on the ground under the hips."""
        hips = self.origin[self.numbers["torso"]]
        out = np.zeros((len(hips), self.size, self.size), np.uint8)
        axis = (round(0.17 * self.scale * 16), round(0.035 * self.scale * 16))
        for canvas, (x, _) in zip(out, hips, strict=True):
            middle = (round(x * 16), round(GROUND * self.size * 16))
            cv2.ellipse(canvas, middle, axis, 0, 0, 360, 80, -1, cv2.LINE_AA, _SHIFT)
        return out


def _around(shadow: U8, fine: U8) -> tuple[slice, slice]:
    """Rows and columns of the bounding box of the figure and its shadow."""
    left, top, width, height = cv2.boundingRect(fine)
    x, y, w, h = cv2.boundingRect(shadow)
    columns = slice(min(left // _FINE, x), max(-(-(left + width) // _FINE), x + w))
    rows = slice(min(top // _FINE, y), max(-(-(top + height) // _FINE), y + h))
    return rows, columns

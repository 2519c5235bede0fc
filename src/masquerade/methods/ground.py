"""What figures are drawn on: black, a drawn floor, or the scene with its people painted out."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32, U8

WALL_TOP, WALL_FOOT = (38, 41, 50), (64, 68, 80)  # RGB
FLOOR_FAR, FLOOR_NEAR = (66, 70, 82), (98, 104, 118)
TILE_LINE = (126, 132, 148)
HORIZON = 0.38  # of the height, from the top
MARGIN = 0.012  # of the height, by which what is painted out is grown
MISSED = 25  # frames for which somebody may stand there, and not be found, without being shown
# frames in which a pixel must have been free before it is shown behind somebody: what is shown may
# be one frame older than twice `MISSED`
SURE = 2 * MISSED + 1
RATE = 0.05  # at which the background follows slow changes
MOVED = 12.0  # median change of free pixels, in levels of 255, from which the camera moved
REDUCTION = 8  # of the copy from which unknown background is filled
SPREAD = (3, 9, 27, 81)  # widths of the means that fill it, in pixels of the copy


def drawn_floor(height: int, width: int) -> U8:
    """A wall and a tiled floor, RGB (height, width, 3), which depend on the size alone."""
    return _floor(height, width).copy()


@lru_cache(maxsize=2)
def _floor(height: int, width: int) -> U8:
    horizon = round(HORIZON * height)
    above, below = (np.linspace(0, 1, rows)[:, None] for rows in (horizon, height - horizon))
    colour = np.concatenate(
        [
            WALL_TOP + above**2 * np.subtract(WALL_FOOT, WALL_TOP),
            FLOOR_FAR + below * np.subtract(FLOOR_NEAR, FLOOR_FAR),
        ]
    )[:, None]
    lines = np.zeros((height, width), np.uint8)
    middle, shift = width / 2, 4
    for k in range(-12, 13):  # lines that meet at the horizon
        ends = (middle, horizon), (middle + k * width / 3, height * 1.6)
        a, b = ((round(x * 2**shift), round(y * 2**shift)) for x, y in ends)
        cv2.line(lines, a, b, 255, 1, cv2.LINE_AA, shift)
    for k in range(1, 12):  # and lines across, nearer to each other in the distance
        y = horizon + (height - horizon) * 1.25 / (1 + 0.55 * (k - 1))
        if y < height:
            row = round(y * 2**shift)
            cv2.line(lines, (0, row), (width << shift, row), 255, 1, cv2.LINE_AA, shift)
    lines[:horizon] = 0
    near = np.concatenate([above * 0, below])  # lines fade in the distance
    share = lines[..., None] / 255 * near[..., None]
    return np.rint(colour + share * (np.array(TILE_LINE) - colour)).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Background:
    """The background of a video as far as it was seen; of one size.

    Who was not found is learned as if they were background. So what is shown is as it was `MISSED`
    frames ago or more.
    """

    plate: F32  # (H, W, 3), up to the last frame
    recent: U8  # (H, W, 3), as it was `age` frames ago
    shown: U8  # (H, W, 3), as it was `MISSED` frames before that
    age: int  # up to `MISSED`
    seen: NDArray[np.uint8]  # (H, W), frames in which a pixel was free, up to `SURE`
    free: NDArray[np.bool_]  # (H, W), whether it was in the last frame


def paint_out(frame: U8, mask: U8, known: Background | None) -> tuple[U8, Background]:
    """A frame (H, W, 3) without what the mask (H, W) covers, and the background to go on with.

    Covered pixels show the background where the camera is static and it was seen, for a while
    before somebody was found there, and the mean of what is around them where not.
    """
    radius = max(1, round(MARGIN * len(frame)))
    grown = cv2.dilate(mask, np.ones((2 * radius + 1, 2 * radius + 1), np.uint8))
    free = grown == 0
    if known is None or known.plate.shape != frame.shape or _camera_moved(frame, free, known):
        clean = np.where(free[..., None], frame, _surroundings(frame, free))  # nobody is in it
        plate = clean.astype(np.float32)
        known = Background(plate, clean, clean, 0, free.astype(np.uint8), free)
    else:
        known = _update(frame, free, known)
    unknown = ~free & (known.seen == 0)
    out = frame.copy()
    out[~free & ~unknown] = known.shown[~free & ~unknown]
    if unknown.any():
        out[unknown] = _surroundings(frame, free)[unknown]
    out[mask == 0] = frame[mask == 0]
    return out, known


def _update(frame: U8, free: NDArray[np.bool_], known: Background) -> Background:
    """The background after one more frame (H, W, 3), whose pixels are `free` (H, W) of people."""
    plate, recent, shown, age = known.plate.copy(), known.recent, known.shown, known.age + 1
    covered = known.free & ~free  # by somebody who may have stood there before, and was not found
    plate[covered] = shown[covered]
    if covered.any():
        recent = np.where(covered[..., None], shown, recent)
    if age >= MISSED:
        recent, shown, age = np.rint(plate).astype(np.uint8), recent, 0
    old, new = free & (known.seen > 0), free & (known.seen == 0)
    plate[old] += RATE * (frame[old] - plate[old])
    plate[new] = frame[new]
    seen = np.minimum(known.seen + free, SURE).astype(np.uint8)
    seen[covered & (seen < SURE)] = 0
    return Background(plate, recent, shown, age, seen, free)


def _camera_moved(frame: U8, free: NDArray[np.bool_], known: Background) -> bool:
    both = (free & (known.seen > 0))[::4, ::4]
    change = np.abs(frame[::4, ::4][both] - known.plate[::4, ::4][both])
    return bool(change.size) and float(np.median(change.max(axis=-1))) > MOVED


def _surroundings(frame: U8, free: NDArray[np.bool_]) -> U8:
    """(H, W, 3), the mean of the free pixels around each pixel; grey where there are none."""
    height, width = free.shape
    size = max(1, width // REDUCTION), max(1, height // REDUCTION)
    weight = cv2.resize(free.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    light = frame.astype(np.float32) * free[..., None]
    colour = np.asarray(cv2.resize(light, size, interpolation=cv2.INTER_AREA))
    colour = colour.reshape(size[1], size[0], 3)
    filled: F32 = np.full(colour.shape, 110, np.float32)
    for wide in reversed(SPREAD):
        total = cv2.blur(weight, (wide, wide), borderType=cv2.BORDER_REPLICATE)
        mean = cv2.blur(colour, (wide, wide), borderType=cv2.BORDER_REPLICATE)
        share = np.minimum(1.0, np.asarray(total) * 2)[..., None]
        around = mean.reshape(filled.shape) / np.maximum(total, 1e-6)[..., None]
        filled = np.asarray(filled + share * (around - filled), np.float32)
    full = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.rint(full).clip(0, 255).astype(np.uint8).reshape(height, width, 3)

"""Motion made less personal: how a region moves, and its outline, are bent slowly and at random.

Beyond the paper, which names identification by motion as its open limitation. A gait is told by
how far, how late and how evenly limbs swing. So each step of the flow is taken from a few frames
ago or from now, longer or shorter, and turned a little: by amounts that vary slowly over the
picture and over time, other ones in every video. The outline is widened likewise. Only flow and
outlines are bent, and only the past is needed; no pixel of the picture is looked at.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from masquerade.methods.selective.noise import Part, uniform
from masquerade.models.optical_flow import F32, U8, pixel_grid, remap

LARGEST = 160  # pixels a side of the flows that are remembered
GRID = 12  # the bends' own grid: they vary slowly
WAVES = 3  # of each bend, beside its constant
DELAY = 3.0  # frames that motion lags behind at strength 1, on average
MOST_DELAY = 12.0  # frames, at any strength
LENGTH = 0.5  # deviation of the log of a step's length at strength 1
TURN = 0.35  # deviation of a step's direction, in radians
WIDER = 0.03  # of the frame's longer side: how far the outline goes out


class Past(NamedTuple):
    """What is remembered, newest first.

    flows: (h, w, 2) each, of a reduced copy, in its pixels.
    outlines: (H, W) each, 255 inside.
    """

    flows: tuple[F32, ...] = ()
    outlines: tuple[U8, ...] = ()


def lookback(strength: float) -> int:
    """Frames that are remembered beside the present one."""
    return int(np.ceil(min(2 * DELAY * strength, MOST_DELAY)))


def remembered(
    past: Past, flow: F32 | None, part: Part | None, outline: U8, strength: float
) -> Past:
    """The past with one more frame, and without what is too old to matter.

    Args:
        flow: (h, w, 2) of the part, which is rows and columns of (H, W); None: nothing is hidden.
        outline: (H, W), 255 inside.
    """
    height, width = outline.shape
    whole = np.zeros((height, width, 2), np.float32)
    if part is not None:
        whole[part] = flow
    scale = max(1.0, max(height, width) / LARGEST)
    size = max(1, round(width / scale)), max(1, round(height / scale))
    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    small = np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float32)
    kept = lookback(strength)
    return Past((small * ratio, *past.flows[:kept]), (outline, *past.outlines[:kept]))


def bent(past: Past, part: Part, key: bytes, frame: int, strength: float) -> F32:
    """The flow that the noise follows in one part of the frame, in place of the newest: (h, w, 2).

    Args:
        past: with the present frame.
        frame: number of the frame.
        strength: above 0; 1 is what the defaults were chosen for.
    """
    height, width = past.outlines[0].shape
    size = past.flows[0].shape[1::-1]
    delay, change = _delay(key, frame, size, strength)
    flow = _delayed(past.flows, delay) * (1 - change)[..., None]
    length = np.exp(LENGTH * strength * _bend(key, "length", frame, size))
    angle = TURN * strength * _bend(key, "turn", frame, size)
    along, across = length * np.cos(angle), length * np.sin(angle)
    x, y = flow[..., 0], flow[..., 1]
    turned = np.stack([x * along - y * across, x * across + y * along], -1)
    ratio = np.array([width / size[0], height / size[1]], np.float32)
    full = cv2.resize(turned, (width, height)) if size != (width, height) else turned
    return np.asarray(full, np.float32)[part] * ratio


def widened(past: Past, key: bytes, frame: int, strength: float) -> U8:
    """The outline and more: of the frames before too, pushed outwards here and there; (H, W)."""
    height, width = past.outlines[0].shape
    late = (_bend(key, "late", frame, (1, 1))[0, 0] + 1) / 2 * lookback(strength)
    union = past.outlines[0]
    for outline in past.outlines[1 : 1 + round(max(float(late), 0))]:
        union = np.maximum(union, outline)
    out = union
    reach = WIDER * strength * max(height, width)
    size = width, height
    for name in ("push", "pull"):  # two copies, so that no side is sure to be the true one
        shift = np.stack([_bend(key, f"{name} {axis}", frame, size) for axis in "xy"], -1)
        moved = pixel_grid(height, width) + reach * shift
        seen = cv2.remap(
            union, moved, np.empty(0), cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        out = np.maximum(out, np.asarray(seen, np.uint8))
    return out


def _delay(key: bytes, frame: int, size: tuple[int, int], strength: float) -> tuple[F32, F32]:
    """By how many frames motion lags, and how that changes from the frame before; (h, w) each."""
    most = lookback(strength)
    now, before = (
        ((_bend(key, "delay", t, size) + 1) / 2 * most).clip(0, most) for t in (frame, frame - 1)
    )
    return now, (now - before).clip(-0.5, 0.5)


def _delayed(flows: tuple[F32, ...], delay: F32) -> F32:
    """Flow as it was so many frames ago, where the content of each pixel was then."""
    here = pixel_grid(*delay.shape)
    out = np.zeros_like(flows[0])
    for age in range(int(np.ceil(delay.max())) + 1):
        weight = (1 - np.abs(delay - age)).clip(0)
        place = (here + age * flows[0]).clip(0, np.array(delay.shape[::-1], np.float32) - 1)
        then = flows[min(age, len(flows) - 1)]
        out += weight[..., None] * remap(then, np.asarray(place, np.float32))
    return out


def _bend(key: bytes, name: str, frame: int, size: tuple[int, int]) -> F32:
    """(h, w) of a smooth random function of place and time: mean 0, variance 1 over videos."""
    raw = uniform(key, f"gait {name}", 4 * (4 * WAVES + 1)).view("<u4")
    draws = raw.astype(np.float64) / 2**32
    constant = np.sqrt(3) * (2 * draws[-1] - 1)
    phase, turns, over_x, over_y = draws[:-1].reshape(4, WAVES)[..., None, None]
    grid = (np.arange(GRID) + 0.5) / GRID
    x, y = grid[None, None], grid[None, :, None]
    period = 8 + 24 * turns  # frames: about a step to a few of them
    angle = phase + frame / period + (over_x * 3 - 1.5) * x + (over_y * 3 - 1.5) * y
    waves = np.sin(2 * np.pi * angle).sum(0) * np.sqrt(2 / WAVES)
    bend = ((constant + waves) / np.sqrt(2)).astype(np.float32)
    return np.asarray(cv2.resize(bend, size, interpolation=cv2.INTER_LINEAR), np.float32)

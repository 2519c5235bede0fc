"""Gait jitter: the motion and outline of a region are perturbed slowly and at random.

Beyond the paper, which names identification by motion as its open limitation. A gait is recognized
by how far, how late and how evenly limbs swing. So each step of the flow is delayed by a few
frames, scaled and rotated, by amounts that vary smoothly over the frame and over time and differ
in every video; the outline is widened likewise. Only flow and outlines of the past are needed; no
pixel of the video is read.
"""

from typing import NamedTuple

import cv2
import numpy as np

from masquerade.arrays import F32, U8
from masquerade.methods.selective.noise import Part, uniform
from masquerade.models.optical_flow import pixel_grid, remap

LONG_SIDE = 160  # of the flows that are kept, in pixels
GRID = 12  # side of the grid on which the perturbations are drawn
WAVES = 3  # sine waves of each, besides its constant
# At strength 1:
MEAN_DELAY = 3.0  # frames
SCALE_STD = 0.5  # of the logarithm of a step's length
ANGLE_STD = 0.35  # of a step's direction, in radians
WIDENING = 0.03  # of the frame's longer side, by which the outline is widened
# At any strength:
MAX_DELAY = 12.0  # frames
MOST_LONGER = 5.0  # of the logarithm of a step's length, as exp() overflows from 88 on


class History(NamedTuple):
    """The last frames, newest first.

    flows: (h, w, 2) each, of a scaled copy, in its pixels.
    outlines: (H, W) each, 255 inside.
    """

    flows: tuple[F32, ...] = ()
    outlines: tuple[U8, ...] = ()


def history_length(strength: float) -> int:
    """Frames that are kept besides the present one."""
    return int(np.ceil(min(2 * MEAN_DELAY * strength, MAX_DELAY)))


def push(
    history: History, flow: F32 | None, part: Part | None, outline: U8, strength: float
) -> History:
    """Add one frame to the history and drop the oldest.

    `flow` (h, w, 2) is that of the part, None where nothing is hidden; `outline` is (H, W).
    """
    height, width = outline.shape
    scale = max(1.0, max(height, width) / LONG_SIDE)
    size = max(1, round(width / scale)), max(1, round(height / scale))
    ratio = np.array([size[0] / width, size[1] / height], np.float32)
    small = np.zeros((*size[::-1], 2), np.float32)
    if part is not None:
        full = np.zeros((height, width, 2), np.float32)
        full[part] = flow
        small = np.asarray(cv2.resize(full, size, interpolation=cv2.INTER_AREA), np.float32)
    kept = history_length(strength)
    return History((small * ratio, *history.flows[:kept]), (outline, *history.outlines[:kept]))


def perturb_flow(history: History, part: Part, key: bytes, frame: int, strength: float) -> F32:
    """The flow that the noise follows in one part of frame number `frame`, (h, w, 2).

    The history includes the present frame; the defaults were chosen for a strength of 1.
    """
    height, width = history.outlines[0].shape
    size = history.flows[0].shape[1::-1]
    delay, change = _delay(key, frame, size, strength)
    flow = _delayed_flow(history.flows, delay) * (1 - change)[..., None]
    longer = SCALE_STD * strength * _smooth_noise(key, "length", frame, size)
    length = np.exp(longer.clip(-MOST_LONGER, MOST_LONGER))
    angle = ANGLE_STD * strength * _smooth_noise(key, "turn", frame, size)
    along, across = length * np.cos(angle), length * np.sin(angle)
    x, y = flow[..., 0], flow[..., 1]
    turned = np.stack([x * along - y * across, x * across + y * along], -1)
    ratio = np.array([width / size[0], height / size[1]], np.float32)
    full = cv2.resize(turned, (width, height)) if size != (width, height) else turned
    return np.asarray(full, np.float32)[part] * ratio


def widen_outline(history: History, key: bytes, frame: int, strength: float) -> U8:
    """The union of the last outlines, shifted outwards in places; (H, W)."""
    height, width = history.outlines[0].shape
    late = (_smooth_noise(key, "late", frame, (1, 1))[0, 0] + 1) / 2 * history_length(strength)
    union = history.outlines[0]
    for outline in history.outlines[1 : 1 + round(max(float(late), 0))]:
        union = np.maximum(union, outline)
    if not union.any():
        return union
    out = union
    reach = WIDENING * strength * max(height, width)
    size = width, height
    for name in ("push", "pull"):  # two copies, so that neither rim is known to be the true one
        shift = np.stack([_smooth_noise(key, f"{name} {axis}", frame, size) for axis in "xy"], -1)
        source = pixel_grid(height, width) + reach * shift
        out = np.maximum(out, remap(union, source, nearest=True, wrap=False))
    return out


def _delay(key: bytes, frame: int, size: tuple[int, int], strength: float) -> tuple[F32, F32]:
    """The delay in frames, and its change since the last frame; (h, w) each."""
    longest = history_length(strength)
    now, before = (
        ((_smooth_noise(key, "delay", t, size) + 1) / 2 * longest).clip(0, longest)
        for t in (frame, frame - 1)
    )
    return now, (now - before).clip(-0.5, 0.5)


def _delayed_flow(flows: tuple[F32, ...], delay: F32) -> F32:
    """The flow of so many frames ago, at the place where each pixel's content was then."""
    grid = pixel_grid(*delay.shape)
    out = np.zeros_like(flows[0])
    for age in range(int(np.ceil(delay.max())) + 1):
        weight = (1 - np.abs(delay - age)).clip(0)
        place = (grid + age * flows[0]).clip(0, np.array(delay.shape[::-1], np.float32) - 1)
        then = flows[min(age, len(flows) - 1)]
        out += weight[..., None] * remap(then, np.asarray(place, np.float32))
    return out


def _smooth_noise(key: bytes, name: str, frame: int, size: tuple[int, int]) -> F32:
    """(h, w) of a smooth random function of space and time: mean 0, variance 1 over videos."""
    raw = uniform(key, f"gait {name}", 4 * (4 * WAVES + 1)).view("<u4")
    draws = raw.astype(np.float64) / 2**32
    constant = np.sqrt(3) * (2 * draws[-1] - 1)
    phase, turns, over_x, over_y = draws[:-1].reshape(4, WAVES)[..., None, None]
    grid = (np.arange(GRID) + 0.5) / GRID
    x, y = grid[None, None], grid[None, :, None]
    period = 8 + 24 * turns  # frames: from about one step to a few
    angle = phase + frame / period + (over_x * 3 - 1.5) * x + (over_y * 3 - 1.5) * y
    waves = np.sin(2 * np.pi * angle).sum(0) * np.sqrt(2 / WAVES)
    values = ((constant + waves) / np.sqrt(2)).astype(np.float32)
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR), np.float32)

"""Temporal and spatial sampling: the frame indices of clips and the corners of crops."""

from __future__ import annotations

from typing import Literal

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError

Padding = Literal["palindrome", "repeat"]


def pad_indices(indices: IntArray, count: int, *, padding: Padding = "repeat") -> IntArray:
    """Frame indices past the end of a video mapped to frames that exist.

    Args:
        indices: any shape, 0 or more.
        count: frames of the video.
        padding: `repeat` the last frame (STPrivacy, as VideoMAE), or `palindrome`: play the video
            back and forth (SPAct completes short clips with reversed frames).
    """
    _check(count)
    if padding == "repeat":
        return np.minimum(indices, count - 1)
    turn = max(2 * count - 2, 1)
    folded = indices % turn
    return np.minimum(folded, turn - folded) if count > 1 else np.zeros_like(indices)


def uniform(count: int, frames: int) -> IntArray:
    """The middle frames of `frames` equal segments of the whole video.

    Args:
        count: frames of the video; fewer than `frames` are repeated in place.
        frames: of the clip.
    """
    _check(count, frames)
    return ((np.arange(frames) + 0.5) * count / frames).astype(np.int64)


def strided(
    count: int, frames: int, *, stride: int = 1, start: int = 0, padding: Padding = "repeat"
) -> IntArray:
    """Every `stride`-th frame from `start` on.

    Args:
        count: frames of the video.
        frames: of the clip.
        stride: source frames from one frame of the clip to the next.
        start: index of the first frame.
        padding: of a video that ends before the clip does.
    """
    _check(count, frames, stride)
    return pad_indices(start + stride * np.arange(frames), count, padding=padding)


def random_start(
    count: int, frames: int, *, seed: int, stride: int = 1, padding: Padding = "repeat"
) -> IntArray:
    """Every `stride`-th frame from a random start that leaves the clip inside the video.

    Args:
        count: frames of the video.
        frames: of the clip.
        seed: of the draw.
        stride: source frames from one frame of the clip to the next.
        padding: of a video that is shorter than the clip.
    """
    last = max(count - (frames - 1) * stride - 1, 0)
    start = int(np.random.default_rng(seed).integers(last + 1))
    return strided(count, frames, stride=stride, start=start, padding=padding)


def at_rate(
    count: int,
    frames: int,
    *,
    rate: float,
    source_rate: float,
    start: int = 0,
    padding: Padding = "repeat",
) -> IntArray:
    """Frames resampled to another frame rate, each the nearest one of the source.

    Args:
        count: frames of the video.
        frames: of the clip.
        rate: of the clip, frames a second.
        source_rate: of the video, frames a second.
        start: index of the first frame.
        padding: of a video that ends before the clip does.
    """
    _check(count, frames)
    if rate <= 0 or source_rate <= 0:
        raise UsageError(f"Rates of {rate} and {source_rate} frames a second: both must be above 0")
    steps = np.floor(np.arange(frames) * source_rate / rate + 0.5).astype(np.int64)
    return pad_indices(start + steps, count, padding=padding)


def views(
    count: int, frames: int, *, stride: int = 1, number: int = 5, padding: Padding = "repeat"
) -> IntArray:
    """Multi-view testing: V clips with evenly spaced starts, int(i (n - T) / (V - 1)).

    Args:
        count: frames of the video.
        frames: T of a clip.
        stride: source frames from one frame of a clip to the next.
        number: V; a single clip lies in the middle.
        padding: of a video that is shorter than one clip.

    Returns:
        (V, T).
    """
    _check(count, frames, stride, number)
    kept = max(-(-count // stride), frames)  # n, counted in strides
    starts = stride * evenly_spaced(kept - frames, number)
    steps = stride * np.arange(frames)
    return pad_indices(starts[:, None] + steps, count, padding=padding)


def evenly_spaced(room: int, number: int) -> IntArray:
    """Evenly evenly_spaced whole numbers from 0 to `room`; one alone is in the middle.

    Args:
        room: the last one.
        number: how many.
    """
    if number == 1:
        return np.array([room // 2], dtype=np.int64)
    return np.arange(number, dtype=np.int64) * room // (number - 1)


def crops(height: int, width: int, side: int, *, number: int = 3) -> IntArray:
    """Top left corners of square crops, evenly spaced along the longer side, centred on the other.

    Args:
        height: of the frame, in pixels.
        width: the same.
        side: of a crop, in pixels.
        number: how many crops.

    Returns:
        (number, 2): row and column.
    """
    if not 1 <= side <= min(height, width):
        raise UsageError(f"A crop of {side} pixels does not fit a frame of {height} x {width}.")
    corners = np.empty((number, 2), dtype=np.int64)
    tall = height > width
    corners[:, 0] = evenly_spaced(height - side, number if tall else 1)
    corners[:, 1] = evenly_spaced(width - side, 1 if tall else number)
    return corners


def _check(*numbers: int) -> None:
    if min(numbers) < 1:
        raise UsageError("A clip needs at least one frame of a video of at least one, stride 1.")

"""Temporal and spatial sampling: the frame indices of clips and the corners of crops.

In all functions `count` is the number of frames of the video, `frames` that of the clip, `stride`
the number of source frames from one frame of the clip to the next, `start` the index of the first,
and `padding` the treatment of a video that ends before the clip does.
"""

from typing import Literal

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError

Padding = Literal["palindrome", "repeat"]


def pad_indices(indices: IntArray, count: int, *, padding: Padding = "repeat") -> IntArray:
    """Frame indices past the end of a video mapped to frames that exist.

    `repeat` repeats the last frame (STPrivacy, as VideoMAE); `palindrome` plays the video back and
    forth (SPAct completes short clips with reversed frames).
    """
    _check(count)
    if padding == "repeat":
        return np.minimum(indices, count - 1)
    turn = max(2 * count - 2, 1)
    folded = indices % turn
    return np.minimum(folded, turn - folded)


def segment_middles(count: int, frames: int) -> IntArray:
    """The middle frames of `frames` equal segments of the whole video (TSN, ECCV 2016)."""
    _check(count, frames)
    return ((np.arange(frames) + 0.5) * count / frames).astype(np.int64)


def strided(
    count: int, frames: int, *, stride: int = 1, start: int = 0, padding: Padding = "repeat"
) -> IntArray:
    """Every `stride`-th frame from `start` on."""
    _check(count, frames, stride)
    return pad_indices(start + stride * np.arange(frames), count, padding=padding)


def window_indices(
    count: int, frames: int, *, stride: int = 1, number: int = 5, padding: Padding = "repeat"
) -> IntArray:
    """Frame indices of V = `number` clips of one video, (V, T), with evenly spaced starts.

    Starts are int(i (n - T) / (V - 1)), n being the frames left by the stride; a single clip lies
    in the middle.
    """
    _check(count, frames, stride, number)
    length = max(-(-count // stride), frames)  # n, counted in strides
    starts = stride * evenly_spaced(length - frames, number)
    steps = stride * np.arange(frames)
    return pad_indices(starts[:, None] + steps, count, padding=padding)


def evenly_spaced(room: int, number: int) -> IntArray:
    """`number` evenly spaced integers from 0 to `room`; a single one is in the middle."""
    places = np.arange(number, dtype=np.int64)
    return places * room // (number - 1) if number > 1 else places + room // 2


def middle_crop(height: int, width: int, side: int) -> tuple[int, int]:
    """Row and column of the top left corner of a square in the middle of a frame, in pixels."""
    if not 1 <= side <= min(height, width):
        raise UsageError(f"A crop of {side} pixels does not fit a frame of {height} x {width}.")
    return (height - side) // 2, (width - side) // 2


def aspect_crops(
    height: int, width: int, size: tuple[int, int], *, number: int = 1
) -> list[tuple[int, int, int, int]]:
    """The largest parts of a frame that have the aspect of a size: (top, left, height, width).

    They are evenly spaced along the side that is longer than the aspect wants, a single one in the
    middle; made as large as `size` they are what is left of a frame whose other side is resized to
    it.
    """
    _check(height, width, *size, number)
    scale = min(height / size[0], width / size[1])
    tall, wide = min(height, round(size[0] * scale)), min(width, round(size[1] * scale))
    along_height = height - tall > width - wide
    tops = evenly_spaced(height - tall, number if along_height else 1)
    lefts = evenly_spaced(width - wide, 1 if along_height else number)
    return [(int(top), int(left), tall, wide) for top in tops for left in lefts]


def _check(*numbers: int) -> None:
    if min(numbers) < 1:
        raise UsageError("Numbers of frames, strides, sides and views of clips must be 1 or more.")

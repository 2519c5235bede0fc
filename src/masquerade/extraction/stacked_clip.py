"""Stacked clips: pictures of many neighbouring frames each, which show more than one frame does.

A stacked clip is (3, T, 64, 48) in bytes: T pictures of the part of the frame in which something
moves. Each is made of 17 consecutive frames. They are registered to the middle one by smoothed
optical flow and averaged, so that noise which changes from frame to frame averages out. Where the
frames are mosaics of equal pixels, as `downsample`, `pixelate` and `elr` leave them, the blocks'
size is found first, and iterative back-projection (Irani and Peleg, CVGIP 1991) looks for the fine
picture whose moved and coarse copies are the frames. Where nothing moves by parts of a block there
is nothing to be gained, and where blocks cover a part of the frame only they are not found.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from masquerade.anonymizer import Pixels
from masquerade.arrays import F32, U8
from masquerade.datasets.clip_sampling import segment_middles, strided
from masquerade.datasets.manifest import IntArray
from masquerade.extraction.flow_clip import span
from masquerade.models.optical_flow import dis_flow, grey, pixel_grid, remap

ROWS, COLUMNS = 64, 48
WINDOW = 17  # frames that are stacked
SIDE = 320  # pixels of the longer side of frames that are stacked
ROUNDS = 4  # of back-projection
STEP = 0.25  # of the mean change between neighbouring pixels, above which it is a block's edge
LEAST_BLOCK = 1.5  # pixels; what is smaller is no mosaic
SMOOTHNESS = 1 / 24  # of the frame's height, over which flow is smoothed: noise moves nowhere
CHANGE, BLUR = 12, 2.0  # grey levels of a blurred frame that count as movement; pixels of the blur


def windows(count: int, pictures: int) -> IntArray:
    """(T, 17) frames of a video of `count` that make each picture; played back and forth if short.

    The middles of the windows are spread over the video.
    """
    starts = np.clip(segment_middles(count, pictures) - WINDOW // 2, 0, max(0, count - WINDOW))
    return np.stack(
        [strided(count, WINDOW, start=int(first), padding="palindrome") for first in starts]
    )


def small_frame(pixels: Pixels) -> U8:
    """(h, w, 3), at most 320 pixels a side, of a frame (H, W, 3)."""
    frame = np.ascontiguousarray(np.asarray(pixels, np.uint8))
    height, width = frame.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return frame
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def stacked_clip(frames: Sequence[U8]) -> U8:
    """(3, T, 64, 48) of T times 17 frames (h, w, 3), one window after another."""
    groups = [frames[at : at + WINDOW] for at in range(0, len(frames), WINDOW)]
    columns, rows = _moving_part(frames)
    cells = [
        cv2.resize(
            np.ascontiguousarray(stack_frames(group)[rows, columns]),
            (COLUMNS, ROWS),
            interpolation=cv2.INTER_AREA,
        )
        for group in groups
    ]
    return np.ascontiguousarray(np.stack(cells).transpose(3, 0, 1, 2))


def stack_frames(frames: Sequence[U8]) -> U8:
    """(h, w, 3) the middle one of some frames, and what the others show of it."""
    height, width = frames[0].shape[:2]
    block = _block_size(frames[len(frames) // 2])
    size = max(1, round(width / block[1])), max(1, round(height / block[0]))
    coarse = max(block) > LEAST_BLOCK
    seen = [_resized(frame, size) if coarse else frame.astype(np.float32) for frame in frames]
    fine = [_resized(picture, (width, height), cv2.INTER_CUBIC) for picture in seen]
    keys = [grey(_bytes(picture)) for picture in fine]
    now = keys[len(keys) // 2]
    sigma = SMOOTHNESS * height
    flows = [_smooth(dis_flow(now, key), sigma) for key in keys]
    grid = pixel_grid(height, width)
    there, back = [grid + flow for flow in flows], [grid - flow for flow in flows]
    stacked: F32 = np.mean([_moved(*moved) for moved in zip(fine, there, strict=True)], axis=0)
    for _ in range(ROUNDS if coarse else 0):
        missing = [
            _moved(_resized(low - _resized(_moved(stacked, to), size), (width, height)), at)
            for low, to, at in zip(seen, back, there, strict=True)
        ]
        stacked = stacked + np.mean(missing, axis=0)
    return _bytes(stacked)


def _block_size(frame: U8) -> tuple[float, float]:
    """Height and width of the blocks of equal pixels that a frame is made of; 1: of none."""
    sizes = []
    for axis in (0, 1):
        change = np.abs(np.diff(frame.astype(np.float32), axis=axis)).mean(axis=(1 - axis, 2))
        edges = int((change > STEP * change.mean()).sum()) if change.size else 0
        sizes.append(frame.shape[axis] / (1 + edges) if edges else 1.0)
    return sizes[0], sizes[1]


def _moving_part(frames: Sequence[U8]) -> tuple[slice, slice]:
    """The columns and rows between which nearly all movement is."""
    greys = np.stack([_smooth(grey(frame), BLUR) for frame in frames])  # (T, h, w)
    differs = np.abs(greys - np.median(greys, axis=0))
    moves = np.where(differs > CHANGE, differs, 0).sum(axis=0)
    return span(moves.sum(axis=0)), span(moves.sum(axis=1))


def _resized(image: U8 | F32, size: tuple[int, int], way: int | None = None) -> F32:
    """An image as (w, h) pixels: by area where it shrinks, and else by cubic curves."""
    shrinks = size[0] < image.shape[1] or size[1] < image.shape[0]
    way = way or (cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return np.asarray(cv2.resize(image.astype(np.float32), size, interpolation=way), np.float32)


def _smooth(image: U8 | F32, sigma: float) -> F32:
    return np.asarray(cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma), np.float32)


def _moved(image: F32, source: F32) -> F32:
    return np.asarray(remap(image, source, wrap=False), np.float32)


def _bytes(image: F32) -> U8:
    return np.asarray(image.round().clip(0, 255), np.uint8)

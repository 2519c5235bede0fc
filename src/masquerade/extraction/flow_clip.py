"""Flow clips: how a video moves from frame to frame at its own rate, for attackers on gait.

A flow clip is (3, T, 32, 24) in bytes, as a clip of pixels is, of the part of the frame in which
something moves: optical flow to the right and down, 127.5 for none, and how much each pixel differs
from the still scene. It is made of T + 1 consecutive frames, since sampled frames are too far apart
for steps to be counted.
"""

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Pixels
from masquerade.arrays import F32, U8
from masquerade.models.optical_flow import MIN_SIDE, NO_ARRAY, grey

CHANNELS, ROWS, COLUMNS = 3, 32, 24
RANGE = 0.08  # of the frame's height, which the fastest flow that can be told covers in a frame
SIDE = 128  # pixels of the longer side of frames whose flow is searched
FULL_DIFFERENCE = 32  # grey levels from the still scene that count as certain
MARGIN = 0.02  # of all movement is left out on each side of the part of the frame that is kept
LEAST_SPEED = 0.3  # pixels a frame; what is slower is the search's own error
LEAST_CELLS = 8  # pixels of a side of the part that is kept


def flow_frame(pixels: Pixels) -> U8:
    """(h, w) grey, at most 128 pixels a side, of a frame (H, W, 3)."""
    frame = np.ascontiguousarray(np.asarray(pixels, np.uint8))
    height, width = frame.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(MIN_SIDE, round(width * scale)), max(MIN_SIDE, round(height * scale))
    if size != (width, height):
        frame = np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)
    return grey(frame)


def flow_clip(frames: Sequence[U8]) -> U8:
    """(3, T, 32, 24) of T + 1 consecutive frames (h, w) as `flow_frame` makes them.

    Flow points from a frame back to the one before, as `masquerade.models.optical_flow` defines it.
    """
    flow = np.stack([_fine_flow(now, before) for before, now in pairwise(frames)])  # (T, h, w, 2)
    scene = np.median(frames, axis=0)
    differs = np.abs(np.stack(frames[1:]) - scene) / FULL_DIFFERENCE  # (T, h, w)
    columns, rows = _moving_part(flow, differs)
    velocity = flow / (RANGE * len(scene))  # of the height a frame, in -1 to 1
    shown = np.concatenate([(velocity + 1) / 2, differs[..., None]], axis=3)
    cells = [
        cv2.resize(picture.astype(np.float32), (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
        for picture in shown[:, rows, columns]
    ]
    clip = (np.stack(cells).clip(0, 1) * 255).round().astype(np.uint8)  # (T, 32, 24, 3)
    return np.ascontiguousarray(clip.transpose(3, 0, 1, 2))


def _fine_flow(now: U8, before: U8) -> F32:
    """(h, w, 2) at full resolution: noise that a method draws averages out in coarse copies."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)
    return np.asarray(dis.calc(now, before, NO_ARRAY), np.float32)


def _moving_part(flow: F32, differs: NDArray[np.floating]) -> tuple[slice, slice]:
    """The columns and rows between which nearly all movement of the clip is."""
    speed = np.linalg.norm(flow, axis=3)
    moves = np.where(speed > LEAST_SPEED, speed, 0).sum(axis=0)
    moves = moves if moves.any() else differs.sum(axis=0)
    return span(moves.sum(axis=0)), span(moves.sum(axis=1))


def span(weights: NDArray[np.floating]) -> slice:
    """Where all but the margins of the weights is; all of it where there are none."""
    if not weights.any():
        return slice(0, len(weights))
    share = np.cumsum(weights) / weights.sum()
    first = min(int(np.searchsorted(share, MARGIN)), max(0, len(weights) - LEAST_CELLS))
    last = int(np.searchsorted(share, 1 - MARGIN))
    return slice(first, max(last + 1, first + LEAST_CELLS))

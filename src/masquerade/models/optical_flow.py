"""Dense optical flow by DIS (Kroeger et al., ECCV 2016), and warping images by flow.

Convention (Ilic et al., CVPR 2024, eq. 4): flow[y, x] = (u, v) in pixels points from a pixel of
frame t to its position in frame t-1, so that before[y + v, x + u] shows the same point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

MIN_SIDE = 32  # DIS needs more patches than a shorter side holds
MAX_SIDE = 320  # larger frames are searched on a reduced copy: faster, and as good for the noise


def dis_flow(now: U8, before: U8) -> F32:
    """Dense inverse search flow from frame t to t-1, on the CPU.

    Args:
        now: (H, W) grey, frame t.
        before: (H, W) grey, frame t-1.

    Returns:
        (H, W, 2) in pixels; zero where a side is shorter than 32 pixels.
    """
    return flow_at_reduced_size(now, before, _dis)


def _dis(now: U8, before: U8) -> F32:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    now, before = np.ascontiguousarray(now), np.ascontiguousarray(before)
    return np.asarray(dis.calc(now, before, np.empty(0)), np.float32)


def flow_at_reduced_size(now: U8, before: U8, search: Callable[[U8, U8], F32]) -> F32:
    """Run `search` on copies of 32 to 320 pixels a side; flow (H, W, 2) in pixels of the full size.

    The images are (H, W) or (H, W, 3); flow is zero where a side is shorter than 32 pixels.
    """
    height, width = now.shape[:2]
    if min(height, width) < MIN_SIDE:
        return np.zeros((height, width, 2), np.float32)
    scale = max(1.0, min(max(height, width) / MAX_SIDE, min(height, width) / MIN_SIDE))
    size = (round(width / scale), round(height / scale))
    if size == (width, height):
        return search(now, before)
    small = [cv2.resize(x, size, interpolation=cv2.INTER_AREA) for x in (now, before)]
    flow = search(np.asarray(small[0], np.uint8), np.asarray(small[1], np.uint8))
    ratio = np.array([width / size[0], height / size[1]], np.float32)
    return np.asarray(cv2.resize(flow, (width, height)), np.float32) * ratio


def grey(frame: U8) -> U8:
    """(H, W) of an RGB frame (H, W, 3)."""
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)


def pixel_grid(height: int, width: int) -> F32:
    """(H, W, 2): every pixel's own (x, y)."""
    out = np.empty((height, width, 2), np.float32)
    out[..., 0] = np.arange(width)
    out[..., 1] = np.arange(height)[:, None]
    return out


def remap(image: U8 | F32, source: F32, *, nearest: bool = False) -> NDArray[Any]:
    """out[y, x] = image at source[y, x] = (x', y'), wrapped around at the edges.

    Args:
        image: (H, W) or (H, W, C).
        source: (h, w, 2), positions in pixels.
        nearest: take the nearest pixel instead of interpolating.
    """
    mode = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    places = np.asarray(source, np.float32)
    return cv2.remap(image, places, np.empty(0), mode, borderMode=cv2.BORDER_WRAP)


def warp(image: U8 | F32, flow: F32, *, nearest: bool = False) -> NDArray[Any]:
    """out[y, x] = image[y + v, x + u] for (H, W, 2) flow.

    Zero flow is the identity; in the authors' code it is not (docs/papers.md 3.5).
    """
    return remap(image, pixel_grid(*flow.shape[:2]) + flow, nearest=nearest)

"""Follow a box that somebody drew through a video, by the flow of points in it.

Kalal, Mikolajczyk and Matas, "Forward-Backward Error: Automatic Detection of Tracking Failures"
(ICPR 2010): points of a grid in the box are tracked to the next picture and back; those that come
back where they started move the box by their median, and scale it by the median of how their
distances change. The same is done backward in time by giving the pictures in reverse.
"""

import math
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32
from masquerade.regions.boxes import Box
from masquerade.regions.drawn import Edges
from masquerade.regions.scene_cuts import is_cut, thumbnail

Picture = NDArray[np.uint8]

GRID = 12  # points along each side of the box
WINDOW = (15, 15)  # pixels around a point that are compared
LEVELS = 4  # of the pyramid: points that move by half a window at the coarsest one are found
FEWEST = 8  # points that must come back
FARTHEST = 0.05  # of the box's diagonal: how far from its start a point may come back, or 2 pixels
LEAST_LIKENESS = 0.3  # correlation of the box's picture with that before: below, it is lost
STILL = 6  # levels of 255 by which what does not move differs at most, as the camera's noise
SIDE = 24  # pixels of the pictures that are compared so
MOST_SCALING = 1.2  # from picture to picture
CARRY = 6  # pictures in which a lost box stays where it was, 5 % larger in each
GROWTH = 0.05
LEAST_INSIDE = 0.25  # of the box; with less in the picture it cannot be told apart
SLOWEST = 1.0  # pixels a picture by which what has begun to leave is taken to go on


class Followed(NamedTuple):
    """Where a box went."""

    boxes: list[Edges]  # in each picture after the first, until it was lost
    lost: str  # why it ends before the last picture, in words; empty: it does not


def follow(pictures: Iterable[Picture], box: Edges) -> Followed:
    """Follow a box from the first of some pictures through the others.

    Args:
        pictures: (H, W, 3) uint8 each, RGB, in the order in which it is followed.
        box: in pixels of the first picture.
    """
    boxes: list[Edges] = []
    shift = (0.0, 0.0)  # by which its middle moved last
    pairs = pairwise(
        (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), thumbnail(picture)) for picture in pictures
    )
    for (before, small), (after, next_small) in pairs:
        if is_cut(small, next_small):
            return Followed(boxes, "a scene ends")
        height, width = after.shape
        moved = _step(np.asarray(before, np.uint8), np.asarray(after, np.uint8), box)
        lost = "it could not be told apart any more" if moved is None else ""
        if moved is not None:
            shift = _middle(moved)[0] - _middle(box)[0], _middle(moved)[1] - _middle(box)[1]
            box = moved
            if _inside(box, width, height) < LEAST_INSIDE:
                lost = "it left the picture"
        if lost:
            pictures_inside = _pictures_until_outside(box, shift, width, height)
            return Followed([*boxes, *_carry(pairs, box, pictures_inside + CARRY)], lost)
        boxes.append(box)
    return Followed(boxes, "")


def _step(before: Picture, after: Picture, box: Edges) -> Edges | None:
    """The box in the next grey picture; None: it is lost."""
    if _unchanged(before, after, box):  # as where nothing can be told apart, or nothing moves
        return box
    x0, y0, x1, y1 = box
    width, height = x1 - x0, y1 - y0
    across, down = (np.arange(GRID) + 0.5) / GRID * width + x0, (np.arange(GRID) + 0.5) / GRID
    grid = np.stack(np.meshgrid(across, down * height + y0), axis=-1).reshape(-1, 1, 2)
    points = grid.astype(np.float32)
    there, back, came = _there_and_back(before, after, points)
    error = np.linalg.norm(back - points, axis=2)[:, 0]
    limit = max(2.0, FARTHEST * float(np.hypot(width, height)))
    good = came & (error <= min(limit, float(np.median(error[came])) if came.any() else 0.0))
    if good.sum() < FEWEST:
        return None
    old, new = points[good, 0], there[good, 0]
    shift = np.median(new - old, axis=0)
    scale = _scale(old, new)
    x, y = (x0 + x1) / 2 + float(shift[0]), (y0 + y1) / 2 + float(shift[1])
    wide, high = width * scale / 2, height * scale / 2
    moved = (x - wide, y - high, x + wide, y + high)
    return moved if _likeness(before, box, after, moved) >= LEAST_LIKENESS else None


def _unchanged(before: Picture, after: Picture, box: Edges) -> bool:
    """Whether the same is at the same place."""
    patch_before, patch_after = _patch(before, box), _patch(after, box)
    return bool(np.abs(patch_before - patch_after).max() < STILL)


def _there_and_back(before: Picture, after: Picture, points: F32) -> tuple[F32, F32, Any]:
    """Where points go, where they come back to, and which of them were found both times."""
    flow: Any = partial(cv2.calcOpticalFlowPyrLK, winSize=WINDOW, maxLevel=LEVELS)
    there, forth, _ = flow(before, after, points, None)
    back, home, _ = flow(after, before, there, None)
    return there, back, (forth[:, 0] > 0) & (home[:, 0] > 0)


def _scale(old: F32, new: F32) -> float:
    """How the distances between points change, by their median."""
    first, second = np.triu_indices(len(old), 1)
    was = np.linalg.norm(old[first] - old[second], axis=1)
    now = np.linalg.norm(new[first] - new[second], axis=1)
    far = was > 1
    scale = float(np.median(now[far] / was[far])) if far.any() else 1.0
    return min(max(scale, 1 / MOST_SCALING), MOST_SCALING)


def _likeness(before: Picture, box: Edges, after: Picture, moved: Edges) -> float:
    """The correlation of two boxes' pictures, -1 to 1; plain areas are alike."""
    patch_before, patch_after = (
        _patch(picture, edges) for picture, edges in ((before, box), (after, moved))
    )
    patch_before, patch_after = patch_before - patch_before.mean(), patch_after - patch_after.mean()
    spread = float(np.sqrt((patch_before * patch_before).sum() * (patch_after * patch_after).sum()))
    plain = SIDE * SIDE  # a level of standard deviation in both
    return float((patch_before * patch_after).sum() / spread) if spread > plain else 1.0


def _patch(picture: Picture, box: Edges) -> F32:
    """The picture in a box, (SIDE, SIDE), edges repeated where it reaches beyond."""
    x0, y0, x1, y1 = box
    size = (max(1, round(x1 - x0)), max(1, round(y1 - y0)))
    centre = ((x0 + x1) / 2, (y0 + y1) / 2)
    part = cv2.getRectSubPix(picture, size, centre)
    return np.asarray(cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32)


def _carry(rest: Iterable[Any], box: Edges, pictures: int) -> Iterator[Edges]:
    """The box of a few more pictures, the one in which it was lost first; it grows at first."""
    yield _grown(box, 1)
    for age, ((_, small), (_, after)) in zip(range(2, pictures + 1), rest, strict=False):
        if is_cut(small, after):
            return
        yield _grown(box, min(age, CARRY))


def _pictures_until_outside(box: Edges, shift: tuple[float, float], width: int, height: int) -> int:
    """The number of pictures until a box that reaches over an edge is outside of the picture.

    It goes on by `shift` a picture, and at least by `SLOWEST`. 0: it reaches over no edge.
    """
    (x0, y0, x1, y1), (dx, dy) = box, shift
    edges = (
        (x0, x1, -dx),
        (width - x1, width - x0, dx),
        (y0, y1, -dy),
        (height - y1, height - y0, dy),
    )
    left = [math.ceil(inside / max(speed, SLOWEST)) for out, inside, speed in edges if out < 0]
    return max(0, min(left, default=0))


def _middle(box: Edges) -> tuple[float, float]:
    x0, y0, x1, y1 = box
    return (x0 + x1) / 2, (y0 + y1) / 2


def _grown(box: Edges, age: int) -> Edges:
    x0, y0, x1, y1 = box
    wide, high = (x1 - x0) * GROWTH * age / 2, (y1 - y0) * GROWTH * age / 2
    return x0 - wide, y0 - high, x1 + wide, y1 + high


def _inside(box: Edges, width: int, height: int) -> float:
    """The share of a box that lies in the picture."""
    own = Box(*box, 1.0)
    part = own.clip(width, height)
    return 0.0 if part is None else part.width * part.height / (own.width * own.height)

"""Silhouettes of people inside boxes, without weights: GrabCut, carried by flow.

Rother, Kolmogorov, Blake, "GrabCut" (2004), as OpenCV has it, on a small copy of every few frames.
It starts from where a person is in a box of Dalal and Triggs' detector, and from what moves. A
frame between two that were cut takes the silhouettes of both, carried along the flow, so that what
either of them missed is covered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.models.optical_flow import dis_flow, positions
from masquerade.regions.boxes import Box
from masquerade.regions.masks import ellipses
from masquerade.regions.picture import Picture, fitted
from masquerade.regions.region import Region

ROUNDS = 2  # of GrabCut
BODY = 0.46, 0.08, 0.94  # width, top and bottom of a standing person, in parts of the box
REACH = 1.0, 0.0, 1.0  # of arms and legs; what moves may lie farther out
SPINE = 0.2, 0.1, 0.9  # of what is surely one
LEAST = 0.5  # share of the body's ellipse below which a silhouette is not believed
AROUND = 9  # side of the square in which a person may stick out of what moves, in small pixels

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a frame before its silhouettes are.

    Args:
        picture: the frame.
        people: boxes of upright people, as the detector gives them, with its margin.
        moving: (H, W), 255 on what moves; None: not known.
        region: what else is said of the frame.
        key: silhouettes are to be cut here, and not only carried here.
    """

    picture: Picture
    people: tuple[Box, ...]
    moving: U8 | None
    region: Region
    key: bool


@dataclass(slots=True)
class _Small:
    """A small copy that waits for the next one that is cut."""

    look: Look
    grey: U8  # (h, w)
    shape: U8  # (h, w), 255 on silhouettes so far


class Outlines:
    """Adds silhouettes to regions.

    Args:
        scale: longest side of the copy that is looked at, in pixels.
    """

    def __init__(self, *, scale: int = 160) -> None:
        self.scale = scale

    def __call__(self, looks: Iterable[Look]) -> Iterator[Region]:
        """One region a look, at most as late as the next key."""
        waiting: deque[_Small] = deque()  # a key and what follows it
        before: _Small | None = None
        for look in looks:
            size = fitted(look.picture, self.scale)
            pixels = look.picture.rgb(size)
            now = _Small(
                look,
                np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8),
                _seen(look, size),
            )
            if look.region.cut:
                yield from map(_region, waiting)
                waiting.clear()
                before = None
            if look.key:
                now.shape |= _cut(pixels, look, now.shape)
            elif before is not None:
                now.shape |= _carried(before, now)
            if look.key and waiting:
                after = now
                for held in reversed(waiting):
                    held.shape |= _carried(after, held)
                    after = held
                yield from map(_region, waiting)
                waiting.clear()
            waiting.append(now)
            before = now
        yield from map(_region, waiting)


def _region(small: _Small) -> Region:
    """The region, with its silhouettes at the frame's size."""
    look = small.look
    size = look.picture.width, look.picture.height
    smooth = cv2.resize(small.shape, size, interpolation=cv2.INTER_LINEAR)
    return replace(look.region, mask=np.asarray((smooth > 127) * np.uint8(255), np.uint8))


def _seen(look: Look, size: tuple[int, int]) -> U8:
    """(h, w), 255 on what moves and on the spines of those who stand."""
    if look.moving is None:
        out = np.zeros((size[1], size[0]), np.uint8)
    else:
        small = cv2.resize(look.moving, size, interpolation=cv2.INTER_AREA)
        out = np.asarray((small > 127) * np.uint8(255), np.uint8)
    return np.asarray(np.maximum(out, _body(look, size, SPINE)), np.uint8)


def _body(look: Look, size: tuple[int, int], part: tuple[float, float, float]) -> U8:
    frame = look.picture.width, look.picture.height
    return ellipses(look.people, part=part, frame=frame, size=size)


def _cut(pixels: U8, look: Look, sure: U8) -> U8:
    """(h, w), 255 on people by GrabCut; all that may be one where it cannot tell."""
    h, w = sure.shape
    body = _body(look, (w, h), BODY)
    near = cv2.dilate(sure, np.ones((AROUND, AROUND), np.uint8))
    inside = np.asarray(np.maximum(_body(look, (w, h), REACH), near), np.uint8)
    guess = np.full((h, w), cv2.GC_BGD, np.uint8)
    guess[inside > 0] = cv2.GC_PR_BGD
    guess[(body > 0) | (sure > 0)] = cv2.GC_PR_FGD
    guess[_body(look, (w, h), SPINE) > 0] = cv2.GC_FGD
    if not body.any():
        return sure
    x, y, wide, high = _about(inside)
    part = slice(y, y + high), slice(x, x + wide)
    labels = np.ascontiguousarray(guess[part])
    ground = (labels == cv2.GC_BGD) | (labels == cv2.GC_PR_BGD)
    if not ground.any() or ground.all():
        return np.maximum(body, sure)
    cv2.setRNGSeed(0)  # the colours' clusters start at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    rect = (0, 0, 0, 0)
    cv2.grabCut(
        np.ascontiguousarray(pixels[part]), labels, rect, *models, ROUNDS, cv2.GC_INIT_WITH_MASK
    )
    out = np.zeros((h, w), np.uint8)
    out[part] = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) * np.uint8(255)
    for box in look.people:
        mine = _body(replace(look, people=(box,)), (w, h), BODY) > 0
        if mine.any() and (out[mine] > 0).mean() < LEAST:
            out[mine] = 255
    wider = cv2.dilate(out, np.ones((3, 3), np.uint8))  # its rim is half person, half ground
    return np.asarray(np.maximum(wider, sure), np.uint8)


def _about(inside: U8) -> tuple[int, int, int, int]:
    """x, y, width and height of a part that holds all that is inside, with ground around it."""
    h, w = inside.shape
    x, y, wide, high = cv2.boundingRect(inside)
    x0, y0 = max(0, x - AROUND), max(0, y - AROUND)
    return x0, y0, min(w, x + wide + AROUND) - x0, min(h, y + high + AROUND) - y0


def _carried(source: _Small, now: _Small) -> U8:
    """(h, w), where a silhouette of the frame before or after is in this one."""
    flow = dis_flow(now.grey, source.grey)
    where: F32 = positions(*now.grey.shape) + flow
    moved = cv2.remap(
        source.shape, where, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray((moved > 127) * np.uint8(255), np.uint8)

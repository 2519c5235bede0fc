"""Silhouettes of people inside their boxes, without weights: GrabCut, propagated by optical flow.

Rother, Kolmogorov, Blake, "GrabCut" (2004), as OpenCV has it, on a small copy of the keyframes. It
is initialised with a body-shaped ellipse in each box of the HOG detector and with the moving
foreground. A frame between two keyframes takes the silhouettes of both, warped along the flow, so
that what one of them missed is covered by the other.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.models.optical_flow import MIN_SIDE, grey, warp_along_flow
from masquerade.regions.boxes import Box
from masquerade.regions.masks import binary, draw_ellipses, resize_mask
from masquerade.regions.region import Frame, Region, fit_size

ITERATIONS = 2  # of GrabCut
LONG_SIDE = 160  # of the small copy, in pixels
# Width, top and bottom of ellipses in parts of a person's box:
BODY = 0.46, 0.08, 0.94  # probable foreground
REACH = 1.0, 0.0, 1.0  # of arms and legs: probable background; what moves may lie farther out
SPINE = 0.2, 0.1, 0.9  # certain foreground
MIN_COVERED = 0.5  # share of the body's ellipse below which GrabCut is taken to have failed
MARGIN = 9  # pixels of the small copy by which a person may extend beyond the moving foreground


class GrabCutInput(NamedTuple):
    """What is known of a frame before its silhouettes are segmented."""

    frame: Frame
    people: tuple[Box, ...]  # upright people, with the detector's margin
    moving: U8 | None  # (H, W), 255 on the moving foreground; None: not known
    region: Region  # receives the silhouettes
    keyframe: bool  # segment this frame; others receive silhouettes along the flow


@dataclass(slots=True)
class _Small:
    """The small copy of a frame."""

    known: GrabCutInput
    grey: U8  # (h, w)
    mask: U8  # (h, w), 255 on the silhouettes so far


def add_silhouettes(inputs: Iterable[GrabCutInput]) -> Iterator[Region]:
    """Yield the regions of the inputs with silhouettes, at most as late as the next keyframe."""
    waiting: deque[_Small] = deque()  # a keyframe and what follows it
    before: _Small | None = None
    for known in inputs:
        size = fit_size(known.frame, LONG_SIDE, shortest=MIN_SIDE)
        pixels = known.frame.rgb(size)
        now = _Small(known, grey(pixels), _certain(known, size))
        if known.region.cut:
            before = None
        if known.keyframe:
            now.mask |= _segment(pixels, known, now.mask)
        elif before is not None:
            now.mask |= _warp(before, now)
        if known.keyframe and before is not None:
            after = now
            for held in reversed(waiting):
                held.mask |= _warp(after, held)
                after = held
        if known.keyframe or known.region.cut:
            yield from map(_with_silhouettes, waiting)
            waiting.clear()
        waiting.append(now)
        before = now
    yield from map(_with_silhouettes, waiting)


def _with_silhouettes(small: _Small) -> Region:
    frame = small.known.frame
    return replace(small.known.region, mask=resize_mask(small.mask, frame.width, frame.height))


def _certain(known: GrabCutInput, size: tuple[int, int]) -> U8:
    """(h, w), 255 on the moving foreground and on the spines of upright people."""
    spines = _ellipses(known, size, SPINE)
    if known.moving is None:
        return spines
    small = cv2.resize(known.moving, size, interpolation=cv2.INTER_AREA)
    return np.asarray(np.maximum(binary(small), spines), np.uint8)


def _ellipses(known: GrabCutInput, size: tuple[int, int], part: tuple[float, float, float]) -> U8:
    frame = known.frame.width, known.frame.height
    return draw_ellipses(known.people, part=part, frame=frame, size=size)


def _segment(pixels: U8, known: GrabCutInput, certain: U8) -> U8:
    """(h, w), 255 on people by GrabCut; on all that may be a person where it fails."""
    h, w = certain.shape
    body = _ellipses(known, (w, h), BODY)
    near = cv2.dilate(certain, np.ones((MARGIN, MARGIN), np.uint8))
    possible = np.asarray(np.maximum(_ellipses(known, (w, h), REACH), near), np.uint8)
    labels = np.full((h, w), cv2.GC_BGD, np.uint8)
    labels[possible > 0] = cv2.GC_PR_BGD
    labels[(body > 0) | (certain > 0)] = cv2.GC_PR_FGD
    labels[_ellipses(known, (w, h), SPINE) > 0] = cv2.GC_FGD
    if not body.any():
        return certain
    x, y, wide, high = cv2.boundingRect(possible)  # all that is inside, with background around it
    part = (
        slice(max(0, y - MARGIN), y + high + MARGIN),
        slice(max(0, x - MARGIN), x + wide + MARGIN),
    )
    labels = np.ascontiguousarray(labels[part])
    background = (labels == cv2.GC_BGD) | (labels == cv2.GC_PR_BGD)
    if not background.any() or background.all():
        return np.maximum(body, certain)
    cv2.setRNGSeed(0)  # the colour clusters are initialised at random
    models = np.zeros((1, 65)), np.zeros((1, 65))
    crop, box = np.ascontiguousarray(pixels[part]), (0, 0, 0, 0)
    cv2.grabCut(crop, labels, box, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    out = np.zeros((h, w), np.uint8)
    out[part] = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)) * np.uint8(255)
    for person in known.people:
        own = _ellipses(known._replace(people=(person,)), (w, h), BODY) > 0
        if own.any() and (out[own] > 0).mean() < MIN_COVERED:
            out[own] = 255
    dilated = cv2.dilate(out, np.ones((3, 3), np.uint8))  # pixels on the rim are mixed
    return np.asarray(np.maximum(dilated, certain), np.uint8)


def _warp(source: _Small, target: _Small) -> U8:
    """(h, w), the silhouettes of an adjacent frame, moved to this one along the flow."""
    return binary(warp_along_flow(source.mask, source=source.grey, target=target.grey))

"""The region source `templates`: hides what looks like a template, wherever it appears.

Ilic et al., CVPR 2024, sections 3.1 and 3.2. Keys and saliency are computed on keyframes; between
two of them the strengths of both are propagated by optical flow, and the larger one holds: what
came into the picture after the first is found in the second. The first and the last frame of a shot
are keyframes.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Annotated, NamedTuple

import cv2
import numpy as np

from masquerade.arrays import F32, U8
from masquerade.errors import UsageError
from masquerade.models.optical_flow import MIN_SIDE, dis_flow, grey, pixel_grid, remap
from masquerade.ranges import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    at_least,
    checked,
)
from masquerade.regions.boxes import check_array
from masquerade.regions.key_extractors import SHORT, build_key_extractor, extract_keys
from masquerade.regions.region import Frame, Region
from masquerade.regions.saliency import Combine, SaliencyConfig, strength, upsample
from masquerade.regions.scene_cuts import MarkedFrame, mark_cuts
from masquerade.regions.template import Template, check_extractor, make_template
from masquerade.regions.template_library import Library
from masquerade.regions.tracking import FULL_RATE, seconds_between, time_of

MAX_POINT_FRAME = 128  # a point in a later frame would keep too many frames in memory
LONG_SIDE = 320  # of the small copy on which strengths are propagated
# With `every` 0, a frame becomes a keyframe once one of these is reached since the last one:
MAX_INTERVAL = 12  # frames, or as long as they last at FULL_RATE
MAX_MOTION = 8.0  # pixels of the small copy, summed
MAX_UNEXPLAINED = 0.02  # share of the pixels that the flow does not predict, summed
UNEXPLAINED = 24  # difference from which a pixel is not predicted, in levels of 255
FLOW_ERROR = 0.5  # dilation per pixel of motion, as the flow errs at edges


class Templates:
    """What looks like a template, or like a point of this very video.

    Args:
        templates: names in the library, all hidden.
        at: points in this video, (frame, x, y) with frames from 0 and pixels of the upright frame;
            what looks like them is hidden in all frames, earlier ones too.
        keys: features that templates are compared by: colour-hog (no weights; for points in this
            video), dino-s8, dino-s16 or dinov2-s14.
        key_weights: a file of the network's weights; None: the fetched one.
        stride: pixels from key to key at the network's input size; None: the extractor's own.
        short: short side of the extractor's input, in pixels.
        device: where the network runs, as torch spells it.
        library: folder of templates; None: the user's.
        every: compute keys in every so many frames; 0: after enough motion or change, and after
            12 frames or half a second at the latest. The last frame of a shot has keys too.
        combine: several keys by their `max`, or their `mean` as in the paper, which is weaker.
        calibrated: hide the core of a match completely; else by the cosine, as in the paper.
        grow: dilation of what is found, in keys, 0 or more.
        gamma: exponent of the strength, above 0; below 1 hides more.
        threshold: weaker matches stay visible, 0 to 1; lower is safer.
        floor: least strength anywhere, 0 to 1.
        online: read no frame ahead but those of points, as live video needs it: compute keys in
            every frame.

    Raises:
        UsageError: there is neither template nor point, or one that does not fit.
        MissingError: a template or weights are missing.
    """

    name = "templates"

    @checked
    def __init__(
        self,
        *,
        templates: tuple[str, ...] = (),
        at: tuple[tuple[NonNegativeInt, NonNegativeFloat, NonNegativeFloat], ...] = (),
        keys: str = "colour-hog",
        key_weights: Path | None = None,
        stride: PositiveInt | None = None,
        short: Annotated[int, at_least(1, 4096)] = SHORT,
        device: str = "cpu",
        library: Path | None = None,
        every: Annotated[int, at_least(0, 1000)] = 0,
        combine: Combine = "max",
        calibrated: bool = True,
        grow: Annotated[int, at_least(0, 1000)] = 1,
        gamma: PositiveFloat = 1.0,
        threshold: UnitInterval = 0.0,
        floor: UnitInterval = 0.0,
        online: bool = False,
    ) -> None:
        self.at = tuple(_check_point(point) for point in at)
        if not templates and not at:
            raise UsageError(
                "templates need a name, as in --hide eye,hair, or a point in the video, as in "
                "--at FRAME:X,Y."
            )
        self.every = 1 if online else every
        self.config = SaliencyConfig(
            combine=combine,
            calibrated=calibrated,
            grow=grow,
            gamma=gamma,
            threshold=threshold,
            floor=floor,
        )
        self._keys = build_key_extractor(
            keys, weights=key_weights, stride=stride, short=short, device=device
        )
        self.fingerprint, self.model_sha256 = self._keys.fingerprint, self._keys.model_sha256
        self._templates = [Library(folder=library).load(name) for name in templates]
        for template in self._templates:
            check_extractor(template, self.fingerprint)
        # what outputs and extracted clips depend on besides the names
        content = [self.fingerprint, *(template.digest() for template in self._templates)]
        self.content = hashlib.sha256("\n".join(content).encode()).hexdigest()
        self._last_point = max((frame for frame, _, _ in self.at), default=0)
        # a frame waits for the next keyframe
        self.look_ahead = max(self._last_point, (self.every or MAX_INTERVAL) - 1)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        marked = mark_cuts(frames)
        first = deque(islice(marked, self._last_point + 1))
        if not first:
            return
        template = reduce(Template.merge, [*self._templates, *self._from_points(first)])
        between: list[_Between] = []  # frames since the last keyframe
        last: _Strengths | None = None
        keyframe_at = before = None  # seconds: of the last keyframe, and of the frame before
        for frame, cut in _drain(first, marked):
            small = _small(frame)
            if cut:
                yield from self._end_of_shot(between, template)
                between, last = [], None
            time = time_of(frame)
            until_next = seconds_between(keyframe_at, time) + seconds_between(before, time)
            now = None if last is None or self.every == 1 else last.warp(small)
            if now is not None and not self._is_keyframe(now, until_next):
                between.append(_Between(frame, now))
            else:
                now = self._strengths_of(frame, small, template)
                yield from _back_from(now, between)
                yield _region(frame, now.dilated(), cut=cut, keyframe=True)
                between, keyframe_at = [], time
            last, before = now, time
        yield from self._end_of_shot(between, template)

    def _from_points(self, first: deque[MarkedFrame]) -> list[Template]:
        """One template per frame that has points."""
        if len(first) <= self._last_point:
            raise UsageError(
                f"there is no frame {self._last_point} to point at: the video has {len(first)}."
            )
        templates = []
        for number in sorted({frame for frame, _, _ in self.at}):
            pixels = _pixels(first[number][0])
            points = [(x, y) for frame, x, y in self.at if frame == number]
            image = f"frame {number}"
            templates.append(
                make_template("at", pixels, points, self._keys, image=image, frame=number)
            )
        return templates

    def _is_keyframe(self, now: _Strengths, until_next: float) -> bool:
        """Whether a frame becomes a keyframe, by the strengths that were propagated to it.

        `until_next` are the seconds from the last keyframe to the next frame, as far as is known.
        """
        if self.every:
            return now.age >= self.every
        return (
            now.age >= MAX_INTERVAL
            or until_next > (MAX_INTERVAL + 0.25) / FULL_RATE
            or now.motion >= MAX_MOTION
            or now.unexplained >= MAX_UNEXPLAINED
        )

    def _strengths_of(self, frame: Frame, small: U8, template: Template) -> _Strengths:
        """The strengths of a keyframe, whose small grey copy is (h, w)."""
        grid = extract_keys(self._keys, _pixels(frame))
        strengths = strength(grid.keys, template.keys, template.calibrations, self.config)
        return _Strengths(upsample(strengths, grid, small.shape), pixel_grid(*small.shape), small)

    def _end_of_shot(self, between: list[_Between], template: Template) -> Iterator[Region]:
        """The regions of frames after which no keyframe comes: the last one becomes one."""
        if between:
            *before, (frame, strengths) = between
            last = self._strengths_of(frame, strengths.grey, template)
            yield from _back_from(last, before)
            yield _region(frame, last.dilated(), cut=False, keyframe=True)


@dataclass(frozen=True, slots=True)
class _Strengths:
    """Strengths of a keyframe, propagated to another frame of its shot."""

    values: F32  # (h, w), of the keyframe
    source: F32  # (h, w, 2): each pixel's position in it; repeated warping of values would blur
    grey: U8  # (h, w): the present frame
    age: int = 0  # frames from the keyframe
    motion: float = 0.0  # pixels from the keyframe
    unexplained: float = 0.0  # share of the pixels from there that the flow did not predict

    def dilated(self) -> F32:
        """(h, w), 0 to 1, in the present frame."""
        moved = remap(self.values, self.source, wrap=False)
        across = 2 * ceil(FLOW_ERROR * min(self.motion, 3 * MAX_MOTION)) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
        return np.asarray(cv2.dilate(moved, disc), np.float32)

    def warp(self, now: U8) -> _Strengths:
        """Propagate to an adjacent frame, (h, w)."""
        flow = dis_flow(now, self.grey)
        there = pixel_grid(*flow.shape[:2]) + flow
        expected = remap(self.grey, there, wrap=False)
        source = remap(self.source, there, wrap=False)
        step = np.hypot(flow[..., 0], flow[..., 1])  # (h, w)
        hidden = step[remap(self.values, source, wrap=False) > 0.5]
        motion = max(np.quantile(part, 0.95) for part in (step, hidden) if part.size)
        return _Strengths(
            self.values,
            source,
            now,
            self.age + 1,
            self.motion + float(motion),
            self.unexplained + float((cv2.absdiff(now, expected) > UNEXPLAINED).mean()),
        )


class _Between(NamedTuple):
    """A frame between two keyframes, with the strengths of the earlier one."""

    frame: Frame
    strengths: _Strengths


def _back_from(later: _Strengths, between: list[_Between]) -> Iterator[Region]:
    """The regions of the frames between two keyframes, the maximum of what both give them."""
    strengths = []
    for _, earlier in reversed(between):
        later = later.warp(earlier.grey)
        strengths.append(np.maximum(earlier.dilated(), later.dilated()))
    for (frame, _), values in zip(between, reversed(strengths), strict=True):
        yield _region(frame, values, cut=False, keyframe=False)


def _region(frame: Frame, strengths: F32, *, cut: bool, keyframe: bool) -> Region:
    """The region of a frame, from strengths (h, w) of its small copy."""
    size = frame.width, frame.height
    full = cv2.resize(strengths, size, interpolation=cv2.INTER_LINEAR)
    check_array("a comparison with templates", full, size[::-1])  # NaN would become 0
    return Region(strength=np.rint(full * 255).astype(np.uint8), cut=cut, detected=keyframe)


def parse_point(text: str) -> tuple[int, float, float]:
    """ "FRAME:X,Y" as (frame, x, y); "X,Y" is a point of the first frame.

    Raises:
        UsageError: it is written otherwise.
    """
    whole, pixels = "[0-9]{1,9}", r"[0-9]{1,9}(?:\.[0-9]+)?"
    match = re.fullmatch(f"(?:({whole}):)?({pixels}),({pixels})", text.strip())
    if not match:
        raise UsageError(f"a point is FRAME:X,Y, as in 12:212,140; {text[:40]!r} is none.")
    return int(match[1] or 0), float(match[2]), float(match[3])


def _check_point(point: tuple[int, float, float]) -> tuple[int, float, float]:
    frame, x, y = point
    if not 0 <= frame <= MAX_POINT_FRAME:
        raise UsageError(
            f"a point may lie in frames 0 to {MAX_POINT_FRAME}, as all before it are kept in "
            f"memory; not in {frame}: point at an earlier frame, or keep a picture of that one "
            "with `masquerade templates add`."
        )
    return int(frame), float(x), float(y)


def _drain(waiting: deque[MarkedFrame], more: Iterator[MarkedFrame]) -> Iterator[MarkedFrame]:
    while waiting:
        yield waiting.popleft()
    yield from more


def _small(frame: Frame) -> U8:
    """(h, w) grey, of `LONG_SIDE` pixels, or more where the flow fails on the shorter side."""
    sides = frame.width, frame.height
    factor = max(LONG_SIDE / max(sides), MIN_SIDE / min(sides))
    return grey(
        frame.rgb((max(1, round(frame.width * factor)), max(1, round(frame.height * factor))))
    )


def _pixels(frame: Frame) -> U8:
    """8 bits per channel, whatever the video has: `rgb` scales in 8 bits."""
    return frame.rgb((frame.width, frame.height))

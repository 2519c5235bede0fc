"""The region source of templates: what somebody pointed at, wherever it appears.

Ilic et al., CVPR 2024, 3.1 and 3.2. Keys are computed on key frames; between them the strengths are
carried by optical flow. A cut starts anew.
"""

from __future__ import annotations

import hashlib
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial, reduce
from itertools import islice
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.errors import UsageError
from masquerade.models.optical_flow import dis_flow, pixel_grid
from masquerade.regions.cuts import mark_cuts
from masquerade.regions.keys import SHORT, extractor
from masquerade.regions.region import Frame, Region
from masquerade.regions.saliency import Combine, Shaping, placed, strength
from masquerade.regions.template_library import Library
from masquerade.regions.templates import Template, check_extractor, picked

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Seen = tuple[Frame, bool]  # a picture, and whether a cut lies before it

LATEST = 128  # frame up to which a point may lie: those before it wait in memory for its key
SIDE = 320  # longest side of the copy that strengths are carried on
LONGEST = 12  # frames from key frame to key frame at most, where motion decides
FAR = 8.0  # pixels of that copy after which keys are asked again
NEWS = 0.02  # share of the picture that flow does not explain, summed, after which they are
UNLIKE = 24  # levels of 255
DOUBT = 0.5  # pixels that what is carried grows for each that things moved: flow errs at edges


class Templates:
    """What looks like a template, or like a point of this very video.

    Args:
        templates: names in the library, hidden together.
        at: points in this video, (frame, x, y) with frames from 0 and pixels of the upright frame;
            what looks like them is hidden in all frames, those before the point's too.
        keys: what templates are compared by: colour-hog (no weights; for points in this video),
            dino-s8, dino-s16 or dinov2-s14.
        key_weights: a file of the network's weights; None: the fetched one.
        stride: pixels from key to key at the size looked at; None: the keys' own.
        short: pixels of the short side that a frame is looked at in.
        device: where the network runs, as torch spells it.
        library: folder of templates; None: the user's.
        every: compute keys in every so many frames; 0: where there was motion or news, and in
            every 12th at the latest.
        combine: several keys by their `max`, or their `mean` as in the paper, which is weaker.
        calibrated: hide the core of what is found wholly; else by the cosine, as in the paper.
        grow: keys by which what is found grows, 0 or more.
        gamma: power of the strength, above 0; below 1 hides more.
        threshold: what is less alike than this stays, 0 to 1; lower is safer.
        floor: least strength anywhere, 0 to 1.

    Raises:
        UsageError: there is neither template nor point, or one that does not fit.
        MissingError: a template or weights are not here.
    """

    name = "templates"

    def __init__(
        self,
        *,
        templates: tuple[str, ...] = (),
        at: tuple[tuple[int, float, float], ...] = (),
        keys: str = "colour-hog",
        key_weights: Path | None = None,
        stride: int | None = None,
        short: int = SHORT,
        device: str = "cpu",
        library: Path | None = None,
        every: int = 0,
        combine: Combine = "max",
        calibrated: bool = True,
        grow: int = 1,
        gamma: float = 1.0,
        threshold: float = 0.0,
        floor: float = 0.0,
    ) -> None:
        arguments = locals()
        self._arguments = {k: v for k, v in arguments.items() if k not in ("self", "__class__")}
        self.at = tuple(_point(point) for point in at)
        if not templates and not at:
            raise UsageError(
                "templates need a name, as in --hide eye,hair, or a point in the video, as in "
                "--at FRAME:X,Y."
            )
        if every < 0:
            raise UsageError(f"keys are computed in every 1 or more frames, or 0; not {every}.")
        self.every = every
        self.shaping = Shaping(
            combine=combine,
            calibrated=calibrated,
            grow=grow,
            gamma=gamma,
            threshold=threshold,
            floor=floor,
        )
        self._keys = extractor(keys, weights=key_weights, stride=stride, short=short, device=device)
        self.identity, self.model_sha256 = self._keys.identity, self._keys.model_sha256
        self._known = [Library(folder=library).load(name) for name in templates]
        for template in self._known:
            check_extractor(template, self.identity)
        known = b"".join(template.keys.tobytes() for template in self._known)
        self.content = hashlib.sha256(self.identity.encode() + known).hexdigest()
        self.look_ahead = max((frame for frame, _, _ in self.at), default=0)

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), **self._arguments), ()

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region a picture."""
        seen = mark_cuts(frames)
        waiting = deque(islice(seen, self.look_ahead + 1))
        if not waiting:
            return
        sought = reduce(Template.with_picks_of, [*self._known, *self._pointed(waiting)])
        carried: _Carried | None = None
        for picture, cut in _drained(waiting, seen):
            carried, looked = self._next(picture, None if cut else carried, sought)
            size = picture.width, picture.height
            levels = cv2.resize(carried.strength(), size, interpolation=cv2.INTER_LINEAR)
            mask = np.rint(levels * 255).astype(np.uint8)
            yield Region(strength=mask, cut=cut, detected=looked)

    def _pointed(self, waiting: deque[Seen]) -> list[Template]:
        """A template of each frame that has points."""
        if len(waiting) <= self.look_ahead:
            raise UsageError(
                f"there is no frame {self.look_ahead} to point at: the video has {len(waiting)}."
            )
        found = []
        for frame in sorted({frame for frame, _, _ in self.at}):
            grid = self._keys(_pixels(waiting[frame][0]))
            points = [(x, y) for t, x, y in self.at if t == frame]
            here = f"frame {frame}"
            found.append(picked("at", grid, points, self.identity, image=here, frame=frame))
        return found

    def _next(
        self, picture: Frame, before: _Carried | None, sought: Template
    ) -> tuple[_Carried, bool]:
        """The strengths of one more frame, and whether keys were computed for it."""
        small = picture.rgb(_carrying_size(picture))
        grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.uint8)
        if before is not None and (not self.every or before.since + 1 < self.every):
            now = before.moved_to(grey)
            if self.every or not now.stale():
                return now, False
        grid = self._keys(_pixels(picture))
        levels = strength(grid.keys, sought.keys, sought.levels, self.shaping)
        height, width = grey.shape
        return _Carried(
            placed(levels, grid, (height, width)), pixel_grid(height, width), grey
        ), True


@dataclass(frozen=True, slots=True)
class _Carried:
    """Strengths on their way from a key frame."""

    key: F32  # (h, w): strengths in the key frame
    source: F32  # (h, w, 2): where in it each pixel comes from, so that steps do not blur it
    grey: U8  # (h, w): the frame it is now
    since: int = 0  # frames since the key frame
    moved: float = 0.0  # pixels since then
    news: float = 0.0  # share of the picture since then that came from nowhere

    def strength(self) -> F32:
        """(h, w), 0 to 1."""
        found = _looked_up(self.key, self.source)
        across = 2 * ceil(DOUBT * min(self.moved, 3 * FAR)) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
        return np.asarray(cv2.dilate(found, disc), np.float32)

    def moved_to(self, grey: U8) -> _Carried:
        flow = dis_flow(grey, self.grey)
        past = pixel_grid(*grey.shape) + flow
        expected = _looked_up(self.grey, past)
        source = _looked_up(self.source, past)
        step = np.hypot(flow[..., 0], flow[..., 1])  # (h, w)
        hidden = step[_looked_up(self.key, source) > 0.5]
        most = max(np.quantile(part, 0.95) for part in (step, hidden) if part.size)
        return _Carried(
            self.key,
            source,
            grey,
            self.since + 1,
            self.moved + float(most),
            self.news + float((cv2.absdiff(grey, expected) > UNLIKE).mean()),
        )

    def stale(self) -> bool:
        return self.since >= LONGEST or self.moved >= FAR or self.news >= NEWS


def parse_point(text: str) -> tuple[int, float, float]:
    """ "FRAME:X,Y" as the source takes it; "X,Y" is a point of the first frame.

    Raises:
        UsageError: it is written otherwise.
    """
    match = re.fullmatch(r"(?:(\d+):)?(\d+(?:\.\d+)?),(\d+(?:\.\d+)?)", text.strip())
    if not match:
        raise UsageError(f"a point is FRAME:X,Y, as in 12:212,140; {text!r} is none.")
    return int(match[1] or 0), float(match[2]), float(match[3])


def _point(point: tuple[int, float, float]) -> tuple[int, float, float]:
    frame, x, y = point
    if not 0 <= frame <= LATEST:
        raise UsageError(
            f"a point may lie in frames 0 to {LATEST}, since all before it wait for it; not in "
            f"{frame}: point at an earlier frame, or keep a picture of that one with "
            "`masquerade templates add`."
        )
    return int(frame), float(x), float(y)


def _drained(waiting: deque[Seen], more: Iterator[Seen]) -> Iterator[Seen]:
    while waiting:
        yield waiting.popleft()
    yield from more


def _carrying_size(picture: Frame) -> tuple[int, int]:
    """(w, h); small frames are enlarged, since the flow sees nothing of less than 30 pixels."""
    factor = SIDE / max(picture.width, picture.height)
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))


def _pixels(picture: Frame) -> U8:
    """8 bits a channel, whatever the video has."""
    return picture.rgb((picture.width, picture.height))


def _looked_up(image: Any, source: F32) -> Any:
    """image at source[y, x] = (x', y'); beyond an edge the edge's own."""
    return cv2.remap(image, source, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

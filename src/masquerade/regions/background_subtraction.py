"""What moves before a static camera, by the difference to the picture's own median over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Box
from masquerade.regions.masks import ellipses
from masquerade.regions.picture import Picture, fitted
from masquerade.regions.region import Region

LEAST = 12  # frames of a shot without which there is no background
PATIENCE = 900  # frames after which what stands still counts as background after all
RATE = 0.02  # share of each frame that the background takes over, where nothing moves
LAG = 4  # frames, after which also a slow pan shows
SHIFT = 0.9  # pixels of the small copy that a static camera's picture does not move in them
DRIFT = 1.5  # nor away from its background
BLOCK = 32  # side of the parts that each say how far the picture moved; of odd ones OpenCV is
# half a pixel off
TEXTURE = 2.0  # least deviation of a block that can say so, in levels of 255
TAKEN = 0.6, 0.03, 0.97  # of a person's box: width, top and bottom of where the background is not
REST = 8.0  # difference from frame to frame below which a pixel is at rest, in levels of 255
MOST = 0.5  # share of the frame that can be in the foreground of a static camera

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Motion:
    """What moves in one frame.

    Args:
        boxes: of each moving part, in pixels of the frame.
        mask: (H, W), 255 on what moves.
        camera: the camera moves or the light changes, or there are too few frames to tell what
            stands still: nothing is known of this frame, and one must hide it whole.
    """

    boxes: list[Box]
    mask: Pixels
    camera: bool

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.mask.shape[1]

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.mask.shape[0]


@dataclass(slots=True)
class _Small:
    """A frame waiting for its future."""

    width: int
    height: int
    pixels: Pixels  # (h, w, 3), blurred
    people: NDArray[np.bool_]  # (h, w), where people are seen
    first: bool  # of its shot
    moves: bool  # the camera moved in the last few frames


class MovingPeople:
    """Finds what moves before a camera that stands still, and says when it does not.

    The first background is the median of the first frames, so that a person who stands still in
    most of them is not found: look for people as well.

    Args:
        threshold: least difference to the background, in levels of 255.
        scale: longest side of the copy that is looked at, in pixels.
        window: frames of the future that the background is taken from, besides the past.
        least: least part of the frame that counts, so that leaves and noise do not.
    """

    model_sha256: str | None = None

    def __init__(
        self,
        *,
        threshold: float = 20,
        scale: int = 192,
        window: int = 25,
        least: float = 0.002,
    ) -> None:
        self.threshold, self.scale, self.least = threshold, scale, least
        self.look_ahead = window

    def __call__(self, pictures: Iterable[tuple[Picture, Region]]) -> Iterator[Motion]:
        """One motion a picture; each comes with whether a cut lies before it, and who is seen."""
        waiting: deque[_Small] = deque()
        recent: deque[_Small] = deque(maxlen=LAG)
        ground: _Ground | None = None
        for picture, region in pictures:
            if region.cut:
                recent.clear()
            waiting.append(self._small(picture, region, recent[0] if recent else None))
            recent.append(waiting[-1])
            if len(waiting) > self.look_ahead:
                ground = _ground(ground, waiting)
                yield self._motion(waiting.popleft(), ground)
        while waiting:
            ground = _ground(ground, waiting)
            yield self._motion(waiting.popleft(), ground)

    def _small(self, picture: Picture, region: Region, before: _Small | None) -> _Small:
        pixels = picture.rgb(fitted(picture, self.scale))
        smooth = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.0), np.uint8)
        moves = before is not None and _shift(before.pixels, smooth) > SHIFT
        size, (h, w) = (picture.width, picture.height), smooth.shape[:2]
        people = ellipses(region.boxes, part=TAKEN, frame=size, size=(w, h)) > 0
        return _Small(*size, smooth, people, before is None, moves)

    def _motion(self, now: _Small, ground: _Ground | None) -> Motion:
        nothing = Motion([], np.zeros((now.height, now.width), np.uint8), camera=True)
        if ground is None:
            return nothing
        plate = ground.plate.astype(np.uint8)
        fore = _foreground(now.pixels, plate, self.threshold)
        fore[~ground.known] = 0
        if now.moves or _shift(plate, now.pixels) > DRIFT or fore.mean() > MOST * 255:
            return nothing
        doubt = ~ground.known & ~now.people
        ground.learn(now, fore > 0)
        boxes, mask = _parts(fore, self.least, now.width, now.height)
        return Motion(boxes, np.maximum(mask, _enlarged(doubt, now)), camera=False)


@dataclass(slots=True)
class _Ground:
    """The background of a camera at rest."""

    plate: NDArray[np.float32]  # (h, w, 3)
    age: NDArray[np.int32]  # (h, w), frames for which a pixel has been in the foreground
    known: NDArray[np.bool_]  # (h, w), where it has been seen without people
    still: NDArray[np.int32]  # (h, w), frames for which one not known has been free and at rest

    def learn(self, now: _Small, fore: NDArray[np.bool_]) -> None:
        """Follow slow changes of light; who stops moving is not learned, or only after long."""
        self.age = np.where(fore, self.age + 1, 0)
        rate = np.where(fore, self.age > PATIENCE, RATE)[..., None].astype(np.float32)
        free = self.known & ~now.people
        self.plate[free] += (rate * (now.pixels - self.plate))[free]
        if not self.known.all():
            self._uncover(now)

    def _uncover(self, now: _Small) -> None:
        """What people stood before is known once they are away and it is at rest."""
        rest = np.abs(now.pixels - self.plate).max(axis=2) < REST
        self.still = np.where(rest & ~now.people, self.still + 1, 0)
        hidden = ~self.known
        self.plate[hidden] = now.pixels[hidden]
        self.known = self.known | (self.still >= LEAST)


def _ground(ground: _Ground | None, waiting: deque[_Small]) -> _Ground | None:
    """The background of the first frame that waits: the one there is, or a new one, or none."""
    now = waiting[0]
    # Never renewed inside a shot: those who just stand there would be taken for background. A
    # camera that moved and does not come back leaves the rest of its shot hidden whole.
    if ground is not None and not now.first:
        return ground
    ahead = list(waiting)
    shot = next((i for i, small in enumerate(ahead) if i and small.first), len(ahead))
    own = [small.pixels for small in ahead[:shot]]
    if len(own) < LEAST or any(small.moves for small in ahead[:shot]):
        return None
    plate = np.partition(own, len(own) // 2, axis=0)[len(own) // 2].astype(np.float32)
    taken = np.array([small.people for small in ahead[:shot]])  # (n, h, w)
    known = (~taken).sum(axis=0) >= LEAST // 2
    partly = known & taken.any(axis=0)
    free = np.where(taken[:, partly, None], np.nan, np.array(own)[:, partly])
    plate[partly] = np.nanmedian(free, axis=0)
    none = np.zeros(plate.shape[:2], np.int32)
    return _Ground(plate, none, known, none)


def _shift(a: Pixels, b: Pixels) -> float:
    """How far the camera moved from one picture (h, w, 3) to the other, in pixels.

    The picture is cut into blocks; people move some of them, a camera moves most.
    """
    p, q = (np.asarray(cv2.cvtColor(k, cv2.COLOR_RGB2GRAY), np.float32) for k in (a, b))
    h, w = p.shape
    window: Any = cv2.createHanningWindow((BLOCK, BLOCK), cv2.CV_32F)
    shifts = []
    for y in range(h % BLOCK // 2, h - BLOCK + 1, BLOCK):
        for x in range(w % BLOCK // 2, w - BLOCK + 1, BLOCK):
            u, v = (k[y : y + BLOCK, x : x + BLOCK] for k in (p, q))
            if min(float(u.std()), float(v.std())) > TEXTURE:
                u, v = (u - u.mean()) * window, (v - v.mean()) * window
                shifts.append(cv2.phaseCorrelate(u, v)[0])
    if not shifts:
        return 0.0  # nothing to hold on to, such as black
    return float(np.hypot(*np.median(np.array(shifts), axis=0)))


def _foreground(pixels: Pixels, plate: Pixels, low: float) -> Pixels:
    """(h, w), 255 where a pixel differs from the background, small holes closed."""
    differs = (cv2.absdiff(pixels, plate).max(axis=2) > low).astype(np.uint8) * 255
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    closed = cv2.morphologyEx(cv2.erode(differs, cross), cv2.MORPH_CLOSE, disc)
    return np.asarray(cv2.dilate(closed, disc[2:7, 2:7]), np.uint8)


def _parts(fore: Pixels, least: float, width: int, height: int) -> tuple[list[Box], Pixels]:
    """Boxes and mask of the parts that are large enough, holes filled, at the frame's size."""
    h, w = fore.shape
    outlines, _ = cv2.findContours(fore, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [o for o in outlines if cv2.contourArea(o) >= least * w * h]
    mask = np.zeros_like(fore)
    cv2.drawContours(mask, large, -1, 255, cv2.FILLED)
    boxes = []
    for x, y, wide, high in map(cv2.boundingRect, large):
        boxes.append(
            Box(
                x * width / w,
                y * height / h,
                (x + wide) * width / w,
                (y + high) * height / h,
                1.0,
                label="person",
            )
        )
    smooth = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return boxes, np.asarray((smooth > 0) * np.uint8(255), np.uint8)


def _enlarged(inside: NDArray[np.bool_], now: _Small) -> Pixels:
    """(H, W), 255 inside, but for specks."""
    opened = cv2.morphologyEx(inside * np.uint8(255), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    size = now.width, now.height
    return np.asarray(cv2.resize(opened, size, interpolation=cv2.INTER_NEAREST), np.uint8)

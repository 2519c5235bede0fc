"""Background subtraction for a static camera: what differs from the median frame is foreground.

The background is the median of the first frames of a shot and follows slow changes of light. Camera
motion is measured by phase correlation; where the camera moves, `background_unknown` is set.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.regions.boxes import Array, Box, to_boxes
from masquerade.regions.masks import draw_ellipses
from masquerade.regions.region import Frame, Region, fit_size

LONG_SIDE = 192  # of the small copy, in pixels
MIN_DIFFERENCE = 20  # from the background, in levels of 255
MIN_AREA = 0.002  # of a connected part, as a share of the frame
MIN_FRAMES = 12  # of a shot, to estimate a background
MAX_STILL_FRAMES = 900  # after which what stands still is added to the background
LEARNING_RATE = 0.02  # of the background, where nothing moves
LAG = 4  # frames between the two that camera motion is measured from, so that a slow pan shows
MAX_SHIFT = 0.9  # pixels of the small copy by which a static camera may shift within them
MAX_DRIFT = 1.5  # and away from its background
BLOCK = 32  # side of the blocks that shifts are measured on; on odd sides OpenCV is half a pixel
# off
MIN_TEXTURE = 2.0  # standard deviation of a block that can be matched, in levels of 255
PERSON_ELLIPSE = 0.6, 0.03, 0.97  # width, top, bottom in parts of a person's box: not background
MASK_MARGIN = 5  # width of what a silhouette is grown by, in pixels of the small copy
MAX_REST_CHANGE = 8.0  # from frame to frame of a pixel at rest, in levels of 255
MAX_FOREGROUND = 0.5  # share of the frame; more is a change of light or of the camera

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Foreground:
    """The moving foreground of one frame.

    The background is unknown where the camera moves, the light changes or the shot is too short:
    the whole frame has to be hidden then.
    """

    boxes: list[Box]  # of each connected part, in pixels of the frame
    mask: Pixels  # (H, W), 255 on the foreground
    background_unknown: bool

    @property
    def width(self) -> int:
        return self.mask.shape[1]

    @property
    def height(self) -> int:
        return self.mask.shape[0]


@dataclass(slots=True)
class _Small:
    """The small copy of a frame."""

    width: int  # of the frame
    height: int
    pixels: Pixels  # (h, w, 3), blurred
    people: NDArray[np.bool_]  # (h, w), where people were detected
    first: bool  # of its shot
    camera_moves: bool  # in the last few frames


class BackgroundSubtraction:
    """Finds moving foreground in front of a static camera, and tells where the camera moves.

    A person who stands still in most of the first frames becomes background, unless a detector
    found them: the regions that come with the frames are left out of the background.
    """

    look_ahead = 25  # later frames that the background is estimated from

    def __call__(self, frames: Iterable[tuple[Frame, Region]]) -> Iterator[Foreground]:
        """One foreground per frame; its region gives the cuts and the detected people."""
        waiting: deque[_Small] = deque()
        recent: deque[_Small] = deque(maxlen=LAG)
        background: _Background | None = None
        for frame, region in frames:
            if region.cut:
                recent.clear()
            waiting.append(self._reduce(frame, region, recent[0] if recent else None))
            recent.append(waiting[-1])
            if len(waiting) > self.look_ahead:
                background = _update(background, waiting)
                yield self._subtract(waiting.popleft(), background)
        while waiting:
            background = _update(background, waiting)
            yield self._subtract(waiting.popleft(), background)

    def _reduce(self, frame: Frame, region: Region, before: _Small | None) -> _Small:
        pixels = frame.rgb(fit_size(frame, LONG_SIDE, shortest=BLOCK))
        smooth = np.asarray(cv2.GaussianBlur(pixels, (0, 0), 1.0), np.uint8)
        moves = before is not None and _camera_shift(before.pixels, smooth) > MAX_SHIFT
        full, (h, w) = (frame.width, frame.height), smooth.shape[:2]
        if region.mask is None:
            people = draw_ellipses(region.boxes, part=PERSON_ELLIPSE, frame=full, size=(w, h)) > 0
        else:
            near = np.ones((MASK_MARGIN, MASK_MARGIN), np.uint8)
            inside = cv2.resize(region.mask, (w, h), interpolation=cv2.INTER_AREA)
            people = cv2.dilate(np.asarray(inside, np.uint8), near) > 0
        return _Small(*full, smooth, people, before is None, moves)

    def _subtract(self, now: _Small, background: _Background | None) -> Foreground:
        nothing = Foreground(
            [], np.zeros((now.height, now.width), np.uint8), background_unknown=True
        )
        if background is None:
            return nothing
        plate = background.plate.astype(np.uint8)
        moving = _difference(now.pixels, plate)
        moving[~background.known] = 0
        if (
            now.camera_moves
            or _camera_shift(plate, now.pixels) > MAX_DRIFT
            or moving.mean() > MAX_FOREGROUND * 255
        ):
            return nothing
        unseen = ~background.known & ~now.people
        background.learn(now, moving > 0)
        boxes, mask = _components(moving, now.width, now.height)
        if unseen.any():
            mask = np.maximum(mask, _enlarge(unseen, now))
        return Foreground(boxes, mask, background_unknown=False)


@dataclass(slots=True)
class _Background:
    """The background of a static camera."""

    plate: NDArray[np.float32]  # (h, w, 3)
    age: NDArray[np.int32]  # (h, w), frames since which a pixel has been foreground
    known: NDArray[np.bool_]  # (h, w), where it was seen without people
    still: NDArray[np.int32]  # (h, w), frames since which an unknown pixel has been at rest

    def learn(self, now: _Small, moving: NDArray[np.bool_]) -> None:
        """Follow slow changes of light; who stops moving is learned only after long."""
        self.age = np.where(moving, self.age + 1, 0)
        rate = np.where(moving, self.age > MAX_STILL_FRAMES, LEARNING_RATE)
        rate = np.where(self.known & ~now.people, rate, 0)[..., None].astype(np.float32)
        self.plate += rate * (now.pixels - self.plate)
        if not self.known.all():
            self._uncover(now)

    def _uncover(self, now: _Small) -> None:
        """What people stood in front of becomes known once they are gone and it is at rest."""
        rest = _largest(np.abs(now.pixels - self.plate)) < MAX_REST_CHANGE
        self.still = np.where(rest & ~now.people, self.still + 1, 0)
        hidden = ~self.known
        self.plate[hidden] = now.pixels[hidden]
        self.known = self.known | (self.still >= MIN_FRAMES)


def _update(background: _Background | None, waiting: deque[_Small]) -> _Background | None:
    """The background of the first waiting frame: the present one, a new one, or None."""
    # Never estimated anew inside a shot: people who just stand there would become background. A
    # camera that moved and does not come back leaves the rest of its shot hidden whole.
    if background is not None and not waiting[0].first:
        return background
    ahead = [waiting[0], *takewhile(lambda small: not small.first, islice(waiting, 1, None))]
    pixels = [small.pixels for small in ahead]
    if len(pixels) < MIN_FRAMES or any(small.camera_moves for small in ahead):
        return None
    plate = np.partition(pixels, len(pixels) // 2, axis=0)[len(pixels) // 2].astype(np.float32)
    people = np.array([small.people for small in ahead])  # (n, h, w)
    known = (~people).sum(axis=0) >= MIN_FRAMES // 2
    partly = known & people.any(axis=0)
    free = np.where(people[:, partly, None], np.nan, np.array(pixels)[:, partly])
    plate[partly] = np.nanmedian(free, axis=0)
    zeros = np.zeros(plate.shape[:2], np.int32)
    return _Background(plate, zeros, known, zeros)


def _camera_shift(a: Pixels, b: Pixels) -> float:
    """Pixels by which the camera moved between two frames (h, w, 3): the median over blocks.

    People move some of the blocks, a camera moves most.
    """
    window: Any = cv2.createHanningWindow((BLOCK, BLOCK), cv2.CV_32F)
    p, q = _blocks(a), _blocks(b)
    textured = np.minimum(p.std(axis=(1, 2)), q.std(axis=(1, 2))) > MIN_TEXTURE
    p, q = ((k - k.mean(axis=(1, 2), keepdims=True)) * window for k in (p[textured], q[textured]))
    shifts = [cv2.phaseCorrelate(u, v)[0] for u, v in zip(p, q, strict=True)]
    if not shifts:
        return 0.0  # no texture anywhere, such as black
    return float(np.hypot(*np.median(np.array(shifts), axis=0)))


def _blocks(pixels: Pixels) -> NDArray[np.float32]:
    """(n, BLOCK, BLOCK), the grey blocks of a frame (h, w, 3) without its outermost pixels."""
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)
    (rows, top), (columns, left) = (divmod(side, BLOCK) for side in grey.shape)
    inner = grey[top // 2 :, left // 2 :][: rows * BLOCK, : columns * BLOCK]
    blocks = inner.reshape(rows, BLOCK, columns, BLOCK).swapaxes(1, 2)
    return np.ascontiguousarray(blocks).reshape(-1, BLOCK, BLOCK)


def _difference(pixels: Pixels, plate: Pixels) -> Pixels:
    """(h, w), 255 where a pixel differs from the background, small holes closed."""
    differs = (_largest(cv2.absdiff(pixels, plate)) > MIN_DIFFERENCE).astype(np.uint8) * 255
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
    closed = cv2.morphologyEx(cv2.erode(differs, cross), cv2.MORPH_CLOSE, disc)
    return np.asarray(cv2.dilate(closed, disc[2:7, 2:7]), np.uint8)


def _largest(channels: Any) -> Any:
    """(h, w), the largest of three channels (h, w, 3); numpy takes ten times as long."""
    red, green, blue = cv2.split(channels)
    return cv2.max(cv2.max(red, green), blue)


def _components(moving: Pixels, width: int, height: int) -> tuple[list[Box], Pixels]:
    """Boxes and mask, at the frame's size, of the parts that are large enough, holes filled."""
    h, w = moving.shape
    contours, _ = cv2.findContours(moving, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [c for c in contours if cv2.contourArea(c) >= MIN_AREA * w * h]
    mask = np.zeros_like(moving)
    cv2.drawContours(mask, large, -1, 255, cv2.FILLED)
    rows: Array = np.array([cv2.boundingRect(c) for c in large], np.float64).reshape(-1, 4)
    rows[:, 2:] += rows[:, :2]
    rows = rows * ([width, height] * 2) / ([w, h] * 2)
    boxes = to_boxes(rows, np.ones(len(rows)), "person")
    smooth = cv2.resize(mask, (width, height), interpolation=cv2.INTER_LINEAR)
    return boxes, np.asarray((smooth > 0) * np.uint8(255), np.uint8)


def _enlarge(inside: NDArray[np.bool_], now: _Small) -> Pixels:
    """(H, W), 255 inside, except for specks."""
    opened = cv2.morphologyEx(inside * np.uint8(255), cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    size = now.width, now.height
    return np.asarray(cv2.resize(opened, size, interpolation=cv2.INTER_NEAREST), np.uint8)

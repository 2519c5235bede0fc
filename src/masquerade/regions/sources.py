"""Region sources: from frames to what lies in them that may be hidden.

A source is called with the pictures of one video and gives one `Region` a picture, in order. It
reads at most `look_ahead` pictures past the one it speaks of; its constructor is its config.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import tee
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from masquerade.errors import UsageError
from masquerade.regions.background_subtraction import Motion, MovingPeople
from masquerade.regions.boxes import Box, read_boxes
from masquerade.regions.faces import CenterFace, HaarFaces
from masquerade.regions.grabcut import Look, Outlines
from masquerade.regions.masks import Mask
from masquerade.regions.people import HogPeople, TorchvisionPeople
from masquerade.regions.picture import Picture
from masquerade.regions.region import Region, looked_at, with_cuts
from masquerade.regions.template_regions import Templates
from masquerade.regions.tracking import fill, look_ahead

MOTION_LED = 25  # frames that a track of motion is led before its first sighting
Sight = tuple[list[Box], Mask | None]

SURE = 0.5  # score of a face that is hardly anything else


class WholeFrame:
    """The whole of every frame."""

    name = "frame"
    look_ahead = 0
    model_sha256: str | None = None

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Region]:
        """One region a picture."""
        for _ in pictures:
            yield Region(everywhere=True)


class Boxes:
    """The boxes of a file, as `--export-boxes` writes them and a hand may have changed them.

    Args:
        file: the JSON file, see `masquerade.regions.boxes`.

    Raises:
        UsageError: the file cannot be read, is of another schema, or for another size of frame.
    """

    name = "boxes"
    look_ahead = 0
    model_sha256: str | None = None

    def __init__(self, *, file: Path) -> None:
        self.file = file
        self._frames = read_boxes(file)

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Region]:
        """One region a picture."""
        for number, picture in enumerate(pictures):
            if number == 0:
                read_boxes(self.file, width=picture.width, height=picture.height)
            yield Region(boxes=tuple(self._frames.get(number, ())), seen=False)


class Faces:
    """Faces, found in every N-th frame and tracked through the rest.

    The defaults favour recall. What looking less costs depends on how fast heads move, and what
    looking at a smaller copy costs on how small faces are: below about 10 pixels none is found.

    Args:
        detector: `centerface` (a network), or `haar` (OpenCV's cascades, much weaker).
        threshold: lowest score of a face, 0 to 1; lower is safer and hides more besides.
        scale: size to look at, (w, h) to fit into or the longest side in pixels; None: full size.
        min_size: faces whose longer side is below this, in pixels, stay visible.
        max_size: as do those above this; None: no bound.
        every: look at every so many frames, and at the first, the last and those after a cut.
        track: join sightings to tracks and fill what lies between; else only what is seen.
        gap: longest run of missed frames that a track is led across.
        carry: frames that a track goes on after its last sighting.
        lookback: frames that it starts before its first.

    Raises:
        MissingError: the face model is not installed.
    """

    name = "faces"

    def __init__(
        self,
        *,
        detector: Literal["centerface", "haar"] = "centerface",
        threshold: float = 0.2,
        scale: tuple[int, int] | int | None = None,
        min_size: float = 0,
        max_size: float | None = None,
        every: int = 3,
        track: bool = True,
        gap: int = 12,
        carry: int = 6,
        lookback: int = 6,
    ) -> None:
        kind = HaarFaces if detector == "haar" else CenterFace
        self._find = kind(threshold=threshold, scale=scale, min_size=min_size, max_size=max_size)
        self.every, self.track = every if track else 1, track
        self.gap, self.carry, self.lookback = gap, carry, lookback
        self.model_sha256 = self._find.model_sha256
        ahead = look_ahead(gap=gap, lookback=lookback, every=self.every) + 1
        self.look_ahead = ahead if track else 1

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Region]:
        """One region a picture."""
        looks = looked_at(with_cuts(pictures), self.every)
        rules = {"gap": self.gap, "carry": self.carry, "lookback": self.lookback, "sure": SURE}
        return tracked(looks, self._sight, self.every, rules if self.track else None)

    def _sight(self, picture: Picture) -> Sight:
        return self._find(picture), None


class People:
    """People: found upright by OpenCV's detector, by their motion, or by torchvision's networks.

    `motion` needs a static camera. Where the camera moves, or where there are too few frames to
    tell what stands still, the whole frame is hidden; `hog` alone does not do that, and misses
    people who sit, bend or are small.

    Args:
        detector: `hog`, `motion`, both, or `torchvision` (the `zoo` extra and a file of weights).
        threshold: lowest score of a person, 0 to 1; lower is safer and hides more besides.
        scale: size to look at, (w, h) to fit into or the longest side in pixels; None: full size.
            For motion the copy is smaller.
        weights: torchvision's state dict, a .pth file.
        device: where torchvision's network runs.
        every: look at every so many frames, and at the first, the last and those after a cut;
            motion is looked at in all.
        track: join sightings to tracks and fill what lies between; else only what is seen.
        gap: longest run of missed frames that a track is led across.
        carry: frames that a track goes on after its last sighting.
        lookback: frames that it starts before its first.

    Raises:
        MissingError: torchvision or the weights are asked for and not here.
        UsageError: `torchvision` without a file of weights.
    """

    name = "people"
    shape = "silhouette"

    def __init__(
        self,
        *,
        detector: Literal["hog", "motion", "hog+motion", "torchvision"] = "hog+motion",
        threshold: float = 0.15,
        scale: tuple[int, int] | int | None = 480,
        weights: Path | None = None,
        device: str = "cpu",
        every: int = 4,
        track: bool = True,
        gap: int = 12,
        carry: int = 6,
        lookback: int = 6,
    ) -> None:
        self._net: TorchvisionPeople | None = None
        if detector == "torchvision":
            if weights is None:
                raise UsageError("People by torchvision need a file of weights: name one.")
            self._net = TorchvisionPeople(
                weights=weights, threshold=threshold, scale=scale, device=device
            )
        self._hog = HogPeople(threshold=threshold, scale=scale) if "hog" in detector else None
        self._moving = MovingPeople() if "motion" in detector else None
        self.model_sha256 = self._net.model_sha256 if self._net else None
        self.every = every if track else 1
        self._rules = {"gap": gap, "carry": carry, "lookback": lookback} if track else None
        own = look_ahead(gap=gap, lookback=lookback, every=self.every) if track else 0
        led = look_ahead(gap=gap, lookback=MOTION_LED) if track else 0
        outlines = self.every if self._hog else 0
        self.look_ahead = (
            own + outlines + (self._moving.look_ahead + led if self._moving else 0) + 1
        )

    def __call__(self, pictures: Iterable[Picture]) -> Iterator[Region]:
        """One region a picture."""
        cuts = with_cuts(pictures)
        if self._net is not None:
            return tracked(looked_at(cuts, self.every), self._sight, self.every, self._rules)
        if self._hog is None:
            assert self._moving is not None
            return self._motions(
                ((picture, Region(cut=cut)) for picture, cut in cuts), self._moving
            )
        return Outlines()(self._looks(cuts))

    def _looks(self, pictures: Iterable[tuple[Picture, bool]]) -> Iterator[Look]:
        """Who stands, and what moves besides, for their silhouettes to be cut."""
        seen, pictures = tee(pictures)
        standing = tracked(looked_at(seen, self.every), self._sight, self.every, self._rules)
        looks = zip((picture for picture, _ in pictures), standing, strict=True)
        if self._moving is None:
            for picture, region in looks:
                yield Look(picture, region.boxes, None, region, key=region.seen)
            return
        ahead, behind = tee(looks)
        motions = self._motions(ahead, self._moving)
        for (picture, region), motion in zip(behind, motions, strict=True):
            whole = _joined(_strangers(motion, region.boxes), region)
            yield Look(picture, region.boxes, motion.mask, whole, key=region.seen)

    def _sight(self, picture: Picture) -> Sight:
        if self._net is not None:
            return self._net.outlined(picture)
        assert self._hog is not None
        return self._hog(picture), None

    def _motions(
        self, pictures: Iterable[tuple[Picture, Region]], moving: MovingPeople
    ) -> Iterator[Region]:
        """What moves, in tracks; a frame of which nothing is known is hidden whole."""
        ahead, frames = tee(pictures)
        waiting: deque[Motion] = deque()

        def looks() -> Iterator[tuple[Motion, bool, bool]]:
            for motion, (_, region) in zip(moving(ahead), frames, strict=True):
                waiting.append(motion)
                yield motion, region.cut, True

        # What begins to move inside the picture was there before: led farther back.
        rules = self._rules and {**self._rules, "lookback": MOTION_LED}
        for region in tracked(looks(), _moves, 1, rules):
            motion = waiting.popleft()
            yield _whole(motion, region.cut) if motion.camera else region


def _moves(motion: Motion) -> Sight:
    return motion.boxes, motion.mask


def _whole(motion: Motion, cut: bool) -> Region:
    # The box says the same to those who keep only boxes, such as a file of them.
    box = Box(0.0, 0.0, float(motion.width), float(motion.height), 1.0, label="frame")
    return Region(boxes=(box,), everywhere=True, cut=cut, seen=False)


def _strangers(motion: Region, people: tuple[Box, ...]) -> Region:
    """Without the boxes of moving parts that belong to people seen besides: those have outlines."""
    others = tuple(box for box in motion.boxes if not any(_within(box, one) for one in people))
    return replace(motion, boxes=others)


def _within(part: Box, whole: Box) -> bool:
    wide = min(part.x1, whole.x1) - max(part.x0, whole.x0)
    high = min(part.y1, whole.y1) - max(part.y0, whole.y0)
    return min(wide, high) > 0 and wide * high > part.width * part.height / 2


def _joined(a: Region, b: Region) -> Region:
    """Both; numbers of tracks stay apart, a's even and b's odd."""
    boxes = [replace(x, track=None if x.track is None else 2 * x.track) for x in a.boxes]
    boxes += [replace(x, track=None if x.track is None else 2 * x.track + 1) for x in b.boxes]
    return replace(a, boxes=tuple(boxes), seen=a.seen or b.seen)


class _Sized(Protocol):
    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


Looked = TypeVar("Looked", bound=_Sized)


def tracked(
    looks: Iterable[tuple[Looked, bool, bool]],
    find: Callable[[Looked], Sight],
    every: int,
    rules: dict[str, Any] | None,
) -> Iterator[Region]:
    """Look where it is said, and lead tracks through all frames.

    Args:
        looks: of each frame what is looked at, whether a cut lies before it, whether to look.
        find: what it shows: boxes, and a silhouette or None.
        every: how many frames lie from look to look.
        rules: arguments of `tracks.fill`; None: only what is seen.
    """
    waiting: deque[tuple[Looked, bool, bool, Mask | None]] = deque()

    def detections() -> Iterator[tuple[list[Box] | None, bool]]:
        for frame, cut, look in looks:
            boxes, mask = find(frame) if look else (None, None)
            waiting.append((frame, cut, look, mask))
            yield boxes, cut

    lists: Iterable[list[Box]] = (boxes or [] for boxes, _ in detections())
    for boxes in lists if rules is None else fill(detections(), every=every, **rules):
        frame, cut, look, mask = waiting.popleft()
        inside = (box.clipped(frame.width, frame.height) for box in boxes)
        found = tuple(box for box in inside if box is not None)
        yield Region(boxes=found, mask=mask, cut=cut, seen=look)


REGIONS: dict[str, type] = {
    "frame": WholeFrame,
    "faces": Faces,
    "people": People,
    "boxes": Boxes,
    "templates": Templates,
}

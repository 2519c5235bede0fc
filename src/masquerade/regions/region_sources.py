"""The `RegionSource` protocol, and the sources for whole frames, faces, people and a file of boxes.

A source is called with the frames of one video and yields one `Region` per frame, in order. It
reads at most `look_ahead` frames beyond the one it yields; its constructor is its configuration.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

import numpy as np

from masquerade.errors import UsageError
from masquerade.ranges import Checked, Count, Positive, UnitInterval, Weight, Whole, at_least
from masquerade.regions.background_subtraction import BackgroundSubtraction, Foreground
from masquerade.regions.boxes import Box, area, corners, intersection, read_boxes
from masquerade.regions.face_detectors import CenterFace, HaarFaces
from masquerade.regions.grabcut import GrabCutInput, add_silhouettes
from masquerade.regions.person_detectors import HogPeople, TorchvisionPeople
from masquerade.regions.region import Frame, Region
from masquerade.regions.scene_cuts import mark_cuts
from masquerade.regions.tracking import Detections, Tracking, select_keyframes, track_regions

Every = Annotated[int, at_least(1, 1000)]
MOTION_LOOKBACK = 25  # frames that a track of motion is extrapolated before its first detection


class RegionSource(Protocol):
    """Finds what to hide in the frames of one video."""

    name: str  # in `REGIONS`
    look_ahead: int = 0  # how many frames it reads at most beyond the one whose region it returns
    model_sha256: str | None = None  # of the file of its detector's weights, if there is one

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region per frame, in order."""
        ...


class WholeFrame(RegionSource):
    """The whole of every frame."""

    name = "frame"

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for _ in frames:
            yield Region(full_frame=True)


class Boxes(RegionSource):
    """The boxes of a file, as `--export-boxes` writes them and a user may have edited them.

    Args:
        file: the JSON file, see `masquerade.regions.boxes`.

    Raises:
        UsageError: the file cannot be read, has another schema, or is for another frame size.
    """

    name = "boxes"

    def __init__(self, *, file: Path) -> None:
        self.file = file
        self._boxes = read_boxes(file)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for number, frame in enumerate(frames):
            if number == 0:
                read_boxes(self.file, width=frame.width, height=frame.height)
            yield Region(boxes=tuple(self._boxes.get(number, ())), detected=False)


@dataclass(kw_only=True, eq=False)
class TrackedSource(Checked):
    """A region source that detects in some frames and tracks what it finds through the rest.

    Args:
        threshold: lowest score of a face or person, 0 to 1; lower is safer and hides more besides.
        scale: size that the detector sees, (w, h) to fit into or the longest side in pixels; None:
            full size. Motion is found in a smaller copy.
        every: detect in every so many frames, in the first, the last and those after a cut; motion
            is found in all.
        track: join detections to tracks and fill the gaps; otherwise use detections alone.
        gap: longest run of missed frames that is filled.
        carry: frames that a face or person stays hidden after its last detection.
        lookback: frames that it is hidden before its first.
    """

    threshold: UnitInterval
    scale: tuple[Count, Count] | Count | None = None
    every: Every
    track: bool = True
    gap: Whole = 12
    carry: Whole = 6
    lookback: Whole = 6

    min_best_score: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.every = self.every if self.track else 1
        self._tracking: Tracking | None = None
        self.look_ahead = 1
        if self.track:
            self._tracking = Tracking(
                gap=self.gap,
                carry=self.carry,
                lookback=self.lookback,
                every=self.every,
                min_best_score=self.min_best_score,
            )
            self.look_ahead += self._tracking.look_ahead

    def _detect_and_track(
        self, frames: Iterable[tuple[Frame, bool]]
    ) -> Iterator[tuple[Frame, Region]]:
        keyframes = select_keyframes(frames, self.every)
        return track_regions(keyframes, self._detect, self._tracking)

    def _detect(self, frame: Frame) -> Detections:
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class Faces(TrackedSource):
    """Faces, detected in every N-th frame and tracked through the rest.

    The defaults favour recall. How large `every` may be depends on how fast heads move, and how
    small `scale` may be on how small faces are: below about 10 pixels none is found. Arguments that
    are not listed are those of `TrackedSource`.

    Args:
        detector: `centerface` (a network), or `haar` (OpenCV's cascades, much weaker).
        min_size: faces whose longer side is below this, in pixels of the frame, stay visible.
        max_size: faces whose longer side is above this stay visible; None: no limit.

    Raises:
        MissingError: the face model is not installed.
    """

    name = "faces"
    min_best_score = 0.5  # of a track that is taken for a face

    detector: Literal["centerface", "haar"] = "centerface"
    threshold: UnitInterval = 0.2
    min_size: Weight = 0
    max_size: Positive | None = None
    every: Every = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._detector = (HaarFaces if self.detector == "haar" else CenterFace)(
            threshold=self.threshold,
            scale=self.scale,
            min_size=self.min_size,
            max_size=self.max_size,
        )
        self.model_sha256 = self._detector.model_sha256

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for _, region in self._detect_and_track(mark_cuts(frames)):
            yield region

    def _detect(self, frame: Frame) -> Detections:
        return self._detector(frame), None


@dataclass(kw_only=True, eq=False)
class People(TrackedSource):
    """People, found by OpenCV's HOG detector, by their motion, or by torchvision's networks.

    `motion` needs a static camera. Where the camera moves, or where there are too few frames to
    estimate the background, the whole frame is hidden; `hog` alone does not do that, and misses
    people who sit, bend or are small. Arguments that are not listed are those of `TrackedSource`.

    Args:
        detector: `hog`, `motion`, both, or `torchvision` (the `zoo` extra and a file of weights).
        weights: torchvision's state dict, a .pth file.
        device: where torchvision's network runs.

    Raises:
        MissingError: torchvision or the file of weights is asked for and missing.
        UsageError: `torchvision` without a file of weights.
    """

    name = "people"
    shape = "silhouette"

    detector: Literal["hog", "motion", "hog+motion", "torchvision"] = "hog+motion"
    threshold: UnitInterval = 0.15
    scale: tuple[Count, Count] | Count | None = 480
    weights: Path | None = None
    device: str = "cpu"
    every: Every = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._network: TorchvisionPeople | None = None
        if self.detector == "torchvision":
            if self.weights is None:
                raise UsageError("People by torchvision need a file of weights: name one.")
            self._network = TorchvisionPeople(
                weights=self.weights,
                threshold=self.threshold,
                scale=self.scale,
                device=self.device,
            )
        hog, motion = "hog" in self.detector, "motion" in self.detector
        self._hog = HogPeople(threshold=self.threshold, scale=self.scale) if hog else None
        self._motion = BackgroundSubtraction() if motion else None
        self.model_sha256 = self._network.model_sha256 if self._network else None
        self._motion_tracking = self._tracking
        if self._hog:
            self.look_ahead += self.every  # silhouettes wait for the next keyframe
        if self._motion:
            self.look_ahead += self._motion.look_ahead
        if self._motion and self._tracking:
            # Whoever starts to move inside the frame was there before: extrapolate farther back.
            self._motion_tracking = replace(self._tracking, lookback=MOTION_LOOKBACK, every=1)
            self.look_ahead += self._motion_tracking.look_ahead

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        marked = mark_cuts(frames)
        if self._network is not None:
            return (region for _, region in self._detect_and_track(marked))
        if self._hog is None:
            assert self._motion is not None
            return self._moving(((frame, Region(cut=cut)) for frame, cut in marked), self._motion)
        return add_silhouettes(self._grabcut_inputs(marked))

    def _detect(self, frame: Frame) -> Detections:
        if self._network is not None:
            return self._network.segment(frame)
        assert self._hog is not None
        return self._hog(frame), None

    def _grabcut_inputs(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[GrabCutInput]:
        """Upright people and moving foreground, from which silhouettes are segmented."""
        upright = self._detect_and_track(frames)
        if self._motion is None:
            for frame, region in upright:
                yield GrabCutInput(frame, region.boxes, None, region, region.detected)
            return
        ahead, behind = tee(upright)
        moving = self._moving(ahead, self._motion)
        for (frame, region), motion in zip(behind, moving, strict=True):
            joined = _join(_without_upright(motion, region.boxes), region)
            yield GrabCutInput(frame, region.boxes, motion.mask, joined, region.detected)

    def _moving(
        self, frames: Iterable[tuple[Frame, Region]], subtraction: BackgroundSubtraction
    ) -> Iterator[Region]:
        """Tracked moving foreground; a frame without a usable background is hidden whole."""
        ahead, behind = tee(frames)
        foregrounds = (
            (foreground, region.cut, True)
            for foreground, (_, region) in zip(subtraction(ahead), behind, strict=True)
        )
        for foreground, region in track_regions(
            foregrounds, lambda found: (found.boxes, found.mask), self._motion_tracking
        ):
            yield _whole_frame(foreground, region.cut) if foreground.background_unknown else region


def _whole_frame(foreground: Foreground, cut: bool) -> Region:
    # The box is for those who keep only boxes, such as a file of them.
    width, height = float(foreground.width), float(foreground.height)
    box = Box(0.0, 0.0, width, height, 1.0, label="frame")
    return Region(boxes=(box,), full_frame=True, cut=cut, detected=False)


def _without_upright(motion: Region, people: tuple[Box, ...]) -> Region:
    """Drop moving boxes that lie mostly in an upright person, whose silhouette is segmented."""
    if motion.full_frame:  # its box is the frame's, whatever a person covers of it
        return motion
    moving = corners(motion.boxes)
    inside = intersection(moving, corners(people)) > area(moving)[:, None] / 2
    others = np.flatnonzero(~inside.any(axis=1))
    return replace(motion, boxes=tuple(motion.boxes[i] for i in others))


def _join(a: Region, b: Region) -> Region:
    """The boxes of both; track numbers stay distinct, a's even and b's odd."""
    boxes = [replace(x, track=None if x.track is None else 2 * x.track) for x in a.boxes]
    boxes += [replace(x, track=None if x.track is None else 2 * x.track + 1) for x in b.boxes]
    return replace(a, boxes=tuple(boxes), detected=a.detected or b.detected)

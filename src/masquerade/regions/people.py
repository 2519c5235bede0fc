"""Finds whole people and their faces, by networks or by weaker detectors."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import tee
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from masquerade.anonymizer import Person
from masquerade.errors import UsageError
from masquerade.ranges import NonNegativeInt, PositiveInt, UnitInterval
from masquerade.regions.background_subtraction import BackgroundSubtraction
from masquerade.regions.boxes import Box, Source
from masquerade.regions.chosen_people import ChosenPeople
from masquerade.regions.frame_people import FramePeople
from masquerade.regions.hog_people import MovingPeople, UprightPeople
from masquerade.regions.masks import Mask, resize_mask
from masquerade.regions.people_scores import probability
from masquerade.regions.person_detectors import HogPeople, TorchvisionPeople
from masquerade.regions.pose_tracking import PoseTracker, PoseTrackingRules
from masquerade.regions.region import Frame, Region, Sized, fit_size
from masquerade.regions.region_sources import Every, Faces, TrackedSource
from masquerade.regions.scene_cuts import MarkedFrame, mark_cuts
from masquerade.regions.tracking import TrackingRules, select_keyframes, track_regions

ALL_HIDDEN = ChosenPeople()
THRESHOLDS = {"pose": 0.5, "hog": 0.15, "torchvision": 0.5}
FACES_EVERY = 10  # frames: a silhouette covers most faces, and the network is the slowest
SCALE = 960  # longest side of what networks see, in pixels
HOG_SCALE = 480  # and HOG, unless another is asked for


class _MarkedFrameSource(Protocol):
    """Finds people in frames that come with whether a cut lies before them."""

    look_ahead: int
    model_sha256: str | None

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]: ...


@dataclass(kw_only=True, eq=False)
class PoseSource(TrackedSource):
    """A region source that follows people by pose networks.

    Arguments that are not listed are those of `TrackedSource`.

    Args:
        threshold: lowest score of a person, 0 to 1; None: the detector's own. Boxes and faces, for
            which pose networks are not alone, have lower ones of their own, which it may lower.
        tiles: look for small people in parts of the frame too, where somebody is small or nobody
            is found.
        models: folder of the networks' files; None: the installed package.
    """

    threshold: UnitInterval | None = None  # type: ignore[assignment]
    scale: tuple[PositiveInt, PositiveInt] | PositiveInt | None = SCALE
    tiles: bool = True
    models: Path | None = None
    every: Every = 4

    def pose_tracker(self, *, thorough_every: int = 1) -> PoseTracker:
        """The networks that follow people; see `PoseTrackingRules` for `thorough_every`."""
        rules = PoseTrackingRules(
            threshold=THRESHOLDS["pose"] if self.threshold is None else self.threshold,
            box_threshold=self._at_most(PoseTrackingRules.box_threshold),
            every=self.every,
            gap=(self.carry if self.online else self.gap) if self.track else 0,
            carry=self.carry if self.track else 0,
            lookback=self.lookback if self.track else 0,
            tiles=self.tiles,
            online=self.online,
            thorough_every=thorough_every,
        )
        return PoseTracker(rules, scale=self.scale, folder=self.models)

    def held_bytes(self, frame: Sized) -> int:
        """Bytes held for each frame read ahead, besides its picture: what networks see, and a mask.

        Only the size of `frame` is read.
        """
        wide, high = fit_size(frame, self.scale)
        return 3 * wide * high + frame.width * frame.height

    def _at_most(self, score: float) -> float:
        """The lower one of a detector's own threshold and the user's, if one was given."""
        return score if self.threshold is None else min(score, self.threshold)


@dataclass(kw_only=True, eq=False)
class People(PoseSource):
    """Whole people and their faces, found by pose networks and followed through the video.

    Arguments that are not listed are those of `PoseSource`.

    Args:
        detector: `pose` (networks; the default), `torchvision` (Mask R-CNN; the `zoo` extra and a
            file of weights), `hog` (OpenCV's of 2005, with motion; much weaker) or `motion` (what
            moves in front of a static camera).
        detector_weights: torchvision's state dict, a .pth file; `torchvision` needs it.
        device: where torchvision's network runs.
        scale: as of other sources; 0: 960, and 480 of `hog`.
        every: as of other sources. Faces beside people, whom silhouettes cover, are looked for in
            every tenth frame, and as often as people where that is in less than every fourth.
        keep_visible: tracks of people who stay visible; of `pose` only.
        hide_only: tracks of people who alone are hidden; empty: all are.
        poses_only: leave out faces and what moves, which `pose` finds beside people: for methods
            that show nothing but figures.

    Raises:
        MissingError: a network or the file of weights is missing.
        UsageError: `torchvision` without a file of weights, or such a file without it.
    """

    name = "people"
    shape = "silhouette"

    detector: Literal["pose", "torchvision", "hog", "motion"] = "pose"
    detector_weights: Path | None = None
    device: str = "cpu"
    scale: tuple[PositiveInt, PositiveInt] | NonNegativeInt | None = 0
    keep_visible: tuple[NonNegativeInt, ...] = ()
    hide_only: tuple[NonNegativeInt, ...] = ()
    poses_only: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.scale == 0:
            self.scale = HOG_SCALE if self.detector == "hog" else SCALE
        self._chosen = ChosenPeople.of(self.keep_visible, self.hide_only)
        if self.online and (self._chosen or self.detector in ("motion", "hog")):
            raise UsageError(
                "--keep-visible, --hide-only and --detector motion or hog need later frames, which "
                "live video does not have; leave them out."
            )
        if self._chosen and self.detector != "pose":
            raise UsageError(
                f"--detector {self.detector} follows nobody by number; leave it out, or "
                "--keep-visible and --hide-only."
            )
        self._source = self._build()
        self.look_ahead, self.model_sha256 = self._source.look_ahead, self._source.model_sha256

    def _build(self) -> _MarkedFrameSource:
        if self.detector_weights is not None and self.detector != "torchvision":
            raise UsageError(
                "--detector-weights is of --detector torchvision; leave it out, or name that."
            )
        if self.detector == "pose" and self.poses_only:
            return _Poses(self.pose_tracker())
        if self.detector == "pose":
            # Who lies is found as a person: to look for turned faces would cost as much again.
            faces = Faces(
                threshold=self._at_most(Faces.threshold),
                scale=self.scale,
                track=self.track,
                gap=self.gap,
                carry=self.carry,
                lookback=self.lookback,
                every=FACES_EVERY if self.every >= PoseSource.every else self.every,
                turned=False,
                online=self.online,
            )
            if self.online:
                return _OnlinePeople(self.pose_tracker(), faces)
            return _PosePeople(self.pose_tracker(), faces, self._chosen)
        if self.detector == "motion" and self.threshold is not None:
            raise UsageError("--detector motion gives no scores; leave --threshold out.")
        if self.detector == "motion":
            return MovingPeople(self._tracking)
        lowest = THRESHOLDS[self.detector] if self.threshold is None else self.threshold
        if self.detector == "hog":
            detector = HogPeople(threshold=lowest, scale=self.scale)
            return UprightPeople(detector, every=self.every, tracking=self._tracking)
        if self.detector_weights is None:
            raise UsageError(
                "people by torchvision need a file of weights; name it by --detector-weights."
            )
        network = TorchvisionPeople(
            weights=self.detector_weights, threshold=lowest, scale=self.scale, device=self.device
        )
        return _TorchvisionPeople(network, every=self.every, tracking=self._tracking)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        return self._source(mark_cuts(frames))


class _Poses:
    """People by pose networks alone."""

    model_sha256: str | None = PoseTracker.model_sha256

    def __init__(self, tracker: PoseTracker) -> None:
        self._tracker, self.look_ahead = tracker, tracker.rules.look_ahead

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        return map(frame_region, self._tracker(frames))


class _OnlinePeople:
    """People by pose networks, and their faces, one frame ahead at most."""

    model_sha256: str | None = PoseTracker.model_sha256

    def __init__(self, tracker: PoseTracker, faces: Faces) -> None:
        self._tracker, self._faces = tracker, faces
        self.look_ahead = max(tracker.rules.look_ahead, faces.look_ahead)

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        for_people, for_faces = tee(frames)
        regions = map(frame_region, self._tracker(for_people))
        for people, faces in zip(regions, self._faces.of_marked_frames(for_faces), strict=True):
            yield replace(people, boxes=people.boxes + faces.boxes)


class _PosePeople:
    """People by pose networks, their faces by the face detector, and what moves."""

    model_sha256: str | None = PoseTracker.model_sha256

    def __init__(
        self, tracker: PoseTracker, faces: Faces, chosen: ChosenPeople = ALL_HIDDEN
    ) -> None:
        self._tracker, self._faces, self._motion = tracker, faces, BackgroundSubtraction()
        self._chosen = chosen
        people = tracker.rules.look_ahead + self._motion.look_ahead
        self.look_ahead = max(faces.look_ahead + faces.every, people)

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        with ThreadPoolExecutor(1) as pool:
            yield from self._regions(frames, pool)

    def _regions(self, frames: Iterable[MarkedFrame], pool: ThreadPoolExecutor) -> Iterator[Region]:
        for_people, for_faces = tee(frames)
        followed, moved = tee((p, frame_region(p)) for p in self._tracker(for_people))
        moving = self._motion((p.frame, region) for p, region in moved)
        both = zip(followed, moving, self._faces.of_marked_frames(for_faces, pool), strict=True)
        for (seen, people), foreground, faces in both:
            if self._chosen:
                moves = None if foreground.background_unknown else foreground.mask
                yield self._divide(seen, people, moves, faces.boxes)
                continue
            mask = people.mask
            if not foreground.background_unknown:
                mask = foreground.mask if mask is None else np.maximum(mask, foreground.mask)
            yield replace(people, boxes=people.boxes + faces.boxes, mask=mask)

    def _divide(
        self, seen: FramePeople, people: Region, moving: Mask | None, faces: tuple[Box, ...]
    ) -> Region:
        """The region of a frame in which some people are left visible on purpose."""
        chosen, size = self._chosen, (seen.frame.width, seen.frame.height)
        hides = partial(chosen.hides, earlier=seen.earlier)
        hidden = resize_mask(seen.mask_with_boxes(hides), *size)
        visible = resize_mask(seen.mask_with_boxes(lambda track: not hides(track)), *size)
        region = chosen.divide(people, seen.earlier)
        return replace(
            region,
            boxes=region.boxes
            + tuple(face for face in faces if chosen.hides_face(face, hidden, visible)),
            mask=chosen.mask(hidden, visible, moving),
            people=tuple(person for person in people.people if hides(person.track)),
        )


def frame_region(people: FramePeople, hidden: Mask | None = None) -> Region:
    """The region of one frame's people, at the frame's size.

    `hidden` (H, W) is what to hide of them; None: all.
    """
    frame, boxes, persons = people.frame, [], []
    scale = frame.width / people.pixels.shape[1]
    for track, silhouette in sorted(people.silhouettes().items()):
        edges = people.edges(silhouette)
        if edges is not None:
            pose = people.poses.get(track)
            score = pose.score if pose else 0.0
            source: Source = "extrapolated"
            if pose:
                source = "interpolated" if pose.interpolated else "detected"
            sure = probability(score, "pose") if pose else 0.0
            boxes.append(Box(*edges, sure, track, source, "person"))
            posed = pose or people.between.get(track)
            if posed:
                landmarks = posed.landmarks * [scale, scale, scale, 1, 1]
                persons.append(Person(track, score, edges, landmarks, posed.world))
    if hidden is None:
        hidden = resize_mask(people.mask_with_boxes(), frame.width, frame.height)
    boxes += [replace(box, score=probability(box.score, "box")) for box in people.unposed]
    return Region(
        boxes=tuple(boxes),
        mask=hidden,
        people=tuple(persons),
        cut=people.cut,
        detected=people.detected,
    )


class _TorchvisionPeople:
    """People by torchvision's Faster or Mask R-CNN."""

    def __init__(
        self, network: TorchvisionPeople, *, every: int, tracking: TrackingRules | None
    ) -> None:
        self._network, self._every, self._tracking = network, every, tracking
        self.model_sha256 = network.model_sha256
        self.look_ahead = 1 + (tracking.look_ahead if tracking else 0)

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[Region]:
        keyframes = select_keyframes(frames, self._every)
        regions = track_regions(keyframes, self._network.segment, self._tracking)
        return (region for _, region in regions)

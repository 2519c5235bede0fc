"""The region source of people: whole people with their faces, by networks or by weaker means."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from masquerade.anonymizer import Person
from masquerade.errors import UsageError
from masquerade.ranges import Count, UnitInterval
from masquerade.regions.background_subtraction import BackgroundSubtraction
from masquerade.regions.boxes import Box, Source
from masquerade.regions.hog_people import MovingPeople, UprightPeople
from masquerade.regions.person_detectors import HogPeople, TorchvisionPeople
from masquerade.regions.pose_tracking import FramePeople, PoseTracker, PoseTracking
from masquerade.regions.region import Frame, Region
from masquerade.regions.region_sources import Every, Faces, TrackedSource
from masquerade.regions.scene_cuts import mark_cuts
from masquerade.regions.tracking import select_keyframes, track_regions

THRESHOLDS = {"pose": 0.5, "motion": 0.0, "hog": 0.15, "torchvision": 0.5}
HOG_SCALE = 480  # longest side of what HOG sees, in pixels


class _InShots(Protocol):
    """Finds people in frames that come with whether a cut lies before them."""

    look_ahead: int
    model_sha256: str | None

    def __call__(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[Region]: ...


@dataclass(kw_only=True, eq=False)
class People(TrackedSource):
    """Whole people and their faces, found by pose networks and followed through the video.

    Arguments that are not listed are those of `TrackedSource`.

    Args:
        detector: `pose` (networks; the default), `torchvision` (Mask R-CNN; the `zoo` extra and a
            file of weights), `hog` (OpenCV's of 2005, with motion; much weaker) or `motion` (what
            moves in front of a static camera).
        threshold: lowest score of a person, 0 to 1; None: the detector's own.
        tiles: look for small people in parts of the frame too.
        models: folder of the networks' files; None: the installed package.
        weights: torchvision's state dict, a .pth file.
        device: where torchvision's network runs.

    Raises:
        MissingError: a network or the file of weights is missing.
        UsageError: `torchvision` without a file of weights.
    """

    name = "people"
    shape = "silhouette"

    detector: Literal["pose", "torchvision", "hog", "motion"] = "pose"
    threshold: UnitInterval | None = None  # type: ignore[assignment]
    scale: tuple[Count, Count] | Count | None = 960
    tiles: bool = True
    models: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    every: Every = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self._source = self._build()
        self.look_ahead, self.model_sha256 = self._source.look_ahead, self._source.model_sha256

    @property
    def lowest_score(self) -> float:
        """The threshold of the detector that was chosen."""
        return THRESHOLDS[self.detector] if self.threshold is None else self.threshold

    def _build(self) -> _InShots:
        if self.detector == "pose":
            return _PosePeople(self)
        if self.detector == "motion":
            return MovingPeople(self._tracking)
        if self.detector == "torchvision":
            return _TorchvisionPeople(self)
        detector = HogPeople(threshold=self.lowest_score, scale=self.scale and HOG_SCALE)
        return UprightPeople(detector, every=self.every, tracking=self._tracking)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        return self._source(mark_cuts(frames))


def pose_tracker(given: Any) -> PoseTracker:
    """The tracker of a source with the arguments of `People`."""
    rules = PoseTracking(
        threshold=THRESHOLDS["pose"] if given.threshold is None else given.threshold,
        every=given.every,
        gap=given.gap if given.track else 0,
        carry=given.carry if given.track else 0,
        lookback=given.lookback if given.track else 0,
        tiles=given.tiles,
    )
    return PoseTracker(rules, scale=given.scale, folder=given.models)


class _PosePeople:
    """People by pose networks, their faces by the face detector, and what moves."""

    model_sha256: str | None = PoseTracker.model_sha256

    def __init__(self, given: People) -> None:
        self._tracker = pose_tracker(given)
        rules = self._tracker.rules
        self._faces = Faces(scale=given.scale, track=given.track)
        self._motion = BackgroundSubtraction()
        self.look_ahead = max(self._faces.look_ahead, rules.look_ahead + self._motion.look_ahead)

    def __call__(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[Region]:
        for_people, for_faces = tee(frames)
        found, moved = tee((p.frame, frame_region(p)) for p in self._tracker(for_people))
        both = zip(found, self._motion(moved), self._faces.in_shots(for_faces), strict=True)
        for (_, people), foreground, faces in both:
            mask = people.mask
            if not foreground.background_unknown:
                mask = foreground.mask if mask is None else np.maximum(mask, foreground.mask)
            yield replace(people, boxes=people.boxes + faces.boxes, mask=mask)


def frame_region(people: FramePeople) -> Region:
    """The region of one frame's people, at the frame's size."""
    frame, boxes, persons = people.frame, [], []
    across = frame.width / people.canvas[0]
    scale = frame.width / people.pixels.shape[1]
    for track in sorted(people.poses.keys() | people.carried.keys()):
        silhouette = people.silhouette(track)
        assert silhouette is not None
        x, y, width, height = cv2.boundingRect(silhouette)
        if width and height:
            edges = x * across, y * across, (x + width) * across, (y + height) * across
            pose = people.poses.get(track)
            score = pose.score if pose else 0.0
            source: Source = "detected" if pose else "extrapolated"
            boxes.append(Box(*edges, score, track, source, "person"))
            posed = pose or people.between.get(track)
            if posed:
                landmarks = posed.landmarks * [scale, scale, scale, 1, 1]
                persons.append(Person(track, score, edges, landmarks, posed.world))
    size = frame.width, frame.height
    smooth = cv2.resize(people.mask(), size, interpolation=cv2.INTER_LINEAR)
    mask = np.asarray((smooth > 127) * np.uint8(255), np.uint8)
    return Region(
        boxes=tuple(boxes),
        mask=mask,
        people=tuple(persons),
        cut=people.cut,
        detected=people.detected,
    )


class _TorchvisionPeople:
    """People by torchvision's Faster or Mask R-CNN."""

    def __init__(self, given: People) -> None:
        if given.weights is None:
            raise UsageError("People by torchvision need a file of weights: name one.")
        self._network = TorchvisionPeople(
            weights=given.weights,
            threshold=given.lowest_score,
            scale=given.scale,
            device=given.device,
        )
        self.model_sha256 = self._network.model_sha256
        self._every, self._tracking = given.every, given._tracking
        self.look_ahead = 1 + (self._tracking.look_ahead if self._tracking else 0)

    def __call__(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[Region]:
        keyframes = select_keyframes(frames, self._every)
        found = track_regions(keyframes, self._network.segment, self._tracking)
        return (region for _, region in found)

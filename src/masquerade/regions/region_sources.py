"""The `RegionSource` protocol, and the sources for whole frames, faces and a file of boxes.

A source is called with the frames of one video and yields one `Region` per frame, in order. It
reads at most `look_ahead` frames beyond the one it yields; its constructor is its configuration.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

from masquerade.ranges import (
    Checked,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    UnitInterval,
    at_least,
)
from masquerade.regions.boxes import (
    check_boxes_size,
    parse_boxes,
    read_box_file,
    renumber_tracks,
)
from masquerade.regions.changed_areas import DetectInChangedAreas
from masquerade.regions.chosen_people import ChosenPeople
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.region import Frame, Region, Sized
from masquerade.regions.rotated_faces import SCORE, SEARCH_SIDE, RotatedFaces
from masquerade.regions.scene_cuts import MarkedFrame, mark_cuts
from masquerade.regions.tracking import (
    Detections,
    TrackingRules,
    detect_in_pool,
    select_keyframes,
    track_regions,
)
from masquerade.regions.unchanged_frames import SkipUnchangedFrames, most_left_out

Every = Annotated[int, at_least(1, 1000)]


class RegionSource(Protocol):
    """Finds what to hide in the frames of one video."""

    name: str  # in `REGIONS`
    look_ahead: int = 0  # how many frames it reads at most beyond the one whose region it returns
    model_sha256: str | None = None  # of the file of its detector's weights, if there is one
    content: str | None = None  # SHA-256 of the boxes or templates that it compares or hides

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        """One region per frame, in order."""
        ...


def held_bytes(source: object, frame: Sized) -> int:
    """Bytes that a region source holds for each frame read ahead, besides the frame's picture.

    They are what the source's `held_bytes` says, if it has one.
    """
    held: Callable[[Sized], int] = getattr(source, "held_bytes", lambda _: 0)
    return held(frame)


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
        data = read_box_file(file)  # once: a file that is rewritten meanwhile changes nothing
        self._size, boxes = parse_boxes(data, file.name)
        self._boxes = renumber_tracks(boxes)
        self.content = hashlib.sha256(data).hexdigest()
        self.last_frame = max((at for at, boxes in self._boxes.items() if boxes), default=None)

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        for number, frame in enumerate(frames):
            if number == 0:
                size = {"width": frame.width, "height": frame.height}
                check_boxes_size(self._size, self.file.name, **size)
            # where frames are sampled before they are looked at, they know their numbers
            at = getattr(frame, "index", number)
            yield Region(boxes=tuple(self._boxes.get(at, ())), detected=False)


@dataclass(kw_only=True, eq=False)
class TrackedSource(Checked):
    """A region source that detects in some frames and tracks what it finds through the rest.

    Args:
        threshold: lowest score of a face or person, 0 to 1; lower is safer and hides more besides.
        scale: size that the detector sees, (w, h) to fit into or the longest side in pixels; None:
            full size. Motion is found in a smaller copy.
        every: detect in every so many frames, in the first, the last and those after a cut; in a
            video of fewer than 24 frames a second more often, by as much. Motion is found in all.
            Where nothing has changed since the last run, its detections are repeated, 8 times and
            over 27 frames at most, about a second of 24 frames and more.
        track: join detections to tracks and fill the gaps; otherwise use detections alone.
        gap: longest run of missed frames that is filled.
        carry: frames that a face or person stays hidden after its last detection.
        lookback: frames that it is hidden before its first.
        online: read one frame ahead at most, as live video needs it: detect in every frame, fill no
            gap, and hide nothing before its first detection.
    """

    threshold: UnitInterval
    scale: tuple[PositiveInt, PositiveInt] | PositiveInt | None = None
    every: Every
    track: bool = True
    gap: NonNegativeInt = 12
    carry: NonNegativeInt = 6
    lookback: NonNegativeInt = 6
    online: bool = False

    min_best_score: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.online:
            self.every, self.gap, self.lookback = 1, 0, 0
        self.every = self.every if self.track else 1
        self._tracking: TrackingRules | None = None
        self.look_ahead = 1  # the last frame of a video is a keyframe
        if self.track:
            self._tracking = TrackingRules(
                gap=self.gap,
                carry=self.carry,
                lookback=self.lookback,
                every=self.every,
                online=self.online,
                min_best_score=self.min_best_score,
            )
            self.look_ahead += self._tracking.look_ahead

    def _detect_and_track(
        self, frames: Iterable[MarkedFrame], pool: Executor | None = None
    ) -> Iterator[tuple[Frame, Region]]:
        """Each frame and its region; a pool detects while this thread does the rest."""
        keyframes = select_keyframes(frames, self.every)
        detect = self._detector_of_a_video()
        if pool is not None:
            keyframes, detect = detect_in_pool(keyframes, detect, pool, self.every)
        return track_regions(keyframes, detect, self._tracking)

    def _detector_of_a_video(self) -> Callable[[Frame], Detections]:
        """What detects in the keyframes of one video, in their order."""
        return SkipUnchangedFrames(self._detect, self.scale, most_left_out(self.every))

    def _detect(self, frame: Frame) -> Detections:
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class Faces(TrackedSource):
    """Faces, detected in every N-th frame and tracked through the rest.

    The detector runs on the whole frame at least at every ninth keyframe, and in between on areas
    that changed only, with a margin; see `changed_areas`. The defaults favour recall. How large
    `every` may be depends on how fast heads move, and how small `scale` may be on how small faces
    are: below about 10 pixels none is found. Arguments that are not listed are those of
    `TrackedSource`.

    Args:
        detector: `centerface`, a network.
        min_size: faces whose longer side is below this, in pixels of the frame, stay visible.
        max_size: faces whose longer side is above this stay visible; None: no limit.
        turned: find faces that lie or hang in the picture, too; of `centerface` only.
        keep_visible: tracks that stay visible.
        hide_only: tracks that alone are hidden; empty: all are.

    Raises:
        MissingError: the face model is not installed.
    """

    name = "faces"
    min_best_score = 0.5  # of a track that is taken for a face

    detector: Literal["centerface"] = "centerface"
    threshold: UnitInterval = 0.2
    min_size: NonNegativeFloat = 0
    max_size: PositiveFloat | None = None
    every: Every = 3
    turned: bool = True
    keep_visible: tuple[NonNegativeInt, ...] = ()
    hide_only: tuple[NonNegativeInt, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._chosen = ChosenPeople.of(self.keep_visible, self.hide_only)
        self._detector = CenterFace(
            threshold=self.threshold,
            scale=self.scale,
            min_size=self.min_size,
            max_size=self.max_size,
        )
        self.model_sha256 = self._detector.model_sha256
        self._search: CenterFace | None = None
        if self.turned:
            sides = self.scale if isinstance(self.scale, tuple) else (self.scale or SEARCH_SIDE,)
            self._search = CenterFace(threshold=SCORE, scale=min(SEARCH_SIDE, max(sides)))

    def __call__(self, frames: Iterable[Frame]) -> Iterator[Region]:
        return self.of_marked_frames(mark_cuts(frames))

    def of_marked_frames(
        self, frames: Iterable[MarkedFrame], pool: Executor | None = None
    ) -> Iterator[Region]:
        """The same for frames that come with whether a cut lies before them.

        A pool of one thread detects while this thread does the rest, `every` frames ahead.
        """
        try:
            for _, region in self._detect_and_track(frames, pool):
                yield self._chosen.divide(region)
        finally:
            for detector in filter(None, (self._detector, self._search)):
                detector.release()

    def _detector_of_a_video(self) -> Callable[[Frame], Detections]:
        if self._search is None:
            return super()._detector_of_a_video()
        most = most_left_out(self.every)
        # In a part of a scaled copy the detector knows sizes in the copy's pixels, not the frame's.
        by_size = self.scale is not None and (self.min_size or self.max_size)
        in_part = SkipUnchangedFrames if by_size else DetectInChangedAreas
        detector = in_part(self._detector, self.scale, most)
        return RotatedFaces(detector, self._search, every=self.every)

    def _detect(self, frame: Frame) -> Detections:
        return self._detector(frame), None

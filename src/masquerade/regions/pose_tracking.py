"""Follows people through a video by their landmarks, in both directions of time.

Two detectors run on keyframes. Between them the landmark network runs where the frame before says
that the person will be, in every other frame only while the person moves little. Whoever is found
first in frame t is looked for in the frames before t as well, and where the network loses a person,
the silhouette is carried by optical flow. Who is detected without landmarks is followed as a box.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, pairwise, tee
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.models.optical_flow import warp_along_flow
from masquerade.regions.box_people import BoxPoseLinks
from masquerade.regions.boxes import Box, scaled_boxes
from masquerade.regions.chosen_people import Earlier
from masquerade.regions.frame_people import FramePeople
from masquerade.regions.masks import resize_mask, share_inside
from masquerade.regions.model_files import MODEL_FILES
from masquerade.regions.people_segmentation import PeopleSegmentation
from masquerade.regions.pose_detection import PoseDetector, Square
from masquerade.regions.pose_landmarks import (
    FOLLOW,
    Pose,
    PoseLandmarks,
    continues,
    middle_pose,
    moved_calmly,
    same_pose,
    shows_somebody,
)
from masquerade.regions.region import fit_size
from masquerade.regions.scene_cuts import MarkedFrame
from masquerade.regions.ssd_people import SsdPeople
from masquerade.regions.tracking import (
    FULL_RATE,
    TrackingRules,
    delayed,
    mark_ends,
    seconds_between,
    time_of,
    track_boxes,
)

COVERED = 0.7  # share of a silhouette in others from which it adds nothing
UNSUPPORTED = 2  # runs of the detector in a row that miss a covered or covering track, which ends
LONGEST_SKIP = 0.045  # seconds between a frame that is skipped and the one before: 24 a second
NOBODY = -1  # in place of the number of a track
POSED = 0.5  # score of a box from which landmarks are looked for in it
RETRY_FRAMES = 30  # after which boxes without landmarks are tried again, and rotated copies of the
# frame while everybody who is found has landmarks
SQUARE = 0.6  # half side of the square for them, over the longer side of the box
FIRST_BOX = 1_000_000  # added to the numbers of tracks of boxes, which are not those of poses


@dataclass(frozen=True, kw_only=True)
class PoseTrackingRules:
    """How people are followed."""

    threshold: float  # lowest score of a detection by the pose networks that begins a track
    box_threshold: float = 0.23  # and of a box
    every: int  # the detector runs on every so many frames
    gap: int  # longest run of frames without a person that is filled
    carry: int  # frames that a silhouette is carried after the last detection
    lookback: int  # and before the first
    tiles: bool  # detect in tiles too, for small people
    # the detectors run on tiles and rotated copies, too, in the first of so many of their runs
    thorough_every: int = 1
    online: bool = False  # read one frame ahead at most; gaps are not filled then, but carried over

    @property
    def longest_gap(self) -> int:
        """How many frames after its last pose a track may go on: only the detector finds it."""
        return self.gap + self.every

    @property
    def of_boxes(self) -> TrackingRules:
        """How boxes are followed."""
        gap, lookback = (0, 0) if self.online else (self.gap, self.lookback)
        return TrackingRules(
            gap=gap, carry=self.carry, lookback=lookback, every=self.every, online=self.online
        )

    @property
    def look_ahead(self) -> int:
        """How many frames are read beyond the one whose people are given."""
        return self.delay + (not self.online)  # whether a shot ends is known by the next frame

    @property
    def delay(self) -> int:
        """How many frames late the people of a frame are given."""
        past = 0 if self.online else max(self.gap, self.lookback)
        return max(past + self.every, self.of_boxes.look_ahead)


def _square(box: Box, people: FramePeople) -> Square:
    """Where to look for the landmarks of a box's person, who may be upright."""
    scale = people.pixels.shape[1] / people.frame.width
    centre = np.array([box.x0 + box.x1, box.y0 + box.y1]) / 2 * scale
    half = SQUARE * max(box.width, box.height) * scale
    return Square.upright(centre, np.array([0.0, -1.0]), half)


def warp_silhouette(silhouette: U8, source: FramePeople, target: FramePeople) -> U8:
    """A silhouette of one frame, warped to an adjacent one along the optical flow."""
    before, now = source.flow_picture(), target.flow_picture()
    small = cv2.resize(silhouette, before.shape[::-1], interpolation=cv2.INTER_AREA)
    moved = warp_along_flow(np.asarray(small, np.uint8), source=before, target=now)
    height, width = silhouette.shape
    return resize_mask(moved, width, height)


class PoseTracker:
    """Finds and follows the people of one video at a time.

    Args:
        rules: how people are followed.
        scale: size (w, h) to fit into, or longest side, of what the networks see; None: full.
        folder: of the model files; None: the installed package.
        threads: that landmarks are computed on, one for each person at most.

    Raises:
        MissingError: LiteRT or a network is not installed.
    """

    model_sha256 = MODEL_FILES["pose detection"].sha256

    def __init__(
        self,
        rules: PoseTrackingRules,
        *,
        scale: tuple[int, int] | int | None,
        folder: Path | None = None,
        threads: int = 2,
    ) -> None:
        self.rules, self.scale, self.threads = rules, scale, threads
        self._detector = PoseDetector(threshold=rules.threshold, folder=folder)
        self._segmentation = PeopleSegmentation(folder=folder)
        self._boxes = SsdPeople(threshold=rules.box_threshold, folder=folder)
        self._folder = folder
        self._idle = deque([PoseLandmarks(folder=folder)])  # networks that no thread computes with

    def __call__(self, frames: Iterable[MarkedFrame]) -> Iterator[FramePeople]:
        """The people of each frame, `rules.look_ahead` frames late; cuts come with the frames."""
        earlier: Earlier = {}
        links = BoxPoseLinks(earlier)
        for_poses, for_boxes = tee(self._processed(frames, earlier))
        detections = ((item.found if item.detected else None, item.cut) for item in for_boxes)
        boxes = track_boxes(detections, self.rules.of_boxes)
        late = delayed(for_poses, self.rules.delay)
        for people, followed in zip(late, boxes, strict=True):
            clipped = (box.clip(people.frame.width, people.frame.height) for box in followed)
            numbered = (replace(b, track=FIRST_BOX + (b.track or 0)) for b in clipped if b)
            people.unposed = links.link_boxes(people, numbered)
            if people.unposed:
                people.outlines = self.segment(people)
            yield people

    def _processed(self, frames: Iterable[MarkedFrame], earlier: Earlier) -> Iterator[FramePeople]:
        """Run the networks on each frame; later frames may still add people to it."""
        waiting: deque[FramePeople] = deque(maxlen=self.rules.delay + 1)
        run = _PoseTracks(self, earlier)
        with closing(run):
            unknown = ((frame, cut, False) for frame, cut in frames)
            for frame, cut, last in unknown if self.rules.online else mark_ends(frames):
                now = FramePeople(frame, cut, frame.rgb(fit_size(frame, self.scale)))
                waiting.append(now)
                run.step(waiting, last=last)
                yield now

    def landmarks(self, pixels: U8, square: Square) -> Pose:
        """The person in a square; any thread may ask."""
        try:
            network = self._idle.pop()
        except IndexError:
            network = PoseLandmarks(folder=self._folder)
        try:
            return network(pixels, square)
        finally:
            self._idle.append(network)

    def detect(self, pixels: U8) -> list[tuple[Square, float]]:
        """The squares and scores of the people in a picture, best first."""
        return self._detector(pixels)

    def segment(self, people: FramePeople) -> U8:
        """(h, w) of the canvas, 255 on people."""
        return self._segmentation(people.pixels, *people.canvas)

    def find_boxes(self, people: FramePeople, *, in_tiles: bool, turned: bool) -> list[Box]:
        """The boxes of the people in a frame, best first; see `SsdPeople` for the arguments."""
        frame, (height, width) = people.frame, people.pixels.shape[:2]
        rows, scores = self._boxes(people.pixels, in_tiles=in_tiles, turned=turned)
        full = frame.width, frame.height
        return scaled_boxes(rows, scores, (width, height), full, "person")


@dataclass(slots=True)
class _Track:
    number: int
    square: Square  # where to look next
    seen: int  # the frame of its last pose
    supported: int  # the frame in which the detector saw it last
    begun: int  # the frame from which it has its number


class _PoseTracks:
    """What is known of one video while it is read."""

    def __init__(self, tracker: PoseTracker, earlier: Earlier) -> None:
        self._tracker, self._rules = tracker, tracker.rules
        self._tracks: list[_Track] = []
        self._numbers = count()
        self._now = -1
        self._since = 0  # frames since the detectors ran
        self._runs = 0  # of the detectors since the last cut
        self._detected_at: float | None = None  # and when they did, in seconds
        self._pool = ThreadPoolExecutor(tracker.threads) if tracker.threads > 1 else None
        self._without: list[tuple[int, Square]] = []  # boxes without landmarks, and when
        self._turn_at = 0  # frame from which people are looked for in rotated copies again
        self._skipped = False  # whether nobody was looked for in the frame before
        self._earlier = earlier  # see `FramePeople.earlier`
        self._merged: list[_Track] = []  # those that may be of either of two people

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()

    def step(self, waiting: deque[FramePeople], *, last: bool) -> None:
        """Find the people of the newest waiting frame, and correct those before it.

        In the `last` frame of a shot the detectors run, as somebody may have come in since.
        """
        now = waiting[-1]
        now.earlier = self._earlier
        self._now += 1
        if now.cut or len(waiting) == 1:
            self._tracks.clear()
            self._merged.clear()
            self._without.clear()
            self._turn_at = self._now
            self._since, self._runs = self._rules.every, 0
        self._since = self._rules.every if last else self._since + 1
        if self._may_skip(waiting):
            self._skipped = True
            return
        lost = self._follow(list(waiting))
        if lost or self._detection_is_due(now):
            self._detect(waiting)
            self._since, self._detected_at = 0, time_of(now.frame)
        self._carry(list(waiting), self._now)
        carried = max(self._rules.longest_gap, self._rules.carry)
        self._tracks = [k for k in self._tracks if self._now - k.seen <= carried]
        recent = self._recent(self._tracks)
        self._merged = [
            k for k in self._merged if self._now - k.begun <= self._rules.longest_gap or k in recent
        ]

    def _recent(self, tracks: list[_Track]) -> list[_Track]:
        """Those of some tracks that may go on; the others' silhouettes are only carried."""
        return [k for k in tracks if self._now - k.seen <= self._rules.longest_gap]

    def _detection_is_due(self, now: FramePeople) -> bool:
        """Whether to run the detectors: after `every` frames, or their time at full rate."""
        seconds = seconds_between(self._detected_at, time_of(now.frame))
        return self._since >= self._rules.every or seconds > (self._rules.every - 0.5) / FULL_RATE

    def _may_skip(self, waiting: deque[FramePeople]) -> bool:
        """Whether to skip the last frame: poses in the next one will tell those in it."""
        if len(waiting) < 2 or self._skipped or self._detection_is_due(waiting[-1]):
            return False
        before, now = (time_of(people.frame) for people in list(waiting)[-2:])
        if before is None or now is None or now - before > LONGEST_SKIP:
            return False
        return any(k.seen == self._now - 1 for k in self._tracks)

    def _follow(self, frames: Sequence[FramePeople]) -> bool:
        """Look for everybody who is followed; True if somebody was lost in the last frame."""
        now, skipped = frames[-1], self._skipped
        followed = [k for k in self._tracks if k.seen == self._now - 1 - skipped]
        if skipped:
            self._skipped = False
            self._map(lambda track: self._follow_over_skipped(track, *frames[-3:]), followed)
            self._carry(frames[:-1], self._now - 1)
        else:
            self._map(lambda track: self._find_pose(track, now, self._now), followed)
        self._drop_doubles(now)
        return any(k.seen != self._now for k in followed)

    def _find_pose(self, track: _Track, people: FramePeople, t: int) -> Pose | None:
        """Find a followed person's pose in frame t; None if the person is lost."""
        pose = self._tracker.landmarks(people.pixels, track.square)
        if not continues(pose):
            return None
        self._add(track, people, pose, t)
        return pose

    def _follow_over_skipped(
        self, track: _Track, last: FramePeople, skipped: FramePeople, now: FramePeople
    ) -> None:
        """Find a followed person's pose in the last of three frames and in the skipped one before.

        Who moved little was half-way there; anybody else is looked for in it, too.
        """
        known, square = last.poses[track.number], track.square
        current = self._find_pose(track, now, self._now)
        if current is None:
            if self._find_pose(track, skipped, self._now - 1) is not None:
                self._find_pose(track, now, self._now)
            return
        if not moved_calmly(known, current):
            pose = self._tracker.landmarks(skipped.pixels, square)
            if continues(pose):
                skipped.poses[track.number] = pose
                return
        skipped.poses[track.number] = middle_pose(known, current)

    def _map(self, action: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
        """What an action gives for each item, side by side."""
        if self._pool and len(items) > 1:
            return list(self._pool.map(action, items))
        return [action(item) for item in items]

    def _carry(self, frames: Sequence[FramePeople], t: int) -> None:
        """Carry the silhouettes of who was lost into the last of these frames, number t."""
        if len(frames) < 2 or frames[-1].cut:
            return
        last, now = frames[-2], frames[-1]
        for track in self._tracks:
            silhouette = last.silhouette(track.number)
            if 0 < t - track.seen <= self._rules.carry and silhouette is not None:
                now.carried[track.number] = warp_silhouette(silhouette, last, now)

    def _landmarks(self, now: FramePeople, squares: list[Square]) -> list[Pose]:
        return self._map(lambda square: self._tracker.landmarks(now.pixels, square), squares)

    def _add(self, track: _Track, people: FramePeople, pose: Pose, t: int) -> None:
        people.poses[track.number] = pose
        track.square, track.seen = pose.next_square, t

    def _drop_doubles(self, now: FramePeople) -> None:
        """End the younger of two tracks that follow the same person."""
        for track in sorted(self._tracks, key=lambda k: k.number):
            pose = now.poses.get(track.number)
            older = [k for k in self._tracks if k.number < track.number and k.number in now.poses]
            double = [k for k in older if pose and same_pose(pose, now.poses[k.number])]
            if double:
                self._merge(track, double[0], now)

    def _merge(self, track: _Track, other: _Track, now: FramePeople) -> None:
        """End a track that follows the same person as `other`.

        If each had followed a person of its own, as when one passes in front of the other, nobody
        knows who is left. `other` then gets a new number, so that nobody is taken for somebody left
        visible.
        """
        del now.poses[track.number]
        self._tracks.remove(track)
        if self._now - track.begun > self._rules.every or track in self._merged:
            pose = now.poses.pop(other.number)
            other.number = self._new_number(track.number, other.number)
            other.begun = self._now
            now.poses[other.number] = pose
            self._merged.append(other)

    def _merged_beside(self, pose: Pose) -> list[_Track]:
        """The merged tracks that the person of a new pose may come from.

        Shortly after a merge the pose may be anywhere; later its square must touch the track's.
        """
        return [
            k
            for k in self._merged
            if self._now - k.begun <= self._rules.longest_gap or k.square.touches(pose.square)
        ]

    def _new_number(self, *may_be: int) -> int:
        """The number of a track that may go on with these."""
        number = next(self._numbers)
        if may_be:
            self._earlier[number] = frozenset(may_be)
        return number

    def _detect(self, waiting: deque[FramePeople]) -> None:
        now = waiting[-1]
        now.detected = True
        thorough = self._runs % self._rules.thorough_every == 0
        self._runs += 1
        in_tiles = thorough and self._rules.tiles
        turned = thorough and (not now.poses or self._now >= self._turn_at)
        now.found, seen = self._map(
            lambda detect: detect(),
            [
                lambda: self._tracker.find_boxes(now, in_tiles=in_tiles, turned=turned),
                lambda: self._tracker.detect(now.pixels),
            ],
        )
        new: list[Square] = []
        for square, _ in seen:
            for track in self._tracks:
                if track.number in now.poses and now.poses[track.number].square.same_person(square):
                    track.supported = self._now
                    break
            else:
                new.append(square)
        self._begin_all(waiting, new)
        boxed = self._unposed_boxes(now)
        posed = self._begin_all(waiting, boxed)
        self._without += [
            (self._now, boxed_square) for boxed_square in boxed if boxed_square not in posed
        ]
        if turned:
            somebody_else = bool(now.without_silhouette(now.found))
            self._turn_at = self._now + (0 if somebody_else else RETRY_FRAMES)
        self._drop_unsupported(now)

    def _unposed_boxes(self, now: FramePeople) -> list[Square]:
        """The squares of boxes in which nobody is posed, but for those just tried."""
        self._without = [entry for entry in self._without if self._now - entry[0] < RETRY_FRAMES]
        sure = [box for box in now.found if box.score >= POSED]
        squares = [_square(box, now) for box in now.without_silhouette(sure)]
        known = [square for _, square in self._without]
        return [
            square for square in squares if not any(square.same_person(tried) for tried in known)
        ]

    def _begin_all(self, waiting: deque[FramePeople], squares: list[Square]) -> list[Square]:
        """Begin tracks for the people seen in squares; returns the squares that show somebody."""
        now, shown = waiting[-1], []
        seen = [
            (square, pose)
            for square, pose in zip(squares, self._landmarks(now, squares), strict=True)
            if pose.score >= FOLLOW
        ]
        again = self._landmarks(now, [pose.next_square for _, pose in seen])
        for pose, (square, before) in zip(again, seen, strict=True):
            best = pose if shows_somebody(pose) else before
            if not shows_somebody(best):
                continue
            shown.append(square)
            same = any(same_pose(best, followed) for followed in now.poses.values())
            if not same and share_inside(now.draw(best), now.mask()) < COVERED:
                self._begin(waiting, best)
        return shown

    def _drop_unsupported(self, now: FramePeople) -> None:
        """End tracks that the detector no longer sees and that overlap one that it does see."""
        old = self._now - UNSUPPORTED * self._rules.every
        parts = {number: now.draw(pose) for number, pose in now.poses.items()}
        for track in [k for k in self._tracks if k.number in parts and k.supported <= old]:
            for rival in self._tracks:
                if rival.number in parts and rival.supported > old:
                    a, b = parts[track.number], parts[rival.number]
                    if max(share_inside(a, b), share_inside(b, a)) >= COVERED:
                        del parts[track.number], parts[rival.number]
                        self._merge(track, rival, now)
                        parts[rival.number] = b
                        break

    def _begin(self, waiting: deque[FramePeople], pose: Pose) -> None:
        """Begin a track under a new number, and look for its person in earlier frames.

        A track lost in the same place ends: it may have been of somebody else.
        """
        now = waiting[-1]
        lost = [k for k in self._recent(self._tracks) if k.number not in now.poses]
        near = [k for k in lost if k.square.same_person(pose.square)]
        lost_there = near[0].number if near else NOBODY
        number = self._new_number(*(k.number for k in (*near[:1], *self._merged_beside(pose))))
        track = _Track(number, pose.next_square, self._now, self._now, self._now)
        if near and near[0] in self._merged:
            self._merged.append(track)
        self._tracks = [*(k for k in self._tracks if k not in near[:1]), track]
        self._add(track, now, pose, self._now)
        self._look_back(waiting, track.number, lost_there)
        _fill_between(list(waiting), track.number, lost_there)

    def _look_back(self, waiting: deque[FramePeople], number: int, lost_there: int) -> None:
        """Look in earlier frames for a person who was just found.

        Stops where the track `lost_there` is, the one lost in the same place; NOBODY: there was
        none.
        """
        pose: Pose | None = waiting[-1].poses[number]
        carried = 0
        for after, before in zip(
            list(waiting)[:0:-1], list(waiting)[-2::-1], strict=True
        ):  # neighbours, backwards
            if after.cut or number in before.poses or lost_there in before.poses:
                return
            if pose is not None:
                continued = self._tracker.landmarks(before.pixels, pose.next_square)
                pose = continued if continues(continued) else None
            if pose is not None and not any(same_pose(pose, p) for p in before.poses.values()):
                before.poses[number] = pose
                continue
            if pose is not None:
                return  # somebody else's track
            silhouette = after.silhouette(number)
            carried += 1
            most = self._rules.lookback if lost_there == NOBODY else len(waiting)
            if silhouette is None or carried > most:
                return
            moved = warp_silhouette(silhouette, after, before)
            earlier = before.carried.get(number)
            before.carried[number] = moved if earlier is None else np.maximum(moved, earlier)


def _fill_between(frames: list[FramePeople], number: int, lost_there: int) -> None:
    """Interpolate a person's landmarks in the frames between a lost track and the new one."""
    poses = [people.poses.get(number, people.poses.get(lost_there)) for people in frames]
    seen = [(i, pose) for i, pose in enumerate(poses) if pose is not None]
    for (first, a), (last, b) in pairwise(seen):
        own = number in frames[last].poses  # else it was followed there, by the other number
        for i in range(first + 1, last) if own else ():
            share = (i - first) / (last - first)
            frames[i].between[number] = replace(
                a,
                landmarks=a.landmarks + share * (b.landmarks - a.landmarks),
                world=a.world + share * (b.world - a.world),
            )

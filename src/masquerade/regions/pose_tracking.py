"""People through time: a person found once is followed by landmarks, in both directions of time.

The detector runs on keyframes. Between them the landmark network looks where the frame before says
that the person will be. Whoever is found first in frame t is looked for in the frames before t as
well, and where the network loses a person, the silhouette is carried by optical flow.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from pathlib import Path
from threading import local

import cv2
import numpy as np

from masquerade.models.optical_flow import dis_flow, grey, pixel_grid, remap
from masquerade.regions.litert import MODEL_FILES
from masquerade.regions.pose_detection import U8, PoseDetector, Square
from masquerade.regions.pose_landmarks import Pose, PoseLandmarks
from masquerade.regions.region import Frame, fit_size

CANVAS = 480  # longest side of the silhouettes, in pixels
FLOW = 240  # longest side of the copies that flow is computed on
FOLLOW = 0.4  # score from which a person who is followed is still there
SAME_LANDMARKS = 0.2  # mean distance of two poses' landmarks, in half sides, of one person
COVERED = 0.7  # share of a silhouette in others from which it adds nothing
UNSUPPORTED = 2  # runs of the detector without a find after which a covered or covering track ends
LARGEST_STEP = 0.6  # of a square's centre from one frame to the next, in half sides
LARGEST_GROWTH = 1.5  # of a square's side from one frame to the next


@dataclass(frozen=True, kw_only=True)
class PoseTracking:
    """How people are followed."""

    threshold: float  # lowest score of a detection that begins a track
    every: int  # the detector runs on every so many frames
    gap: int  # longest run of frames without a person that is filled
    carry: int  # frames that a silhouette is carried after the last find
    lookback: int  # and before the first
    tiles: bool  # look for small people in tiles too

    @property
    def look_ahead(self) -> int:
        """How many frames are read beyond the one whose people are given."""
        return max(self.gap, self.lookback) + self.every


@dataclass(slots=True, eq=False)
class FramePeople:
    """The people of one frame; squares and landmarks are in pixels of `pixels`."""

    frame: Frame
    cut: bool
    pixels: U8  # (h, w, 3), what the networks see
    detected: bool = False  # the detector ran
    poses: dict[int, Pose] = field(default_factory=dict)  # by track
    scores: dict[int, float] = field(default_factory=dict)  # of detections, by track
    between: dict[int, Pose] = field(default_factory=dict)  # interpolated where they were lost
    carried: dict[int, U8] = field(default_factory=dict)  # silhouettes by flow, by track
    _small: U8 | None = None

    @property
    def canvas(self) -> tuple[int, int]:
        """Width and height of silhouettes."""
        return fit_size(self.frame, CANVAS)

    def silhouette(self, track: int) -> U8 | None:
        """(h, w) of the canvas, 255 on one person as the network or the flow gives them."""
        pose = self.poses.get(track)
        if pose is None:
            return self.carried.get(track)
        width, height = self.canvas
        return pose.silhouette(width, height, scale=width / self.pixels.shape[1])

    def mask(self) -> U8:
        """(h, w) of the canvas, 255 on all people."""
        width, height = self.canvas
        out = np.zeros((height, width), np.uint8)
        for track in self.poses.keys() | self.carried.keys():
            for part in (self.silhouette(track), self.carried.get(track)):
                if part is not None:
                    np.maximum(out, part, out=out)
        return out

    def flow_picture(self) -> U8:
        """(h, w), a small grey copy."""
        if self._small is None:
            height, width = self.pixels.shape[:2]
            scale = min(1.0, FLOW / max(width, height))
            size = max(1, round(width * scale)), max(1, round(height * scale))
            small = cv2.resize(self.pixels, size, interpolation=cv2.INTER_AREA)
            self._small = grey(np.asarray(small, np.uint8))
        return self._small


def carry(silhouette: U8, source: FramePeople, target: FramePeople) -> U8:
    """A silhouette of one frame moved to an adjacent one along the flow."""
    flow = dis_flow(target.flow_picture(), source.flow_picture())
    height, width = flow.shape[:2]
    small = cv2.resize(silhouette, (width, height), interpolation=cv2.INTER_AREA)
    moved = remap(np.asarray(small, np.uint8), pixel_grid(height, width) + flow, wrap=False)
    full = cv2.resize(np.asarray(moved), silhouette.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray((full > 127) * np.uint8(255), np.uint8)


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
        rules: PoseTracking,
        *,
        scale: tuple[int, int] | int | None,
        folder: Path | None = None,
        threads: int = 2,
    ) -> None:
        self.rules, self.scale, self.threads = rules, scale, threads
        self._detector = PoseDetector(threshold=rules.threshold, folder=folder)
        self._folder = folder
        self._own = local()  # a network of each thread
        self._own.landmarks = PoseLandmarks(folder=folder)

    def __call__(self, frames: Iterable[tuple[Frame, bool]]) -> Iterator[FramePeople]:
        """The people of each frame, `rules.look_ahead` frames late; cuts come with the frames."""
        waiting: deque[FramePeople] = deque()
        run = _Run(self)
        with closing(run):
            for frame, cut in frames:
                now = FramePeople(frame, cut, frame.rgb(fit_size(frame, self.scale)))
                waiting.append(now)
                run.step(waiting)
                if len(waiting) > self.rules.look_ahead:
                    yield waiting.popleft()
            yield from waiting

    def landmarks(self, pixels: U8, square: Square) -> Pose:
        """The person in a square; any thread may ask."""
        if not hasattr(self._own, "landmarks"):
            self._own.landmarks = PoseLandmarks(folder=self._folder)
        found: Pose = self._own.landmarks(pixels, square)
        return found

    def detect(self, pixels: U8) -> list[tuple[Square, float]]:
        return self._detector(pixels, tiles=self.rules.tiles)


@dataclass(slots=True)
class _Track:
    number: int
    square: Square  # where to look next
    seen: int  # the frame of its last pose
    supported: int  # the frame in which the detector saw it last


class _Run:
    """What is known of one video while it is read."""

    def __init__(self, tracker: PoseTracker) -> None:
        self._tracker, self._rules = tracker, tracker.rules
        self._tracks: list[_Track] = []
        self._numbers = count()
        self._now = -1
        self._since = 0  # frames since the detector ran
        self._pool = ThreadPoolExecutor(tracker.threads) if tracker.threads > 1 else None

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown()

    def step(self, waiting: deque[FramePeople]) -> None:
        """Find the people of the last waiting frame, and what it tells of those before."""
        self._now += 1
        now = waiting[-1]
        if now.cut or len(waiting) == 1:
            self._tracks.clear()
            self._since = self._rules.every
        lost = self._follow(now)
        self._since += 1
        if lost or self._since >= self._rules.every:
            self._detect(waiting)
            self._since = 0
        if len(waiting) > 1 and not now.cut:
            for track in self._tracks:
                last = waiting[-2].silhouette(track.number)
                if 0 < self._now - track.seen <= self._rules.carry and last is not None:
                    now.carried[track.number] = carry(last, waiting[-2], now)
        longest = self._rules.gap + self._rules.every  # found again by the detector only
        self._tracks = [k for k in self._tracks if self._now - k.seen <= longest]

    def _follow(self, now: FramePeople) -> bool:
        """Look for everybody who is followed; True if somebody was lost in this frame."""
        followed = [k for k in self._tracks if k.seen == self._now - 1]
        poses = self._landmarks(now, [k.square for k in followed])
        for track, pose in zip(followed, poses, strict=True):
            if _continues(pose):
                self._add(track, now, pose)
        self._drop_doubles(now)
        return any(k.seen != self._now for k in followed)

    def _landmarks(self, now: FramePeople, squares: list[Square]) -> list[Pose]:
        if self._pool and len(squares) > 1:
            return list(self._pool.map(lambda s: self._tracker.landmarks(now.pixels, s), squares))
        return [self._tracker.landmarks(now.pixels, square) for square in squares]

    def _add(self, track: _Track, now: FramePeople, pose: Pose) -> None:
        now.poses[track.number] = pose
        track.square, track.seen = pose.next_square, self._now

    def _drop_doubles(self, now: FramePeople) -> None:
        """Of two tracks that follow one person the younger ends."""
        for track in sorted(self._tracks, key=lambda k: k.number):
            pose = now.poses.get(track.number)
            older = [now.poses[n] for n in sorted(now.poses) if n < track.number]
            if pose and any(_same(pose, other) for other in older):
                del now.poses[track.number]
                self._tracks.remove(track)

    def _detect(self, waiting: deque[FramePeople]) -> None:
        now = waiting[-1]
        now.detected = True
        found = self._tracker.detect(now.pixels)
        new: list[tuple[Square, float]] = []
        for square, score in found:
            for track in self._tracks:
                if track.number in now.poses and now.poses[track.number].square.same_person(square):
                    now.scores[track.number] = max(score, now.scores.get(track.number, 0))
                    track.supported = self._now
                    break
            else:
                new.append((square, score))
        first = self._landmarks(now, [square for square, _ in new])
        likely = [(pose, score) for pose, (_, score) in zip(first, new, strict=True)]
        likely = [(pose, score) for pose, score in likely if pose.score >= FOLLOW]
        again = self._landmarks(now, [pose.next_square for pose, _ in likely])
        for pose, (before, score) in zip(again, likely, strict=True):
            best = pose if pose.score >= FOLLOW else before
            width, height = now.canvas
            scale = width / now.pixels.shape[1]
            new_one = best.silhouette(width, height, scale=scale)
            same = any(_same(best, other) for other in now.poses.values())
            if not same and _share(new_one, now.mask()) < COVERED:
                self._begin(waiting, best, score)
        self._drop_unsupported(now)

    def _drop_unsupported(self, now: FramePeople) -> None:
        """End tracks that the detector does not see, and that share a supported one's person."""
        old = self._now - UNSUPPORTED * self._rules.every
        parts = {n: part for n in now.poses if (part := now.silhouette(n)) is not None}
        for track in [k for k in self._tracks if k.number in parts and k.supported <= old]:
            for other in self._tracks:
                if other.number in parts and other.supported > old:
                    a, b = parts[track.number], parts[other.number]
                    if max(_share(a, b), _share(b, a)) >= COVERED:
                        del now.poses[track.number], parts[track.number]
                        self._tracks.remove(track)
                        break

    def _begin(self, waiting: deque[FramePeople], pose: Pose, score: float) -> None:
        """Begin a track, or go on with one that was lost, and look back for the person."""
        now = waiting[-1]
        lost = [k for k in self._tracks if k.number not in now.poses]
        near = [k for k in lost if k.square.same_person(pose.square)]
        track = (
            near[0] if near else _Track(next(self._numbers), pose.next_square, self._now, self._now)
        )
        if not near:
            self._tracks.append(track)
        self._add(track, now, pose)
        track.supported = self._now
        now.scores[track.number] = score
        self._look_back(waiting, track.number, filled=bool(near))
        _fill_between(list(waiting), track.number)

    def _look_back(self, waiting: deque[FramePeople], number: int, *, filled: bool) -> None:
        pose: Pose | None = waiting[-1].poses[number]
        carried = 0
        for after, before in zip(
            list(waiting)[:0:-1], list(waiting)[-2::-1], strict=True
        ):  # neighbours, backwards
            if after.cut or number in before.poses:
                return
            if pose is not None:
                found = self._tracker.landmarks(before.pixels, pose.next_square)
                pose = found if _continues(found) else None
            if pose is not None and not any(_same(pose, p) for p in before.poses.values()):
                before.poses[number] = pose
                continue
            if pose is not None:
                return  # somebody else's track
            silhouette = after.silhouette(number)
            carried += 1
            if silhouette is None or (carried > self._rules.lookback and not filled):
                return
            moved = carry(silhouette, after, before)
            other = before.carried.get(number)
            before.carried[number] = moved if other is None else np.maximum(moved, other)


def _fill_between(frames: list[FramePeople], number: int) -> None:
    """Interpolate the landmarks of a track where it was lost before the last of these frames."""
    seen = [i for i, people in enumerate(frames) if number in people.poses]
    for first, last in pairwise(seen):
        a, b = frames[first].poses[number], frames[last].poses[number]
        for i in range(first + 1, last):
            share = (i - first) / (last - first)
            frames[i].between[number] = replace(
                a,
                landmarks=a.landmarks + share * (b.landmarks - a.landmarks),
                world=a.world + share * (b.world - a.world),
            )


def _continues(pose: Pose) -> bool:
    """Whether a person who was followed into a square is in it."""
    a, b = pose.square, pose.next_square
    step = np.hypot(a.x - b.x, a.y - b.y) / a.half
    ratio = b.half / a.half
    return bool(
        pose.score >= FOLLOW
        and step <= LARGEST_STEP
        and 1 / LARGEST_GROWTH <= ratio <= LARGEST_GROWTH
    )


def _share(a: U8, b: U8) -> float:
    """How much of silhouette a lies in b."""
    own = a > 0
    return float((b[own] > 0).mean()) if own.any() else 1.0


def _same(a: Pose, b: Pose) -> bool:
    """Whether two poses are of one person."""
    distance = np.hypot(*(a.landmarks[:, :2] - b.landmarks[:, :2]).T).mean()
    return bool(distance < SAME_LANDMARKS * min(a.square.half, b.square.half))

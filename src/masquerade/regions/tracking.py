"""Offline multi-object tracking: gaps between detections are filled from both directions of time.

A detector that misses a face in a few frames would uncover it there. So boxes come out a bounded
number of frames late: by then the next detection of a track is known, and the frames between two
detections are interpolated. A track is also extrapolated after its last detection and before its
first. Detections are associated greedily by predicted position, size and IoU, without appearance.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from itertools import count
from math import inf
from typing import TypeVar

import numpy as np

from masquerade.regions.boxes import Array, Box, Source, corners, iou
from masquerade.regions.masks import Mask
from masquerade.regions.region import Region, Sized, check_region

MAX_DISTANCE = 1.0  # from the predicted position to a detection, in box widths and heights
DISTANCE_GROWTH = 0.1  # how much larger that gets with each frame since the last detection
MAX_SIZE_RATIO = 2.2  # of two boxes of one track
VELOCITY_BOXES = 5  # most detections that a velocity is fitted to
VELOCITY_FRAMES = 6  # frames that they lie within, except for the last two
VELOCITY_DECAY = 0.9  # of an extrapolated box, per frame
GROWTH = 0.03  # how much larger a box gets with each frame from the nearest detection
MAX_GROWTH = 1.3
FULL_RATE = 24  # frames a second; of slower videos more frames are keyframes
MIN_EVIDENCE = 0.6  # sum of squared scores from which a track is confirmed. One that is not is
# neither extrapolated nor bridged, so that a single false alarm stays where it is; its box only
# covers the skipped frames nearest to its detection

Detection = tuple[int, Box]  # frame number and box
Detections = tuple[list[Box], Mask | None]  # of one frame: boxes, and a silhouette if there is one


@dataclass(frozen=True, kw_only=True)
class TrackingRules:
    """Which frames without a detection a track covers."""

    gap: int = 12  # longest run of frames without a detection that is interpolated
    carry: int = 6  # frames that a track is extrapolated after its last detection
    lookback: int = 6  # and before its first
    every: int = 1  # the detector runs on every so many frames; those between are interpolated
    online: bool = False  # gaps are not filled, and a track goes on within its `carry` all the same
    min_best_score: float = 0.0  # that one detection of a confirmed track must have reached: what
    # scores low in every frame is more often a pattern in the background than a face

    @property
    def longest_gap(self) -> int:
        """Frames between two detections of one track, at most."""
        return (self.carry if self.online else self.gap) + 2 * (self.every - 1)

    @property
    def look_ahead(self) -> int:
        """How many frames `track_boxes` reads beyond the one whose boxes it yields."""
        return max(self.gap + 2 * (self.every - 1), self.lookback + self.every - 1)


@dataclass(slots=True)
class _Track:
    number: int
    start: int  # frames of its shot: start <= t < end
    end: float = inf
    detections: list[Detection] = field(default_factory=list)  # in order; old ones are pruned
    evidence: float = 0.0  # sum of squared scores: three of .2 weigh less than one of .6
    best_score: float = 0.0

    def add(self, t: int, box: Box) -> None:
        self.detections.append((t, replace(box, track=self.number)))
        self.evidence += box.score**2
        self.best_score = max(self.best_score, box.score)

    def box(self, t: int, rules: TrackingRules) -> Box | None:
        """Where the track is in frame t; None where it covers nothing."""
        if not self.start <= t < self.end:
            return None
        before = [d for d in self.detections if d[0] <= t]
        after = [d for d in self.detections if d[0] >= t]
        confirmed = self.evidence >= MIN_EVIDENCE and self.best_score >= rules.min_best_score
        skipped = rules.every - 1  # frames between two runs of the detector
        since = t - before[-1][0] if before else None
        until = after[0][0] - t if after else None
        if since == 0:
            return before[-1][1]
        if since and until and (confirmed or since + until <= skipped + 1):
            return interpolate(before, after, t, skipped=skipped)
        if since and since <= (skipped + rules.carry if confirmed else (skipped + 1) // 2):
            return extrapolate(before, t)
        if until and until <= (skipped + rules.lookback if confirmed else skipped // 2):
            return extrapolate([(-s, box) for s, box in reversed(after)], -t)
        return None

    def prune(self, t: int) -> None:
        """Forget detections that no velocity is fitted to any more."""
        old = sum(d[0] < t for d in self.detections)
        self.detections = self.detections[max(0, old - VELOCITY_BOXES) :]


def track_boxes(
    detections: Iterable[tuple[list[Box] | None, bool]], rules: TrackingRules
) -> Iterator[list[Box]]:
    """Yield the boxes of each frame: those detected, and those that tracks put there.

    Each frame comes with its detections (None: the detector did not run) and with whether a scene
    cut lies before it, which no track crosses. Its boxes come `rules.look_ahead` frames late, each
    with a track.
    """
    late = rules.look_ahead
    tracks: list[_Track] = []
    numbers, shot, now = count(), 0, -1
    for now, (boxes, cut) in enumerate(detections):
        if cut:
            shot = now
            for track in tracks:
                track.end = min(track.end, now)
        alive = [
            k for k in tracks if now < k.end and now - k.detections[-1][0] <= rules.longest_gap + 1
        ]
        matches = _match(alive, boxes or [], now)
        for n, box in enumerate(boxes or []):
            if n not in matches:
                tracks.append(_Track(next(numbers), shot))
            (alive[matches[n]] if n in matches else tracks[-1]).add(now, box)
        if now >= late:
            yield _boxes(tracks, now - late, rules)
    for t in range(max(0, now - late + 1), now + 1):
        yield _boxes(tracks, t, rules)


def _boxes(tracks: list[_Track], t: int, rules: TrackingRules) -> list[Box]:
    """All boxes of frame t; tracks that cannot reach later frames are dropped."""
    boxes = [track.box(t, rules) for track in tracks]
    for track in tracks:
        track.prune(t)
    reach = rules.longest_gap + rules.carry + rules.every - 1
    tracks[:] = [k for k in tracks if k.detections[-1][0] + reach >= t and k.end > t + 1]
    return [box for box in boxes if box is not None]


def _match(tracks: list[_Track], boxes: list[Box], now: int) -> dict[int, int]:
    """Box to track by lowest cost first (greedy: as good as optimal assignment on crowds)."""
    if not tracks or not boxes:
        return {}
    edges = corners(boxes)
    age = np.array([now - k.detections[-1][0] for k in tracks])[:, None]  # (T, 1)
    last = corners([k.detections[-1][1] for k in tracks])
    predicted = np.stack([predict(k.detections, now) for k in tracks])
    # A velocity from few detections may mislead: a box may also be where it was.
    distance = np.minimum(_centre_distance(last, edges), _centre_distance(predicted, edges))
    ratio = _log_size(last)[:, None] - _log_size(edges)[None, :]  # (T, N)
    cost = distance + 0.5 * np.abs(ratio) - iou(predicted, edges)
    possible = (distance <= MAX_DISTANCE * (1 + DISTANCE_GROWTH * age)) & (
        np.abs(ratio) <= np.log(MAX_SIZE_RATIO)
    )
    matches: dict[int, int] = {}
    for flat in np.argsort(cost, axis=None, kind="stable"):
        t, n = divmod(int(flat), len(boxes))
        if possible[t, n] and n not in matches and t not in matches.values():
            matches[n] = t
    return matches


def _centre_distance(a: Array, b: Array) -> Array:
    """Distance of the centres of all pairs, in the pairs' mean width and height: (T, N)."""
    centres = (a[:, None, :2] + a[:, None, 2:] - b[None, :, :2] - b[None, :, 2:]) / 2
    sizes = (a[:, None, 2:] - a[:, None, :2] + b[None, :, 2:] - b[None, :, :2]) / 2
    return np.hypot(*np.moveaxis(centres / sizes, -1, 0))


def _log_size(a: Array) -> Array:
    """Logarithm of the geometric mean of width and height: (N,)."""
    return np.log(a[:, 2:] - a[:, :2]).mean(axis=1)


def _velocity(detections: Sequence[Detection]) -> Array | None:
    """Pixels per frame of each edge, (4,), by least squares; None from a single detection."""
    if len(detections) < 2:
        return None
    older = detections[-VELOCITY_BOXES:-2]
    recent = [d for d in older if detections[-1][0] - d[0] <= VELOCITY_FRAMES]
    recent += list(detections[-2:])
    t = np.array([d[0] for d in recent], np.float64)
    t -= t.mean()
    return (t @ corners([d[1] for d in recent])) / (t @ t)


def predict(detections: Sequence[Detection], t: int) -> Array:
    """Where a track is expected at frame t, after its last detection: (4,)."""
    last, box = detections[-1]
    edges = corners([box])[0]
    velocity = _velocity(detections)
    if velocity is None:
        return edges
    drift = np.tile((velocity[:2] + velocity[2:]) / 2, 2)  # its size is not extrapolated
    return edges + drift * VELOCITY_DECAY * (1 - VELOCITY_DECAY ** (t - last)) / (
        1 - VELOCITY_DECAY
    )


def extrapolate(detections: Sequence[Detection], t: int) -> Box:
    """The box of a track at frame t, after its last detection; it grows with its age."""
    last, box = detections[-1]
    return _grow(predict(detections, t), t - last, box, "extrapolated")


def interpolate(
    before: Sequence[Detection], after: Sequence[Detection], t: int, *, skipped: int = 0
) -> Box:
    """The box of a track at frame t, between two detections.

    It covers both linear and cubic Hermite interpolation, whose velocities come from the detections
    before and after: a head that nods or turns back within the gap leaves the straight line. It
    grows with its age beyond the frames that the detector skips, so that the mask does not pulse.
    """
    (start, a), (end, b) = before[-1], after[0]
    p, q = corners([a, b])
    span, s = end - start, (t - start) / (end - start)
    slope = (q - p) / span
    out, back = _velocity(before), _velocity([(-s, box) for s, box in reversed(after)])
    u, v = slope if out is None else out, slope if back is None else -back
    linear = p + (q - p) * s
    bend = span * s * (1 - s) * ((1 - s) * (u - slope) - s * (v - slope))
    room = np.tile((linear[2:] - linear[:2]) / 2, 2)
    bend = np.tile((bend[:2] + bend[2:]) / 2, 2).clip(-room, room)
    edges = np.concatenate([linear[:2] + bend[:2].clip(max=0), linear[2:] + bend[2:].clip(0)])
    weaker = a if a.score < b.score else b
    age = max(0, min(t - start, end - t) - skipped)
    return _grow(edges, age, weaker, "interpolated")


def _grow(edges: Array, age: int, like: Box, source: Source) -> Box:
    more = (min(MAX_GROWTH, 1 + GROWTH * age) - 1) / 2 * (edges[2:] - edges[:2])
    (x0, y0), (x1, y1) = edges[:2] - more, edges[2:] + more
    return replace(like, x0=float(x0), y0=float(y0), x1=float(x1), y1=float(y1), source=source)


Item = TypeVar("Item", bound=Sized)
Anything = TypeVar("Anything")


def select_keyframes(
    frames: Iterable[tuple[Item, bool]], every: int
) -> Iterator[tuple[Item, bool, bool]]:
    """Mark the frames to detect in: the first and last of each shot, and every N-th between.

    Below `FULL_RATE` frames a second it is as often as N frames of a video of that rate.
    """
    since = 0
    last = before = None  # the times of the last keyframe and of the frame before, in seconds
    held: tuple[Item, bool, bool] | None = None
    for frame, cut in frames:
        now = time_of(frame)
        if held is not None:
            if cut:  # whoever came in since the last keyframe would never be looked for
                held = held[0], held[1], True
            elif not held[2] and seconds_between(last, now) > (every + 0.25) / FULL_RATE:
                held, since, last = (held[0], held[1], True), 1, before
            yield held
        since = 0 if cut else since
        held = frame, cut, since % every == 0
        last, before = now if held[2] else last, now
        since += 1
    if held is not None:
        yield held[0], held[1], True


def time_of(frame: object) -> float | None:
    """The presentation time of a frame in seconds; None if it has none."""
    return getattr(frame, "time", None)


def seconds_between(first: float | None, last: float | None) -> float:
    """Seconds from one time to a later one; 0 if either is not known."""
    return 0.0 if first is None or last is None else last - first


def detect_in_pool(
    frames: Iterable[tuple[Item, bool, bool]],
    detect: Callable[[Item], Detections],
    pool: Executor,
    late: int,
) -> tuple[Iterator[tuple[Item, bool, bool]], Callable[[Item], Detections]]:
    """Run the detector in the pool: returns the frames and what gives their detections.

    Both are for `track_regions`. The frames come `late` frames late, when the pool may be done.
    """
    futures: deque[Future[Detections]] = deque()

    def submitted() -> Iterator[tuple[Item, bool, bool]]:
        for frame, cut, keyframe in frames:
            if keyframe:
                futures.append(pool.submit(detect, frame))
            yield frame, cut, keyframe

    return delayed(submitted(), late), lambda _: futures.popleft().result()


def delayed(items: Iterable[Anything], late: int) -> Iterator[Anything]:
    """Delay a stream: each item comes when `late` more were read, and the rest at the end."""
    waiting: deque[Anything] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > late:
            yield waiting.popleft()
    yield from waiting


def mark_ends(frames: Iterable[tuple[Item, bool]]) -> Iterator[tuple[Item, bool, bool]]:
    """Mark the last frame of each shot, which is known once the next frame is read."""
    held: tuple[Item, bool] | None = None
    for frame, cut in frames:
        if held is not None:
            yield *held, cut
        held = frame, cut
    if held is not None:
        yield *held, True


def track_regions(
    frames: Iterable[tuple[Item, bool, bool]],
    detect: Callable[[Item], Detections],
    rules: TrackingRules | None,
) -> Iterator[tuple[Item, Region]]:
    """Run a detector on keyframes and its tracks through all frames.

    A frame comes with whether a cut lies before it and whether it is a keyframe, and goes out with
    its region; without rules that holds the detections alone.
    """
    waiting: deque[tuple[Item, bool, bool, Mask | None]] = deque()

    def detections() -> Iterator[tuple[list[Box] | None, bool]]:
        for frame, cut, keyframe in frames:
            boxes, mask = detect(frame) if keyframe else (None, None)
            if keyframe:
                check_region(Region(boxes=boxes, mask=mask), frame, of="a detector")  # type: ignore[arg-type]
            waiting.append((frame, cut, keyframe, mask))
            yield boxes, cut

    lists: Iterable[list[Box]] = (boxes or [] for boxes, _ in detections())
    if rules is not None:
        lists = track_boxes(detections(), rules)
    for boxes in lists:
        frame, cut, keyframe, mask = waiting.popleft()
        clipped = (box.clip(frame.width, frame.height) for box in boxes)
        inside = tuple(box for box in clipped if box is not None)
        if mask is not None:  # others' silhouettes do not show whom the detector missed
            inside = tuple(
                replace(box, always_drawn=box.always_drawn or box.source != "detected")
                for box in inside
            )
        yield frame, Region(boxes=inside, mask=mask, cut=cut, detected=keyframe)

"""Sightings to tracks, and tracks to boxes in every frame, from both directions of time.

A detector that misses a face for some frames shows that face. So boxes come out a bounded number
of frames late: by then a track's next sighting is known, and the frames between two sightings are
filled from both sides. A track also runs on after its last sighting and before its first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from masquerade.regions.boxes import Array, Box, Source, corners, iou

REACH = 1.0  # how far a box may lie from where it is expected, in its own width and height
HURRY = 0.1  # how much farther for each frame that nobody saw it
RATIO = 2.2  # largest ratio of two sizes that can be one and the same thing
RECENT = 5  # most sightings that a velocity is taken from
LATELY = 6  # frames that they lie in, but for the last two
FADE = 0.9  # what a carried box keeps of its velocity from one frame to the next
GROWTH = 0.03  # how much larger an unseen box gets with each frame from the nearest sighting
MOST_GROWTH = 1.3

Sighting = tuple[int, Box]


@dataclass(slots=True)
class _Track:
    number: int
    seen: list[Sighting]  # in order; old ones are forgotten
    evidence: float  # the sum of all squared scores: three guesses of .2 are no sighting of .6
    first: int  # the frames of its shot: first <= t < end
    end: int | None = None
    best: float = 0.0

    def add(self, t: int, box: Box) -> None:
        self.seen.append((t, replace(box, track=self.number)))
        self.evidence += box.score**2
        self.best = max(self.best, box.score)

    def sides(self, t: int) -> tuple[list[Sighting], list[Sighting]]:
        """The sightings up to frame t and those from it on."""
        return [s for s in self.seen if s[0] <= t], [s for s in self.seen if s[0] >= t]

    def forget(self, t: int) -> None:
        old = sum(s[0] < t for s in self.seen)
        self.seen = self.seen[max(0, old - RECENT) :]


def look_ahead(*, gap: int, lookback: int, every: int = 1) -> int:
    """How many frames `fill` reads past the one whose boxes it gives out."""
    return max(gap + 2 * (every - 1), lookback + every - 1)


def fill(
    detections: Iterable[tuple[list[Box] | None, bool]],
    *,
    gap: int = 12,
    carry: int = 6,
    lookback: int = 6,
    every: int = 1,
    evidence: float = 0.6,
    sure: float = 0.0,
) -> Iterator[list[Box]]:
    """Give each frame its boxes: those seen, and those that tracks say must be there.

    Args:
        detections: for each frame what was seen (None: nobody looked), and whether a scene cut
            lies before it. No track crosses a cut.
        gap: longest run of frames without a sighting that is filled.
        carry: frames that a track goes on after its last sighting.
        lookback: frames that it starts before its first.
        every: the detector looks at every so many frames; those between are filled besides.
        evidence: the sum of squared scores from which a track is believed. A weaker one is
            neither carried nor bridged, so that a lone false alarm stays where it is; it only
            lends its box to the frames between two looks that lie nearest to its sighting.
        sure: the score that one sighting of a track must have reached for it to be believed: what
            a detector doubts in every frame is more often a pattern in the wall than a face.

    Yields:
        One list a frame, in order, at most `look_ahead(...)` frames late; each box has its track.
    """
    late = look_ahead(gap=gap, lookback=lookback, every=every)
    rules = _Rules(gap + 2 * (every - 1), carry, lookback, every - 1, evidence, sure)
    tracks: list[_Track] = []
    numbers, shot, due, now = count(), 0, 0, -1
    for now, (boxes, cut) in enumerate(detections):
        if cut:
            shot = now
            _close(tracks, now)
        for box in _link(tracks, boxes or [], now, rules.gap):
            tracks.append(_Track(next(numbers), [], 0.0, shot))
            tracks[-1].add(now, box)
        if now >= late:
            yield rules.boxes(tracks, due)
            due += 1
    for t in range(due, now + 1):
        yield rules.boxes(tracks, t)


@dataclass(frozen=True, slots=True)
class _Rules:
    gap: int
    carry: int
    lookback: int
    unseen: int  # frames between two looks
    evidence: float
    sure: float

    def boxes(self, tracks: list[_Track], t: int) -> list[Box]:
        """All boxes of frame t; tracks that can say nothing of later frames are dropped."""
        found = [self._box(track, t) for track in tracks]
        for track in tracks:
            track.forget(t)
        last = self.gap + self.carry + self.unseen
        tracks[:] = [
            k for k in tracks if k.seen[-1][0] + last >= t and (k.end is None or k.end > t + 1)
        ]
        return [box for box in found if box is not None]

    def _box(self, track: _Track, t: int) -> Box | None:
        if t < track.first or (track.end is not None and t >= track.end):
            return None
        before, after = track.sides(t)
        believed = track.evidence >= self.evidence and track.best >= self.sure
        since = t - before[-1][0] if before else None
        until = after[0][0] - t if after else None
        if since == 0:
            return before[-1][1]
        if since and until and (believed or since + until <= self.unseen + 1):
            return between(before, after, t, unlooked=self.unseen)
        nearest = (self.unseen + 1) // 2, self.unseen // 2
        if since and since <= (self.unseen + self.carry if believed else nearest[0]):
            return carried(before, t)
        if until and until <= (self.unseen + self.lookback if believed else nearest[1]):
            return carried([(-s, box) for s, box in reversed(after)], -t)
        return None


def _close(tracks: list[_Track], cut: int) -> None:
    for track in tracks:
        if track.end is None:
            track.end = cut


def _link(tracks: list[_Track], boxes: list[Box], now: int, gap: int) -> list[Box]:
    """Give each track that is alive its sighting in this frame, and back the boxes of none."""
    alive = [k for k in tracks if k.end is None and now - k.seen[-1][0] <= gap + 1]
    partners = _pairs(alive, boxes, now)
    for n, t in partners.items():
        alive[t].add(now, boxes[n])
    return [box for n, box in enumerate(boxes) if n not in partners]


def _pairs(tracks: list[_Track], boxes: list[Box], now: int) -> dict[int, int]:
    """Box to track, the likeliest pairs first (greedy: on crowds as good as optimal, and plain)."""
    if not tracks or not boxes:
        return {}
    seen = corners(boxes)
    waits = np.array([now - k.seen[-1][0] for k in tracks])[:, None]  # (T, 1)
    last = corners([k.seen[-1][1] for k in tracks])
    ahead = np.stack([moved(k.seen, now) for k in tracks])
    # A velocity from few sightings may mislead: a box may also be where it was.
    away = np.minimum(_apart(last, seen), _apart(ahead, seen))  # (T, N)
    ratio = _log_size(last)[:, None] - _log_size(seen)[None, :]
    cost = away + 0.5 * np.abs(ratio) - iou(ahead, seen)
    possible = (away <= REACH * (1 + HURRY * waits)) & (np.abs(ratio) <= np.log(RATIO))
    partners: dict[int, int] = {}
    for flat in np.argsort(cost, axis=None, kind="stable"):
        t, n = divmod(int(flat), len(boxes))
        if possible[t, n] and n not in partners and t not in partners.values():
            partners[n] = t
    return partners


def _apart(a: Array, b: Array) -> Array:
    """Distance of the centres of all pairs, in the pairs' mean width and height: (T, N)."""
    centres = (a[:, None, :2] + a[:, None, 2:] - b[None, :, :2] - b[None, :, 2:]) / 2
    sizes = (a[:, None, 2:] - a[:, None, :2] + b[None, :, 2:] - b[None, :, :2]) / 2
    return np.hypot(*np.moveaxis(centres / sizes, -1, 0))


def _log_size(a: Array) -> Array:
    """Logarithm of the geometric mean of width and height: (N,)."""
    return np.log(a[:, 2:] - a[:, :2]).mean(axis=1)


def _velocity(seen: Sequence[Sighting]) -> Array | None:
    """Pixels a frame of each edge, (4,), by least squares; None from a single sighting."""
    if len(seen) < 2:
        return None
    recent = [s for s in seen[-RECENT:-2] if seen[-1][0] - s[0] <= LATELY] + list(seen[-2:])
    t = np.array([s[0] for s in recent], np.float64)
    t -= t.mean()
    return (t @ corners([s[1] for s in recent])) / (t @ t)


def moved(seen: Sequence[Sighting], t: int) -> Array:
    """Where a track is expected at frame t, after its last sighting: (4,)."""
    last, box = seen[-1]
    edges = corners([box])[0]
    velocity = _velocity(seen)
    if velocity is None:
        return edges
    drift = np.tile((velocity[:2] + velocity[2:]) / 2, 2)  # its size is not foretold
    return edges + drift * FADE * (1 - FADE ** (t - last)) / (1 - FADE)


def carried(seen: Sequence[Sighting], t: int) -> Box:
    """The box of a track at frame t, after its last sighting; it grows with its age."""
    last, box = seen[-1]
    return _grown(moved(seen, t), t - last, box, "carried")


def between(
    before: Sequence[Sighting], after: Sequence[Sighting], t: int, *, unlooked: int = 0
) -> Box:
    """The box of a track at frame t, between two sightings.

    It holds both the straight way and the smooth one (cubic Hermite), whose velocities come from
    what was seen before and after: a head that nods or turns back within the gap leaves the first.
    It grows with its age beyond the frames that nobody looked at, so that the mask does not pulse.
    """
    (start, a), (end, b) = before[-1], after[0]
    p, q = corners([a, b])
    span, s = end - start, (t - start) / (end - start)
    slope = (q - p) / span
    out, back = _velocity(before), _velocity([(-s, box) for s, box in reversed(after)])
    u, v = slope if out is None else out, slope if back is None else -back
    straight = p + (q - p) * s
    bend = span * s * (1 - s) * ((1 - s) * (u - slope) - s * (v - slope))
    room = np.tile((straight[2:] - straight[:2]) / 2, 2)
    bend = np.tile((bend[:2] + bend[2:]) / 2, 2).clip(-room, room)
    edges = np.concatenate([straight[:2] + bend[:2].clip(max=0), straight[2:] + bend[2:].clip(0)])
    nearest = a if a.score < b.score else b
    age = max(0, min(t - start, end - t) - unlooked)
    return _grown(edges, age, nearest, "filled")


def _grown(edges: Array, age: int, like: Box, source: Source) -> Box:
    more = (min(MOST_GROWTH, 1 + GROWTH * age) - 1) / 2 * (edges[2:] - edges[:2])
    low, high = edges[:2] - more, edges[2:] + more
    return replace(
        like,
        x0=float(low[0]),
        y0=float(low[1]),
        x1=float(high[0]),
        y1=float(high[1]),
        source=source,
    )

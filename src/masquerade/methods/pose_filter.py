"""Smooths poses over time, and shifts their timing, so that figures neither shake nor tell gait."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from masquerade.anonymizer import Person
from masquerade.methods.body import Array, scale_of

SMOOTHING = 0.6  # weight of a new pose; 1: none
SCALE_SMOOTHING = 0.1  # weight of a new scale, which changes slowly and would tell the stature
FORGOTTEN = 25  # frames after which a track that was not seen begins anew
KNOTS = 15  # frames between two random delays, between which the delay changes linearly


class TrackState(NamedTuple):
    """What is remembered of one person."""

    frame: int  # number of the last frame in which the person was seen
    landmarks: Array  # (33, 5), smoothed
    world: tuple[Array, ...]  # (33, 3) each, smoothed, the last ones; the newest is last
    scale: float  # pixels of a metre


class FilterState(NamedTuple):
    """What is remembered of a video."""

    key: int  # of the random delays
    frame: int = 0  # number of the next frame
    tracks: tuple[tuple[int, TrackState], ...] = ()  # by number


class Posed(NamedTuple):
    """A smoothed person, and the scale to draw the figure at."""

    person: Person
    scale: float


def filter_poses(
    people: Sequence[Person], state: FilterState, *, jitter: int = 0
) -> tuple[list[Posed], FilterState]:
    """Smooth the people of one frame.

    Args:
        people: of the frame.
        state: after the frame before.
        jitter: frames by which a person's pose is late at most; the delay is random and changes.
    """
    tracks = dict(state.tracks)
    posed = []
    for person in people:
        before = tracks.get(person.track)
        if before is not None and state.frame - before.frame > FORGOTTEN:
            before = None
        scale = scale_of(person)
        if before is None:
            now = TrackState(state.frame, person.landmarks, (person.world,), scale)
        else:
            landmarks = before.landmarks + SMOOTHING * (person.landmarks - before.landmarks)
            world = before.world[-1] + SMOOTHING * (person.world - before.world[-1])
            late = (*before.world, world)[-(jitter + 1) :]
            smooth = before.scale * (scale / before.scale) ** SCALE_SMOOTHING
            now = TrackState(state.frame, landmarks, late, smooth)
        tracks[person.track] = now
        shown = _delayed(now.world, _delay(state, person.track, jitter))
        posed.append(Posed(person._replace(landmarks=now.landmarks, world=shown), now.scale))
    kept = tuple((n, one) for n, one in tracks.items() if state.frame - one.frame <= FORGOTTEN)
    return posed, FilterState(state.key, state.frame + 1, kept)


def _delay(state: FilterState, track: int, jitter: int) -> float:
    """Frames by which a track is late in this frame, 0 to `jitter`."""
    knot, share = divmod(state.frame, KNOTS)
    a, b = (
        np.random.default_rng([state.key, track, k]).uniform(0, jitter) for k in (knot, knot + 1)
    )
    return float(a + (b - a) * share / KNOTS)


def _delayed(world: tuple[Array, ...], delay: float) -> Array:
    """The pose some frames ago, interpolated; the oldest where there is none as old."""
    back = min(delay, len(world) - 1)
    newer, share = int(back), back - int(back)
    older = min(newer + 1, len(world) - 1)
    return world[-1 - newer] * (1 - share) + world[-1 - older] * share

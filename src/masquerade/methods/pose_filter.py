"""Makes poses fit to be drawn: steady, whole, and of one person from frame to frame.

The landmark network guesses what it does not see, takes left for right now and then, and trembles.
So poses are smoothed, the more the slower they move; limbs that are not seen keep their last pose
and then hang; left and right are those of the frame before; and who is gone fades.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from masquerade.anonymizer import Person
from masquerade.methods.body import CHAINS, HIPS, SHOULDERS, Array, scale_of, trust
from masquerade.models.stgcn import MIRROR

SLOW, FAST = 0.35, 0.9  # weight of a new pose of who stands still, and of who moves
FAST_STEP = 0.1  # metres a frame that are fast
SCALE_SMOOTHING = 0.1  # weight of a new scale, which changes slowly and would tell the stature
RELAX = 0.08  # share of its way that a limb which is not seen goes towards hanging in each frame
GRAVITY = 1.5  # pull on such a limb, where the trunk's direction is 1
FORGOTTEN = 25  # frames after which a track that was not seen begins anew
APPEAR, VANISH = 4, 6  # frames in which a figure appears, and vanishes
KNOTS = 15  # frames between two random delays, between which the delay changes linearly
SIDES = np.array(MIRROR)  # left for right
SWAPPED = 0.5  # share of the step from the frame before that is left by exchanging the sides
MIN_SWAP = 0.06  # metres a landmark, from which they are exchanged
PARTS = (np.arange(33), np.arange(13, 23), np.arange(25, 33))  # everything, the arms, the legs


class TrackState(NamedTuple):
    """State of one person: the last poses, smoothed, and how clearly the figure is drawn."""

    frame: int  # number of the last frame in which the person was seen
    person: Person  # as last seen, smoothed
    world: tuple[Array, ...]  # (33, 3) each, smoothed, the last ones; the newest is last
    scale: float  # pixels of a metre
    opacity: float  # 0 to 1, of the figure


class FilterState(NamedTuple):
    """State of `filter_poses` in one video: the people followed so far."""

    key: int  # of the random delays
    frame: int = 0  # number of the next frame
    tracks: tuple[tuple[int, TrackState], ...] = ()  # by number


class Posed(NamedTuple):
    """A smoothed person, and the scale and opacity to draw the figure with."""

    person: Person
    scale: float
    opacity: float = 1.0


def filter_poses(
    people: Sequence[Person], state: FilterState, *, jitter: int = 0
) -> tuple[list[Posed], FilterState]:
    """Smooth the people of one frame; who has just gone is among them, and fades.

    Args:
        people: of the frame.
        state: after the frame before.
        jitter: frames by which a person's pose is late at most; the delay is random and changes.
    """
    tracks = dict(state.tracks)
    for person in people:
        before = tracks.get(person.track)
        if before is not None and state.frame - before.frame > FORGOTTEN:
            before = None
        tracks[person.track] = _follow(person, before, state.frame, jitter)
    present = {person.track for person in people}
    posed = []
    for number, track in tracks.items():
        if number not in present:
            track = track._replace(opacity=max(0.0, track.opacity - 1 / VANISH))
            tracks[number] = track
        if track.opacity > 0:
            shown = _delayed(track.world, _delay(state, number, jitter))
            posed.append(Posed(track.person._replace(world=shown), track.scale, track.opacity))
    kept = tuple(
        (n, track) for n, track in tracks.items() if state.frame - track.frame <= FORGOTTEN
    )
    return posed, FilterState(state.key, state.frame + 1, kept)


def _follow(person: Person, before: TrackState | None, frame: int, jitter: int) -> TrackState:
    """The state of a track after a frame in which its person is."""
    scale = scale_of(person)
    if before is None:
        world = _complete(person.world, person.landmarks[:, 3], None)
        opacity = 1.0 if frame == 0 else 1 / APPEAR
        return TrackState(frame, person._replace(world=world), (world,), scale, opacity)
    last = before.world[-1]
    person = _same_sides(person, last)
    gap = frame - before.frame
    landmarks, old = person.landmarks, before.person.landmarks
    step = np.linalg.norm(landmarks[:, :2] - old[:, :2], axis=1) / max(scale, 1e-6)
    landmarks = old + _weight(step, gap) * (landmarks - old)
    landmarks[:, 3] = np.minimum(landmarks[:, 3], person.landmarks[:, 3])  # no guess is believed
    world = _complete(person.world, landmarks[:, 3], last)
    world = last + _weight(np.linalg.norm(world - last, axis=1), gap) * (world - last)
    return TrackState(
        frame,
        person._replace(landmarks=landmarks, world=world),
        (*before.world, world)[-(jitter + 1) :],
        before.scale * (scale / before.scale) ** SCALE_SMOOTHING,
        min(1.0, before.opacity + 1 / APPEAR),
    )


def _weight(step: Array, gap: int) -> Array:
    """(33, 1), of the new place of each landmark, by how far it is from the old one, in metres."""
    weight = SLOW + (FAST - SLOW) * np.minimum(1, step / FAST_STEP)
    return np.asarray(1 - (1 - weight) ** gap)[:, None]


def _same_sides(person: Person, last: Array) -> Person:
    """The person with left and right exchanged where that is nearer to the frame before."""
    landmarks, world = person.landmarks.copy(), person.world.copy()
    for part in PARTS:
        opposite = SIDES[part]
        same = np.linalg.norm(world[part] - last[part], axis=1).mean()
        exchanged = np.linalg.norm(world[opposite] - last[part], axis=1).mean()
        if same > MIN_SWAP and exchanged < SWAPPED * same:
            landmarks[part], world[part] = landmarks[opposite], world[opposite]
    return person._replace(landmarks=landmarks, world=world)


def _complete(world: Array, visibility: Array, last: Array | None) -> Array:
    """(33, 3) in which limbs that are not seen keep their last pose (33, 3), and then hang."""
    out = world.copy()
    chest, hips = world[list(SHOULDERS)].mean(axis=0), world[list(HIPS)].mean(axis=0)
    down = (hips - chest) / max(float(np.linalg.norm(hips - chest)), 1e-6) + [0, GRAVITY, 0]
    down = down / np.linalg.norm(down)
    for chain in CHAINS:
        for a, b in pairwise(chain):
            bone = world[b] - world[a]
            hanging = down * np.linalg.norm(bone)
            limb = hanging if last is None else last[b] - last[a]
            limb = limb + RELAX * (hanging - limb)
            out[b] = out[a] + limb + trust(float(visibility[b])) * (bone - limb)
    return out


def _delay(state: FilterState, track: int, jitter: int) -> float:
    """Frames by which a track is late in this frame, 0 to `jitter`."""
    if not jitter:  # two generators a person and frame would take longer than the rest
        return 0.0
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

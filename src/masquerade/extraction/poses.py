"""Pose sequences of a video's people: landmarks that networks find, or the joints that are drawn.

A pose sequence is what skeleton-based recognizers read, (C, T, V, M) as in ST-GCN (Yan et al., AAAI
2018): C numbers of each of V landmarks of M people at T times. The numbers are x and y, visibility,
and x, y, z in metres from the middle of the hips. x and y are divided by the frame's height, from
its middle, so that place and size in the frame are kept. Who is not there is 0.
"""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person
from masquerade.arrays import F32, U8
from masquerade.datasets.manifest import IntArray
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.models.stgcn import LANDMARKS
from masquerade.regions.people import PoseSource
from masquerade.regions.pose_tracking import PoseTracker
from masquerade.regions.region import ArrayFrame
from masquerade.regions.scene_cuts import mark_cuts

CHANNELS = 6
VISIBILITY = 2  # the channel
PEOPLE = 2  # of a sequence
SHARED = 0.2  # of a track's frames in which somebody else may be where it is gone on with
THOROUGH_EVERY = 4  # runs of the detectors, of which one is on tiles and rotated copies too
NO_BOX = (0.0, 0.0, 0.0, 0.0)


@functools.cache
def pose_tracker() -> PoseTracker:
    """The networks that find poses, loaded once in each process.

    They are given the frames of a clip alone, between which people move far: so the detectors run
    on every second one, not on every fourth. On tiles and rotated copies they run four times less
    often: on most outputs nobody is seen in any, and these runs took most of the time.

    Raises:
        MissingError: LiteRT or a network is not installed.
    """
    return PoseSource(every=2).pose_tracker(thorough_every=THOROUGH_EVERY)


def find_people(frames: Iterable[U8]) -> Iterator[list[Person]]:
    """The people of each frame as pose networks find them and follow them, in order."""
    for now in pose_tracker()(mark_cuts(map(ArrayFrame, frames))):
        scale = now.frame.width / now.pixels.shape[1]
        to_frame = [scale, scale, scale, 1, 1]
        yield [
            Person(track, pose.score, NO_BOX, pose.landmarks * to_frame, pose.world)
            for track, pose in (now.between | now.poses).items()
        ]


def pose_sequence(
    people: Mapping[int, Sequence[Person]], numbers: IntArray, *, size: tuple[int, int]
) -> F32:
    """(C, T, V, M) of the people of a video at some of its frames.

    Of those seen between the first and the last of these frames, the most visible are taken; whose
    track breaks off is gone on with by one that begins later. They are ordered from left to right.

    Args:
        people: of each frame, by its number.
        numbers: (T,) of the frames.
        size: (width, height) of the frames in pixels.
    """
    first, last = int(numbers.min()), int(numbers.max())
    seen: dict[int, dict[int, Person]] = {}  # by track and frame
    for frame in range(first, last + 1):
        for person in people.get(frame, ()):
            seen.setdefault(person.track, {})[frame] = person
    slots: list[dict[int, Person]] = [{} for _ in range(PEOPLE)]
    for track in sorted(seen.values(), key=_visibility, reverse=True):
        free = [slot for slot in slots if len(slot.keys() & track.keys()) <= SHARED * len(track)]
        if free:
            slot = min(free, key=lambda slot: _distance(slot, track))
            slot.update({frame: person for frame, person in track.items() if frame not in slot})
    slots.sort(key=_place)
    out = np.zeros((CHANNELS, len(numbers), LANDMARKS, PEOPLE), np.float32)
    for m, slot in enumerate(slots):
        for t, frame in enumerate(numbers.tolist()):
            if frame in slot:
                person = slot[frame]
                out[:2, t, :, m] = (person.landmarks[:, :2] - np.array(size) / 2).T / size[1]
                out[VISIBILITY, t, :, m] = person.landmarks[:, 3]
                out[VISIBILITY + 1 :, t, :, m] = person.world.T
    return out


def _visibility(track: dict[int, Person]) -> float:
    return float(sum(person.landmarks[:, 3].sum() for person in track.values()))


def _middle(person: Person) -> NDArray[np.float64]:
    """(2,) the mean of the landmarks that are seen."""
    weights = person.landmarks[:, 3] + 1e-6
    return np.asarray(weights @ person.landmarks[:, :2] / weights.sum())


def _distance(slot: dict[int, Person], track: dict[int, Person]) -> float:
    """Pixels from one track's person to another's where they are nearest in time.

    Of nobody half the person's height, so that who is nearer is taken for the same person.
    """
    if not slot:
        return float(np.median([np.ptp(person.landmarks[:, 1]) for person in track.values()])) / 2
    pairs = ((abs(a - b), a, b) for a in (min(slot), max(slot)) for b in (min(track), max(track)))
    _, a, b = min(pairs)
    return float(np.linalg.norm(_middle(slot[a]) - _middle(track[b])))


def _place(slot: dict[int, Person]) -> float:
    """Mean x of a person; nobody comes last."""
    return float(np.mean([_middle(person)[0] for person in slot.values()])) if slot else np.inf


def drawn_people(
    items: Iterable[tuple[Any, Sequence[Person]]], method: DrawnPeople, *, seed: int
) -> Iterator[tuple[Any, list[Person]]]:
    """The people of each frame as a method draws them: read off the drawing without an error.

    `items` are frames and the people found in them, whom the method drew by the same seed.
    """
    state = method.init_state(seed=seed)
    for frame, people in items:
        shown, state = method.drawn_joints(people, state)
        yield frame, shown

"""A figure of standard proportions, posed as a person is.

Only the directions of a person's bones are kept. Their lengths are those of one standard body,
Drillis and Contini, "Body segment parameters" (1966), as shares of its height, and the scale is one
number for each person and frame. So a figure's place, size and movement are a person's, and its
proportions are nobody's.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person

Array = NDArray[np.float64]

NOSE = 0
EARS = 7, 8
SHOULDERS, ELBOWS, WRISTS, FINGERS = (11, 12), (13, 14), (15, 16), (19, 20)
HIPS, KNEES, ANKLES, TOES = (23, 24), (25, 26), (27, 28), (31, 32)
CHAINS = tuple(  # the landmarks of each limb, from the trunk on
    tuple(pair[side] for pair in chain)
    for chain in ((SHOULDERS, ELBOWS, WRISTS, FINGERS), (HIPS, KNEES, ANKLES, TOES))
    for side in (0, 1)
)

STATURE = 1.7  # metres, of everybody
SEGMENTS = {  # lengths as shares of the stature
    "trunk": 0.288,
    "neck": 0.065,
    "head": 0.13,
    "chin": 0.045,  # below the middle of the head, and half as much in front of it
    "shoulder": 0.115,  # from the middle
    "hip": 0.075,
    "upper arm": 0.186,
    "forearm": 0.146,
    "hand": 0.08,
    "thigh": 0.245,
    "shank": 0.246,
    "foot": 0.1,
}
ARM = (  # joints from the chest on, their landmarks, and the segment that leads to each
    ("shoulder", SHOULDERS, "shoulder"),
    ("elbow", ELBOWS, "upper arm"),
    ("wrist", WRISTS, "forearm"),
    ("fingers", FINGERS, "hand"),
)
LEG = (  # and from the pelvis on
    ("hip", HIPS, "hip"),
    ("knee", KNEES, "thigh"),
    ("ankle", ANKLES, "shank"),
    ("toes", TOES, "foot"),
)
MEASURED = (  # bones whose length in pixels and in metres gives the scale of a person
    *zip(SHOULDERS, HIPS, strict=True),
    *zip(HIPS, KNEES, strict=True),
    *zip(KNEES, ANKLES, strict=True),
    *zip(SHOULDERS, ELBOWS, strict=True),
    SHOULDERS,
)


UNSEEN, SEEN = 0.15, 0.5  # visibility of a landmark that is a guess, and of one that is measured


def trust(visibility: float) -> float:
    """How far a landmark is to be believed, 0 to 1."""
    return float(np.clip((visibility - UNSEEN) / (SEEN - UNSEEN), 0, 1))


class Figure(NamedTuple):
    """The joints of one posed figure, each (x, y, depth) in pixels of the frame."""

    joints: dict[str, Array]
    scale: float  # pixels of a metre


def scale_of(person: Person) -> float:
    """Pixels of a metre at a person, the median over bones that are seen."""
    ratios, weights = [], []
    for a, b in MEASURED:
        metres = float(np.linalg.norm(person.world[a, :2] - person.world[b, :2]))
        pixels = float(np.linalg.norm(person.landmarks[a, :2] - person.landmarks[b, :2]))
        seen = float(min(person.landmarks[a, 3], person.landmarks[b, 3]))
        if metres > 0.02:  # not seen end on
            ratios.append(pixels / metres)
            weights.append(seen * metres + 1e-6)
    if not ratios:
        return float(person.box[3] - person.box[1]) / STATURE
    order = np.argsort(ratios)
    half = np.cumsum(np.array(weights)[order])
    return float(np.array(ratios)[order][np.searchsorted(half, half[-1] / 2)])


def pose_figure(person: Person, *, scale: float | None = None) -> Figure:
    """The standard body in a person's pose and place.

    Args:
        person: with landmarks in pixels and world landmarks in metres.
        scale: pixels of a metre; None: as measured in this frame.
    """
    scale = scale_of(person) if scale is None else scale
    world = person.world
    unit = STATURE * scale
    middle = (world[HIPS[0]] + world[HIPS[1]]) / 2
    chest = (world[SHOULDERS[0]] + world[SHOULDERS[1]]) / 2
    up = _direction(middle, chest)
    image_hips = person.landmarks[list(HIPS), :2].mean(axis=0)
    image_chest = person.landmarks[list(SHOULDERS), :2].mean(axis=0)
    trunk = SEGMENTS["trunk"] * unit
    # The trunk is placed by its middle, or by the chest alone where the hips are guessed.
    guessed = 1 - trust(float(person.landmarks[list(HIPS), 3].min()))
    below = image_chest - up[:2] * trunk / 2
    centre = (image_hips + image_chest) / 2
    centre = np.array([*centre + guessed * (below - centre), 0.0])
    joints = {"pelvis": centre - up * trunk / 2, "chest": centre + up * trunk / 2}
    joints["waist"] = centre - up * trunk / 8
    head = (world[EARS[0]] + world[EARS[1]]) / 2
    to_head = _direction(chest, head)
    joints["neck"] = joints["chest"] + to_head * SEGMENTS["neck"] * unit
    joints["head"] = joints["neck"] + to_head * SEGMENTS["head"] / 2 * unit
    ahead = _direction(head, world[NOSE])
    ahead = ahead - to_head * float(ahead @ to_head)
    joints["chin"] = joints["head"] + (ahead / 2 - to_head) * SEGMENTS["chin"] * unit
    for side, name in enumerate(("left", "right")):
        for root, begin, chain in (("chest", chest, ARM), ("pelvis", middle, LEG)):
            at, before = joints[root], begin
            for joint, landmarks, segment in chain:
                point = world[landmarks[side]]
                at = at + _direction(before, point) * SEGMENTS[segment] * unit
                joints[f"{name} {joint}"], before = at, point
    return Figure(joints, scale)


def figure_landmarks(figure: Figure, person: Person) -> Person:
    """A person with the joints of a figure as landmarks; of others than those visibility is 0."""
    landmarks, world = np.zeros_like(person.landmarks), np.zeros_like(person.world)
    at = {"head": NOSE} | {
        f"{name} {joint}": pair[side]
        for side, name in enumerate(("left", "right"))
        for joint, pair, _ in (*ARM, *LEG)
    }
    for name, landmark in at.items():
        landmarks[landmark] = *figure.joints[name], 1, 1
        world[landmark] = (figure.joints[name] - figure.joints["pelvis"]) / figure.scale
    return person._replace(landmarks=landmarks, world=world)


def _direction(a: Array, b: Array) -> Array:
    """The unit vector from a to b."""
    step: Array = b - a
    length = float(np.linalg.norm(step))
    return step / length if length > 1e-6 else np.array([0.0, -1.0, 0.0])

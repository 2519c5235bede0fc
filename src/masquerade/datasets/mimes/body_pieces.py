"""The figure of a person: flat pieces, each a convex outline in the coordinates of one limb.

Along a limb, u grows downwards (away from its joint, for arms and legs); across it, v grows in the
direction that the person faces. Units are shares of the standing height.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from masquerade.arrays import F64
from masquerade.datasets.mimes.people import Colour, Person

PARTS = ("background", "forehead", "face", "hair", "hat", "torso", "arms", "hands", "legs", "feet")
"""Names of the labels of a part mask."""

_JOINTS = {  # of either side: the limb and how far along it, in widths of a limb
    "shoulder": ("upper_arm", 0.0),
    "elbow": ("forearm", 0.0),
    "wrist": ("hand", 0.0),
    "hand": ("hand", 0.6),
    "hip": ("thigh", 0.0),
    "knee": ("shin", 0.0),
    "ankle": ("foot", 0.0),
    "foot": ("foot", 1.6),
}
SIDES = ("near", "far")
KEYPOINTS = ("head", "neck", "hips", *(f"{side}_{joint}" for side in SIDES for joint in _JOINTS))

CLOTH = (252, 252, 255)  # of face masks


class Piece(NamedTuple):
    """One outline of one colour."""

    limb: str
    part: str  # of PARTS
    colour: Colour
    outline: F64  # (n, 2) of (u, v), convex
    round_: float = 0.0  # half width over which the shading falls; 0: flat


def pieces(person: Person) -> tuple[Piece, ...]:
    """All pieces of a person, the farthest first."""
    return (
        *_leg(person, "far"),
        *_arm(person, "far"),
        *_torso(person),
        *_leg(person, "near"),
        *_head(person),
        *_arm(person, "near"),
    )


def keypoint_places(person: Person) -> list[tuple[str, float]]:
    """The place of each of `KEYPOINTS`: limb and u; v is 0."""
    build = person.build
    trunk = [("head", -1.15 * build.head), ("torso", -build.torso), ("torso", 0.0)]
    joints = _JOINTS.values()
    return trunk + [(f"{side}_{limb}", u * build.limb) for side in SIDES for limb, u in joints]


def _arm(person: Person, side: str) -> Iterator[Piece]:
    build, dim = person.build, 0.78 if side == "far" else 1.0
    width = 0.9 * build.limb
    sleeve, skin = _dim(person.top, 0.88 * dim), _dim(person.skin, dim)
    hand = _ellipse(0.6 * build.limb, 0.0, 1.15 * build.limb, 1.0 * build.limb)
    yield _limb(f"{side}_upper_arm", "arms", sleeve, build.upper_arm, width, 0.9 * width)
    yield _limb(f"{side}_forearm", "arms", skin, build.forearm, 0.85 * width, 0.7 * width)
    yield Piece(f"{side}_hand", "hands", skin, hand, 1.2 * width)


def _leg(person: Person, side: str) -> Iterator[Piece]:
    build, dim = person.build, 0.78 if side == "far" else 1.0
    width = 1.25 * build.limb
    cloth, shoe = _dim(person.trousers, dim), _dim((50, 50, 58), dim)
    sole = _ellipse(0.9 * build.limb, 0.1 * build.limb, 1.9 * build.limb, 0.95 * build.limb)
    yield _limb(f"{side}_thigh", "legs", cloth, build.thigh, 1.15 * width, 0.9 * width)
    yield _limb(f"{side}_shin", "legs", cloth, build.shin, 0.9 * width, 0.68 * width)
    yield Piece(f"{side}_foot", "feet", shoe, sole)


def _torso(person: Person) -> Iterator[Piece]:
    top, waist, chest = -person.build.torso, person.build.waist, person.build.chest
    neck = _rectangle(top - 0.03, top + 0.03, -0.028, 0.028)
    trunk = _taper(top + 0.035, chest, 0.0, waist, 0.035)
    hips = _taper(-0.015, 0.98 * waist, 0.02, 0.9 * waist, 0.03)
    bright = _dim(person.top, 1.25) if max(person.top) < 190 else _dim(person.top, 0.62)
    yield Piece("torso", "face", _dim(person.skin, 0.8), neck)
    yield Piece("torso", "torso", person.top, trunk, 1.5 * chest)
    yield Piece("torso", "legs", person.trousers, hips, 1.5 * waist)
    for i in range(person.stripes):
        u = top * (0.72 - 0.3 * i)
        half = 0.97 * (chest + (u / top - 1) * (chest - waist))
        band = _rectangle(u - 0.022, u + 0.022, -half, half)
        yield Piece("torso", "torso", bright, band, 1.5 * chest)


def _head(person: Person) -> Iterator[Piece]:
    r = person.build.head
    c = -1.1 * r  # u of its middle
    if person.bits["long_hair"]:
        tress = _taper(c - 0.2 * r, 0.85 * r, c + 2.2 * r, 0.6 * r, 0.6 * r) - (0.0, 0.6 * r)
        yield Piece("head", "hair", _dim(person.hair, 0.85), tress)
    skull = _ellipse(c, 0.0, 1.08 * r, 0.95 * r)
    nose = _ellipse(c + 0.12 * r, 0.92 * r, 0.17 * r, 0.15 * r)
    yield Piece("head", "face", person.skin, nose)
    yield Piece("head", "face", person.skin, skull, 1.7 * r)
    yield Piece("head", "forehead", person.skin, _cut(skull, c - 0.18 * r), 1.7 * r)
    for colour, outline in _face(person, c, r, skull):
        yield Piece("head", "face", colour, outline)
    back = _ellipse(c - 0.25 * r, -0.52 * r, 0.85 * r, 0.52 * r)
    crown = _cut(_ellipse(c, -0.03 * r, 1.16 * r, 1.03 * r), c - 0.55 * r)
    yield Piece("head", "hair", person.hair, back)
    yield Piece("head", "hair", person.hair, crown)
    if person.bits["hat"]:
        cap = _taper(c - 1.3 * r, 0.72 * r, c - 0.72 * r, 0.98 * r, 0.22 * r)
        brim = _rectangle(c - 0.72 * r, c - 0.48 * r, -1.05 * r, 1.6 * r)
        yield Piece("head", "hat", person.hat, cap, 1.6 * r)
        yield Piece("head", "hat", _dim(person.hat, 0.7), brim)


def _face(person: Person, c: float, r: float, skull: F64) -> Iterator[tuple[Colour, F64]]:
    """Mouth or face mask, eyes and glasses: colour and outline of each."""
    lip = _dim(person.skin, 0.6)
    if person.bits["face_mask"]:
        yield CLOTH, _cut(skull, c + 0.2 * r, below=True)
        yield CLOTH, _ellipse(c + 0.5 * r, 0.3 * r, 0.55 * r, 0.75 * r)
        lip = _dim(CLOTH, 0.85)  # a fold where the mouth would be
    yield lip, _rectangle(c + 0.5 * r, c + 0.62 * r, 0.15 * r, 0.68 * r)
    for v in (0.2, 0.68):
        yield (250, 250, 250), _ellipse(c - 0.1 * r, v * r, 0.2 * r, 0.17 * r)
        yield (20, 20, 30), _ellipse(c - 0.08 * r, (v + 0.04) * r, 0.13 * r, 0.11 * r)
    if person.glasses:
        frame = (30, 34, 44)
        yield frame, _rectangle(c - 0.14 * r, c - 0.02 * r, -0.8 * r, 0.9 * r)
        for v in (0.2, 0.68):
            yield frame, _ellipse(c - 0.08 * r, v * r, 0.27 * r, 0.22 * r)


def _limb(limb: str, part: str, colour: Colour, length: float, start: float, end: float) -> Piece:
    return Piece(limb, part, colour, _taper(0.0, start, length, end, None), 1.15 * start)


def _taper(u0: float, v0: float, u1: float, v1: float, cap: float | None) -> F64:
    """From half width v0 at u0 to v1 at u1; its ends bulge by `cap`, None: half circles."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 7)
    first = np.stack((u0 - (v0 if cap is None else cap) * np.cos(turn), v0 * np.sin(turn)), -1)
    last = np.stack((u1 + (v1 if cap is None else cap) * np.cos(turn), -v1 * np.sin(turn)), -1)
    return np.concatenate((first, last))


def _ellipse(u: float, v: float, along: float, across: float) -> F64:
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    return np.stack((u + along * np.cos(turn), v + across * np.sin(turn)), -1)


def _rectangle(u0: float, u1: float, v0: float, v1: float) -> F64:
    return np.array([(u0, v0), (u0, v1), (u1, v1), (u1, v0)])


def _cut(outline: F64, u: float, *, below: bool = False) -> F64:
    """The part of an outline above u, or below it, closed by a straight edge."""
    middle = outline.mean(axis=0)
    half = np.abs(outline - middle).max(axis=0)
    width = half[1] * np.sqrt(max(0.0, 1 - ((u - middle[0]) / half[0]) ** 2))
    off = outline[:, 0] < u if below else outline[:, 0] > u
    held = np.clip(outline[:, 1], middle[1] - width, middle[1] + width)
    edge = np.maximum(outline[:, 0], u) if below else np.minimum(outline[:, 0], u)
    return np.stack((edge, np.where(off, held, outline[:, 1])), -1)


def _dim(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(factor * c)) for c in colour)
    return (red, green, blue)

"""Draws skeletons and mannequins from joints: bones as lines, limbs as shaded capsules."""

from collections.abc import Iterable
from itertools import chain, pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person
from masquerade.arrays import U8
from masquerade.methods.body import CHAINS, EARS, NOSE, SHOULDERS, Array, Figure, scale_of

FOOT = "ankle", "toes"
SHIFT = 4  # binary places of coordinates below a pixel
LIMBS = (  # joints, and radii at both as shares of a metre
    *((f"{side} shoulder", f"{side} elbow", 0.055, 0.045) for side in ("left", "right")),
    *((f"{side} elbow", f"{side} wrist", 0.045, 0.032) for side in ("left", "right")),
    *((f"{side} wrist", f"{side} fingers", 0.034, 0.03) for side in ("left", "right")),
    *((f"{side} hip", f"{side} knee", 0.085, 0.06) for side in ("left", "right")),
    *((f"{side} knee", f"{side} ankle", 0.058, 0.04) for side in ("left", "right")),
    *((f"{side} ankle", f"{side} toes", 0.042, 0.03) for side in ("left", "right")),
)
NECK = ("chest", 0.055), ("head", 0.05)
CHEST = ("left shoulder", 0.07), ("right shoulder", 0.07), ("waist", 0.105)
PELVIS = ("waist", 0.1), ("left hip", 0.09), ("right hip", 0.09)
HEAD = ("head", 0.1), ("chin", 0.062)
BODY = np.array([190, 199, 212])  # RGB of a figure
RADII = 0.34, 0.58, 0.78, 0.92, 1.0  # of the layers of a limb, in parts of it
LIGHTS = 1.08, 0.98, 0.87, 0.72, 0.4  # their brightness
OFFSETS = 0.2, 0.12, 0.06, 0.02, 0.0  # and how far they lie towards the light, in radii
LAYER = 25.0  # pixels of a metre that a layer is drawn for
MOST_LAYERS = 16
FAR = 0.25  # how much darker what lies half a metre behind its middle is
SHADOW = 0.35  # darkness of the shadow below the feet
SKELETON = (  # pairs of landmarks
    *((11, 12), (11, 23), (12, 24), (23, 24)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
    *((23, 25), (25, 27), (24, 26), (26, 28)),
    *((27, 31), (28, 32), (15, 19), (16, 20)),
)
LEFT, RIGHT, MIDDLE = (255, 170, 80), (90, 190, 255), (240, 240, 240)  # RGB of bones
MIN_VISIBILITY = 0.3  # of a landmark that is drawn


def draw_mannequins(canvas: U8, figures: Iterable[Figure], *, shadows: bool = False) -> None:
    """Draw shaded figures into RGB (H, W, 3), back to front, and their shadows on a floor."""
    ordered = sorted(figures, key=lambda f: f.scale)  # who is nearer is larger
    for figure in ordered if shadows else ():
        _draw_shadow(canvas, figure)
    for figure in ordered:
        _draw_mannequin(canvas, figure)


def _draw_mannequin(canvas: U8, figure: Figure) -> None:
    joints, metre = figure.joints, figure.scale
    sizes = np.linspace(1, RADII[0], int(np.clip(metre / LAYER, 2, MOST_LAYERS)))
    lights, offsets = np.interp(sizes, RADII, LIGHTS), np.interp(sizes, RADII, OFFSETS)
    groups = [((a, first), (b, last)) for a, b, first, last in LIMBS]
    parts = [(_depth(joints, group), group) for group in (*groups, CHEST, PELVIS, HEAD)]
    middle = float(np.mean([depth for depth, _ in parts]))
    # The neck begins inside the chest, and so is drawn right before it or the head.
    parts.append((max(_depth(joints, CHEST), _depth(joints, HEAD)) + 1e-3, NECK))
    for depth, group in sorted(parts, key=lambda part: -part[0]):
        dark = 1 - FAR * np.clip((depth - middle) / (0.5 * metre), -0.3, 1)
        middles, radii, spokes = _outline([(joints[name], radius) for name, radius in group], metre)
        points = middles + radii * (sizes[:, None, None] * spokes - offsets[:, None, None])
        corners = np.rint(points.clip(-1e5, 1e5) * 2**SHIFT).astype(np.int32)  # (layers, n, 2)
        colours = (BODY * dark * lights[:, None]).clip(0, 255).tolist()
        for layer, (outline, colour) in enumerate(zip(corners, colours, strict=True)):
            smooth = cv2.LINE_8 if layer else cv2.LINE_AA  # which takes five times as long
            cv2.fillConvexPoly(canvas, outline, colour, smooth, SHIFT)


def _draw_shadow(canvas: U8, figure: Figure) -> None:
    """Darken the floor below each foot, less where it is in the air."""
    joints, metre = figure.joints, figure.scale
    feet = [[joints[f"{side} {name}"][:2] for name in FOOT] for side in ("left", "right")]
    floor = max(float(point[1]) for foot in feet for point in foot)
    height, width = canvas.shape[:2]
    for foot in feet:
        x = float(np.mean([point[0] for point in foot]))
        wide = abs(foot[0][0] - foot[1][0]) / 2 + 0.13 * metre
        high, lift = 0.06 * metre, (floor - max(point[1] for point in foot)) / metre
        left, top = max(0, int(x - 1.5 * wide)), max(0, int(floor - 1.5 * high))
        right, bottom = (
            min(width, int(x + 1.5 * wide) + 1),
            min(height, int(floor + 1.5 * high) + 1),
        )
        if left >= right or top >= bottom:
            continue
        across = (np.arange(left, right) - x) / wide
        down = (np.arange(top, bottom) - floor) / high
        dark = SHADOW * np.exp(-2 * (across[None] ** 2 + down[:, None] ** 2) - 4 * lift)
        part = canvas[top:bottom, left:right]
        part[:] = np.rint(part * (1 - dark[..., None]))


def _depth(joints: dict[str, Array], group: Iterable[tuple[str, float]]) -> float:
    return float(np.mean([joints[name][2] for name, _ in group]))


def _outline(circles: list[tuple[Array, float]], metre: float) -> tuple[Array, Array, Array]:
    """The convex hull of circles of radii in metres, whose corners are middle + radius * spoke.

    Middles (n, 2) and radii (n, 1) are in pixels; spokes (n, 2) have length 1.
    """
    most = metre * max(radius for _, radius in circles)
    turn = np.linspace(0, 2 * np.pi, 16 if most < 12 else 40, endpoint=False)
    around = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    spokes = np.tile(around, (len(circles), 1))
    middles = np.repeat([middle[:2] for middle, _ in circles], len(around), axis=0)
    sizes = [max(metre * radius, 1.0) for _, radius in circles]
    radii = np.repeat(sizes, len(around))[:, None]
    rims = (middles + radii * spokes).astype(np.float32)
    hull = np.asarray(cv2.convexHull(rims, returnPoints=False)).ravel()
    return middles[hull], radii[hull], spokes[hull]


def draw_skeletons(canvas: U8, people: Iterable[Person]) -> None:
    """Draw bones and joints of people into RGB (H, W, 3)."""
    for person in people:
        thick = max(1, round(0.03 * scale_of(person)))
        seen = _seen(person)
        at = np.rint(person.landmarks[:, :2].clip(-1e5, 1e5) * 2**SHIFT).astype(int)
        drawn = [bone for bone in SKELETON if seen[list(bone)].all()]
        for a, b in drawn:
            sides = a % 2 + b % 2  # landmarks of the left are odd
            _line(canvas, at[a], at[b], (RIGHT, MIDDLE, LEFT)[sides], thick)
        neck = at[[11, 12]].mean(axis=0).astype(int)
        if seen[[*EARS, *SHOULDERS]].all():
            head = at[list(EARS)].mean(axis=0).astype(int)
            radius = round(0.09 * scale_of(person) * 2**SHIFT)
            up = head - neck
            length = float(np.hypot(*up))
            if length > radius:  # the neck ends at the rim of the head
                _line(canvas, neck, (neck + up * (1 - radius / length)).astype(int), MIDDLE, thick)
            centre = (int(head[0]), int(head[1]))
            cv2.circle(canvas, centre, max(radius, 2**SHIFT), MIDDLE, thick, cv2.LINE_AA, SHIFT)
        for joint in sorted({joint for bone in drawn for joint in bone}):
            centre = (int(at[joint][0]), int(at[joint][1]))
            cv2.circle(canvas, centre, thick << SHIFT, MIDDLE, cv2.FILLED, cv2.LINE_AA, SHIFT)


def drawn_landmarks(person: Person) -> Person:
    """A person with those landmarks alone that `draw_skeletons` draws; a drawing has no depth."""
    seen = _seen(person)
    landmarks = np.zeros_like(person.landmarks)
    for joint in {joint for bone in SKELETON if seen[list(bone)].all() for joint in bone}:
        landmarks[joint] = *person.landmarks[joint, :2], 0, 1, 1
    if seen[[*EARS, *SHOULDERS]].all():
        landmarks[NOSE] = *person.landmarks[list(EARS), :2].mean(axis=0), 0, 1, 1
    return person._replace(landmarks=landmarks, world=np.zeros_like(person.world))


def _seen(person: Person) -> NDArray[np.bool_]:
    """(33,) whether each landmark is seen well enough to be drawn."""
    seen = np.asarray(person.landmarks[:, 3] >= MIN_VISIBILITY)
    for a, b in chain.from_iterable(map(pairwise, CHAINS)):
        seen[b] &= seen[a]  # no forearm without its upper arm
    return seen


def _line(canvas: U8, a: NDArray[np.int_], b: NDArray[np.int_], colour: object, thick: int) -> None:
    ends = (int(a[0]), int(a[1])), (int(b[0]), int(b[1]))
    cv2.line(canvas, *ends, colour, thick, cv2.LINE_AA, SHIFT)  # type: ignore[call-overload]

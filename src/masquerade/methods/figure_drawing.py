"""Draws skeletons and mannequins from joints: bones as lines, limbs as shaded capsules."""

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.anonymizer import Person
from masquerade.methods.body import Array, Figure, scale_of

U8 = NDArray[np.uint8]
SHIFT = 4  # binary places of coordinates below a pixel
LIMBS = (  # joints, and radii at both as shares of a metre
    *((f"{side} shoulder", f"{side} elbow", 0.055, 0.045) for side in ("left", "right")),
    *((f"{side} elbow", f"{side} wrist", 0.045, 0.032) for side in ("left", "right")),
    *((f"{side} wrist", f"{side} fingers", 0.034, 0.03) for side in ("left", "right")),
    *((f"{side} hip", f"{side} knee", 0.085, 0.06) for side in ("left", "right")),
    *((f"{side} knee", f"{side} ankle", 0.058, 0.04) for side in ("left", "right")),
    *((f"{side} ankle", f"{side} toes", 0.042, 0.03) for side in ("left", "right")),
    ("chest", "head", 0.055, 0.055),
)
TRUNK = ("left shoulder", "right shoulder", "left hip", "right hip")
TRUNK_RADII = 0.07, 0.07, 0.09, 0.09
HEAD_RADIUS = 0.105
BODY = np.array([188, 196, 208])  # RGB of a figure
RIM = 0.45  # brightness of its rim
LIGHT = 1.16  # and of its lit side
FAR = 0.25  # how much darker what lies half a metre behind its middle is
SKELETON = (  # pairs of landmarks
    *((11, 12), (11, 23), (12, 24), (23, 24)),
    *((11, 13), (13, 15), (12, 14), (14, 16)),
    *((23, 25), (25, 27), (24, 26), (26, 28)),
    *((27, 31), (28, 32), (15, 19), (16, 20)),
)
LEFT, RIGHT, MIDDLE = (255, 170, 80), (90, 190, 255), (240, 240, 240)  # RGB of bones
MIN_VISIBILITY = 0.1  # of a landmark that is drawn


def draw_mannequins(canvas: U8, figures: Iterable[Figure]) -> None:
    """Draw shaded figures into RGB (H, W, 3), back to front."""
    for figure in sorted(figures, key=lambda f: f.scale):  # who is nearer is larger
        _draw_mannequin(canvas, figure)


def _draw_mannequin(canvas: U8, figure: Figure) -> None:
    joints, metre = figure.joints, figure.scale
    parts: list[tuple[float, list[tuple[Array, float]]]] = []
    for a, b, first, last in LIMBS:
        parts.append((_depth(joints, a, b), [(joints[a], first), (joints[b], last)]))
    trunk = [(joints[n], r) for n, r in zip(TRUNK, TRUNK_RADII, strict=True)]
    parts.append((_depth(joints, *TRUNK), trunk))
    parts.append((float(joints["head"][2]), [(joints["head"], HEAD_RADIUS)]))
    middle = float(np.mean([depth for depth, _ in parts]))
    for depth, circles in sorted(parts, key=lambda part: -part[0]):
        dark = 1 - FAR * np.clip((depth - middle) / (0.5 * metre), -0.3, 1)
        for radius, light, offset in ((1.0, RIM, 0.0), (0.8, 1.0, 0.0), (0.4, LIGHT, -0.25)):
            outline = _outline(circles, metre * radius, metre * offset)
            colour = (BODY * dark * light).clip(0, 255)
            cv2.fillConvexPoly(canvas, outline, colour.tolist(), cv2.LINE_AA, SHIFT)


def _depth(joints: dict[str, Array], *names: str) -> float:
    return float(np.mean([joints[name][2] for name in names]))


def _outline(circles: list[tuple[Array, float]], scale: float, offset: float) -> NDArray[np.int32]:
    """The convex hull of circles of radii times `scale`, moved by `offset` radii up and left."""
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    around = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    rims = [
        joint[:2] + radius * (offset + max(scale, 1.0 / radius if scale > 0 else 0) * around)
        for joint, radius in circles
    ]
    points = np.rint(np.concatenate(rims).clip(-1e5, 1e5) * 2**SHIFT).astype(np.int32)
    return np.asarray(cv2.convexHull(points), np.int32)


def draw_skeletons(canvas: U8, people: Iterable[Person]) -> None:
    """Draw bones and joints of people into RGB (H, W, 3)."""
    for person in people:
        thick = max(1, round(0.03 * scale_of(person)))
        seen = person.landmarks[:, 3] >= MIN_VISIBILITY
        at = np.rint(person.landmarks[:, :2].clip(-1e5, 1e5) * 2**SHIFT).astype(int)
        drawn = [bone for bone in SKELETON if seen[list(bone)].all()]
        for a, b in drawn:
            sides = a % 2 + b % 2  # landmarks of the left are odd
            _line(canvas, at[a], at[b], (RIGHT, MIDDLE, LEFT)[sides], thick)
        neck = at[[11, 12]].mean(axis=0).astype(int)
        if seen[[7, 8, 11, 12]].all():
            head = at[[7, 8]].mean(axis=0).astype(int)
            _line(canvas, neck, head, MIDDLE, thick)
            radius = round(0.09 * scale_of(person) * 2**SHIFT)
            centre = (int(head[0]), int(head[1]))
            cv2.circle(canvas, centre, max(radius, 2**SHIFT), MIDDLE, thick, cv2.LINE_AA, SHIFT)
        for joint in sorted({joint for bone in drawn for joint in bone}):
            centre = (int(at[joint][0]), int(at[joint][1]))
            cv2.circle(canvas, centre, thick << SHIFT, MIDDLE, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _line(canvas: U8, a: NDArray[np.int_], b: NDArray[np.int_], colour: object, thick: int) -> None:
    ends = (int(a[0]), int(a[1])), (int(b[0]), int(b[1]))
    cv2.line(canvas, *ends, colour, thick, cv2.LINE_AA, SHIFT)  # type: ignore[call-overload]

"""Backgrounds: four kinds of drawn places, each with one of four objects."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from masquerade.arrays import U8
from masquerade.datasets.mimes.people import hsv

RGB = tuple[int, ...]

SCENES = ("beach", "park", "room", "street")
OBJECTS = ("ball", "crate", "lamp", "plant")

GROUND = 0.9  # y on which people and objects stand, in sides of the frame
_HAZE = 225.0
_FINE = 2  # drawn at this many times the size, for soft edges


def background(scene: str, item: str, *, size: int, person: float, rng: Generator) -> U8:
    """A still background, (size, size, 3) RGB, with an object beside the person's x (in sides)."""
    canvas = np.zeros((size * _FINE, size * _FINE, 3), np.uint8)
    {"beach": _beach, "park": _park, "room": _room, "street": _street}[scene](canvas, rng)
    canvas = np.asarray(0.55 * canvas + 0.45 * _HAZE, np.uint8)  # so that figures stand out
    x = rng.uniform(0.72, 0.9) if person < 0.5 else rng.uniform(0.1, 0.28)
    {"ball": _ball, "crate": _crate, "lamp": _lamp, "plant": _plant}[item](canvas, x, rng)
    small = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray(np.clip(small * rng.uniform(0.85, 1.1) + _grain(size, rng), 0, 255), np.uint8)


def _grain(size: int, rng: Generator) -> NDArray[np.float32]:
    """Low-frequency and pixel noise."""
    coarse = rng.normal(0, 7, (6, 6)).astype(np.float32)
    soft = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    fine = rng.normal(0, 3, (size, size)).astype(np.float32)
    return np.asarray(soft + fine, np.float32)[..., None]


def _beach(canvas: U8, rng: Generator) -> None:
    sea = rng.uniform(0.35, 0.45)
    _bands(canvas, (0, sea), (150, 200, 235), (205, 228, 240), rng)
    _bands(canvas, (sea, 0.66), (30, 110, 160), (70, 160, 180), rng)
    _bands(canvas, (0.66, 1), (226, 204, 152), (206, 180, 126), rng)
    _disc(canvas, rng.uniform(0.1, 0.9), rng.uniform(0.08, 0.2), 0.06, (255, 244, 190))
    for y in rng.uniform(sea + 0.05, 0.64, 3):
        x = rng.uniform(0, 0.7)
        _box(canvas, x, y, x + 0.25, y + 0.012, (196, 226, 232))


def _park(canvas: U8, rng: Generator) -> None:
    _bands(canvas, (0, 0.62), (160, 205, 240), (214, 232, 240), rng)
    for x in rng.uniform(0, 1, 4):
        y, r = rng.uniform(0.34, 0.5), rng.uniform(0.12, 0.2)
        _box(canvas, x - 0.025, y, x + 0.025, 0.66, (96, 68, 44))
        green = (int(rng.integers(30, 80)), int(rng.integers(95, 150)), 50)
        _disc(canvas, x, y, r, green)
    _bands(canvas, (0.62, 1), (112, 164, 72), (76, 126, 50), rng)


def _room(canvas: U8, rng: Generator) -> None:
    wall = hsv(rng.random(), rng.uniform(0.05, 0.3), rng.uniform(0.7, 0.9))
    _bands(canvas, (0, 0.74), wall, tuple(round(0.9 * c) for c in wall), rng)
    _bands(canvas, (0.74, 1), (150, 108, 70), (120, 82, 52), rng)
    _box(canvas, 0, 0.72, 1, 0.745, (236, 232, 224))
    x = rng.uniform(0.04, 0.62)
    _box(canvas, x, 0.1, x + 0.32, 0.46, (244, 242, 236))
    _box(canvas, x + 0.025, 0.13, x + 0.15, 0.43, (172, 208, 232))
    _box(canvas, x + 0.17, 0.13, x + 0.295, 0.43, (172, 208, 232))


def _street(canvas: U8, rng: Generator) -> None:
    _bands(canvas, (0, 0.72), (196, 204, 214), (222, 222, 220), rng)
    left = 0.0
    while left < 1:
        width, top = rng.uniform(0.2, 0.34), rng.uniform(0.06, 0.3)
        grey = rng.uniform(90, 150) + rng.uniform(-14, 14, 3)
        _box(canvas, left, top, left + width - 0.01, 0.72, tuple(int(c) for c in grey))
        for y in np.arange(top + 0.06, 0.6, 0.14):
            for x in np.arange(left + 0.04, left + width - 0.07, 0.1):
                lit = (238, 220, 150) if rng.random() < 0.4 else (62, 74, 92)
                _box(canvas, x, y, x + 0.05, y + 0.075, lit)
        left += width
    _bands(canvas, (0.72, 0.79), (178, 176, 172), (168, 166, 162), rng)
    _bands(canvas, (0.79, 1), (86, 88, 92), (66, 68, 72), rng)


def _ball(canvas: U8, x: float, rng: Generator) -> None:
    colour = hsv(rng.random(), 0.8, 0.9)
    _disc(canvas, x, GROUND - 0.07, 0.08, colour)
    _disc(canvas, x - 0.025, GROUND - 0.095, 0.026, (250, 250, 250))


def _crate(canvas: U8, x: float, rng: Generator) -> None:
    wood = (int(rng.integers(150, 190)), int(rng.integers(105, 135)), 66)
    _box(canvas, x - 0.1, GROUND - 0.19, x + 0.1, GROUND, tuple(c // 2 for c in wood))
    for i in range(3):
        y = GROUND - 0.178 + 0.06 * i
        _box(canvas, x - 0.088, y, x + 0.088, y + 0.045, wood)


def _lamp(canvas: U8, x: float, rng: Generator) -> None:
    _box(canvas, x - 0.012, GROUND - 0.5, x + 0.012, GROUND, (52, 52, 58))
    _box(canvas, x - 0.06, GROUND - 0.025, x + 0.06, GROUND, (52, 52, 58))
    shade = hsv(rng.uniform(0.08, 0.16), rng.uniform(0.3, 0.6), 1.0)
    points = np.array([(-0.06, -0.6), (0.06, -0.6), (0.1, -0.45), (-0.1, -0.45)])
    _polygon(canvas, np.add(points, (x, GROUND)), shade)


def _plant(canvas: U8, x: float, rng: Generator) -> None:
    for turn in np.linspace(-1.1, 1.1, 5):
        base = np.array((x, GROUND - 0.14))
        tip = np.array((x + 0.2 * np.sin(turn), GROUND - 0.14 - 0.22 * np.cos(turn)))
        side = np.array((0.035 * np.cos(turn), 0.035 * np.sin(turn)))
        middle = 0.5 * (base + tip)
        leaf = np.stack((base, middle + side, tip, middle - side))
        _polygon(canvas, leaf, (34, int(rng.integers(100, 150)), 62))
    pot = np.array([(-0.07, -0.15), (0.07, -0.15), (0.05, 0.0), (-0.05, 0.0)])
    _polygon(canvas, np.add(pot, (x, GROUND)), (186, 92, 62))


def _bands(canvas: U8, rows: tuple[float, float], top: RGB, bottom: RGB, rng: Generator) -> None:
    """A vertical gradient between two jittered colours."""
    side = len(canvas)
    first, last = round(rows[0] * side), round(rows[1] * side)
    moved = np.array([top, bottom]) + rng.uniform(-12, 12, 3)
    share = np.linspace(0, 1, max(1, last - first))[:, None]
    fade = np.clip(moved[0] * (1 - share) + moved[1] * share, 0, 255)
    canvas[first:last] = fade[:, None].astype(np.uint8)


def _box(canvas: U8, x0: float, y0: float, x1: float, y1: float, colour: RGB) -> None:
    _polygon(canvas, np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]), colour)


def _disc(canvas: U8, x: float, y: float, r: float, colour: RGB) -> None:
    side = len(canvas)
    middle = (round(x * side * 16), round(y * side * 16))
    cv2.circle(canvas, middle, round(r * side * 16), colour, -1, cv2.LINE_AA, 4)


def _polygon(canvas: U8, points: NDArray[np.float64], colour: RGB) -> None:
    corners = np.rint(points * len(canvas) * 16).astype(np.int32)
    cv2.fillConvexPoly(canvas, corners, colour, cv2.LINE_AA, 4)

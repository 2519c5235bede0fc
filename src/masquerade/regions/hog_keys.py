"""The `colour-hog` features: dense colour and gradient descriptors that need no weights.

Colour: the mean embedding of the pixels' Lab colours under a Gaussian kernel (random Fourier
features, Rahimi and Recht, 2007), over two window sizes; the cosine of two such means compares
colour distributions without bins. Gradients: histograms of orientation in 3 x 3 cells (Dalal and
Triggs, 2005), with one constant component, so that flat areas resemble each other and not noise.
Weaker than a network across people; within one video they follow the picked point.
"""

from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import cv2
import numpy as np

from masquerade.arrays import F32, U8
from masquerade.errors import UsageError

VERSION = 1  # raised whenever keys change: templates of another version are refused
CELL = 4  # pixels per side of the cells that everything is pooled over
STRIDES = (4, 8)
FREQUENCIES = 48
PRIMES = (2, 3, 5)
BANDWIDTHS = (24.0, 9.0, 9.0)  # of the kernel along L, a, b: light changes with the pose, hue less
NARROW, WIDE = 3, 7  # cells across of the two colour windows
BINS = 8  # orientations over half a turn
SPACING = 3  # cells between the centres of a histogram's 3 x 3 cells
FLAT = 60.0  # the constant component, as a sum of gradients in a cell
WEIGHTS = (0.5, 0.3, 0.2)  # in the cosine: narrow colour, wide colour, gradients


class KeyGrid(NamedTuple):
    """The keys of one picture."""

    keys: F32  # (rows, columns, D)
    y: F32  # (rows,), centres of the rows in pixels of the picture, 0 its upper edge
    x: F32  # (columns,), centres of the columns, 0 its left edge
    height: int  # of the picture
    width: int

    def nearest(self, x: float, y: float) -> tuple[int, int]:
        """Row and column of the key nearest to the centre of a pixel."""
        row, column = np.abs(self.y - y - 0.5).argmin(), np.abs(self.x - x - 0.5).argmin()
        return int(row), int(column)


class ColourHog:
    """Extracts colour and gradient keys, on a stride of 4 or 8 pixels of the resized picture."""

    name = "colour-hog"
    key_width = 2 * 2 * FREQUENCIES + 9 * BINS + 1  # two windows of colour, gradients, a constant
    model_sha256: str | None = None

    def __init__(self, *, stride: int | None = None, short: int = 224) -> None:
        stride = stride or CELL
        if stride not in STRIDES or short < 32 or short % 8:
            raise UsageError(
                "colour-hog takes a stride of 4 or 8 and a short side of 32 or more pixels that 8 "
                f"divides; got {stride} and {short}."
            )
        self.stride, self.short = stride, short
        self.fingerprint = f"{self.name} {VERSION} stride {stride} short {short}"

    def __call__(self, pixels: U8) -> KeyGrid:
        """The keys of a picture, (H, W, 3) RGB."""
        height, width = pixels.shape[:2]
        factor = self.short / min(height, width)
        h, w = (max(1, round(side * factor / 8)) * 8 for side in (height, width))
        method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        small = np.asarray(cv2.resize(pixels, (w, h), interpolation=method), np.uint8)
        colour = _colour_features(small)  # (h / 4, w / 4, 2 m)
        parts = [_box_blur(colour, NARROW), _box_blur(colour, WIDE), _gradients(small)]
        weighted = zip(WEIGHTS, parts, strict=True)
        keys = np.concatenate([np.sqrt(np.float32(s)) * normalize(part) for s, part in weighted], 2)
        y = ((np.arange(h // CELL) + 0.5) * CELL * height / h).astype(np.float32)
        x = ((np.arange(w // CELL) + 0.5) * CELL * width / w).astype(np.float32)
        if self.stride == 2 * CELL:
            keys = normalize(_pool(keys, 2))
            y, x = y.reshape(-1, 2).mean(axis=1), x.reshape(-1, 2).mean(axis=1)
        return KeyGrid(keys, y, x, height, width)


@cache
def _colour_table() -> F32:
    """(32768, 2 m): the features of every colour of 5 bits per channel."""
    levels = np.arange(32, dtype=np.float32) * 8 + 4
    rgb = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1) / 255
    lab = np.asarray(cv2.cvtColor(rgb.reshape(1, -1, 3), cv2.COLOR_RGB2LAB), np.float32)[0]
    phases = (lab / np.array(BANDWIDTHS, np.float32)) @ _frequencies().T  # (32768, m)
    return np.concatenate([np.cos(phases), np.sin(phases)], 1).astype(np.float32)


def _frequencies() -> F32:
    """(m, 3) normal deviates, spread evenly (Halton), the same on every machine."""
    normal = NormalDist()
    points = [[normal.inv_cdf(_halton(i, p)) for p in PRIMES] for i in range(1, FREQUENCIES + 1)]
    return np.array(points, np.float32)


def _halton(index: int, base: int) -> float:
    out, share = 0.0, 1.0
    while index:
        share /= base
        index, digit = divmod(index, base)
        out += share * digit
    return out


def _colour_features(small: U8) -> F32:
    """(h / 4, w / 4, 2 m): mean features of each cell's colours, of every other pixel."""
    coarse = _pool(small.astype(np.float32), 2).astype(np.int32) >> 3
    index = (coarse[..., 0] << 10) | (coarse[..., 1] << 5) | coarse[..., 2]
    return _pool(_colour_table()[index], 2)


def _gradients(small: U8) -> F32:
    """(h / 4, w / 4, 9 * 8 + 1): histograms of 3 x 3 cells around each point, and a constant."""
    light = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.float32)
    dx = cv2.Sobel(light, cv2.CV_32F, 1, 0, ksize=3) / 8
    dy = cv2.Sobel(light, cv2.CV_32F, 0, 1, ksize=3) / 8
    size = np.sqrt(dx * dx + dy * dy)  # (h, w, 3)
    strongest = size.argmax(axis=2)[..., None]
    dx, dy, size = (np.take_along_axis(v, strongest, 2)[..., 0] for v in (dx, dy, size))
    turn = np.arctan2(dy, dx) * (BINS / np.pi) % BINS
    low = turn.astype(np.int32) % BINS
    rest = turn - np.floor(turn)
    votes = np.zeros((*size.shape, BINS), np.float32)
    rows, columns = np.ogrid[: size.shape[0], : size.shape[1]]
    votes[rows, columns, low] = size * (1 - rest)
    votes[rows, columns, (low + 1) % BINS] += size * rest
    cells = _box_blur(_pool(votes, CELL), SPACING) * CELL**2 * SPACING**2 / 9
    padded = np.pad(cells, ((SPACING, SPACING), (SPACING, SPACING), (0, 0)), "edge")
    high, wide = cells.shape[:2]
    steps = (0, SPACING, 2 * SPACING)
    around = [padded[i : i + high, j : j + wide] for i in steps for j in steps]
    return np.concatenate([*around, np.full((high, wide, 1), FLAT, np.float32)], 2)


def _pool(values: F32, side: int) -> F32:
    """(h, w, c) to the means of its squares, (h / side, w / side, c)."""
    rows = values.reshape(values.shape[0] // side, side, values.shape[1], -1).mean(axis=1)
    return rows.reshape(rows.shape[0], rows.shape[1] // side, side, -1).mean(axis=2)


def _box_blur(values: F32, across: int) -> F32:
    """Means over windows of `across` cells, (h, w, c)."""
    blurred = cv2.blur(values, (across, across), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, np.float32)


def normalize(values: F32) -> F32:
    """Unit vectors along the last axis; a zero vector stays zero."""
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12), np.float32)

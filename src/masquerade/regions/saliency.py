"""How much each place of a picture looks like a template: the strength with which it is hidden.

Ilic et al., CVPR 2024, eq. 1 and 2. As printed no pixel ever reaches 1, and more templates make
each of them weaker, so that most of the original shines through and can be computed back (FACTS 3.2
and 3.7). The default here is calibrated to what each key saw where it was picked: its cosine with
its own neighbours, which lie on the part (core), and with the rest of that picture (ground).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.errors import UsageError
from masquerade.regions.hog_keys import KeyGrid

F32 = NDArray[np.float32]
Combine = Literal["mean", "max"]
LEAST = 0.05  # between ground and core: of a key that tells nothing apart, little is believed
FROM, FULL = 0.2, 0.4  # of the way from ground to core, where hiding begins and is whole: on mimes
# 87 % of a part away from its rim are then at 1 (94 % grown by one key), and 5 % (8 %) of what is
# no part of it above 0


@dataclass(frozen=True, kw_only=True)
class Shaping:
    """From cosines to strengths, in the order of these arguments.

    Args:
        combine: over all keys of all templates, the `mean` (eq. 1) or the `max`.
        calibrated: stretch it so that the core of a part is 1 and its picture's background 0.
        grow: keys by which what is strong grows; a rim left bare tells the outline's colours.
        gamma: power, above 0; below 1 hides more.
        threshold: what is below this becomes 0.
        floor: least strength anywhere; 1 hides everything.
        quantised: round down to 256 levels, as the authors' code does by way of image files.
    """

    combine: Combine = "max"
    calibrated: bool = True
    grow: int = 1
    gamma: float = 1.0
    threshold: float = 0.0
    floor: float = 0.0
    quantised: bool = False

    def __post_init__(self) -> None:
        if self.combine not in ("mean", "max"):
            raise UsageError(f"saliency is combined by mean or max, not {self.combine!r}.")
        shares = 0 <= self.threshold <= 1 and 0 <= self.floor <= 1
        if not (shares and self.gamma > 0 and self.grow >= 0):
            raise UsageError(
                "saliency grows by 0 or more keys, takes a gamma above 0, a threshold and a floor "
                f"from 0 to 1; got {self.grow}, {self.gamma}, {self.threshold} and {self.floor}."
            )


def paper() -> Shaping:
    """Eq. 1 and 2 and nothing else."""
    return Shaping(combine="mean", calibrated=False, grow=0)


def code() -> Shaping:
    """As the authors' code: eq. 1 kept as 8-bit images."""
    return Shaping(combine="mean", calibrated=False, grow=0, quantised=True)


@dataclass(frozen=True, kw_only=True)
class Level:
    """What one key's cosines are in the picture that it was taken from.

    Args:
        core: with the keys next to it, which lie on the same part: their median.
        ground: with the keys of the whole picture, clipped at 0: their upper quartile.
    """

    core: float
    ground: float


def cosines(keys: F32, templates: F32) -> F32:
    """(..., D) and (n, D) to (..., n); 0 where a key is 0."""
    return np.asarray(_unit(keys) @ _unit(templates).T, np.float32)


def saliency(keys: F32, templates: F32, *, combine: Combine = "mean") -> F32:
    """Eq. 1: each template's cosine is clipped at 0 before they are averaged.

    Args:
        keys: (..., D).
        templates: (n, D), all keys of all templates.
        combine: `mean` as printed, or `max`.

    Returns:
        (...), 0 to 1.
    """
    clipped = cosines(keys, templates).clip(0, 1)
    return clipped.mean(axis=-1) if combine == "mean" else clipped.max(axis=-1)


def level_of(grid: KeyGrid, row: int, column: int) -> Level:
    """What the key at one place of a picture says of its part and of the rest."""
    clipped = cosines(grid.keys, grid.keys[row, column][None])[..., 0].clip(0, 1)
    rows = slice(max(0, row - 1), row + 2)
    columns = slice(max(0, column - 1), column + 2)
    return Level(
        core=float(np.median(clipped[rows, columns])), ground=float(np.quantile(clipped, 0.75))
    )


def strength(
    keys: F32, templates: F32, levels: Sequence[Level], shaping: Shaping | None = None
) -> F32:
    """How far each place is to be hidden, (rows, columns), 0 to 1.

    Calibration comes before the keys are combined: with a key's own `Level`, its cosine says how
    far a place is on the way from ground to core; `FROM` becomes 0 and `FULL` becomes 1.

    Args:
        keys: (rows, columns, D) of a picture.
        templates: (n, D).
        levels: one a row of `templates`.
        shaping: None: the default.
    """
    shaping = shaping or Shaping()
    out = cosines(keys, templates).clip(0, 1)
    if shaping.calibrated:
        ground = np.array([level.ground for level in levels], np.float32)
        core = np.array([level.core for level in levels], np.float32)
        way = (out - ground) / (core - ground).clip(LEAST)
        out = ((way - FROM) / (FULL - FROM)).clip(0, 1)
    out = out.mean(axis=-1) if shaping.combine == "mean" else out.max(axis=-1)
    return shaped(np.asarray(out, np.float32), shaping)


def shaped(values: F32, shaping: Shaping) -> F32:
    """Growth, gamma, threshold, floor and quantisation of strengths, (rows, columns), 0 to 1."""
    across = 2 * shaping.grow + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
    out = np.asarray(cv2.dilate(values, disc), np.float32) ** shaping.gamma
    out = np.where(out < shaping.threshold, 0, out)
    out = np.maximum(out, shaping.floor)
    if shaping.quantised:
        out = np.floor(out * 255) / 255
    return np.asarray(out, np.float32)


def placed(values: F32, grid: KeyGrid, size: tuple[int, int] | None = None) -> F32:
    """Eq. 2: a map on the grid, resized to the picture bilinearly, (H, W).

    Each value stays at its own centre; stretching the map over the picture, as the authors' code
    does, shifts what lies near the edges by up to half a patch.

    Args:
        values: (rows, columns).
        grid: where they are.
        size: (height, width) of a scaled copy of the picture; None: the picture's own.
    """
    height, width = size or (grid.height, grid.width)
    y = (np.arange(height) + 0.5) * grid.height / height
    x = (np.arange(width) + 0.5) * grid.width / width
    rows = np.interp(y, grid.y, np.arange(len(grid.y))).astype(np.float32)
    columns = np.interp(x, grid.x, np.arange(len(grid.x))).astype(np.float32)
    where = np.meshgrid(columns, rows)
    return np.asarray(cv2.remap(values, where[0], where[1], cv2.INTER_LINEAR), np.float32)


def _unit(values: F32) -> F32:
    norms = np.linalg.norm(values, axis=-1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12), np.float32)

"""Saliency: how strongly each place of a frame resembles a template, and is therefore hidden.

Ilic et al., CVPR 2024, eq. 1 and 2. As printed, no pixel ever reaches 1, and every further template
makes all of them weaker, so that most of the original shines through and can be recovered
(docs/papers.md 3.2 and 3.7). By default each key's cosine is therefore calibrated by what it was in
the picture that the key was taken from: with its neighbours, which lie on the same part (core), and
with the rest of that picture (ground). A part that fills much of its picture is left out of the
rest: it would be compared with itself, and nothing of it hidden.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from masquerade.arrays import F32
from masquerade.errors import UsageError
from masquerade.regions.boxes import check_array
from masquerade.regions.hog_keys import KeyGrid, normalize

Combine = Literal["mean", "max"]
MIN_RANGE = 0.05  # least distance from ground to core, so that indistinct keys gain little
LEAST = 0.05  # quantile of a picture's cosines that stands for what is least alike in it
START, FULL = 0.2, 0.4  # of the way from ground to core, where strength leaves 0 and reaches 1. On
# mimes 87 % of a part away from its rim are then at 1 (94 % grown by one key), and 5 % (8 %) of the
# rest of the frame above 0


@dataclass(frozen=True, kw_only=True)
class SaliencyConfig:
    """The steps from cosines to strengths, in the order in which they are applied."""

    combine: Combine = "max"  # over all keys of all templates; "mean" in eq. 1
    calibrated: bool = True  # rescale: the core of a part is 1, its picture's background 0
    grow: int = 1  # dilation in keys, as an uncovered rim would show the part's colours
    gamma: float = 1.0  # exponent, above 0; below 1 hides more
    threshold: float = 0.0  # what is below becomes 0
    floor: float = 0.0  # least strength anywhere; 1 hides everything

    def __post_init__(self) -> None:
        if self.combine not in ("mean", "max"):
            raise UsageError(f"saliency is combined by mean or max, not {self.combine!r}.")
        shares = 0 <= self.threshold <= 1 and 0 <= self.floor <= 1
        if not (shares and self.gamma > 0 and self.grow >= 0):
            raise UsageError(
                "saliency grows by 0 or more keys, takes a gamma above 0, a threshold and a floor "
                f"from 0 to 1; got {self.grow}, {self.gamma}, {self.threshold} and {self.floor}."
            )


DEFAULT = SaliencyConfig()


def paper() -> SaliencyConfig:
    """Eq. 1 and 2 and nothing else."""
    return SaliencyConfig(combine="mean", calibrated=False, grow=0)


@dataclass(frozen=True, kw_only=True)
class KeyCalibration:
    """The cosines of one key in the picture that it was taken from."""

    core: float  # median with the adjacent keys, which lie on the same part
    ground: float  # upper quartile with the picture's keys, clipped at 0; see `calibrate_key`

    def __post_init__(self) -> None:
        # arithmetic with others may overflow, and what looks like the key be seen
        if not all(
            type(level) in (int, float) and 0 <= level <= 1 for level in vars(self).values()
        ):
            raise ValueError("its levels are not numbers from 0 to 1")


def calibrate_key(grid: KeyGrid, row: int, column: int) -> KeyCalibration:
    """Measure how alike a key is to the keys next to it and to the rest of its own picture.

    The rest is the whole picture where the key's part is small, as that hardly changes its upper
    quartile. Where the quartile lies on the part itself, whatever looks like the part is left out.
    """
    cosines = _cosines(grid.keys, grid.keys[row, column][None])[..., 0]
    near = cosines[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
    core, ground = float(np.median(near)), float(np.quantile(cosines, 0.75))
    levels = np.rint(255 * cosines).astype(np.uint8)
    cut, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    rest = cosines[levels <= cut]
    like_core = core - ground < ground - float(np.quantile(cosines, LEAST))
    if rest.size and ground > rest.max() and like_core:
        ground = float(np.quantile(rest, 0.75))
    return KeyCalibration(core=core, ground=ground)


def _cosines(keys: F32, templates: F32) -> F32:
    """(..., D) and (n, D) to (..., n), clipped at 0; 0 where a key is 0."""
    return np.asarray(normalize(keys) @ normalize(templates).T, np.float32).clip(0, 1)


def saliency(
    keys: F32,
    templates: F32,
    *,
    calibrations: Sequence[KeyCalibration] | None = None,
    combine: Combine = "mean",
) -> F32:
    """Eq. 1: the cosine with each template, clipped at 0, then combined; (...), 0 to 1.

    Keys are (..., D), those of all templates (n, D). With `calibrations`, one per template's
    key, each cosine is calibrated first; without, and by the `mean`, it is eq. 1 as printed.
    """
    out = _cosines(keys, templates)
    if calibrations is not None:
        ground = np.array([calibration.ground for calibration in calibrations], np.float32)
        core = np.array([calibration.core for calibration in calibrations], np.float32)
        way = (out - ground) / (core - ground).clip(MIN_RANGE)
        out = ((way - START) / (FULL - START)).clip(0, 1)
    scores = np.asarray(out.mean(axis=-1) if combine == "mean" else out.max(axis=-1), np.float32)
    return check_array("a comparison with templates", scores, keys.shape[:-1])


def strength(
    keys: F32,
    templates: F32,
    calibrations: Sequence[KeyCalibration],
    config: SaliencyConfig = DEFAULT,
) -> F32:
    """How far each place of a picture's keys (rows, columns, D) is to be hidden, 0 to 1."""
    used = calibrations if config.calibrated else None
    return adjust(saliency(keys, templates, calibrations=used, combine=config.combine), config)


def adjust(values: F32, config: SaliencyConfig) -> F32:
    """Apply growth, gamma, threshold and floor to strengths (rows, columns)."""
    across = 2 * config.grow + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (across, across))
    out = np.asarray(cv2.dilate(values, disc), np.float32) ** config.gamma
    out = np.where(out < config.threshold, 0, out)
    return np.asarray(np.maximum(out, config.floor), np.float32)


def upsample(values: F32, grid: KeyGrid, size: tuple[int, int] | None = None) -> F32:
    """Eq. 2: values on the grid of keys, (rows, columns), resized to the picture bilinearly.

    Each value stays at its own centre; stretching the map over the whole picture, as the authors'
    code does, shifts what lies near the edges by up to half a patch. `size` is (height, width) of a
    scaled copy of the picture; None: the picture's own.
    """
    height, width = size or (grid.height, grid.width)
    y = (np.arange(height) + 0.5) * grid.height / height
    x = (np.arange(width) + 0.5) * grid.width / width
    rows = np.interp(y, grid.y, np.arange(len(grid.y))).astype(np.float32)
    columns = np.interp(x, grid.x, np.arange(len(grid.x))).astype(np.float32)
    at = np.meshgrid(columns, rows)
    return np.asarray(cv2.remap(values, at[0], at[1], cv2.INTER_LINEAR), np.float32)

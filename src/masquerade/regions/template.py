"""Templates: visual concepts that are hidden by appearance, each one or more feature keys.

Ilic et al., CVPR 2024, section 3.1: a template is the key at a point that a user picked.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from masquerade.arrays import F32, U8
from masquerade.errors import UsageError
from masquerade.regions.boxes import check_array
from masquerade.regions.key_extractors import KeyExtractor, extract_keys
from masquerade.regions.saliency import MIN_RANGE, KeyCalibration, calibrate_key

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")

CONCEPTS = {
    "forehead": "the bare skin above the brows; shows age and, in good light, skin texture",
    "hair": "the hair of the head, its colour and length",
    "eye": "an eye with lid and brow; face recognizers rely on it most",
    "cheek": "the skin between eye and jaw; covers much of the face with it",
    "lips": "the mouth; speech shows in its motion",
    "hand": "a hand with its fingers; gestures stay visible as motion",
    "arm": "upper arm and forearm, bare or sleeved; pick both where they differ",
    "torso": "chest and belly: clothes, logos, build",
    "leg": "thigh and shin: trousers, skirts, skin",
}
"""The nine concepts of the paper; their keys come from the user's own picks."""

SUBSETS = {
    "kth": ("torso", "arm", "leg", "hair"),
    "sbu": ("torso", "arm", "leg", "hair"),
    "ipn": ("cheek", "eye", "forehead", "hair"),
}
"""What the paper hides in each of its datasets (chosen by its authors on their test sets)."""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """Where one key came from."""

    image: str  # the file's name without its folders; empty in an exported template
    x: float  # pixels from its left edge
    y: float  # pixels from its upper edge
    level: KeyCalibration  # the key's cosines in that picture
    frame: int | None = None  # of a video, from 0; None: of a picture


@dataclass(frozen=True, eq=False, kw_only=True)
class Template:
    """A named concept."""

    name: str  # lower-case letters, digits, - and _
    extractor: str  # the fingerprint of the extractor that made its keys
    keys: F32  # (n, D)
    picks: tuple[Pick, ...]  # one per key

    def __post_init__(self) -> None:
        check_array(f"template {self.name}", self.keys, (len(self.picks), None))
        check_array(f"template {self.name}", self._levels(), (len(self.picks), 2))

    @property
    def calibrations(self) -> tuple[KeyCalibration, ...]:
        """One per key."""
        return tuple(pick.level for pick in self.picks)

    def digest(self) -> str:
        """The SHA-256 of its keys and their calibrations, by which it hides."""
        return hashlib.sha256(self.keys.tobytes() + self._levels().tobytes()).hexdigest()

    def _levels(self) -> NDArray[np.float64]:
        """The calibration of each key as an array (n, 2): its core and its ground."""
        return np.array(
            [(calibration.core, calibration.ground) for calibration in self.calibrations],
            np.float64,
        )

    def merge(self, other: Template) -> Template:
        """This template with the picks of another of the same extractor added, if they are new."""
        check_extractor(other, self.extractor)
        if other.keys.shape[1] != self.keys.shape[1]:
            raise UsageError(
                f"template {other.name} has keys of {other.keys.shape[1]} numbers, and those that "
                f"it would be added to have {self.keys.shape[1]}: pick it again."
            )
        known, theirs = _without_names(self), _without_names(other)
        new = [i for i, pick in enumerate(theirs) if pick not in known]
        keys = np.concatenate([self.keys, other.keys[new]])
        return replace(self, keys=keys, picks=(*self.picks, *(other.picks[i] for i in new)))


def _without_names(template: Template) -> list[tuple[Pick, bytes]]:
    """The picks and keys of a template, as those that were exported have them."""
    pairs = zip(template.picks, template.keys, strict=True)
    return [(replace(pick, image=""), key.tobytes()) for pick, key in pairs]


def check_name(name: str) -> str:
    """Return a valid name of a template; raise UsageError for any other."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a template: take up to 64 small letters, digits, - and _."
        )
    return name


def check_extractor(template: Template, fingerprint: str) -> None:
    """Raise UsageError if a template's keys are not those of the extractor."""
    if template.extractor != fingerprint:
        raise UsageError(
            f"template {template.name} was made with keys {template.extractor}, not {fingerprint}: "
            "ask for those keys, or pick it again with these."
        )


def make_template(
    name: str,
    pixels: U8,
    at: Sequence[tuple[float, float]],
    extractor: KeyExtractor,
    *,
    image: str,
    frame: int | None = None,
) -> Template:
    """Make a template from points (x, y) in one picture, (H, W, 3) RGB.

    Of the picture's file the name is kept, its folders are not; `frame` is its number in a video.

    Raises:
        UsageError: a point lies outside or looks like most of the picture, there is none, or the
            name is invalid.
    """
    check_name(name)
    if not at:
        raise UsageError(f"template {name} needs a point: give one as --at X,Y.")
    grid = extract_keys(extractor, pixels)
    keys, picks = [], []
    for x, y in at:
        if not (0 <= x < grid.width and 0 <= y < grid.height):
            raise UsageError(
                f"the point {x:g},{y:g} lies outside {Path(image).name}, which has "
                f"{grid.width}x{grid.height} pixels."
            )
        row, column = grid.nearest(x, y)
        keys.append(grid.keys[row, column])
        level = calibrate_key(grid, row, column)
        # Little of what was pointed at would be hidden. Around a part of one key core is close to
        # ground, too, but both are then far from the key's own cosine, 1.
        if level.core - level.ground < MIN_RANGE and level.ground > 1 - 2 * MIN_RANGE:
            raise UsageError(
                f"the point {x:g},{y:g} looks like most of {Path(image).name}, so that what it is "
                "on cannot be told from the rest: point where more than that is in the picture, "
                "or hide all by --regions frame."
            )
        picks.append(Pick(image=Path(image).name, x=x, y=y, frame=frame, level=level))
    stacked = np.stack(keys).astype(np.float32)
    return Template(name=name, extractor=extractor.fingerprint, keys=stacked, picks=tuple(picks))

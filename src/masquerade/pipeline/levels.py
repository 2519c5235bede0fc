"""Named combinations of regions and a method: face, person and figure.

The command's help is made of it, so that what imports torch is imported where it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from masquerade.errors import UsageError

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer

LevelName = Literal["face", "person", "figure"]


class Level(NamedTuple):
    """Regions and a method that belong together."""

    regions: str  # in `REGIONS`
    method: str  # in `METHODS`, with its defaults
    hides: str  # what of a person, in a line
    measured: str  # on real clips, in a line


FACES_HIDDEN = 91  # per cent of labelled faces: docs/results/face_recall.md, over time
BODIES_HIDDEN, HEADS_HIDDEN, GROUND_HIDDEN = 98, 98, 6  # of points: docs/results/people-real.md
PAIRS_NAMED, PAIRS_NAMED_RAW = 25, 96  # per cent: docs/results/uti.md, the highest, and raw
PAIRS_NAMED_WITHIN = 15, 38  # per cent: its 95 % interval
PAIRS_GUESSED = 5  # per cent, without looking: one of the 20 pairs, drawn at random

LEVELS: dict[LevelName, Level] = {
    "face": Level(
        "faces",
        "selective",
        "faces; body, clothes, walk and scene stay as they are",
        f"{FACES_HIDDEN} % of the faces labelled in real clips were hidden",
    ),
    "person": Level(
        "people",
        "selective",
        "whole people with their clothes; how they move and the scene stay",
        f"{BODIES_HIDDEN} % of the points labelled on bodies in real clips were hidden, and "
        f"{HEADS_HIDDEN} % of those on heads, with {GROUND_HIDDEN} % of the ground",
    ),
    "figure": Level(
        "people",
        "mannequin",
        "people and the scene: everybody is drawn as the same figure, which moves as they do",
        "no pixel of the source is shown; attackers who knew 20 pairs of people named the pair in "
        f"{PAIRS_NAMED} % of clips ({PAIRS_NAMED_WITHIN[0]} to {PAIRS_NAMED_WITHIN[1]}) by how the "
        f"figures stand and move, in {PAIRS_NAMED_RAW} % of raw ones, and in {PAIRS_GUESSED} % by "
        "guessing; who is not found is not drawn",
    ),
}
HELP = (
    f"face (of faces in real clips {FACES_HIDDEN} % were hidden), person (with clothes; "
    f"{BODIES_HIDDEN} % of bodies), or figure (all drawn alike, without the scene); in place of "
    "--regions and --method."
)
"""What the command's help says of levels."""


def level_of(name: str) -> Level:
    """A level by its name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in get_args(LevelName):
        raise UsageError(f"there is no level {name!r}; choose one of {', '.join(LEVELS)}.")
    return LEVELS[name]  # type: ignore[index]


def build_level(name: str) -> Anonymizer:
    """The method of a level."""
    from masquerade.methods import build

    return build(level_of(name).method)


def level_regions(name: str, regions: str | None, anonymizer: Anonymizer) -> str:
    """The regions of a level.

    Raises:
        UsageError: other regions were named, or the method is another one.
    """
    from masquerade.methods import method_name

    level = level_of(name)
    if regions not in (None, level.regions) or method_name(anonymizer) != level.method:
        raise UsageError(
            f"--level {name} is {level.method} on {level.regions}; leave --method and --regions "
            "out, or leave --level out."
        )
    return level.regions

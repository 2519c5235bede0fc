"""Named combinations of regions and a method: face, person and figure.

The command's help is made of it, so that what imports torch is imported where it is used.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from masquerade.errors import UsageError

if TYPE_CHECKING:
    from masquerade.anonymizer import Anonymizer
    from masquerade.pipeline.config import PipelineConfig

LevelName = Literal["face", "person", "figure"]


class Level(NamedTuple):
    """Regions and a method that belong together."""

    regions: str  # in `REGIONS`
    method: str  # in `METHODS`, with its defaults
    hides: str  # what of a person, in a line
    measured: str  # on real clips, in a line


# Per cent of labelled faces, in files and live, of docs/results/face_recall.md, and of labelled
# points of people, of docs/results/people-real.md; with 95 % intervals.
FACES_HIDDEN, FACES_WITHIN, FACES_LIVE = 91, (82, 96), 84
BODIES_HIDDEN, HEADS_HIDDEN, GROUND_HIDDEN = 98, 98, 6
BODIES_WITHIN, HEADS_WITHIN = (97, 99), (96, 100)
# Per cent of clips whose pair was named, of docs/results/uti.md, with 95 % intervals. A guess draws
# one of the 20 pairs. `selective` and `mannequin` are the methods of the levels.
PAIRS_NAMED = {"raw": 96, "selective": 72, "mannequin": 25, "guess": 5}
PAIRS_WITHIN = {"selective": (59, 83), "mannequin": (15, 38)}


def _within(interval: tuple[int, int]) -> str:
    low, high = interval
    return f"({low} to {high})"


def _named(method: str, by: str) -> str:
    """A sentence on how often attackers named the pair of people behind a method."""
    named, raw, guess = (PAIRS_NAMED[name] for name in (method, "raw", "guess"))
    return (
        f"attackers who knew 20 pairs of people named the pair in {named} % of clips "
        f"{_within(PAIRS_WITHIN[method])} {by}, in {raw} % of unhidden ones, and in {guess} % by "
        "guessing"
    )


LEVELS: dict[LevelName, Level] = {
    "face": Level(
        "faces",
        "selective",
        "faces; body, clothes, walk and scene stay as they are",
        f"{FACES_HIDDEN} % {_within(FACES_WITHIN)} of the faces labelled in real clips were hidden",
    ),
    "person": Level(
        "people",
        "selective",
        "whole people with their clothes; how they move and the scene stay",
        f"{BODIES_HIDDEN} % {_within(BODIES_WITHIN)} of the points labelled on bodies in real "
        f"clips were hidden, and {HEADS_HIDDEN} % {_within(HEADS_WITHIN)} of those on heads, with "
        f"{GROUND_HIDDEN} % of the background; "
        f"{_named('selective', 'mostly by the scene')}",
    ),
    "figure": Level(
        "people",
        "mannequin",
        "people and the scene: everybody becomes the same synthetic figure, which moves as they do",
        "no pixel of the source is shown; "
        f"{_named('mannequin', 'by how the figures stand and move')}; "
        "a person who is not found does not appear",
    ),
}
HELP = (
    f"face (of faces in real clips {FACES_HIDDEN} % were hidden, live {FACES_LIVE} %), person "
    f"(with clothes; {BODIES_HIDDEN} % of points on bodies), or figure (all alike, without "
    "the scene); in place of --regions and --method."
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


def measured_of(config: PipelineConfig, anonymizer: Anonymizer) -> str | None:
    """What was measured of a configuration's level; None: of these settings nothing was.

    It was measured with the method's own arguments, and with what is found and hidden by default.
    """
    from masquerade.checkpoint import arguments
    from masquerade.pipeline.config import CHOICE_FIELDS, RegionConfig

    if config.level is None or arguments(anonymizer) != arguments(build_level(config.level)):
        return None
    own = {field.name: field.default for field in fields(RegionConfig) if field.name != "regions"}
    own |= dict.fromkeys((*CHOICE_FIELDS, "region"))
    as_measured = all(getattr(config, name) == value for name, value in own.items())
    return level_of(config.level).measured if as_measured else None


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

"""Levels: what each chooses, what may not stand beside one, and what the receipt says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import masquerade
from masquerade.cli.anonymize import parse
from masquerade.errors import UsageError
from masquerade.evaluation import from_json
from masquerade.methods import method_name
from masquerade.pipeline import levels
from masquerade.pipeline.config import (
    PipelineConfig,
    build_pipeline,
    region_arguments,
    with_default_regions,
)
from masquerade.pipeline.levels import LEVELS, build_level
from masquerade.regions import REGIONS

ROOT = Path(__file__).parents[2]
EXPECTED = {
    "face": ("selective", "faces"),
    "person": ("selective", "people"),
    "figure": ("mannequin", "people"),
}


@pytest.mark.parametrize("level", EXPECTED)
def test_a_level_is_a_method_and_regions(level: Any) -> None:
    options, anonymizer = parse(["in.mp4", "--level", level])
    config = with_default_regions(options.config(), anonymizer)
    assert (method_name(anonymizer), config.regions) == EXPECTED[level]
    assert config == with_default_regions(config, anonymizer)  # as processes of a batch do
    assert config.as_dict()["level"] == level
    assert set(LEVELS) == set(EXPECTED)
    assert LEVELS[level].regions in REGIONS


def test_a_level_takes_the_arguments_of_its_method() -> None:
    _, anonymizer = parse(["in.mp4", "--level", "figure", "--ground", "black"])
    assert anonymizer.ground == "black"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "alone"),
    [
        ("--level figure", True),
        ("--method skeleton", True),
        ("--level figure --ground scene", False),  # whoever was found is painted out
        ("--level figure --export-boxes b.json", False),
        ("--level figure --export-masks m.mkv", False),
        ("--level person", False),
    ],
)
def test_faces_and_motion_are_not_looked_for_where_only_figures_are_shown(
    words: str, alone: bool
) -> None:
    options, anonymizer = parse(["in.mp4", *words.split()])
    config = with_default_regions(options.config(), anonymizer)
    ((_, arguments),) = region_arguments(config, anonymizer)
    assert arguments.get("poses_only", False) is alone


@pytest.mark.parametrize(
    "words",
    ["--method selective", "--regions faces", "--weights run/", "--hide eye", "--at 0:1,2"],
)
@pytest.mark.parametrize("level", EXPECTED)
def test_regions_or_a_method_beside_a_level_are_refused(level: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"leave {words.split()[0]} out") as caught:
        parse(["in.mp4", "--level", level, *words.split()])
    assert caught.value.exit_code == 2


def test_an_unknown_level_is_refused_with_those_that_exist(called: Callable[..., Any]) -> None:
    done = called("anonymize", "in.mp4", "--level", "body")
    assert done.returncode == 2
    assert all(level in done.stderr for level in EXPECTED)
    with pytest.raises(UsageError, match="face, person, figure"):
        build_level("body")


@pytest.mark.parametrize("level", EXPECTED)
def test_the_readme_says_what_was_measured_of_a_level(level: Any) -> None:
    lines = (ROOT / "README.md").read_text("utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith(f"| `{level}`"))
    assert LEVELS[level].measured in row.replace("<br>", " ")


@pytest.mark.parametrize(
    ("page", "row", "column", "number", "within"),
    [
        ("face_recall.md", "all that the seed drew", -1, levels.FACES_HIDDEN, levels.FACES_WITHIN),
        ("face_recall.md", "all that the seed drew", -2, levels.FACES_LIVE, None),
        ("people-real.md", "**bodies**", 2, levels.BODIES_HIDDEN, levels.BODIES_WITHIN),
        ("people-real.md", "**heads**", 2, levels.HEADS_HIDDEN, levels.HEADS_WITHIN),
        ("people-real.md", "**ground**", 2, levels.GROUND_HIDDEN, None),
    ],
)
def test_what_was_measured_is_what_the_pages_say(
    page: str, row: str, column: int, number: int, within: tuple[int, int] | None
) -> None:
    file = ROOT / "docs" / "results" / page
    if not file.exists():
        pytest.skip(f"{page} has not been made yet")
    rows = [line.strip("| ").split(" | ") for line in file.read_text("utf-8").splitlines()]
    found = [cells for cells in rows if cells[0] == row]
    one = found[-1] if page == "face_recall.md" else found[0]  # faces over time; upright people
    share, _, interval = one[column].partition(" ")
    assert round(float(share)) == number
    if within is not None:
        assert interval == "({} to {})".format(*within)


def test_what_attackers_named_of_figures_is_what_the_table_says() -> None:
    """The highest of all attackers, also where another was chosen."""
    result = from_json((ROOT / "docs" / "results" / "uti.json").read_text("utf-8"))
    named = {}
    for row in result.rows:
        finding = row.finding("identity")
        assert finding is not None
        named[row.name] = max(round(100 * (one.test.value or 0)) for one in finding.attacks)
    known = {name: per_cent for name, per_cent in levels.PAIRS_NAMED.items() if name != "guess"}
    assert {name: named[name] for name in known} == known
    assert finding is not None
    guesses = [finding.floors[name].value or 0 for name in ("constant", "action prior")]
    guesses.append(1 / 20)  # one of the pairs, drawn at random: no floor yet when this was scored
    assert round(100 * max(guesses)) == levels.PAIRS_NAMED["guess"]


def test_the_library_takes_a_level_in_place_of_a_method(clip: Path, tmp_path: Path) -> None:
    receipt = masquerade.anonymize_file(clip, tmp_path / "a.mp4", level="face", preview=0.2)
    assert receipt.settings["level"] == "face"
    assert receipt.measured == LEVELS["face"].measured
    assert receipt.settings["regions"] == "faces"
    assert receipt.coverage.empty == 0
    plain = masquerade.anonymize_file(clip, tmp_path / "b.mp4", preview=0.2)
    assert (plain.method, plain.settings["level"]) == (receipt.method, None)
    assert plain.measured is None


@pytest.mark.parametrize(
    ("words", "same"),
    [
        ("--level figure", True),
        ("--level figure --crf 20 --preview 1", True),
        ("--level figure --ground scene", False),  # which shows the scene
        ("--level person --detector motion", False),
        ("--level person --threshold 0.9", False),
        ("--level person --region a.png", False),
        ("--level person --keep-visible 1", False),
    ],
)
def test_what_was_measured_is_said_of_the_levels_own_settings_alone(words: str, same: bool) -> None:
    options, anonymizer = parse(["in.mp4", *words.split()])
    config = with_default_regions(options.config(), anonymizer)
    assert config.level is not None
    expected = LEVELS[config.level].measured if same else None
    assert levels.measured_of(config, anonymizer) == expected


def test_another_method_than_the_levels_is_refused() -> None:
    for level, regions in (("figure", None), ("person", "faces")):
        with pytest.raises(UsageError, match=f"--level {level} is"):
            build_pipeline(
                masquerade.build("blacken"), PipelineConfig(level=level, regions=regions)
            )

"""Floors of the papers' data, and which printed scores they reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masquerade.benchmark.guessing import (
    KNOWS_OF,
    GuessFloor,
    beaten_by_guessing,
    guess_floors,
    parse_floors,
)
from masquerade.benchmark.published import (
    UNITS,
    PublishedTable,
    load_published,
    published_datasets,
    published_tables,
)
from masquerade.benchmark.published_markdown import markdown
from masquerade.datasets.label_floors import FloorsResult, label_floors
from masquerade.datasets.published import READERS
from masquerade.errors import MasqueradeError

LABELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "labels"
real = pytest.mark.skipif(not LABELS.is_dir(), reason="no shared data beside the repository")
DRAWN = ("random scores", "coin at train rate", "fair coin", "predicted action")
PICKLES = {"VP-UCF101": ("ucf101", 0.8255), "VP-HMDB51": ("hmdb51", 0.5073)}


def floor(dataset: str, metric: str, guess: str, split: str = "1") -> GuessFloor:
    mine = (dataset, metric, guess, split)
    (found,) = (
        each
        for each in guess_floors()
        if (each.dataset, each.metric, each.guess, each.split) == mine
        and each.label == "private attributes"
    )
    return found


def computed_floors(
    result: FloorsResult, *, dataset: str, action_accuracy: float
) -> tuple[GuessFloor, ...]:
    """The floors that `masquerade data floors` computed, as those of a table's columns.

    `action_accuracy`, in [0, 1], is the one that was given to `label_floors`.
    """
    found = []
    for table in result.tables:
        together = any(row.metric in ("cMAP", "F1") for row in table.floors)
        for row in table.floors:
            knows = KNOWS_OF.get(row.name, "nothing")
            if row.metric not in UNITS or row.value is None:
                continue
            scale = 100.0 if UNITS[row.metric] == "%" else 1.0
            floor = GuessFloor(
                dataset=dataset,
                split=result.split,
                label="private attributes" if together else table.attributes[0],
                metric=row.metric,
                guess=row.name,
                knows=knows,
                value=scale * row.value,
                per_attribute=None,
                accuracy=100 * action_accuracy if knows == "a recognized action" else None,
                how=f"computed from {result.labels}",
                assumes="",
            )
            found.append(floor)
    return tuple(found)


def beaten(table: PublishedTable) -> dict[tuple[str, str, str], str]:
    """Row, dataset and metric of private scores that a guess reaches, and what it has to know."""
    return {
        (
            table.rows[each.row].name,
            table.columns[each.column].dataset,
            table.columns[each.column].metric,
        ): each.knows
        for each in beaten_by_guessing(table)
        if table.columns[each.column].measures == "private"
    }


def test_floors_are_those_of_the_labels() -> None:
    assert floor("VP-UCF101", "cMAP", "constant").value == 58.67
    assert floor("VP-HMDB51", "F1", "all positive").value == 0.6962
    assert floor("VP-UCF101", "cMAP", "action prior").value == 77.34
    assert floor("VP-HMDB51", "cMAP", "predicted action").accuracy == 50.73
    assert floor("VISPR1", "cMAP", "constant", "").value == 24.78
    assert floor("PA-HMDB51", "cMAP", "constant", "").value == 69.12
    for each in guess_floors():
        assert each.how, each
        if each.per_attribute and each.metric in ("cMAP", "F1"):
            digits = 0.011 if each.metric == "cMAP" else 0.0006
            if max(each.per_attribute) % 0.1 < 1e-9 or each.dataset in ("PA-HMDB51", "VISPR1"):
                digits = 0.06  # rates with one digit
            assert np.mean(each.per_attribute) == pytest.approx(each.value, abs=digits), each


def test_every_floor_is_of_a_column_of_some_table() -> None:
    columns = {
        (column.dataset, column.label, column.metric)
        for table in published_tables()
        for column in table.columns
    }
    for each in guess_floors():
        assert (each.dataset, each.label, each.metric) in columns, each


def test_raw_attackers_of_the_vp_sets_are_below_guesses() -> None:
    found = beaten(load_published("stprivacy-known"))
    names = [row.name for row in load_published("stprivacy-known").rows]
    for name in names:
        for dataset in ("VP-HMDB51", "VP-UCF101"):
            assert found[name, dataset, "F1"] == "nothing"
        assert found[name, "VP-UCF101", "cMAP"] == "the true action"
    above = {name for name in names if (name, "VP-HMDB51", "cMAP") not in found}
    assert above == set(names) - {"Downsample-2x", "Downsample-4x", "STPrivacy"}


def test_the_floor_of_a_recognized_action_needs_the_action_to_be_recognized() -> None:
    def guesses(name: str) -> set[str]:
        table = load_published("stprivacy-known")
        return {
            each.guess
            for cell in beaten_by_guessing(table)
            if table.rows[cell.row].name == name
            and table.columns[cell.column].dataset == "VP-UCF101"
            for each in cell.floors
        }

    assert "predicted action" in guesses("STPrivacy")  # its action is read at 82.55 %
    assert "predicted action" not in guesses("SPAct")  # at 78.40 %


def test_constant_guesses_of_selective() -> None:
    found = beaten(load_published("selective-2"))
    assert set(found) == {
        ("BDQ", "IPN", "top-1"),
        ("Ours, I3D and ResNet-50", "IPN", "top-1"),
        ("Ours, I3D and ResNet-50", "SBU", "top-1"),
        ("Ours", "IPN", "top-1"),
        ("Ours", "SBU", "top-1"),
    }
    assert set(found.values()) == {"nothing"}


def test_vispr_has_head_room_and_pa_hmdb51_has_little() -> None:
    assert not beaten(load_published("spact-ucf-vispr"))
    found = beaten(load_published("spact-pa-hmdb"))
    assert ("SPAct", "PA-HMDB51", "cMAP") in found
    assert ("Raw", "PA-HMDB51", "cMAP") not in found
    assert ("STPrivacy", "PA-HMDB51", "cMAP") in beaten(load_published("stprivacy-frame"))


def test_no_action_is_lost_and_unlabelled_data_have_no_floor() -> None:
    for table in published_tables():
        for cell in beaten_by_guessing(table):
            assert table.columns[cell.column].measures == "private"
    for name in ("stprivacy-fapder", "stprivacy-ospar", "spact-hvu"):
        assert not beaten(load_published(name))


def test_a_score_at_a_floor_is_reached_and_one_above_it_is_not() -> None:
    table = load_published("spact-ucf-vispr")
    known = floor("VISPR1", "cMAP", "constant", "")
    for value, expected in (
        (
            57.43,
            {"Downsample-2x", "Downsample-4x", "Blackening", "StrongBlur", "Supervised", "SPAct"},
        ),
        (50.07, {"Downsample-4x"}),
        (50.06, set()),
    ):
        given = [GuessFloor(**{**vars(known), "value": value})]
        reached = {table.rows[each.row].name for each in beaten_by_guessing(table, given)}
        assert reached == expected


@real
@pytest.mark.slow
@pytest.mark.parametrize("dataset", PICKLES)
def test_the_labels_give_the_same_floors(dataset: str) -> None:
    stem, accuracy = PICKLES[dataset]
    pickle = LABELS / "stprivacy" / f"{stem}_privacy_attribute_label.pickle"
    for split in ("1", "2", "3"):
        result = label_floors(pickle, splits=LABELS / f"{stem}_splits", split=split, resamples=0)
        again = {
            (each.guess, each.metric): each
            for each in computed_floors(result, dataset=dataset, action_accuracy=accuracy)
        }
        mine = [each for each in guess_floors() if (each.dataset, each.split) == (dataset, split)]
        for each in mine:
            if each.label == "action":
                continue
            other = again[each.guess, each.metric]
            exact = {"cMAP": 0.006, "F1": 0.0006}[each.metric]
            tolerance = {"cMAP": 1.4, "F1": 0.014}[each.metric] if each.guess in DRAWN else exact
            assert other.value == pytest.approx(each.value, abs=tolerance), each
            assert (other.knows, other.accuracy) == (each.knows, each.accuracy)
        if split == "1":
            same = beaten_by_guessing(load_published("stprivacy-known"), tuple(again.values()))
            marks = {(cell.row, cell.column): cell.knows for cell in same}
            known = beaten_by_guessing(load_published("stprivacy-known"))
            columns = {cell.column for cell in same}
            assert marks == {
                (cell.row, cell.column): cell.knows for cell in known if cell.column in columns
            }


@real
def test_the_commonest_actions_score_what_is_said() -> None:
    for dataset, (stem, _) in PICKLES.items():
        pickle = LABELS / "stprivacy" / f"{stem}_privacy_attribute_label.pickle"
        manifest = READERS["vp"](pickle, splits=LABELS / f"{stem}_splits", split=1)
        part, action = np.array(manifest.cells("split")), np.array(manifest.cells("action"))
        names, counts = np.unique(action[part == "train"], return_counts=True)
        score = 100 * (action[part == "test"] == names[counts.argmax()]).mean()
        for name in (dataset, dataset.removeprefix("VP-")):
            (known,) = (
                each.value
                for each in guess_floors()
                if (each.dataset, each.label) == (name, "action")
            )
            assert known == pytest.approx(score, abs=0.006)


@real
@pytest.mark.parametrize("values, split", [("any", ""), ("most", "values from 2")])
def test_frames_of_pa_hmdb51_give_the_same_floors(values: str, split: str) -> None:
    manifest = READERS["pa-hmdb51"](LABELS / "PA-HMDB51", values=values)
    frames = np.array([(clip.last or 0) - (clip.first or 0) + 1 for clip in manifest.clips])
    names = ("skin", "face", "gender", "nudity", "relationship")
    labels = np.stack([manifest.targets(name) for name in names], axis=1)
    rates = (labels * frames[:, None]).sum(axis=0) / frames.sum()
    known = floor("PA-HMDB51", "cMAP", "constant", split)
    assert known.value == pytest.approx(100 * rates.mean(), abs=0.006)
    assert known.per_attribute == pytest.approx(100 * rates, abs=0.06)
    f1 = floor("PA-HMDB51", "F1", "all positive", split)
    assert f1.value == pytest.approx((2 * rates / (1 + rates)).mean(), abs=0.0006)


def test_markdown_marks_what_a_guess_reaches() -> None:
    text = markdown(load_published("stprivacy-known"))
    assert "| STPrivacy | 50.73 | .613\\* | 72.48† | 82.55 | .634\\* | 73.79† |" in text
    assert "| Raw | 51.44 | .673\\* | 75.58 | 84.20 | .684\\* | 76.62† |" in text
    assert "ICCV 2023, Table 1." in text
    assert "VP-UCF101 private attributes, cMAP, % ↓" in text and "top-1, % ↑" in text
    assert "77.34 is scored by 'action prior', who knows the true action" in text


@pytest.mark.parametrize("table", published_tables(), ids=lambda table: table.name)
def test_markdown_of_every_table_is_a_table(table: PublishedTable) -> None:
    lines = [line for line in markdown(table).splitlines() if line.startswith("|")]
    assert len(lines) == (len(table.rows) + 2 if table.rows else 0)
    assert {line.count("|") for line in lines} <= {len(table.columns) + 2}


FLOOR = """
[[floor]]
dataset = "KTH"
split = ""
label = "identity"
metric = "top-1"
guess = "constant"
knows = "nothing"
value = 4.0
how = "counted"
assumes = ""
"""


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"KTH"', '"K"', "floor 1 has the unknown dataset 'K'"),
        ('"nothing"', '"much"', "floor 1 has the unknown knows 'much'"),
        ('"nothing"', '"a recognized action"', "needs its accuracy"),
        ("value = 4.0", "value = 400.0", "out of 0 to 100"),
        ("value = 4.0", 'value = "4"', "'value' has to be a float"),
        ('how = "counted"\n', "", "floor 1 lacks 'how'"),
    ],
)
def test_what_is_wrong_in_a_floor_is_refused(old: str, new: str, message: str) -> None:
    assert parse_floors(FLOOR, published_datasets())[0].value == 4.0
    with pytest.raises(MasqueradeError, match=message):
        parse_floors(FLOOR.replace(old, new), published_datasets())

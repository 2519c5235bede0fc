"""Floors of published labels and of manifests against known values."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from masquerade.datasets.label_floors import FloorsResult, label_floors
from masquerade.errors import UsageError

LABELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "labels"
UTI = LABELS.parent / "uti.csv"
real = pytest.mark.skipif(not LABELS.is_dir(), reason="no shared data beside the repository")

# dataset, split -> train, test, constant cMAP, all-positive F1, action-prior cMAP and F1
SPLITS = {
    ("ucf101", 1): (9537, 3783, 58.67, 0.6943, 77.34, 0.7076),
    ("ucf101", 2): (9586, 3734, 57.83, 0.6872, 76.52, 0.7105),
    ("ucf101", 3): (9624, 3696, 58.20, 0.6902, 77.62, 0.7209),
    ("hmdb51", 1): (3570, 1530, 58.80, 0.6962, 73.71, 0.6585),
    ("hmdb51", 2): (3570, 1530, 58.89, 0.6946, 73.75, 0.6760),
    ("hmdb51", 3): (3570, 1530, 58.65, 0.6886, 73.06, 0.6852),
}

# Of split 1, as printed: the mean, or one value an attribute (skin, face, gender, nudity,
# relationship).
ROWS = {
    "ucf101": {
        ("whole set", "positive rate"): (91.16, 60.02, 89.71, 24.69, 25.34),
        ("test", "positive rate"): (91.65, 61.06, 89.82, 25.09, 25.72),
        ("constant", "cMAP"): (91.65, 61.06, 89.82, 25.09, 25.72),
        ("all positive", "F1"): (0.956, 0.758, 0.946, 0.401, 0.409),
        ("train majority", "F1"): 0.5322,
        ("action prior", "cMAP"): (96.79, 82.90, 96.08, 49.18, 61.75),
        ("action prior, tuned on train", "F1"): 0.761,
        ("constant", "BCE"): 0.4838,
    },
    "hmdb51": {
        ("whole set", "positive rate"): (90.29, 61.99, 91.56, 26.83, 21.15),
        ("test", "positive rate"): (90.92, 59.54, 90.78, 30.98, 21.76),
        ("constant", "cMAP"): (90.92, 59.54, 90.78, 30.98, 21.76),
        ("all positive", "F1"): (0.952, 0.746, 0.952, 0.473, 0.357),
        ("train majority", "F1"): 0.5301,
        ("action prior", "cMAP"): (95.49, 81.25, 94.88, 51.29, 45.61),
        ("action prior, tuned on train", "F1"): 0.721,
        ("constant", "BCE"): 0.4870,
    },
}

# Rows whose reference values (docs/papers.md 5.3) were drawn at random: value and standard
# deviation of a draw. The deviations, except that of the random scores, were measured over twenty
# draws or seeds. Compared with them is the expectation in closed form.
DRAWN = {
    "ucf101": {
        ("random scores", "cMAP"): (0.5861, 0.0028),
        ("coin at train rate", "F1"): (0.582, 0.0044),
        ("fair coin", "F1"): (0.503, 0.0044),
        ("predicted action", "cMAP"): (0.7338, 0.0032),
        ("predicted action", "F1"): (0.685, 0.002),
        ("action prior", "standard error of cMAP"): (0.0053, 0.0001),
        ("all positive", "standard error of F1"): (0.003, 0.0003),
    },
    "hmdb51": {
        ("random scores", "cMAP"): (0.5895, 0.0044),
        ("coin at train rate", "F1"): (0.584, 0.0056),
        ("fair coin", "F1"): (0.504, 0.0051),
        ("predicted action", "cMAP"): (0.6538, 0.0048),
        ("predicted action", "F1"): (0.604, 0.005),
        ("action prior", "standard error of cMAP"): (0.0077, 0.0002),
        ("all positive", "standard error of F1"): (0.005, 0.0003),
    },
}


@cache
def published(dataset: str, split: int) -> FloorsResult:
    return label_floors(
        LABELS / "stprivacy" / f"{dataset}_privacy_attribute_label.pickle",
        splits=LABELS / f"{dataset}_splits",
        split=str(split),
        resamples=1000 if split == 1 else 0,
    )


@pytest.mark.slow
@real
@pytest.mark.parametrize(("dataset", "split"), SPLITS)
def test_every_official_split_has_its_known_floors(dataset: str, split: int) -> None:
    table = json.loads(published(dataset, split).to_json())["tables"][0]
    rows = {(row["name"], row["metric"]): row["shown"] for row in table["floors"]}
    assert (
        table["train"],
        table["test"],
        float(rows["constant", "cMAP"]),
        float(rows["all positive", "F1"]),
        float(rows["action prior", "cMAP"]),
        float(rows["action prior", "F1"]),
    ) == SPLITS[dataset, split]
    assert table["attributes"] == ["skin", "face", "gender", "nudity", "relationship"]
    assert table["left_out"] == 0


@real
@pytest.mark.parametrize("dataset", ROWS)
def test_split_1_row_by_row(dataset: str) -> None:
    found = {(row.name, row.metric): row for row in published(dataset, 1).tables[0].floors}
    for key, known in ROWS[dataset].items():
        percent = 100 if key[1] in ("cMAP", "positive rate") else 1
        row = found[key]
        if isinstance(known, tuple):
            digits = 2 if percent == 100 else 3
            each = tuple(round(percent * (v or 0.0), digits) for v in row.per_attribute or ())
            assert each == known, key
        else:
            assert round(row.value or 0.0, len(f"{known}") - 2) == known, key


@real
@pytest.mark.parametrize("dataset", DRAWN)
def test_expected_floors_are_within_three_deviations_of_random_draws(dataset: str) -> None:
    found = {(row.name, row.metric): row for row in published(dataset, 1).tables[0].floors}
    for key, (known, sd) in DRAWN[dataset].items():
        assert abs((found[key].value or 0.0) - known) <= 3 * sd, key
    sd = found["random scores", "cMAP"].sd
    assert sd is not None and 0.5 < sd / DRAWN[dataset]["random scores", "cMAP"][1] < 2


@real
def test_the_notes_compare_the_published_scores_with_the_floors() -> None:
    notes = " ".join(published("ucf101", 1).notes)
    assert "raw video has F1 0.6840, 0.0103 below the floor 'all positive' of 0.6943" in notes
    assert "raw video has cMAP 76.62, 0.72 below the floor 'action prior' of 77.34" in notes
    assert "above the floor 'action prior'" in " ".join(published("hmdb51", 1).notes)


@real
def test_identity_has_a_floor_only_where_train_and_test_share_people() -> None:
    def by(split: str) -> FloorsResult:
        return label_floors(UTI, split=split, resamples=0)

    named = {
        split: [t.attributes for t in by(split).tables]
        for split in ("split_action", "split_identity")
    }
    assert ("identity",) not in named["split_action"]
    assert ("identity",) in named["split_identity"]
    assert named["split_action"][0] == ("red_top", "white_top")  # black_jacket: 0 in test
    assert "No value of identity, clothing" in by("split_action").notes[0]
    (identity,) = [t for t in by("split_identity").tables if t.attributes == ("identity",)]
    assert identity.floors[0].value == 1 / 20


ROWS_OF_A_MANIFEST = """path,action,hat,room,split
a,run,1,x,train
b,run,0,x,train
c,walk,1,y,train
d,walk,1,y,train
e,run,1,x,test
f,walk,0,y,test
g,walk,,x,test
h,run,1,y,
"""


def test_a_manifest_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(ROWS_OF_A_MANIFEST, encoding="utf-8")
    hat, room = label_floors(path, resamples=0).tables
    assert (hat.attributes, hat.train, hat.test, hat.left_out) == (("hat",), 4, 2, 1)
    rows = {(row.name, row.metric): row.value for row in hat.floors}
    assert rows["whole set", "positive rate"] == 5 / 7  # also of the clip in no part
    assert rows["constant", "cMAP"] == 1 / 2
    assert rows["all positive", "F1"] == pytest.approx(2 / 3)
    assert rows["action prior", "cMAP"] == 1 / 2  # run .5, walk 1: the wrong way round
    assert ("predicted action", "cMAP") not in rows
    rows = {(row.name, row.metric): row.value for row in room.floors}
    assert (room.attributes, room.train, room.test) == (("room",), 4, 3)
    assert rows["action prior", "top-1"] == pytest.approx(2 / 3)
    more = label_floors(path, action_accuracy=1.0, resamples=0).tables[0]
    same = {(row.name, row.metric): row.value for row in more.floors}
    assert same["predicted action", "cMAP"] == same["action prior", "cMAP"]


def test_an_action_that_no_recognizer_could_learn_is_named_with_the_option(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    rows = ROWS_OF_A_MANIFEST + "i,jump,1,x,test\nj,bow,0,y,test\n"
    path.write_text(rows, encoding="utf-8")
    with pytest.raises(UsageError, match=r"^--action-accuracy: .* shows bow, jump, which .* leave"):
        label_floors(path, action_accuracy=0.8)
    assert label_floors(path, resamples=0).tables[0].test == 4


def test_columns_that_have_no_floor_are_named_and_stop_no_other(tmp_path: Path) -> None:
    """Each row's mean is over the same attributes; an empty column is none."""
    path = tmp_path / "m.csv"
    path.write_text(
        "path,action,hat,coat,empty,tags,person,split\n"
        "a,run,1,1,,x|y,p|q,train\nb,run,0,0,,x,p,train\n"
        "c,sit,1,1,,y,r|s,test\nd,run,0,1,,x|y,r,test\n"
    )
    found = label_floors(path, resamples=0)
    assert [table.attributes for table in found.tables] == [("hat",)]
    assert (found.tables[0].train, found.tables[0].test) == (2, 2)
    said = "\n".join(found.notes)
    assert "coat: no label in train of split split, or one value in test" in said
    assert "No value of empty is in both" in said and "tags: of several values a clip" in said
    assert "person: several people in one clip, who are not attacked: no floor" in said


def test_a_label_of_one_value_where_the_others_are_known_is_in_no_mean(tmp_path: Path) -> None:
    """Means are over clips that have all labels, so that one which varies may not vary there."""
    path = tmp_path / "m.csv"
    path.write_text(
        "path,action,hat,coat,split\na,run,1,1,train\nb,run,0,0,train\nc,sit,1,1,train\n"
        "d,sit,0,1,test\ne,run,1,1,test\nf,run,,0,test\n"
    )
    (table,) = label_floors(path, resamples=0).tables
    assert (table.attributes, table.train, table.test, table.left_out) == (("hat",), 3, 2, 1)
    assert all(None not in (row.per_attribute or ()) for row in table.floors)
    said = "\n".join(label_floors(path, resamples=0).notes)
    assert "coat: no label in train of split split, or one value in test" in said


@pytest.mark.parametrize(
    ("text", "split", "says"),
    [
        (ROWS_OF_A_MANIFEST, "split_x", "Name the split column with --split; there are: split"),
        ("path,action,hat\na,x,1\n", "1", "there are: none"),
        ("path,hat,split\na,1,train\nb,1,test\n", "1", "one column with one action"),
        ("path,action,hat,split\na,x,1,train\nb,x,1,val\n", "1", "none in test"),
        ("path,action,split\na,x,train\nb,x,test\n", "1", "No attribute"),
    ],
)
def test_no_floor_is_refused(tmp_path: Path, text: str, split: str, says: str) -> None:
    path = tmp_path / "m.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=says):
        label_floors(path, split=split)


def test_a_pickle_needs_its_split_lists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs --splits"):
        label_floors(tmp_path / "labels.pickle")
    with pytest.raises(UsageError, match="--split 1 to 3"):
        label_floors(tmp_path / "labels.pickle", splits=tmp_path, split="4")

"""Splits and folds: no group in two parts, reproducible by seed, balanced."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade.datasets.check import find_split_leaks
from masquerade.datasets.manifest import Clip, Column, Manifest, make_manifest, read_manifest
from masquerade.datasets.splits import (
    carve_validation,
    copy_split,
    grouped_folds,
    linked_groups,
    note_on_share,
    notes_on_people,
    random_split,
)
from masquerade.errors import UsageError


def people(*who: str, split: str = "train", paths: list[str] | None = None) -> Manifest:
    clips = [
        Clip(
            path=(paths or [])[i] if paths else f"{i}.mp4",
            cells={"identity": name, "action": "ab"[i % 2], "split": split},
            first=i,
            last=i,
        )
        for i, name in enumerate(who)
    ]
    return make_manifest(Path(), clips)


def test_spaces_around_the_names_of_several_people_are_none_of_theirs(tmp_path: Path) -> None:
    rows = "path,people\na.mp4,p1 | p2\nb.mp4,p1\nc.mp4,p2\nd.mp4,p3\n"
    (tmp_path / "clips.csv").write_text(rows)
    manifest = read_manifest(tmp_path / "clips.csv")
    assert linked_groups(manifest).tolist() == [0, 0, 0, 1]


def test_clips_are_linked_through_others() -> None:
    assert linked_groups(people("a|b", "c", "b|d", "d", "e|c")).tolist() == [0, 1, 0, 0, 1]
    assert linked_groups(people("a|b", "c", "b", "d", "e"), []).tolist() == [0, 1, 2, 3, 4]


def several_columns(
    *rows: tuple[str, str], names: tuple[str, str] = ("person_a", "person_b")
) -> Manifest:
    clips = [
        Clip(path=f"{i}.mp4", cells=dict(zip(names, cells, strict=True)))
        for i, cells in enumerate(rows)
    ]
    return make_manifest(Path(), clips)


@pytest.mark.parametrize("names", [("person_a", "person_b"), ("identity", "subject")])
def test_a_person_is_one_in_all_columns_of_people(names: tuple[str, str]) -> None:
    manifest = several_columns(("p1", "p2"), ("p3", "p1"), ("p4", "p5"), ("p5", ""), names=names)
    assert linked_groups(manifest).tolist() == [0, 0, 1, 1]
    assert linked_groups(manifest, names[:1]).tolist() == [0, 1, 2, 3]


def test_a_source_and_a_person_of_one_name_are_two_and_so_are_people_of_two_datasets() -> None:
    for names in (("source", "identity"), ("group", "source"), ("group_first_person", "person")):
        manifest = several_columns(("1", "2"), ("3", "1"), names=names)
        assert linked_groups(manifest).tolist() == [0, 1], names
    manifest = several_columns(
        ("1", "2"), ("3", "1"), names=("group_2_person_a", "group_2_person_b")
    )
    assert linked_groups(manifest).tolist() == [0, 0]


def test_one_file_is_one_group_and_unknown_people_link_nothing() -> None:
    assert linked_groups(people("", "", "", paths=["x", "y", "x"])).tolist() == [0, 1, 0]


groups = st.lists(st.integers(0, 7), min_size=4, max_size=40).map(np.array)


@given(groups=groups, seed=st.integers(0, 9), k=st.integers(2, 4))
def test_no_group_is_in_two_folds(groups: np.ndarray, seed: int, k: int) -> None:
    if len(np.unique(groups)) < k:
        with pytest.raises(UsageError, match="folds of"):
            grouped_folds(groups, k, seed=seed)
        return
    folds = grouped_folds(groups, k, seed=seed)
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert set(folds) == set(range(k))
    assert (folds == grouped_folds(groups, k, seed=seed)).all()


def test_folds_of_equal_groups_are_equal_and_the_seed_matters() -> None:
    groups = np.repeat(np.arange(20), 6)
    strata = np.tile(np.arange(6), 20)
    folds = [grouped_folds(groups, 5, seed=seed, strata=strata) for seed in (0, 1)]
    assert np.bincount(folds[0]).tolist() == [24] * 5
    assert (folds[0] != folds[1]).any()


def test_folds_are_stratified_even_where_a_group_has_one_class() -> None:
    groups = np.repeat(np.arange(30), 3)
    strata = groups % 3  # every group is one class
    folds = grouped_folds(groups, 5, seed=3, strata=strata)
    table = [[int(((folds == f) & (strata == c)).sum()) for c in range(3)] for f in range(5)]
    assert table == [[6, 6, 6]] * 5


@given(seed=st.integers(0, 50), who=st.lists(st.sampled_from("abcdefgh"), min_size=12, max_size=40))
def test_validation_is_whole_groups_of_train_only(seed: int, who: list[str]) -> None:
    train, test = people(*who), people("x", "y", split="test")
    manifest = make_manifest(Path(), [*train.clips, *test.clips])
    if len(set(who)) < 2:
        with pytest.raises(UsageError, match="one group"):
            carve_validation(manifest, fraction=0.2, seed=seed, columns=["identity"])
        return
    carved = carve_validation(manifest, fraction=0.2, seed=seed, columns=["identity"])
    parts = carved.cells("split")
    assert parts[-2:] == ("test", "test")
    assert {"train", "val", "test"} == set(parts)
    by_person = {
        (cell, clip.cells["identity"]) for cell, clip in zip(parts, carved.clips, strict=True)
    }
    assert len(by_person) == len(set(who)) + 2


def test_the_share_is_reached_where_groups_are_small() -> None:
    manifest = people(*(f"p{i // 2}" for i in range(200)))
    assert carve_validation(manifest, fraction=0.1, seed=4).cells("split").count("val") == 20
    few = carve_validation(people(*"abcdefghij"), fraction=0.1, least=2, seed=4)
    assert few.cells("split").count("val") == 2, "of one clip each"
    split = random_split(manifest, test=0.4, seed=4)
    assert split.cells("split").count("test") == 80
    assert not find_split_leaks(split)


@pytest.mark.parametrize(
    ("sizes", "share", "got"),
    [
        ((60, *[2] * 20), 0.4, 40),  # the large group was drawn first, by four seeds of ten
        ((45, *[1] * 10, 45), 0.4, 45),
        ((80, 20), 0.4, 20),
        ((50, 50), 0.1, 50),
        ((90, 10), 0.9, 90),  # never all
    ],
)
def test_the_share_is_as_near_as_groups_allow(
    sizes: tuple[int, ...], share: float, got: int
) -> None:
    manifest = people(*(f"p{i}" for i, size in enumerate(sizes) for _ in range(size)))
    for seed in range(10):
        split = random_split(manifest, test=share, seed=seed)
        assert abs(split.cells("split").count("test") - got) <= 0.25 * got
        assert split.cells("split") == random_split(manifest, test=share, seed=seed).cells("split")
        carved = carve_validation(manifest, fraction=share, seed=seed)
        assert abs(carved.cells("split").count("val") - got) <= 0.25 * got


@given(who=st.lists(st.sampled_from("aaaabbcdef"), min_size=4, max_size=14), seed=st.integers(0, 9))
def test_no_other_groups_come_nearer_by_far(who: list[str], seed: int) -> None:
    if len(set(who)) < 2:
        with pytest.raises(UsageError, match="one group"):
            random_split(people(*who), test=0.4, seed=seed)
        return
    got = random_split(people(*who), test=0.4, seed=seed).cells("split").count("test")
    sizes = [who.count(name) for name in set(who)]
    sums = [sum(some) for n in range(1, len(sizes)) for some in itertools.combinations(sizes, n)]
    missed, least = abs(got - 0.4 * len(who)), min(abs(one - 0.4 * len(who)) for one in sums)
    assert got in sums
    assert missed <= 0.25 * 0.4 * len(who) or missed == pytest.approx(least)


def test_names_that_are_spelled_differently_are_noted() -> None:
    """One person under two names is in train and test, and is never found again."""
    (note,) = notes_on_people(
        people("p01", "P1", "Zo\u00eb", "Zoe\u0308", "p10", "p100", "a b|p11")
    )
    assert note.startswith(
        "P1, p01; Zoe\u0308, Zo\u00eb: these differ by case, spaces, zeros or invisible characters "
        "alone"
    )
    (note,) = notes_on_people(several_columns(("p 1", "q"), ("r", "p_1")))
    assert "p 1, p_1" in note and "in person_a and person_b; spell" in note
    (note,) = notes_on_people(people("1", "1.0", "01.00", "Ann", "A\u200bnn", "\ufeffann"))
    assert note.startswith("01.00, 1, 1.0; Ann, A\u200bnn, \ufeffann: these")
    assert notes_on_people(people("1.5", "1", "15", "10", "1.05x", "p.0", "p")) == ()
    assert notes_on_people(people("p0", "p00x", "p1", "p_1_1", "p_11", "g01-c1", "g1-1")) == ()


def test_validation_of_a_split_by_sources_is_of_other_sources() -> None:
    given = several_columns(*((f"g{i // 4}", "") for i in range(16)), names=("source", "identity"))
    split = Column(name="split_source", role="split", kind="classes")
    given = given.with_cells(split, ["train"] * 16)
    carved = carve_validation(given, name="split_source", fraction=0.5, seed=0)
    parts = set(zip(given.cells("source"), carved.cells("split_source"), strict=True))
    assert len(parts) == 4 and {part for _, part in parts} == {"train", "val"}


def test_a_share_that_groups_do_not_allow_is_said() -> None:
    split = random_split(people(*"a" * 80, *"b" * 20), test=0.4, seed=0)
    note = note_on_share(split, "test", 0.4, of=("train", "test"))
    assert note is not None and note.startswith("split: test has 20% of the clips where 40% are")
    assert "the largest of which has 80 of 100. Clips are linked by identity (2 values)" in note
    carved = carve_validation(split, fraction=0.5, seed=0, columns=[])
    assert note_on_share(carved, "val", 0.5, of=("train", "val")) is None


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1])
def test_a_share_outside_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        carve_validation(people("a", "b"), fraction=share, seed=0)
    with pytest.raises(UsageError, match="between 0 and 1"):
        random_split(people("a", "b"), test=share, seed=0)


def test_the_columns_that_link_all_clips_are_named() -> None:
    given = several_columns(("x", "p"), ("x", "q"), names=("source_tape", "identity"))
    split = given.with_cells(people("a").column("split"), ["train", "train"])
    named = r"linked by source_tape \(1 value\), identity \(2 values\): if a column names "
    with pytest.raises(UsageError, match=named):
        random_split(given, test=0.5, seed=0)
    with pytest.raises(UsageError, match=named):
        carve_validation(split, seed=0)
    with pytest.raises(UsageError, match="Clips of one file are one group"):
        random_split(people("a", "b", paths=["x", "x"]), test=0.5, seed=0, columns=[])


def test_a_split_is_copied_to_other_clips_of_the_same_files(tmp_path: Path) -> None:
    """Whatever the names by which both manifests reach the files."""
    whole = make_manifest(
        tmp_path,
        [
            Clip(path=f"v/{i}.mp4", cells={"split": part})
            for i, part in enumerate(["train", "test"])
        ],
    )
    pieces = make_manifest(
        tmp_path / "v",
        [Clip(path=f"{i}.mp4", cells={}, first=at, last=at) for i in (1, 0) for at in range(3)],
    )
    copied = copy_split(pieces, whole)
    assert copied.cells("split") == ("test",) * 3 + ("train",) * 3
    assert [column.role for column in copied.columns] == ["split"]
    own = pieces.with_cells(
        Column(name="split_action", role="split", kind="classes"), ["train"] * 6
    )
    assert copy_split(own, whole).columns == copied.columns  # else they would be tested on
    other = make_manifest(tmp_path / "v", [Clip(path="9.mp4", cells={})])
    with pytest.raises(UsageError, match=r"9\.mp4 is in no part of 'split'"):
        copy_split(other, whole)
    halves = whole.take([1, 1]).with_cells(whole.column("split"), ["train", "test"])
    with pytest.raises(UsageError, match=r"1\.mp4 is in several parts"):
        copy_split(pieces, halves)
    with pytest.raises(UsageError, match="has none"):
        copy_split(pieces, pieces)


@pytest.mark.parametrize("name", ["circle.mp4", "a\0.mp4"])
def test_a_split_is_copied_from_clips_whose_files_cannot_be_reached(
    tmp_path: Path, name: str
) -> None:
    """A link that leads to itself, or a name that no file can have, ended in a traceback."""
    (tmp_path / "circle.mp4").symlink_to("circle.mp4")
    other = make_manifest(tmp_path, [Clip(path=name, cells={"split": "train"})])
    same = make_manifest(tmp_path, [Clip(path=name, cells={})])
    assert copy_split(same, other).cells("split") == ("train",)
    with pytest.raises(UsageError, match=r"b\.mp4 is in no part of 'split'"):
        copy_split(make_manifest(tmp_path, [Clip(path="b.mp4", cells={})]), other)

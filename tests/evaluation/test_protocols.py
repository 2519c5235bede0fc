"""Folds and labels of the two protocols."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scenes
from scenes import CONFIG

from masquerade.datasets.manifest import Clip, Column, Manifest, make_manifest
from masquerade.datasets.splits import linked_groups
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, evaluate, table_rows
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.ground_truth import GroundTruth, is_known
from masquerade.evaluation.held_out import describe_held_out
from masquerade.evaluation.protocols import SAME, label_columns, protocols
from masquerade.methods import build
from masquerade.report.table import markdown
from masquerade.report.verdicts import verdict


def test_groups_straddle_folds_only_where_identity_is_measured(manifest: Manifest) -> None:
    groups = linked_groups(manifest)
    unseen, same = protocols(manifest, folds=4)
    for protocol, straddling in ((unseen, 0), (same, scenes.PEOPLE)):
        tested = np.concatenate([fold.test for fold in protocol.folds])
        assert np.array_equal(np.sort(tested), np.arange(len(manifest)))
        both = [
            np.intersect1d(groups[np.concatenate([f.train, f.validation])], groups[f.test])
            for f in protocol.folds
        ]
        assert len(np.unique(np.concatenate(both))) == straddling
        for fold in protocol.folds:
            parts = (fold.train, fold.validation, fold.test)
            assert sum(map(len, parts)) == len(set(np.concatenate(parts).tolist()))
            assert len(fold.validation)


def test_nobody_is_in_train_and_in_validation(manifest: Manifest) -> None:
    """Attackers that were chosen on people whom they had seen would be chosen for their memory."""
    groups = linked_groups(manifest)
    for folds in (2, 4):
        for fold in protocols(manifest, folds=folds)[0].folds:
            assert not np.intersect1d(groups[fold.train], groups[fold.validation]).size


def test_folds_do_not_depend_on_the_labels_that_are_attacked(manifest: Manifest) -> None:
    """Those of the same people were balanced by the first column that was asked for."""
    several = manifest.with_cells(
        replace(manifest.column("identity"), name="subject"),
        [f"s{int(name[1:]) // 2}" for name in manifest.cells("identity")],
    )
    every = protocols(several, folds=4)
    assert len(every) == 2
    for labels in (["subject"], ["identity"], ["subject", "red"]):
        for one, whole in zip(protocols(several, folds=4, labels=labels), every, strict=True):
            for mine, fold in zip(one.folds, whole.folds, strict=True):
                assert np.array_equal(mine.test, fold.test)
                assert np.array_equal(mine.validation, fold.validation)


def test_one_action_is_refused_and_a_constant_attribute_is_named(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="two or more"):
        protocols(manifest.where("action", "down"), folds=2)
    unseen, _, notes = label_columns(manifest.where("red", "1"))
    assert "red" not in unseen and any("red has one value" in note for note in notes)


def test_identity_needs_people_in_two_clips(manifest: Manifest) -> None:
    people = manifest.cells("identity")
    first = manifest.take(np.array([people.index(name) for name in sorted(set(people))]))
    _, same, notes = label_columns(first)
    assert not same and any("identity: nobody is in two clips" in note for note in notes)
    twice = [people.index("p0"), len(people) - 1 - people[::-1].index("p0"), people.index("p1")]
    assert label_columns(manifest.take(np.array(twice)))[1] == ("identity",)


def test_several_people_in_a_clip_are_linked_and_not_attacked(manifest: Manifest) -> None:
    """The reason was that the column is as good as its identity, and nothing told what to do."""
    who = ["p0|p1" if name == "p0" else name for name in manifest.cells("identity")]
    alone = Column(name="identity", role="attribute", kind="multi-label")
    several = manifest.with_cells(alone, who)
    _, same, notes = label_columns(several)
    (note,) = (one for one in notes if one.startswith("identity"))
    assert same == () and "several people in one clip (p0|p1)" in note
    assert "nor are they looked for in other clips" in note and "p0+p1" in note
    assert [one.name for one in protocols(several, folds=4)] == ["people unseen"]

    # as the note says: one answer a clip, and a column that links
    both = several.with_cells(replace(alone, name="people"), who)
    given = both.with_cells(
        replace(alone, kind="identity"), [name.replace("|", "+") for name in who]
    )
    _, same, notes = label_columns(given)
    assert same == ("identity",)
    assert [one for one in notes if one.startswith("people")] == [
        "people names several people in one clip (p0|p1): it links clips, and is not attacked "
        "itself."
    ]
    codes = [name in ("p0", "p1") for name in manifest.cells("identity")]
    assert len(set(linked_groups(given)[codes].tolist())) == 1


def test_the_columns_that_leave_too_few_groups_are_named(manifest: Manifest) -> None:
    def on_tapes(count: int) -> Manifest:
        column = Column(name="source_tape", role="group", kind="classes")
        tapes = [str(int(name[1:]) % count) for name in manifest.cells("identity")]
        return manifest.with_cells(column, tapes)

    (note,) = (one for one in label_columns(on_tapes(1))[2] if one.startswith("identity"))
    assert "nobody is in two clips of different source_tape" in note
    for given, folds, said in (
        (on_tapes(1), 4, r"one group of people only.* source_tape \(1 value\)"),
        (on_tapes(3), 4, r"4 folds of 3 groups.* source_tape \(3 values\)"),
        (on_tapes(2), 2, r"Train is one group.* source_tape \(2 values\)"),
    ):
        with pytest.raises(UsageError, match=said):
            protocols(given, folds=folds)


def notes_of(columns: str, *rows: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The identities that are attacked in clips of these cells, and the notes on them."""
    names = columns.split()
    clips = [
        Clip(path=f"{i}.mp4", cells=dict(zip(names, row.split(" "), strict=True)))
        for i, row in enumerate(rows)
    ]
    _, same, notes = label_columns(make_manifest(Path(), clips))
    return same, notes


def test_who_is_named_in_another_column_counts_as_wrong_and_it_is_told() -> None:
    same, notes = notes_of("person_a person_b", "p q", "q p", "p q", "q p", "r s", "r s")
    assert same == ("person_a", "person_b") and len(notes) == 2
    assert "person_a: 4 of 6 clips name in person_b somebody of another person_a" in notes[0]
    assert "never held" in notes[0] and "put all people of a clip into one column" in notes[0]
    assert notes_of("person_a person_b", "p q", "p s", "r q", "r s") == (
        ("person_a", "person_b"),
        (),
    )
    # who is nobody of person_a in a clip is not asked for there
    _, (note,) = notes_of("person_a person_b", "p q", "p q", "r s", "r s", " p")
    assert "person_b: 2 of 5 clips name in person_a somebody of another person_b" in note
    # the same people twice, and one of several who is the one that is asked for
    assert notes_of("identity subject", "p p", "p p", "q q", "q q")[1] == ()
    _, (note, _) = notes_of("identity people", "p p|q", "p p", "q q", "q q")
    assert "identity: 1 of 4 clips name in people somebody of another identity" in note


def test_pairs_are_judged_where_they_are_always_together() -> None:
    """As the note proposes; of pairs that mix, somebody is recognised in another pair."""
    same, (note,) = notes_of("identity people", "p+q p|q", "p+q q|p", "r+s r|s", "r+s s|r")
    assert same == ("identity",) and "people names several" in note
    _, (note, _) = notes_of("identity people", "p+q p|q", "p+q q|p", "p+s p|s", "p+s s|p")
    assert "4 of 4 clips name in people somebody of another identity" in note
    _, (note, *_) = notes_of("pair person_a person_b", "1 p q", "1 p q", "2 p s", "2 p s")
    assert "pair: 4 of 4 clips name in person_a somebody of another pair" in note


def test_nobody_is_in_two_clips_by_one_column_alone() -> None:
    """The note said that nobody can be recognised, though all are in two clips."""
    same, notes = notes_of("person_a person_b", "p q", "q p", "r s", "s r")
    assert same == () and "by this column, but 4 of 4 clips name in person_b" in notes[0]
    assert notes_of("person_a", "p", "q")[1] == (
        "person_a: nobody is in two clips, so nobody can be recognised.",
    )


@pytest.mark.slow
def test_who_it_is_never_holds_where_people_change_places(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who recognises somebody does not know by which column the clip names them."""
    monkeypatch.setattr(table_rows, "unread_channels", lambda *_: {})
    column = manifest.column("identity")
    turns = [int(name.removesuffix(".mkv")[-1]) for name in (c.path for c in manifest.clips)]
    several = manifest
    for name, turn in (("person_b", 1), ("identity", 0)):
        cells = [
            f"{cell}{'x' if at == turn else 'y'}"
            for cell, at in zip(manifest.cells("identity"), turns, strict=True)
        ]
        several = several.with_cells(replace(column, name=name), cells)
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    mine = replace(CONFIG, labels=("person_b",))
    table = evaluate(several, black, mine, data="scenes")
    row = table.rows[1]
    (found,) = (one for one in row.findings if one.label == "person_b")
    said = verdict(row, found)
    assert said.word == "undecided" and "56 of 56 clips name in identity" in said.why
    assert any("person_b: 56 of 56" in note for note in table.limits)
    assert row.reidentification  # whichever column is attacked


def test_a_label_of_one_value_in_test_is_left_out_with_a_note(
    manifest: Manifest, tmp_path: Path
) -> None:
    """Its AUROC is undefined: no floor, no leakage, and nothing to fail on."""
    people = manifest.cells("identity")
    parts = ["test" if name in ("p0", "p2", "p4") else "train" for name in people]  # all red
    split = Column(name="split", role="split", kind="classes")
    given = manifest.with_cells(split, parts)
    plan = replace(CONFIG, folds=0, labels=("red",), attackers=("scratch",))
    result = evaluate(given, [], plan, data="x", folder=tmp_path)
    assert [found.label for found in result.rows[0].findings] == ["action"]
    assert any("red has one value only among the test clips" in one for one in result.limits)


def with_split(manifest: Manifest, tested: set[str]) -> Manifest:
    """Some people in test, and the others in train."""
    parts = ["test" if name in tested else "train" for name in manifest.cells("identity")]
    return manifest.with_cells(Column(name="split", role="split", kind="classes"), parts)


def test_people_are_called_unseen_only_where_the_manifest_tells_who_is_who(
    manifest: Manifest,
) -> None:
    def described(given: Manifest, folds: int = 0) -> tuple[str, tuple[str, ...]]:
        return describe_held_out(given, protocols(given, folds=folds))

    apart = with_split(manifest, {"p0", "p1", "p2", "p3"})
    assert described(apart) == described(manifest, folds=4) == ("people", ())

    cells = list(apart.cells("split"))
    first = apart.cells("identity").index("p0")
    cells[first] = "train"
    name, notes = described(apart.with_cells(apart.column("split"), cells))
    assert name == "clips" and "people or source videos that are in train too" in notes[0]

    names = list(apart.cells("identity"))
    names[first] = ""
    name, notes = described(apart.with_cells(apart.column("identity"), names))
    assert name == "people" and f"Who is in 1 of {len(manifest)} clips is unknown" in notes[0]
    half = len(manifest) // 2
    for few in (half, 1, 0):  # the clips that name somebody
        names = [cell if i < few else "" for i, cell in enumerate(apart.cells("identity"))]
        sparse = apart.with_cells(apart.column("identity"), names)
        assert described(sparse, folds=2)[0] == "clips"
        file = Column(name="source", role="group", kind="classes")
        cut = sparse.with_cells(file, [one.path for one in sparse.clips])
        assert described(cut, folds=2)[0] == "source videos"

    for column, held_out in (("group", "groups"), ("source", "source videos")):
        columns = (replace(apart.column("identity"), name=column, role="group", kind="classes"),)
        clips = tuple(
            replace(one, cells={**one.cells, column: one.cells["identity"]}) for one in apart.clips
        )
        others = tuple(one for one in apart.columns if one.name != "identity")
        plain = replace(apart, clips=clips, columns=(*others, *columns))
        name, notes = described(plain)
        assert name == held_out and "No column names the people" in notes[0]
    name, notes = described(replace(apart, columns=others))
    assert name == "clips" and "No column names the people" in notes[0]


def test_recordings_on_both_sides_of_a_split_of_the_same_people_are_told(
    manifest: Manifest,
) -> None:
    """Two clips of each are of one recording, of which one is in test."""
    takes = [int(name.removesuffix(".mkv")[-1]) for name in (c.path for c in manifest.clips)]
    parts = ["test" if take else "train" for take in takes]
    split = Column(name="split_identity", role="split", kind="classes")
    given = with_split(manifest, {"p0", "p1", "p2", "p3"}).with_cells(split, parts)

    def described(recordings: list[str]) -> tuple[str, tuple[str, ...]]:
        group = Column(name="source", role="group", kind="classes")
        one = given.with_cells(group, recordings)
        return describe_held_out(one, protocols(one, folds=0))

    whole = [f"{who} {take}" for who, take in zip(manifest.cells("identity"), takes, strict=True)]
    assert described(whole) == ("people", ())
    shared = [*whole]
    shared[parts.index("test")] = shared[parts.index("train")]
    name, notes = described(shared)
    assert name == "people" and len(notes) == 1
    assert f"of {parts.count('test')} test clips of the same people are of files or" in notes[0]


def test_actions_that_train_does_not_show_are_counted(manifest: Manifest) -> None:
    people = {"p0", "p1", "p2", "p3"}
    apart = with_split(manifest, people)
    actions = [
        "leap" if who == "p0" else cell
        for who, cell in zip(apart.cells("identity"), apart.cells("action"), strict=True)
    ]
    given = apart.with_cells(apart.column("action"), actions)
    (note,) = describe_held_out(given, protocols(given, folds=0))[1]
    assert note.startswith(f"{actions.count('leap')} test clips show an action that none")
    assert "(leap)" in note


def test_a_table_says_whom_its_split_holds_out(manifest: Manifest, tmp_path: Path) -> None:
    cells = ["train" if i % 3 else "test" for i in range(len(manifest))]
    given = manifest.with_cells(Column(name="split", role="split", kind="classes"), cells)
    plan = replace(CONFIG, folds=0, labels=("red",), attackers=("scratch",))
    result = evaluate(given, [], plan, data="x", folder=tmp_path)
    assert result.held_out == "clips"
    assert any("are in train too, by the manifest's own split" in one for one in result.limits)
    assert "clips unseen" in markdown(result) and "people unseen)" not in markdown(result)


def with_tall(manifest: Manifest, people: set[str]) -> Manifest:
    """A label that is known of these people only, and differs among them."""
    tall = Column(name="tall", role="attribute", kind="binary", values=("0", "1"))
    names = manifest.cells("identity")
    return manifest.with_cells(
        tall, [str(int(n[1:]) // 2 % 2) if n in people else "" for n in names]
    )


@pytest.mark.parametrize(("folds", "which"), [(0, ""), (2, " of fold 1 of 2")])
def test_a_label_that_no_training_clip_of_a_fold_has_is_left_out(
    manifest: Manifest, tmp_path: Path, folds: int, which: str
) -> None:
    """It ended the evaluation after hours, and was said to go well the next time."""
    (unseen,) = protocols(manifest, folds=2, labels=("red",))
    names = np.array(manifest.cells("identity"))
    people = set(names[unseen.folds[0].test])
    given = with_tall(with_split(manifest, people), people)
    plan = replace(CONFIG, folds=folds, labels=("red", "tall"))
    run = Evaluator(given, plan, tmp_path, None)
    assert [spec.name for spec in run.specs["people unseen"]] == ["action", "red"]
    assert run.truth.protocols["people unseen"].heads == ("action", "red")
    (note,) = (note for note in run.notes if "tall" in note)
    assert note.startswith(f"There is no training clip{which} with a value of tall (people unseen)")


def test_an_action_that_no_training_clip_has_is_refused(manifest: Manifest, tmp_path: Path) -> None:
    people = {"p0", "p1", "p2", "p3"}
    given = with_split(manifest, people)
    pairs = zip(given.cells("identity"), given.cells("action"), strict=True)
    cells = [cell if who in people else "" for who, cell in pairs]
    given = given.with_cells(given.column("action"), cells)
    with pytest.raises(UsageError, match="no training clip with a value of action"):
        Evaluator(given, replace(CONFIG, folds=0, labels=("red",)), tmp_path, None)


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("val", "validation clip"),
        ("test", "test clip"),
        ("train", "training clip with a value of action"),
    ],
)
def test_videos_of_a_split_of_which_none_can_be_read_are_named(
    manifest: Manifest, split: str, said: str
) -> None:
    """Before any attack: it ended in an IndexError after attackers were trained."""
    parts = {"p0": "test", "p1": "test", "p2": "val", "p3": "val"}
    cells = [parts.get(name, "train") for name in manifest.cells("identity")]
    column = Column(name="split_action", role="split", kind="classes")
    given = manifest.with_cells(column, cells)
    clips = tuple(
        replace(clip, path=f"gone/{clip.path}") if cell == split else clip
        for clip, cell in zip(given.clips, cells, strict=True)
    )
    first = next(clip.path for clip in clips if clip.path.startswith("gone"))
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    plan = replace(CONFIG, folds=0, labels=("red",))
    with pytest.raises(UsageError) as refused:
        evaluate(replace(given, clips=clips), black, plan, data="x")
    assert f"Not one {said} (people unseen) could be read for black" in str(refused.value)
    assert first in str(refused.value) and "does not exist" in str(refused.value)


def _recorded(recordings: list[int], *, unseen: int) -> Manifest:
    """People with so many recordings each, of four clips; the last one is tested.

    The first `unseen` people are tested for the action.
    """
    clips = [
        Clip(
            path=f"{person}_{recording}_{k}.mp4",
            cells={
                "action": "ab"[k % 2],
                "identity": f"p{person:02d}",
                "source": f"{person}-{recording}",
                "split_identity": "test" if recording == count - 1 else "train",
                "split_action": "test" if person < unseen else "train",
            },
        )
        for person, count in enumerate(recordings)
        for recording in range(count)
        for k in range(4)
    ]
    return make_manifest(Path("."), clips)


@pytest.mark.parametrize(("recordings", "folds"), [(2, 0), (2, 2), (2, 5), (3, 5)])
def test_whoever_is_tested_was_learned_where_they_can_be(recordings: int, folds: int) -> None:
    """Recordings were held out for validation of people who have no other one in train."""
    data = _recorded([recordings] * 20, unseen=5)
    people = data.targets("identity")
    (same,) = (one for one in protocols(data, folds=folds) if one.name == SAME)
    for fold in same.folds:
        everybody = {*people[fold.train], *people[fold.validation]}
        for seed in range(3):
            mine = fold.for_seed(seed)
            assert len(mine.validation) and set(people[mine.train]) == everybody
            parts = np.concatenate([mine.train, mine.validation, mine.test])
            assert len(set(parts.tolist())) == len(parts)


def test_one_person_with_one_recording_moves_nobody_elses_recordings_into_validation() -> None:
    for recordings in ([3, 3, 3, 3, 3, 1], [4, 4, 4, 1], [2] * 8 + [1]):
        data = _recorded([count + 1 for count in recordings], unseen=2)
        sources = np.array(data.cells("source"))
        for seed in range(4):
            every = protocols(data, folds=0, seed=seed)
            (fold,) = next(one for one in every if one.name == SAME).folds
            for train, validation in ((fold.train, fold.validation), *fold.others):
                assert len(validation) and not np.isin(sources[validation], sources[train]).any()


def test_whoever_is_in_no_training_clip_is_not_asked_for() -> None:
    """They counted as people who were tried and not recognised, and as evidence of hiding."""
    data = _recorded([2] * 8 + [1] * 4, unseen=3)
    column = replace(data.column("identity"), name="person_b")
    names = data.cells("identity")
    data = data.with_cells(column, [name if name < "p08" else "both" for name in names])
    learnable = 8 * 2 * 4
    truth, notes = GroundTruth.of(data, protocols(data, folds=2)).without_unlearned(1)
    assert [note for note in notes if "cannot be recognised" in note] == [
        f"identity: 16 of {learnable + 16} test clips are of somebody who is in no training clip "
        "of their fold and cannot be recognised: they are left out."
    ]
    test = truth.split(SAME, "test")
    assert len(test.clips) == len(data)  # those of the other column are asked for
    assert is_known(test.labels["identity"]).sum() == learnable
    assert is_known(test.labels["person_b"]).all()
    people = data.targets("identity")
    for k, fold in enumerate(truth.protocols[SAME].folds):
        asked = test.labels["identity"][(test.fold == k) & is_known(test.labels["identity"])]
        assert np.isin(asked, people[fold.train]).all()
    assert is_known(truth.split(SAME, "validation").labels["identity"]).all()


def test_a_split_without_anybody_to_recognise_leaves_identity_out(
    manifest: Manifest, tmp_path: Path
) -> None:
    """The whole evaluation was void, since nobody was recognised in raw video either."""
    given = with_split(manifest, {f"p{n}" for n in range(7)})
    plan = replace(CONFIG, folds=0, labels=("identity",), attackers=("scratch",))
    result = evaluate(given, [], plan, data="x", folder=tmp_path)
    assert [found.label for found in result.rows[0].findings] == ["action"]
    assert result.void is None
    said = "No test clip has a value of identity that a training clip of its fold has"
    assert any(note.startswith(said) for note in result.limits)


def test_a_label_of_few_clips_is_shuffled_among_them(manifest: Manifest) -> None:
    """A fold's training part might end without a value to learn from, after hours."""
    some = {"p0", "p2", "p3", "p5"}
    given = with_tall(manifest, some)
    truth = GroundTruth.of(given, protocols(given, folds=2))
    orders = set()
    for seed in range(4):
        shuffled = truth.shuffled(seed).labels
        for name, codes in truth.labels.items():
            known = is_known(codes)
            assert np.array_equal(is_known(shuffled[name]), known)
            assert sorted(shuffled[name][known]) == sorted(codes[known])
            assert name == "tall" or not np.array_equal(shuffled[name], codes)
        orders.add(tuple(shuffled["tall"].tolist()))
        # all labels of a clip move together
        both = {(a, b) for a, b in zip(shuffled["identity"], shuffled["red"], strict=True)}
        assert both == set(zip(truth.labels["identity"], truth.labels["red"], strict=True))
    assert len(orders) > 1

"""What training runs saw and said of themselves, when they are evaluated."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scenes import CONFIG, FAST

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import read_provenance, save
from masquerade.cli.evaluate import config_of, main, method_rows, parse
from masquerade.datasets.manifest import Clip, Manifest, make_manifest, read_manifest
from masquerade.datasets.overlap import UNKNOWN, comparable, fingerprints, overlapping
from masquerade.datasets.published.sbu import FOLDS, read_sbu
from masquerade.errors import UsageError
from masquerade.evaluation.protocols import protocols
from masquerade.evaluation.training_runs import check_unseen, run_warnings
from masquerade.methods import build
from masquerade.training.rows import TrainingRows
from masquerade.training.run import learned_fingerprints

DULL = "the output is the same whatever comes in"


def trained() -> Anonymizer:
    """A method as a training run saves it."""
    method = build("bdq")
    method.trained = True
    return method


def run_of(path: Path, manifest: Manifest, rows: list[int], *notes: str) -> Path:
    """The folder of a run that learned from these rows."""
    path.mkdir(parents=True)
    about = {"learned": fingerprints(manifest, rows), "notes": list(notes)}
    save(trained(), path / "anonymizer.safetensors", provenance=about)
    return path


def rows_tested(manifest: Manifest, folds: int) -> list[set[int]]:
    """The rows that each fold tests."""
    found = protocols(manifest, folds=folds)
    return [{int(row) for one in found for row in one.folds[k].test} for k in range(folds)]


def test_a_run_is_not_tested_on_what_it_learned_from(
    folder: Path, manifest: Manifest, tmp_path: Path
) -> None:
    run = run_of(tmp_path / "run", manifest, [3, 5])
    words = [
        "--data",
        str(folder / "clips.csv"),
        "--weights",
        str(run),
        "--folds",
        "4",
        *FAST,
    ]
    with pytest.raises(UsageError, match=r"learned from \d of the \d+ clips"):
        main(words)


def test_takes_of_sbu_are_told_apart(tmp_path: Path) -> None:
    """All pairs have folders 001 of as many frames: a run is refused for its own takes only."""
    rng = np.random.default_rng(0)
    for pair in {name for fold in FOLDS for name in fold}:
        for number in range(1, 9):
            take = tmp_path / "sbu" / pair / f"{number:02}" / "001"
            take.mkdir(parents=True)
            for frame in range(3):  # of one size in bytes, as pictures without noise may be
                (take / f"depth_{frame:06}.png").write_bytes(b"alike in all takes")
                pixels = rng.integers(0, 256, 12, dtype=np.uint8).tobytes()
                (take / f"rgb_{frame:06}.png").write_bytes(b"P6 2 2 255\n" + pixels)
    sbu = read_sbu(tmp_path / "sbu", fold=1)
    assert len(set(fingerprints(sbu, range(len(sbu))))) == len(sbu) == 21 * 8
    cells = np.array([sbu.cells("split_action"), sbu.cells("split_identity")])
    learn = np.flatnonzero((cells == "train").all(axis=0)).tolist()
    tested = np.flatnonzero((cells == "test").any(axis=0)).tolist()
    honest = run_of(tmp_path / "run", sbu, learn)
    config = replace(CONFIG, folds=0)
    assert check_unseen(sbu, config, [[honest]]) == ()
    shutil.move(tmp_path / "sbu", tmp_path / "moved")
    for depth in (tmp_path / "moved").rglob("depth_*"):  # which are no frames
        depth.unlink()
    moved = read_sbu(tmp_path / "moved", fold=1)
    cheating = run_of(tmp_path / "other", moved, [*learn, tested[0]])
    with pytest.raises(UsageError, match=f"learned from 1 of the {len(tested)} clips"):
        check_unseen(moved, config, [[cheating]])
    assert fingerprints(moved, learn) == read_provenance(honest)["learned"]


def test_each_fold_is_left_to_the_run_that_did_not_see_it(
    manifest: Manifest, tmp_path: Path
) -> None:
    parts = rows_tested(manifest, 4)
    paths = [
        run_of(tmp_path / str(k), manifest, [r for r in range(len(manifest)) if r not in parts[k]])
        for k in range(4)
    ]
    check_unseen(manifest, CONFIG, [paths])
    for wrong in (replace(CONFIG, folds=2), replace(CONFIG, folds=3)):
        with pytest.raises(UsageError, match="learned from"):
            check_unseen(manifest, wrong, [paths[: wrong.folds]])
    with pytest.raises(UsageError, match="learned from"):
        check_unseen(manifest, CONFIG, [paths[::-1]])
    some = [row for row in range(len(manifest)) if manifest.cells("action")[row] == "down"]
    with pytest.raises(UsageError, match="learned from"):  # its folds are cut anew
        check_unseen(manifest.take([*some[::-1], *range(5)]), CONFIG, [paths])


def test_a_clip_is_known_wherever_it_lies_and_whatever_its_labels(
    folder: Path, manifest: Manifest, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(folder, moved)
    there = read_manifest(moved / "clips.csv")
    rows = np.arange(len(manifest))
    assert fingerprints(there, rows) == fingerprints(manifest, rows)
    assert len(set(fingerprints(manifest, rows))) == len(manifest)


@pytest.mark.parametrize("at", [0, 200_000])
def test_uncompressed_videos_of_one_name_and_size_are_told_apart(tmp_path: Path, at: int) -> None:
    """Whether they differ at the start or, behind a title card, at the end; copies are one."""
    video = np.zeros(2**18, np.uint8)
    other = video.copy()
    other[at:] = 1
    marks = []
    for name, content in {"one": video, "other": other, "copy": video}.items():
        for path in (tmp_path / name / "a.avi", tmp_path / name / "001" / "0.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.tobytes())
        clips = [Clip(path=f"{name}/{each}", cells={}) for each in ("a.avi", "001")]
        marks.append(fingerprints(make_manifest(tmp_path, clips), [0, 1]))
    assert marks[0] == marks[2] and not {*marks[0]} & {*marks[1]}


def test_frames_of_a_file_are_known_in_whatever_range_they_stand(manifest: Manifest) -> None:
    whole = fingerprints(manifest, range(3))
    clip = manifest.clips[0]

    def part(first: int, last: int) -> list[str]:
        return fingerprints(replace(manifest, clips=(replace(clip, first=first, last=last),)), [0])

    assert overlapping(part(0, 2), whole) == overlapping(whole, part(5, 9)) == [0]
    assert overlapping(part(0, 2), part(2, 4)) == overlapping(part(1, 1), part(0, 2)) == [0]
    assert overlapping(part(0, 2), part(3, 4)) == overlapping(part(3, 4), part(0, 2)) == []
    assert overlapping(whole, [*part(3, 4), *whole[2:]]) == [0, 2]
    assert len(part(0, 2)[0]) < 20 and clip.path not in "".join(whole)


def test_a_run_on_a_whole_file_is_not_tested_on_a_part_of_it(
    manifest: Manifest, tmp_path: Path
) -> None:
    """HMDB51's files are whole where it is trained on, and PA-HMDB51's are ranges of them."""
    run = run_of(tmp_path / "run", manifest, [3])
    clips = [replace(clip, first=2, last=5) for clip in manifest.clips]
    with pytest.raises(UsageError, match="learned from 1 of the"):
        check_unseen(replace(manifest, clips=tuple(clips)), CONFIG, [[run] * 4])
    begun = [replace(clip, first=0, last=1) for clip in manifest.clips]
    early = run_of(tmp_path / "early", replace(manifest, clips=tuple(begun)), [3])
    assert check_unseen(replace(manifest, clips=tuple(clips)), CONFIG, [[early] * 4]) == ()


@pytest.mark.slow
@pytest.mark.parametrize(
    "kept",
    [
        None,
        ["0123456789ab", "cdef01234567"],
        ["0123456789ab 0-", "cdef01234567 0-7"],
        ["0123456789abcd 0-", UNKNOWN],
    ],
)
def test_a_run_that_cannot_be_checked_is_said_to_be_one(
    folder: Path,
    manifest: Manifest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    kept: list[str] | None,
) -> None:
    """One without marks, one of an older version, and one that went on from either."""
    path = tmp_path / "old" / "anonymizer.safetensors"
    path.parent.mkdir()
    about = {} if kept is None else {"learned": kept}
    save(trained(), path, provenance=about)
    fine = run_of(tmp_path / "fine", manifest, [])
    (said,) = check_unseen(manifest, CONFIG, [[fine, path.parent, fine, fine]])
    assert said.startswith("1 of 2 training runs cannot be checked") and said.endswith(" of old.")
    words = [
        "--data",
        str(folder / "clips.csv"),
        "--weights",
        str(path),
        "--folds",
        "4",
        *FAST,
    ]
    if kept is None:
        assert main([*words, "--attackers", "scratch"]) in (0, 1)
        limits = json.loads(capsys.readouterr().out)["limits"]
        assert any(one.startswith("bdq: 1 of 1 training runs cannot") for one in limits)


def test_a_run_that_went_on_learned_what_the_first_one_did(
    manifest: Manifest, tmp_path: Path
) -> None:
    mine = TrainingRows(train=np.array([4]), validation=np.array([7]))
    assert learned_fingerprints([(manifest, mine)], None) == fingerprints(manifest, [4, 7])
    first = run_of(tmp_path / "first", manifest, [3])
    assert learned_fingerprints([(manifest, mine)], first) == fingerprints(manifest, [4, 7, 3])
    save(trained(), tmp_path / "bare.safetensors")
    after = learned_fingerprints([(manifest, mine)], tmp_path / "bare.safetensors")
    assert comparable(fingerprints(manifest, [4, 7])) and not comparable(after)


@pytest.mark.slow
def test_what_runs_said_against_themselves_stands_under_the_table(
    folder: Path, manifest: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for fold in range(4):
        run_of(tmp_path / f"run{fold}", manifest, [], *([DULL] if fold == 2 else []))
    weights = str(tmp_path / "run{fold}")
    words = [
        "--data",
        str(folder / "clips.csv"),
        "--weights",
        weights,
        "--folds",
        "4",
        *FAST,
    ]
    assert main([*words, "--attackers", "scratch"]) in (0, 1)
    limits = json.loads(capsys.readouterr().out)["limits"]
    assert f"bdq: 1 of 4 training runs are in doubt: {DULL} in run2." in limits
    assert run_warnings("fine", [[tmp_path / "run0"] * 4]) == ()
    assert read_provenance(tmp_path / "run2")["notes"] == [DULL]


def test_folds_of_the_same_number_are_two_runs(manifest: Manifest, tmp_path: Path) -> None:
    paths = [
        [
            run_of(tmp_path / str(seed) / str(fold), manifest, [], *([DULL] * (fold == 1)))
            for fold in range(2)
        ]
        for seed in range(2)
    ]
    (said,) = run_warnings("spact", paths)
    assert said == f"spact: 2 of 4 training runs are in doubt: {DULL} in 0/1, 1/1."


def test_notes_of_somebody_elses_run_reach_no_terminal_raw(
    manifest: Manifest, tmp_path: Path
) -> None:
    path = run_of(tmp_path / "run", manifest, [], "\x1b]0;a title\x07")
    (said,) = run_warnings("spact", [[path]])
    assert "\\x1b]0;a title\\x07" in said and said.isprintable()


def test_copies_of_one_run_are_not_several_runs(
    folder: Path, manifest: Manifest, tmp_path: Path
) -> None:
    """Whatever their names and what they say of themselves, fold by fold."""
    for seed, fold in np.ndindex(2, 4):
        path = run_of(tmp_path / f"{seed}/{fold}", manifest, [], *["a note"] * seed)
        one = trained()
        with torch.no_grad():
            next(one.parameters()).add_(fold + 0.1 * seed * (fold != 2))
        save(one, path / "anonymizer.safetensors", provenance=read_provenance(path))
    words = ["--data", str(folder / "clips.csv"), "--weights", f"{tmp_path}/{{seed}}/{{fold}}"]
    said = f"{tmp_path}/1/2 holds the same weights as {tmp_path}/0/2, which is one training run:"
    with pytest.raises(UsageError, match=re.escape(said)):
        main([*words, "--folds", "4", *FAST, "--seeds", "2"])
    options, anonymizer = parse([*words, "--folds", "2", *FAST, "--seeds", "2"])
    (line,), _ = method_rows(options, anonymizer, manifest, config_of(options))
    assert [len(folds) for folds in line.runs] == [2, 2]  # the first two folds are apart

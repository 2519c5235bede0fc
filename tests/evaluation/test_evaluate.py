"""What an evaluation owes: planted leaks are found, planted safety is seen, and controls bite."""

from __future__ import annotations

import inspect
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from scenes import CONFIG

from masquerade.datasets.augmentation import augment
from masquerade.datasets.clip_sampling import middle_crop
from masquerade.datasets.manifest import Column, Manifest
from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate, executor, from_json
from masquerade.evaluation.attackers import TOGETHER, TRANSFORMED
from masquerade.evaluation.evaluator import PREDICTIONS, Evaluator
from masquerade.evaluation.fit_predict import fit_predict
from masquerade.evaluation.ground_truth import multi_hot
from masquerade.evaluation.kernel_ridge import KernelRidge
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import Preset, get_preset
from masquerade.evaluation.protocols import Fold, Protocol, protocols
from masquerade.evaluation.results import LabelResult, Row
from masquerade.extraction import extract_video
from masquerade.extraction.dataset import ResizedClips, from_tensor
from masquerade.methods import build


def row(evaluation: Evaluation, name: str) -> Row:
    return next(one for one in evaluation.rows if one.name == name)


def found(evaluation: Evaluation, name: str, label: str) -> LabelResult:
    finding = row(evaluation, name).finding(label)
    assert finding is not None
    return finding


def test_everything_passes_on_sound_data(evaluation: Evaluation) -> None:
    assert evaluation.void is None
    whole = [one for one in evaluation.controls if not one.kind.startswith("only ")]
    assert all(one.passed is not False for one in whole)
    assert [one.name for one in evaluation.rows] == ["raw", "black", "copy", "later"]


@pytest.mark.parametrize("label", ["red", "identity"])
def test_a_planted_leak_is_found(evaluation: Evaluation, label: str) -> None:
    leak = found(evaluation, "copy", label).leakage
    assert leak is not None and leak.value is not None
    assert leak.value == pytest.approx(1, abs=0.15)
    assert leak.protects is False


@pytest.mark.parametrize("label", ["red", "identity"])
def test_perfect_hiding_leaks_nothing_and_is_not_called_unknown(
    evaluation: Evaluation, label: str
) -> None:
    leak = found(evaluation, "black", label).leakage
    assert leak is not None and leak.value is not None, "n/a by accident"
    assert leak.value < 0.1


def test_the_action_is_kept_by_the_copy_and_lost_in_black(evaluation: Evaluation) -> None:
    kept, lost = (found(evaluation, name, "action").score for name in ("copy", "black"))
    assert kept is not None and kept.value is not None and kept.value > 0.9
    assert lost is not None and lost.low is not None and lost.low <= 0.5
    assert found(evaluation, "copy", "action").leakage is None


def test_each_label_has_its_protocol_floors_and_every_attacker(evaluation: Evaluation) -> None:
    red, identity = (found(evaluation, "copy", label) for label in ("red", "identity"))
    assert (red.protocol, red.metric) == ("people unseen", "AUROC")
    assert (identity.protocol, identity.metric) == ("same people", "top-1")
    assert red.floors["constant"].value == 0.5
    assert set(red.floors) == {"constant", "action prior", "predicted action"}
    families = {attack.family for attack in red.attacks} - {TOGETHER}
    assert families == {"scratch", "finetuned", "motion", "raw", "background", "prior"}
    assert red.beyond_action is not None
    assert red.retrained_holds is True
    assert red.f_half == pytest.approx(0.5 * 1.0 + 0.5 * (1 - (red.score.value or 0)))


def test_a_line_that_is_not_run_says_why(evaluation: Evaluation) -> None:
    later = row(evaluation, "later")
    assert later.not_applicable == "not today" and later.findings == ()


def test_json_round_trip(evaluation: Evaluation) -> None:
    assert from_json(evaluation.to_json()) == evaluation


@pytest.mark.parametrize("text", ["{}", "[]", "x", '{"schema": "masquerade-evaluation/1"}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"^This is (no result|a .* of another version)"):
        from_json(text)


def _own_scores(row: Row) -> list[list[tuple[str, float | None]]]:
    """What attackers scored, but for what follows from other lines of the table.

    Raw video is attacked behind them, too, and ties in the choice are broken by them.
    """
    others = (TRANSFORMED, TOGETHER)
    return [
        [(a.name, a.test.value) for a in one.attacks if a.family not in others]
        for one in row.findings
    ]


def test_what_was_done_is_not_done_again(
    evaluation: Evaluation, manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(*args: object) -> None:
        raise AssertionError("a fit was done twice")

    monkeypatch.setattr("masquerade.evaluation.executor.fit_predict", again)
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    second = evaluate(manifest, black, CONFIG, data="scenes", folder=kept)
    for second_row, before in zip(second.rows, evaluation.rows[:2], strict=True):
        assert _own_scores(second_row) == _own_scores(before)


def test_predictions_are_written_before_they_are_scored(
    evaluation: Evaluation, manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    (kept / PREDICTIONS).unlink(missing_ok=True)
    results = kept / "results.json", kept / "results.md"
    results[0].write_text('{"command": "evaluate --method blur"}')
    results[1].write_text("blur")
    monkeypatch.setattr(Evaluator, "score", interrupt)
    with pytest.raises(KeyboardInterrupt):
        evaluate(manifest, [], CONFIG, data="scenes", folder=kept)
    assert {key.method for key in Predictions.load(kept / PREDICTIONS).blocks} == {"raw"}
    assert not any(path.exists() for path in results)  # which are of other predictions
    results[0].write_text('{"command": "evaluate"}')
    with pytest.raises(KeyboardInterrupt):
        evaluate(manifest, [], CONFIG, data="scenes", folder=kept, command="evaluate")
    results[0].unlink()  # it was kept


@pytest.mark.slow
def test_two_runs_of_one_seed_give_one_table(
    evaluation: Evaluation, manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process and in two, so that the order in which fits end changes nothing either.

    Nor does it where labels are large, and processes read them from files. Those that do the fits
    extract the clips, too: each takes seconds to start.
    """
    monkeypatch.setattr(executor, "LARGE_LABELS", 1)
    monkeypatch.setattr(extract_video, "worker_pool", None)
    lines = [
        EvaluatedMethod(name="black", anonymizer=build("blacken")),
        EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
        EvaluatedMethod(name="later", anonymizer=None, not_applicable="not today"),
    ]
    config = replace(CONFIG, workers=2)
    again = evaluate(
        manifest, lines, config, data="scenes", folder=tmp_path, limits=evaluation.limits[:1]
    )

    def without_times(result: Evaluation) -> Evaluation:
        return replace(result, rows=tuple(replace(one, cpu_seconds=0.0) for one in result.rows))

    assert without_times(again) == without_times(evaluation)


@pytest.mark.slow
def test_processes_for_fits_are_started_once(tmp_path: Path) -> None:
    fits = executor.Executor(folder=tmp_path, preset=get_preset("tiny"), seeds=1, workers=2)

    def who(first: int) -> set[str]:
        files = [tmp_path / f"{number}" for number in (first, first + 1)]
        fits._run_missing([(file,) for file in files], scenes.note_process, "noting")
        return {file.read_text() for file in files}

    with fits.opened():
        kept = who(0) | who(2) | who(4)
    assert len(kept) <= 2 and str(os.getpid()) not in kept
    assert not who(6) & kept


def test_a_worker_that_is_killed_ends_the_fits_with_one_sentence(tmp_path: Path) -> None:
    fits = executor.Executor(folder=tmp_path, preset=get_preset("tiny"), seeds=1, workers=2)
    tasks = [(tmp_path / f"{number}",) for number in range(20)]
    said = r"^a worker process died, .* fewer --workers and run the command again"
    with pytest.raises(MasqueradeError, match=said):
        fits._run_missing(tasks, scenes.kill_process, "dying")


def test_fits_of_other_code_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = from_tensor(torch.zeros(2, 3, 2, 8, 8))
    fits = executor.Executor(folder=tmp_path, preset=get_preset("tiny"), seeds=1)
    known = fits.folder_of("blur", clips)
    assert fits.folder_of("blur", clips) == known
    source = Path(executor.__file__).parents[1]
    assert all(any(source.glob(part)) for part in executor.FITTING_CODE)
    digested = {path for part in executor.FITTING_CODE for path in source.glob(part)}
    for used in (fit_predict, KernelRidge, ResizedClips, middle_crop, augment, multi_hot, Preset):
        assert Path(inspect.getfile(used)) in digested, used
    monkeypatch.setattr(executor, "code_digest", lambda *patterns: "changed")
    assert fits.folder_of("blur", clips) != known


def test_fits_are_for_their_owner_alone(tmp_path: Path) -> None:
    """They tell what attackers read in raw video."""
    clips = from_tensor(torch.zeros(2, 3, 2, 8, 8))
    folder = tmp_path / "results" / "fits"
    executor.Executor(folder=folder, preset=get_preset("tiny"), seeds=1).folder_of("raw", clips)
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", ["a row " * 50, "行" * 300])
def test_a_name_of_any_length_has_a_folder(name: str, tmp_path: Path) -> None:
    """Which is made after hours of anonymizing."""
    fits = executor.Executor(folder=tmp_path, preset=get_preset("tiny"), seeds=1)
    clips, others = (from_tensor(torch.full((2, 3, 2, 8, 8), n)) for n in (0.0, 1.0))
    assert fits.folder_of(name, clips).is_dir()
    assert fits.folder_of(name, clips) != fits.folder_of(name, others)


def test_another_attacker_does_not_undo_the_fits_of_the_others(tmp_path: Path) -> None:
    clips = from_tensor(torch.zeros(2, 3, 2, 8, 8))
    preset = get_preset("tiny")
    kernels = {name: one for name, one in preset.attackers.items() if one.network is None}
    fewer = replace(preset, attackers=kernels)
    every = executor.Executor(folder=tmp_path, preset=preset, seeds=1)
    assert every.folder_of("blur", clips) == replace(every, preset=fewer).folder_of("blur", clips)
    longer = replace(every, preset=replace(preset, epochs=preset.epochs + 1))
    assert every.folder_of("blur", clips) != longer.folder_of("blur", clips)


@pytest.mark.parametrize("names", [("blur", "blur"), ("raw",)])
def test_methods_of_one_name_are_refused(
    names: tuple[str, ...], manifest: Manifest, tmp_path: Path
) -> None:
    lines = [EvaluatedMethod(name=name, anonymizer=build("blur")) for name in names]
    with pytest.raises(UsageError, match=f"two methods are called {names[0]}: give each a name"):
        evaluate(manifest, lines, CONFIG, data="scenes", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_random_labels_make_the_result_void(folder: Path, kept: Path) -> None:
    rng = np.random.default_rng(0)
    rows = [
        (clip.path, ("down", "right")[rng.integers(2)], clip.cells["identity"], 0)
        for clip in scenes.read_manifest(folder / "clips.csv").clips
    ]
    manifest = scenes.read_manifest(scenes.save(folder / "random.csv", rows))
    result = evaluate(manifest, [], CONFIG, data="random", folder=kept)
    assert result.void is not None and "action" in result.void


def test_test_clips_in_train_make_the_result_void(
    manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(manifest: Manifest, *, folds: int, **rest: Any) -> tuple[Protocol, ...]:
        every = np.arange(len(manifest))
        return tuple(
            replace(one, folds=(Fold(train=every, validation=every[:9], test=every),))
            for one in protocols(manifest, folds=folds, **rest)
        )

    monkeypatch.setattr("masquerade.evaluation.evaluator.protocols", leaky)
    result = evaluate(manifest, [], CONFIG, data="leaky", folder=kept)
    assert result.void is not None and "shuffled" in result.void
    assert "rows of the manifest are in train and in test" in result.void


def test_unreadable_clips_are_left_out_and_told(
    folder: Path, evaluation: Evaluation, kept: Path
) -> None:
    clips = scenes.read_manifest(folder / "clips.csv").clips
    rows = [(c.path, c.cells["action"], c.cells["identity"], int(c.cells["red"])) for c in clips]
    (folder / "broken.mkv").write_bytes(b"no video")
    manifest = scenes.read_manifest(
        scenes.save(folder / "broken.csv", [*rows, ("broken.mkv", "down", "p0", 1)])
    )
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    result = evaluate(manifest, black, CONFIG, data="broken", folder=kept)
    assert result.void is None
    for line in result.rows:
        assert line.clips == len(clips) and list(line.skipped) == ["broken.mkv"]


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"attackers": ("ghost",)}, "no attacker 'ghost'"),
        ({"attackers": ("prior",)}, "besides prior"),
        ({"preset": "huge"}, "no preset 'huge'"),
        ({"folds": 0}, "split_action"),
        ({"folds": 99}, "folds"),
    ],
)
def test_plans_that_make_no_sense_are_refused(
    manifest: Manifest, plan: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        evaluate(manifest, [], replace(CONFIG, **plan), data="x")


def given_splits(manifest: Manifest) -> Manifest:
    """Splits of our own: the last people unseen, and of each person one clip held out."""
    people = [int(cell[1:]) for cell in manifest.cells("identity")]
    unseen = ["test" if p >= 10 else "val" if p >= 7 else "train" for p in people]
    takes = [people[:i].count(p) for i, p in enumerate(people)]
    same = [("train", "val", "test", "train")[take] for take in takes]
    for name, cells in (("split_action", unseen), ("split_identity", same)):
        column = Column(name=name, role="split", kind="classes")
        manifest = manifest.with_cells(column, cells)
    return manifest


def poisoned(manifest: Manifest, name: str, split: str) -> Manifest:
    """Every test label of a column replaced by a wrong one."""
    column = manifest.column(name)
    values = column.values
    cells = [
        values[(values.index(cell) + 1) % len(values)] if part == "test" else cell
        for cell, part in zip(manifest.cells(name), manifest.cells(split), strict=True)
    ]
    return manifest.with_cells(column, cells)


@pytest.mark.parametrize(
    ("label", "split"),
    [("action", "split_action"), ("red", "split_action"), ("identity", "split_identity")],
)
def test_selection_never_sees_the_test_split(
    manifest: Manifest, kept: Path, label: str, split: str
) -> None:
    clean = given_splits(manifest)
    plan = replace(CONFIG, folds=0)
    lines = [EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))]
    before, after = (
        evaluate(one, lines, plan, data="x", folder=kept)
        for one in (clean, poisoned(clean, label, split))
    )
    for name in ("raw", "copy"):
        honest, wrong = found(before, name, label), found(after, name, label)
        assert all(one.validation is not None for one in honest.attacks)
        assert wrong.strongest == honest.strongest
        chosen_by = [(one.name, one.validation) for one in honest.attacks]
        assert [(one.name, one.validation) for one in wrong.attacks] == chosen_by
        assert honest.score != wrong.score  # the poison was there
    leak = found(before, "copy", label).leakage
    assert leak is None or leak.raw == found(before, "raw", label).score  # the same was chosen

"""The pieces of an evaluation: answers, networks, the prior, views, and the command."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import PLAN
from rich.console import Console

from masquerade.cli.evaluate import main
from masquerade.datasets.manifest import Column, Manifest, read_manifest
from masquerade.errors import UsageError
from masquerade.evaluation import Entry, Evaluation, evaluate, from_json
from masquerade.evaluation.attackers import Candidate
from masquerade.evaluation.controls import sizes_of
from masquerade.evaluation.metric_specs import (
    chosen_by,
    classes_of,
    floors_of,
    measured,
    recalibrated,
    sheet_of,
    targets_of,
    with_prior,
)
from masquerade.evaluation.protocols import label_columns, protocols
from masquerade.evaluation.scoring import Tried, worst_of
from masquerade.methods import build
from masquerade.metrics.statistic import mean
from masquerade.report.table import headline_of, lines, markdown, notes, number, show


def test_networks_are_fitted_warmed_and_met_untouched(manifest: Manifest, tmp_path: Path) -> None:
    few = manifest.take(range(0, len(manifest), 2))
    plan = replace(PLAN, preset="small", folds=2, seeds=2, attackers=("raw", "warm"))
    black = [Entry(name="black", method=build("blacken"))]
    result = evaluate(few, black, plan, data="x", folder=tmp_path)
    finding = result.rows[1].finding("red")
    assert finding is not None
    by_family = {(one.family, one.name) for one in finding.attacks}
    assert {("warm", "warm tiny-2d"), ("raw", "raw tiny-2d")} <= by_family
    assert all(one.spread is not None for one in finding.attacks)
    (raw,) = (tmp_path / "fits").glob("raw-*")
    kept = {path: path.read_bytes() for path in raw.glob("*.weights")}
    shades = [Entry(name="blur", method=build("blur")), *black]
    every = replace(plan, attackers=("raw", "warm", "retrained"))
    evaluate(few, shades, every, data="x", folder=tmp_path)
    assert kept and kept == {path: path.read_bytes() for path in raw.glob("*.weights")}
    again = evaluate(few, black, plan, data="x", folder=tmp_path / "other")
    assert again.rows[1].findings == result.rows[1].findings  # seeds decide everything


def test_untouched_raw_trained_ones_are_not_chosen_while_others_are_there() -> None:
    def one(name: str, validation: float, *, eligible: bool) -> Tried:
        who = Candidate(family="raw", name=name, validation=(), test=(), eligible=eligible)
        return Tried(candidate=who, validation=validation, test=mean([0.0]))

    best, next_best = one("untouched", 0.9, eligible=False), one("trained", 0.6, eligible=True)
    assert worst_of([best, next_best]) is next_best
    assert worst_of([best]) is best


def test_through_file_and_on_tensors_both_run(manifest: Manifest) -> None:
    few = manifest.take(range(0, len(manifest), 2))
    black = [Entry(name="black", method=build("blacken"))]
    plan = replace(PLAN, folds=2, through_file=True, attackers=("retrained",))
    result = evaluate(few, black, plan, data="x")
    assert result.through_file
    assert result.rows[1].clips == len(few) and not result.rows[1].skipped


def test_a_constant_guess_has_exactly_its_floor_over_folds_of_unlike_rates(
    manifest: Manifest,
) -> None:
    unseen = protocols(manifest, folds=3)[0]
    codes = {label: manifest.targets(label) for label in unseen.heads}
    sheet = sheet_of(manifest, unseen, part="test", codes=codes)
    red = next(one for one in targets_of(manifest, unseen) if one.name == "red")
    assert floors_of(red, sheet, None)["constant"].value == 0.5
    told = {"red": np.stack([1.0 - codes["red"], codes["red"]], axis=1)[sheet.rows]}
    assert measured(red, sheet, told).value == 1.0


def test_who_always_says_one_class_is_not_chosen_for_it(manifest: Manifest) -> None:
    """Validation that is nearly all of one class must not flatter a constant guess."""
    unseen = protocols(manifest, folds=3)[0]
    codes = {label: manifest.targets(label) for label in unseen.heads}
    sheet = sheet_of(manifest, unseen, part="validation", codes=codes)
    action = next(one for one in targets_of(manifest, unseen) if one.use == "utility")
    truth = sheet.codes["action"]
    often = np.flatnonzero(truth == 0)
    uneven = replace(sheet, codes={"action": np.where(np.arange(len(truth)) == often[0], 1, 0)})
    constant = {"action": np.tile([0.9, 0.1], (len(truth), 1))}
    assert chosen_by(action, uneven, constant) == 0.5
    assert measured(action, uneven, constant).value > 0.9


def test_the_prior_is_counted_in_train_alone(manifest: Manifest) -> None:
    """Rates that know validation would flatter whoever uses them there."""
    unseen = protocols(manifest, folds=3)[0]
    codes = {label: manifest.targets(label) for label in unseen.heads}
    sheet = sheet_of(manifest, unseen, part="validation", codes=codes)
    for number_, fold in enumerate(unseen.folds):
        assert sheet.overall["red"][number_, 1] == codes["red"][fold.train].mean()


def test_who_knows_the_action_adds_its_log_odds(manifest: Manifest) -> None:
    unseen = protocols(manifest, folds=3)[0]
    codes = {label: manifest.targets(label) for label in unseen.heads}
    sheet = sheet_of(manifest, unseen, part="test", codes=codes)
    blind = {"red": sheet.rates["red"]}
    assert np.allclose(with_prior(blind, sheet, 0.0)["red"], sheet.rates["red"])
    told = with_prior(blind, sheet, 1.0)["red"]
    assert np.allclose(told, 0.75 * sheet.priors["red"] + 0.25 * sheet.rates["red"])


def test_recalibration_meets_the_training_rate_and_keeps_the_order() -> None:
    p = np.random.default_rng(0).uniform(0.01, 0.99, 200)
    answers = np.stack([1 - p, p], axis=1)
    right = recalibrated(answers, answers, np.array([0.8, 0.2]))
    assert right.mean(axis=0) == pytest.approx([0.8, 0.2], abs=1e-3)
    assert np.array_equal(np.argsort(right[:, 1]), np.argsort(p))


def test_classes_of_a_binary_label_are_two(manifest: Manifest) -> None:
    only_red = manifest.where("red", "1")
    assert classes_of(only_red, "red") == 2


def test_the_table_says_what_it_must(evaluation: Evaluation) -> None:
    console = Console(record=True, width=240, file=io.StringIO())
    show(evaluation, console)
    text, page = console.export_text(), markdown(evaluation)
    for told in ("floor: constant", "control: clip size", "raw", "black", ", place "):
        assert told in text and told in page
    assert "Drawn, not filmed." in text and "Drawn, not filmed." in page
    assert "at least as strong" in " ".join(notes(evaluation))
    columns = headline_of(evaluation)
    assert {len(line) for line in lines(evaluation, columns)} == {1 + len(columns)}


def test_a_void_result_says_so_first(evaluation: Evaluation) -> None:
    void = replace(evaluation, void="the dice were loaded")
    assert "**VOID: the dice were loaded**" in markdown(void).splitlines()[:8]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.826, ".83"), (1.0, "1.00"), (-0.5, "-.50"), (0.999, "1.00"), (None, "n/a")],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_command_end_to_end(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(folder / "clips.csv"), "--method", "blur", "--kernel", "13"]
    words += [
        "--folds",
        "2",
        "--seeds",
        "1",
        "--workers",
        "1",
        "--preset",
        "quick",
        "-o",
        str(tmp_path),
        "--json",
    ]
    code = main(words)
    result = from_json(capsys.readouterr().out)
    assert code == (1 if result.void else 0)
    assert result.rows[1].name == "blur" and result.rows[1].arguments["kernel"] == 13
    assert from_json((tmp_path / "results.json").read_text()) == result
    assert (tmp_path / "results.md").read_text().startswith("# clips")
    assert json.loads(result.to_json())["command"].startswith("masquerade evaluate --data")


def test_the_command_refuses_what_makes_no_sense(folder: Path) -> None:
    data = ["--data", str(folder / "clips.csv")]
    with pytest.raises(UsageError, match="name a method"):
        main(data)
    with pytest.raises(UsageError, match="no method"):
        main([*data, "--method", "blurr"])
    with pytest.raises(UsageError, match="--folds"):
        main([*data, "--method", "blur", "--folds", "1"])


def test_one_action_is_refused_and_a_constant_attribute_is_named(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="two or more"):
        protocols(manifest.where("action", "down"), folds=2)
    unseen, _, notes = label_columns(manifest.where("red", "1"))
    assert "red" not in unseen and any("red has one value" in note for note in notes)


def test_nobody_is_looked_for_who_is_in_one_clip_only(manifest: Manifest) -> None:
    people = manifest.cells("identity")
    first = manifest.take(np.array([people.index(name) for name in sorted(set(people))]))
    _, same, notes = label_columns(first)
    assert not same and any("identity: nobody is in two clips" in note for note in notes)
    twice = [people.index("p0"), len(people) - 1 - people[::-1].index("p0"), people.index("p1")]
    assert label_columns(manifest.take(np.array(twice)))[1] == ("identity",)


def test_sizes_of_folders_of_frames_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    for at in range(3):
        cv2.imwrite(str(folder / f"{at}.png"), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "clips.csv").write_text("path,action\nwalk,walk\n")
    sizes = sizes_of(read_manifest(tmp_path / "clips.csv"), np.array([0]))
    assert np.exp(sizes[0]) == pytest.approx([30, 20, 3])


def test_a_label_that_the_test_clips_do_not_differ_in_is_left_out_and_said(
    manifest: Manifest, tmp_path: Path
) -> None:
    """Its AUROC is undefined: no floor, no leakage, and nothing to fail on."""
    people = manifest.cells("identity")
    parts = ["test" if name in ("p0", "p2", "p4") else "train" for name in people]  # all red
    split = Column(name="split", role="split", kind="classes")
    given = manifest.with_cells(split, parts)
    plan = replace(PLAN, folds=0, labels=("red",), attackers=("retrained",))
    result = evaluate(given, [], plan, data="x", folder=tmp_path)
    assert [found.label for found in result.rows[0].findings] == ["action"]
    assert any("red has one value only among the test clips" in one for one in result.limits)

"""The pieces of an evaluation: answers, networks, the prior, views, and the command."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CONFIG
from rich.console import Console

from masquerade.cli.evaluate import main
from masquerade.datasets.manifest import Column, Manifest, read_manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate, from_json
from masquerade.evaluation.attackers import AttackOutputs
from masquerade.evaluation.calibration import add_action_prior, recalibrate
from masquerade.evaluation.controls import clip_sizes
from masquerade.evaluation.ground_truth import GroundTruth, count_classes
from masquerade.evaluation.metric_specs import (
    floors_of,
    measure,
    protocol_specs,
    validation_score,
)
from masquerade.evaluation.protocols import label_columns, protocols
from masquerade.evaluation.scoring import ScoredAttacker, strongest
from masquerade.methods import build
from masquerade.metrics.statistic import mean
from masquerade.report.table import lines, main_columns, markdown, notes, number, show


def test_networks_are_fitted_warmed_and_met_untouched(manifest: Manifest, tmp_path: Path) -> None:
    few = manifest.take(range(0, len(manifest), 2))
    plan = replace(CONFIG, preset="small", folds=2, seeds=2, attackers=("raw", "finetuned"))
    black = [EvaluatedMethod(name="black", method=build("blacken"))]
    result = evaluate(few, black, plan, data="x", folder=tmp_path)
    finding = result.rows[1].finding("red")
    assert finding is not None
    by_family = {(one.family, one.name) for one in finding.attacks}
    assert {("finetuned", "finetuned tiny-2d"), ("raw", "raw tiny-2d")} <= by_family
    assert all(one.seed_sd is not None for one in finding.attacks)
    (raw,) = (tmp_path / "fits").glob("raw-*")
    kept = {path: path.read_bytes() for path in raw.glob("*.weights")}
    shades = [EvaluatedMethod(name="blur", method=build("blur")), *black]
    every = replace(plan, attackers=("raw", "finetuned", "scratch"))
    evaluate(few, shades, every, data="x", folder=tmp_path)
    assert kept and kept == {path: path.read_bytes() for path in raw.glob("*.weights")}
    again = evaluate(few, black, plan, data="x", folder=tmp_path / "other")
    assert again.rows[1].findings == result.rows[1].findings  # seeds decide everything


def test_untouched_raw_trained_ones_are_not_chosen_while_others_are_there() -> None:
    def one(name: str, validation: float, *, eligible: bool) -> ScoredAttacker:
        who = AttackOutputs(family="raw", name=name, validation=(), test=(), eligible=eligible)
        return ScoredAttacker(outputs=who, validation=validation, test=mean([0.0]))

    best, next_best = one("untouched", 0.9, eligible=False), one("trained", 0.6, eligible=True)
    assert strongest([best, next_best]) is next_best
    assert strongest([best]) is best


def test_through_file_and_on_tensors_both_run(manifest: Manifest) -> None:
    few = manifest.take(range(0, len(manifest), 2))
    black = [EvaluatedMethod(name="black", method=build("blacken"))]
    plan = replace(CONFIG, folds=2, through_file=True, attackers=("scratch",))
    result = evaluate(few, black, plan, data="x")
    assert result.through_file
    assert result.rows[1].clips == len(few) and not result.rows[1].skipped


def test_a_constant_guess_has_exactly_its_floor_over_folds_of_unlike_rates(
    manifest: Manifest,
) -> None:
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,)).split(unseen.name, "test")
    red = next(one for one in protocol_specs(manifest, unseen) if one.name == "red")
    assert floors_of(red, truth, None)["constant"].value == 0.5
    told = {
        "red": np.stack([1.0 - manifest.targets("red"), manifest.targets("red")], axis=1)[
            truth.clips
        ]
    }
    assert measure(red, truth, told).value == 1.0


def test_who_always_says_one_class_is_not_chosen_for_it(manifest: Manifest) -> None:
    """Validation that is nearly all of one class must not flatter a constant guess."""
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,)).split(unseen.name, "validation")
    action = next(one for one in protocol_specs(manifest, unseen) if one.use == "utility")
    actions = truth.labels["action"]
    often = np.flatnonzero(actions == 0)
    uneven = replace(truth, labels={"action": np.where(np.arange(len(actions)) == often[0], 1, 0)})
    constant = {"action": np.tile([0.9, 0.1], (len(actions), 1))}
    assert validation_score(action, uneven, constant) == 0.5
    assert measure(action, uneven, constant).value > 0.9


def test_the_prior_is_counted_in_train_alone(manifest: Manifest) -> None:
    """Rates that know validation would flatter whoever uses them there."""
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,)).split(unseen.name, "validation")
    for number_, fold in enumerate(unseen.folds):
        assert truth.rates_of("red", number_)[1] == manifest.targets("red")[fold.train].mean()


def test_who_knows_the_action_adds_its_log_odds(manifest: Manifest) -> None:
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,)).split(unseen.name, "test")
    blind = {"red": truth.rates["red"]}
    assert np.allclose(add_action_prior(blind, truth, 0.0)["red"], truth.rates["red"])
    told = add_action_prior(blind, truth, 1.0)["red"]
    assert np.allclose(told, 0.75 * truth.priors["red"] + 0.25 * truth.rates["red"])


def test_recalibration_meets_the_training_rate_and_keeps_the_order() -> None:
    p = np.random.default_rng(0).uniform(0.01, 0.99, 200)
    answers = np.stack([1 - p, p], axis=1)
    right = recalibrate(answers, answers, np.array([0.8, 0.2]))
    assert right.mean(axis=0) == pytest.approx([0.8, 0.2], abs=1e-3)
    assert np.array_equal(np.argsort(right[:, 1]), np.argsort(p))


def test_classes_of_a_binary_label_are_two(manifest: Manifest) -> None:
    only_red = manifest.where("red", "1")
    assert count_classes(only_red, "red") == 2


def test_the_table_says_what_it_must(evaluation: Evaluation) -> None:
    console = Console(record=True, width=240, file=io.StringIO())
    show(evaluation, console)
    text, page = console.export_text(), markdown(evaluation)
    for told in ("floor: constant", "control: clip size", "raw", "black", ", background "):
        assert told in text and told in page
    assert "Drawn, not filmed." in text and "Drawn, not filmed." in page
    assert "at least as strong" in " ".join(notes(evaluation))
    columns = main_columns(evaluation)
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
    sizes = clip_sizes(read_manifest(tmp_path / "clips.csv"), np.array([0]))
    assert np.exp(sizes[0]) == pytest.approx([30, 20, 3])


def test_a_label_that_the_test_clips_do_not_differ_in_is_left_out_and_said(
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

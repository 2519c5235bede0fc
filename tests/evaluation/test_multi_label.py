"""Labels of several values a clip, as P-HVU has them on both sides: attacked, scored by cMAP."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scenes import CONFIG

from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.evaluation.calibration import add_action_prior, is_learned, recalibrate
from masquerade.evaluation.ground_truth import GroundTruth, SplitTruth
from masquerade.evaluation.metric_specs import (
    compute_floors,
    measure,
    notes_on_mean,
    protocol_specs,
)
from masquerade.evaluation.protocols import Protocol, action_column, label_columns, protocols
from masquerade.methods import build
from masquerade.report.table import markdown


def manifest_of(folder: Path, *, rare: bool) -> Manifest:
    """Two actions a clip, one of which all clips show; and objects, one of them one person's."""
    with (folder / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    path = folder / f"several-{rare}.csv"
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(("path", "action:multi-label", "group", "objects:multi-label"))
        for row in rows:
            seen = ["lamp", "red" if row["red"] == "1" else "blue"]
            if rare and row["identity"] == "p3":
                seen.append("hat")
            action = f"move|{row['action']}"
            out.writerow((row["path"], action, row["identity"], "|".join(seen)))
    return read_manifest(path)


@pytest.fixture(scope="module")
def many(folder: Path) -> Manifest:
    """With the rare object."""
    return manifest_of(folder, rare=True)


@pytest.fixture(scope="module")
def unseen(many: Manifest) -> Protocol:
    (one,) = protocols(many, folds=4)
    return one


@pytest.fixture(scope="module")
def truth(many: Manifest, unseen: Protocol) -> SplitTruth:
    return GroundTruth.of(many, (unseen,)).split(unseen.name, "test")


@pytest.fixture(scope="module")
def result(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    entries = [
        EvaluatedMethod(name="black", anonymizer=build("blacken")),
        EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
    ]
    kept = tmp_path_factory.mktemp("several")
    return evaluate(manifest_of(folder, rare=False), entries, CONFIG, data="x", folder=kept)


def test_both_sides_are_scored_by_cmap(many: Manifest, unseen: Protocol) -> None:
    assert action_column(many) == "action" and label_columns(many) == (("objects",), (), ())
    told = [(one.name, one.use, one.metric) for one in protocol_specs(many, unseen)]
    assert told == [("action", "utility", "cMAP"), ("objects", "private", "cMAP")]


def test_a_constant_guess_has_the_rate_of_positives(
    many: Manifest, unseen: Protocol, truth: SplitTruth
) -> None:
    """Over folds of unlike rates too; what all clips have is not scored."""
    objects = protocol_specs(many, unseen)[1]
    hot = truth.labels["objects"]
    varied = (hot.min(axis=0) < hot.max(axis=0)).nonzero()[0]
    assert [many.column("objects").values[i] for i in varied] == ["blue", "hat", "red"]
    constant = compute_floors(objects, truth, ())["constant"].value
    assert constant == pytest.approx(hot[:, varied].mean())
    # a hat is in one fold's test alone: its train has none to learn from, and nobody reads it there
    learned = is_learned(truth.rates_by_fold("objects")).all(axis=0)
    assert [many.column("objects").values[i] for i in learned.nonzero()[0]] == ["blue", "red"]
    read = {"objects": hot * 0.8 + 0.1}
    assert measure(objects, truth, read).value < 1.0
    some = replace(truth, labels={**truth.labels, "objects": hot * learned})
    assert measure(objects, some, read).value == 1.0


@pytest.mark.slow
def test_a_note_says_how_many_values_are_scored(
    many: Manifest, unseen: Protocol, truth: SplitTruth, result: Evaluation
) -> None:
    """No value counts that all test clips have, as lamps, or none of them."""
    objects = protocol_specs(many, unseen)[1]
    (said,) = notes_on_mean("raw", objects, truth)
    assert said.startswith("objects: cMAP over 3 of 4 values; ")
    without = truth.at(truth.labels["objects"].sum(axis=1) == 2)  # without the hat
    (said,) = notes_on_mean("raw", objects, without)
    assert said.startswith("objects: cMAP over 2 of 4 values; ")
    hot = truth.labels["objects"]
    varied = replace(truth, labels={"objects": hot[:, hot.min(axis=0) < hot.max(axis=0)]})
    assert notes_on_mean("raw", objects, varied) == ()
    assert sum("objects: cMAP over" in one for one in result.limits) == 1


def test_of_several_actions_the_prior_is_the_mean(many: Manifest, truth: SplitTruth) -> None:
    actions = many.column("action").values
    by_fold = [prior.scores(np.arange(len(actions))) for prior in truth.fold_priors["objects"]]
    for row, fold, prior in zip(truth.clips, truth.fold, truth.priors["objects"], strict=True):
        mine = many.clips[int(row)].cells["action"].split("|")
        each = [by_fold[fold][actions.index(name)] for name in mine]
        assert np.allclose(prior, np.mean(each, axis=0))
    moved = by_fold[0][actions.index("move")]  # all clips show it: its prior is the rate
    assert np.allclose(moved, truth.fold_priors["objects"][0].overall)


@pytest.mark.slow
def test_a_planted_leak_is_found_and_perfect_hiding_leaks_nothing(result: Evaluation) -> None:
    assert result.void is None
    black, copy = (row.finding("objects") for row in result.rows[1:])
    assert black is not None and copy is not None
    assert black.leakage is not None and black.leakage.value is not None
    assert black.leakage.value < 0.1
    assert copy.leakage is not None and copy.leakage.value == pytest.approx(1, abs=0.15)
    assert set(copy.floors) == {"constant", "random order", "action prior", "predicted action"}
    assert {"prior", "raw", "finetuned", "scratch"} <= {one.family for one in copy.attacks}
    acted = result.rows[2].finding("action")
    assert acted is not None and acted.score is not None and acted.score.value is not None
    assert acted.score.value > 0.9 and copy.f_half is not None
    assert "objects" in markdown(result) and "cMAP" in markdown(result)


@pytest.mark.slow
def test_networks_learn_them_too(many: Manifest, tmp_path: Path) -> None:
    plan = replace(CONFIG, preset="small", folds=2, attackers=("scratch", "finetuned", "raw"))
    copy = [EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))]
    few = many.take(range(0, len(many), 2))
    found = evaluate(few, copy, plan, data="x", folder=tmp_path).rows[1].finding("objects")
    assert found is not None
    assert {"raw tiny-2d", "raw tiny-2d, recalibrated"} <= {one.name for one in found.attacks}


def test_who_knows_the_action_moves_each_value_apart(truth: SplitTruth) -> None:
    p = np.full_like(truth.rates["objects"], 0.3)
    assert np.allclose(add_action_prior({"objects": p}, truth, 0.0)["objects"], p)
    told = add_action_prior({"objects": p}, truth, 1.0)["objects"]
    up = truth.priors["objects"] > truth.rates["objects"] + 1e-9
    assert (told[up] > p[up]).all() and (told > 0).all() and (told < 1).all()


def test_recalibrated_answers_have_the_training_rate_value_by_value() -> None:
    told = np.random.default_rng(0).uniform(0.2, 0.9, (200, 2))
    rate = np.array([0.3, 0.7])
    assert recalibrate(told, told, rate, multi_label=True).mean(axis=0) == pytest.approx(
        rate, abs=1e-6
    )


def test_two_columns_of_actions_are_refused(many: Manifest) -> None:
    twice = many.with_cells(replace(many.column("action"), name="actions_2"), many.cells("action"))
    with pytest.raises(UsageError, match="one column of actions; there are: action, actions_2"):
        action_column(twice)

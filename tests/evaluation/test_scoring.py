"""Attackers, calibration and floors: the parts of scoring, each by itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import scenes
from scenes import CONFIG

from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.evaluation import EvaluatedMethod, evaluate
from masquerade.evaluation.attacker_choice import ScoredAttacker, choosable_attackers
from masquerade.evaluation.attackers import AttackOutputs
from masquerade.evaluation.calibration import add_action_prior, recalibrate
from masquerade.evaluation.controls import clip_size_controls, clip_sizes, void_reason
from masquerade.evaluation.ground_truth import GroundTruth, join_test
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    compute_floors,
    measure,
    protocol_specs,
    validation_score,
)
from masquerade.evaluation.protocols import protocols
from masquerade.evaluation.results import Control
from masquerade.methods import build
from masquerade.metrics.intervals import Score
from masquerade.metrics.statistic import mean
from masquerade.video import decoding_process


@pytest.mark.slow
def test_networks_are_trained_finetuned_and_used_as_raw_trained(
    manifest: Manifest, tmp_path: Path
) -> None:
    few = manifest.take(range(0, len(manifest), 2))
    plan = replace(CONFIG, preset="small", folds=2, seeds=2, attackers=("raw", "finetuned"))
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    result = evaluate(few, black, plan, data="x", folder=tmp_path)
    finding = result.rows[1].finding("red")
    assert finding is not None
    by_family = {(one.family, one.name) for one in finding.attacks}
    assert {("finetuned", "finetuned tiny-2d"), ("raw", "raw tiny-2d")} <= by_family
    assert all(one.seed_sd is not None for one in finding.attacks)
    (raw,) = (tmp_path / "fits").glob("raw-*")
    kept = {path: path.read_bytes() for path in raw.glob("*.weights")}
    shades = [EvaluatedMethod(name="blur", anonymizer=build("blur")), *black]
    every = replace(plan, attackers=("raw", "finetuned", "scratch"))
    evaluate(few, shades, every, data="x", folder=tmp_path)
    assert kept and kept == {path: path.read_bytes() for path in raw.glob("*.weights")}
    again = evaluate(few, black, plan, data="x", folder=tmp_path / "other")
    assert again.rows[1].findings == result.rows[1].findings  # seeds decide everything


def test_raw_trained_attackers_are_chosen_only_without_others() -> None:
    def one(name: str, validation: float, *, eligible: bool) -> ScoredAttacker:
        who = AttackOutputs(family="raw", name=name, validation={}, test=(), eligible=eligible)
        return ScoredAttacker(
            outputs=who, validation=validation, by_fold=(validation,), test=mean([0.0])
        )

    best, next_best = one("untouched", 0.9, eligible=False), one("trained", 0.6, eligible=True)
    spec = MetricSpec(name="who", columns=("who",), use="private", metric="top-1", protocol="x")
    assert choosable_attackers(spec, [best, next_best]) == [next_best]
    assert choosable_attackers(spec, [best]) == [best]


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        ({"action": True, "identity": True}, None),
        ({"action": False, "identity": True}, "does not learn action"),
        ({"action": True, "identity": False}, "no attacker finds any private label"),
        ({"identity": True}, None),  # where all people are linked, the action is not tested
        ({"identity": False}, "no attacker finds any private label"),
    ],
)
def test_what_was_not_tested_makes_nothing_void(passed: dict[str, bool], said: str | None) -> None:
    score = Score(0.5, 0.4, 0.6, 10, 5)
    controls = [
        Control(kind="positive", label=label, score=score, floor=0.2, passed=one)
        for label, one in passed.items()
    ]
    found = void_reason(controls, "action", "tiny")
    assert found is None if said is None else found is not None and said in found


@pytest.mark.parametrize(
    ("preset", "stronger"),
    [("tiny", "many, paper"), ("many", "paper"), ("paper", ""), ("bags", "")],
)
def test_what_is_void_names_presets_that_are_stronger_than_the_one_given(
    preset: str, stronger: str
) -> None:
    score = Score(0.5, 0.4, 0.6, 10, 5)
    control = Control(kind="positive", label="identity", score=score, floor=0.2, passed=False)
    said = f", a --preset of stronger attackers ({stronger}) or" if stronger else " or"
    found = void_reason([control], "action", preset)
    assert found is not None and found.endswith(f": give more clips{said} more --seeds.")


def test_exported_files_can_be_attacked(manifest: Manifest) -> None:
    few = manifest.take(range(0, len(manifest), 2))
    black = [EvaluatedMethod(name="black", anonymizer=build("blacken"))]
    plan = replace(CONFIG, folds=2, through_file=True, attackers=("scratch",))
    result = evaluate(few, black, plan, data="x")
    assert result.through_file
    assert result.rows[1].clips == len(few) and not result.rows[1].skipped


def test_a_constant_guess_scores_one_half_over_folds_of_different_rates(
    manifest: Manifest,
) -> None:
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,)).split(unseen.name, "test")
    red = next(one for one in protocol_specs(manifest, unseen) if one.name == "red")
    assert compute_floors(red, truth, ())["constant"].value == 0.5
    told = {
        "red": np.stack([1.0 - manifest.targets("red"), manifest.targets("red")], axis=1)[
            truth.clips
        ]
    }
    assert measure(red, truth, told).value == 1.0


def test_an_action_that_tells_nothing_scores_one_half_over_folds_and_seeds(
    manifest: Manifest,
) -> None:
    """Seeds hold other people out: the prior of one is not that of the mean of all."""
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,))
    same = replace(truth, labels={**truth.labels, "action": np.zeros_like(truth.labels["action"])})
    seeds = [same.split(unseen.name, "test", seed=seed) for seed in range(3)]
    rates = np.stack([one.rates_by_fold("red")[:, 1] for one in seeds])
    assert len(np.unique(rates[0] - rates.mean(axis=0))) > 1, "or folds could not be told apart"
    red = next(one for one in protocol_specs(manifest, unseen) if one.name == "red")
    test = join_test(seeds)
    assert np.array_equal(test.rates_by_fold("red")[:, 1], rates.mean(axis=0))
    floors = compute_floors(red, test, [test.actions])
    assert {name: floor.value for name, floor in floors.items()} == {
        "constant": 0.5,
        "action prior": 0.5,
        "predicted action": 0.5,
    }


def test_an_attacker_of_one_class_is_not_chosen_on_uneven_validation(manifest: Manifest) -> None:
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


def test_the_action_prior_is_counted_in_train_alone(manifest: Manifest) -> None:
    """Rates that know validation would flatter whoever uses them there."""
    unseen = protocols(manifest, folds=3)[0]
    truth = GroundTruth.of(manifest, (unseen,)).split(unseen.name, "validation")
    for number_, fold in enumerate(unseen.folds):
        assert (
            truth.fold_priors["red"][number_].overall[1]
            == manifest.targets("red")[fold.train].mean()
        )


def test_the_action_prior_finds_what_follows_from_the_action(manifest: Manifest) -> None:
    """Where the action says all of a label, guessing from it alone is right, and a constant not."""
    follows = [str(int(cell == "down")) for cell in manifest.cells("action")]
    told = manifest.with_cells(manifest.column("red"), follows)
    unseen = protocols(told, folds=3)[0]
    truth = GroundTruth.of(told, (unseen,)).split(unseen.name, "test")
    red = next(one for one in protocol_specs(told, unseen) if one.name == "red")
    floors = compute_floors(red, truth, [truth.labels["action"]])
    assert {name: floor.value for name, floor in floors.items()} == {
        "constant": 0.5,
        "action prior": 1.0,
        "predicted action": 1.0,
    }
    misread = np.where(truth.labels["action"] == 0, 1, 0)  # of a run that keeps no action
    floors = compute_floors(red, truth, [truth.labels["action"], misread])
    assert floors["predicted action"].value == pytest.approx(0.5), "the mean of 1 and of 0"


def test_the_prior_attacker_adds_the_actions_log_odds(manifest: Manifest) -> None:
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
    only_red, unseen = manifest.where("red", "1"), protocols(manifest, folds=3)[0]
    assert GroundTruth.of(only_red, (unseen,)).classes["red"] == 2


def test_clip_sizes_of_folders_of_frames_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "walk"
    folder.mkdir()
    for at in range(3):
        cv2.imwrite(str(folder / f"{at}.png"), np.zeros((20, 30, 3), np.uint8))
    (tmp_path / "clips.csv").write_text("path,action\nwalk,walk\n")
    sizes = clip_sizes(read_manifest(tmp_path / "clips.csv"), np.array([0]))
    assert np.exp(sizes[0]) == pytest.approx([30, 20, 3])


def test_a_file_of_many_clips_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder every image was decoded for each clip: hours for thousands of gestures."""
    folder, looked = tmp_path / "walk", []
    folder.mkdir()
    for at in range(9):
        cv2.imwrite(str(folder / f"{at}.png"), np.zeros((20, 30, 3), np.uint8))
    rows = "".join(f"walk,wave,{first},{first + 2}\n" for first in range(6))
    (tmp_path / "clips.csv").write_text("path,action,first,last\n" + rows)
    probe = decoding_process.probe
    monkeypatch.setattr(
        decoding_process, "probe", lambda path: (looked.append(path), probe(path))[1]
    )
    sizes = clip_sizes(read_manifest(tmp_path / "clips.csv"), np.arange(6))
    assert np.exp(sizes) == pytest.approx(np.tile([30.0, 20.0, 3.0], (6, 1)))
    assert len(looked) == 1 and looked[0].name == "0.png"


def test_clips_of_one_size_are_called_as_most_of_that_size_are(manifest: Manifest) -> None:
    """They were called what the first of them is, since that is as near as the others."""
    (unseen,) = protocols(manifest, folds=3, labels=("red",))
    truth = GroundTruth.of(manifest, (unseen,))
    specs = [one for one in protocol_specs(manifest, unseen) if one.name == "red"]
    red = truth.labels["red"]
    large = red.copy()
    for value in (0, 1):  # of four people who are alike the first have the others' size
        rows = np.flatnonzero(red == value)
        large[rows[: len(rows) // 4]] = 1 - value
    for control in clip_size_controls(large[:, None] * np.ones(3), truth, unseen.name, specs):
        assert control.score.value is not None and 0.65 < control.score.value < 0.8


def test_clip_sizes_of_files_that_state_no_length_are_counted(tmp_path: Path) -> None:
    """Matroska does not say how many frames it holds; all such clips were one frame long."""
    for name, count in (("a", 3), ("b", 7)):
        scenes.write(tmp_path / f"{name}.mkv", np.zeros((count, 20, 30, 3), np.uint8))
    rows = "a.mkv,walk,,\nb.mkv,walk,,\nb.mkv,walk,1,4\n"
    (tmp_path / "clips.csv").write_text("path,action,first,last\n" + rows)
    sizes = clip_sizes(read_manifest(tmp_path / "clips.csv"), np.arange(3))
    assert np.exp(sizes[:, 2]) == pytest.approx([3, 7, 4])


def test_frames_that_nobody_is_shown_are_not_part_of_a_clips_length(tmp_path: Path) -> None:
    """An AVI tells of dropped frames, too, which no attacker is given."""
    with av.open(str(tmp_path / "a.avi"), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.height, stream.width = 20, 30
        for at in (0, 1, 19):
            frame = av.VideoFrame.from_ndarray(np.zeros((20, 30, 3), np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    (tmp_path / "clips.csv").write_text("path,action\na.avi,walk\n")
    sizes = clip_sizes(read_manifest(tmp_path / "clips.csv"), np.arange(1))
    assert np.exp(sizes[0]) == pytest.approx([30, 20, 3])

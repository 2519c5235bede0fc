"""Anonymizers that were trained alike, one a seed and fold, as one line of the table."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import CONFIG

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, controls, evaluate
from masquerade.evaluation.attacker_choice import ScoringInput
from masquerade.evaluation.attackers import AttackOutputs
from masquerade.evaluation.controls import unread_channels
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.ground_truth import GroundTruth, SplitTruth
from masquerade.evaluation.metric_specs import MetricSpec
from masquerade.evaluation.presets import AttackerModel
from masquerade.evaluation.protocols import UNSEEN
from masquerade.evaluation.results import Control, LabelResult, from_json
from masquerade.evaluation.scoring import score_method
from masquerade.evaluation.trade_offs import Scored, trade_offs
from masquerade.methods import build
from masquerade.metrics.classification import auroc
from masquerade.metrics.floors import ActionPrior
from masquerade.metrics.intervals import Score, score_over_runs
from masquerade.metrics.statistic import average
from masquerade.report.numbers_and_columns import main_columns
from masquerade.report.table import lines, notes

COPY, BLACK = build("downsample", factor=2), build("blacken")


def action(evaluation: Evaluation, name: str) -> float:
    """What is kept of the action in a line of the table."""
    (row,) = (row for row in evaluation.rows if row.name == name)
    found = row.finding("action")
    assert found is not None and found.score.value is not None
    return found.score.value


def table(
    manifest: Manifest, kept: Path, *runs: tuple[Anonymizer, ...], seeds: int = 1
) -> Evaluation:
    """Of anonymizers of these seeds and folds."""
    entry = EvaluatedMethod(name="runs", anonymizer=None, runs=runs)
    plan = replace(CONFIG, seeds=seeds)
    return evaluate(manifest, [entry], plan, data="scenes", folder=kept)


def line(manifest: Manifest, kept: Path, *runs: tuple[Anonymizer, ...], seeds: int = 1) -> float:
    """What is kept of the action by them."""
    return action(table(manifest, kept, *runs, seeds=seeds), "runs")


@pytest.mark.slow
def test_each_fold_is_predicted_by_the_run_trained_for_it(
    manifest: Manifest, kept: Path, evaluation: Evaluation
) -> None:
    """Four copies are the copy; black in one fold costs that fold's clips and no others'."""
    whole, black = action(evaluation, "copy"), action(evaluation, "black")
    assert line(manifest, kept, (COPY,) * 4) == whole
    assert black < line(manifest, kept, (COPY, COPY, COPY, BLACK)) < whole


@pytest.mark.slow
def test_scores_of_seeds_are_averaged_and_their_predictions_never_are(
    manifest: Manifest, kept: Path
) -> None:
    """A copy and a black one: half of what the copy gives, and not all of it."""
    found = line(manifest, kept, (COPY,) * 4, (BLACK,) * 4, seeds=2)
    copied, nothing = (line(manifest, kept, (one,) * 4) for one in (COPY, BLACK))
    assert nothing < found < copied
    assert found == pytest.approx((copied + nothing) / 2, abs=0.1)


@pytest.mark.slow
def test_how_far_runs_lie_apart_stands_beside_their_mean(manifest: Manifest, kept: Path) -> None:
    found = table(manifest, kept, (COPY,) * 4, (BLACK,) * 4, seeds=2)
    cells = {one[0]: one[1] for one in lines(found, main_columns(found))}
    assert "±" in cells["runs"] and "±" not in cells["raw"]
    assert float(cells["runs"].split("±")[1]) > 0.1  # a copy and a black one
    assert any(note.startswith("±") for note in notes(found))
    before = found.to_json().replace('"runs": 2', '"other": 2').replace('"runs": 1', '"other": 1')
    assert {row.runs for row in from_json(before).rows} == {1}  # written before there were runs
    assert from_json(found.to_json()) == found


class Learned(type(COPY)):  # type: ignore[misc]
    """The copy, as a method that is trained."""

    learned = True


def test_attackers_of_one_file_of_weights_know_that_it_was_trained_once(
    manifest: Manifest, kept: Path
) -> None:
    run = Evaluator(manifest, CONFIG, kept, None)
    for method, learned in ((COPY, False), (Learned(factor=2), True)):
        line = run.predict(EvaluatedMethod(name="copy", anonymizer=method))
        assert line.inputs and all(one.learned is learned for one in line.inputs.values())


@pytest.mark.parametrize(
    ("families", "channels"),
    [
        (("scratch", "motion"), {"appearance", "motion"}),
        (("motion",), {"motion"}),
        (("finetuned",), {"appearance", "motion"}),
        (("raw", "motion"), {"motion"}),  # which learned nothing behind the method
    ],
)
def test_a_channel_that_nobody_attacks_behind_methods_is_not_read_on_raw_video_either(
    manifest: Manifest, kept: Path, families: tuple[str, ...], channels: set[str]
) -> None:
    """Of raw video others are attacked too, whose weights some attackers start from."""
    run = Evaluator(manifest, replace(CONFIG, attackers=families), kept, None)
    controls = run.controls([run.raw.inputs]).controls
    mine = {one.kind.removeprefix("only ") for one in controls if one.kind.startswith("only ")}
    assert mine == channels
    for gone in {"appearance", "motion"} - channels:
        why = unread_channels(controls, COPY)["identity"]
        assert re.search(f"no attacker of .*{gone}.* alone was used", why)


def test_a_channel_must_tell_more_than_counts_as_held_behind_methods_too(
    manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of held goes by what is read after a method as well, and so does the control."""
    behind, limits = controls.with_transforming_attackers, []

    def nearly_all(*given: Any) -> tuple[LabelResult, ...]:
        found = behind(*given)
        return tuple(replace(one, score=replace(one.score, value=0.987)) for one in found)

    def limited(_: object, found: LabelResult) -> list[Control]:
        limits.append(found.score.value)
        return []

    monkeypatch.setattr(controls, "with_transforming_attackers", nearly_all)
    monkeypatch.setattr("masquerade.evaluation.controls.channel_controls", limited)
    run = Evaluator(manifest, CONFIG, kept, None)
    run.controls([run.raw.inputs])
    assert limits == [0.987] * 3


def test_every_fold_needs_its_own(manifest: Manifest, kept: Path) -> None:
    with pytest.raises(UsageError, match="4 folds"):
        line(manifest, kept, (COPY, COPY))
    with pytest.raises(UsageError, match="2 seeds"):
        line(manifest, kept, (COPY,) * 4, (COPY,) * 4)
    with pytest.raises(UsageError, match="one method"):
        EvaluatedMethod(name="both", anonymizer=COPY, runs=((COPY,),))


CLIPS, PEOPLE, CLASSES = 120, 20, 4
PERSON = np.arange(CLIPS) % PEOPLE
ACTION = MetricSpec(
    name="action", columns=("action",), use="utility", metric="top-1", protocol=UNSEEN
)
WHO = replace(ACTION, name="who", columns=("who",), use="private")
LABELS = dict.fromkeys(("action", "who"), PERSON // 2 % CLASSES)


def attacked(*rates: float) -> ScoringInput:
    """Two attackers, one of whom reads who it is in these shares of the clips, by run."""
    even = ActionPrior(
        np.arange(CLASSES), np.full((CLASSES,) * 2, 1 / CLASSES), np.full(CLASSES, 1 / CLASSES)
    )
    clips = np.arange(CLIPS)
    sheet = SplitTruth(
        clips=clips,
        fold=PERSON % 2,
        people=PERSON,
        groups=PERSON,
        labels=LABELS,
        actions=LABELS["action"],
        fold_priors=dict.fromkeys(LABELS, (even,) * 2),
    )
    rng = np.random.default_rng(0)
    # who is read at one rate is read at a higher one, too; a few clips of a person are not
    order = (0.9 * rng.permutation(PEOPLE) / PEOPLE)[PERSON] + 0.1 * rng.random(CLIPS)

    def told(rate: float) -> dict[str, np.ndarray]:
        return {
            name: np.eye(CLASSES)[np.where(order < read, labels, (labels + 1) % CLASSES)]
            for (name, labels), read in zip(LABELS.items(), (0.9, rate), strict=True)
        }

    outputs = tuple(
        AttackOutputs(
            family=family,
            name=f"{family} eyes",
            validation=told(0.9),
            test=tuple(map(told, mine)),
            eligible=family != "raw",
        )
        for family, mine in (("scratch", rates), ("raw", (0.2,) * len(rates)))
    )
    return ScoringInput(
        validation=sheet,
        test=sheet,
        tests=(sheet,) * len(rates),
        outputs=outputs,
        prior=True,
        clips=clips,
        per_run=True,
    )


TRUTH = GroundTruth(
    labels=LABELS,
    classes=dict.fromkeys(LABELS, CLASSES),
    action="action",
    shown=PERSON[:, None],
    groups=PERSON,
    protocols={},
)


def intervals(*rates: float) -> dict[str, Score]:
    """Every interval of the private label behind runs of these rates, by what it is of."""
    networks = {"eyes": AttackerModel(modality="clips", network="tiny-3d")}
    _, found = score_method(
        {UNSEEN: attacked(*rates)},
        TRUTH,
        {UNSEEN: (ACTION, WHO)},
        means_of=networks,
        lambdas=(0.5, 1.0),
    )
    assert found.pooled and found.beyond_action and found.retrained_gain and found.highest_score
    some = {
        "score": found.score,
        "highest": found.highest_score,
        "pooled": found.pooled,
        "beyond the action": found.beyond_action,
        "gain": found.retrained_gain,
        "f": found.trade_offs[0].score,
        "f of privacy alone": found.trade_offs[1].score,
    }
    mean = {one.family: one for one in found.means}["scratch"]
    return some | {"mean": mean.score, "f of the mean": mean.trade_offs[0].score}


def test_every_interval_grows_where_runs_differ() -> None:
    """And those of runs that are all the same are about those of one run alone.

    That one is a share of clips, and has the interval of a share.
    """
    one, alike, apart = intervals(0.5), intervals(0.5, 0.5, 0.5), intervals(0.2, 0.5, 0.8)
    for name, mine in alike.items():
        assert (mine.value, mine.low, mine.high) == pytest.approx(
            (one[name].value, one[name].low, one[name].high), abs=0.01
        ), name
        assert _width(apart[name]) > 1.5 * _width(mine), name
    score, f = apart["score"], apart["f of privacy alone"]
    assert (f.low, f.high) == pytest.approx((1 - (score.high or 0), 1 - (score.low or 0)))


def test_leakage_of_runs_is_measured_against_single_networks_of_raw_video() -> None:
    """The mean of raw video's seeds tells more than one: who changes nothing would protect."""
    runs = attacked(*(0.5,) * 5)
    first = runs.outputs[0]
    rng = np.random.default_rng(0)
    apart = tuple(  # each network errs on clips of its own, and in its own way
        {
            name: np.eye(CLASSES)[
                (told + (rng.random(CLIPS) < 0.3) * rng.integers(1, 4, CLIPS)) % 4
            ]
            for name, told in LABELS.items()
        }
        for _ in first.test
    )
    runs = replace(runs, outputs=(replace(first, test=apart), *runs.outputs[1:]))
    raw = replace(runs, per_run=False)
    _, found = score_method({UNSEEN: runs}, TRUTH, {UNSEEN: (ACTION, WHO)}, raw={UNSEEN: raw})
    _, alone = score_method({UNSEEN: raw}, TRUTH, {UNSEEN: (ACTION, WHO)})
    assert found.score.value != pytest.approx(alone.score.value, abs=0.02)
    assert found.leakage is not None and found.leakage.value == pytest.approx(1)


def _width(one: Score) -> float:
    assert one.low is not None and one.high is not None
    return one.high - one.low


def test_a_trade_off_counts_no_auroc_below_chance_and_still_tells_runs_apart() -> None:
    """Who reads less than a guess would turn it around; runs below it are not all the same."""
    has, order = PERSON % 2, np.random.default_rng(1).random(CLIPS)
    runs = tuple(auroc(has, order + shift * has) for shift in (-0.5, -0.1, 0.2))
    read = average(runs)
    assert read.value < 0.5
    of_runs, of_people = (
        trade_offs(*(Scored(read, some, np.arange(CLIPS), PERSON),) * 2, [1.0], metric="AUROC")[0]
        for some in (runs, ())
    )
    assert of_runs.score.value == of_people.score.value == 0.5
    assert _width(of_people.score) == 0
    own = score_over_runs(read, runs, clusters=PERSON)  # of the AUROC itself
    below = of_runs.score.value - (of_runs.score.low or 0)
    assert below == pytest.approx(_width(own) / 2, rel=0.05)
    assert of_runs.score.high == 0.5, "more it cannot be"
    plain = Scored(read, (), np.arange(CLIPS), PERSON)
    (other,) = trade_offs(plain, plain, [1.0], metric="cMAP")  # which is never turned around
    assert other.score.value == pytest.approx(1 - read.value)


def test_a_trade_off_says_how_sure_it_is_of_an_auroc_just_below_chance() -> None:
    """Other people may be read above chance, though f counts these at it."""
    has, order = PERSON % 2, np.random.default_rng(1).random(CLIPS)
    read = auroc(has, order - 0.03 * has)
    own = score_over_runs(read, (), clusters=PERSON)
    assert own.value is not None and own.value < 0.5 < (own.high or 0)
    mine = Scored(read, (), np.arange(CLIPS), PERSON)
    f = trade_offs(mine, mine, [1.0], metric="AUROC")[0].score
    assert f.value == f.high == 0.5  # more would count a score below chance as protection
    assert f.low == pytest.approx(1 - (own.high or 0))

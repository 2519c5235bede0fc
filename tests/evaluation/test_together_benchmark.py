"""What the comparison of the first attacker with the strongest together chooses on."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from masquerade.evaluation import attacker_choice
from masquerade.evaluation.attacker_choice import ScoredAttacker, ScoringInput
from masquerade.evaluation.attackers import AttackOutputs
from masquerade.evaluation.ground_truth import SplitTruth
from masquerade.evaluation.metric_specs import MetricSpec
from masquerade.metrics.floors import ActionPrior

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
CLIPS, FOLDS = 60, 5
RED = MetricSpec(name="red", columns=("red",), use="private", metric="AUROC", protocol="x")


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("together")


@pytest.fixture
def mine() -> ScoringInput:
    """Eight attackers that err on other clips each; people have two clips, folds other rates."""
    rng = np.random.default_rng(0)
    clips = np.arange(CLIPS)
    red = rng.permutation(clips % 2)
    truth = SplitTruth(
        clips=clips,
        fold=clips % FOLDS,
        people=clips // 2,
        groups=clips // 2,
        labels={"red": red},
        actions=np.zeros(CLIPS, np.int64),
        fold_priors={"red": tuple(rate(0.3 + 0.1 * fold) for fold in range(FOLDS))},
    )
    noisy = [1 / (1 + np.exp(rng.normal(size=CLIPS) - (2 * red - 1))) for _ in range(8)]
    outputs = [
        AttackOutputs(
            family="scratch",
            name=str(number),
            validation={"red": np.stack([1 - p, p], axis=1)},
            test=({"red": np.zeros((CLIPS, 2))},),
            channels=frozenset({"appearance"}),
        )
        for number, p in enumerate(noisy)
    ]
    return ScoringInput(
        validation=truth, test=truth, outputs=tuple(outputs), prior=False, clips=clips
    )


def rate(share: float) -> ActionPrior:
    return ActionPrior(np.arange(1), np.array([[1 - share, share]]), np.array([1 - share, share]))


def test_each_part_is_read_by_what_the_others_choose(
    together: ModuleType, mine: ScoringInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were chosen on clips of the part, and both columns by the same number of attackers."""
    chosen: list[tuple[ScoringInput, ScoredAttacker]] = []

    def recorded(spec: MetricSpec, inputs: ScoringInput, *more: Any, **named: Any) -> Any:
        chosen.append((inputs, attacker_choice.choose(spec, inputs, *more, **named)))
        return chosen[-1][1]

    monkeypatch.setattr(together, "choose", recorded)
    first, several = (together.score_of(RED, mine, most) for most in (1, 10))
    alone, averaged = chosen[: together.DIVISIONS], chosen[together.DIVISIONS :]
    for _, best in alone:
        assert [len(names) for names in best.chosen] == [1] * together.PARTS
    assert any(len(names) > 1 for _, best in averaged for names in best.chosen)
    assert first != several
    for inputs, _ in chosen:
        validation, test = inputs.validation, inputs.test
        for part in range(together.PARTS):
            read_from = test.groups[test.fold % together.PARTS == part]
            chosen_on = validation.groups[validation.fold % together.PARTS == part]
            assert len(chosen_on) and not np.isin(chosen_on, read_from).any()
            assert len(chosen_on) + len(read_from) == CLIPS
        for truth in (validation, test):
            assert np.array_equal(truth.rates["red"], mine.validation.rates["red"][truth.clips])
            assert np.array_equal(truth.labels["red"], mine.validation.labels["red"][truth.clips])
        for attacker, own in zip(inputs.outputs, mine.outputs, strict=True):
            same = own.validation["red"]
            assert np.array_equal(attacker.validation["red"], same[validation.clips])
            assert np.array_equal(attacker.test[0]["red"], same)


def test_what_parts_of_one_class_choose_on_is_not_of_the_part(
    together: ModuleType, mine: ScoringInput
) -> None:
    """Nothing can be told of such parts, and clips that stand in must be of them all the same."""
    inputs = together.without_test(mine, 0, by_clip=True)
    outside = inputs.test.fold % together.PARTS != 0
    labels = np.where(outside, 0, mine.validation.labels["red"])
    truth = replace(mine.validation, labels={"red": labels})
    inputs = together.without_test(replace(mine, validation=truth), 0, by_clip=True)
    scored = attacker_choice.score_attackers(RED, inputs)
    assert all(np.isnan(attacker.by_fold[0]) for attacker in scored)

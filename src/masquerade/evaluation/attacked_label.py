"""What attackers read of one label behind one method, before it is compared with raw video."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attacker_choice import (
    ScoredAttacker,
    ScoringInput,
    Strength,
    choose,
    rival_attackers,
    score_attackers,
)
from masquerade.evaluation.attackers import TOGETHER
from masquerade.evaluation.metric_specs import MetricSpec, compute_floors
from masquerade.metrics.intervals import (
    Quantiles,
    Score,
    Variance,
    max_t,
    score_over_runs,
    variance_between_runs,
)
from masquerade.metrics.statistic import Statistic


@dataclass(frozen=True, kw_only=True, eq=False)
class AttackedLabel:
    """One label behind one method: its attackers, those that were chosen, and guesses."""

    spec: MetricSpec
    inputs: ScoringInput
    predicted_actions: Sequence[IntArray]  # from which it is guessed; none: it is not
    strength: Strength | None  # breaks ties among attackers
    scored: Sequence[ScoredAttacker]  # every attacker
    best: ScoredAttacker  # those that were chosen, averaged
    together: Sequence[ScoredAttacker]  # `best` where it is of several attackers, else nothing
    rivals: Sequence[ScoredAttacker]  # all whose scores count against the method
    highest: ScoredAttacker  # of these the one with the highest score on test
    quantiles: Quantiles  # of intervals that hold for all rivals at once
    floors: Mapping[str, Statistic]  # what guesses score, by name

    @property
    def groups(self) -> IntArray:
        """(n,) The group of people of each test clip."""
        return self.inputs.test.groups

    @cached_property
    def between(self) -> Variance | None:
        """The variance of the chosen attackers' score over training runs."""
        return variance_between_runs(self.best.runs, clusters=self.groups)

    @cached_property
    def score_of_best(self) -> Score:
        """The chosen attackers' score; its interval is not widened to hold for all attackers."""
        return score_over_runs(self.best.test, self.best.runs, clusters=self.groups)

    def score_of(self, attacker: ScoredAttacker) -> Score:
        """The score of an attacker, with an interval that holds for all at once."""
        return score_over_runs(
            attacker.test, attacker.runs, clusters=self.groups, quantiles=self.quantiles
        )


def attack_label(
    spec: MetricSpec,
    inputs: ScoringInput,
    predicted_actions: Sequence[IntArray],
    strength: Strength | None,
) -> AttackedLabel:
    """Choose attackers for a label on validation, and gather all that count on test."""
    scored = score_attackers(spec, inputs)
    best = choose(spec, inputs, scored, strength)
    together = [best] if best.outputs.family == TOGETHER else []
    rivals = [*rival_attackers(spec, scored), *together]
    return AttackedLabel(
        spec=spec,
        inputs=inputs,
        predicted_actions=predicted_actions,
        strength=strength,
        scored=scored,
        best=best,
        together=together,
        rivals=rivals,
        highest=max(
            rivals,
            key=lambda attacker: (
                -math.inf if math.isnan(attacker.test.value) else attacker.test.value
            ),
        ),
        quantiles=max_t(
            [attacker.test for attacker in rivals],
            [attacker.runs for attacker in rivals],
            clusters=inputs.test.groups,
        ),
        floors=compute_floors(spec, inputs.test, predicted_actions),
    )

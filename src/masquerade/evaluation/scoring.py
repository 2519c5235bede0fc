"""Score predictions: a pure function of predictions, ground truth and metric specs.

The strongest attacker is chosen on validation, and the test split is read once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attackers import AttackOutputs, attack_outputs
from masquerade.evaluation.calibration import add_action_prior, mean_probabilities
from masquerade.evaluation.ground_truth import GroundTruth, Probabilities, SplitTruth
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    compute_floors,
    measure,
    validation_score,
)
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import AttackerModel
from masquerade.evaluation.results import Attack, Finding
from masquerade.metrics.intervals import score
from masquerade.metrics.leakage import f_lambda, leakage
from masquerade.metrics.statistic import Statistic, average, difference

PRIOR_WEIGHTS = (0.25, 0.5, 1.0)  # of the action, among which the prior attacker is chosen


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoringInput:
    """One method under one protocol: its attackers' predictions beside the truth."""

    validation: SplitTruth  # the clips that attackers are chosen on
    test: SplitTruth  # the clips that are reported
    outputs: tuple[AttackOutputs, ...]  # the attackers' predictions
    prior: bool  # whether the prior family was asked for
    clips: IntArray  # (m,) rows of the manifest that could be read and anonymized
    # each seed's predictions are of another anonymizer's clips: scores are averaged over seeds
    # instead of probabilities
    per_run: bool = False

    def of_clips(self, clips: IntArray) -> ScoringInput:
        """The same for these clips; training rates stay."""
        on_validation, on_test = (np.isin(s.clips, clips) for s in (self.validation, self.test))
        if on_validation.all() and on_test.all():
            return self
        return replace(
            self,
            validation=self.validation.at(on_validation),
            test=self.test.at(on_test),
            outputs=tuple(
                replace(
                    one,
                    validation=_at(one.validation, on_validation),
                    test=_at(one.test, on_test),
                )
                for one in self.outputs
            ),
            clips=clips,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredAttacker:
    """One attacker on one label."""

    outputs: AttackOutputs  # its predictions
    validation: float  # its score there; nan where undefined
    test: Statistic  # the statistic of its score on test


def scoring_inputs(
    predictions: Predictions,
    truth: GroundTruth,
    families: Sequence[str],
    models: Mapping[str, AttackerModel],
    *,
    per_run: bool = False,
) -> dict[str, ScoringInput]:
    """The predictions of one method beside the truth, by protocol.

    Clips without predictions are left out of the folds. `families` are in ATTACKERS, and `models`
    those of the preset.
    """
    found = {}
    for name in truth.protocols:
        mine = predictions.select(protocol=name)
        known = truth.of_clips(mine.clips)
        test = known.split(name, "test")
        found[name] = ScoringInput(
            validation=known.split(name, "validation"),
            test=test,
            outputs=attack_outputs(families, models, mine, test),
            prior="prior" in families,
            clips=mine.clips,
            per_run=per_run,
        )
    return found


def score_method(
    inputs: Mapping[str, ScoringInput],
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    raw: Mapping[str, ScoringInput] | None = None,
    void: Mapping[str, str] | None = None,
) -> tuple[Finding, ...]:
    """What is reported of a method, label by label.

    `inputs` and `specs` are by protocol; `raw` is of raw video, None where the method is that;
    `void` says of labels why their numbers are void.
    """
    utility = None
    found = []
    for name, one in inputs.items():
        actions = predict_actions(truth, name, one)
        for spec in specs[name]:
            finding = score_label(
                spec,
                one,
                None if raw is None else raw[name],
                predicted_actions=actions,
                utility=utility,
                void=(void or {}).get(spec.name),
            )
            if spec.use == "utility":
                utility = finding.score.value  # the action is the first label
            found.append(finding)
    return tuple(found)


def score_label(
    spec: MetricSpec,
    mine: ScoringInput,
    raw: ScoringInput | None,
    *,
    predicted_actions: IntArray | None,
    utility: float | None,
    void: str | None,
) -> Finding:
    """What is reported of one label under one method; `utility` is the score of the action."""
    scored = score_attackers(spec, mine)
    best = strongest(scored)
    floors = compute_floors(spec, mine.test, predicted_actions)
    groups = mine.test.groups
    result = score(best.test, clusters=groups)
    private = spec.use == "private"
    leaked = beyond_action = gain = f_half = None
    defined = any(not math.isnan(one.value) for one in floors.values())  # else all are of one class
    if private and void is None and defined:
        on_raw = best if raw is None else strongest(score_attackers(spec, raw.of_clips(mine.clips)))
        leaked = leakage(best.test, on_raw.test, floors, clusters=groups)
    informed = _strongest_of(scored, "prior")
    if informed and "action prior" in floors:
        beyond_action = score(difference(informed.test, floors["action prior"]), clusters=groups)
    retrained = _strongest_of(scored, "scratch", "motion", "finetuned")
    untrained = _strongest_of(scored, "raw")
    if retrained and untrained:
        gain = score(difference(retrained.test, untrained.test), clusters=groups)
    if private and utility is not None and result.value is not None:
        f_half = f_lambda(utility, result.value)
    return Finding(
        label=spec.name,
        use=spec.use,
        metric=spec.metric,
        protocol=spec.protocol,
        floors={name: score(one, clusters=groups) for name, one in floors.items()},
        attacks=tuple(_attack(spec, mine, one) for one in scored),
        strongest=best.outputs.name,
        score=result,
        leakage=leaked,
        beyond_action=beyond_action,
        retrained_gain=gain,
        retrained_holds=None if gain is None or gain.high is None else gain.high >= 0,
        f_half=f_half,
        void=void,
    )


def score_attackers(spec: MetricSpec, mine: ScoringInput) -> list[ScoredAttacker]:
    """Every attacker's scores on one label; the prior's predictions are made of the strongest's."""
    found = [_score_attacker(spec, mine, one) for one in mine.outputs]
    if mine.prior and spec.use == "private" and found:
        best = strongest(found).outputs
        informed = [
            _score_attacker(spec, mine, _with_action(mine, best, weight))
            for weight in PRIOR_WEIGHTS
        ]
        found.append(strongest(informed))
    return found


def strongest(scored: Sequence[ScoredAttacker]) -> ScoredAttacker:
    """The one with the best score on validation; of equals the first; never looks at test."""
    able = [one for one in scored if one.outputs.eligible] or scored
    return max(able, key=lambda one: -math.inf if math.isnan(one.validation) else one.validation)


def predict_actions(truth: GroundTruth, protocol: str, mine: ScoringInput) -> IntArray:
    """(n,) actions that the strongest recognizer predicts for the test clips.

    With trained anonymizers of several seeds those of the first; of several a clip the likeliest.
    """
    action = truth.action
    metric = "cMAP" if truth.labels[action].ndim == 2 else "top-1"
    spec = MetricSpec(
        name=action, columns=(action,), use="utility", metric=metric, protocol=protocol
    )
    best = strongest(score_attackers(spec, mine)).outputs
    predicted = best.test[0] if mine.per_run else mean_probabilities(best.test)
    return np.asarray(predicted[action].argmax(axis=1), np.int64)


def _score_attacker(spec: MetricSpec, mine: ScoringInput, one: AttackOutputs) -> ScoredAttacker:
    if mine.per_run:
        chosen_by = [validation_score(spec, mine.validation, p) for p in one.validation]
        each = average([measure(spec, mine.test, p) for p in one.test])
        return ScoredAttacker(outputs=one, validation=float(np.mean(chosen_by)), test=each)
    on_validation = validation_score(spec, mine.validation, mean_probabilities(one.validation))
    on_test = measure(spec, mine.test, mean_probabilities(one.test))
    return ScoredAttacker(outputs=one, validation=on_validation, test=on_test)


def _at(seeds: Sequence[Probabilities], kept: NDArray[np.bool_]) -> tuple[Probabilities, ...]:
    return tuple({label: p[kept] for label, p in predicted.items()} for predicted in seeds)


def _with_action(mine: ScoringInput, one: AttackOutputs, weight: float) -> AttackOutputs:
    return AttackOutputs(
        family="prior",
        name=f"{one.name} + action",
        validation=tuple(add_action_prior(p, mine.validation, weight) for p in one.validation),
        test=tuple(add_action_prior(p, mine.test, weight) for p in one.test),
    )


def _attack(spec: MetricSpec, mine: ScoringInput, one: ScoredAttacker) -> Attack:
    single = [measure(spec, mine.test, predicted).value for predicted in one.outputs.test]
    sd = float(np.std(single, ddof=1)) if len(single) > 1 else None
    return Attack(
        family=one.outputs.family,
        name=one.outputs.name,
        validation=None if math.isnan(one.validation) else one.validation,
        test=score(one.test, clusters=mine.test.groups),
        seed_sd=None if sd is None or math.isnan(sd) else sd,
    )


def _strongest_of(scored: Sequence[ScoredAttacker], *families: str) -> ScoredAttacker | None:
    """The strongest attacker of these families; None: there is none."""
    mine = [one for one in scored if one.outputs.family in families]
    return strongest(mine) if mine else None

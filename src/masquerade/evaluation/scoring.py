"""Score predictions: a pure function of predictions, ground truth and metric specs.

Who is strongest is chosen for each test fold inside its own training part, and the test split is
read once. Beside that stands the highest score of all attackers on test, with intervals
that hold for all of them at once: no choice can miss more than that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attacked_label import AttackedLabel, attack_label
from masquerade.evaluation.attacker_choice import (
    Joined,
    ScoredAttacker,
    ScoringInput,
    Strength,
    Strengths,
    choose,
    score_attackers,
    score_seeds,
    strengths,
    strongest_of,
)
from masquerade.evaluation.attackers import TRANSFORMED, attack_outputs
from masquerade.evaluation.calibration import (
    mean_probabilities,
)
from masquerade.evaluation.chosen_recognizers import network_means
from masquerade.evaluation.ground_truth import (
    GroundTruth,
    join_test,
    join_validation,
)
from masquerade.evaluation.label_leakage import NOT_PRIVATE, measure_label_leakage
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    compute_floors,
)
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import AttackerModel, Channel
from masquerade.evaluation.results import Attack, LabelResult, NetworkMean, TradeOff
from masquerade.evaluation.trade_offs import Scored, trade_offs
from masquerade.metrics.intervals import (
    Score,
    score,
    score_over_runs,
)
from masquerade.metrics.leakage import (
    at_least_chance,
    f_lambda,
)
from masquerade.metrics.statistic import difference


def scoring_inputs(
    predictions: Predictions,
    truth: GroundTruth,
    families: Sequence[str],
    models: Mapping[str, AttackerModel],
    *,
    per_run: bool = False,
    learned: bool = False,
) -> dict[str, ScoringInput]:
    """The predictions of one method beside the truth, by protocol.

    Clips without predictions are left out of the folds. `families` are in ATTACKERS, and `models`
    those of the preset; `per_run` and `learned` are as in ScoringInput.
    """
    inputs = {}
    for name in truth.protocols:
        selected = predictions.select(protocol=name)
        clip_truth = truth.of_clips(selected.clips)
        seeds = sorted({key.seed for key in selected.blocks})
        tests = {seed: clip_truth.split(name, "test", seed=seed) for seed in seeds}
        inputs[name] = ScoringInput(
            validation=join_validation(
                [clip_truth.split(name, "validation", seed=seed) for seed in seeds]
            ),
            test=join_test(list(tests.values())),
            tests=tuple(tests.values()),
            outputs=attack_outputs(families, models, selected, tests),
            prior="prior" in families,
            clips=selected.clips,
            per_run=per_run,
            learned=learned,
        )
    return inputs


def score_table(
    joined: Joined,
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    void: Mapping[str, str] | None = None,
    unread: Sequence[Mapping[str, str]] | None = None,
    means_of: Mapping[str, AttackerModel] | None = None,
    lambdas: Sequence[float] = (),
) -> list[tuple[LabelResult, ...]]:
    """What is reported of all rows of a table, raw video first.

    Args:
        joined: predictions of each row, as `join_table` returns them; none where it was not run.
        truth: of all clips.
        specs: what is measured, by protocol.
        void: of labels, why their numbers are void.
        unread: of each row's labels, why it cannot be said to hold.
        means_of: attackers by name, over whose networks means are reported; None: no means.
        lambdas: weights of privacy at which f_lambda of each private label is reported.
    """
    raw, strength = joined[0], strengths(joined, specs)
    return [
        score_method(
            inputs,
            truth,
            specs,
            raw=raw if at else None,
            void=void,
            strength=strength,
            unread=unread[at] if unread else None,
            means_of=means_of,
            lambdas=lambdas,
        )
        for at, inputs in enumerate(joined)
    ]


def with_transforming_attackers(
    alone: Sequence[LabelResult],
    joined: Joined,
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
) -> tuple[LabelResult, ...]:
    """Raw video's findings, with scores and floors by attackers who may anonymize it first."""
    strength, results = strengths(joined, specs), []
    for protocol, inputs in joined[0].items():
        actions = predict_actions(truth, protocol, inputs, strength.get((protocol, truth.action)))
        for spec in specs[protocol]:
            finding = next(result for result in alone if result.label == spec.name)
            best = choose(
                spec, inputs, score_attackers(spec, inputs), strength[protocol, spec.name]
            )
            groups = inputs.test.groups
            floors = compute_floors(spec, inputs.test, actions)
            results.append(
                replace(
                    finding,
                    score=score_over_runs(best.test, best.runs, clusters=groups),
                    floors={key: score(floor, clusters=groups) for key, floor in floors.items()},
                )
            )
    return tuple(results)


@dataclass(frozen=True, kw_only=True)
class _Action:
    """The action's scores behind one method, which f_lambda of its private labels needs."""

    value: float | None = None  # of its score; None: it is not read yet, or undefined
    chosen: Scored | None = None  # by the attackers that were chosen; None: no f_lambda is wanted
    means: Mapping[str, Scored] = field(default_factory=dict)  # of networks of clips, by family


def score_method(
    inputs: Mapping[str, ScoringInput],
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    raw: Mapping[str, ScoringInput] | None = None,
    void: Mapping[str, str] | None = None,
    strength: Strengths | None = None,
    unread: Mapping[str, str] | None = None,
    means_of: Mapping[str, AttackerModel] | None = None,
    lambdas: Sequence[float] = (),
) -> tuple[LabelResult, ...]:
    """What is reported of a method, label by label.

    `inputs` and `specs` are by protocol; `raw` is of raw video, None where the method is that;
    `void` says of labels why their numbers are void, `unread` why a method cannot be said to hold.
    """
    action, findings = _Action(), []
    for protocol, protocol_inputs in inputs.items():
        predicted = predict_actions(
            truth, protocol, protocol_inputs, (strength or {}).get((protocol, truth.action))
        )
        for spec in specs[protocol]:
            ties = (strength or {}).get((protocol, spec.name))
            finding = score_label(
                spec,
                protocol_inputs,
                None if raw is None else raw[protocol],
                predicted_actions=predicted,
                utility=action.value,
                void=(void or {}).get(spec.name),
                strength=ties,
                unread=(unread or {}).get(spec.name),
            )
            means = _means(spec, protocol_inputs, means_of)
            if spec.use == "utility":  # the action is the first label
                action = _Action(
                    value=finding.score.value,
                    chosen=_chosen(spec, protocol_inputs, ties) if lambdas else None,
                    means={mean.family: scored for mean, scored in means if mean.reads == "clips"},
                )
                finding = replace(finding, means=tuple(mean for mean, _ in means))
            else:
                finding = replace(
                    finding,
                    means=_means_beside(action, means, spec, lambdas),
                    trade_offs=_trade_offs(action, spec, protocol_inputs, ties, lambdas),
                )
            findings.append(finding)
    return tuple(findings)


def _means(
    spec: MetricSpec, inputs: ScoringInput, models: Mapping[str, AttackerModel] | None
) -> list[tuple[NetworkMean, Scored]]:
    """The means over networks of `models`, each with what it is computed by; None: no means."""
    if models is None:
        return []
    test = inputs.test
    return [
        (about, Scored(mean, runs, test.clips, test.groups))
        for about, mean, runs in network_means(score_attackers(spec, inputs), models, test.groups)
    ]


def _means_beside(
    action: _Action,
    means: Sequence[tuple[NetworkMean, Scored]],
    spec: MetricSpec,
    lambdas: Sequence[float],
) -> tuple[NetworkMean, ...]:
    """Means of a private label, with f_lambda where the same family's of the action is known."""
    return tuple(
        replace(
            mean,
            trade_offs=trade_offs(action.means[mean.family], scored, lambdas, metric=spec.metric),
        )
        if mean.family in action.means
        else mean
        for mean, scored in means
    )


def _trade_offs(
    action: _Action,
    spec: MetricSpec,
    inputs: ScoringInput,
    strength: Strength | None,
    lambdas: Sequence[float],
) -> tuple[TradeOff, ...]:
    """f_lambda of the action and a private label, each by the attackers chosen for it."""
    if action.chosen is None:
        return ()
    private = _chosen(spec, inputs, strength)
    return trade_offs(action.chosen, private, lambdas, metric=spec.metric)


def _chosen(spec: MetricSpec, inputs: ScoringInput, strength: Strength | None) -> Scored:
    """The score of the attackers that are chosen for a label."""
    best, test = choose(spec, inputs, score_attackers(spec, inputs), strength), inputs.test
    return Scored(best.test, best.runs, test.clips, test.groups)


def score_label(
    spec: MetricSpec,
    inputs: ScoringInput,
    raw: ScoringInput | None,
    *,
    predicted_actions: Sequence[IntArray],
    utility: float | None,
    void: str | None,
    strength: Strength | None = None,
    unread: str | None = None,
) -> LabelResult:
    """What is reported of one label under one method; `utility` is the score of the action.

    `predicted_actions` are those of `predict_actions`; empty: none is guessed from.
    """
    label = attack_label(spec, inputs, predicted_actions, strength)
    private, best, floors = spec.use == "private", label.best, label.floors
    result = label.score_of_best
    leaked = measure_label_leakage(label, raw, void=void, unread=unread) if private else NOT_PRIVATE
    retrained_gain = _gained_by_training(label)
    f_half = None
    if private and utility is not None and result.value is not None:
        f_half = f_lambda(utility, at_least_chance(result.value, spec.metric))
    chosen = Counter(name for names in best.chosen for name in names)
    return LabelResult(
        label=spec.name,
        use=spec.use,
        metric=spec.metric,
        protocol=spec.protocol,
        floors={name: score(floor, clusters=label.groups) for name, floor in floors.items()},
        attacks=_attacks(label, chosen),
        strongest=chosen.most_common(1)[0][0],
        chosen=best.chosen,
        score=result,
        highest=label.highest.outputs.name,
        highest_score=label.score_of(label.highest),
        runs_sd=_spread([run.value for run in best.runs]),
        leakage=leaked.leakage,
        undecided=leaked.undecided,
        pooled=leaked.pooled,
        pooled_floor=leaked.pooled_floor,
        beyond_action=_gained_by_action(label),
        retrained_gain=retrained_gain,
        retrained_holds=None
        if retrained_gain is None or retrained_gain.high is None
        else retrained_gain.high >= 0,
        f_half=f_half,
        void=void,
    )


def _attacks(label: AttackedLabel, chosen: Collection[str]) -> tuple[Attack, ...]:
    """Every attacker that is reported; of those that do what a method does, who was chosen."""
    named = (*chosen, label.highest.outputs.name)
    return tuple(
        _attack(label, attacker)
        for attacker in (*label.scored, *label.together)
        if attacker.outputs.family != TRANSFORMED or attacker.outputs.name in named
    )


def _gained_by_action(label: AttackedLabel) -> Score | None:
    """How far who also knows the action lies above who knows the action alone; None: neither."""
    informed = strongest_of(label.spec, label.inputs, label.scored, "prior")
    if informed is None or "action prior" not in label.floors:
        return None
    prior = label.floors["action prior"]
    return score_over_runs(
        difference(informed.test, prior),
        [difference(run, prior) for run in informed.runs],
        clusters=label.groups,
    )


def _gained_by_training(label: AttackedLabel) -> Score | None:
    """How far attackers trained on anonymized video lie above those trained on raw video alone."""

    def strongest(*families: str) -> ScoredAttacker | None:
        return strongest_of(
            label.spec, label.inputs, label.scored, *families, strength=label.strength
        )

    retrained = strongest("scratch", "motion", "finetuned", "published")
    untrained = strongest("raw")
    if retrained is None or untrained is None:
        return None
    return score_over_runs(
        difference(retrained.test, untrained.test),
        [difference(*both) for both in zip(retrained.runs, untrained.runs, strict=True)],
        clusters=label.groups,
    )


def predict_actions(
    truth: GroundTruth, protocol: str, inputs: ScoringInput, strength: Strength | None = None
) -> tuple[IntArray, ...]:
    """(n,) actions that the strongest recognizer predicts for the test clips, of each training run.

    Where a clip has several actions, the likeliest. `strength` breaks ties, as for the action's own
    score.
    """
    action = truth.action
    metric = "cMAP" if truth.labels[action].ndim == 2 else "top-1"
    spec = MetricSpec(
        name=action, columns=(action,), use="utility", metric=metric, protocol=protocol
    )
    best = choose(spec, inputs, score_attackers(spec, inputs), strength).outputs
    runs = best.test if inputs.per_run else (mean_probabilities(best.test),)
    return tuple(np.asarray(predicted[action].argmax(axis=1), np.int64) for predicted in runs)


def channel_scores(
    spec: MetricSpec, inputs: ScoringInput, channels: Collection[Channel]
) -> dict[Channel, Score]:
    """What attackers of one of these channels alone read, chosen among themselves, by channel."""
    scores: dict[Channel, Score] = {}
    single = [
        attacker for attacker in inputs.outputs if attacker.eligible and len(attacker.channels) == 1
    ]
    candidates = [attacker for attacker in single if attacker.channels <= set(channels)]
    for channel in dict.fromkeys(next(iter(attacker.channels)) for attacker in candidates):
        attackers = [attacker for attacker in candidates if attacker.channels == {channel}]
        channel_inputs = inputs.with_outputs(attackers, prior=False)
        best = choose(spec, channel_inputs, score_attackers(spec, channel_inputs))
        scores[channel] = score_over_runs(best.test, best.runs, clusters=channel_inputs.test.groups)
    return scores


def _attack(label: AttackedLabel, attacker: ScoredAttacker) -> Attack:
    single = attacker.runs or score_seeds(label.spec, label.inputs, attacker.outputs)
    return Attack(
        family=attacker.outputs.family,
        name=attacker.outputs.name,
        validation=None if math.isnan(attacker.validation) else attacker.validation,
        test=label.score_of(attacker),
        seed_sd=_spread([run.value for run in single]),
        counts=attacker in label.rivals,
    )


def _spread(values: Sequence[float]) -> float | None:
    """The standard deviation of numbers; None of a single one, or where one is undefined."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return None if math.isnan(sd) else sd

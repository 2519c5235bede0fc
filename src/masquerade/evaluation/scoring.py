"""Score predictions: a pure function of predictions, ground truth and metric specs.

Who is strongest is chosen for each test fold on validation clips that are not in it, and the test
split is read once. Beside that stands the highest score of all attackers on test, with intervals
that hold for all of them at once: no choice can miss more than that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attackers import TRANSFORMED, AttackOutputs, attack_outputs, transformed
from masquerade.evaluation.calibration import (
    add_action_prior,
    log_odds,
    mean_probabilities,
    sigmoid,
)
from masquerade.evaluation.ground_truth import (
    GroundTruth,
    Probabilities,
    SplitTruth,
    join_validation,
    mean_over_seeds,
)
from masquerade.evaluation.metric_specs import (
    MetricSpec,
    compute_floors,
    measure,
    validation_score,
)
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import AttackerModel, Channel
from masquerade.evaluation.results import Attack, Finding
from masquerade.metrics.intervals import (
    Score,
    Variance,
    max_t_quantile,
    score,
    variance_between_runs,
)
from masquerade.metrics.leakage import TOLERANCE, Leakage, f_lambda, leakage
from masquerade.metrics.statistic import Floats, Statistic, average, difference

PRIOR_WEIGHTS = (0.25, 0.5, 1.0)  # of the action, among which the prior attacker is chosen
LEAST_SPREAD = 1e-6  # of log odds that differ among clips at all
LEAST_RUNS = 5  # training runs of a method without which it is not said to hold
Strengths = Mapping[tuple[str, str], Mapping[str, float]]
"""By protocol and label the mean validation score of each attacker over all rows of a table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoringInput:
    """One method under one protocol: its attackers' predictions beside the truth."""

    # the clips that attackers are chosen on, of all seeds after one another
    validation: SplitTruth
    test: SplitTruth  # the clips that are reported
    outputs: tuple[AttackOutputs, ...]  # the attackers' predictions
    prior: bool  # whether the prior family was asked for
    clips: IntArray  # (m,) rows of the manifest that could be read and anonymized
    # each seed's predictions are of another anonymizer's clips: scores are averaged over seeds
    # instead of probabilities
    per_run: bool = False
    # the test clips by seed or run, with the training rates of its own attackers; none: as `test`
    tests: tuple[SplitTruth, ...] = ()
    _scored: dict[MetricSpec, list[ScoredAttacker]] = field(
        default_factory=dict, init=False, repr=False
    )

    def of_clips(self, clips: IntArray) -> ScoringInput:
        """The same for these clips; training rates stay."""
        on_validation, on_test = (np.isin(s.clips, clips) for s in (self.validation, self.test))
        if on_validation.all() and on_test.all():
            return self
        return replace(
            self,
            validation=self.validation.at(on_validation),
            test=self.test.at(on_test),
            tests=tuple(one.at(on_test) for one in self.tests),
            outputs=tuple(
                replace(
                    one,
                    validation=_at(one.validation, on_validation),
                    test=tuple(_at(seed, on_test) for seed in one.test),
                )
                for one in self.outputs
            ),
            clips=clips,
        )

    def of_seed(self, seed: int) -> SplitTruth:
        """The test clips with the rates that the attackers of one seed or run learned from."""
        return self.tests[seed] if self.tests else self.test

    def with_transformed(self, method: str, other: ScoringInput) -> ScoringInput:
        """Attackers of raw video may first do what a method does: theirs are added to these.

        Trained methods are left out, whose runs are several, and those that lack some clips.
        """
        same = (
            np.array_equal(one.clips, two.clips)
            for one, two in ((self.validation, other.validation), (self.test, other.test))
        )
        if other.per_run or not all(same):
            return self
        return replace(self, outputs=(*self.outputs, *transformed(other.outputs, method)))


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredAttacker:
    """One attacker on one label."""

    outputs: AttackOutputs  # its predictions
    validation: float  # its score there; nan where undefined
    test: Statistic  # the statistic of its score on test
    # its validation score for each test fold, without clips that are in that fold; of several
    # attackers, one a fold, none
    by_fold: tuple[float, ...] = ()
    runs: tuple[Statistic, ...] = ()  # the scores of single training runs, where there are several
    chosen: tuple[str, ...] = ()  # names by fold, of one that was put together of several


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
        seeds = sorted({key.seed for key in mine.blocks})
        tests = {seed: known.split(name, "test", seed=seed) for seed in seeds}
        found[name] = ScoringInput(
            validation=join_validation(
                [known.split(name, "validation", seed=seed) for seed in seeds]
            ),
            test=mean_over_seeds(list(tests.values())),
            tests=tuple(tests.values()),
            outputs=attack_outputs(families, models, mine, tests),
            prior="prior" in families,
            clips=mine.clips,
            per_run=per_run,
        )
    return found


def strengths(
    every: Sequence[Mapping[str, ScoringInput]], specs: Mapping[str, Sequence[MetricSpec]]
) -> Strengths:
    """How strong each attacker is over all rows of a table, by which ties are broken."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for protocol, several in specs.items():
        for spec in several:
            by_name: dict[str, list[float]] = {}
            for inputs in every:
                for one in score_attackers(spec, inputs[protocol]) if protocol in inputs else ():
                    if not math.isnan(one.validation):
                        by_name.setdefault(one.outputs.name, []).append(one.validation)
            found[protocol, spec.name] = {k: float(np.mean(v)) for k, v in by_name.items()}
    return found


def score_table(
    lines: Sequence[tuple[str, Mapping[str, ScoringInput]]],
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    void: Mapping[str, str] | None = None,
    unread: Sequence[Mapping[str, str]] | None = None,
) -> list[tuple[Finding, ...]]:
    """What is reported of all lines of a table, raw video first.

    Args:
        lines: the name of each, and its predictions beside the truth by protocol; none where it was
            not run.
        truth: of all clips.
        specs: what is measured, by protocol.
        void: of labels, why their numbers are void.
        unread: of each line's labels, why it cannot be said to hold.
    """
    every = join_table(lines)
    raw, strength = every[0], strengths(every, specs)
    return [
        score_method(
            inputs,
            truth,
            specs,
            raw=raw if at else None,
            void=void,
            strength=strength,
            unread=unread[at] if unread else None,
        )
        for at, inputs in enumerate(every)
    ]


def join_table(
    lines: Sequence[tuple[str, Mapping[str, ScoringInput]]],
) -> list[Mapping[str, ScoringInput]]:
    """All lines of a table, and raw video, the first, attacked behind each method as well."""
    raw = dict(lines[0][1])
    for name, inputs in lines[1:]:
        for protocol, one in inputs.items():
            raw[protocol] = raw[protocol].with_transformed(name, one)
    return [raw, *(inputs for _, inputs in lines[1:])]


def score_method(
    inputs: Mapping[str, ScoringInput],
    truth: GroundTruth,
    specs: Mapping[str, Sequence[MetricSpec]],
    *,
    raw: Mapping[str, ScoringInput] | None = None,
    void: Mapping[str, str] | None = None,
    strength: Strengths | None = None,
    unread: Mapping[str, str] | None = None,
) -> tuple[Finding, ...]:
    """What is reported of a method, label by label.

    `inputs` and `specs` are by protocol; `raw` is of raw video, None where the method is that;
    `void` says of labels why their numbers are void, `unread` why a method cannot be said to hold.
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
                strength=(strength or {}).get((name, spec.name)),
                unread=(unread or {}).get(spec.name),
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
    strength: Mapping[str, float] | None = None,
    unread: str | None = None,
) -> Finding:
    """What is reported of one label under one method; `utility` is the score of the action."""
    scored = score_attackers(spec, mine)
    best = choose(spec, mine, scored, strength)
    floors = compute_floors(spec, mine.test, predicted_actions)
    groups = mine.test.groups
    between = variance_between_runs(best.runs, clusters=groups)
    # who nearly tied might have been chosen: the interval holds for all that were
    rival = max_t_quantile(
        [one.test for one in scored if one.outputs.name in best.chosen], clusters=groups
    )
    result = score(best.test, clusters=groups, between=between, quantile=rival)
    rivals = _contenders(spec, scored)
    quantile = max_t_quantile([one.test for one in rivals], clusters=groups)
    highest = max(
        rivals, key=lambda one: -math.inf if math.isnan(one.test.value) else one.test.value
    )
    private = spec.use == "private"
    leaked = beyond_action = gain = f_half = None
    undecided = unread
    defined = any(not math.isnan(one.value) for one in floors.values())  # else all are of one class
    if private and void is None and defined:
        on_raw = best
        if raw is not None:
            shared = raw.of_clips(mine.clips)
            on_raw = choose(spec, shared, score_attackers(spec, shared), strength)
        leaked = leakage(
            best.test, on_raw.test, floors, clusters=groups, between=between, quantile=rival
        )
        ends = [_score(mine, one, quantile).high for one in rivals]
        ends += [_highest_of_run(mine, rivals, run, quantile) for run in range(len(best.runs))]
        leaked = replace(leaked, protects=_holds(leaked, ends))
        runs = len(best.outputs.test)
        if mine.per_run and runs < LEAST_RUNS:
            undecided = f"{runs} training runs, and {LEAST_RUNS} are needed"
        if leaked.protects and undecided:
            leaked = replace(leaked, protects=None)
        else:
            undecided = None
    informed = _strongest_of(scored, "prior")
    if informed and "action prior" in floors:
        beyond_action = score(difference(informed.test, floors["action prior"]), clusters=groups)
    retrained = _strongest_of(scored, "scratch", "motion", "finetuned")
    untrained = _strongest_of(scored, "raw")
    if retrained and untrained:
        gain = score(difference(retrained.test, untrained.test), clusters=groups)
    if private and utility is not None and result.value is not None:
        # below chance is no protection: who knows would turn the guess around
        f_half = f_lambda(utility, max(result.value, 0.5 if spec.metric == "AUROC" else 0.0))
    names = dict.fromkeys((*best.chosen, highest.outputs.name))
    return Finding(
        label=spec.name,
        use=spec.use,
        metric=spec.metric,
        protocol=spec.protocol,
        floors={name: score(one, clusters=groups) for name, one in floors.items()},
        attacks=tuple(
            _attack(spec, mine, one, quantile)
            for one in scored
            if one.outputs.family != TRANSFORMED or one.outputs.name in names
        ),
        strongest=Counter(best.chosen).most_common(1)[0][0],
        chosen=best.chosen,
        score=result,
        highest=highest.outputs.name,
        highest_score=_score(mine, highest, quantile),
        runs_sd=_spread([one.value for one in best.runs]),
        leakage=leaked,
        undecided=undecided,
        beyond_action=beyond_action,
        retrained_gain=gain,
        retrained_holds=None if gain is None or gain.high is None else gain.high >= 0,
        f_half=f_half,
        void=void,
    )


def score_attackers(spec: MetricSpec, mine: ScoringInput) -> list[ScoredAttacker]:
    """Every attacker's scores on one label; the prior's predictions are made of the strongest's."""
    if spec in mine._scored:
        return mine._scored[spec]
    found = [_score_attacker(spec, mine, one) for one in mine.outputs]
    if mine.prior and spec.use == "private" and found:
        best = strongest(found).outputs
        informed = [
            _score_attacker(spec, mine, _with_action(mine, best, weight))
            for weight in PRIOR_WEIGHTS
        ]
        found.append(strongest(informed))
    mine._scored[spec] = found
    return found


def strongest(
    scored: Sequence[ScoredAttacker], *, strength: Mapping[str, float] | None = None
) -> ScoredAttacker:
    """The one with the best score on all of validation; never looks at test."""
    return _best(scored, [one.validation for one in scored], strength)


def choose(
    spec: MetricSpec,
    mine: ScoringInput,
    scored: Sequence[ScoredAttacker],
    strength: Mapping[str, float] | None = None,
) -> ScoredAttacker:
    """The strongest attacker of each test fold, by validation clips that are not in that fold.

    Of equals it is the one that is stronger over all rows of the table, then the first. Where folds
    choose several, their predictions for their own folds are put together.
    """
    able = _contenders(spec, scored)
    folds = range(len(able[0].by_fold))
    by_fold = [_best(able, [one.by_fold[fold] for one in able], strength) for fold in folds]
    names = tuple(one.outputs.name for one in by_fold)
    if len(set(names)) == 1:
        return replace(by_fold[0], chosen=names)
    tests = tuple(
        _join_chosen(mine, [one.outputs for one in by_fold], seed)
        for seed in range(len(by_fold[0].outputs.test))
    )
    joined = replace(by_fold[0].outputs, name=", ".join(dict.fromkeys(names)), test=tests)
    return replace(_score_attacker(spec, mine, joined), by_fold=(), chosen=names)


def predict_actions(truth: GroundTruth, protocol: str, mine: ScoringInput) -> IntArray:
    """(n,) actions that the strongest recognizer predicts for the test clips.

    With trained anonymizers of several seeds those of the first; of several a clip the likeliest.
    """
    action = truth.action
    metric = "cMAP" if truth.labels[action].ndim == 2 else "top-1"
    spec = MetricSpec(
        name=action, columns=(action,), use="utility", metric=metric, protocol=protocol
    )
    best = choose(spec, mine, score_attackers(spec, mine)).outputs
    predicted = best.test[0] if mine.per_run else mean_probabilities(best.test)
    return np.asarray(predicted[action].argmax(axis=1), np.int64)


def channel_scores(spec: MetricSpec, mine: ScoringInput) -> dict[Channel, Score]:
    """What attackers of one channel alone read, chosen among themselves, by channel."""
    found: dict[Channel, Score] = {}
    every = [one for one in mine.outputs if one.eligible and len(one.channels) == 1]
    for channel in dict.fromkeys(next(iter(one.channels)) for one in every):
        some = replace(
            mine,
            outputs=tuple(one for one in every if one.channels == {channel}),
            prior=False,
        )
        best = choose(spec, some, score_attackers(spec, some))
        found[channel] = score(best.test, clusters=mine.test.groups)
    return found


def _score_attacker(spec: MetricSpec, mine: ScoringInput, one: AttackOutputs) -> ScoredAttacker:
    by_fold = [
        validation_score(spec, truth, predicted)
        for truth, predicted in (_outside(mine, one.validation, fold) for fold in _folds(mine))
    ]
    each = tuple(measure(spec, mine.of_seed(run), p) for run, p in enumerate(one.test))
    return ScoredAttacker(
        outputs=one,
        validation=validation_score(spec, mine.validation, one.validation),
        by_fold=tuple(by_fold),
        test=average(each)
        if mine.per_run
        else measure(spec, mine.test, mean_probabilities(one.test)),
        runs=each if mine.per_run and len(each) > 1 else (),
    )


def _folds(mine: ScoringInput) -> range:
    return range(int(mine.test.fold.max(initial=0)) + 1)


def _outside(
    mine: ScoringInput, predicted: Probabilities, fold: int
) -> tuple[SplitTruth, Probabilities]:
    """The validation clips that are not in a test fold, and what is predicted of them."""
    kept = ~np.isin(mine.validation.clips, mine.test.clips[mine.test.fold == fold])
    if kept.all() or not kept.any():
        return mine.validation, predicted
    return mine.validation.at(kept), _at(predicted, kept)


def _contenders(spec: MetricSpec, scored: Sequence[ScoredAttacker]) -> list[ScoredAttacker]:
    """Who may be called the strongest.

    Not who sees the background alone, of attributes of people: with few groups it guesses right by
    chance, and says nothing about them.
    """
    able = [one for one in scored if one.outputs.eligible and one.by_fold] or list(scored)
    if spec.use == "private" and spec.metric not in ("top-1", "cMAP"):
        seeing = [one for one in able if one.outputs.channels != {"place"}]
        able = seeing or able
    return able


def _best(
    scored: Sequence[ScoredAttacker],
    values: Sequence[float],
    strength: Mapping[str, float] | None,
) -> ScoredAttacker:
    pairs = [
        (one, value)
        for one, value in zip(scored, values, strict=True)
        if one.outputs.eligible or not any(other.outputs.eligible for other in scored)
    ]

    def order(pair: tuple[ScoredAttacker, float]) -> tuple[float, float]:
        one, value = pair
        return (
            -math.inf if math.isnan(value) else round(value, 12),
            (strength or {}).get(one.outputs.name, -math.inf),
        )

    return max(pairs, key=order)[0]


def _join_chosen(
    mine: ScoringInput, by_fold: Sequence[AttackOutputs], seed: int
) -> dict[str, Floats]:
    """Each test fold as the attacker that it chose predicts it.

    Log odds beyond the training rate are divided by their standard deviation on validation, so that
    clips of folds with different attackers can be ranked together.
    """
    truth = mine.of_seed(seed)
    joined = {label: np.array(p) for label, p in by_fold[0].test[seed].items()}
    for label in joined:
        single = truth.labels[label].ndim == 1 and joined[label].shape[1] == 2
        for fold, one in enumerate(by_fold):
            at = truth.fold == fold
            p = one.test[seed][label][at]
            if single:
                spread = _log_odds_beyond(mine.validation, label, one.validation[label]).std()
                beyond = log_odds(p) - log_odds(truth.rates[label][at])
                scale = spread if spread > LEAST_SPREAD else 1.0
                p = sigmoid(beyond / scale + log_odds(truth.rates[label][at]))
            joined[label][at] = p
    return joined


def _log_odds_beyond(truth: SplitTruth, label: str, predicted: Floats) -> Floats:
    return np.asarray(log_odds(predicted) - log_odds(truth.rates[label]))


def _holds(leaked: Leakage, ends: Sequence[float | None]) -> bool | None:
    """Whether all upper ends lie within a tenth of the way from the floor to raw video."""
    if leaked.protects is None or any(end is None for end in ends):
        return None
    floor, raw = leaked.floor.value or 0.0, leaked.raw.value or 0.0
    return max(end or 0.0 for end in ends) <= floor + TOLERANCE * (raw - floor)


def _highest_of_run(
    mine: ScoringInput, rivals: Sequence[ScoredAttacker], run: int, quantile: float
) -> float | None:
    """The upper end of the strongest attacker of one training run."""
    groups = mine.test.groups
    ends = [score(one.runs[run], clusters=groups, quantile=quantile).high for one in rivals]
    return None if any(end is None for end in ends) else max(end or 0.0 for end in ends)


def _score(mine: ScoringInput, one: ScoredAttacker, quantile: float) -> Score:
    between: Variance | None = variance_between_runs(one.runs, clusters=mine.test.groups)
    return score(one.test, clusters=mine.test.groups, quantile=quantile, between=between)


def _at(predicted: Probabilities, kept: NDArray[np.bool_]) -> dict[str, Floats]:
    return {label: p[kept] for label, p in predicted.items()}


def _with_action(mine: ScoringInput, one: AttackOutputs, weight: float) -> AttackOutputs:
    return AttackOutputs(
        family="prior",
        name=f"{one.name} + action",
        validation=add_action_prior(one.validation, mine.validation, weight),
        test=tuple(
            add_action_prior(p, mine.of_seed(seed), weight) for seed, p in enumerate(one.test)
        ),
        channels=one.channels,
    )


def _attack(spec: MetricSpec, mine: ScoringInput, one: ScoredAttacker, quantile: float) -> Attack:
    single = [
        measure(spec, mine.of_seed(seed), predicted).value
        for seed, predicted in enumerate(one.outputs.test)
    ]
    return Attack(
        family=one.outputs.family,
        name=one.outputs.name,
        validation=None if math.isnan(one.validation) else one.validation,
        test=_score(mine, one, quantile),
        seed_sd=_spread(single),
    )


def _spread(values: Sequence[float]) -> float | None:
    """The standard deviation of several numbers; None of one, or where one is undefined."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    return None if math.isnan(sd) else sd


def _strongest_of(scored: Sequence[ScoredAttacker], *families: str) -> ScoredAttacker | None:
    """The strongest attacker of these families; None: there is none."""
    mine = [one for one in scored if one.outputs.family in families]
    return strongest(mine) if mine else None

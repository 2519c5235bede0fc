"""The choice among attackers: each test fold's strongest, chosen inside its own training part.

The strongest attack together: their predictions are averaged (ensemble selection, Caruana et al.,
ICML 2004, from a sorted list). Of many attackers that are nearly equal the first is the first by
chance, and reads less on test than the mean of some.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attackers import TOGETHER, TOGETHER_NAME, AttackOutputs, transformed
from masquerade.evaluation.calibration import (
    add_action_prior,
    beyond_rate,
    is_learned,
    log_odds,
    mean_probabilities,
    sigmoid,
)
from masquerade.evaluation.ground_truth import Probabilities, SplitTruth
from masquerade.evaluation.metric_specs import COLUMNS, MetricSpec, measure, validation_score
from masquerade.evaluation.predictions import ByLabel
from masquerade.metrics.statistic import Floats, Statistic, average

PRIOR_WEIGHTS = (0.25, 0.5, 1.0)  # of the action, among which the prior attacker is chosen
MAX_ENSEMBLE_SIZE = 10  # attackers whose predictions are averaged, at most
INFORMED = "the strongest + action"  # of each fold
LEAST_SPREAD = 1e-6  # of log odds that differ among clips at all


Strength = Sequence[Mapping[str, float]]
"""For each test fold the mean validation score of every attacker, by name, over a table's rows."""
Strengths = Mapping[tuple[str, str], Strength]
"""For each protocol and label, how strong attackers are in each test fold."""


@dataclass(kw_only=True, eq=False)
class _ScoreCache:
    """A cache of the scores of one method's attackers."""

    scored: dict[MetricSpec, list[ScoredAttacker]] = field(default_factory=dict)
    attackers: dict[tuple[MetricSpec, AttackOutputs], ScoredAttacker] = field(default_factory=dict)
    # of those sorted by strength for a fold, how many are averaged
    counts: dict[tuple[MetricSpec, int, tuple[AttackOutputs, ...]], int] = field(
        default_factory=dict
    )
    # by the attackers that are averaged in each fold
    chosen: dict[tuple[MetricSpec, tuple[tuple[AttackOutputs, ...], ...]], ScoredAttacker] = field(
        default_factory=dict
    )


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
    # whether the method was trained; without `per_run` once, however many seeds attackers have
    learned: bool = False
    # the test clips by seed or run, with the training rates of its own attackers; none: as `test`
    tests: tuple[SplitTruth, ...] = ()
    _computed: _ScoreCache = field(default_factory=_ScoreCache, init=False, repr=False)

    def of_clips(self, clips: IntArray) -> ScoringInput:
        """The same for these clips; training rates stay."""
        on_validation, on_test = (np.isin(s.clips, clips) for s in (self.validation, self.test))
        if on_validation.all() and on_test.all():
            return self
        return replace(
            self,
            validation=self.validation.at(on_validation),
            test=self.test.at(on_test),
            tests=tuple(truth.at(on_test) for truth in self.tests),
            outputs=tuple(
                replace(
                    attacker,
                    validation=_select_clips(attacker.validation, on_validation),
                    test=tuple(_select_clips(predicted, on_test) for predicted in attacker.test),
                )
                for attacker in self.outputs
            ),
            clips=clips,
        )

    def of_seed(self, seed: int) -> SplitTruth:
        """The test clips with the rates that the attackers of one seed or run learned from."""
        return self.tests[seed] if self.tests else self.test

    def with_transformed(self, method: str, other: ScoringInput) -> ScoringInput:
        """Raw video's attackers, and those of a method, which raw video could be put through first.

        Whoever has raw video can anonymize it before reading it, so that what is read behind the
        method can be read from raw video too. Of a trained method that is what the run of each seed
        and fold does, which saw no test clip of that fold. Methods that lack some clips are left
        out, and those with fewer runs than seeds.
        """
        same = (
            np.array_equal(truth.clips, other_truth.clips)
            for truth, other_truth in ((self.validation, other.validation), (self.test, other.test))
        )
        runs = {len(attacker.test) for attacker in (*self.outputs, *other.outputs)}
        if len(runs) > 1 or not all(same):
            return self
        behind = transformed(other.outputs, method)
        return self.with_outputs((*self.outputs, *behind), prior=self.prior)

    def with_outputs(self, outputs: Sequence[AttackOutputs], *, prior: bool) -> ScoringInput:
        """The same clips with other attackers; an attacker in both is scored once."""
        inputs = replace(self, outputs=tuple(outputs), prior=prior)
        inputs._computed.attackers = self._computed.attackers
        return inputs


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredAttacker:
    """One attacker on one label."""

    outputs: AttackOutputs  # its predictions
    validation: float  # its mean score there over folds; nan where undefined
    test: Statistic  # the statistic of its score on test
    # its validation score for each test fold, on held-out clips of that fold's training part; of
    # attackers that were chosen fold by fold, none
    by_fold: tuple[float, ...] = ()
    runs: tuple[Statistic, ...] = ()  # the scores of single training runs, where there are several
    # of what was chosen: by fold the names of those whose predictions are averaged
    chosen: tuple[tuple[str, ...], ...] = ()


def strengths(
    joined: Sequence[Mapping[str, ScoringInput]], specs: Mapping[str, Sequence[MetricSpec]]
) -> Strengths:
    """The mean validation score of each attacker over a table's rows, by which ties are broken.

    For each test fold by clips of that fold's training part alone, as in the choice itself.
    """
    by_label: dict[tuple[str, str], Strength] = {}
    for protocol, protocol_specs in specs.items():
        for spec in protocol_specs:
            by_name: list[dict[str, list[float]]] = []
            for inputs in joined:
                for attacker in (
                    score_attackers(spec, inputs[protocol]) if protocol in inputs else ()
                ):
                    by_name.extend({} for _ in attacker.by_fold[len(by_name) :])
                    for of_fold, value in zip(by_name, attacker.by_fold, strict=True):
                        if not math.isnan(value):
                            of_fold.setdefault(attacker.outputs.name, []).append(value)
            by_label[protocol, spec.name] = [
                {name: float(np.mean(values)) for name, values in known.items()}
                for known in by_name
            ]
    return by_label


Joined = Sequence[Mapping[str, ScoringInput]]
"""Predictions and truth by protocol, one mapping for each row of a table, raw video first."""


def join_table(attacked: Sequence[tuple[str, Mapping[str, ScoringInput]]]) -> Joined:
    """All rows of a table, and raw video, the first, attacked behind each method as well."""
    raw = dict(attacked[0][1])
    for name, inputs in attacked[1:]:
        for protocol, protocol_inputs in inputs.items():
            raw[protocol] = raw[protocol].with_transformed(name, protocol_inputs)
    return [raw, *(inputs for _, inputs in attacked[1:])]


def score_attackers(spec: MetricSpec, inputs: ScoringInput) -> list[ScoredAttacker]:
    """Every attacker's scores on one label; the prior's predictions are made of the strongest's."""
    if spec in inputs._computed.scored:
        return inputs._computed.scored[spec]
    cache = inputs._computed.attackers
    for attacker in inputs.outputs:
        if (spec, attacker) not in cache:
            cache[spec, attacker] = score_attacker(spec, inputs, attacker)
    scored = [cache[spec, attacker] for attacker in inputs.outputs]
    if inputs.prior and spec.use == "private" and scored:
        scored.append(_informed_by_action(spec, inputs, scored))
    inputs._computed.scored[spec] = scored
    return scored


def choose(
    spec: MetricSpec,
    inputs: ScoringInput,
    scored: Sequence[ScoredAttacker],
    strength: Strength | None = None,
    *,
    most: int = MAX_ENSEMBLE_SIZE,
) -> ScoredAttacker:
    """Choose attackers for each test fold by clips held out of its training part, and score them.

    From one to `most` of them are averaged, as many as read the most there. Of equals the one comes
    first that is stronger over all rows of the table, then the first of the list. What the folds
    choose predicts its own fold each, and is scored together. Never looks at test.
    """
    choosable = choosable_attackers(spec, scored)
    by_fold = [
        _select_ensemble(spec, inputs, choosable, fold, strength[fold] if strength else None, most)
        for fold in range(len(choosable[0].by_fold))
    ]
    key = spec, tuple(tuple(attacker.outputs for attacker in attackers) for attackers in by_fold)
    if key not in inputs._computed.chosen:
        inputs._computed.chosen[key] = _score_chosen(spec, inputs, by_fold)
    return inputs._computed.chosen[key]


def _score_chosen(
    spec: MetricSpec, inputs: ScoringInput, by_fold: Sequence[Sequence[ScoredAttacker]]
) -> ScoredAttacker:
    """Score what the attackers of each fold predict together for it."""
    names = tuple(tuple(attacker.outputs.name for attacker in attackers) for attackers in by_fold)
    by_names = {
        name: average_attackers(spec, inputs, attackers)
        for name, attackers in zip(names, by_fold, strict=True)
    }
    if len(by_names) == 1:
        return replace(score_attacker(spec, inputs, by_names[names[0]]), chosen=names)
    joined = _join_chosen(spec, inputs, [by_names[name] for name in names])
    scores = score_attacker(spec, inputs, replace(joined, family=TOGETHER, name=TOGETHER_NAME))
    return replace(scores, validation=math.nan, by_fold=(), chosen=names)


def average_attackers(
    spec: MetricSpec, inputs: ScoringInput, attackers: Sequence[ScoredAttacker]
) -> AttackOutputs:
    """One attacker that averages what several predict.

    Of what is ranked these are log odds beyond the training rate, of which each attacker is made
    as sure as the others; else they are probabilities.
    """
    outputs = [attacker.outputs for attacker in attackers]
    if len(outputs) == 1:
        return outputs[0]

    def average_of(truth: SplitTruth, predicted: Sequence[Probabilities]) -> Probabilities:
        def make(label: str) -> Floats:
            total = None
            for attacker, probabilities in zip(outputs, predicted, strict=True):
                total = _add(
                    total, _to_average(spec, inputs, attacker, truth, label, probabilities[label])
                )
            assert total is not None
            return _averaged(spec, truth, label, total / len(outputs))

        return ByLabel(predicted[0], make)

    return AttackOutputs(
        family=TOGETHER,
        name=TOGETHER_NAME,
        validation=average_of(inputs.validation, [attacker.validation for attacker in outputs]),
        test=tuple(
            average_of(inputs.of_seed(run), [attacker.test[run] for attacker in outputs])
            for run in range(len(outputs[0].test))
        ),
        channels=frozenset().union(*(attacker.channels for attacker in outputs)),
    )


def _select_ensemble(
    spec: MetricSpec,
    inputs: ScoringInput,
    choosable: Sequence[ScoredAttacker],
    fold: int,
    strength: Mapping[str, float] | None,
    most_together: int,
) -> list[ScoredAttacker]:
    """The attackers to average for a test fold: the first so many of a list sorted by strength.

    As many as score the highest together on validation clips of that fold.
    """
    ranked = _ranked(choosable, fold, strength)[:most_together]
    key = spec, fold, tuple(attacker.outputs for attacker in ranked)
    if key not in inputs._computed.counts:
        inputs._computed.counts[key] = _best_ensemble_size(spec, inputs, ranked, fold)
    return ranked[: inputs._computed.counts[key]]


def _best_ensemble_size(
    spec: MetricSpec, inputs: ScoringInput, ranked: Sequence[ScoredAttacker], fold: int
) -> int:
    """How many of sorted attackers score the highest together on a fold's validation clips."""
    count, most, truth = 1, ranked[0].by_fold[fold], inputs.validation
    sums: dict[str, Floats] = {}
    for number, attacker in enumerate(ranked, 1):
        for label in spec.columns:
            p = attacker.outputs.validation[label]
            part = _to_average(spec, inputs, attacker.outputs, truth, label, p)
            sums[label] = _add(sums.get(label), part)
            del p, part  # before the next attacker's are read
        if number == 1:
            continue
        together = ByLabel(sums, partial(_mean_of, spec, truth, sums, number))
        value = _validation_of_fold(spec, inputs, together, fold)
        if round(value, 12) > round(most, 12):  # of equals the fewer: others may water one down
            count, most = number, value
    return count


def _mean_of(
    spec: MetricSpec, truth: SplitTruth, sums: Mapping[str, Floats], number: int, label: str
) -> Floats:
    return _averaged(spec, truth, label, sums[label] / number)


def _add(total: Floats | None, part: Floats) -> Floats:
    """Add predictions to a total in place: those of thousands of classes are a gigabyte each."""
    if total is None:
        return np.array(part, np.float64)
    total += part
    return total


def _to_average(
    spec: MetricSpec,
    inputs: ScoringInput,
    attacker: AttackOutputs,
    truth: SplitTruth,
    label: str,
    p: Floats,
) -> Floats:
    """What is averaged of an attacker's predictions (n, C): log odds where clips are ranked."""
    if not _is_ranked(spec, truth, label):
        return p
    return log_odds(_standardize_log_odds(inputs, attacker, label, truth.rates[label], p))


def _averaged(spec: MetricSpec, truth: SplitTruth, label: str, mean: Floats) -> Floats:
    """The probabilities (n, C) of a mean of what `_to_average` gives."""
    return sigmoid(mean) if _is_ranked(spec, truth, label) else np.asarray(mean)


def score_attacker(
    spec: MetricSpec, inputs: ScoringInput, attacker: AttackOutputs
) -> ScoredAttacker:
    """One attacker's scores on one label, on validation for each test fold."""
    by_fold = [
        _validation_of_fold(spec, inputs, attacker.validation, fold) for fold in _folds(inputs)
    ]
    defined = [value for value in by_fold if not math.isnan(value)]
    test, runs = score_on_test(spec, inputs, attacker)
    return ScoredAttacker(
        outputs=attacker,
        validation=float(np.mean(defined)) if defined else math.nan,
        by_fold=tuple(by_fold),
        test=test,
        runs=runs,
    )


def score_on_test(
    spec: MetricSpec, inputs: ScoringInput, attacker: AttackOutputs
) -> tuple[Statistic, tuple[Statistic, ...]]:
    """One attacker's score on test, and those of single training runs where there are several."""
    if not inputs.per_run:
        return measure(spec, inputs.test, _mean_predictions(inputs, attacker)), ()
    scores = score_seeds(spec, inputs, attacker)
    return average(scores), scores if len(scores) > 1 else ()


def score_seeds(
    spec: MetricSpec, inputs: ScoringInput, attacker: AttackOutputs
) -> tuple[Statistic, ...]:
    """One attacker's score on test in each seed or run."""
    return tuple(
        measure(spec, inputs.of_seed(seed), predicted)
        for seed, predicted in enumerate(attacker.test)
    )


def _mean_predictions(inputs: ScoringInput, attacker: AttackOutputs) -> Probabilities:
    """Average the predictions of the seeds; where a seed learned nothing, its training rate.

    Nothing was learned where all training clips had one value. That rate is part of the mean rate:
    the bound of a prediction would stand out in that fold.
    """

    def unless_learned(seed: int, label: str) -> Floats:
        truth, p = inputs.of_seed(seed), attacker.test[seed][label]
        rates = truth.rates_by_fold(label)
        two_valued = rates.shape[1] == 2 or truth.labels[label].ndim == 2
        if not two_valued or is_learned(rates).all():
            return p
        filled = np.array(p)
        for fold, rate in enumerate(rates):
            at = np.ix_(truth.fold == fold, ~is_learned(rate))
            filled[at] = rate[~is_learned(rate)]
        return filled

    return mean_probabilities(
        [
            ByLabel(predicted, partial(unless_learned, seed))
            for seed, predicted in enumerate(attacker.test)
        ]
    )


def _folds(inputs: ScoringInput) -> range:
    return range(len(next(iter(inputs.test.fold_priors.values()))))


def _validation_of_fold(
    spec: MetricSpec, inputs: ScoringInput, predicted: Probabilities, fold: int
) -> float:
    """The validation score for one test fold, on clips that were held out of its training part.

    Those of all seeds together, each of which holds other people out. Where they are all of one
    class, so that nothing can be told of them, clips of the other folds' training parts stand in
    that are not in this test fold.
    """
    truth, count = inputs.validation, len(_folds(inputs))
    in_fold = truth.fold % count == fold
    if in_fold.all():
        return validation_score(spec, truth, predicted)
    value = validation_score(spec, truth.at(in_fold), _select_clips(predicted, in_fold))
    if not math.isnan(value):
        return value
    not_in_test = ~np.isin(truth.clips, inputs.test.clips[inputs.test.fold % count == fold])
    return validation_score(spec, truth.at(not_in_test), _select_clips(predicted, not_in_test))


def choosable_attackers(spec: MetricSpec, scored: Sequence[ScoredAttacker]) -> list[ScoredAttacker]:
    """Return the attackers that may be chosen as the strongest on a label."""
    choosable = [attacker for attacker in scored if attacker.outputs.eligible and attacker.by_fold]
    return rival_attackers(spec, choosable or list(scored))


def rival_attackers(spec: MetricSpec, scored: Sequence[ScoredAttacker]) -> list[ScoredAttacker]:
    """Return the attackers whose scores count against a method, chosen or not.

    On traits of people, attackers who see the background alone do not count: with few groups they
    are right by chance.
    """
    if spec.of_people:
        rivals = [attacker for attacker in scored if attacker.outputs.channels != {"place"}]
        return rivals or list(scored)
    return list(scored)


def _ranked(
    scored: Sequence[ScoredAttacker], fold: int, strength: Mapping[str, float] | None = None
) -> list[ScoredAttacker]:
    """Attackers sorted by validation score for a test fold, highest first; strength breaks ties."""

    def order(attacker: ScoredAttacker) -> tuple[float, float]:
        value = attacker.by_fold[fold]
        return (
            -math.inf if math.isnan(value) else round(value, 12),
            (strength or {}).get(attacker.outputs.name, -math.inf),
        )

    return sorted(scored, key=order, reverse=True)  # equals keep their order


def _join_chosen(
    spec: MetricSpec, inputs: ScoringInput, by_fold: Sequence[AttackOutputs]
) -> AttackOutputs:
    """One attacker whose predictions of each fold are those of the attacker chosen for it."""

    def join(truth: SplitTruth, predicted: Sequence[Probabilities]) -> Probabilities:
        fold_of = truth.fold % len(by_fold)

        def make(label: str) -> Floats:
            joined = np.array(predicted[0][label])
            for fold, attacker in enumerate(by_fold):
                at = fold_of == fold
                p = predicted[fold][label][at]
                if _is_ranked(spec, truth, label) or truth.labels[label].ndim == 2:
                    rates = truth.rates_by_fold(label)[truth.fold[at]]
                    p = _standardize_log_odds(inputs, attacker, label, rates, p)
                joined[at] = p
            return joined

        return ByLabel(predicted[0], make)

    return replace(
        by_fold[0],
        validation=join(inputs.validation, [attacker.validation for attacker in by_fold]),
        test=tuple(
            join(inputs.of_seed(run), [attacker.test[run] for attacker in by_fold])
            for run in range(len(by_fold[0].test))
        ),
        channels=frozenset().union(*(attacker.channels for attacker in by_fold)),
    )


def _is_ranked(spec: MetricSpec, truth: SplitTruth, label: str) -> bool:
    """Whether a label is scored by ranking clips: AUROC or average precision of two classes."""
    if spec.metric not in ("AUROC", "cMAP") or truth.rates_by_fold(label).shape[1] != 2:
        return False
    return truth.labels[label].ndim == 1  # last: those of thousands of classes are read for it


def _standardize_log_odds(
    inputs: ScoringInput, attacker: AttackOutputs, label: str, rates: Floats, p: Floats
) -> Floats:
    """Standardize the log odds of predictions (n, C) by their mean and deviation on validation.

    Of each class, and beyond the training rates: so clips of several attackers can be ranked
    together.
    """
    truth, on_validation = inputs.validation, attacker.validation[label]
    standardized = np.empty(p.shape)
    for first in range(0, p.shape[1], COLUMNS):
        block = slice(first, first + COLUMNS)
        rate = truth.rates_by_fold(label)[truth.fold, block]
        beyond, learned = beyond_rate(on_validation[:, block], rate), is_learned(rate)
        count = np.maximum(learned.sum(axis=0), 1)
        mean = beyond.sum(axis=0) / count
        sd = np.sqrt((np.where(learned, beyond - mean, 0.0) ** 2).sum(axis=0) / count)
        above = (beyond_rate(p[:, block], rates[:, block]) - mean) / np.where(
            sd > LEAST_SPREAD, sd, 1.0
        )
        standardized[:, block] = sigmoid(above + log_odds(rates[:, block]))
    return standardized


def _select_clips(predicted: Probabilities, selected: NDArray[np.bool_]) -> Probabilities:
    return ByLabel(predicted, lambda label: predicted[label][selected])


def _informed_by_action(
    spec: MetricSpec, inputs: ScoringInput, scored: Sequence[ScoredAttacker]
) -> ScoredAttacker:
    """An attacker that knows the true action and what each fold's strongest attacker predicts."""
    choosable = choosable_attackers(spec, scored)
    folds = range(len(choosable[0].by_fold))
    strongest = [_ranked(choosable, fold)[0] for fold in folds]
    informed = {
        attacker.outputs.name: [
            score_attacker(spec, inputs, _with_action(inputs, attacker.outputs, weight))
            for weight in PRIOR_WEIGHTS
        ]
        for attacker in strongest
    }
    informed_best = [_ranked(informed[strongest[fold].outputs.name], fold)[0] for fold in folds]
    if all(attacker is informed_best[0] for attacker in informed_best):
        return informed_best[0]
    return score_attacker(
        spec, inputs, _join_chosen(spec, inputs, [attacker.outputs for attacker in informed_best])
    )


def _with_action(inputs: ScoringInput, attacker: AttackOutputs, weight: float) -> AttackOutputs:
    return AttackOutputs(
        family="prior",
        name=INFORMED,
        validation=add_action_prior(attacker.validation, inputs.validation, weight),
        test=tuple(
            add_action_prior(p, inputs.of_seed(seed), weight)
            for seed, p in enumerate(attacker.test)
        ),
        channels=attacker.channels,
    )


def strongest_of(
    spec: MetricSpec,
    inputs: ScoringInput,
    scored: Sequence[ScoredAttacker],
    *families: str,
    strength: Strength | None = None,
) -> ScoredAttacker | None:
    """Choose one attacker of these families for each test fold; None: there is none."""
    members = [attacker for attacker in scored if attacker.outputs.family in families]
    return choose(spec, inputs, members, strength, most=1) if members else None

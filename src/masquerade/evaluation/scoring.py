"""From answers to findings: the worst attacker is chosen on validation, the test is read once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attackers import Candidate
from masquerade.evaluation.metric_specs import (
    Answers,
    Sheet,
    Target,
    chosen_by,
    floors_of,
    mean_answers,
    measured,
    with_prior,
)
from masquerade.evaluation.results import Attack, Finding
from masquerade.metrics.intervals import Score, score
from masquerade.metrics.leakage import f_lambda, leakage
from masquerade.metrics.statistic import Statistic, average, difference

WEIGHTS = (0.25, 0.5, 1.0)  # of the action, among which A5 chooses on validation


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything that is known about one protocol of one method.

    Args:
        validation: the clips that attackers are chosen on.
        test: the clips that are reported.
        clusters: (n,) group of each test clip.
        candidates: who answered.
        prior: whether the prior family (A5) was asked for.
        rows: of the manifest, that could be read and rewritten.
        apart: each seed answered about other anonymizers' clips: scores are averaged over seeds.
    """

    validation: Sheet
    test: Sheet
    clusters: IntArray
    candidates: tuple[Candidate, ...]
    prior: bool
    rows: IntArray
    apart: bool = False

    def only(self, rows: IntArray) -> Case:
        """The same for these clips of the manifest.

        Args:
            rows: that are kept.
        """
        kept = (np.isin(self.validation.rows, rows), np.isin(self.test.rows, rows))
        if all(mask.all() for mask in kept):
            return self
        return Case(
            validation=_cut_sheet(self.validation, kept[0]),
            test=_cut_sheet(self.test, kept[1]),
            clusters=self.clusters[kept[1]],
            candidates=tuple(
                Candidate(
                    family=one.family,
                    name=one.name,
                    validation=tuple(_cut(a, kept[0]) for a in one.validation),
                    test=tuple(_cut(a, kept[1]) for a in one.test),
                    eligible=one.eligible,
                )
                for one in self.candidates
            ),
            prior=self.prior,
            rows=rows,
            apart=self.apart,
        )


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One attacker on one label.

    Args:
        candidate: who.
        validation: its score there; nan where undefined.
        test: the statistic of its score on test.
    """

    candidate: Candidate
    validation: float
    test: Statistic


def tried(target: Target, case: Case) -> list[Tried]:
    """Every attacker's scores on one label; the prior's (A5) is made of the best other.

    Args:
        target: the label.
        case: under its protocol.
    """
    found = [_tried(target, case, one) for one in case.candidates]
    if case.prior and target.use == "private" and found:
        best = worst_of(found).candidate
        each = [_tried(target, case, _told_action(case, best, weight)) for weight in WEIGHTS]
        found.append(worst_of(each))
    return found


def worst_of(found: Sequence[Tried]) -> Tried:
    """The one with the best score on validation; of equals the first; never looks at test.

    Args:
        found: one or more.
    """
    able = [one for one in found if one.candidate.eligible] or found
    return max(able, key=lambda one: -math.inf if math.isnan(one.validation) else one.validation)


def finding(
    target: Target,
    case: Case,
    raw: Case | None,
    *,
    predicted: IntArray | None,
    action: float | None,
    void: str | None,
) -> Finding:
    """What is reported of one label under one method.

    Args:
        target: the label.
        case: of this method.
        raw: of raw video; None: this is it.
        predicted: (n,) actions recognised on the test clips of this method; None: none.
        action: the utility score of this method; None: there is none.
        void: why the label's numbers say nothing.
    """
    found = tried(target, case)
    worst = worst_of(found)
    floors = floors_of(target, case.test, predicted)
    mine = score(worst.test, clusters=case.clusters)
    private = target.use == "private"
    on_raw = worst if raw is None else worst_of(tried(target, raw.only(case.rows)))
    leaked = None
    known = any(not math.isnan(one.value) for one in floors.values())  # else all are of one class
    if private and void is None and known:
        leaked = leakage(worst.test, on_raw.test, floors, clusters=case.clusters)
    gain = _gain(found, case.clusters)
    return Finding(
        label=target.name,
        use=target.use,
        metric=target.metric,
        protocol=target.protocol,
        floors={name: score(one, clusters=case.clusters) for name, one in floors.items()},
        attacks=tuple(_attack(target, case, one) for one in found),
        worst=worst.candidate.name,
        score=mine,
        leakage=leaked,
        beyond_action=_beyond(found, floors, case.clusters),
        retrained_gain=gain,
        retrained_holds=None if gain is None or gain.high is None else gain.high >= 0,
        f_half=_f_half(action, mine) if private else None,
        void=void,
    )


def recognised(target: Target, case: Case) -> IntArray:
    """(n,) actions told on the test clips by whoever is best at it on validation; of trained
    anonymizers of several seeds, on those of the first.

    Of several a clip, the likeliest.

    Args:
        target: the action, whose protocol the case has.
        case: of a method.
    """
    best = best_of(target, case).candidate
    answers = (best.test[0] if case.apart else mean_answers(best.test))[target.columns[0]]
    return np.asarray(answers.argmax(axis=1), np.int64)


def best_of(target: Target, case: Case) -> Tried:
    """Who is best at a label on validation, of those who are told nothing.

    Args:
        target: the label.
        case: under its protocol.
    """
    return worst_of([_tried(target, case, one) for one in case.candidates])


def _tried(target: Target, case: Case, one: Candidate) -> Tried:
    if case.apart:
        scores = [chosen_by(target, case.validation, answers) for answers in one.validation]
        each = average([measured(target, case.test, answers) for answers in one.test])
        return Tried(candidate=one, validation=float(np.mean(scores)), test=each)
    on_validation = chosen_by(target, case.validation, mean_answers(one.validation))
    on_test = measured(target, case.test, mean_answers(one.test))
    return Tried(candidate=one, validation=on_validation, test=on_test)


def _told_action(case: Case, one: Candidate, weight: float) -> Candidate:
    return Candidate(
        family="prior",
        name=f"{one.name} + action",
        validation=tuple(with_prior(a, case.validation, weight) for a in one.validation),
        test=tuple(with_prior(a, case.test, weight) for a in one.test),
    )


def _attack(target: Target, case: Case, one: Tried) -> Attack:
    single = [measured(target, case.test, answers).value for answers in one.candidate.test]
    spread = float(np.std(single, ddof=1)) if len(single) > 1 else None
    return Attack(
        family=one.candidate.family,
        name=one.candidate.name,
        validation=None if math.isnan(one.validation) else one.validation,
        test=score(one.test, clusters=case.clusters),
        spread=None if spread is None or math.isnan(spread) else spread,
    )


def _gain(found: Sequence[Tried], clusters: IntArray) -> Score | None:
    """The best that learned on these clips less the best that did not."""
    after = [one for one in found if one.candidate.family in ("retrained", "motion", "warm")]
    before = [one for one in found if one.candidate.family == "raw"]
    if not after or not before:
        return None
    return score(difference(worst_of(after).test, worst_of(before).test), clusters=clusters)


def _beyond(
    found: Sequence[Tried], floors: dict[str, Statistic], clusters: IntArray
) -> Score | None:
    informed = [one for one in found if one.candidate.family == "prior"]
    if not informed or "action prior" not in floors:
        return None
    return score(difference(informed[0].test, floors["action prior"]), clusters=clusters)


def _f_half(action: float | None, privacy: Score) -> float | None:
    if action is None or privacy.value is None:
        return None
    return f_lambda(action, privacy.value)


def _cut(answers: Answers, mask: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
    return {label: p[mask] for label, p in answers.items()}


def _cut_sheet(sheet: Sheet, mask: NDArray[np.bool_]) -> Sheet:
    return Sheet(
        rows=sheet.rows[mask],
        fold=sheet.fold[mask],
        codes={label: codes[mask] for label, codes in sheet.codes.items()},
        rates=_cut(sheet.rates, mask),
        priors=_cut(sheet.priors, mask),
        actions=sheet.actions[mask],
        tables=sheet.tables,
        overall=sheet.overall,
    )

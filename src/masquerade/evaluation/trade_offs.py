"""f_lambda of an action and a private label over clips that both, or one of them, are scored on.

Ilic et al. (CVPR 2024, equation 6): (1 - lambda) action + lambda (1 - privacy). The action and a
label are often scored on other clips, such as those of unseen people and those of known ones; the
interval is over the people of both, and of trained methods over their runs too.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation.metric_specs import of_known
from masquerade.evaluation.results import TradeOff
from masquerade.metrics.intervals import ROUNDING, Score, jackknife, score_over_runs
from masquerade.metrics.leakage import least_counted
from masquerade.metrics.statistic import Floats, Statistic, any_labelled, values_left_out


class Scored(NamedTuple):
    """A score on some clips of a manifest."""

    test: Statistic
    runs: Sequence[Statistic]  # the same of single training runs, where there are several
    rows: IntArray  # of the manifest, of each of its clips
    groups: IntArray  # of people, of each


def check_weights(weights: Sequence[float]) -> None:
    """Refuse what is no weight of privacy."""
    if not all(0 <= weight <= 1 for weight in weights):
        raise UsageError("--lambdas takes weights of privacy from 0 to 1, such as 0,0.5,1.")


def trade_offs(
    action: Scored, private: Scored, weights: Sequence[float], *, metric: str
) -> tuple[TradeOff, ...]:
    """f_lambda at these weights, with intervals over groups and training runs.

    At the weights 0 and 1 it is the score of the action, and of the private label, alone. A private
    score, of this metric, counts as no less than chance (`least_counted`).
    """
    rows, first = np.unique(np.concatenate([action.rows, private.rows]), return_index=True)
    groups = np.concatenate([action.groups, private.groups])[first]
    told, read = (
        score_over_runs(one.test, one.runs, clusters=one.groups) for one in (action, private)
    )
    kept, leaked = (_of_rows(one, rows) for one in (action, private))
    least = least_counted(metric)
    spread = np.abs(jackknife([kept.test, leaked.test], clusters=groups).influence).max(axis=1)

    def over_runs(weight: float) -> Score:
        if weight == 0:
            return told
        if weight == 1 and read.value is not None and read.value >= least:
            return _one_minus(read, least)
        # the mean private score counts as no less than chance, but that of a single run as it is:
        # runs below chance would all count as chance, and seem to agree
        both = zip(kept.runs, leaked.runs, strict=True)
        runs = [_f(weight, *each, 0.0) for each in both]
        counted, plain = (
            score_over_runs(_f(weight, kept.test, leaked.test, one), runs, clusters=groups)
            for one in (least, 0.0)
        )
        # a score below chance counts as chance whoever is left out of the jackknife, which would
        # give an interval of no width: the lower end is that of the score as it is, if lower
        low = min((one.low for one in (counted, plain) if one.low is not None), default=None)
        found = replace(counted, low=low)
        if (spread <= ROUNDING).any():  # the jackknife takes it for known exactly
            found = _with_own_ends(found, told, _one_minus(read, least), weight)
        highest = 1 - weight * least  # of an action that is always told
        return replace(found, high=None if found.high is None else min(found.high, highest))

    return tuple(TradeOff(weight=weight, score=over_runs(weight)) for weight in weights)


def _of_rows(one: Scored, rows: IntArray) -> Scored:
    """The same scores as statistics of all rows, whose values without a group are kept."""
    places = np.searchsorted(rows, one.rows)

    def of_rows(statistic: Statistic) -> Statistic:
        found = of_known(statistic, places, len(rows))
        return replace(found, left_out=partial(values_left_out, found))

    return one._replace(test=of_rows(one.test), runs=tuple(map(of_rows, one.runs)))


def _f(weight: float, kept: Statistic, leaked: Statistic, least: float) -> Statistic:
    """f_lambda of two statistics of the same rows, a private score counting as no less."""

    def f(action: Floats, private: Floats) -> Floats:
        return (1 - weight) * action + weight * (1 - np.maximum(private, least))

    return Statistic(
        kept.n,
        lambda w: f(kept.weighted(w), leaked.weighted(w)),
        left_out=lambda codes: f(values_left_out(kept, codes), values_left_out(leaked, codes)),
        labelled=any_labelled([kept, leaked]),
    )


def _one_minus(read: Score, least: float) -> Score:
    """1 minus a private score, which counts as `least` (chance) where it is less."""
    value, high, low = (
        None if one is None else 1 - max(one, least) for one in (read.value, read.low, read.high)
    )
    return replace(read, value=value, low=low, high=high)


def _margins(score: Score) -> tuple[float, float]:
    """How far the ends of an interval lie below and above its value; 0 where it is undefined."""
    if score.value is None or score.low is None or score.high is None:
        return 0.0, 0.0
    return score.value - score.low, score.high - score.value


def _with_own_ends(found: Score, told: Score, hidden: Score, weight: float) -> Score:
    """An interval of f_lambda that reaches at least as far as those of its two parts together.

    A part at 0 or 1 has an interval, though no spread from group to group. So it does not go with
    the other part, and the squares of both margins are added.
    """
    if found.value is None or found.low is None or found.high is None:
        return found
    below, above = (
        math.hypot((1 - weight) * action, weight * private)
        for action, private in zip(_margins(told), _margins(hidden), strict=True)
    )
    low, high = min(found.low, found.value - below), max(found.high, found.value + above)
    return replace(found, low=max(0.0, low), high=high)

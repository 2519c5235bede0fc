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
    action_score, private_score = (
        score_over_runs(scored.test, scored.runs, clusters=scored.groups)
        for scored in (action, private)
    )
    joint_action, joint_private = (_of_rows(scored, rows) for scored in (action, private))
    least = least_counted(metric)
    spread = np.abs(
        jackknife([joint_action.test, joint_private.test], clusters=groups).influence
    ).max(axis=1)

    def over_runs(weight: float) -> Score:
        if weight == 0:
            return action_score
        if weight == 1 and private_score.value is not None and private_score.value >= least:
            return _one_minus(private_score, least)
        # the mean private score counts as no less than chance, but that of a single run as it is:
        # runs below chance would all count as chance, and seem to agree
        both = zip(joint_action.runs, joint_private.runs, strict=True)
        runs = [_f(weight, *pair, 0.0) for pair in both]
        counted, plain = (
            score_over_runs(
                _f(weight, joint_action.test, joint_private.test, lowest), runs, clusters=groups
            )
            for lowest in (least, 0.0)
        )
        # a score below chance counts as chance whoever is left out of the jackknife, which would
        # give an interval of no width: the lower end is that of the score as it is, if lower
        low = min((s.low for s in (counted, plain) if s.low is not None), default=None)
        result = replace(counted, low=low)
        if (spread <= ROUNDING).any():  # the jackknife takes it for known exactly
            result = _with_own_ends(result, action_score, _one_minus(private_score, least), weight)
        highest = 1 - weight * least  # of an action that is always told
        return replace(result, high=None if result.high is None else min(result.high, highest))

    return tuple(TradeOff(weight=weight, score=over_runs(weight)) for weight in weights)


def _of_rows(scored: Scored, rows: IntArray) -> Scored:
    """The same scores as statistics of all rows, whose values without a group are kept."""
    places = np.searchsorted(rows, scored.rows)

    def of_rows(statistic: Statistic) -> Statistic:
        of_all = of_known(statistic, places, len(rows))
        return replace(of_all, left_out=partial(values_left_out, of_all))

    return scored._replace(test=of_rows(scored.test), runs=tuple(map(of_rows, scored.runs)))


def _f(weight: float, action_score: Statistic, private_score: Statistic, least: float) -> Statistic:
    """f_lambda of two statistics of the same rows, a private score counting as no less."""

    def f(action: Floats, private: Floats) -> Floats:
        return (1 - weight) * action + weight * (1 - np.maximum(private, least))

    return Statistic(
        action_score.n,
        lambda w: f(action_score.weighted(w), private_score.weighted(w)),
        left_out=lambda codes: f(
            values_left_out(action_score, codes), values_left_out(private_score, codes)
        ),
        labelled=any_labelled([action_score, private_score]),
    )


def _one_minus(read: Score, least: float) -> Score:
    """1 minus a private score, which counts as `least` (chance) where it is less."""
    value, high, low = (
        None if x is None else 1 - max(x, least) for x in (read.value, read.low, read.high)
    )
    return replace(read, value=value, low=low, high=high)


def _margins(score: Score) -> tuple[float, float]:
    """How far the ends of an interval lie below and above its value; 0 where it is undefined."""
    if score.value is None or score.low is None or score.high is None:
        return 0.0, 0.0
    return score.value - score.low, score.high - score.value


def _with_own_ends(result: Score, action_score: Score, hidden: Score, weight: float) -> Score:
    """An interval of f_lambda that reaches at least as far as those of its two parts together.

    A part at 0 or 1 has an interval, though no spread from group to group. So it does not go with
    the other part, and the squares of both margins are added.
    """
    if result.value is None or result.low is None or result.high is None:
        return result
    below, above = (
        math.hypot((1 - weight) * action, weight * private)
        for action, private in zip(_margins(action_score), _margins(hidden), strict=True)
    )
    low, high = min(result.low, result.value - below), max(result.high, result.value + above)
    return replace(result, low=max(0.0, low), high=high)

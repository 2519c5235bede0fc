"""f_lambda of an action and a private label over clips that both, or one of them, are scored on.

Ilic et al. (CVPR 2024, equation 6): (1 - lambda) action + lambda (1 - privacy). The action and a
label are often scored on other clips, such as those of unseen people and those of known ones; the
interval is over the people of both, and of trained methods over their runs too.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation.results import TradeOff
from masquerade.metrics.intervals import Score, score_over_runs
from masquerade.metrics.leakage import least_counted
from masquerade.metrics.statistic import Floats, Statistic


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

    A private score, of this metric, counts as no less than chance (`least_counted`).
    """
    rows, first = np.unique(np.concatenate([action.rows, private.rows]), return_index=True)
    groups = np.concatenate([action.groups, private.groups])[first]
    places = [np.searchsorted(rows, one.rows) for one in (action, private)]

    def f(weight: float, kept: Statistic, leaked: Statistic, least: float) -> Statistic:
        def weighted(w: Floats) -> Floats:
            utility = kept.weighted(w[:, places[0]])
            read = np.maximum(leaked.weighted(w[:, places[1]]), least)
            return (1 - weight) * utility + weight * (1 - read)

        return Statistic(len(rows), weighted)

    def over_runs(weight: float) -> Score:
        # the mean private score counts as no less than chance, but that of a single run as it is:
        # runs below chance would all count as chance, and seem to agree
        runs = [f(weight, *both, 0.0) for both in zip(action.runs, private.runs, strict=True)]
        counted, plain = (
            score_over_runs(f(weight, action.test, private.test, least), runs, clusters=groups)
            for least in (least_counted(metric), 0.0)
        )
        # a score below chance counts as chance whoever is left out of the jackknife, which would
        # give an interval of no width: the lower end is that of the score as it is, if lower
        ends = [one.low for one in (counted, plain) if one.low is not None]
        highest = 1 - weight * least_counted(metric)  # of an action that is always told
        high = None if counted.high is None else min(counted.high, highest)
        return replace(counted, low=min(ends, default=None), high=high)

    return tuple(TradeOff(weight=weight, score=over_runs(weight)) for weight in weights)

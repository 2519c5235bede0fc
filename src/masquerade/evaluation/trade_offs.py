"""f_lambda of an action and a private label over clips that both, or one of them, are scored on.

Ilic et al. (CVPR 2024, equation 6): (1 - lambda) action + lambda (1 - privacy). The action and a
label are often scored on other clips, such as those of unseen people and those of known ones; the
interval is over the people of both.
"""

from collections.abc import Sequence

import numpy as np

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation.results import TradeOff
from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import Floats, Statistic

Scored = tuple[Statistic, IntArray, IntArray]
"""A score, and the row and the group of each of its clips."""


def check_weights(weights: Sequence[float]) -> None:
    """Refuse what is no weight of privacy."""
    if not all(0 <= weight <= 1 for weight in weights):
        raise UsageError("--lambdas takes weights of privacy from 0 to 1, such as 0,0.5,1.")


def trade_offs(
    action: Scored, private: Scored, weights: Sequence[float], *, least: float
) -> tuple[TradeOff, ...]:
    """f_lambda at these weights, with intervals over groups.

    A private score below `least`, which is chance, counts as that: who knows would turn it around.
    """
    rows, first = np.unique(np.concatenate([action[1], private[1]]), return_index=True)
    groups = np.concatenate([action[2], private[2]])[first]
    places = [np.searchsorted(rows, one[1]) for one in (action, private)]

    def f(weight: float) -> Statistic:
        def weighted(w: Floats) -> Floats:
            utility = action[0].weighted(w[:, places[0]])
            read = np.maximum(private[0].weighted(w[:, places[1]]), least)
            return (1 - weight) * utility + weight * (1 - read)

        return Statistic(len(rows), weighted)

    return tuple(
        TradeOff(weight=weight, score=score(f(weight), clusters=groups)) for weight in weights
    )

"""Predictions corrected for what an attacker knows besides the clip: base rates and the action."""

from collections.abc import Sequence

import numpy as np

from masquerade.evaluation.ground_truth import Probabilities, SplitTruth
from masquerade.metrics.statistic import Floats

LEAST = 1e-4  # a probability of 0 is of what was never seen, not of what cannot be
FURTHEST = 4.0  # log odds that a recalibration moves: beyond it, sure predictions would turn
DOUBT = 0.25  # weight of the training rate in the action prior that is added to predictions


def recalibrate(
    probabilities: Floats, on_train: Floats, rate: Floats, *, multi_label: bool = False
) -> Floats:
    """Predictions with a bias on each class, so that their mean in train is the training rate.

    Args:
        probabilities: (n, C) to correct.
        on_train: (m, C) of the same network for the anonymized training clips, whose labels it does
            not need.
        rate: (C,) of the training labels.
        multi_label: several values a clip, each with a probability of its own.
    """
    bias = np.zeros(on_train.shape[1])
    if multi_label:  # the log odds of each value are moved by themselves
        odds = log_odds(on_train)
        for _ in range(50):
            mean = (1 / (1 + np.exp(-odds - bias))).mean(axis=0)
            bias = np.clip(bias + log_odds(rate) - log_odds(mean), -FURTHEST, FURTHEST)
        return np.asarray(1 / (1 + np.exp(-log_odds(probabilities) - bias)))
    logs, wanted = np.log(_safe(on_train)), _safe(rate)
    for _ in range(50):
        mean = _normalise(np.exp(logs + bias)).mean(axis=0)
        bias = np.clip(bias + np.log(wanted) - np.log(_safe(mean)), -FURTHEST, FURTHEST)
    return _normalise(np.exp(np.log(_safe(probabilities)) + bias))


def add_action_prior(
    probabilities: Probabilities, truth: SplitTruth, weight: float
) -> dict[str, Floats]:
    """Predictions of an attacker that knows the true action too: the prior's log odds are added."""
    found = {}
    for label, p in probabilities.items():
        rate = truth.rates[label]
        # Few clips of an action: what was never seen with it is rare, not impossible.
        prior = (1 - DOUBT) * truth.priors[label] + DOUBT * rate
        if truth.labels[label].ndim == 2:
            moved = log_odds(p) + weight * (log_odds(prior) - log_odds(rate))
            found[label] = 1 / (1 + np.exp(-moved))
            continue
        gained = np.log(_safe(prior)) - np.log(_safe(rate))
        found[label] = _normalise(np.exp(np.log(_safe(p)) + weight * gained))
    return found


def mean_probabilities(parts: Sequence[Probabilities]) -> dict[str, Floats]:
    """The mean of several networks' predictions of the same labels and clips."""
    return {label: np.mean([one[label] for one in parts], axis=0) for label in parts[0]}


def log_odds(p: Floats) -> Floats:
    """The logarithm of p / (1 - p), bounded where p is 0 or 1."""
    return np.asarray(np.log(_safe(p)) - np.log(_safe(1 - p)))


def _safe(p: Floats) -> Floats:
    return np.clip(p, LEAST, None)


def _normalise(p: Floats) -> Floats:
    return p / p.sum(axis=-1, keepdims=True)

"""Correct predictions for base rates, and for the action where the attacker knows it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from masquerade.evaluation.ground_truth import Probabilities, SplitTruth
from masquerade.evaluation.predictions import ByLabel
from masquerade.metrics.statistic import Floats

MIN_PROBABILITY = 1e-4  # of what was never seen in train, so that its logarithm is finite
MAX_BIAS = 4.0  # log odds of a recalibration: beyond it, sure predictions would turn
ROWS = 4096  # clips whose log odds are computed at once, of data sets that have thousands of labels
SMOOTHING = 0.25  # weight of the training rate in the action prior that is added to predictions


def recalibrate(
    probabilities: Floats, on_train: Floats, rate: Floats, *, multi_label: bool = False
) -> Floats:
    """Predictions (n, C) with a bias on each class, so that in train their mean is `rate` (C,).

    `on_train` (m, C) are of the same network for the anonymized training clips, whose labels it
    does not need.
    """
    logit, probability = link_functions(multi_label)
    logits, target = logit(on_train), logit(rate)
    bias = np.zeros(on_train.shape[1])
    for _ in range(50):
        mean = probability(logits + bias).mean(axis=0)
        bias = np.clip(bias + target - logit(mean), -MAX_BIAS, MAX_BIAS)
    return probability(logit(probabilities) + bias)


def add_action_prior(
    probabilities: Probabilities, truth: SplitTruth, weight: float
) -> Probabilities:
    """Predictions of an attacker that knows the true action too: the prior's log odds are added."""

    def add(label: str) -> Floats:
        p = probabilities[label]
        logit, probability = link_functions(truth.labels[label].ndim == 2)
        informed = np.empty(p.shape)
        for start in range(0, len(p), ROWS):
            rows = slice(start, start + ROWS)
            block = truth if len(p) <= ROWS else truth.at(rows)  # whose priors are kept
            rate = block.rates[label]
            # Few clips of an action: what was never seen with it is rare, not impossible.
            prior = (1 - SMOOTHING) * block.priors[label] + SMOOTHING * rate
            informed[rows] = probability(logit(p[rows]) + weight * (logit(prior) - logit(rate)))
        return informed

    return ByLabel(probabilities, add)


def mean_probabilities(parts: Sequence[Probabilities]) -> Probabilities:
    """The mean of several networks' predictions of the same labels and clips."""

    # Summed one at a time: predictions of thousands of classes are a gigabyte each.
    def mean(label: str) -> Floats:
        total = np.array(parts[0][label], np.float64)
        for part in parts[1:]:
            total += part[label]
        total /= len(parts)
        return total

    return ByLabel(parts[0], mean)


def log_odds(p: Floats) -> Floats:
    """The logarithm of p / (1 - p), bounded where p is 0 or 1."""
    return _logs(p) - _logs(1 - p)


def beyond_rate(p: Floats, rate: Floats) -> Floats:
    """How far the log odds of predictions lie above those of the training rate.

    Where all training clips had one value, nothing was learned, and it is 0. Such a rate and what
    is predicted are bounded differently: what is between them would tell folds apart.
    """
    return np.where(is_learned(rate), log_odds(p) - log_odds(rate), 0.0)


def is_learned(rate: Floats) -> NDArray[np.bool_]:
    """Whether training clips had both values of what they have at these rates."""
    return np.asarray((rate > 0) & (rate < 1))


def link_functions(
    multi_label: bool,
) -> tuple[Callable[[Floats], Floats], Callable[[Floats], Floats]]:
    """From probabilities to logits, and back: of each value by itself, or of one among classes."""
    return (log_odds, sigmoid) if multi_label else (_logs, softmax)


def _logs(p: Floats) -> Floats:
    return np.asarray(np.log(np.clip(p, MIN_PROBABILITY, None)))


def sigmoid(logits: Floats) -> Floats:
    """The probability of log odds."""
    return np.asarray(1 / (1 + np.exp(-logits)))


def softmax(logits: Floats) -> Floats:
    """The probabilities (n, C) of logits."""
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True)

"""Trivial attackers: they see no video, only training labels and, at most, the action.

Each gives scores for the test videos, so that every metric and interval applies to it as to any
attacker. A class label of C values is C columns of 0 and 1 (`one_hot`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masquerade.errors import UsageError
from masquerade.metrics.classification import THRESHOLDS, Undefined, precision_area, roc_area
from masquerade.metrics.statistic import (
    Floats,
    Ints,
    Statistic,
    binary,
    mean,
    mean_of_defined,
    numbers,
    ratio,
    same_length,
    whole,
)

Area = Callable[[Floats, Floats], Floats]


def one_hot(labels: ArrayLike, *, classes: int) -> Floats:
    """Class numbers as columns of 0 and 1.

    Args:
        labels: (n,) in 0 .. classes - 1.
        classes: C.
    """
    y = whole(labels)
    if len(y) and y.max() >= classes:
        raise UsageError(f"A label is beyond the {classes} classes.")
    return np.eye(classes)[y]


def constant(train_labels: ArrayLike, videos: int) -> Floats:
    """The training rate of each attribute, for every test video alike: (videos, P).

    Args:
        train_labels: (n, P) 0 or 1.
        videos: number of test videos.
    """
    y = binary(train_labels, dimensions=2)
    if not len(y):
        raise UsageError("A floor needs training labels to count; there are none.")
    return np.tile(y.mean(axis=0), (videos, 1))


@dataclass(frozen=True)
class ActionPrior:
    """The training rate of each attribute within each action.

    Args:
        actions: (A,) sorted names or numbers.
        rates: (A, P).
        overall: (P,), for an action that the training split does not have.
    """

    actions: NDArray[Any]
    rates: Floats
    overall: Floats

    def scores(self, actions: ArrayLike) -> Floats:
        """The rates of the given actions, true or predicted: (m, P).

        Args:
            actions: (m,).
        """
        names = np.asarray(actions)
        found = np.minimum(np.searchsorted(self.actions, names), len(self.actions) - 1)
        known = self.actions[found] == names
        return np.where(known[:, None], self.rates[found], self.overall)


def action_prior(train_labels: ArrayLike, train_actions: ArrayLike) -> ActionPrior:
    """Count the attributes of each action.

    Args:
        train_labels: (n, P) 0 or 1.
        train_actions: (n,) names or numbers.
    """
    y, names = binary(train_labels, dimensions=2), np.asarray(train_actions)
    same_length(y, names)
    if not len(y):
        raise UsageError("A floor needs training labels to count; there are none.")
    actions, codes = np.unique(names, return_inverse=True)
    counts = np.bincount(codes)
    sums = np.zeros((len(actions), y.shape[1]))
    np.add.at(sums, codes, y)
    return ActionPrior(actions, sums / counts[:, None], y.mean(axis=0))


def uniform_errors(actions: int, *, accuracy: float) -> Floats:
    """The confusion of a recognizer that is right so often and otherwise wrong at random: (A, A).

    Args:
        actions: A.
        accuracy: in [0, 1].
    """
    if not 0 <= accuracy <= 1:
        raise UsageError("An accuracy lies in [0, 1].")
    if actions == 1:
        return np.ones((1, 1))
    confusion = np.full((actions, actions), (1 - accuracy) / (actions - 1))
    np.fill_diagonal(confusion, accuracy)
    return confusion


@dataclass(frozen=True)
class PredictedPrior:
    """The action prior of a recognizer known by its confusion, by expected counts, without draws.

    Args:
        rates: (K, P), what each predicted action says.
        chances: (m, K), how likely each test video is to be called that action.
        labels: (m, P) of the test videos.
    """

    rates: Floats
    chances: Floats
    labels: Floats

    def cmap(self, *, undefined: Undefined = "skip") -> Statistic:
        """Class-wise mean average precision, as `classification.cmap`."""
        return self._by_rank(lambda hits, total: precision_area(hits, total, undefined=undefined))

    def mean_auroc(self) -> Statistic:
        """AUROC averaged over attributes."""
        return self._by_rank(roc_area)

    def f1(self, *, threshold: ArrayLike = THRESHOLDS["default"]) -> Statistic:
        """Class-wise F1, as `classification.f1`.

        Args:
            threshold: one number, or (P,).
        """
        yes = self.chances @ (self.rates > np.asarray(threshold))  # (m, P)
        both = self.labels * yes

        def of(weights: Floats) -> Floats:
            return mean_of_defined(
                ratio(2 * (weights @ both), weights @ self.labels + weights @ yes).T
            )

        return Statistic(len(self.labels), of)

    def top_1(self) -> Statistic:
        """Accuracy of the likeliest class of the predicted action; for one-hot labels."""
        guess = np.eye(self.rates.shape[1])[self.rates.argmax(axis=1)]  # (K, P)
        return mean(np.clip((self.labels * (self.chances @ guess)).sum(axis=1), 0.0, 1.0))

    def _by_rank(self, area: Area) -> Statistic:
        def of(weights: Floats) -> Floats:
            total = weights @ self.chances  # (B, K)
            values = []
            for j in range(self.rates.shape[1]):
                hits = (weights * self.labels[:, j]) @ self.chances
                order = np.argsort(-self.rates[:, j], kind="stable")
                ranked = self.rates[order, j]
                ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)
                counts = (np.cumsum(c[:, order], axis=1)[:, ends] for c in (hits, total))
                values.append(area(*counts))
            return mean_of_defined(np.stack(values))

        return Statistic(len(self.labels), of)


def predicted_prior(
    prior: ActionPrior, test_labels: ArrayLike, test_actions: ArrayLike, *, confusion: ArrayLike
) -> PredictedPrior:
    """What the action prior gets from a recognizer that errs as its confusion says.

    Where each video's predicted action is known, use `prior.scores(predicted)` instead.

    Args:
        prior: counted on the training split.
        test_labels: (m, P) 0 or 1.
        test_actions: (m,) true actions, all of them among the prior's.
        confusion: (A, A), rows true, columns predicted, in the prior's order; rows sum to 1.
    """
    c, y = numbers(confusion, "confusion", dimensions=2), binary(test_labels, dimensions=2)
    names = np.asarray(test_actions)
    same_length(y, names)
    size = len(prior.actions)
    if c.shape != (size, size) or not np.allclose(c.sum(axis=1), 1) or (c < 0).any():
        raise UsageError(f"The confusion must be {size} x {size} with rows that sum to 1.")
    if not np.isin(names, prior.actions).all():
        raise UsageError("A test action is not among the training actions of the confusion.")
    return PredictedPrior(prior.rates, c[np.searchsorted(prior.actions, names)], y)


def tuned_thresholds(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """The threshold of each attribute whose F1 is best on these (training) videos: (P,).

    `classification.f1` says yes strictly above it. Of equally good ones the lowest.

    Args:
        labels: (n, P) 0 or 1.
        scores: (n, P).
    """
    y, s = binary(labels, dimensions=2), numbers(scores, "scores", dimensions=2)
    same_length(y, s)
    return np.array([_best_threshold(y[:, j], s[:, j]) for j in range(y.shape[1])])


def _best_threshold(y: Floats, s: Floats) -> float:
    order = np.argsort(s, kind="stable")[::-1]
    ends = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    hits = np.cumsum(y[order])[ends]
    f1 = 2 * hits / (ends + 1 + max(float(y.sum()), 1.0))
    best: Ints = np.flatnonzero(f1 == f1.max())
    return float(np.nextafter(s[order][ends[best[-1]]], -np.inf))

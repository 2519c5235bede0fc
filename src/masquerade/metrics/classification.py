"""Scores of what was recognised: actions, attributes, classes.

Each metric is a `Statistic`; `.value` is the number and `intervals.score` gives its interval.
Scores may be any real numbers that rank the videos; only `f1` and `top_k` read them otherwise.
Infinite scores rank as they should; NaN raises. Definitions: STPrivacy (ICCV 2023, 4.2), SPAct
(CVPR 2022, 4.2 and its code), and scikit-learn's where it has the same name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from masquerade.errors import UsageError
from masquerade.metrics.statistic import (
    Floats,
    Ints,
    Statistic,
    average,
    binary,
    mean,
    mean_of_defined,
    numbers,
    ratio,
    same_length,
    whole,
)

Undefined = Literal["skip", "sklearn"]
"""What a class without positives (or negatives) does to a mean over classes: left out, which is
ours, or counted as scikit-learn counts it, which looks like privacy."""

THRESHOLDS = {"default": 0.5, "spact-code": 1.0 / (1.0 + np.exp(-0.5))}
"""Above which probability F1 says yes. SPAct's code compares raw logits with .5."""


def probabilities(
    logits: ArrayLike, *, kind: Literal["softmax", "sigmoid"], average: str = "probabilities"
) -> Floats:
    """Probabilities of each video: the mean over its views.

    Args:
        logits: (n, V, C), V views of each of n videos.
        kind: `softmax` for one class of C, `sigmoid` for C attributes.
        average: `probabilities` (STPrivacy, SPAct) or `logits`, before the nonlinearity.
    """
    x = numbers(logits, "logits", dimensions=3)
    if average not in ("probabilities", "logits"):
        raise UsageError("Views are averaged as `probabilities` or as `logits`.")
    if average == "logits":
        x = x.mean(axis=1, keepdims=True)  # (n, 1, C)
    if kind == "sigmoid":
        p = 0.5 * (1.0 + np.tanh(0.5 * x))  # does not overflow
    else:
        p = np.exp(x - x.max(axis=2, keepdims=True))
        p /= p.sum(axis=2, keepdims=True)
    return p.mean(axis=1)  # (n, C)


def rank_of_truth(labels: ArrayLike, scores: ArrayLike) -> Ints:
    """The place, from 0, of the true class among the scores; ties go to the lowest index.

    Args:
        labels: (n,) class numbers.
        scores: (n, C).
    """
    y, s = whole(labels), numbers(scores, "scores", dimensions=2)
    same_length(y, s)
    if len(y) and y.max() >= s.shape[1]:
        raise UsageError("A label is beyond the last column of the scores.")
    own = np.take_along_axis(s, y[:, None], axis=1)  # (n, 1)
    earlier = np.arange(s.shape[1]) < y[:, None]
    return ((s > own) | ((s == own) & earlier)).sum(axis=1)


def top_k(labels: ArrayLike, scores: ArrayLike, *, k: int = 1) -> Statistic:
    """How often the true class is among the k best scores; ties go to the lowest index.

    Args:
        labels: (n,) class numbers.
        scores: (n, C).
        k: at least 1.
    """
    if k < 1:
        raise UsageError("Top-k needs a k of 1 or more.")
    return mean(rank_of_truth(labels, scores) < k)


def balanced_accuracy(labels: ArrayLike, predicted: ArrayLike) -> Statistic:
    """The mean over classes of how often each is recognised; classes not there are left out.

    Args:
        labels: (n,) class numbers.
        predicted: (n,) class numbers.
    """
    y, p = whole(labels), whole(predicted, "predictions")
    same_length(y, p)
    member = np.eye(int(y.max(initial=0)) + 1)[y]  # (n, C)
    right = member * (y == p)[:, None]
    there = np.bincount(y)
    rarer = y == np.argmin(np.where(there > 0, there, len(y) + 1)) if len(y) else None
    return Statistic(len(y), lambda w: mean_of_defined(ratio(w @ right, w @ member).T), rarer=rarer)


def auroc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Area under the ROC curve, ties counted half; nan with one class only. Floor: .5.

    Args:
        labels: (n,) 0 or 1.
        scores: (n,).
    """
    order, ends, y = _ranking(labels, scores)
    return _of_ranking(order, ends, y, roc_area)


def average_precision(
    labels: ArrayLike, scores: ArrayLike, *, undefined: Undefined = "skip"
) -> Statistic:
    """Precision averaged over recall, one step for each distinct score, not interpolated.

    A constant score gives the rate of positives. Without positives or without negatives it is
    nan; `sklearn` makes that 0 and 1.

    Args:
        labels: (n,) 0 or 1.
        scores: (n,).
        undefined: see `Undefined`.
    """
    order, ends, y = _ranking(labels, scores)
    return _of_ranking(order, ends, y, lambda h, t: precision_area(h, t, undefined=undefined))


def roc_area(hits: Floats, total: Floats) -> Floats:
    """AUROC from counts, best score first.

    Args:
        hits: (B, K) positives at or above each distinct score.
        total: (B, K) videos at or above it.
    """
    false = total - hits
    # A step right under the curve: its width times the mean of its two heights.
    width = np.diff(false, axis=1, prepend=0.0)
    height = hits - 0.5 * np.diff(hits, axis=1, prepend=0.0)
    return ratio((width * height).sum(axis=1), hits[:, -1] * false[:, -1])


def precision_area(hits: Floats, total: Floats, *, undefined: Undefined = "skip") -> Floats:
    """Average precision from counts, best score first.

    Args:
        hits: (B, K) positives at or above each distinct score.
        total: (B, K) videos at or above it.
        undefined: see `Undefined`.
    """
    precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    value = ratio((gained * precision).sum(axis=1), hits[:, -1])
    if undefined == "sklearn":
        return np.where(hits[:, -1] == 0, 0.0, value)
    return np.where(hits[:, -1] == total[:, -1], np.nan, value)


def cmap(labels: ArrayLike, scores: ArrayLike, *, undefined: Undefined = "skip") -> Statistic:
    """Class-wise mean average precision; `classes_scored` counts what went into it.

    Args:
        labels: (n, P) 0 or 1.
        scores: (n, P).
        undefined: see `Undefined`.
    """
    y, s = _columns(labels, scores)
    columns = range(y.shape[1])
    return average([average_precision(y[:, j], s[:, j], undefined=undefined) for j in columns])


def mean_auroc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """AUROC averaged over attributes; those with one class only are left out.

    Args:
        labels: (n, P) 0 or 1.
        scores: (n, P).
    """
    y, s = _columns(labels, scores)
    return average([auroc(y[:, j], s[:, j]) for j in range(y.shape[1])])


def classes_scored(labels: ArrayLike) -> int:
    """How many attributes have both a positive and a negative, and so an AP and an AUROC.

    Args:
        labels: (n, P) 0 or 1.
    """
    y = binary(labels, dimensions=2)
    return int((y.any(axis=0) & ~y.all(axis=0)).sum())


def f1(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = THRESHOLDS["default"],
    undefined: Undefined | Literal["one class"] = "skip",
) -> Statistic:
    """Class-wise F1: 2TP / (2TP + FP + FN) of each attribute, then their mean.

    An attribute without positives and without predictions is undefined and left out; `sklearn`
    makes it 0. Always read it beside `floors`' all-positive guess, which is often better. Whether
    it is undefined hangs on the predictions, so that an attacker and its floor may be means over
    different attributes; `one class` leaves out those that AUROC and average precision leave out.

    Args:
        labels: (n, P) 0 or 1.
        scores: (n, P); what lies strictly above the threshold is a yes.
        threshold: one number, or (P,); `THRESHOLDS` has the published ones for probabilities.
        undefined: see `Undefined`; or `one class`.
    """
    y, s = _columns(labels, scores)
    yes = (s > np.broadcast_to(np.asarray(threshold, dtype=np.float64), s.shape[1:])) * 1.0
    both = y * yes

    def of(weights: Floats) -> Floats:
        value = ratio(2 * (weights @ both), weights @ y + weights @ yes)  # (B, P)
        if undefined == "sklearn":
            value = np.nan_to_num(value)
        if undefined == "one class":
            value = np.where((weights @ y > 0) & (weights @ (1 - y) > 0), value, np.nan)
        return mean_of_defined(value.T)

    there = y.sum(axis=0)
    rarest = int(np.argmin(np.where(there > 0, there, np.inf)))
    return Statistic(len(y), of, rarer=y[:, rarest] == 1)


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """Binary cross entropy in nats, over all videos and attributes.

    Args:
        labels: (n, P) 0 or 1.
        scores: (n, P) probabilities.
    """
    y, p = _columns(labels, scores)
    likelihood = np.where(y == 1, p, 1 - p)
    return float(np.inf) if (likelihood <= 0).any() else float(-np.log(likelihood).mean())


def _columns(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    y, s = binary(labels, dimensions=2), numbers(scores, "scores", dimensions=2)
    if y.shape != s.shape or not y.shape[1]:
        raise UsageError("Labels and scores must both be videos x attributes.")
    return y, s


def _ranking(labels: ArrayLike, scores: ArrayLike) -> tuple[Ints, Ints, Floats]:
    """Best first: the order, where each run of equal scores ends, and the labels so ordered."""
    y, s = binary(labels, dimensions=1), numbers(scores, "scores", dimensions=1)
    same_length(y, s)
    if not len(s):
        raise UsageError("There is no video to score.")
    order = np.argsort(-s, kind="stable")
    ranked = s[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(s) - 1)
    return order, ends, y[order]


def _of_ranking(
    order: Ints, ends: Ints, y: Floats, area: Callable[[Floats, Floats], Floats]
) -> Statistic:
    def of(weights: Floats) -> Floats:
        w = weights[:, order]
        hits, total = np.cumsum(w * y, axis=1)[:, ends], np.cumsum(w, axis=1)[:, ends]
        return area(hits, total)

    rarer = np.empty(len(y), dtype=bool)
    rarer[order] = y == (1.0 if 2 * y.sum() <= len(y) else 0.0)
    return Statistic(len(y), of, rarer=rarer)

"""Classification metrics: top-k and balanced accuracy, AUROC, average precision, cMAP, F1.

Each metric is a `Statistic`; `.value` is the number and `intervals.score` gives its interval.
Scores may be any real numbers that rank the videos, infinite ones included; NaN raises. Binary
metrics take labels of 0 or 1 and scores, both (n,) or both (n, P). Definitions are those of
STPrivacy (ICCV 2023, 4.2), SPAct (CVPR 2022, 4.2 and its code), and scikit-learn where it has the
same name.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from masquerade.errors import UsageError
from masquerade.metrics.statistic import (
    Floats,
    Ints,
    Statistic,
    binary_labels,
    class_numbers,
    float_array,
    mean,
    mean_of_defined,
    ratio,
    same_length,
)

Undefined = Literal["skip", "sklearn"]
"""A class without positives (or negatives) in a mean over classes: left out, or counted as
scikit-learn counts it, as 0 where the attacker cannot score, which looks like privacy."""

THRESHOLDS = {"default": 0.5, "spact-code": 1.0 / (1.0 + np.exp(-0.5))}
"""Probabilities above which F1 predicts a positive. SPAct's code compares raw logits with .5."""


def rank_of_truth(labels: ArrayLike, scores: ArrayLike) -> Ints:
    """Rank, from 0, of each true class (n,) among scores (n, C); ties go to the lowest index."""
    y, s = class_numbers(labels), float_array(scores, "scores", dimensions=2)
    same_length(y, s)
    if len(y) and y.max() >= s.shape[1]:
        raise UsageError("A label is beyond the last column of the scores.")
    own = np.take_along_axis(s, y[:, None], axis=1)  # (n, 1)
    earlier = np.arange(s.shape[1]) < y[:, None]
    return ((s > own) | ((s == own) & earlier)).sum(axis=1)


def top_k(labels: ArrayLike, scores: ArrayLike, *, k: int = 1) -> Statistic:
    """Share of videos whose class (n,) is among the k best scores (n, C), by `rank_of_truth`."""
    if k < 1:
        raise UsageError("Top-k needs a k of 1 or more.")
    return mean(rank_of_truth(labels, scores) < k)


def balanced_accuracy(labels: ArrayLike, predicted: ArrayLike) -> Statistic:
    """Mean recall over classes, of class numbers (n,); classes without videos are left out."""
    y, p = class_numbers(labels), class_numbers(predicted, "predictions")
    same_length(y, p)
    member = np.eye(int(y.max(initial=0)) + 1)[y]  # (n, C)
    correct = member * (y == p)[:, None]
    counts = np.bincount(y)
    rarest = y == np.argmin(np.where(counts > 0, counts, len(y) + 1)) if len(y) else None
    return Statistic(
        len(y), lambda w: mean_of_defined(ratio(w @ correct, w @ member).T), rarest=rarest
    )


def auroc(labels: ArrayLike, scores: ArrayLike) -> Statistic:
    """Area under the ROC curve of (n,), ties counted half; nan with one class only. Floor: .5."""
    return ranked_statistic(labels, scores, roc_area)


def average_precision(
    labels: ArrayLike, scores: ArrayLike, *, undefined: Undefined = "skip"
) -> Statistic:
    """Average precision of (n,), one step for each distinct score, not interpolated.

    Floor: the rate of positives, which a constant score gives. Without positives or without
    negatives it is nan, or 0 and 1 under `sklearn`.
    """
    return ranked_statistic(labels, scores, partial(precision_area, undefined=undefined))


def roc_area(hits: Floats, total: Floats) -> Floats:
    """AUROC from (B, K) positives and videos at or above each distinct score, best first."""
    false = total - hits
    # The trapezoid under each step of the curve.
    width = np.diff(false, axis=1, prepend=0.0)
    height = hits - 0.5 * np.diff(hits, axis=1, prepend=0.0)
    return ratio((width * height).sum(axis=1), hits[:, -1] * false[:, -1])


def precision_area(hits: Floats, total: Floats, *, undefined: Undefined = "skip") -> Floats:
    """Average precision from (B, K) positives and videos at or above each distinct score."""
    precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
    gained = np.diff(hits, axis=1, prepend=0.0)
    value = ratio((gained * precision).sum(axis=1), hits[:, -1])
    if undefined == "sklearn":
        return np.where(hits[:, -1] == 0, 0.0, value)
    return np.where(hits[:, -1] == total[:, -1], np.nan, value)


def cmap(labels: ArrayLike, scores: ArrayLike, *, undefined: Undefined = "skip") -> Statistic:
    """Class-wise mean average precision of (n, P)."""
    y, s = _columns(labels, scores)
    return cmap_of_columns(
        len(y), lambda: zip(y.T, s.T, strict=True), y.sum(axis=0), undefined=undefined
    )


def cmap_of_columns(
    n: int,
    columns: Callable[[], Iterable[tuple[Floats, Floats]]],
    positives: Floats,
    *,
    undefined: Undefined = "skip",
) -> Statistic:
    """`cmap` of labels and scores that come column by column, so that they need not be held.

    Args:
        n: videos.
        columns: gives (n,) labels of 0 and 1 and (n,) scores of each class, anew whenever called.
        positives: (P,) of each class.
        undefined: see `Undefined`.
    """

    def weighted(weights: Floats) -> Floats:
        if not n:
            return np.full(len(weights), np.nan)
        if (weights == 1.0).all():
            whole = np.zeros(n, np.int64)
            plain = [
                precision_area(hits.cumsum(axis=1), total.cumsum(axis=1), undefined=undefined)
                for hits, total in counts(whole)
            ]
            return np.full(len(weights), mean_of_defined(np.stack(plain)))
        precisions = (average_precision(y, s, undefined=undefined) for y, s in columns())
        return mean_of_defined(np.stack([precision.weighted(weights) for precision in precisions]))

    def left_out(codes: Ints) -> Floats:
        areas = [
            precision_area(_others_above(hits), _others_above(total), undefined=undefined)
            for hits, total in counts(codes)
        ]
        return mean_of_defined(np.stack(areas))

    def counts(codes: Ints) -> Iterator[tuple[Floats, Floats]]:
        for y, s in columns():
            yield _counts_by_positive(y, float_array(s, "scores", dimensions=1), codes)

    rarest = None
    rare = np.minimum(positives, n - positives)
    if rare.any():
        at = int(np.argmin(np.where(rare > 0, rare, np.inf)))
        y = next(itertools.islice(columns(), at, None))[0]
        rarest = y == (1.0 if 2 * positives[at] <= n else 0.0)
    return Statistic(n, weighted, rarest=rarest, left_out=left_out)


def _counts_by_positive(y: Floats, s: Floats, codes: Ints) -> tuple[Floats, Floats]:
    """(G, K + 1) positives and videos of each cluster between the K scores that positives have.

    Precision counts where a positive is, and of these there are few: no other video is sorted. The
    last column is of what lies below all of them.
    """
    best = np.unique(-s[y > 0])
    shape = int(codes.max(initial=-1)) + 1, len(best) + 1
    cells = codes * shape[1] + np.searchsorted(best, -s)  # the first such score at or below each
    hits, total = (
        np.bincount(cells, weights, shape[0] * shape[1]).reshape(shape).astype(np.float64)
        for weights in (y, np.ones_like(y))
    )
    return hits, total


def _others_above(counts: Floats) -> Floats:
    """(G, K) how many of the other clusters are at or above each score."""
    return np.cumsum(counts.sum(axis=0) - counts, axis=1)


def f1(
    labels: ArrayLike,
    scores: ArrayLike,
    *,
    threshold: ArrayLike = THRESHOLDS["default"],
    undefined: Undefined | Literal["one class"] = "skip",
) -> Statistic:
    """Class-wise F1 of (n, P): 2TP / (2TP + FP + FN) of each attribute, then their mean.

    Scores strictly above the threshold, one number or (P,), predict a positive. Compare it with the
    floor of predicting all positive, which is often better. An attribute without positives and
    without predicted ones is undefined and left out (`skip`) or 0 (`sklearn`). As that depends on
    the predictions, an attacker and its floor may be means over different attributes; `one class`
    leaves out the attributes that have no AUROC instead.
    """
    y, s = _columns(labels, scores)
    limits = np.broadcast_to(np.asarray(threshold, dtype=np.float64), s.shape[1:])
    return f1_of_predicted(y, (s > limits).astype(np.float64), undefined=undefined)


def f1_of_predicted(
    y: Floats, predicted: Floats, *, undefined: Undefined | Literal["one class"] = "skip"
) -> Statistic:
    """Class-wise F1, as `f1`, of labels (n, P) and of predictions or their probabilities (n, P)."""
    both = y * predicted

    def weighted(weights: Floats) -> Floats:
        value = ratio(2 * (weights @ both), weights @ y + weights @ predicted)  # (B, P)
        if undefined == "sklearn":
            value = np.nan_to_num(value)
        if undefined == "one class":
            value = np.where((weights @ y > 0) & (weights @ (1 - y) > 0), value, np.nan)
        return mean_of_defined(value.T)

    counts = y.sum(axis=0)
    rarest = int(np.argmin(np.where(counts > 0, counts, np.inf)))
    return Statistic(len(y), weighted, rarest=y[:, rarest] == 1)


def log_loss(labels: ArrayLike, scores: ArrayLike) -> float:
    """Binary cross entropy in nats of probabilities (n, P), over all videos and attributes."""
    y, p = _columns(labels, scores)
    likelihood = np.where(y == 1, p, 1 - p)
    return float(np.inf) if (likelihood <= 0).any() else float(-np.log(likelihood).mean())


def run_ends(ranked: Floats) -> Ints:
    """The last index of each run of equal scores."""
    return np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)


def _columns(labels: ArrayLike, scores: ArrayLike) -> tuple[Floats, Floats]:
    y, s = binary_labels(labels, dimensions=2), float_array(scores, "scores", dimensions=2)
    if y.shape != s.shape or not y.shape[1]:
        raise UsageError("Labels and scores must both be videos x attributes.")
    return y, s


def ranked_statistic(
    labels: ArrayLike, scores: ArrayLike, area: Callable[[Floats, Floats], Floats]
) -> Statistic:
    """`area` of the (B, K) positives and videos at or above each distinct score, best first."""
    y, s = binary_labels(labels, dimensions=1), float_array(scores, "scores", dimensions=1)
    same_length(y, s)
    if not len(s):
        raise UsageError("There is no video to score.")
    order = np.argsort(-s, kind="stable")
    y, ends = y[order], run_ends(s[order])

    def weighted(weights: Floats) -> Floats:
        w = weights[:, order]
        hits, total = np.cumsum(w * y, axis=1)[:, ends], np.cumsum(w, axis=1)[:, ends]
        return area(hits, total)

    rarest = np.empty(len(y), dtype=bool)
    rarest[order] = y == (1.0 if 2 * y.sum() <= len(y) else 0.0)
    return Statistic(len(y), weighted, rarest=rarest)

"""Floors: the scores of trivial attackers, who know training labels and at most the action.

`ActionPrior` predicts labels from the action alone; `constant_scores` predicts the training rates.
Their scores go through the same metrics as any attacker's. `attribute_floors` and `class_floors`
list every floor of a split, in closed form where there is one, otherwise by expected counts. The
tests check every row against the published labels of VP-UCF101 and VP-HMDB51.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masquerade.errors import UsageError
from masquerade.metrics.classification import (
    average_precision,
    balanced_accuracy,
    cmap,
    f1,
    f1_of_predicted,
    log_loss,
    precision_area,
    run_ends,
    top_k,
)
from masquerade.metrics.intervals import bootstrap
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

_COLUMNS = 64  # labels that are counted at once, of data sets that have thousands
_ROWS = 1024  # clips whose rates are averaged at once
_DRAWS = 20  # random guessers over which the standard deviation of their score is taken


@dataclass(frozen=True)
class Floor:
    """A row of a table of floors: a trivial attacker's score or its standard error, or a rate."""

    name: str  # of the attacker, or of the clips whose rate of positives it is
    metric: str  # such as cMAP, F1, top-1, `positive rate` or `standard error of F1`
    value: float | None  # mean over all attributes, in [0, 1]; None where undefined
    per_attribute: tuple[float | None, ...] | None = None  # of each attribute; None where undefined
    sd: float | None = None  # of a single draw, where the attacker guesses at random


@dataclass(frozen=True)
class ActionPrior:
    """P(attribute | action), counted on the training split."""

    actions: NDArray[Any]  # (A,) sorted names or class numbers
    rates: Floats  # (A, P) of each attribute within each action
    overall: Floats  # (P,) of each attribute, for actions unknown or not in train
    thresholds: Floats | None = None  # (P,) rates above which yes has the best F1 on train

    @classmethod
    def fit(cls, labels: ArrayLike, actions: ArrayLike) -> ActionPrior:
        """Count the attributes (n, P) of each action.

        `actions` are (n,) names or class numbers, a negative number where unknown; or (n, A) of 0
        and 1 for several actions a clip, which then counts once for each of them.
        """
        all_labels, a = np.asarray(labels), np.asarray(actions)
        same_length(all_labels, a)
        if not len(all_labels):
            raise UsageError("A floor needs training labels to count; there are none.")
        clips: Any = slice(None)
        if a.ndim == 2:
            names = np.arange(a.shape[1])
            clips, codes = np.nonzero(a > 0)
        else:
            names, codes = np.unique(a, return_inverse=True)
        counts = np.bincount(codes, minlength=len(names))[:, None]
        overall, rates = [], []
        for first in range(0, all_labels.shape[-1], _COLUMNS):
            y = binary_labels(all_labels[..., first : first + _COLUMNS], dimensions=2)
            overall.append(y.mean(axis=0))
            y = y[clips]
            unseen = y.mean(axis=0) if a.ndim == 2 and len(y) else overall[-1]
            sums = np.zeros((len(names), y.shape[1]))
            np.add.at(sums, codes, y)
            rates.append(np.where(counts > 0, sums / np.maximum(counts, 1), unseen))
        return cls(names, np.concatenate(rates, axis=1), np.concatenate(overall))

    @classmethod
    def mean(cls, several: Sequence[ActionPrior]) -> ActionPrior:
        """The mean of priors that were counted on different clips of the same attributes."""
        if len(several) == 1:
            return several[0]
        names = np.unique(np.concatenate([prior.actions for prior in several]))
        # the overall rates where an action is not in train
        rates = [prior.scores(names) for prior in several]
        overall = np.mean([prior.overall for prior in several], axis=0)
        tuned = [prior.thresholds for prior in several if prior.thresholds is not None]
        thresholds = np.mean(tuned, axis=0) if len(tuned) == len(several) else None
        return cls(names, np.mean(rates, axis=0), overall, thresholds)

    def tuned(self, labels: ArrayLike, actions: ArrayLike) -> ActionPrior:
        """With thresholds, from the attributes (n, P) and actions that it was counted on."""
        return replace(self, thresholds=tuned_thresholds(labels, self.scores(actions)))

    def scores(self, actions: ArrayLike) -> Floats:
        """The rates (m, P) of actions (m,), true or predicted; of (m, A) of 0 and 1 their mean."""
        a = np.asarray(actions)
        if a.ndim == 2:
            averaged = np.tile(self.overall, (len(a), 1))
            for start in range(0, len(a), _ROWS):
                clips, codes = np.nonzero(a[start : start + _ROWS] > 0)
                if len(clips):  # few of hundreds of actions a clip
                    first = np.flatnonzero(np.diff(clips, prepend=-1))
                    count = np.diff(first, append=len(clips))[:, None]
                    sums = np.add.reduceat(self.rates[codes], first, axis=0)
                    averaged[start + clips[first]] = sums / count
            return averaged
        place = np.minimum(np.searchsorted(self.actions, a), len(self.actions) - 1)
        known = self.actions[place] == a
        if np.issubdtype(a.dtype, np.number):
            known &= a >= 0
        return np.where(known[:, None], self.rates[place], self.overall)


class PredictedActionPrior:
    """The action prior on the predictions of an action recognizer, by expected counts.

    The recognizer's top-1 `accuracy` is known, and its errors are uniform over the other actions;
    where each clip's predicted action is known, use `ActionPrior.scores` of it instead. `labels`
    (m, P) and true `actions` (m,), all among the prior's, are of the test clips.
    """

    def __init__(
        self, prior: ActionPrior, labels: ArrayLike, actions: ArrayLike, *, accuracy: float
    ) -> None:
        if not 0 <= accuracy <= 1:
            raise UsageError("An accuracy lies in [0, 1].")
        self.labels, names = binary_labels(labels, dimensions=2), np.asarray(actions)
        size = len(prior.actions)
        same_length(self.labels, names)
        if not np.isin(names, prior.actions).all():
            raise UsageError("A test action is not among the training actions.")
        confusion = np.full((size, size), (1 - accuracy) / max(size - 1, 1))
        np.fill_diagonal(confusion, accuracy if size > 1 else 1.0)
        # (m, A) probability that a test clip is recognised as that action
        self.confusion = confusion[np.searchsorted(prior.actions, names)]
        self.rates = prior.rates  # (A, P)

    def cmap(self) -> Statistic:
        """Class-wise mean average precision, as `classification.cmap`."""
        orders = np.argsort(-self.rates, axis=0, kind="stable").T  # (P, A)

        def of(weights: Floats) -> Floats:
            total = weights @ self.confusion  # (B, A)
            values = []
            for j, order in enumerate(orders):
                hits = (weights * self.labels[:, j]) @ self.confusion
                ends = run_ends(self.rates[order, j])
                counts = (np.cumsum(c[:, order], axis=1)[:, ends] for c in (hits, total))
                values.append(precision_area(*counts))
            return mean_of_defined(np.stack(values))

        return Statistic(len(self.labels), of)

    def f1(self) -> Statistic:
        """Class-wise F1 above .5, as `classification.f1`."""
        return f1_of_predicted(self.labels, self.confusion @ (self.rates > 0.5))

    def top_1(self) -> Statistic:
        """Accuracy of the likeliest class of the predicted action; for one-hot labels."""
        guess = np.eye(self.rates.shape[1])[self.rates.argmax(axis=1)]  # (A, P)
        return mean(np.clip((self.labels * (self.confusion @ guess)).sum(axis=1), 0.0, 1.0))


def attribute_floors(
    train_labels: ArrayLike,
    test_labels: ArrayLike,
    train_actions: ArrayLike,
    test_actions: ArrayLike,
    *,
    accuracy: float | None = None,
    all_labels: ArrayLike | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> tuple[Floor, ...]:
    """Every floor of binary attributes, from labels (n, P) and (m, P) and actions (n,) and (m,).

    The `accuracy` of an action recognizer adds the floors from its predictions; `all_labels` (N, P)
    are of the whole set where it has more than the two splits; `resamples` of the bootstrap over
    videos give standard errors.
    """
    y, t = binary_labels(train_labels, dimensions=2), binary_labels(test_labels, dimensions=2)
    if y.shape[1] != t.shape[1] or not len(t):
        raise UsageError("Both splits need labels, with the same attributes.")
    prior = ActionPrior.fit(y, train_actions)
    own, scores = prior.scores(train_actions), prior.scores(test_actions)
    rates, yes = constant_scores(y, len(t)), np.ones_like(t)
    whole_set = np.concatenate([y, t]) if all_labels is None else all_labels
    rate = t.mean(axis=0)
    random_cmap = np.where((rate > 0) & (rate < 1), random_ap(t.sum(axis=0), len(t)), np.nan)
    rng = np.random.default_rng(seed)
    draws = [cmap(t, rng.random(t.shape)).value for _ in range(_DRAWS)]
    sd = _defined(float(np.std(draws, ddof=1)))
    rows = [
        _floor("whole set", "positive rate", binary_labels(whole_set, dimensions=2).mean(axis=0)),
        _floor("test", "positive rate", rate),
        _floor("constant", "cMAP", _ap(t, rates)),
        _floor("random scores", "cMAP", random_cmap, sd),
        _floor("all positive", "F1", _f1(t, yes)),
        _floor("train majority", "F1", np.nan_to_num(_f1(t, rates))),
        _floor("coin at train rate", "F1", coin_f1(rate, y.mean(axis=0))),
        _floor("fair coin", "F1", coin_f1(rate, 0.5)),
        _floor("action prior", "cMAP", _ap(t, scores)),
        _floor("action prior", "F1", _f1(t, scores)),
        _floor("action prior, tuned on train", "F1", _f1(t, scores, tuned_thresholds(y, own))),
    ]
    if accuracy is not None:
        predicted = PredictedActionPrior(prior, t, test_actions, accuracy=accuracy)
        rows.append(Floor("predicted action", "cMAP", _defined(predicted.cmap().value)))
        rows.append(Floor("predicted action", "F1", _defined(predicted.f1().value)))
    rows.append(Floor("constant", "BCE", log_loss(t, rates)))
    if resamples:
        drawn = (("action prior", "cMAP", cmap(t, scores)), ("all positive", "F1", f1(t, yes)))
        for name, metric, score in drawn:
            error = float(np.nanstd(bootstrap(score, resamples=resamples, seed=seed)))
            rows.append(Floor(name, f"standard error of {metric}", _defined(error)))
    return tuple(rows)


def class_floors(
    train_labels: ArrayLike,
    test_labels: ArrayLike,
    train_actions: ArrayLike,
    test_actions: ArrayLike,
    *,
    accuracy: float | None = None,
    classes: int | None = None,
) -> tuple[Floor, ...]:
    """Every floor of a class or an identity: top-1 and balanced accuracy.

    As `attribute_floors`, with class numbers (n,) and (m,); `classes` None: up to the largest one.
    """
    y, t = class_numbers(train_labels), class_numbers(test_labels)
    size = classes or int(max(y.max(initial=0), t.max(initial=0))) + 1
    train, test = one_hot(y, classes=size), one_hot(t, classes=size)
    if not len(t):
        raise UsageError("Both splits need labels.")
    prior = ActionPrior.fit(train, train_actions)
    rows = [
        Floor("uniform guess", "top-1", 1 / size),
        Floor("coin at train rates", "top-1", float(train.mean(axis=0) @ test.mean(axis=0))),
    ]
    majority, by_action = constant_scores(train, len(t)), prior.scores(test_actions)
    for name, scores in (("train majority", majority), ("action prior", by_action)):
        balanced = balanced_accuracy(t, scores.argmax(axis=1)).value
        rows.append(Floor(name, "top-1", top_k(t, scores).value))
        rows.append(Floor(name, "balanced accuracy", balanced))
    if accuracy is not None:
        predicted = PredictedActionPrior(prior, test, test_actions, accuracy=accuracy)
        rows.append(Floor("predicted action", "top-1", predicted.top_1().value))
    return tuple(rows)


@dataclass(frozen=True, kw_only=True)
class ExpectedFloors:
    """Floors of a label whose distribution is known, as of a synthetic benchmark; in [0, 1].

    The average precision of a constant score is the rate, its AUROC .5.
    """

    rate: float  # of the positives, or of each class
    given: tuple[float, ...] = ()  # P(bit = 1 | action) in each of the two halves of the actions
    constant_accuracy: float  # of the commonest label
    prior_accuracy: float  # of the commonest label given the true action
    prior_ap: float | None = None  # of P(bit | action) as the score; None for classes
    prior_auroc: float | None = None


def expected_binary_floors(high: float, low: float) -> ExpectedFloors:
    """Floors of a binary attribute with P(bit = 1 | action) `high` in half of the actions.

    In the other half it is `low`, at most `high`; all actions are equally frequent.
    """
    rate = (high + low) / 2
    recall = high / (high + low)  # of predicting 1 in the first half, with precision `high`
    false = (1 - high) / (2 - high - low)
    return ExpectedFloors(
        rate=rate,
        given=(high, low),
        constant_accuracy=max(rate, 1 - rate),
        prior_accuracy=(max(high, 1 - high) + max(low, 1 - low)) / 2,
        prior_ap=rate if high == low else recall * high + (1 - recall) * rate,
        prior_auroc=0.5 + (recall - false) / 2,
    )


def expected_class_floors(classes: int) -> ExpectedFloors:
    """Floors of a class that is uniform and independent of the action."""
    share = 1 / classes
    return ExpectedFloors(rate=share, constant_accuracy=share, prior_accuracy=share)


def one_hot(labels: ArrayLike, *, classes: int) -> Floats:
    """(n, C) columns of 0 and 1 from class numbers (n,) in 0 .. C - 1."""
    y = class_numbers(labels)
    if len(y) and y.max() >= classes:
        raise UsageError(f"A label is beyond the {classes} classes.")
    return np.eye(classes)[y]


def constant_scores(train_labels: ArrayLike, videos: int) -> Floats:
    """(videos, P): for every test video the training rates of the labels (n, P)."""
    y = binary_labels(train_labels, dimensions=2)
    if not len(y):
        raise UsageError("A floor needs training labels to count; there are none.")
    return np.tile(y.mean(axis=0), (videos, 1))


def random_ap(positives: ArrayLike, videos: ArrayLike) -> Floats:
    """Expected average precision of untied random scores; nan without positives.

    The item at rank k is a positive with probability R/n; given that, each of the k - 1 before it
    is one with probability (R - 1)/(n - 1). Summed: (H_n + (R - 1)(n - H_n)/(n - 1)) / n, with R
    positives among n videos.
    """
    r, n = np.broadcast_arrays(np.asarray(positives, np.float64), np.asarray(videos, np.int64))
    harmonic = np.cumsum(1 / np.maximum(np.arange(n.max(initial=0) + 1), 1)) - 1  # from H_0 on
    before = (r - 1) / np.maximum(n - 1, 1)
    value = (harmonic[n] + before * (n - harmonic[n])) / np.maximum(n, 1)
    return np.where((r > 0) & (r <= n), value, np.nan)


def random_order(videos: int, columns: Callable[[], Iterable[Floats]]) -> Statistic:
    """The cMAP of untied random scores, in expectation.

    Args:
        videos: n.
        columns: gives (n,) labels of 0 and 1 of each class, anew whenever called.
    """

    def of_each(positives: Iterable[Floats], counts: Floats) -> Floats:
        values = [np.where(r < counts, random_ap(r, counts.round()), np.nan) for r in positives]
        return mean_of_defined(np.stack(values))

    def left_out(codes: Ints) -> Floats:
        positives = (y.sum() - np.bincount(codes, y) for y in columns())
        return of_each(positives, videos - np.bincount(codes).astype(np.float64))

    return Statistic(
        videos,
        lambda w: of_each((w @ y for y in columns()), w.sum(axis=1)),
        left_out=left_out,
    )


def coin_f1(rate: ArrayLike, guess: ArrayLike) -> Floats:
    """F1, by expected counts, of saying yes with probability q at a rate p: 2pq / (p + q)."""
    p, q = np.broadcast_arrays(np.asarray(rate, float), np.asarray(guess, float))
    return ratio(2 * p * q, p + q)


def tuned_thresholds(labels: ArrayLike, scores: ArrayLike) -> Floats:
    """The threshold of each attribute with the best F1 on these (training) videos: (P,).

    `classification.f1` predicts a positive strictly above it. Of equally good ones the lowest.
    """
    y, s = binary_labels(labels, dimensions=2), float_array(scores, "scores", dimensions=2)
    same_length(y, s)
    return np.array([_best_threshold(*column) for column in zip(y.T, s.T, strict=True)])


def _best_threshold(y: Floats, s: Floats) -> float:
    order = np.argsort(s, kind="stable")[::-1]
    ends = run_ends(s[order])
    hits = np.cumsum(y[order])[ends]
    values = 2 * hits / (ends + 1 + max(float(y.sum()), 1.0))  # F1 at each threshold
    best = np.flatnonzero(values == values.max())
    at = best[-1]
    last = s[order][ends[at]]
    lower = s[order][ends[at + 1]] if at + 1 < len(ends) else last - 1.0
    return float((last + lower) / 2)  # clear of both, as means over seeds are rounded


def _ap(t: Floats, scores: Floats) -> Floats:
    return np.array([average_precision(y, s).value for y, s in zip(t.T, scores.T, strict=True)])


def _f1(t: Floats, scores: Floats, threshold: Floats | float = 0.5) -> Floats:
    predicted = (scores > threshold).astype(np.float64)
    return ratio(2 * (t * predicted).sum(axis=0), t.sum(axis=0) + predicted.sum(axis=0))


def _floor(name: str, metric: str, values: Floats, sd: float | None = None) -> Floor:
    per_attribute = tuple(_defined(float(value)) for value in values)
    return Floor(
        name, metric, _defined(float(mean_of_defined(values[:, None])[0])), per_attribute, sd
    )


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value

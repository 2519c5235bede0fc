"""The floors of a labelled split: what an attacker gets who never sees the video.

`floors` for binary attributes (one or several a video), `class_floors` for a class or an identity.
Closed forms where there are any; the rest is counted. Rows that would need draws give their
expectation. The tests check every row against the published labels of two large data sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from masquerade.errors import UsageError
from masquerade.metrics.classification import (
    average_precision,
    balanced_accuracy,
    cmap,
    f1,
    log_loss,
    top_k,
)
from masquerade.metrics.intervals import bootstrap
from masquerade.metrics.priors import (
    ActionPrior,
    PredictedPrior,
    action_prior,
    constant,
    one_hot,
    predicted_prior,
    tuned_thresholds,
    uniform_errors,
)
from masquerade.metrics.statistic import Floats, Ints, binary, mean_of_defined, ratio, whole


@dataclass(frozen=True)
class Floor:
    """One trivial attacker's score.

    Args:
        name: what it knows.
        metric: what is measured.
        value: over all attributes; None where undefined.
        per_attribute: the same for each attribute; None where undefined or where it makes no sense.
        sd: how far a single draw of a random guesser strays.
    """

    name: str
    metric: str
    value: float | None
    per_attribute: tuple[float | None, ...] | None = None
    sd: float | None = None


def floors(
    train_labels: ArrayLike,
    test_labels: ArrayLike,
    train_actions: ArrayLike,
    test_actions: ArrayLike,
    *,
    accuracy: float | None = None,
    confusion: ArrayLike | None = None,
    all_labels: ArrayLike | None = None,
    draws: int = 20,
    resamples: int = 0,
    seed: int = 0,
) -> tuple[Floor, ...]:
    """Every floor of binary attributes; scores in [0, 1].

    Args:
        train_labels: (n, P) 0 or 1.
        test_labels: (m, P) 0 or 1.
        train_actions: (n,) names or numbers.
        test_actions: (m,).
        accuracy: of an action recognizer with uniform errors; adds the predicted-action rows.
        confusion: (A, A) of a real one, actions sorted, instead of `accuracy`.
        all_labels: (N, P), for the rates of the whole set where it has more than the two splits.
        draws: how many random guessers the `sd` is taken over.
        resamples: for the bootstrap standard errors over videos; 0 leaves them out.
        seed: of the draws and resamples.
    """
    y, t = binary(train_labels, dimensions=2), binary(test_labels, dimensions=2)
    if y.shape[1] != t.shape[1] or not len(t):
        raise UsageError("Both splits need labels, with the same attributes.")
    prior = action_prior(y, train_actions)
    own, seen = prior.scores(train_actions), prior.scores(test_actions)
    whole_set = np.concatenate([y, t]) if all_labels is None else all_labels
    rows = [
        _per_attribute("whole set", "positive rate", binary(whole_set, dimensions=2).mean(axis=0)),
        _per_attribute("test", "positive rate", t.mean(axis=0)),
        *_blind_floors(y, t, draws, seed),
        _ap("action prior", t, seen),
        _f1("action prior", t, seen),
        _f1("action prior, tuned on train", t, seen, tuned_thresholds(y, own)),
    ]
    if accuracy is not None or confusion is not None:
        predicted = _predicted(prior, t, test_actions, accuracy, confusion)
        rows.append(Floor("predicted action", "cMAP", _plain(predicted.cmap().value)))
        rows.append(Floor("predicted action", "F1", _plain(predicted.f1().value)))
    rows.append(Floor("constant", "BCE", log_loss(t, constant(y, len(t)))))
    if resamples:
        rows += _standard_errors(t, seen, resamples, seed)
    return tuple(rows)


def class_floors(
    train_labels: ArrayLike,
    test_labels: ArrayLike,
    train_actions: ArrayLike,
    test_actions: ArrayLike,
    *,
    accuracy: float | None = None,
    confusion: ArrayLike | None = None,
    classes: int | None = None,
) -> tuple[Floor, ...]:
    """Every floor of a class or an identity: top-1 and balanced accuracy, in [0, 1].

    Args:
        train_labels: (n,) class numbers.
        test_labels: (m,) class numbers.
        train_actions: (n,) names or numbers.
        test_actions: (m,).
        accuracy: of an action recognizer with uniform errors; adds the predicted-action row.
        confusion: (A, A) of a real one, actions sorted, instead of `accuracy`.
        classes: C; None counts up to the largest label.
    """
    y, t = whole(train_labels), whole(test_labels)
    size = classes or int(max(y.max(initial=0), t.max(initial=0))) + 1
    train, test = one_hot(y, classes=size), one_hot(t, classes=size)
    if not len(t):
        raise UsageError("Both splits need labels.")
    prior = action_prior(train, train_actions)
    seen = prior.scores(test_actions)
    guess = constant(train, len(t))
    rows = [
        Floor("uniform guess", "top-1", 1 / size),
        Floor("coin at train rates", "top-1", float(train.mean(axis=0) @ test.mean(axis=0))),
        Floor("train majority", "top-1", top_k(t, guess).value),
        Floor("train majority", "balanced accuracy", _balanced(t, guess)),
        Floor("action prior", "top-1", top_k(t, seen).value),
        Floor("action prior", "balanced accuracy", _balanced(t, seen)),
    ]
    if accuracy is not None or confusion is not None:
        predicted = _predicted(prior, test, test_actions, accuracy, confusion)
        rows.append(Floor("predicted action", "top-1", predicted.top_1().value))
    return tuple(rows)


def random_ap(positives: int, videos: int) -> float:
    """Expected average precision of untied random scores; nan without positives.

    The item at rank k is a positive with probability R/n; given that, each of the k - 1 before it
    is one with probability (R - 1)/(n - 1). Summed: (H_n + (R - 1)(n - H_n)/(n - 1)) / n.

    Args:
        positives: R.
        videos: n.
    """
    if not 0 < positives <= videos:
        return float("nan")
    if videos == 1:
        return 1.0
    harmonic = float((1 / np.arange(1, videos + 1)).sum())
    return (harmonic + (positives - 1) / (videos - 1) * (videos - harmonic)) / videos


def coin_f1(rate: ArrayLike, guess: ArrayLike) -> Floats:
    """F1, by expected counts, of saying yes with a fixed probability: 2pq / (p + q).

    Args:
        rate: p, of positives; (P,) or a number.
        guess: q, how often the coin says yes; 1 is the all-positive guess, 2p / (1 + p).
    """
    p, q = np.broadcast_arrays(np.asarray(rate, float), np.asarray(guess, float))
    return ratio(2 * p * q, p + q)


def _blind_floors(y: Floats, t: Floats, draws: int, seed: int) -> list[Floor]:
    """Floors that do not know the action."""
    rate, guess, ones = t.mean(axis=0), y.mean(axis=0), np.ones_like(t)
    scored = (rate > 0) & (rate < 1)
    random = [random_ap(int(r), len(t)) for r in t.sum(axis=0)]
    expected = np.where(scored, random, np.nan)
    return [
        _ap("constant", t, constant(y, len(t))),
        _per_attribute("random scores", "cMAP", expected, sd=_random_sd(t, draws, seed)),
        _f1("all positive", t, ones),
        _f1("train majority", t, constant(y, len(t)), undefined_as_zero=True),
        _per_attribute("coin at train rate", "F1", coin_f1(rate, guess)),
        _per_attribute("fair coin", "F1", coin_f1(rate, 0.5)),
    ]


def _random_sd(t: Floats, draws: int, seed: int) -> float | None:
    if draws < 2:
        return None
    rng = np.random.default_rng(seed)
    sd = float(np.std([cmap(t, rng.random(t.shape)).value for _ in range(draws)], ddof=1))
    return _plain(sd)


def _standard_errors(t: Floats, seen: Floats, resamples: int, seed: int) -> list[Floor]:
    ap = bootstrap(cmap(t, seen), resamples=resamples, seed=seed)
    yes = bootstrap(f1(t, np.ones_like(t)), resamples=resamples, seed=seed)
    return [
        Floor("action prior", "standard error of cMAP", _plain(float(np.nanstd(ap)))),
        Floor("all positive", "standard error of F1", _plain(float(np.nanstd(yes)))),
    ]


def _ap(name: str, t: Floats, scores: Floats) -> Floor:
    columns = range(t.shape[1])
    values = np.array([average_precision(t[:, j], scores[:, j]).value for j in columns])
    return _per_attribute(name, "cMAP", values)


def _f1(
    name: str,
    t: Floats,
    scores: Floats,
    threshold: ArrayLike = 0.5,
    *,
    undefined_as_zero: bool = False,
) -> Floor:
    limits = np.broadcast_to(np.asarray(threshold, float), t.shape[1:])
    values = [f1(t[:, [j]], scores[:, [j]], threshold=limits[j]).value for j in range(t.shape[1])]
    array = np.nan_to_num(values) if undefined_as_zero else np.array(values)
    return _per_attribute(name, "F1", array)


def _per_attribute(name: str, metric: str, values: Floats, sd: float | None = None) -> Floor:
    each = tuple(_plain(float(value)) for value in values)
    return Floor(name, metric, _plain(float(mean_of_defined(values[:, None])[0])), each, sd)


def _predicted(
    prior: ActionPrior,
    labels: Floats,
    actions: ArrayLike,
    accuracy: float | None,
    confusion: ArrayLike | None,
) -> PredictedPrior:
    if (accuracy is None) == (confusion is None):
        raise UsageError("Give the recognizer's accuracy or its confusion, not both.")
    if confusion is None and accuracy is not None:
        confusion = uniform_errors(len(prior.actions), accuracy=accuracy)
    return predicted_prior(prior, labels, actions, confusion=np.asarray(confusion))


def _balanced(t: Ints, scores: Floats) -> float:
    return balanced_accuracy(t, scores.argmax(axis=1)).value


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value

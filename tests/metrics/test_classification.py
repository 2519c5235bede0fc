"""Scores against scikit-learn on random, tied and degenerate inputs, and against hand counts."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from masquerade.errors import MasqueradeError, UsageError
from masquerade.metrics import classification as c
from masquerade.metrics.statistic import Floats, Statistic, average, difference, mean

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, n: int, columns: int, levels: int) -> tuple[Floats, Floats]:
    """Labels with any rate, 0 and 1 included, and scores with ties; 0 levels: no ties."""
    rng = np.random.default_rng(seed)
    y = (rng.random((n, columns)) < rng.choice([0, 0.1, 0.5, 0.9, 1], columns)) * 1.0
    s = rng.integers(0, levels, (n, columns)) / levels if levels else rng.random((n, columns))
    return y, s


def mean_auroc(labels: Floats, scores: Floats) -> Statistic:
    y, s = np.asarray(labels), np.asarray(scores)
    return average([c.auroc(y[:, j], s[:, j]) for j in range(y.shape[1])])


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 40), st.integers(1, 4), st.integers(0, 6))
def test_means_over_classes_agree_with_scikit_learn(seed: int, n: int, p: int, levels: int) -> None:
    y, s = drawn(seed, n, p, levels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of classes without positives
        ap = [sk.average_precision_score(y[:, j], s[:, j]) for j in range(p)]
        area = [sk.roc_auc_score(y[:, j], s[:, j]) for j in range(p) if 0 < y[:, j].sum() < n]
    scored = (y.sum(axis=0) > 0) & (y.sum(axis=0) < n)
    assert c.cmap(y, s, undefined="sklearn").value == pytest.approx(np.mean(ap))
    ours = np.mean(np.array(ap)[scored]) if scored.any() else np.nan
    assert c.cmap(y, s).value == pytest.approx(ours, nan_ok=True)
    mean_area = np.mean(area) if area else np.nan
    assert mean_auroc(y, s).value == pytest.approx(mean_area, nan_ok=True)


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 40), st.integers(1, 4), st.integers(0, 6))
def test_f1_agrees_with_scikit_learn(seed: int, n: int, p: int, levels: int) -> None:
    y, s = drawn(seed, n, p, levels)
    f1 = [sk.f1_score(y[:, j], s[:, j] > 0.5, zero_division=0) for j in range(p)]
    empty = ~y.any(axis=0) & ~(s > 0.5).any(axis=0)
    assert c.f1(y, s, undefined="sklearn").value == pytest.approx(np.mean(f1))
    ours = np.mean(np.array(f1)[~empty]) if not empty.all() else np.nan
    assert c.f1(y, s).value == pytest.approx(ours, nan_ok=True)
    both = y.any(axis=0) & ~y.all(axis=0)
    ours = np.mean(np.array(f1)[both]) if both.any() else np.nan
    assert c.f1(y, s, undefined="one class").value == pytest.approx(ours, nan_ok=True)


@settings(max_examples=60)
@given(SEEDS, st.integers(1, 40), st.integers(2, 6), st.integers(1, 3))
def test_accuracies_agree_with_scikit_learn(seed: int, n: int, classes: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    y, s = rng.integers(0, classes, n), rng.random((n, classes))
    guess = s.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of predicted classes that are not there
        balanced = sk.balanced_accuracy_score(y, guess)
        top = sk.top_k_accuracy_score(y, s, k=k, labels=range(classes)) if classes > 2 else None
    assert c.balanced_accuracy(y, guess).value == pytest.approx(balanced)
    assert c.top_k(y, s).value == pytest.approx(sk.accuracy_score(y, guess))
    if top is not None:
        assert c.top_k(y, s, k=k).value == pytest.approx(top)


@settings(max_examples=40)
@given(SEEDS, st.integers(2, 25), st.integers(0, 4))
def test_a_weight_repeats_a_video(seed: int, n: int, levels: int) -> None:
    y, s = drawn(seed, n, 2, levels)
    times = np.random.default_rng(seed).integers(0, 4, n)
    times[0] += 1
    w, many = times[None].astype(float), np.repeat(np.arange(n), times)
    for metric in (c.cmap, mean_auroc, c.f1):
        assert metric(y, s).weighted(w)[0] == pytest.approx(
            metric(y[many], s[many]).value, nan_ok=True
        )
    v = y[:, 0].astype(int)
    assert c.balanced_accuracy(v, v[::-1]).weighted(w)[0] == pytest.approx(
        c.balanced_accuracy(v[many], v[::-1][many]).value
    )


@pytest.mark.parametrize(
    ("scores", "expected"),
    [((0.9, 0.8, 0.7, 0.6), 5 / 6), ((1, 1, 1, 1), 0.5), ((0.1, 0.9, 0.2, 0.8), 5 / 12)],
)
def test_average_precision_by_hand(scores: tuple[float, ...], expected: float) -> None:
    assert c.average_precision([1, 0, 1, 0], scores).value == pytest.approx(expected)


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 60))
def test_constant_scores_give_the_positive_rate_and_half(seed: int, n: int) -> None:
    y, _ = drawn(seed, n, 3, 0)
    y[0], y[1] = 0, 1
    flat = np.full_like(y, 0.3)
    assert c.cmap(y, flat).value == pytest.approx(y.mean())
    assert mean_auroc(y, flat).value == pytest.approx(0.5)
    p = y.mean(axis=0)
    assert c.f1(y, np.ones_like(y)).value == pytest.approx((2 * p / (1 + p)).mean())


def test_ties_of_top_k_go_to_the_lowest_index() -> None:
    flat = np.zeros((3, 3))
    assert c.rank_of_truth([0, 1, 2], flat).tolist() == [0, 1, 2]
    assert [c.top_k([0, 1, 2], flat, k=k).value for k in (1, 2, 3, 9)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 1]
    )


def test_f1_thresholds_are_strict_and_spact_code_cuts_raw_logits_at_a_half() -> None:
    assert c.f1([[1], [0]], [[0.5], [0.5]]).value == 0.0
    logits = np.array([[0.49], [0.51], [0.4], [0.6]])
    p = 1 / (1 + np.exp(-logits))
    y = np.array([[1], [1], [0], [1]])
    cut = c.f1(y, p, threshold=c.THRESHOLDS["spact-code"]).value
    assert cut == pytest.approx(sk.f1_score(y[:, 0], logits[:, 0] > 0.5))
    assert cut != pytest.approx(c.f1(y, p).value)


def test_classes_that_cannot_be_scored_are_left_out_not_zero() -> None:
    y = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]])
    s = np.array([[0.9, 0.1, 0.5], [0.1, 0.2, 0.5], [0.8, 0.3, 0.5]])
    assert c.cmap(y, s).value == 1.0
    assert c.cmap(y, s, undefined="sklearn").value == pytest.approx(2 / 3)
    assert np.isnan(c.cmap(y[:, 1:], s[:, 1:]).value)
    assert np.isnan(c.auroc([1, 1], [0.1, 0.2]).value)


@pytest.mark.parametrize("metric", [c.cmap, c.f1])
def test_no_video_gives_no_score(metric: object) -> None:
    assert np.isnan(metric(np.zeros((0, 3)), np.zeros((0, 3))).value)  # type: ignore[operator]


@pytest.mark.parametrize("metric", [c.cmap, mean_auroc, c.f1])
def test_one_video_is_undefined_or_a_plain_count(metric: object) -> None:
    value = metric([[1]], [[0.9]]).value  # type: ignore[operator]
    assert value == 1.0 if metric is c.f1 else np.isnan(value)


def test_log_loss_agrees_with_scikit_learn_and_is_infinite_when_certain_and_wrong() -> None:
    y, s = drawn(3, 20, 2, 0)
    y[0] = 1 - y[0]
    expected = np.mean([sk.log_loss(y[:, j], s[:, j], labels=[0, 1]) for j in range(2)])
    assert c.log_loss(y, s) == pytest.approx(expected)
    assert c.log_loss([[1.0]], [[0.0]]) == np.inf


def test_infinite_scores_rank_and_nan_raises() -> None:
    assert c.auroc([0, 1, 1], [-np.inf, 0.0, np.inf]).value == 1.0
    for metric in (c.cmap, mean_auroc, c.f1, c.log_loss):
        with pytest.raises(MasqueradeError, match="NaN"):
            metric([[1], [0]], [[0.3], [np.nan]])
    with pytest.raises(MasqueradeError, match="NaN"):
        c.top_k([0], [[np.nan, 1.0]])


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda: c.auroc([0, 2], [1, 2]), "0 or 1"),
        (lambda: c.auroc([0, 1], [1, 2, 3]), "one row"),
        (lambda: c.auroc([], []), "no video"),
        (lambda: c.cmap([0, 1], [0, 1]), "dimension"),
        (lambda: c.cmap([[0, 1]], [[1]]), "videos x attributes"),
        (lambda: c.top_k([2], [[0.1, 0.9]]), "last column"),
        (lambda: c.top_k([0.5], [[0.1, 0.9]]), "class numbers"),
        (lambda: c.top_k([0], [[0.1, 0.9]], k=0), "1 or more"),
        (lambda: mean([0.5, 1.5]), "lie in"),
        (lambda: average([]), "same videos"),
        (lambda: difference(mean([1]), mean([1, 0])), "same videos"),
    ],
)
def test_invalid_arguments_are_refused(call: object, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        call()  # type: ignore[operator]


@given(
    SEEDS,
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from([0, 2, 5]),
    st.sampled_from([6, 30, 1000]),
)
def test_cmap_without_each_cluster_is_that_of_the_others(
    seed: int, n: int, columns: int, levels: int, clusters: int
) -> None:
    """Few large clusters, some of a few videos, and nearly all of one video."""
    y, s = drawn(seed, n, columns, levels)
    draw = np.random.default_rng(seed)
    codes = np.unique(draw.integers(0, clusters, n), return_inverse=True)[1]
    others = (codes != np.arange(codes.max() + 1)[:, None]) * 1.0
    for undefined in ("skip", "sklearn"):
        statistic = c.cmap(y, s, undefined=undefined)
        assert statistic.left_out is not None
        np.testing.assert_allclose(
            statistic.left_out(codes), statistic.weighted(others), atol=1e-12
        )
        once_and_twice = statistic.weighted(np.stack([np.ones(n), np.full(n, 2.0)]))
        np.testing.assert_allclose(statistic.value, once_and_twice, atol=1e-12)

"""Re-identification metrics: galleries by hand, scikit-learn, constant and perfect attackers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from masquerade.errors import MasqueradeError, UsageError
from masquerade.metrics import reidentification as i
from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import Statistic

SEEDS = st.integers(0, 2**32 - 1)


def pairs(seed: int, probes: int, gallery: int, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = i.pairs_alike(rng.integers(0, 4, probes), rng.integers(0, 4, gallery))
    truth[0, 0], truth[0, -1] = True, False
    s = rng.integers(0, levels, truth.shape) if levels else rng.random(truth.shape)
    return truth, s * 1.0


def test_a_gallery_by_hand() -> None:
    truth = i.pairs_alike(["ann", "bob", "eve"], ["ann", "bob", "ann", "cy"])  # no eve
    s = np.array([[0.1, 0.9, 0.8, 0.2], [0.1, 0.7, 0.2, 0.3], [1.0, 0.0, 0.0, 0.0]])
    assert [i.rank_k(truth, s, k=k).value for k in (1, 2, 3)] == [0.5, 1.0, 1.0]
    assert i.retrieval_map(truth, s).value == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 8), st.integers(2, 9), st.integers(0, 3))
def test_maps_and_areas_agree_with_scikit_learn(seed: int, p: int, g: int, levels: int) -> None:
    truth, s = pairs(seed, p, g, levels)
    mated = truth.any(axis=1)
    ap = [sk.average_precision_score(t, row) for t, row in zip(truth[mated], s[mated], strict=True)]
    assert i.retrieval_map(truth, s).value == pytest.approx(np.mean(ap))
    area = sk.roc_auc_score(truth.ravel(), s.ravel())
    assert i.linkage_auc(truth, s).value == pytest.approx(area)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 8), st.integers(2, 9), st.integers(0, 3))
def test_the_equal_error_rate_lies_on_the_roc_curve(seed: int, p: int, g: int, levels: int) -> None:
    truth, s = pairs(seed, p, g, levels)
    false, true, _ = sk.roc_curve(truth.ravel(), s.ravel(), drop_intermediate=False)
    grid = np.linspace(0, 1, 4001)  # along the straight pieces of the curve
    steps = np.interp(grid, np.linspace(0, 1, len(false)), np.arange(len(false)))
    x, y = (np.interp(steps, np.arange(len(false)), axis) for axis in (false, true))
    crossing = np.argmin(np.abs(1 - y - x))
    assert i.equal_error_rate(truth, s).value == pytest.approx(x[crossing], abs=0.01)


@settings(max_examples=12)
@given(SEEDS, st.integers(1, 6), st.integers(2, 7), st.integers(1, 4))
def test_ties_count_as_if_shuffled(seed: int, p: int, g: int, k: int) -> None:
    truth, s = pairs(seed, p, g, levels=2)
    rng = np.random.default_rng(seed)
    shuffled = [i.rank_k(truth, s + 1e-3 * rng.random(s.shape), k=k).value for _ in range(400)]
    assert i.rank_k(truth, s, k=k).value == pytest.approx(np.mean(shuffled), abs=0.12)


def test_a_constant_similarity_scores_the_floor() -> None:
    truth = i.pairs_alike(np.arange(5), np.arange(5))
    constant = np.zeros((5, 5))
    assert i.rank_k(truth, constant).value == pytest.approx(0.2)
    assert i.rank_k(truth, constant, k=3).value == pytest.approx(0.6)
    assert i.retrieval_map(truth, constant).value == pytest.approx(0.2)
    assert i.linkage_auc(truth, constant).value == pytest.approx(0.5)
    assert i.equal_error_rate(truth, constant).value == pytest.approx(0.5)


def test_a_perfect_and_a_perfectly_wrong_similarity() -> None:
    truth = i.pairs_alike([0, 1, 0], [0, 1])
    assert i.equal_error_rate(truth, truth * 1.0).value == 0.0
    assert i.equal_error_rate(truth, truth * -1.0).value == 1.0
    assert i.rank_k(truth, truth * 1.0).value == i.retrieval_map(truth, truth * 1.0).value == 1.0


def test_a_clip_is_not_compared_with_itself() -> None:
    people = np.array([0, 0, 1, 1])
    truth, s = (
        i.pairs_alike(people, people),
        np.eye(4) + 0.1 * i.pairs_alike([0, 1, 0, 1], [0, 1, 0, 1]),
    )
    assert i.rank_k(truth, s).value == 1.0
    np.fill_diagonal(s, -np.inf)
    assert i.rank_k(truth, s).value == 0.0
    assert i.retrieval_map(truth, s).value == pytest.approx(1 / 3)  # ties with the third
    assert i.linkage_auc(truth, s).value == pytest.approx(0.25)


@pytest.mark.parametrize("right", [1.0, 0.5, 0.0])
@pytest.mark.parametrize("metric", [i.rank_k, i.retrieval_map, i.shuffled_map])
def test_probes_whose_person_is_not_in_the_gallery_narrow_no_interval(
    metric: Callable[..., Statistic], right: float
) -> None:
    """They counted as trials: 20 people of whom 4 have a second clip looked like 20 that agree."""
    people = np.r_[np.arange(20), np.arange(4)]
    truth = i.pairs_alike(people, people)
    found = np.where(np.arange(24) % 4 < 4 * right, 1.0, -1.0)[:, None]
    similarity = np.where(np.eye(24) > 0, -np.inf, truth * found)
    scored = np.logical_and(truth, similarity > -np.inf).any(axis=1)
    every = score(metric(truth, similarity), clusters=people)
    alone = score(metric(truth[scored], similarity[scored]), clusters=people[scored])
    assert (every.n, every.clusters) == (8, 4) == (alone.n, alone.clusters)
    assert [every.low, every.value, every.high] == [alone.low, alone.value, alone.high]


def test_a_weight_counts_a_probe_so_many_times() -> None:
    truth, s = pairs(1, 6, 5)
    times = np.array([2, 0, 1, 3, 1, 1])
    many = np.repeat(np.arange(6), times)
    for metric in (i.rank_k, i.retrieval_map, i.linkage_auc, i.equal_error_rate):
        weighted = metric(truth, s).weighted(times[None] * 1.0)[0]
        assert weighted == pytest.approx(metric(truth[many], s[many]).value)
    truth[3:5] = False  # not in the gallery
    for metric in (i.shuffled_map, i.known_auc, i.identification_rate):
        weighted = metric(truth, s).weighted(times[None] * 1.0)[0]
        assert weighted == pytest.approx(metric(truth[many], s[many]).value)


def test_the_floor_of_map_is_that_of_galleries_in_random_order() -> None:
    truth, rng = i.pairs_alike(np.arange(3) % 2, [0, 0, 1, 0, 1, 1, 0]), np.random.default_rng(0)
    shuffled = [i.retrieval_map(truth, rng.random(truth.shape)).value for _ in range(2000)]
    floor = i.shuffled_map(truth, np.zeros(truth.shape)).value
    assert floor == pytest.approx(np.mean(shuffled), abs=0.01)
    assert floor > i.retrieval_map(truth, np.zeros(truth.shape)).value
    one = i.pairs_alike([0, 9], [0, 1, 2, 3])
    assert i.shuffled_map(one, np.zeros((2, 4))).value == pytest.approx(
        (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    )


def test_an_open_set_by_hand() -> None:
    truth = i.pairs_alike(["ann", "bob", "eve", "kim"], ["ann", "bob"])
    s = np.array([[0.9, 0.2], [0.7, 0.6], [0.8, 0.1], [0.3, 0.3]])
    assert i.known_auc(truth, s).value == 0.75  # eve is more alike than bob
    assert i.identification_rate(truth, s, false_alarms=0.0).value == 0.5  # ann, above eve
    assert i.identification_rate(truth, s, false_alarms=1.0).value == 0.5  # bob is taken for ann
    s[1] = 0.6, 0.7
    assert i.identification_rate(truth, s, false_alarms=0.5).value == 1.0
    half = i.identification_rate(truth, s, false_alarms=0.25).value
    assert half == pytest.approx(0.5)


def test_a_constant_similarity_scores_the_floor_of_an_open_set() -> None:
    truth, s = i.pairs_alike([0, 1, 2, 9], [0, 1, 2, 3]), np.zeros((4, 4))
    assert i.known_auc(truth, s).value == 0.5
    assert i.identification_rate(truth, s).value == pytest.approx(0.1 * 0.25)


def test_what_cannot_be_scored_is_nan_or_refused() -> None:
    nobody = np.zeros((2, 3), dtype=bool)
    for metric in (i.rank_k, i.retrieval_map, i.linkage_auc, i.equal_error_rate):
        assert np.isnan(metric(nobody, np.ones((2, 3))).value)
        with pytest.raises(UsageError, match="probes x gallery"):
            metric(nobody, np.ones((3, 2)))
        with pytest.raises(MasqueradeError, match="NaN"):
            metric(nobody, np.full((2, 3), np.nan))
    with pytest.raises(UsageError, match="1 or more"):
        i.rank_k(nobody, np.ones((2, 3)), k=0)

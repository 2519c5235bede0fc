"""Leakage beyond the action prior: 0 at the floor, 1 at raw, n/a where raw shows nothing."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from masquerade.errors import UsageError
from masquerade.metrics.classification import cmap
from masquerade.metrics.intervals import Score, Variance, variance_between_runs
from masquerade.metrics.leakage import (
    f_lambda,
    f_lambda_sweep,
    leakage,
    normalised,
    protects,
)
from masquerade.metrics.statistic import Statistic, average, mean


def accurate(share: float, n: int = 2000, seed: int = 0) -> Statistic:
    """An attacker with this accuracy, its correct videos scattered."""
    hits = np.arange(n) < round(share * n)
    return mean(np.random.default_rng(seed).permutation(hits))


@pytest.mark.parametrize(
    ("action", "privacy", "weight", "expected"),
    [
        (0.8711, 0.5193, 0.5, 0.6759),
        (0.8867, 0.0546, 0.5, 0.91605),
        (0.8674, 0.1319, 0.5, 0.86775),
        (0.8, 0.3, 0.0, 0.8),
        (0.8, 0.3, 1.0, 0.7),
    ],
)
def test_f_lambda(action: float, privacy: float, weight: float, expected: float) -> None:
    assert f_lambda(action, privacy, weight=weight) == pytest.approx(expected)


def test_the_sweep_runs_from_action_to_privacy() -> None:
    sweep = f_lambda_sweep(0.8, 0.3, steps=5)
    assert [weight for weight, _ in sweep] == [0, 0.25, 0.5, 0.75, 1]
    assert [value for _, value in sweep] == pytest.approx(np.linspace(0.8, 0.7, 5))
    with pytest.raises(UsageError, match="two or more"):
        f_lambda_sweep(0.8, 0.3, steps=1)
    for bad in (51.4, -0.1, float("nan")):
        with pytest.raises(UsageError, match=r"\[0, 1\]"):
            f_lambda(bad, 0.5)


@pytest.mark.parametrize(
    ("strongest", "raw", "floor", "expected"),
    [
        (0.4, 0.9, 0.4, 0.0),
        (0.9, 0.9, 0.4, 1.0),
        (0.65, 0.9, 0.4, 0.5),
        (0.3, 0.9, 0.4, 0.0),
        (0.95, 0.9, 0.4, 1.1),
        (0.3, 0.4, 0.4, None),
        (0.3, 0.35, 0.4, None),
    ],
)
def test_normalised(strongest: float, raw: float, floor: float, expected: float | None) -> None:
    assert normalised(strongest, raw, floor) == (
        None if expected is None else pytest.approx(expected)
    )


def test_the_best_trivial_attacker_is_the_floor() -> None:
    trivial = {"constant": accurate(0.2, seed=2), "action prior": accurate(0.4, seed=3)}
    result = leakage(accurate(0.65), accurate(0.9, seed=1), trivial)
    assert result.trivial == "action prior"
    assert result.value == pytest.approx(0.5)
    assert result.low is not None and result.high is not None
    assert 0.4 < result.low < 0.5 < result.high < 0.6
    assert result.protects is False
    at_raw = leakage(accurate(0.9, seed=1), accurate(0.9, seed=1), trivial)
    at_floor = leakage(accurate(0.4, seed=3), accurate(0.9, seed=1), trivial)
    assert (at_raw.value, at_raw.low, at_raw.high) == pytest.approx((1, 1, 1))
    assert (at_floor.value, at_floor.low, at_floor.high) == pytest.approx((0, 0, 0))


@pytest.mark.parametrize("raw", [0.30, 0.40, 0.41])
def test_where_raw_is_not_above_the_floor_it_is_not_applicable_never_zero(raw: float) -> None:
    """VP-UCF101: raw 76.62 against a prior of 77.34; the benchmark cannot show leakage."""
    result = leakage(accurate(0.3), accurate(raw, seed=1), {"prior": accurate(0.4, seed=2)})
    assert (result.value, result.low, result.high, result.protects) == (None, None, None, None)
    assert asdict(result)["raw"]["value"] == pytest.approx(raw)


def test_undefined_scores_are_not_applicable() -> None:
    y = np.array([[1.0], [1.0], [1.0]])
    undefined, floor = cmap(y, y), mean([0.0, 1.0, 0.0])
    assert leakage(undefined, undefined, {"prior": floor}).value is None
    with pytest.raises(UsageError, match="floors that are defined"):
        leakage(floor, floor, {"prior": undefined})


@pytest.mark.parametrize(
    ("high", "raw_low", "expected"),
    [
        (0.449, 0.8, True),  # within .4 + .1 x (.9 - .4)
        (0.451, 0.8, False),
        (0.449, 0.4, None),  # raw's interval touches the floor
    ],
)
def test_protects_looks_at_the_upper_bound(
    high: float, raw_low: float, expected: bool | None
) -> None:
    strongest, raw = Score(0.41, 0.38, high, 99, 99), Score(0.9, raw_low, 0.95, 99, 99)
    assert protects(strongest, raw, Score(0.4, 0.35, 0.45, 99, 99)) is expected


def test_a_small_test_set_does_not_protect() -> None:
    """The same scores protect with 8,000 videos and not with 40, nor with 8,000 of 10 people."""

    def verdict(n: int, clusters: np.ndarray | None = None) -> bool | None:
        strongest, raw = accurate(0.41, n), accurate(0.95, n, seed=1)
        return leakage(
            strongest, raw, {"prior": accurate(0.40, n, seed=2)}, clusters=clusters
        ).protects

    assert verdict(8000) is True
    assert verdict(40) is False
    blocks = np.sort(np.random.default_rng(0).integers(0, 10, 8000))
    strongest = mean(np.isin(blocks, [0, 1, 2, 3]) * 1.0)
    raw, floor = accurate(0.95, 8000, seed=1), {"prior": accurate(0.40, 8000, seed=2)}
    assert leakage(strongest, raw, floor, clusters=blocks).protects is False


def test_fiellers_interval_covers_the_ratio() -> None:
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        p = rng.random((200, 3))
        floor, raw = mean(p[:, 0] < 0.4), mean(p[:, 1] < 0.9)
        strongest = mean(np.where(p[:, 2] < 0.5, p[:, 0] < 0.4, p[:, 1] < 0.9))
        result = leakage(strongest, raw, {"prior": floor})
        assert result.low is not None and result.high is not None
        held.append(result.low <= 0.5 <= result.high)
    assert 0.90 <= np.mean(held) <= 0.99


def test_the_ends_of_several_runs_are_no_nearer_than_those_of_the_score() -> None:
    """Where runs differ much: the score's ends lie unevenly about it, Fieller's evenly."""
    some, raw, floor = (accurate(share, n=200, seed=k) for k, share in enumerate((0.8, 0.9, 0.25)))
    found = leakage(some, raw, {"guess": floor}, between=Variance(0.01, 4.0))
    assert found.low is not None and found.strongest.low is not None
    assert found.high is not None and found.strongest.high is not None
    plain = [(end - 0.25) / (0.9 - 0.25) for end in (found.strongest.low, found.strongest.high)]
    assert found.low <= plain[0] + 1e-9 and plain[1] - 1e-9 <= found.high


@pytest.mark.parametrize(("right", "apart"), [(0, 1e-9), (1, 0.01), (40, 1e-9)])
def test_the_interval_of_one_run_near_0_and_1_is_no_narrower_than_that_of_the_score(
    right: int, apart: float
) -> None:
    """The jackknife has no spread where all or none are right, and little where one is.

    Where it has some, that goes a little with that of raw video.
    """
    clusters, raw = np.repeat(np.arange(10), 4), accurate(0.9, n=40, seed=1)
    some = mean(np.arange(40) < right)
    found = leakage(some, raw, {"guess": mean(np.full(40, 0.1))}, clusters=clusters)
    assert found.low is not None and found.strongest.low is not None
    assert found.high is not None and found.strongest.high is not None
    own = [(end - 0.1) / (0.9 - 0.1) for end in (found.strongest.low, found.strongest.high)]
    assert found.low <= max(0.0, own[0]) + apart and own[1] - apart <= found.high
    assert own[1] - own[0] > 0.2


@pytest.mark.parametrize("runs", [2, 5])
def test_the_interval_of_several_runs_covers_the_ratio(runs: int) -> None:
    """Also of a method that hides nothing, whose networks answer as those of raw video do."""
    rng, held = np.random.default_rng(runs), []
    for trial in range(200):
        p, by_run = rng.random((200, 3)), 0.5 + 0.1 * rng.standard_normal(runs)
        floor, raw = mean(p[:, 0] < 0.4), mean(p[:, 1] < 0.9)
        of_runs = [
            mean(np.where(rng.random(200) < share, p[:, 0] < 0.4, p[:, 1] < 0.9))
            for share in by_run
        ]
        read = average(of_runs)
        found = leakage(read, raw, {"prior": floor}, between=variance_between_runs(of_runs))
        assert found.low is not None and found.high is not None
        held.append(found.low <= 0.5 <= found.high)
        if trial == 0:
            same = leakage(raw, raw, {"prior": floor}, between=variance_between_runs(of_runs))
            assert same.low is not None and same.high is not None
            assert same.low < 1 < same.high
    assert np.mean(held) >= 0.93


def test_the_interval_reaches_beyond_any_guess_that_may_be_the_best() -> None:
    """The best of two guesses on a few videos is better than it is on others."""
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(30), 4)
    lucky = mean((rng.random(120) < 0.3).astype(float))
    even = mean(np.full(120, lucky.value - 0.06))  # not surely worse
    bad = mean(np.zeros(120))  # surely
    strongest, raw = (mean((rng.random(120) < p).astype(float)) for p in (0.3, 0.9))

    def ends(**floors: Statistic) -> tuple[float, float]:
        found = leakage(strongest, raw, floors, clusters=people)
        assert found.low is not None and found.high is not None
        assert found.trivial == "lucky" and found.floor.value == lucky.value
        return found.low, found.high

    alone = ends(lucky=lucky)
    assert ends(lucky=lucky, bad=bad) == alone
    both = ends(lucky=lucky, even=even, bad=bad)
    assert both[0] == alone[0] and both[1] > alone[1]

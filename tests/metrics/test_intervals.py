"""Intervals: coverage, defined edge cases, and paired comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from masquerade.errors import UsageError
from masquerade.metrics.classification import auroc, cmap, f1
from masquerade.metrics.intervals import (
    MAX_BLOCKS,
    Quantiles,
    Variance,
    bootstrap,
    cluster_numbers,
    jackknife,
    max_t,
    max_t_quantile,
    max_t_quantile_of_runs,
    score,
    score_over_runs,
    t_quantile,
    variance_between_runs,
    wilson,
)
from masquerade.metrics.statistic import Floats, Ints, Statistic, average, difference, mean

TWENTY = np.repeat(np.arange(20), 6)


def shares(rng: np.random.Generator, p: float, rho: float) -> Floats:
    """120 videos of 20 people, right with rate p; beta-binomial."""
    if not rho:
        return (rng.random(120) < p) * 1.0
    total = 1 / rho - 1
    return (rng.random(120) < rng.beta(p * total, (1 - p) * total, 20)[TWENTY]) * 1.0


@pytest.mark.parametrize("p", [0.3, 0.75, 0.9])
@pytest.mark.parametrize("rho", [0.0, 0.2])
def test_accuracies_are_covered(p: float, rho: float) -> None:
    """Within 93 to 97 and the 2 sd of 500 sets; `benchmarks/coverage.py` has 1,000 and more."""
    rng = np.random.default_rng(1)
    results = [
        score(mean(shares(rng, p, rho)), clusters=TWENTY if rho else None) for _ in range(500)
    ]
    covered = np.mean([r.low is not None and r.low <= p <= (r.high or 0) for r in results])
    assert 0.92 <= covered <= 0.98
    assert results[0].clusters == (20 if rho else 120)


def test_auroc_is_covered() -> None:
    rng = np.random.default_rng(2)
    truth, covered = stats.norm.cdf(1.35 / 2**0.5), []
    for _ in range(300):
        y = np.repeat(rng.permutation(20) < 8, 6) * 1.0
        person = np.repeat(rng.normal(size=20), 6)
        s = 1.35 * y + 0.2**0.5 * person + 0.8**0.5 * rng.normal(size=120)
        r = score(auroc(y, s), clusters=TWENTY)
        covered.append(r.low is not None and r.low <= truth <= (r.high or 0))
    assert 0.91 <= np.mean(covered) <= 0.99


def test_ignoring_clusters_would_not_cover() -> None:
    """Videos of one person are not independent, so n is not the number of videos."""
    rng = np.random.default_rng(3)
    widths, missed = [], 0
    for _ in range(200):
        y = shares(rng, 0.75, 0.5)
        naive, ours = score(mean(y)), score(mean(y), clusters=TWENTY)
        assert naive.low is not None and naive.high is not None
        assert ours.low is not None and ours.high is not None
        missed += not naive.low <= 0.75 <= naive.high
        widths.append((ours.high - ours.low) / (naive.high - naive.low))
    assert missed > 30
    assert np.mean(widths) > 1.5


@pytest.mark.parametrize("freedom", [2, 2.5, 5, 19, 119, 999])
def test_the_t_quantile_is_students(freedom: float) -> None:
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-7)


def test_wilsons_interval_is_wilsons() -> None:
    for hits in (0, 3, 10):
        expected = stats.binomtest(hits, 10).proportion_ci(method="wilson")
        assert wilson(hits / 10, 10, stats.norm.ppf(0.975)) == pytest.approx(tuple(expected))


def test_the_jackknife_of_a_mean_is_the_textbook_standard_error() -> None:
    v = np.random.default_rng(0).random(30)
    error, t = jackknife([mean(v)]).error([1.0])
    assert error == pytest.approx(stats.sem(v))
    assert t == pytest.approx(stats.t.ppf(0.975, 29), abs=1e-3)


def test_duplicated_videos_of_a_person_add_nothing() -> None:
    v = (np.random.default_rng(0).random(20) < 0.6) * 1.0
    alone, sixfold = score(mean(v)), score(mean(v[TWENTY]), clusters=TWENTY)
    assert (sixfold.low, sixfold.high) == pytest.approx((alone.low, alone.high))


def test_an_average_of_one_has_the_interval_of_what_it_averages() -> None:
    """Of one training run, the share of clips it reads: .925 had [.24, 1.00] for [.44, .99]."""
    right = mean(np.r_[np.ones(37), np.zeros(3)])
    people = np.arange(40) // 4
    assert score(average([right]), clusters=people) == score(right, clusters=people)


def test_few_deciding_clusters_have_few_degrees_of_freedom() -> None:
    sizes = np.array([50, 50] + [1] * 18)
    codes = np.repeat(np.arange(20), sizes)
    v = (codes == 0) + (codes > 1) * (codes % 2) * 1.0
    assert jackknife([mean(v)], clusters=codes).error([1.0])[1] > t_quantile(8)


@pytest.mark.parametrize(
    ("statistic", "clusters", "expected"),
    [
        (mean([1.0]), None, (1.0, 0.0, 1.0)),  # one video
        (mean([1.0, 0.0]), ["ann", "ann"], (0.5, 0.0, 1.0)),  # one person
        (auroc([1, 0, 0], [3, 2, 1]), None, (1.0, 0.0, 1.0)),  # one positive
        (auroc([1, 1, 0, 0], [1, 1, 1, 1]), None, (0.5, 0.5, 0.5)),  # cannot vary
        (auroc([1, 1], [0, 1]), None, (None, None, None)),  # one class
        (cmap([[0], [0]], [[0], [1]]), None, (None, None, None)),  # no positives
        (mean([]), None, (None, None, None)),  # no videos
    ],
)
def test_the_edges_are_defined(
    statistic: Statistic, clusters: list[str] | None, expected: tuple[float | None, ...]
) -> None:
    result = score(statistic, clusters=clusters)
    assert (result.value, result.low, result.high) == expected


def test_a_perfect_value_is_bounded_by_the_clusters_it_rests_on() -> None:
    all_right = score(mean(np.ones(120)))
    of_twenty = score(mean(np.ones(120)), clusters=TWENTY)
    assert all_right.high == of_twenty.high == 1.0
    assert all_right.low is not None and of_twenty.low is not None
    assert all_right.low == pytest.approx(0.968, abs=0.002)  # the rule of three and a bit
    assert of_twenty.low == pytest.approx(20 / (20 + t_quantile(19) ** 2))
    y = TWENTY < 3  # three people are positive
    perfect = score(auroc(y, y * 1.0), clusters=TWENTY)
    assert perfect.low is not None and perfect.low < 0.5
    nobody = score(mean(np.zeros(120)))
    assert (nobody.low, nobody.high) == pytest.approx((0.0, 1 - all_right.low))


def test_a_perfect_mean_over_attributes_rests_on_the_rarest() -> None:
    y = np.stack([TWENTY < 10, TWENTY < 4], axis=1) * 1.0
    result, only = (
        score(cmap(y, y), clusters=TWENTY),
        score(auroc(y[:, 1], y[:, 1]), clusters=TWENTY),
    )
    assert (result.value, result.low) == (1.0, pytest.approx(only.low))
    assert score(f1(y, y), clusters=TWENTY).low == pytest.approx(only.low)


def test_intervals_hold_their_value_and_stay_in_range() -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 7, 30):
        for _ in range(40):
            y, s = rng.integers(0, 2, n), rng.integers(0, 3, n)
            for statistic in (mean(y), auroc(y, s), difference(mean(y), mean(y[::-1]))):
                r = score(statistic, clusters=rng.integers(0, 4, n))
                if r.value is None:
                    continue
                assert r.low is not None and r.high is not None
                assert statistic.low <= r.low <= r.value + 1e-12
                assert r.value - 1e-12 <= r.high <= statistic.high


def test_a_difference_of_zero_everywhere_still_has_a_width() -> None:
    v = np.ones(120)
    result = score(difference(mean(v), mean(v)), clusters=TWENTY)
    assert result.value == 0.0
    assert result.low is not None and result.low < -0.1


def test_a_paired_comparison_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random(300)
    first, second = mean((hard < 0.8) * 1.0), mean((hard < 0.75) * 1.0)
    both = score(difference(first, second))
    assert both.low is not None and both.low > 0
    alone = [score(s) for s in (first, second)]
    assert alone[0].low is not None and alone[1].high is not None
    assert alone[0].low < alone[1].high  # the two single intervals overlap


def test_the_bootstrap_draws_whole_clusters_and_repeats_with_its_seed() -> None:
    v = np.repeat(np.arange(4) % 2, 5) * 1.0
    drawn = bootstrap(mean(v), clusters=np.repeat(list("abcd"), 5), resamples=500)
    assert set(np.round(drawn, 6)) == {0.0, 0.25, 0.5, 0.75, 1.0}
    again = bootstrap(mean(v), clusters=np.repeat(list("abcd"), 5), resamples=500)
    assert (drawn == again).all()
    free = bootstrap(mean(np.random.default_rng(0).random(200)), resamples=4000)
    assert free.std() == pytest.approx(np.sqrt(1 / 12 / 200), rel=0.1)


def test_many_clusters_are_left_out_in_blocks() -> None:
    v = np.random.default_rng(0).random(3 * MAX_BLOCKS)
    result = jackknife([mean(v)])
    assert result.influence.shape == (1, MAX_BLOCKS)
    assert result.error([1.0])[0] == pytest.approx(stats.sem(v), rel=0.1)
    assert score(mean(v)).clusters == 3 * MAX_BLOCKS


def test_clusters_have_any_names_but_one_for_each_video() -> None:
    expected: Ints = np.array([1, 0, 1])
    assert (cluster_numbers(3, ["b", "a", "b"]) == expected).all()
    with pytest.raises(UsageError, match="each of the 3 videos"):
        cluster_numbers(3, ["a"])
    with pytest.raises(UsageError, match="one or more resamples"):
        bootstrap(mean([1.0]), resamples=0)


def rivals(rng: np.random.Generator, count: int, *, sd: float = 0.0) -> list[Statistic]:
    """Attackers who are each right with rate .3, or so far apart as `sd` says."""
    rates = 0.3 + sd * rng.standard_normal(count)
    return [mean((rng.random(120) < rate) * 1.0) for rate in rates]


def test_one_statistic_needs_students_quantile_and_many_need_more() -> None:
    rng = np.random.default_rng(4)
    (one,) = rivals(rng, 1)
    alone = max_t_quantile([one], clusters=TWENTY)
    assert alone == pytest.approx(stats.t.ppf(0.975, 19), rel=0.1)
    assert max_t_quantile([one] * 9, clusters=TWENTY) == pytest.approx(alone)
    many = max_t_quantile(rivals(rng, 30), clusters=TWENTY)
    bonferroni = stats.t.ppf(1 - 0.025 / 30, 19)  # thirty independent ones need a little less
    assert alone + 0.7 < many < bonferroni + 0.2
    assert max_t_quantile([one], clusters=np.zeros(120)) == 0.0  # one group: no spread is known
    constant = mean(np.zeros(120))
    assert max_t_quantile([constant], clusters=TWENTY) == 0.0


def test_intervals_of_many_attackers_hold_all_at_once() -> None:
    rng = np.random.default_rng(5)
    covered = {"alone": 0, "at once": 0}
    for _ in range(200):
        every = rivals(rng, 10)
        for name, quantile in (("alone", 0.0), ("at once", max_t_quantile(every, clusters=TWENTY))):
            ends = [score(one, clusters=TWENTY, quantiles=Quantiles(quantile)) for one in every]
            covered[name] += all((one.low or 0) <= 0.3 <= (one.high or 1) for one in ends)
    assert covered["alone"] < 160  # .95 to the tenth power is .60
    assert 200 * 0.92 <= covered["at once"] <= 200 * 0.99


def test_many_attackers_of_training_runs_need_more_standard_errors_of_the_runs_too() -> None:
    rng = np.random.default_rng(4)
    every = [rivals(rng, 5, sd=0.1) for _ in range(12)]
    alone = stats.t.ppf(0.975, 4)
    assert max_t_quantile_of_runs(every[:1]) == pytest.approx(alone, rel=0.1)
    assert max_t_quantile_of_runs(every[:1] * 12) == pytest.approx(alone, rel=0.1)
    assert alone + 1 < max_t_quantile_of_runs(every) < stats.t.ppf(1 - 0.025 / 12, 4) + 0.5
    assert max_t_quantile_of_runs([[one[0]] for one in every]) == 0.0  # of a single run
    assert max_t_quantile_of_runs([[one[0]] * 5 for one in every]) == 0.0


def test_intervals_of_many_attackers_of_training_runs_hold_all_at_once() -> None:
    """Runs that differ by more than the people do, for each attacker by itself."""
    rng, covered = np.random.default_rng(5), {"people": 0, "both": 0}
    person = np.repeat(np.arange(40), 15)
    for _ in range(60):
        rates = 0.5 + 0.08 * rng.standard_normal((8, 5, 1))
        runs = [list(map(mean, each)) for each in (rng.random((8, 5, 600)) < rates) * 1.0]
        every = [average(each) for each in runs]
        quantiles = max_t(every, runs, clusters=person)
        for name, used in (("people", Quantiles(quantiles.people)), ("both", quantiles)):
            found = [
                score_over_runs(one, each, clusters=person, quantiles=used)
                for one, each in zip(every, runs, strict=True)
            ]
            covered[name] += all((one.low or 0) <= 0.5 <= (one.high or 1) for one in found)
    assert covered["people"] < 60 * 0.9 <= covered["both"], covered


def test_the_variance_between_runs_says_what_the_videos_explain() -> None:
    rng = np.random.default_rng(6)
    same = mean((rng.random(120) < 0.3) * 1.0)
    assert variance_between_runs([same], clusters=TWENTY) is None
    alike = variance_between_runs([same] * 5, clusters=TWENTY)
    assert alike is not None and alike.value == 0 and alike.freedom == 4

    def estimated(sd: float) -> float:
        every = [variance_between_runs(rivals(rng, 5, sd=sd)) for _ in range(400)]
        return float(np.mean([one.value - one.shared for one in every if one is not None]))

    nothing, much = estimated(0.0), estimated(0.08)
    assert much == pytest.approx(0.08**2 / 5, rel=0.25) and abs(nothing) < 0.2 * much


@pytest.mark.parametrize("count", [2, 3, 5])
def test_intervals_hold_where_few_runs_differ_as_little_as_the_videos(count: int) -> None:
    """Runs then seem not to differ now and then, and intervals held in 86 to 93 % of the tables."""
    rng, held, sets = np.random.default_rng(9), 0, 300
    person = np.repeat(np.arange(100), 6)
    for _ in range(sets):
        rates = 0.5 + 0.04 * rng.standard_normal((count, 1))
        runs = list(map(mean, (rng.random((count, 600)) < rates) * 1.0))
        found = score_over_runs(average(runs), runs, clusters=person)
        held += (found.low or 0) <= 0.5 <= (found.high or 1)
    assert held >= 0.94 * sets


def test_a_variance_of_few_runs_has_the_quantile_of_few_degrees_of_freedom() -> None:
    """However large it is: .975 of a sum of two variances needs no less than of either alone."""
    values = np.random.default_rng(8).random(20)
    people = jackknife([mean(np.repeat(values, 6))], clusters=TWENTY)
    error, alone = people.error([1.0])
    runs = stats.t.ppf(0.975, 2)
    for share in (0.01, 0.1, 1.0, 10.0, 1000.0):
        between = Variance(share * error**2, 2.0)
        both, t = people.error([1.0], between=between)
        assert both == pytest.approx(error * math.sqrt(1 + share))
        margins = (alone * error) ** 2 + runs**2 * between.value
        assert (t * both) ** 2 == pytest.approx(margins, rel=1e-6)
        assert alone < t < runs
        counted_once = between._replace(shared=0.5 * error**2)
        less, t = people.error([1.0], between=counted_once)
        assert less == pytest.approx(error * math.sqrt(1 + max(0.0, share - 0.5)))
        halved = (alone * error) ** 2 * 0.5 + runs**2 * between.value
        assert (t * less) ** 2 == pytest.approx(max(halved, (alone * error) ** 2), rel=1e-6)


def test_runs_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(7)
    runs = [mean((rng.random(120) < rate) * 1.0) for rate in (0.1, 0.3, 0.5)]
    between = variance_between_runs(runs, clusters=TWENTY)
    narrow, wide = (score(runs[0], clusters=TWENTY, between=one) for one in (None, between))
    assert between is not None and between.value > 0
    assert (wide.high or 0) - (wide.low or 0) > (narrow.high or 0) - (narrow.low or 0)

"""95 % intervals over videos clustered by person or group, and paired comparisons of methods.

Videos of one person are not independent, so whole clusters are left out or drawn. Measured by
`benchmarks/coverage.py` (20 clusters of 6, intraclass correlation .2): the percentile bootstrap
covers 91 to 94 % instead of 95, BCa 92 to 95, and a bootstrap-t is unbounded where a resample has
no spread. A leave-one-cluster-out jackknife covers, and is used here, with

- for shares of videos, Wilson's interval at the effective number of videos v(1 - v) / SE^2, never
  more than there are (Korn and Graubard 1998; Wilson 1927);
- for AUROC, cMAP, F1 and other bounded numbers, a t interval on the logit scale that holds both
  the value and the value less its jackknife bias (average precision is biased upward);
- for differences, a plain t interval;

each with the t quantile at Satterthwaite's degrees of freedom from the clusters' influences u,
3 (sum u^2)^2 / sum u^4 - 1, which is about G - 1 for even clusters and few where few clusters
decide. Everything is deterministic and needs no resampling.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from masquerade.errors import UsageError
from masquerade.metrics.statistic import (
    MAX_WEIGHTS,
    Floats,
    Ints,
    Statistic,
    any_labelled,
    values_left_out,
)

DRAWS = 4000  # of the largest |t| of several statistics
ROUNDING = 1e-12  # below which a spread or a share is 0 but for rounding
MAX_BLOCKS = 1000  # more clusters than this are left out in blocks, which changes the SE little


@dataclass(frozen=True)
class Score:
    """A number with its 95 % interval; None where it is undefined."""

    value: float | None
    low: float | None
    high: float | None
    n: int  # videos
    clusters: int  # independent groups among them


class Variance(NamedTuple):
    """A variance over training runs, and the degrees of freedom that it was estimated with."""

    value: float
    freedom: float
    shared: float = 0.0  # the part of it that the variance over clusters holds, too

    @property
    def beyond(self) -> float:
        """The part of it that the variance over clusters does not hold."""
        return max(0.0, self.value - self.shared)


class Quantiles(NamedTuple):
    """How many standard errors intervals need so that several hold at once, see `max_t`."""

    people: float = 0.0  # of the part that is over clusters, see `max_t_quantile`
    runs: float = 0.0  # of that over training runs, see `max_t_quantile_of_runs`


NO_QUANTILES = Quantiles()  # one interval by itself


@dataclass(frozen=True)
class Jackknife:
    """The jackknife of S statistics over G clusters."""

    values: Floats  # (S,), the plain ones
    influence: Floats  # (S, G) of each cluster on each value; mean 0
    bias: Floats  # (S,), estimated
    exact: bool  # False where leaving out some cluster made a value undefined

    def error(
        self,
        combination: ArrayLike,
        *,
        between: Variance | None = None,
        quantiles: Quantiles = NO_QUANTILES,
    ) -> tuple[float, float]:
        """Standard error of a linear combination (S,) of the values, and its t quantile.

        `quantiles` are the least ones of the clusters' and of the runs' part.

        `between` is that of training runs. The squares of both margins of error, each at the t
        quantile of its own degrees of freedom, are added (Banerjee 1960), which covers where
        Satterthwaite's degrees for the sum cover too little: where a variance of few degrees is
        most of it. What both variances hold is taken from that of the clusters. Taken from that of
        the runs it would often leave nothing, as few runs differ by little now and then, and
        intervals of few runs would hold too rarely; none is narrower than the clusters' part alone.
        """
        u = np.asarray(combination, dtype=np.float64) @ self.influence
        variance = float((u**2).sum()) * (len(u) - 1) / len(u)
        t = max(t_quantile(_freedom(u)), quantiles.people)
        if between is None or not between.value > 0:
            return math.sqrt(variance), t
        of_runs = max(t_quantile(between.freedom), quantiles.runs)
        margin = t**2 * max(0.0, variance - between.shared) + of_runs**2 * between.value
        both = variance + between.beyond
        return math.sqrt(both), math.sqrt(max(margin, t**2 * variance) / both)


def score(
    statistic: Statistic,
    *,
    clusters: ArrayLike | None = None,
    quantiles: Quantiles = NO_QUANTILES,
    between: Variance | None = None,
) -> Score:
    """The value of a statistic and its 95 % interval.

    With one cluster, or one that holds all of a class, the interval is the whole range. A perfect
    value is bounded by the number of clusters of the rarest class, as nothing tells how alike their
    videos are: of a share of 0 the upper end may lie above that of one right answer. A value that
    cannot vary, such as the AUROC of a constant score, has an interval of no width.

    Args:
        statistic: one number of the test videos.
        clusters: (n,) the person or group of each video; None: every video stands for itself.
        quantiles: at least so many standard errors lie on each side, see `max_t`.
        between: the variance of the value over training runs, see `variance_between_runs`.
    """
    codes = cluster_numbers(statistic.n, clusters)
    counted = _counted(statistic, codes)
    count = len(np.unique(counted))
    value = statistic.value if statistic.n else math.nan
    if math.isnan(value):
        return Score(None, None, None, len(counted), count)
    ends = _interval(statistic, value, codes, quantiles, between)
    return Score(value, *ends, len(counted), count)


def max_t_quantile(statistics: Sequence[Statistic], *, clusters: ArrayLike | None = None) -> float:
    """How many standard errors intervals need so that 95 % of the time all of them cover at once.

    The largest |t| of all statistics (max-T, Westfall and Young 1993), whose distribution comes
    from the clusters' influences by Gaussian multipliers (Chernozhukov, Chetverikov and Kato 2013),
    each divided by the root of a chi-square with the statistic's own degrees of freedom. With one
    statistic it is about the quantile of Student's t. Draws are the same each time.
    """
    defined = [
        statistic for statistic in statistics if statistic.n and not math.isnan(statistic.value)
    ]
    if not defined or len(np.unique(cluster_numbers(defined[0].n, clusters))) < 2:
        return 0.0
    influence = jackknife(defined, clusters=clusters).influence
    spread = np.sqrt((influence**2).sum(axis=1))
    varied = ~np.isnan(spread) & (spread > ROUNDING)
    if not varied.any():
        return 0.0
    influence = influence[varied] / spread[varied, None]  # (S, G)
    multipliers = np.random.default_rng(0).standard_normal((influence.shape[1], DRAWS))
    shares = np.stack([_chi_square_shares(round(_freedom(u)), DRAWS) for u in influence])
    largest = (np.abs(influence @ multipliers) / np.sqrt(shares)).max(axis=0)  # (DRAWS,)
    return float(np.quantile(largest, 0.95))


def max_t_quantile_of_runs(runs: Sequence[Sequence[Statistic]]) -> float:
    """As `max_t_quantile`, of what differs between training runs; 0 where nothing does.

    `runs` are those of each statistic. As many runs are drawn as there are, which differ and go
    together as these do: where all statistics differ by the same runs, as where the anonymizer
    decides, it is the quantile of Student's t. Two runs always seem to go together, so that of two
    intervals at once may hold too rarely.
    """
    quantile = 0.0
    for count in {len(statistic_runs) for statistic_runs in runs if len(statistic_runs) > 1}:
        values = np.array(
            [
                [run.value for run in statistic_runs]
                for statistic_runs in runs
                if len(statistic_runs) == count
            ]
        )
        apart = values - values.mean(axis=1, keepdims=True)  # (S, R)
        spread = np.sqrt((apart**2).sum(axis=1))
        varied = ~np.isnan(spread) & (spread > ROUNDING)
        if not varied.any():
            continue
        multipliers = np.random.default_rng(3).standard_normal((count, count * DRAWS))
        drawn = (apart[varied] / spread[varied, None] @ multipliers).reshape(-1, count, DRAWS)
        error = drawn.std(axis=1, ddof=1) / math.sqrt(count)
        largest = np.abs(drawn.mean(axis=1) / error).max(axis=0)  # (DRAWS,)
        quantile = max(quantile, float(np.quantile(largest, 0.95)))
    return quantile


def max_t(
    statistics: Sequence[Statistic],
    runs: Sequence[Sequence[Statistic]] = (),
    *,
    clusters: ArrayLike | None = None,
) -> Quantiles:
    """Return the critical values of simultaneous 95 % intervals of several statistics (max-T).

    `runs` are the training runs of each, where there are several.
    """
    people = max_t_quantile(statistics, clusters=clusters)
    return Quantiles(people, max_t_quantile_of_runs(runs))


def variance_between_runs(
    runs: Sequence[Statistic], *, clusters: ArrayLike | None = None
) -> Variance | None:
    """The variance of the mean over training runs by how much they differ; None for one run.

    Runs differ on the same videos by chance, too: that part, which the variance over people holds
    already, is `shared` (the components of variance of Gallas 2006).
    """
    count = len(runs)
    if count < 2 or any(math.isnan(run.value) for run in runs):
        return None
    between = float(np.var([run.value for run in runs], ddof=1))
    influence = jackknife(list(runs), clusters=clusters).influence  # (R, G)
    own = influence - influence.mean(axis=0)
    groups = own.shape[1]
    within = float((own**2).sum()) * (groups - 1) / groups / (count - 1) if groups > 1 else 0.0
    within = 0.0 if math.isnan(within) else within
    return Variance(between / count, count - 1.0, within / count)


def score_over_runs(
    statistic: Statistic,
    runs: Sequence[Statistic],
    *,
    clusters: ArrayLike | None = None,
    quantiles: Quantiles = NO_QUANTILES,
) -> Score:
    """The value of a mean over training runs, and its 95 % interval over people and runs alike.

    As `score` where there is a single run or none. `runs` are the same number of each run; theirs
    need not add up to `statistic` where it is not linear in them (the delta method).
    """
    between = variance_between_runs(runs, clusters=clusters)
    return score(statistic, clusters=clusters, quantiles=quantiles, between=between)


def bootstrap(
    statistic: Statistic,
    *,
    clusters: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Floats:
    """(resamples,) values on draws of whole clusters with replacement; nan where undefined."""
    if resamples < 1:
        raise UsageError("A bootstrap needs one or more resamples.")
    codes = cluster_numbers(statistic.n, clusters)
    return np.concatenate([statistic.weighted(w) for w in _draws(codes, resamples, seed)])


def jackknife(statistics: list[Statistic], *, clusters: ArrayLike | None = None) -> Jackknife:
    """Jackknife statistics of the same videos, leaving out one labelled cluster at a time."""
    codes = _blocks(cluster_numbers(statistics[0].n, clusters))
    left = np.stack([values_left_out(statistic, codes) for statistic in statistics])  # (S, G)
    known = any_labelled(statistics)
    if known is not None:  # clusters without a label would look like many that agree
        left = left[:, np.unique(codes[known])]
    values = np.array([s.value for s in statistics])
    centre, count = left.mean(axis=1), left.shape[1]
    influence = centre[:, None] - left
    exact = not bool(np.isnan(left).any() or np.isnan(values).any())
    return Jackknife(values, influence, (count - 1) * (centre - values), exact)


def cluster_numbers(n: int, clusters: ArrayLike | None) -> Ints:
    """Clusters (n,) of any names as numbers 0 to G - 1; None: each video is its own."""
    if clusters is None:
        return np.arange(n)
    names = np.asarray(clusters)
    if names.shape != (n,):
        raise UsageError(f"Clusters must name a person or group for each of the {n} videos.")
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


def wilson(share: float, n: float, t: float) -> tuple[float, float]:
    """Wilson's interval of a share of `n` effective trials at the quantile `t`."""
    bottom = 1 + t * t / n
    centre = (share + t * t / (2 * n)) / bottom
    half = t * math.sqrt(share * (1 - share) / n + t * t / (4 * n * n)) / bottom
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


_quadrature = functools.cache(np.polynomial.legendre.leggauss)


@functools.lru_cache(maxsize=1000)
def t_quantile(freedom: float, outside: float = 0.05) -> float:
    """Student's t that is exceeded on either side with the probability `outside`.

    By quadrature of its density after t = sqrt(freedom) tan(angle).
    """
    nodes, weights = _quadrature(64)
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        angles = middle / 2 * (nodes + 1)
        mass = scale * middle / 2 * float(weights @ np.cos(angles) ** (freedom - 1))
        low, high = (middle, high) if mass < (1 - outside) / 2 else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def _freedom(influence: Floats) -> float:
    """Satterthwaite's degrees of freedom from the influences (G,) of the clusters."""
    count = len(influence)
    square, fourth = float((influence**2).sum()), float((influence**4).sum())
    freedom = 3 * square**2 / fourth - 1 if fourth > 0 else count - 1.0
    return min(max(freedom, 2.0), max(count - 1.0, 1.0))


@functools.cache
def _chi_square_shares(freedom: int, draws: int) -> Floats:
    """Draws (draws,) of a chi-square over its degrees of freedom, at levels that all share."""
    levels = np.random.default_rng(1).random(draws)
    known = np.random.default_rng(2).chisquare(freedom, 20_000) / freedom
    return np.asarray(np.quantile(known, levels))


def _interval(
    statistic: Statistic, value: float, codes: Ints, quantiles: Quantiles, between: Variance | None
) -> tuple[float, float]:
    counted = _counted(statistic, codes)
    count = len(np.unique(counted))
    low, width = statistic.low, statistic.high - statistic.low
    if count < 2:
        return statistic.low, statistic.high
    jack = jackknife([statistic], clusters=codes)
    if not jack.exact:
        return statistic.low, statistic.high
    error, t = jack.error([1.0], between=between, quantiles=quantiles)
    if error <= ROUNDING * width:
        error = 0.0
    if statistic.kind == "difference":
        half = t * error if error else width * wilson(0.0, count, t)[1] / 2
        return max(statistic.low, value - half), min(statistic.high, value + half)
    share, error, bias = (value - low) / width, error / width, float(jack.bias[0]) / width
    if statistic.kind == "share":
        ends = wilson(share, _effective(share, error, len(counted), count), t)
    elif not ROUNDING < share < 1 - ROUNDING:
        rare = counted if statistic.rarest is None else codes[statistic.rarest]
        ends = wilson(min(max(share, 0.0), 1.0), max(1, len(np.unique(rare))), t)
    else:
        ends = _logit_interval(share, error, bias, t)
    return low + width * ends[0], low + width * ends[1]


def _counted(statistic: Statistic, codes: Ints) -> Ints:
    """The clusters of the videos that a statistic counts, without those that have no label."""
    return codes if statistic.labelled is None else codes[statistic.labelled]


def _effective(share: float, error: float, n: int, count: int) -> float:
    if share in (0.0, 1.0):
        return count  # the correlation within clusters is unknown: each counts as one trial
    return min(share * (1 - share) / error**2, n) if error else n


def _logit_interval(share: float, error: float, bias: float, t: float) -> tuple[float, float]:
    if not error:
        return share, share
    half = t * error / (share * (1 - share))
    corrected = min(max(share - bias, 1e-3 * share), 1 - 1e-3 * (1 - share))
    logits = [math.log(v / (1 - v)) for v in (share, corrected)]
    ends = min(logits) - half, max(logits) + half
    return (0.5 * (1 + math.tanh(ends[0] / 2)), 0.5 * (1 + math.tanh(ends[1] / 2)))


def _blocks(codes: Ints) -> Ints:
    """At most MAX_BLOCKS groups: more clusters are dealt into blocks, by a fixed shuffle."""
    count = int(codes.max()) + 1
    if count <= MAX_BLOCKS:
        return codes
    return (np.random.default_rng(0).permutation(count) % MAX_BLOCKS)[codes]


def _draws(codes: Ints, resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng(seed)
    count = int(codes.max(initial=-1)) + 1
    rows = max(1, MAX_WEIGHTS // max(1, len(codes)))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, max(1, count), (size, count)) + count * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield times[:, codes].astype(np.float64)  # (size, n)

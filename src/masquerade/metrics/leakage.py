"""Leakage beyond the best trivial attacker, with its interval, and the f_lambda trade-off.

Leakage is (strongest attacker - floor) / (attacker on raw video - floor): 0 at the best trivial
attacker, 1 at raw video. Where the raw attacker's interval does not lie above the floor, the
benchmark cannot show leakage, and the result is None (`n/a`), never 0.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from masquerade.errors import UsageError
from masquerade.metrics.intervals import (
    ROUNDING,
    Jackknife,
    Score,
    Variance,
    jackknife,
    score,
    t_quantile,
)
from masquerade.metrics.statistic import Floats, Statistic

TOLERANCE = 0.1  # of the span from floor to raw, below which `protects` counts as protected


@dataclass(frozen=True)
class Leakage:
    """Leakage beyond the best trivial attacker, with its 95 % interval; None is n/a."""

    value: float | None  # 0 at the floor or below, 1 at raw video
    low: float | None
    high: float | None
    protects: bool | None  # the strongest attacker's upper bound is within a tenth of the span
    # of the strongest attacker, on anonymized video
    strongest: Score = field(metadata={"json": "worst"})
    raw: Score  # of the strongest attacker on raw video, which is chosen there
    floor: Score  # of the best trivial attacker
    trivial: str  # its name


def held_limit(floor: float, raw: float) -> float:
    """The score up to which a label counts as held: a tenth of the way from the floor to raw."""
    return floor + TOLERANCE * (raw - floor)


def exceeds_held_limit(read: Score | None, floor: float | None, raw: float | None) -> bool:
    """Whether a score's lower bound is above `held_limit`; False where one of them is unknown."""
    if read is None or read.low is None or floor is None or raw is None:
        return False
    return read.low > held_limit(floor, max(floor, raw))


def least_counted(metric: str) -> float:
    """The lowest private score that f_lambda uses.

    It is .5 of AUROC, since an attacker can invert its answers, else 0.
    """
    return 0.5 if metric == "AUROC" else 0.0


def at_least_chance(value: float, metric: str) -> float:
    """A score as f_lambda takes it, see `least_counted`: below chance is no protection."""
    return max(value, least_counted(metric))


def f_lambda(action: float, privacy: float, *, weight: float = 0.5) -> float:
    """(1 - weight) action + weight (1 - privacy) (Ilic et al., CVPR 2024).

    Accuracies of the action and of the private label, and their `weight` lambda, in [0, 1].
    """
    if not all(0 <= value <= 1 for value in (action, privacy, weight)):
        raise UsageError("f_lambda takes an action, a privacy score and a weight in [0, 1].")
    return (1 - weight) * action + weight * (1 - privacy)


def f_lambda_sweep(
    action: float, privacy: float, *, steps: int = 11
) -> tuple[tuple[float, float], ...]:
    """(lambda, f_lambda) for `steps` evenly spaced lambdas from 0 to 1; see `f_lambda`."""
    if steps < 2:
        raise UsageError("A sweep needs two or more steps.")
    weights = np.linspace(0, 1, steps).tolist()
    return tuple((weight, f_lambda(action, privacy, weight=weight)) for weight in weights)


def normalised(strongest: float, raw: float, floor: float) -> float | None:
    """(strongest - floor) / (raw - floor), at least 0; None where raw is not above the floor."""
    return max(0.0, (strongest - floor) / (raw - floor)) if raw > floor else None


def protects(strongest: Score, raw: Score, floor: Score) -> bool | None:
    """Whether the strongest attacker's upper bound is within a tenth of the span; None for n/a."""
    if strongest.high is None or raw.value is None or raw.low is None or floor.value is None:
        return None
    if raw.low <= floor.value:
        return None
    return strongest.high <= held_limit(floor.value, raw.value)


def leakage(
    strongest: Statistic,
    raw: Statistic,
    floors: Mapping[str, Statistic],
    *,
    clusters: ArrayLike | None = None,
    between: Variance | None = None,
) -> Leakage:
    """Leakage beyond the best trivial attacker, with Fieller's interval of the ratio.

    All scores must be of one metric in which more is worse for privacy, on the same test videos.
    Choose the strongest attacker on validation, not here. Of the trivial attackers, `floors` by
    name, the best one counts, and the interval reaches up to what would be leaked beyond any that
    is not surely worse: the best of several on a few videos is better than it is on others.
    `clusters` (n,) are the person or group of each video; `between` is the variance of the
    strongest attacker's score over training runs.
    """
    defined = {name: s.value for name, s in floors.items() if not math.isnan(s.value)}
    if not defined:
        raise UsageError("Leakage needs one or more floors that are defined on this test set.")
    name = max(defined, key=lambda key: defined[key])
    floor = floors[name]
    s = score(strongest, clusters=clusters, between=between)
    r, f = (score(statistic, clusters=clusters) for statistic in (raw, floor))
    verdict = protects(s, r, f)
    interval = None if verdict is None else _ends(strongest, raw, floor, s, clusters, between)
    if interval is None:
        return Leakage(None, None, None, None, s, r, f, name)
    low, high = interval
    for other_name in defined.keys() - {name}:
        if _is_as_good(floors[other_name], floor, clusters):
            ends = _ends(strongest, raw, floors[other_name], s, clusters, between)
            high = high if ends is None else max(high, ends[1])
    value = normalised(strongest.value, raw.value, floor.value)
    return Leakage(value, max(0.0, low), max(0.0, high), verdict, s, r, f, name)


def _is_as_good(floor: Statistic, best: Statistic, clusters: ArrayLike | None) -> bool:
    """Whether a trivial attacker is not surely worse than the best one on these videos."""
    error, t = jackknife([best, floor], clusters=clusters).error([1.0, -1.0])
    return best.value - floor.value <= t * error


def _ends(
    strongest: Statistic,
    raw: Statistic,
    floor: Statistic,
    reported: Score,
    clusters: ArrayLike | None,
    between: Variance | None,
) -> tuple[float, float] | None:
    """The ends of the interval of the leakage beyond one trivial attacker; None: unbounded."""
    ends = _fieller([strongest, raw, floor], clusters, between)
    if ends is None or reported.low is None or reported.high is None:
        return ends
    if between is None:
        margins = strongest.value - reported.low, reported.high - strongest.value
        return _widened_by_own_interval(ends, margins, [strongest, raw, floor], clusters)
    # Fieller's ends lie alike about the value, and those of a few runs that differ much do not
    span = raw.value - floor.value
    low, high = ((end - floor.value) / span for end in (reported.low, reported.high))
    return min(ends[0], low), max(ends[1], high)


def _widened_by_own_interval(
    ends: tuple[float, float],
    margins: tuple[float, float],
    statistics: list[Statistic],
    clusters: ArrayLike | None,
) -> tuple[float, float]:
    """Widen Fieller's interval where the score's own interval is wider than the jackknife's.

    Near 0 and 1 it is: of a share of 0 the jackknife has no spread. `margins` are how far the
    score's interval reaches below and above it; what they are more than the jackknife's is added by
    squares. Where the score is that of raw video or of the guess, clip by clip, the leakage is
    known exactly.
    """
    strongest, raw, floor = (statistic.value for statistic in statistics)
    jack = jackknife(statistics, clusters=clusters)
    error, t = jack.error([1.0, 0.0, 0.0])
    if error > ROUNDING >= min(jack.error(contrast)[0] for contrast in ([1, -1, 0], [1, 0, -1])):
        return ends
    span = raw - floor
    value = (strongest - floor) / span
    below, above = (math.sqrt(max(0.0, margin**2 - (t * error) ** 2)) / span for margin in margins)
    return value - math.hypot(value - ends[0], below), value + math.hypot(ends[1] - value, above)


def _fieller(
    statistics: list[Statistic],
    clusters: ArrayLike | None,
    between: Variance | None,
) -> tuple[float, float] | None:
    """Fieller's interval of (strongest - floor) / (raw - floor) (1954); None where unbounded.

    The union of the intervals about the values and about the values less their jackknife bias: the
    average precision of untied scores is biased upward, that of an action prior (all ties) is not.
    """
    jack = jackknife(statistics, clusters=clusters)
    if not jack.exact or jack.influence.shape[1] < 2:
        return None
    plain, unbiased = (
        _ratio_interval(jack, v, between) for v in (jack.values, jack.values - jack.bias)
    )
    if plain is None or unbiased is None:
        return None
    return min(plain[0], unbiased[0]), max(plain[1], unbiased[1])


def _ratio_interval(
    jack: Jackknife, values: Floats, between: Variance | None
) -> tuple[float, float] | None:
    """Fieller's interval from (strongest, raw, floor) and the covariance of their influences.

    The squared margins of error over clusters and over training runs are added as in
    `Jackknife.error`. That over runs is the strongest attacker's alone: the scores of raw video and
    of the floor do not vary with the runs.
    """
    top, bottom = np.array([1.0, 0.0, -1.0]), np.array([0.0, 1.0, -1.0])
    n, d = float(top @ values), float(bottom @ values)
    if d <= 0:
        return None
    error, t = jack.error(top - n / d * bottom)
    count = jack.influence.shape[1]
    covariance = t**2 * (count - 1) / count * jack.influence @ jack.influence.T
    if between is not None and between.value > 0:
        of_runs = t_quantile(between.freedom) ** 2 * between.value
        covariance[0, 0] += max(0.0, of_runs - t**2 * min(between.shared, error**2))
    a = d * d - float(bottom @ covariance @ bottom)
    b = n * d - float(top @ covariance @ bottom)
    root = b * b - a * (n * n - float(top @ covariance @ top))
    if a <= 0 or root < -ROUNDING:
        return None
    half = math.sqrt(max(root, 0.0))
    return (b - half) / a, (b + half) / a

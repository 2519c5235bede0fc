"""Statistic: a metric as a function of the videos' weights, and the checks that metrics share.

Intervals come from leaving videos out (weight 0) or drawing them more than once, so a metric is
written once for a batch of weightings; its plain value has all weights at one. Undefined is nan in
arrays here, and None in the results that turn into JSON; never 0.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masquerade.errors import MasqueradeError, UsageError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAX_WEIGHTS = 1 << 17  # weights held at once (1 MiB, which fits a cache)

Kind = Literal["share", "bounded", "difference"]
"""A share of videos, any other bounded number, or a difference of two; each has the interval that
was measured to cover best (see `intervals`)."""


@dataclass(frozen=True)
class Statistic:
    """A metric of a test set, for any weighting of its n videos (or probes)."""

    n: int
    weighted: Callable[[Floats], Floats]  # (B, n) weights >= 0 -> (B,) values; nan where undefined
    low: float = 0.0  # the least value it can take
    high: float = 1.0
    kind: Kind = "bounded"
    rarest: NDArray[np.bool_] | None = None
    """(n,), the videos of the rarest class, which bound a perfect value; None: all."""
    left_out: Callable[[Ints], Floats] | None = None
    """(n,) cluster of each video, 0 to G - 1 -> (G,) values without each of them; None: these are
    made by `weighted`. Of many columns this is a hundred times as fast."""
    last_left_out: list[NDArray[Any]] = field(
        default_factory=list, init=False, repr=False, compare=False
    )
    """The last `codes` that were left out, and the values."""
    labelled: NDArray[np.bool_] | None = None
    """(n,), the videos that have a label, which alone are counted; None: all."""

    @cached_property
    def value(self) -> float:
        """The plain value: every video counts once; nan where undefined."""
        return float(self.weighted(np.ones((1, self.n)))[0])


def mean(values: ArrayLike, *, low: float = 0.0, high: float = 1.0) -> Statistic:
    """The mean of `values` (n,) in [low, high], such as 1 where the attacker was right."""
    v = float_array(values, "values", dimensions=1)
    if ((v < low) | (v > high)).any():
        raise UsageError(f"The values must lie in [{low:g}, {high:g}].")
    kind: Kind = "share" if np.isin(v, (low, high)).all() else "bounded"
    return Statistic(len(v), lambda w: ratio(w @ v, w.sum(axis=1)), low, high, kind)


def average(parts: Sequence[Statistic]) -> Statistic:
    """The mean of several statistics of the same videos, such as one a class; nan is left out."""
    if not parts or any(part.n != parts[0].n for part in parts):
        raise UsageError("Averaging needs one or more statistics of the same videos.")
    if len(parts) == 1:
        return parts[0]

    def weighted(weights: Floats) -> Floats:
        return mean_of_defined(np.stack([part.weighted(weights) for part in parts]))  # (B,)

    def left_out(codes: Ints) -> Floats:
        values = [values_left_out(part, codes) for part in parts]
        return mean_of_defined(np.stack(values))

    low, high = min(p.low for p in parts), max(p.high for p in parts)
    rare = [p.rarest for p in parts if p.rarest is not None and p.rarest.any()]
    rarest = min(rare, key=np.sum) if rare else None
    fast = left_out if any(part.left_out for part in parts) else None
    labelled = any_labelled(parts)
    return Statistic(parts[0].n, weighted, low, high, "bounded", rarest, fast, labelled=labelled)


def difference(first: Statistic, second: Statistic) -> Statistic:
    """How much `first` exceeds `second` on the same videos, such as a method and a floor."""
    if first.n != second.n:
        raise UsageError("A difference needs two statistics of the same videos.")

    def left_out(codes: Ints) -> Floats:
        return values_left_out(first, codes) - values_left_out(second, codes)

    low, high = first.low - second.high, first.high - second.low
    fast = left_out if first.left_out or second.left_out else None
    return Statistic(
        first.n,
        lambda w: first.weighted(w) - second.weighted(w),
        low,
        high,
        "difference",
        left_out=fast,
        labelled=any_labelled([first, second]),
    )


def any_labelled(parts: Sequence[Statistic]) -> NDArray[np.bool_] | None:
    """(n,), the videos that have a label of one of several statistics; None: all."""
    masks = [part.labelled for part in parts if part.labelled is not None]
    return np.any(masks, axis=0) if len(masks) == len(parts) else None


def values_left_out(statistic: Statistic, codes: Ints) -> Floats:
    """(G,) values without each cluster of the videos, whose numbers (n,) are 0 to G - 1."""
    if statistic.left_out is not None:
        cached = statistic.last_left_out
        if not cached or not np.array_equal(cached[0], codes):  # of many columns it takes seconds
            cached[:] = [codes, statistic.left_out(codes)]
        return cached[1]
    return np.concatenate([statistic.weighted(w) for w in _leave_one_out(codes)])


def _leave_one_out(codes: Ints) -> Iterator[Floats]:
    count = int(codes.max()) + 1
    rows = max(1, MAX_WEIGHTS // len(codes))
    for start in range(0, count, rows):
        left = np.arange(start, min(start + rows, count))
        yield (codes != left[:, None]).astype(np.float64)  # (rows, n)


def ratio(top: Floats, bottom: Floats) -> Floats:
    """top / bottom, nan where bottom is 0, without a warning."""
    return np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom != 0)


def mean_of_defined(values: Floats) -> Floats:
    """The mean over the first axis without its nans; nan where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0).astype(float))


def float_array(values: ArrayLike, name: str, *, dimensions: int) -> Floats:
    """`values` as floats, checked for its dimensions and for NaN, which would sort as a score."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise UsageError(f"The {name} must have {dimensions} dimension(s), not {array.ndim}.")
    if np.isnan(array).any():
        raise MasqueradeError(f"The {name} hold NaN; find out why before you score them.")
    return array


def binary_labels(labels: ArrayLike, *, dimensions: int) -> Floats:
    """Labels, checked to be 0 or 1, as floats."""
    array = float_array(labels, "labels", dimensions=dimensions)
    if not np.isin(array, (0.0, 1.0)).all():
        raise UsageError("Binary labels must be 0 or 1; turn other values into one column each.")
    return array


def class_numbers(labels: ArrayLike, name: str = "labels") -> Ints:
    """Labels (n,), checked to be class numbers 0, 1, 2, ..., as integers."""
    array = float_array(labels, name, dimensions=1)
    if (array < 0).any() or (array != np.floor(array)).any():
        raise UsageError(f"The {name} must be class numbers: 0, 1, 2, and so on.")
    return array.astype(np.int64)


def same_length(*arrays: NDArray[np.generic]) -> None:
    """Raise unless all have as many rows."""
    if len({len(array) for array in arrays}) > 1:
        raise UsageError("Labels and scores must have one row for each video.")

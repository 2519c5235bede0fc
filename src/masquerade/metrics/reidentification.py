"""Re-identification metrics of probes against a gallery: rank-k, mAP, linkage AUC, EER.

Probes are anonymized videos, the gallery videos of known people. The gallery is fixed and probes
are a sample: a statistic has one weight a probe, and intervals resample probes in clusters, one a
person. Ties count as if shuffled, so that a constant similarity scores exactly its floor. A probe
whose person is not in the gallery has no rank and no AP and is left out of both; `probes_scored`
counts the rest.

Metrics take the ground truth (p, g), True where probe and gallery show one person, and a similarity
(p, g), more for more alike; -inf takes a pair out, such as a clip with itself.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masquerade.errors import UsageError
from masquerade.metrics.classification import average_precision, ranked_statistic, roc_area
from masquerade.metrics.statistic import Floats, Kind, Statistic, float_array, ratio


def pairs_alike(probes: ArrayLike, gallery: ArrayLike) -> NDArray[np.bool_]:
    """(p, g): which pairs of labels (p,) and (g,) agree: people's are the ground truth."""
    return np.asarray(probes)[:, None] == np.asarray(gallery)[None, :]


def probes_scored(truth: ArrayLike) -> int:
    """How many probes have their person in the gallery, by the (p, g) ground truth."""
    return int(np.asarray(truth, dtype=bool).any(axis=1).sum())


def rank_k(truth: ArrayLike, similarity: ArrayLike, *, k: int = 1) -> Statistic:
    """Share of probes with an entry of their person among the k most similar (CMC at k)."""
    if k < 1:
        raise UsageError("Rank-k needs a k of 1 or more.")
    t, s = _pairs(truth, similarity)
    best = np.max(np.where(t, s, -np.inf), axis=1, initial=-np.inf)[:, None]
    better = (s > best).sum(axis=1)
    tied, right = (s == best).sum(axis=1), ((s == best) & t).sum(axis=1)
    miss = np.ones(len(t))  # probability that none of the first k is right, ties shuffled
    for place in range(min(k, t.shape[1])):
        drawn = place - better
        left = np.maximum(tied - drawn, 1)
        miss *= np.where((drawn >= 0) & (drawn < tied), np.maximum(left - right, 0) / left, 1.0)
    return _mean_over_probes(1.0 - miss, np.any(t, axis=1))


def retrieval_map(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """Mean average precision of the ranked gallery, ties grouped."""
    t, s = _pairs(truth, similarity)
    scored = np.any(t, axis=1)
    values = np.zeros(len(t))
    for i in np.flatnonzero(scored):
        kept = s[i] > -np.inf
        values[i] = average_precision(t[i, kept] * 1.0, s[i, kept], undefined="sklearn").value
    return _mean_over_probes(values, scored)


def linkage_auc(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """AUROC of the similarity for pairs of one person against pairs of two. Floor: .5."""
    return _over_pairs(truth, similarity, roc_area)


def equal_error_rate(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """The error rate at the threshold where false accepts and false rejects are equally frequent.

    Linear between neighbouring thresholds. Less is worse for privacy. Floor: .5.
    """
    return _over_pairs(truth, similarity, _crossing)


def _crossing(hits: Floats, total: Floats) -> Floats:
    """The rate at which false rejects, falling from 1, equal false accepts; from (B, K) counts."""
    start, false = np.zeros((len(hits), 1)), total - hits
    accepts = ratio(false, np.broadcast_to(false[:, -1:], false.shape))
    misses = 1 - ratio(hits, np.broadcast_to(hits[:, -1:], hits.shape))
    accepts, misses = np.hstack([start, accepts]), np.hstack([start + 1, misses])
    gap = misses - accepts  # 1 at the strictest threshold, -1 at the laxest
    after = np.argmax(gap <= 0, axis=1)[:, None]
    before = np.maximum(after - 1, 0)
    gap0, gap1 = np.take_along_axis(gap, before, 1), np.take_along_axis(gap, after, 1)
    a0, a1 = np.take_along_axis(accepts, before, 1), np.take_along_axis(accepts, after, 1)
    eer = (a0 + ratio(gap0, gap0 - gap1) * (a1 - a0))[:, 0]
    return np.where(np.isnan(gap[:, -1]), np.nan, eer)


def _over_pairs(
    truth: ArrayLike, similarity: ArrayLike, area: Callable[[Floats, Floats], Floats]
) -> Statistic:
    """A ranked statistic of all pairs above -inf, each weighted as its probe."""
    t, s = _pairs(truth, similarity)
    pairs = s > -np.inf
    inner, probe = ranked_statistic(t[pairs] * 1.0, s[pairs], area), np.nonzero(pairs)[0]
    return Statistic(len(t), lambda w: inner.weighted(w[:, probe]))


def _mean_over_probes(values: Floats, scored: NDArray[np.bool_]) -> Statistic:
    values, mask = np.where(scored, values, 0.0), scored * 1.0
    kind: Kind = "share" if np.isin(values, (0.0, 1.0)).all() and scored.all() else "bounded"
    return Statistic(len(values), lambda w: ratio(w @ values, w @ mask), kind=kind, rarest=scored)


def _pairs(truth: ArrayLike, similarity: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    s = float_array(similarity, "similarities", dimensions=2)
    t: NDArray[np.bool_] = np.asarray(truth, dtype=bool)
    if t.shape != s.shape or not s.size:
        raise UsageError("Truth and similarities must both be probes x gallery, not empty.")
    return np.logical_and(t, s > -np.inf), s

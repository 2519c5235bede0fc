"""Re-identification metrics of probes against a gallery: rank-k, mAP, linkage AUC, EER, open set.

Probes are anonymized videos, the gallery videos of known people. The gallery is fixed and probes
are a sample: a statistic has one weight a probe, and intervals resample probes in clusters, one a
person. Ties count as if shuffled, so that a constant similarity scores exactly its floor. A probe
whose person is not in the gallery has no rank and no AP and is left out of both.

In an open set some probes show people who are not in the gallery (unknown ones), and an attacker
who names somebody for them raises a false alarm. Scored are the false positive identification rate
and the true positive identification rate, 1 less the false negative one (ISO/IEC 19795-1:2021;
Grother et al., NIST IR 8271, 2019).

Metrics take the ground truth (p, g), True where probe and gallery show one person, and a similarity
(p, g), more for more alike; -inf takes a pair out, such as a clip with itself.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masquerade.errors import UsageError
from masquerade.metrics.classification import (
    average_precision,
    ranked_statistic,
    roc_area,
    run_ends,
)
from masquerade.metrics.floors import random_ap
from masquerade.metrics.statistic import Floats, Kind, Statistic, float_array, ratio


def pairs_alike(probes: ArrayLike, gallery: ArrayLike) -> NDArray[np.bool_]:
    """(p, g): which pairs of labels (p,) and (g,) agree: people's are the ground truth."""
    return np.asarray(probes)[:, None] == np.asarray(gallery)[None, :]


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
        compared = s[i] > -np.inf
        values[i] = average_precision(
            t[i, compared] * 1.0, s[i, compared], undefined="sklearn"
        ).value
    return _mean_over_probes(values, scored)


def shuffled_map(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """The mean average precision that galleries in random order have on average: the floor of mAP.

    It lies above that of a constant similarity, whose ties are one group; see `floors.random_ap`.
    """
    t, s = _pairs(truth, similarity)
    right, entries = t.sum(axis=1), (s > -np.inf).sum(axis=1)
    return _mean_over_probes(random_ap(right, entries), right > 0)


def known_auc(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """AUROC of each probe's best similarity, for people in the gallery against those who are not.

    Floor: .5.
    """
    t, s = _pairs(truth, similarity)
    return ranked_statistic(np.any(t, axis=1) * 1.0, _best(s), roc_area)


def identification_rate(
    truth: ArrayLike, similarity: ArrayLike, *, false_alarms: float = 0.1
) -> Statistic:
    """True positive identification rate at a false positive identification rate.

    The share of probes with their person in the gallery whose most similar entry is of that person
    and at or above the threshold, where the share `false_alarms` of the probes of unknown people
    has an entry at or above it. Linear between neighbouring thresholds, so that a constant
    similarity scores `false_alarms` times its rank-1, which is the floor.
    """
    t, s = _pairs(truth, similarity)
    known, best = np.any(t, axis=1), _best(s)
    top = s == best[:, None]
    right = ratio((top & t).sum(axis=1) * 1.0, np.maximum(top.sum(axis=1), 1) * 1.0) * known
    order = np.argsort(-best, kind="stable")
    ends, right, unknown = run_ends(best[order]), right[order], 1.0 * ~known[order]

    def weighted(weights: Floats) -> Floats:
        w = weights[:, order]
        alarms = _shares(np.cumsum(w * unknown, axis=1)[:, ends])
        total = (w * (1 - unknown)).sum(axis=1, keepdims=True)
        rates = np.cumsum(w * right, axis=1)[:, ends]
        rates = np.hstack(
            [np.zeros((len(w), 1)), ratio(rates, np.broadcast_to(total, rates.shape))]
        )
        values = [np.interp(false_alarms, *curve) for curve in zip(alarms, rates, strict=True)]
        return np.where(np.isnan(alarms[:, -1]), np.nan, values)

    return Statistic(len(t), weighted, rarest=known if known.sum() <= len(t) / 2 else ~known)


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


def _best(similarity: Floats) -> Floats:
    return np.asarray(similarity.max(axis=1), np.float64)


def _shares(counts: Floats) -> Floats:
    """(B, K + 1) shares of the last count, from 0 on, of (B, K) cumulative ones."""
    shares = ratio(counts, np.broadcast_to(counts[:, -1:], counts.shape))
    return np.hstack([np.zeros((len(counts), 1)), shares])


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
    kind: Kind = "share" if np.isin(values, (0.0, 1.0)).all() else "bounded"
    known = None if scored.all() else scored
    return Statistic(len(values), lambda w: ratio(w @ values, w @ mask), kind=kind, labelled=known)


def _pairs(truth: ArrayLike, similarity: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    s = float_array(similarity, "similarities", dimensions=2)
    t: NDArray[np.bool_] = np.asarray(truth, dtype=bool)
    if t.shape != s.shape or not s.size:
        raise UsageError("Truth and similarities must both be probes x gallery, not empty.")
    return np.logical_and(t, s > -np.inf), s

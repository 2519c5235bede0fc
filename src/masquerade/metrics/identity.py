"""Who is it: probes (anonymized videos) against a gallery of known people.

The gallery is taken as given and the probes as a sample, so one weight stands for one probe:
cluster probes by person. Equal similarities count as if shuffled, so that an attacker who sees
nothing (a constant) scores exactly its floor. A probe whose person is not in the gallery has no
rank and no AP and is left out of both; `probes_scored` counts the rest.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from masquerade.errors import UsageError
from masquerade.metrics.classification import auroc, average_precision
from masquerade.metrics.statistic import Floats, Statistic, numbers, ratio


def same(probes: ArrayLike, gallery: ArrayLike) -> NDArray[np.bool_]:
    """Which pairs agree, as people do (the truth) or as actions do (the action-prior floor).

    Args:
        probes: (p,) names or numbers.
        gallery: (g,).
    """
    return np.asarray(probes)[:, None] == np.asarray(gallery)[None, :]


def probes_scored(truth: ArrayLike) -> int:
    """How many probes have their person in the gallery.

    Args:
        truth: (p, g), True where probe and gallery show one person.
    """
    return int(np.asarray(truth, dtype=bool).any(axis=1).sum())


def rank_k(truth: ArrayLike, similarity: ArrayLike, *, k: int = 1) -> Statistic:
    """How often a right gallery entry is among the k most similar.

    Args:
        truth: (p, g), True where probe and gallery show one person.
        similarity: (p, g), more is more alike; -inf takes a pair, such as a clip with itself, out.
        k: at least 1.
    """
    if k < 1:
        raise UsageError("Rank-k needs a k of 1 or more.")
    t, s = _pairs(truth, similarity)
    best = np.max(np.where(t, s, -np.inf), axis=1, initial=-np.inf)[:, None]
    better = (s > best).sum(axis=1)
    tied, right = (s == best).sum(axis=1), ((s == best) & t).sum(axis=1)
    miss = np.ones(len(t))  # that none of the first k is right, the tied ones being shuffled
    for place in range(min(k, t.shape[1])):
        drawn = place - better
        left = np.maximum(tied - drawn, 1)
        miss *= np.where((drawn >= 0) & (drawn < tied), np.maximum(left - right, 0) / left, 1.0)
    return _mean_over_probes(1.0 - miss, np.any(t, axis=1))


def retrieval_map(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """Mean average precision of the ranked gallery, ties grouped.

    Args:
        truth: (p, g), True where probe and gallery show one person.
        similarity: (p, g); -inf takes a pair out.
    """
    t, s = _pairs(truth, similarity)
    scored = np.any(t, axis=1)
    values = np.zeros(len(t))
    for i in np.flatnonzero(scored):
        kept = s[i] > -np.inf
        values[i] = average_precision(t[i, kept] * 1.0, s[i, kept], undefined="sklearn").value
    return _mean_over_probes(values, scored)


def linkage_auc(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """AUROC of telling pairs of one person from pairs of two. Floor: .5.

    Args:
        truth: (p, g), True where probe and gallery show one person.
        similarity: (p, g); -inf takes a pair out.
    """
    t, s = _pairs(truth, similarity)
    rows, pairs = _kept(s)
    inner = auroc(t[pairs] * 1.0, s[pairs])
    return Statistic(len(t), lambda w: inner.of(w[:, rows]))


def equal_error_rate(truth: ArrayLike, similarity: ArrayLike) -> Statistic:
    """The error at the threshold that accepts as many wrong pairs as it rejects right ones.

    Linear between neighbouring thresholds. Here less is worse for privacy. Floor: .5.

    Args:
        truth: (p, g), True where probe and gallery show one person.
        similarity: (p, g); -inf takes a pair out.
    """
    t, s = _pairs(truth, similarity)
    rows, pairs = _kept(s)
    order = np.argsort(-s[pairs], kind="stable")
    ranked, y, rows = s[pairs][order], t[pairs][order] * 1.0, rows[order]
    ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]), len(ranked) - 1)

    def of(weights: Floats) -> Floats:
        w = weights[:, rows]
        hits, total = np.cumsum(w * y, axis=1)[:, ends], np.cumsum(w, axis=1)[:, ends]
        return _crossing(hits, total - hits)

    return Statistic(len(t), of)


def _crossing(hits: Floats, false: Floats) -> Floats:
    """Where the rate of misses, falling from 1, meets the rate of false accepts; (B, K) counts."""
    start = np.zeros((len(hits), 1))
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


def _kept(similarity: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The probe of each pair that counts, and which pairs count."""
    pairs = similarity > -np.inf
    return np.nonzero(pairs)[0], pairs


def _mean_over_probes(values: Floats, scored: NDArray[np.bool_]) -> Statistic:
    values, mask = np.where(scored, values, 0.0), scored * 1.0
    share = bool(np.isin(values, (0.0, 1.0)).all() and scored.all())
    return Statistic(
        len(values),
        lambda w: ratio(w @ values, w @ mask),
        kind="share" if share else "bounded",
        rarer=scored,
    )


def _pairs(truth: ArrayLike, similarity: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    s = numbers(similarity, "similarities", dimensions=2)
    t: NDArray[np.bool_] = np.asarray(truth, dtype=bool)
    if t.shape != s.shape or not s.size:
        raise UsageError("Truth and similarities must both be probes x gallery, not empty.")
    return np.logical_and(t, s > -np.inf), s

"""Average precision of a class that few videos have, with all of them and without each cluster.

Precision counts where a positive is, and of these there are few: how many videos and positives lie
at or above each positive's score is all that is needed. Nothing but positives is sorted, which for
thousands of classes takes a third of the time.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from masquerade.metrics.statistic import Floats, Ints, ratio

Undefined = Literal["skip", "sklearn"]
"""A class without positives (or negatives) in a mean over classes: left out, or counted as
scikit-learn counts it, as 0 where the attacker cannot score, which looks like privacy."""


class RankedPositives:
    """Where the positives of a class stand among n videos."""

    def __init__(self, labels: Floats, scores: Floats) -> None:
        """`labels` (n,) are 0 or 1; `scores` (n,) rank the videos and hold no NaN."""
        best, gained = np.unique(-scores[labels > 0], return_counts=True)
        self.labels = labels
        self.gained = gained.astype(np.float64)  # (K,) positives of each score that one has
        self.run = np.searchsorted(best, -scores)  # (n,) the first such score at or below each
        self.hits = np.cumsum(self.gained)  # (K,) positives at or above each
        counts = np.bincount(self.run, minlength=len(best) + 1)
        self.total = np.cumsum(counts, dtype=np.float64)[:-1]  # (K,) videos at or above each

    def precision(self, undefined: Undefined) -> float:
        """The average precision of all videos."""
        value = (self.gained * self.hits / self.total).sum() / max(self.labels.sum(), 1.0)
        return float(_defined(value, self.labels.sum(), len(self.labels), undefined))

    def precision_left_out(self, codes: Ints, undefined: Undefined) -> Floats:
        """(G,) average precision without each cluster, of (n,) its number from 0 to G - 1."""
        groups = int(codes.max(initial=-1)) + 1
        shape = (groups, len(self.gained) + 1)
        cells = codes * shape[1] + self.run
        positives, videos = (  # (G, K) of each cluster at each score
            np.bincount(cells, weights, groups * shape[1]).reshape(shape)[:, :-1]
            for weights in (self.labels, np.ones_like(self.labels))
        )
        hits = self.hits - np.cumsum(positives, axis=1)
        total = self.total - np.cumsum(videos, axis=1)
        precision = np.divide(hits, total, out=np.zeros_like(hits), where=total > 0)
        left = self.labels.sum() - np.bincount(codes, self.labels, groups)
        count = len(codes) - np.bincount(codes, minlength=groups).astype(np.float64)
        value = ratio(((self.gained - positives) * precision).sum(axis=1), left)
        return _defined(value, left, count, undefined)


def _defined(
    value: Floats, positives: Floats, videos: Floats | int, undefined: Undefined
) -> Floats:
    """Values where both classes are there; of others what `undefined` says."""
    if undefined == "sklearn":
        return np.where(positives == 0, 0.0, value)
    return np.where((positives == 0) | (positives == videos), np.nan, value)

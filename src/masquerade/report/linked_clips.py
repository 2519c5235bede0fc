"""Whether people are found again in other clips, though attackers cannot name them."""

from typing import NamedTuple

from masquerade.evaluation.reidentification import MULTI, RANK
from masquerade.evaluation.results import Row
from masquerade.metrics.leakage import exceeds_held_limit


class LinkedClips(NamedTuple):
    """How often the most similar other clip shows the same person."""

    probe: str  # what it is the most similar one to: one clip, or several of one person
    value: float  # rank-1, 0 to 1
    guess: float


def linked_clips(row: Row) -> LinkedClips | None:
    """Return the first rank-1 by which people are surely found again; None: there is none.

    Its interval lies above a tenth of the way from a guess to always, the limit of `held`.
    """
    for name, probe in ((RANK, "clips"), (MULTI, "several clips of one person together")):
        for result in row.reidentification:
            rank, guess = result.scores.get(name), result.floors.get(name)
            if rank is None or rank.value is None or guess is None:
                continue
            if exceeds_held_limit(rank, guess, 1.0):
                return LinkedClips(probe, rank.value, guess)
    return None

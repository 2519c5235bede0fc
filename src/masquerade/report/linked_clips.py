"""Whether people are found again in other clips, though attackers cannot name them."""

from typing import NamedTuple

from masquerade.evaluation.reidentification import RANK
from masquerade.evaluation.results import Row
from masquerade.metrics.leakage import surely_above_held


class LinkedClips(NamedTuple):
    """How many clips have one of the same person as their most similar other one."""

    value: float  # rank-1, 0 to 1
    guess: float


def linked_clips(row: Row) -> LinkedClips | None:
    """The rank-1 of the first gallery in which it is surely too high for `held`; None: of none.

    That is a tenth of the way from a guess to always, which its interval lies above.
    """
    for one in row.reidentification:
        rank, guess = one.scores.get(RANK), one.floors.get(RANK)
        if rank is None or rank.value is None or guess is None:
            continue
        if surely_above_held(rank, guess, 1.0):
            return LinkedClips(rank.value, guess)
    return None

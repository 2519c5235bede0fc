"""Derive one seed from several numbers, such as a run's seed and an epoch."""

from enum import IntEnum

import numpy as np

WORD = 2**32  # above the largest number that takes one word of a SeedSequence


class Stream(IntEnum):
    """What an adversarial training draws: the second number of `derive_seed`, after its seed."""

    NETWORKS = 0  # first weights of the anonymizer, the utility network and the class token
    ADVERSARIES = 1  # first weights of each adversary
    RESTARTED_ADVERSARIES = 2  # their new weights after a restart
    BATCHES = 3  # windows, pairs and augmentation of an epoch's batches
    LAYERS = 4  # what networks draw themselves in an epoch, such as dropout
    VALIDATION = 5  # what objectives draw on held-out clips
    CATCH_UP = 6  # the order of the batches by which restarted adversaries catch up
    STILL_ORDER = 7  # the order of the second data set
    LAP_ORDER = 8  # the order of the clips each time they are repeated in an epoch
    HELD_OUT_PAIRS = 9  # pairs and views of held-out clips


def derive_seed(*numbers: int) -> int:
    """Mix up to four numbers of up to 64 bits into one seed; -1 counts as 2**32 - 1."""
    low = [number % WORD for number in numbers]
    high = [max(number, 0) // WORD for number in numbers]
    # a key of its own, since lists of more words would be those of other numbers
    mixed = np.random.SeedSequence(low, spawn_key=high if any(high) else ())
    return int(mixed.generate_state(1, np.uint64)[0] >> 2)

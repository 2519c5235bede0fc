"""Derive one seed from several numbers, such as a run's seed and an epoch."""

import numpy as np

WORD = 2**32  # above the largest number that takes one word of a SeedSequence


def derive_seed(*numbers: int) -> int:
    """Mix up to four numbers of up to 64 bits into one seed; -1 counts as 2**32 - 1."""
    low = [number % WORD for number in numbers]
    high = [max(number, 0) // WORD for number in numbers]
    # a key of its own, since lists of more words would be those of other numbers
    mixed = np.random.SeedSequence(low, spawn_key=high if any(high) else ())
    return int(mixed.generate_state(1, np.uint64)[0] >> 2)

"""Derive one seed from several numbers, such as a run's seed and an epoch."""

import numpy as np


def derive_seed(*numbers: int) -> int:
    """Return one seed of several numbers."""
    entropy = [number % 2**32 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 2)

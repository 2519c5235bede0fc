"""Seeds that follow from a run's seed and a number, such as that of an epoch."""

from __future__ import annotations

import itertools

from masquerade.training.seeds import Stream, derive_seed


def test_every_seed_that_may_be_given_draws_otherwise() -> None:
    """Those above 32 bits drew as the small one with the same last bits did."""
    seeds = [0, 1, 7, 2**32 - 1, 2**32, 2**32 + 7, 2**33, 2**63 - 2**32, 2**63 - 1]
    asked = [*itertools.product(seeds, (1, 2, 3)), *itertools.product(seeds, (4,), (0, 1), (1, 2))]
    assert len({derive_seed(*numbers) for numbers in asked}) == len(asked)
    assert derive_seed(2**32, 5) != derive_seed(0, 1, 5)  # whose words would be the same


def test_a_seed_below_32_bits_draws_as_it_always_did() -> None:
    assert derive_seed(0, 0) == 3948308845846928943
    assert derive_seed(7, 1, -1) == 708337199399797650


def test_what_a_training_draws_has_the_seeds_it_always_had() -> None:
    """Else a run could not be made again by its seed."""
    assert [derive_seed(7, one) for one in Stream] == [derive_seed(7, at) for at in range(10)]

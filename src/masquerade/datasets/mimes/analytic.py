"""The floors of mimes in closed form: what an attacker gets who knows the action, or nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What trivial attackers score on one column in the long run, in [0, 1].

    Args:
        rate: of the positives, or of each class.
        given: P(bit = 1 | action) for actions of even and of odd number; empty for classes.
        constant_accuracy: of always the commonest answer.
        prior_accuracy: of the commonest answer given the true action.
        constant_ap: average precision of equal scores; None for classes.
        prior_ap: of P(bit | action) as the score.
        prior_auroc: of the same; a constant's is .5.
    """

    rate: float
    given: tuple[float, ...] = ()
    constant_accuracy: float
    prior_accuracy: float
    constant_ap: float | None = None
    prior_ap: float | None = None
    prior_auroc: float | None = None


def expected_bit(even: float, odd: float) -> Expected:
    """Floors of a binary attribute, actions being equally frequent.

    Args:
        even: P(bit = 1 | an action of even number), at least `odd`.
        odd: P(bit = 1 | an action of odd number).
    """
    rate = (even + odd) / 2
    recall = even / (even + odd)  # of answering yes to even actions, with precision `even`
    false = (1 - even) / (2 - even - odd)
    return Expected(
        rate=rate,
        given=(even, odd),
        constant_accuracy=max(rate, 1 - rate),
        prior_accuracy=(max(even, 1 - even) + max(odd, 1 - odd)) / 2,
        constant_ap=rate,
        prior_ap=rate if even == odd else recall * even + (1 - recall) * rate,
        prior_auroc=0.5 + (recall - false) / 2,
    )


def expected_class(classes: int) -> Expected:
    """Floors of a class that is uniform and tells nothing of the action.

    Args:
        classes: how many.
    """
    return Expected(rate=1 / classes, constant_accuracy=1 / classes, prior_accuracy=1 / classes)

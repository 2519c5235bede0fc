"""What the recipes of adversarial training share: turns, phases, and the sizes of `tiny`."""

from __future__ import annotations

from masquerade.datasets.augmentation import Augmentation
from masquerade.training.game import Optim, Phase, Player, Stop, Turn

QUIET = 4  # epochs without a better loss: a plateau

LIGHT = Augmentation(crop=(0.8, 1.0), flip=0.5)
TINY_WIDTHS = (16, 32, 64, 128)
TINY_STEPS = 24

PRACTICE = (
    Stop(column="train_utility", plateau=QUIET),
    Stop(column="train_adversary", plateau=QUIET),
)
BOTH = Turn(learns=("utility", "adversary"), terms={"utility": 1.0, "adversary": 1.0})


def identity(least: float, epochs: int, optims: dict[Player, Optim] | None = None) -> Phase:
    """The anonymizer learns to change nothing, up to a threshold (SPAct eq. 4)."""
    return Phase(
        name="identity",
        epochs=epochs,
        turns=(Turn(learns=("anonymizer",), terms={"reconstruction": 1.0}),),
        stop=(Stop(column="val_reconstruction", below=least),),
        optims=optims or {},
        begins=True,
    )


def against(omega: float, *, keep: float = 1.0, **own: float) -> Turn:
    """The anonymizer's step: keep the action, fool the adversary (SPAct eq. 9, STPrivacy 13)."""
    return Turn(learns=("anonymizer",), terms={"utility": keep, "fooling": omega, **own})


def every(how: Optim) -> dict[Player, Optim]:
    return {"anonymizer": how, "utility": how, "adversary": how, "auxiliary": how}

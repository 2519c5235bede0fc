"""Signs that a training failed although its losses look well: collapse and doubts."""

import math
from collections.abc import Mapping, Sequence

from masquerade.training.data import AdversarialData
from masquerade.training.engine import Row
from masquerade.training.recipe import AdversarialRecipe

BLIND = 0.95  # of the chance loss: an adversary that predicts next to nothing
FLAT = 0.02  # of the raw clips' variety: a constant output
FEW = 30  # held-out clips that are too few to decide alone
LEARNED = 0.75  # of the chance loss
SIGNIFICANT = 1.64  # standard errors above chance
COLUMNS = {
    "val_reconstruction": "the mean L1 to the raw clip",
    "val_adversary_share": "the adversaries' loss over its chance value",
    "train_utility": "the action network's loss",
    "train_adversary": "the adversaries' loss",
}
"""What a column of the log is, in words."""


def is_above_chance(row: Row, count: int) -> bool:
    """Whether the action is predicted significantly above chance on `count` held-out clips."""
    floor = row["chance_utility"]
    return row["val_utility"] > floor + SIGNIFICANT * math.sqrt(floor * (1 - floor) / count)


def has_learned_action(row: Row, data: AdversarialData) -> bool:
    """Whether the action was learned, by the utility network or inside the anonymizer.

    An anonymizer that was initialised through a class token alone publishes nothing useful yet: its
    last layer has learned nothing. A dozen held-out clips cannot tell a fair recognizer from
    chance; there the loss on training clips must have fallen by a quarter instead.
    """
    auxiliary = row.get("val_auxiliary", math.nan)
    best = row["val_utility"]
    return _is_learned(
        {**row, "val_utility": best if math.isnan(auxiliary) else max(best, auxiliary)}, data
    )


def _is_learned(row: Row, data: AdversarialData) -> bool:
    if is_above_chance(row, len(data.validation)):
        return True
    chance = [math.log(max(outputs, 2)) for outputs in data.utility.values()]
    learned = row.get("train_utility", math.nan) < LEARNED * sum(chance) / len(chance)
    return len(data.validation) < FEW and learned


def find_collapse(
    row: Row,
    data: AdversarialData,
    *,
    expected: Mapping[str, float] | None = None,
    tolerance: float | None = None,
) -> tuple[str, ...]:
    """How an anonymizer has collapsed that looks well by its losses; one sentence each."""
    notes = []
    flat = row["val_variety"] < FLAT
    if flat:
        notes.append("the output is the same whatever comes in")
    if not _is_learned(row, data):
        notes.append(
            f"the action is at chance ({row['val_utility']:.2f}; "
            f"chance is {row['chance_utility']:.2f})"
        )
    if flat and row["val_adversary_share"] >= BLIND:
        notes.append("the adversary fails only because the output shows nothing")
    for name, value in (expected or {}).items():
        measured = row.get(f"val_{name}", math.nan)
        if tolerance is not None and not abs(measured - value) <= tolerance:
            notes.append(f"{name} is {measured:.2f} and should be {value:.2f}")
    return tuple(notes)


def find_doubts(history: Sequence[Row], recipe: AdversarialRecipe) -> tuple[str, ...]:
    """What a run's log leaves in doubt, though nothing collapsed; one sentence each."""
    doubts = []
    shares = [row["val_adversary_share"] for row in history]
    known = [share for share in shares if not math.isnan(share)]
    if known and min(known) >= BLIND:
        doubts.append(
            f"no adversary was ever clearly better than chance (its lowest loss was "
            f"{min(known):.2f} \N{MULTIPLICATION SIGN} chance), so the training did not hide "
            "anything from it"
        )
    for number, phase in enumerate(recipe.phases, 1):
        rows = [row for row in history if row["phase"] == number]
        for stop in phase.stop:
            wanted = stop.below if stop.above is None else stop.above
            if wanted is not None and rows and not stop.reached(rows):
                bound = "at most" if stop.above is None else "at least"
                doubts.append(
                    f"phase {phase.name} ended after all its epochs with {COLUMNS[stop.column]} "
                    f"at {rows[-1][stop.column]:.2f} instead of {bound} {wanted:.2f} "
                    f"({stop.column})"
                )
    return tuple(doubts)

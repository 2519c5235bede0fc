"""Signs that a training failed although its losses look well: collapse and warnings."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import torch

from masquerade.datasets.manifest import IntArray
from masquerade.metrics.statistic import mean_of_defined
from masquerade.training.adversarial_data import AdversarialData
from masquerade.training.engine import Row
from masquerade.training.objectives import count_labels, prior_loss
from masquerade.training.recipe import BLIND, AdversarialRecipe
from masquerade.training.recipes import RECIPES

FLAT = 0.02  # of the raw clips' variety: a constant output
FEW = 30  # held-out clips that are too few to decide alone
LEARNED = 0.75  # of the chance loss
STILL_READ = 0.5  # of the chance loss: an adversary reads much of what is private
SIGNIFICANT = 1.64  # standard errors above chance
COLUMNS = {
    "val_reconstruction": "the mean L1 to the raw clip",
    "val_adversary_share": "the adversaries' loss over its chance value",
    "train_utility": "the action network's loss",
    "train_adversary": "the adversaries' loss",
}
"""What a column of the log is, in words."""


def has_learned_action(row: Row, data: AdversarialData, *, auxiliary: bool = True) -> bool:
    """Return whether the action was learned, by the utility network or inside the anonymizer.

    `auxiliary` counts the class token inside the anonymizer too, whose last layer may have learned
    nothing yet. A dozen held-out clips cannot tell a fair recognizer from
    chance; there the loss on training clips must be a quarter below that of predicting how often
    each action occurs.
    """
    labels = _held_out_actions(data)
    # Labels of the same clips may err together: their mean is no surer than each of them.
    error = float(mean_of_defined(np.array([_chance_error(*label) for label in labels])))
    best = row["val_utility"]
    if auxiliary:
        best = max(best, row.get("val_auxiliary", math.nan))
    if best > row["chance_utility"] + SIGNIFICANT * error:
        return True
    few = min((len(codes) for codes, _ in labels), default=0) < FEW
    return few and row.get("train_utility", math.nan) < LEARNED * _rates_loss(data)


def with_last_known_loss(row: Row, history: Sequence[Row]) -> Row:
    """Return an epoch's row with the action network's loss, of which not every epoch has updates.

    Where it has none, that of the last epoch of the same phase that has.
    """
    losses = [
        earlier["train_utility"]
        for earlier in [*history, row]
        if earlier["phase"] == row["phase"]
        and not math.isnan(earlier.get("train_utility", math.nan))
    ]
    return {**row, "train_utility": losses[-1]} if losses else row


def _held_out_actions(data: AdversarialData) -> list[tuple[IntArray, int]]:
    """Return the known codes of held-out clips, with the network's outputs, by label of the action.

    Labels that no held-out clip has are left out, as they are in the score.
    """
    labels = []
    for name, outputs in data.utility.items():
        codes = data.targets[name][data.validation.rows]
        known = codes[(codes if codes.ndim == 1 else codes.min(axis=1)) >= 0]
        if len(known):
            labels.append((known, outputs))
    return labels


def _chance_error(codes: IntArray, outputs: int) -> float:
    """Return the standard deviation of what guessing scores: top-1, or AUROC of a binary label.

    Of several labels at once it is the mean of theirs; NaN where an AUROC is not defined.
    """
    if codes.ndim == 2:
        return float(mean_of_defined(np.array([_chance_error(column, 1) for column in codes.T])))
    if outputs == 1:  # Mann and Whitney, of scores without ties
        positive = int((codes > 0).sum())
        pairs = positive * (len(codes) - positive)
        return math.sqrt((len(codes) + 1) / (12 * pairs)) if pairs else math.nan
    rate = float(np.bincount(codes).max() / len(codes))
    return math.sqrt(rate * (1 - rate) / len(codes))


def _rates_loss(data: AdversarialData) -> float:
    """The action's loss of predicting the rates of the training clips for each of them."""
    losses = []
    for name in data.utility:
        codes = torch.as_tensor(data.targets[name][data.train.rows])
        known = codes[codes >= 0] if codes.ndim == 1 else codes
        losses.append(float(prior_loss(known, count_labels(known)).mean()))
    return fmean(losses)


def find_collapse(
    row: Row,
    data: AdversarialData,
    *,
    expected: Mapping[str, float] | None = None,
    tolerance: float | None = None,
) -> tuple[str, ...]:
    """Return how an anonymizer has collapsed that looks well by its losses, in sentences."""
    notes = []
    flat = row["val_variety"] < FLAT
    if flat:
        notes.append("the output is the same whatever comes in")
    if not has_learned_action(row, data, auxiliary=False):
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


def find_warnings(
    history: Sequence[Row], recipe: AdversarialRecipe, data: AdversarialData
) -> tuple[str, ...]:
    """Return what a run's log leaves in doubt, though nothing collapsed, in sentences."""
    found = []
    # What is read of raw clips says nothing of anonymized ones.
    hidden = [row for row in history if not recipe.phases[int(row["phase"]) - 1].raw_clips]
    shares = [row["val_adversary_share"] for row in hidden]
    lowest = min((share for share in shares if not math.isnan(share)), default=math.nan)
    updates = [update for phase in recipe.phases for update in phase.updates]
    weights = [update.losses.get("adversarial") or update.reversal for update in updates]
    if not recipe.adversaries:
        default = RECIPES.get(recipe.method)  # noise features have none: they hide by themselves
        if default is None or default().adversaries:
            found.append("no adversary was trained, so the training learned to hide nothing")
    elif not any(weights):
        found.append(
            "the anonymizer's loss against the adversaries has the weight 0, so the training "
            "learned to hide nothing"
        )
    if recipe.adversaries and math.isnan(lowest):
        found.append(
            "no held-out clip has a label that the adversaries learned, so what they read was not "
            "measured"
        )
    if lowest >= BLIND:
        found.append(
            f"no adversary was ever clearly better than chance (its lowest loss was "
            f"{lowest:.2f} \N{MULTIPLICATION SIGN} chance), so the training did not hide "
            "anything from it"
        )
    elif shares and shares[-1] < STILL_READ:
        found.append(
            f"at the end its own adversary still reads what should be hidden (its loss is "
            f"{shares[-1]:.2f} \N{MULTIPLICATION SIGN} chance)"
        )
    last = with_last_known_loss(history[-1], history)
    learned = has_learned_action(last, data, auxiliary=False)
    if learned and last["val_utility"] <= last["chance_utility"]:
        found.append(
            f"the action of clips that were held out is at chance ({last['val_utility']:.2f}; "
            f"chance is {last['chance_utility']:.2f}), though it was learned on the others: "
            "give more clips"
        )
    for number, phase in enumerate(recipe.phases, 1):
        rows = [row for row in history if row["phase"] == number]
        for stop in phase.stop:
            wanted = stop.below if stop.above is None else stop.above
            if wanted is not None and rows and not stop.reached(rows):
                bound = f"at {'most' if stop.above is None else 'least'} {wanted:.2f}"
                if stop.times > 1:
                    bound = f"{wanted:.2f} to {stop.most:.2f} in {stop.times} epochs in a row"
                found.append(
                    f"phase {phase.name} ended after all its epochs with {COLUMNS[stop.column]} "
                    f"at {rows[-1][stop.column]:.2f} instead of {bound} ({stop.column})"
                )
    return tuple(found)

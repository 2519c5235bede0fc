"""Validation after an epoch, collapse, and warnings of a whole run."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_training import (
    ADVERSARIAL,
    PRETRAIN,
    WARMUP,
    batches_of,
    clips,
    data,
    held_out,
    models_of,
    recipe,
    register_painter,
)

from masquerade.extraction.dataset import from_tensor
from masquerade.methods import build
from masquerade.training.adversarial_models import (
    AdversarialModels,
)
from masquerade.training.adversarial_training import (
    train_adversarially,
)
from masquerade.training.diagnostics import (
    find_collapse,
    find_warnings,
    has_learned_action,
    with_last_known_loss,
)
from masquerade.training.recipe import (
    OptimizerConfig,
    Stop,
    UpdateStep,
)
from masquerade.training.recipes import RECIPES
from masquerade.training.recipes.options import UTILITY_AND_ADVERSARY, ablate, at_chance
from masquerade.training.validation import validate

painter = pytest.fixture(autouse=True)(register_painter)


def test_a_run_whose_held_out_clips_show_no_action_is_in_doubt() -> None:
    """Of a dozen, on which the training does not stop, though the training clips are learned."""
    row = {"phase": 1, "val_utility": 0.5, "chance_utility": 0.5, "val_adversary_share": 0.6}
    learned, given = {**row, "train_utility": 0.1}, (recipe(), held_out(12))
    (said,) = find_warnings([learned], *given)
    assert "held out is at chance (0.50" in said
    assert not find_warnings([{**learned, "val_utility": 0.6}], *given)
    assert not find_warnings([{**row, "train_utility": 1.4}], *given)  # has collapsed: said there


def test_a_phase_that_did_not_end_as_it_was_to_is_said() -> None:
    given = recipe(phases=(replace(ADVERSARIAL, stop=(at_chance(0.95),)),))
    row = {"phase": 1, "val_utility": 0.9, "chance_utility": 0.5, "train_utility": 0.1}
    history = [{**row, "val_adversary_share": share} for share in (0.6, 1.3)]
    (said,) = find_warnings(history, given, held_out(12))
    assert "at 1.30 instead of 0.95 to 1.05 in 3 epochs in a row" in said


def test_collapse_is_found_and_described() -> None:
    well = {
        "val_utility": 0.8,
        "chance_utility": 0.25,
        "val_variety": 0.9,
        "val_adversary_share": 1.0,
        "val_kept": 0.34,
    }
    given = {"data": held_out(64), "expected": {"kept": 0.343}, "tolerance": 0.05}
    assert find_collapse(well, **given) == ()
    flat = find_collapse({**well, "val_variety": 0.0}, **given)
    assert any("the same whatever comes in" in one for one in flat)
    assert any("shows nothing" in one for one in flat)
    (chance,) = find_collapse({**well, "val_utility": 0.3}, **given)
    assert "at chance" in chance
    (kept,) = find_collapse({**well, "val_kept": 0.9}, **given)
    assert "kept is 0.90" in kept
    assert find_collapse({**well, "val_kept": math.nan}, **given)


@pytest.mark.parametrize(
    ("count", "loss", "wrong"), [(10, 0.3, False), (10, 0.6, True), (64, 0.3, True)]
)
def test_few_held_out_clips_do_not_show_collapse_alone(
    count: int, loss: float, wrong: bool
) -> None:
    """Four of ten where chance is two: an action that was learned looks like this too."""
    row = {
        "val_utility": 0.4,
        "chance_utility": 0.38,
        "val_variety": 0.9,
        "val_adversary_share": 0.5,
        "train_utility": loss,
    }
    assert bool(find_collapse(row, held_out(count))) is wrong


def test_a_constant_output_has_no_variety() -> None:
    models = models_of()
    black = AdversarialModels(build("blacken"), models.utility, list(models.adversary))
    raw = validate(
        AdversarialModels(build("blur", kernel=3), models.utility, list(models.adversary)),
        recipe(),
        batches_of(recipe()),
        seed=0,
    )
    row = validate(black, recipe(), batches_of(recipe()), seed=0)
    assert row["val_variety"] == 0 and raw["val_variety"] > 0.9
    assert row["val_utility"] == pytest.approx(0.5, abs=0.2)
    assert row["val_tint"] == 0.5


@pytest.mark.parametrize(("value", "share"), [(1, 1.0), (-1, math.nan)])
def test_a_constant_adversary_is_at_chance_whatever_the_held_out_labels(
    value: int, share: float
) -> None:
    """All of one class, or none with a label: neither may look like a fooled adversary."""
    _, targets = clips(48, 0)
    tint = np.where(np.arange(48) < 32, np.arange(48) % 2, value)  # even in training
    own_data = data(targets={**targets, "tint": tint})
    models = models_of()
    for weight in models.adversary[0].parameters():
        torch.nn.init.zeros_(weight)  # it says one half of everything
    row = validate(models, recipe(), batches_of(recipe(), own_data), seed=0)
    assert row["val_adversary_share"] == pytest.approx(share, abs=1e-3, nan_ok=True)


def test_a_recipe_without_adversaries_is_diagnosed_too() -> None:
    turn = UpdateStep(learns=("anonymizer", "utility"), losses={"reconstruction": 1.0})
    alone = recipe(adversaries=(), phases=(replace(WARMUP, epochs=1, updates=(turn,)),))
    trained = train_adversarially(alone, data(), device="cpu")
    assert any("action is at chance" in note for note in trained.collapse)
    assert trained.history[-1]["collapsed"] == len(trained.collapse)
    said = [f"training collapsed: {note}" for note in trained.collapse]
    assert list(trained.anonymizer.warnings) == [*said, *trained.warnings]


def test_an_adversary_that_was_never_above_chance_leaves_a_warning() -> None:
    still = {name: OptimizerConfig(kind="adam", lr=1e-2) for name in ("anonymizer", "utility")}
    seen = train_adversarially(recipe(), data(), device="cpu")
    assert not any("no adversary" in warning for warning in seen.warnings)
    blind = recipe(
        optimizers={**still, "adversary": OptimizerConfig(kind="sgd", lr=0.0)},
        phases=(
            replace(PRETRAIN, stop=(Stop(column="val_reconstruction", below=1e-6),)),
            WARMUP,
            replace(ADVERSARIAL, stop=(Stop(column="val_adversary_share", above=0.9),)),
        ),
    )
    trained = train_adversarially(blind, data(), device="cpu")
    assert len(trained.history) < 10 and not trained.collapse
    first, second = trained.warnings
    assert "no adversary was ever clearly better than chance" in first
    assert "phase pretrain ended" in second and "instead of at most 0.00" in second
    assert "the mean L1 to the raw clip" in second


def test_the_rates_of_the_actions_alone_are_not_learned() -> None:
    """Of nine clips in ten one action, to say always that has a loss far below ln 2."""
    store, targets = clips(60, 0)
    targets["action"] = np.array([i % 10 == 0 for i in range(60)], int)
    given = data(train=store.take(range(48)), validation=store.take(range(48, 60)), targets=targets)
    row = {"val_utility": 0.9, "chance_utility": 0.9}
    assert not has_learned_action({**row, "train_utility": 0.33}, given)
    assert has_learned_action({**row, "train_utility": 0.1}, given)


def test_of_several_actions_at_once_an_untrained_network_has_learned_none() -> None:
    store, targets = clips(48, 0)
    targets["action"] = np.random.default_rng(0).integers(0, 2, (48, 50))
    sides = {"train": store.take(range(32)), "validation": store.take(range(32, 44))}
    given = data(**sides, targets=targets, utility={"action": 50})
    row = {"val_utility": 0.5, "chance_utility": 0.5, "train_utility": math.log(2)}
    assert not has_learned_action(row, given)


def test_adversaries_that_no_held_out_clip_measures_are_said() -> None:
    row = {"phase": 1, "val_utility": 0.9, "chance_utility": 0.5, "train_utility": 0.1}
    (said,) = find_warnings([{**row, "val_adversary_share": math.nan}], recipe(), held_out(12))
    assert "what they read was not measured" in said


ROW = {"phase": 1, "val_utility": 0.9, "chance_utility": 0.5, "train_utility": 0.1}


def test_what_an_adversary_reads_of_raw_clips_is_not_what_it_reads_of_anonymized_ones() -> None:
    """It read the raw clips of a warm-up, and no anonymized one, and nothing was said."""
    raw = replace(WARMUP, updates=(replace(UTILITY_AND_ADVERSARY, raw_clips=True),))
    given = recipe(phases=(raw, ADVERSARIAL))
    history = [{**ROW, "val_adversary_share": 0.3}]
    history += [{**ROW, "phase": 2, "val_adversary_share": 1.0}] * 2
    (said,) = find_warnings(history, given, held_out(12))
    assert "no adversary was ever clearly better than chance" in said and "1.00" in said


def test_a_training_that_could_learn_to_hide_nothing_says_so() -> None:
    row = {**ROW, "val_adversary_share": 0.6}
    alone, weightless = ablate(recipe(), no_adversary=True), ablate(recipe(), omega=0.0)
    (said,) = find_warnings([{**row, "val_adversary_share": math.nan}], alone, held_out(12))
    assert said == "no adversary was trained, so the training learned to hide nothing"
    (said,) = find_warnings([row], weightless, held_out(12))
    assert "the weight 0, so the training learned to hide nothing" in said
    for given in (recipe(), ablate(recipe(), reversal=True), RECIPES["noise-features"]()):
        assert not find_warnings([row], given, held_out(12))


def test_an_adversary_that_still_reads_at_the_end_leaves_a_warning() -> None:
    rows = [{**ROW, "val_adversary_share": share} for share in (0.2, 0.9, 0.4)]
    (said,) = find_warnings(rows, recipe(), held_out(12))
    assert "at the end its own adversary still reads" in said and "0.40" in said
    assert not find_warnings(rows[:2], recipe(), held_out(12))


def test_only_held_out_clips_with_an_action_are_counted() -> None:
    """Of 64 held out 16 had one, and .6 looked as sure as it is of 64."""
    given = held_out(64)
    row = {"val_utility": 0.62, "chance_utility": 0.5, "train_utility": 0.1}
    assert has_learned_action({**row, "train_utility": 9.0}, given)
    rows = given.validation.rows
    action = given.targets["action"].copy()
    action[np.unique(rows)[4:]] = -1
    assert (action[rows] >= 0).sum() == 16
    given = replace(given, targets={**given.targets, "action": action})
    assert not has_learned_action({**row, "train_utility": 9.0}, given)
    assert has_learned_action(row, given)  # so few that the training clips decide


@pytest.mark.parametrize(("positive", "least"), [(100, 0.567), (4, 0.74)])
def test_the_auroc_of_a_rare_action_is_less_sure(positive: int, least: float) -> None:
    """A binomial's error is the same of 4 and of 100 among 200."""
    action = np.concatenate([np.arange(100) % 2, np.arange(200) < positive])
    store = from_tensor(torch.zeros((300, 3, 1, 4, 4)))
    given = data(
        train=store.take(range(100)),
        validation=store.take(range(100, 300)),
        targets={"action": action, "tint": action},
        utility={"action": 1},
    )
    for score in (least - 0.002, least + 0.002):
        row = {"val_utility": score, "chance_utility": 0.5, "train_utility": 9.0}
        assert has_learned_action(row, given) is (score > least)


def test_an_epoch_of_the_adversary_alone_does_not_forget_that_the_action_was_learned() -> None:
    row = {**ROW, "val_utility": 0.5, "val_adversary_share": 0.6}
    alone = {**row, "train_utility": math.nan}
    assert with_last_known_loss(alone, [row])["train_utility"] == 0.1
    assert math.isnan(with_last_known_loss({**alone, "phase": 2}, [row])["train_utility"])
    (said,) = find_warnings([row, alone], recipe(), held_out(12))
    assert "though it was learned on the others" in said

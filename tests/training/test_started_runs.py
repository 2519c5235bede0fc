"""Training started from another run's weights, and epochs in which few clips come round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_class_token import RAW
from test_class_token import data as tokens_data
from test_class_token import recipe as tokens_recipe
from toy_training import PRETRAIN, WARMUP, batches_of, data, recipe, register_painter, same

from masquerade.checkpoint import save
from masquerade.errors import UsageError
from masquerade.methods import build
from masquerade.training.adversarial_training import train_adversarially
from masquerade.training.diagnostics import has_learned_action
from masquerade.training.recipe import Phase, UpdateStep
from masquerade.training.recipes.spact import spact as spact_recipe
from masquerade.training.recipes.vita import vita
from masquerade.training.run import _load_start

painter = pytest.fixture(autouse=True)(register_painter)


def test_it_begins_with_the_weights_of_the_other_and_skips_what_only_fresh_ones_need() -> None:
    """In the warm-up the anonymizer does not learn: it ends as it began."""
    begun = replace(PRETRAIN, skip_if_started=True)
    given = recipe(phases=(begun, WARMUP)).for_started()
    assert given.phases == (WARMUP,)
    first = train_adversarially(recipe(phases=(PRETRAIN,)), data(), seed=1, device="cpu").anonymizer
    after = train_adversarially(given, data(), seed=2, device="cpu", start=first).anonymizer
    assert same(after.state_dict(), first.state_dict())
    fresh = train_adversarially(given, data(), seed=2, device="cpu").anonymizer
    assert not same(fresh.state_dict(), first.state_dict())


def test_a_run_of_another_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anonymizer.safetensors"
    spact = spact_recipe()
    save(build("spact", **spact.arguments), path)
    assert type(_load_start(tmp_path, spact)) is type(build("spact"))
    for other in (
        replace(spact, arguments={**spact.arguments, "width": 16}),
        vita(),
    ):
        with pytest.raises(UsageError, match="name another run"):
            _load_start(tmp_path, other)


def test_few_clips_come_round_until_an_epoch_has_its_steps() -> None:
    """32 clips in batches of 8 are 4 steps; of 10 asked for, 3 rounds, each in its own order."""
    given = batches_of(recipe(min_steps=10))
    draw = torch.Generator().manual_seed(0)
    batches = list(given.training(0, draw))
    assert len(batches) == given.steps == 12
    rounds = [torch.cat([b.utility["action"] for b in batches[i : i + 4]]) for i in (0, 4, 8)]
    assert all(int(one.sum()) == int(rounds[0].sum()) for one in rounds)
    assert not torch.equal(rounds[0], rounds[1])


def test_the_log_has_columns_for_what_only_later_phases_measure(tmp_path: Path) -> None:
    learn = UpdateStep(learns=("anonymizer", "utility"), losses={"utility": 1.0, "ratio": 1.0})
    phases = (
        Phase(name="warmup", epochs=1, updates=(RAW,)),
        Phase(name="initialise", epochs=1, updates=(learn,)),
    )
    given: Any = replace(tokens_recipe(), phases=phases)
    rows = train_adversarially(given, tokens_data(), seed=0, device="cpu").history
    assert list(rows[0]) == list(rows[1])
    assert np.isnan(rows[0]["train_kept_1"]) and 0 < rows[1]["train_kept_1"] < 1
    assert np.isnan(rows[0]["train_ratio"]) and rows[1]["train_ratio"] > 0


@pytest.mark.parametrize(
    ("clips", "told", "loss", "wanted"),
    [
        (16, 0.9, 0.6, True),  # well above a guess
        (16, 0.6, 0.3, True),  # too few clips to tell, and learned where it could be
        (16, 0.6, 0.6, False),  # neither
        (16, 0.6, float("nan"), False),
        (40, 0.6, 0.3, False),  # enough clips: only they count
    ],
)
def test_few_held_out_clips_do_not_decide_alone(
    clips: int, told: float, loss: float, wanted: bool
) -> None:
    held = data().validation
    sides = data(validation=held.take([i % len(held) for i in range(clips)]))
    row = {"val_utility": told, "chance_utility": 0.5, "train_utility": loss}
    assert has_learned_action(row, sides) is wanted

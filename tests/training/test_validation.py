"""Measures of the held-out clips that are summed up batch by batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_training import batches_of, data, held_out, models_of, recipe, register_painter

from masquerade.training.adversarial_models import build_models
from masquerade.training.validation import _Variety, accuracy, validate

painter = pytest.fixture(autouse=True)(register_painter)


def test_variety_in_batches_is_the_standard_deviation_over_all() -> None:
    clips = torch.rand(37, 3, 5, 20, 16, generator=torch.Generator().manual_seed(0))
    variety = _Variety()
    for batch in clips.split(8):
        variety.add(batch)
    frames = clips.double().transpose(1, 2).flatten(0, 1)
    assert variety.value == pytest.approx(float(frames.std(dim=0).mean()), rel=1e-12)


def test_an_adversary_of_labels_reads_each_held_out_batch_once() -> None:
    models, batches, seen = models_of(), batches_of(recipe()), []
    models.adversary[0].register_forward_hook(lambda *_: seen.append(1))
    row = validate(models, recipe(), batches, seed=0)
    assert len(seen) == len(list(batches.held_out())) and row["val_adversary"] > 0


def test_what_is_measured_is_the_mean_over_clips_however_batches_divide_them() -> None:
    own, whole = held_out(7), recipe(batch=7)
    models = models_of()
    one = validate(models, whole, batches_of(whole, own), seed=0)
    parts = replace(whole, batch=3)  # the last batch has one
    other = validate(models, parts, batches_of(parts, own), seed=0)
    names = ["val_reconstruction", "val_adversary", "val_adversary_share"]
    assert [other[name] for name in names] == pytest.approx([one[name] for name in names], rel=1e-5)


def test_an_action_that_no_held_out_clip_has_counts_for_nothing() -> None:
    """The score of all actions was no number, as if nothing was learned."""
    own = data()
    speed = np.where(np.arange(48) < 32, np.arange(48) % 3, -1)
    own = replace(own, targets={**own.targets, "speed": speed}, utility={"action": 2, "speed": 3})
    models = build_models(recipe(), utility=own.utility, private=own.private, seed=0)
    row = validate(models, recipe(), batches_of(recipe(), own), seed=0)
    assert np.isnan(row["val_speed"]) and row["val_utility"] == row["val_action"]
    action = own.targets["action"][32:]
    assert row["chance_utility"] == max(action.mean(), 1 - action.mean())
    batch = next(batches_of(recipe(), own).held_out())
    with torch.no_grad():
        both = accuracy(models.utility, batch.clips, batch.utility)
        alone = accuracy(models.utility, batch.clips, {"action": batch.utility["action"]})
    assert both == alone

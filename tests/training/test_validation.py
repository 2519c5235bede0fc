"""Measures of the held-out clips that are summed up batch by batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy_training import batches_of, held_out, models_of, recipe, register_painter

from masquerade.training.validation import _Variety, validate

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

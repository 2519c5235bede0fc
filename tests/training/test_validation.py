"""Measures of the held-out clips that are summed up batch by batch."""

from __future__ import annotations

import pytest
import torch
from toy_training import batches_of, models_of, recipe, register_painter

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

"""Measures of the held-out clips that are summed up batch by batch."""

from __future__ import annotations

import pytest
import torch

from masquerade.training.validation import _Variety


def test_variety_in_batches_is_the_standard_deviation_over_all() -> None:
    clips = torch.rand(37, 3, 5, 20, 16, generator=torch.Generator().manual_seed(0))
    variety = _Variety()
    for batch in clips.split(8):
        variety.add(batch)
    frames = clips.double().transpose(1, 2).flatten(0, 1)
    assert variety.value == pytest.approx(float(frames.std(dim=0).mean()), rel=1e-12)

"""The training of a network that restores frames."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from masquerade.training.restoration import RestorationConfig, fit_restoration


def pairs(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    raw = torch.rand(2, 3, 16, 16, generator=generator)
    return torch.cat([raw, raw], 1) / 2, raw


@pytest.mark.parametrize("steps", [1, 9, 10, 11, 20])
def test_any_number_of_steps_fits(steps: int) -> None:
    """Of 10 one step was a warm-up, from and to the same learning rate."""
    net = fit_restoration(pairs, config=RestorationConfig(steps=steps))
    assert not net.training and all(bool(weight.isfinite().all()) for weight in net.parameters())

"""A toy world for adversarial training, in which a colour can be hidden and a side be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.methods import METHODS
from masquerade.training.adversarial_data import (
    AdversarialBatch,
    AdversarialBatches,
    AdversarialData,
)
from masquerade.training.adversarial_models import (
    AdversarialModels,
    build_models,
)
from masquerade.training.adversarial_step import AdversarialStep
from masquerade.training.distributed import Processes
from masquerade.training.objectives import Labels, MoCo
from masquerade.training.recipe import (
    AdversarialRecipe,
    Adversary,
    OptimizerConfig,
    Phase,
    UpdateStep,
)
from masquerade.training.recipes.options import UTILITY_AND_ADVERSARY

SIDE, FRAMES = 16, 2


class Painter(Anonymizer):
    """Mixes the three colours of every pixel: the least that can take a tint away."""

    learned = True

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv3d(3, 3, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(3)[:, :, None, None, None] + 0.1)
            self.mix.bias.zero_()

    def forward(self, clip, *, mask=None, state=None) -> Anonymized:
        return Anonymized(self.mix(clip).clamp(0, 1))


def register_painter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make it a method; to be used as a fixture."""
    monkeypatch.setitem(METHODS, "painter", Painter)


AGAINST = UpdateStep(learns=("anonymizer",), losses={"utility": 1.0, "adversarial": 0.5})


PRETRAIN = Phase(
    name="pretrain",
    epochs=2,
    updates=(UpdateStep(learns=("anonymizer",), losses={"reconstruction": 1.0}),),
)


WARMUP = Phase(name="warmup", epochs=6, updates=(UTILITY_AND_ADVERSARY,))


LONG = replace(WARMUP, epochs=14)


ADVERSARIAL = Phase(name="adversarial", epochs=2, updates=(AGAINST, UTILITY_AND_ADVERSARY))


def recipe(**changes) -> AdversarialRecipe:
    given: dict[str, Any] = {
        "method": "painter",
        "utility": "tiny-3d",
        "widths": (8, 16),
        "adversaries": (Adversary(network="tiny-3d", objective=Labels()),),
        "phases": (PRETRAIN, WARMUP, ADVERSARIAL),
        "optimizers": {
            name: OptimizerConfig(kind="adam", lr=1e-2)
            for name in ("anonymizer", "utility", "adversary")
        },
        "frames": FRAMES,
        "size": (SIDE, SIDE),
        "batch": 8,
    }
    return AdversarialRecipe(**{**given, **changes})


def clips(count: int, seed: int) -> tuple[ClipDataset, dict[str, np.ndarray]]:
    """The action is the side that is bright, what is private the colour of the rest."""
    draw = np.random.default_rng(seed)
    action, tint = draw.integers(2, size=count), draw.integers(2, size=count)
    out = 0.3 + 0.05 * torch.from_numpy(draw.random((count, 3, FRAMES, SIDE, SIDE))).float()
    for i in range(count):
        out[i, int(tint[i])] += 0.2
        half = slice(0, 8) if action[i] else slice(8, None)
        out[i, :, :, :, half] += 0.4
    return from_tensor(out), {"action": action, "tint": tint}


def data(**changes) -> AdversarialData:
    store, targets = clips(48, 0)
    given = {
        "train": store.take(range(32)),
        "validation": store.take(range(32, 48)),
        "targets": targets,
        "utility": {"action": 2},
        "private": {"tint": 1},
    }
    return AdversarialData(**{**given, **changes})


NORMS = {"method": "spact", "arguments": {"width": 2, "short": SIDE}}
"""An anonymizer with batch norms."""


MOCO = {"adversaries": (Adversary(network="tiny-2d", objective=MoCo(width=8, queue=12)),)}


def models_of(**changes) -> AdversarialModels:
    return build_models(recipe(**changes), utility={"action": 2}, private={"tint": 1}, seed=0)


def weights_of(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def batches_of(given: AdversarialRecipe, own: AdversarialData | None = None) -> AdversarialBatches:
    return AdversarialBatches(given, own or data(), seed=0, processes=Processes())


def held_out(count: int) -> AdversarialData:
    """Sides with that many held-out clips."""
    held = data().validation
    return data(validation=held.take([i % len(held) for i in range(count)]))


def losses_of(
    models: AdversarialModels,
    given: AdversarialRecipe,
    update: UpdateStep,
    batch: AdversarialBatch,
) -> dict[str, torch.Tensor]:
    """The losses of one update."""
    generator = torch.Generator().manual_seed(0)
    step = AdversarialStep(recipe=given, update=update, generator=generator)
    return step.compute(models, batch)

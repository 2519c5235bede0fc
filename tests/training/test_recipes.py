"""Every `tiny` recipe and every flag that changes one, trained to its end on a handful of clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from masquerade.extraction.dataset import from_tensor
from masquerade.training import adversarial_training
from masquerade.training.adversarial_data import AdversarialData
from masquerade.training.adversarial_training import (
    TrainedAnonymizer,
    TrainingProgress,
    train_adversarially,
)
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes import RECIPES

FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet": ("spact", {"adversary": ("mobilenet-v1",)}),
    "two adversaries, mean": ("spact", {"adversary": ("tiny-2d", "tiny-2d"), "combine": "mean"}),
    "two adversaries, sum": ("vita", {"adversary": ("tiny-2d", "tiny-2d"), "combine": "sum"}),
    "moco": ("spact", {"objective": "moco", "queue": 16}),
    "rotation": ("spact", {"objective": "rotation"}),
    "labels": ("spact", {"objective": "labels", "adversarial_loss": "uniform"}),
    "segments": ("spact", {"segments": True, "adversary": ("tiny-3d",)}),
    "frozen": ("spact", {"frozen": True}),
    "no adversary": ("spact", {"no_adversary": True}),
    "restart": ("vita", {"restart": 1, "catch_up": 2, "epochs": 2}),
    "gate": ("vita", {"gate": 0.5}),
    "ones": ("vita", {"adversarial_loss": "ones"}),
    "reversal": ("spact", {"reversal": True}),
    "reversal of labels": ("vita", {"reversal": True, "anonymizer_norms": "batch"}),
    "another utility": ("bdq", {"utility": "tiny-2d"}),
}


def data_of(recipe: AdversarialRecipe, *, count: int = 12) -> AdversarialData:
    """Clips of noise, of the size that a recipe wants."""
    draw = np.random.default_rng(0)
    shape = (count, 3, recipe.frames * recipe.windows, *recipe.size)
    clips = from_tensor(torch.from_numpy(draw.random(shape)).float())
    targets = {"action": np.arange(count) % 2, "tint": np.arange(count) // 2 % 2}
    return AdversarialData(
        train=clips.take(range(8)),
        validation=clips.take(range(8, count)),
        targets=targets,
        utility={"action": 2},
        private={"tint": 1},
    )


def trained(
    recipe: AdversarialRecipe, monkeypatch: pytest.MonkeyPatch, **given: Any
) -> TrainedAnonymizer:
    """One epoch of each phase, the adversarial one too, although noise teaches no action."""
    monkeypatch.setattr(adversarial_training, "has_learned_action", lambda row, data: True)
    recipe = replace(recipe, min_steps=1, batch=4)
    return train_adversarially(recipe, data_of(recipe), **{"device": "cpu", **given})


@pytest.mark.parametrize("name", RECIPES)
def test_every_tiny_recipe_is_trained_to_its_end(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name](epochs=1)
    found = trained(recipe, monkeypatch)
    assert [row["phase"] for row in found.history] == [*range(1, len(recipe.phases) + 1)]
    fresh = {key: value.clone() for key, value in found.anonymizer.state_dict().items()}
    again = trained(recipe, monkeypatch).anonymizer.state_dict()
    assert all(torch.equal(fresh[key], again[key]) for key in fresh)


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_is_trained_to_its_end(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, given = FLAGS[flag]
    recipe = RECIPES[name](**{"epochs": 1, **given})
    found = trained(recipe, monkeypatch)
    assert found.history[-1]["phase"] == len(recipe.phases)
    last = recipe.phases[-1]
    assert last.adversarial or flag == "no adversary"
    losses = [found.history[-1][f"train_{loss}"] for step in last.updates for loss in step.losses]
    assert losses and all(np.isfinite(losses))


@pytest.mark.cuda
@pytest.mark.parametrize("name", RECIPES)
def test_a_gpu_has_the_losses_of_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = RECIPES[name](epochs=1)
    here, there = (trained(recipe, monkeypatch, device=where) for where in ("cpu", "cuda"))
    assert len(here.history) == len(there.history)
    for one, two in zip(here.history, there.history, strict=True):
        assert one.keys() == two.keys()
        for column in one:
            if column.startswith("train_"):
                wanted = pytest.approx(one[column], rel=0.1, abs=0.05, nan_ok=True)
                assert two[column] == wanted, (one["phase"], column)


@pytest.mark.cuda
@pytest.mark.parametrize("amp", [False, True], ids=["full precision", "half precision"])
@pytest.mark.parametrize("flag", FLAGS)
def test_a_gpu_trains_every_flag_to_its_end(
    flag: str, amp: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, given = FLAGS[flag]
    recipe = RECIPES[name](**{"epochs": 1, **given})
    found = trained(recipe, monkeypatch, device="cuda", amp=amp)
    assert found.history[-1]["phase"] == len(recipe.phases)
    losses = [
        found.history[-1][f"train_{loss}"]
        for step in recipe.phases[-1].updates
        for loss in step.losses
    ]
    assert losses and all(np.isfinite(losses))
    assert all(value.device.type == "cpu" for value in found.anonymizer.state_dict().values())


@pytest.mark.cuda
@pytest.mark.parametrize("name", RECIPES)
def test_a_training_that_was_stopped_goes_on_on_a_gpu(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recipe, state = RECIPES[name](epochs=1), tmp_path / "state.pt"
    epochs = len(trained(recipe, monkeypatch, device="cuda").history)

    def stop(progress: TrainingProgress) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(recipe, monkeypatch, device="cuda", resume=state, progress=stop)
    found = trained(recipe, monkeypatch, device="cuda", resume=state)
    assert len(found.history) == epochs

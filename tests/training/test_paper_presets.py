"""The papers' presets, a few steps at their own sizes, so that no shape is wrong anywhere."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from masquerade.checkpoint import load
from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.training.adversarial_training import TrainedAnonymizer, train_adversarially
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes import RECIPES

SIDE, FRAMES = 112, 16


@pytest.fixture(scope="module")
def mimes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two drawn clips to learn from and two held out, of 16 frames at a stride of 2 and more."""
    drawn = Mimes(size=128, frames=40, clips=24, people=8, actions=("walk", "squat"))
    path = write_mimes(tmp_path_factory.mktemp("data") / "mimes", drawn)
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    action, part, other = (head.index(name) for name in ("action", "split", "split_identity"))
    first = {(row[part], row[action]): row for row in rows if row[other] == "train"}
    few = [row for (name, _), row in first.items() if name in ("train", "val")]
    assert len(few) == 4
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([head, *few])
    return path


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what comes twice: phases whose updates a later one does too, and pictures of the
    held-out clips, which validation anonymizes."""

    def train(recipe: AdversarialRecipe, *args: Any, **more: Any) -> TrainedAnonymizer:
        phases = [
            one
            for number, one in enumerate(recipe.phases, 1)
            if not any(
                all(update in later.updates for update in one.updates)
                for later in recipe.phases[number:]
            )
        ]
        return train_adversarially(replace(recipe, phases=tuple(phases)), *args, **more)

    monkeypatch.setattr("masquerade.training.run.train_adversarially", train)
    monkeypatch.setattr("masquerade.training.adversarial_training.write_samples", lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_papers_preset_trains_at_its_own_size(
    name: str, mimes: Path, tmp_path: Path, short: None
) -> None:
    run = tmp_path / "run"
    words = ["train", name, "--preset", "paper", "--data", str(mimes), "-o", str(run)]
    words += ["--epochs", "1", "--batch", "2", "--allow-chance", "--device", "cpu"]
    assert main(words) in (0, 1), "1: so few steps teach nothing, which is said"
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows and all(math.isfinite(float(row["val_reconstruction"])) for row in rows)
    method = load(run / "anonymizer.safetensors")
    clip = torch.rand(1, 3, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = method(clip, state=method.init_state(seed=1)).clip
    assert out.shape == clip.shape and math.isfinite(float(out.sum()))
    assert not torch.equal(out, clip)

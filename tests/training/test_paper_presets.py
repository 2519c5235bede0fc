"""The papers' presets, a few steps at their own sizes, so that no shape is wrong anywhere."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest
import torch

from masquerade.checkpoint import load
from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.training import adversarial_training
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


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_papers_preset_trains_at_its_own_size(
    name: str, mimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pictures of samples are of no other size than what is validated, and take a sixth of the time
    monkeypatch.setattr(adversarial_training, "write_samples", lambda *_: None)
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

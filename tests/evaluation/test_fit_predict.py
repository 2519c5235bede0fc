"""One fit: what it starts from, and what it hands to those that start from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scenes
import torch

from masquerade.evaluation.fit_predict import FitTask, fit_predict
from masquerade.evaluation.kernel_ridge import save_features
from masquerade.evaluation.predictions import Block, Initialisation, PredictionKey, Split
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.metrics.statistic import Floats

FOLD = Fold(train=np.arange(8), validation=np.arange(8, 10), test=np.arange(10, 12))
LABELS = {"action": np.arange(12) % 2}


def clips(seed: int) -> ClipDataset:
    """Twelve clips of noise."""
    generator = torch.Generator().manual_seed(seed)
    return from_tensor(torch.randint(0, 256, (12, 3, 8, 16, 16), generator=generator).byte())


def fit(
    attacker: str,
    start: Initialisation,
    seen: ClipDataset,
    weights: Path,
    *,
    saves: bool = False,
    features: Path | None = None,
) -> dict[Split, Block]:
    """The predictions of one fit of the action."""
    key = PredictionKey("people unseen", "any", 0, attacker, start, 0, 0, "test")
    task = FitTask(
        key=key,
        fold=FOLD,
        classes={"action": 2},
        labels=LABELS,
        weights=weights,
        saves_weights=saves,
        features=features,
    )
    return fit_predict(task, seen, scenes.SMALL)


@pytest.mark.parametrize("attacker", list(scenes.SMALL.attackers))
def test_a_raw_trained_attacker_is_the_one_that_was_trained_on_raw_video(
    attacker: str, tmp_path: Path
) -> None:
    """Its weights are loaded: without them it would be a new network, or learn what it attacks."""
    raw, hidden, weights = clips(0), clips(1), tmp_path / "fit.weights"
    trained = fit(attacker, "scratch", raw, weights, saves=True)
    assert weights.exists()

    def test_of(found: dict[Split, Block]) -> Floats:
        return found["test"].probabilities["action"]

    assert np.allclose(test_of(fit(attacker, "raw", raw, weights)), test_of(trained), atol=1e-5)
    untouched = test_of(fit(attacker, "raw", hidden, weights))
    assert not np.allclose(untouched, test_of(trained), atol=1e-3)  # it sees the other clips
    started = test_of(fit(attacker, "finetuned", hidden, weights))
    fresh = test_of(fit(attacker, "scratch", hidden, tmp_path / "none.weights"))
    assert not np.allclose(started, fresh, atol=1e-4)


KERNELS = [name for name, one in scenes.SMALL.attackers.items() if one.network is None]


@pytest.mark.parametrize("attacker", KERNELS)
def test_a_kernel_machine_that_reads_stored_features_predicts_the_same(
    attacker: str, tmp_path: Path
) -> None:
    some = clips(0).take([0, 1, *range(3, 12)])  # a clip is missing, so that places are not rows
    features = tmp_path / "features.npy"
    save_features(features, some, scenes.SMALL.attackers[attacker])
    fresh, stored = (
        fit(attacker, "scratch", some, tmp_path / "none.weights", features=file)
        for file in (None, features)
    )
    for split, block in fresh.items():
        assert np.array_equal(stored[split].clips, block.clips)
        for label, p in block.probabilities.items():
            assert np.array_equal(stored[split].probabilities[label], p)

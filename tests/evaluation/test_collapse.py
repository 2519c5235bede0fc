"""How adversarial training fails: nothing is shown any more, or only its own adversary is fooled.

Clips of the toy world: the action is the side that is bright, private is the colour of the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from toy_training import FRAMES, SIDE, clips, recipe, register_painter

from masquerade.anonymizer import Anonymizer
from masquerade.evaluation.fit_predict import FitTask, fit_predict
from masquerade.evaluation.predictions import PredictionKey
from masquerade.evaluation.presets import STILL_KERNELS, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import from_tensor
from masquerade.metrics.classification import auroc
from masquerade.training.adversarial_data import AdversarialData
from masquerade.training.adversarial_training import TrainedAnonymizer, train_adversarially
from masquerade.training.recipe import OptimizerConfig, Phase, UpdateStep
from masquerade.training.recipes.options import UTILITY_AND_ADVERSARY, ablate

CLIPS = 80
TRAIN, VALIDATION, TEST = np.arange(40), np.arange(40, 56), np.arange(56, CLIPS)
FRESH = Preset(
    frames=FRAMES, size=(SIDE, SIDE), attackers=STILL_KERNELS, epochs=1, finetune_epochs=1
)

painter = pytest.fixture(autouse=True)(register_painter)


def trained(*, rate: float, omega: float = 0.5, **ablations: Any) -> TrainedAnonymizer:
    dataset, targets = clips(CLIPS, 0)
    against = UpdateStep(learns=("anonymizer",), losses={"utility": 1.0, "adversarial": omega})
    given = recipe(
        phases=(
            Phase(name="warmup", epochs=14, updates=(UTILITY_AND_ADVERSARY,)),
            Phase(name="adversarial", epochs=20, updates=(against, UTILITY_AND_ADVERSARY)),
        ),
        optimizers={
            role: OptimizerConfig(kind="adam", lr=rate if role == "anonymizer" else 1e-2)
            for role in ("anonymizer", "utility", "adversary")
        },
    )
    data = AdversarialData(
        train=dataset.take(TRAIN),
        validation=dataset.take(VALIDATION),
        targets=targets,
        utility={"action": 2},
        private={"tint": 1},
    )
    return train_adversarially(ablate(given, **ablations), data, device="cpu")


def read_afresh(anonymizer: Anonymizer, label: str) -> float:
    """AUROC on test clips of the evaluation's own attackers, fitted to the anonymizer's output."""
    dataset, targets = clips(CLIPS, 0)
    with torch.no_grad():
        hidden = from_tensor(anonymizer(torch.stack([*dataset]).float() / 255).clip)
    found = []
    for learner in ("kernel on the picture", "kernel on colours"):
        fold = Fold(train=TRAIN, validation=VALIDATION, test=TEST)
        heads = {"action": 2, "tint": 2}
        key = PredictionKey("people unseen", "x", 0, learner, "scratch", 0, 0, "test")
        task = FitTask(key=key, fold=fold, classes=heads, labels=targets)
        said = fit_predict(task, hidden, FRESH)["test"].probabilities[label][:, 1]
        found.append(auroc(targets[label][TEST].astype(float), said).value)
    return max(found)


@pytest.mark.slow
def test_an_output_that_shows_nothing_says_so() -> None:
    """Nothing counts but the adversary: all goes black, and nobody reads anything, the action too.

    The adversary is at chance; the run may not pass for a success.
    """
    run = trained(rate=0.3, omega=100.0, objective="nt-xent", adversary=("tiny-2d",))
    last = run.history[-1]
    assert last["val_adversary_share"] > 0.95 and last["collapsed"] == 3
    assert any("the same whatever comes in" in note for note in run.collapse)
    assert any("action is at chance" in note for note in run.collapse)
    assert any("shows nothing" in note for note in run.collapse)
    assert read_afresh(run.anonymizer, "tint") == pytest.approx(0.5, abs=0.01)
    assert read_afresh(run.anonymizer, "action") == pytest.approx(0.5, abs=0.01)


def test_an_adversary_that_stood_still_is_fooled_and_a_fresh_one_is_not() -> None:
    """One colour becomes another: the training's adversary is at chance, a retrained one is not.

    The losses look better than those of any honest training; only the retrained attacker shows it.
    """
    run = trained(rate=0.02, frozen=True)
    last = run.history[-1]
    assert last["val_adversary_share"] > 0.95 and last["val_tint"] < 0.6
    assert last["val_utility"] > 0.9 and last["val_variety"] > 0.2 and run.collapse == ()
    assert read_afresh(run.anonymizer, "tint") > 0.9  # of who guesses .5

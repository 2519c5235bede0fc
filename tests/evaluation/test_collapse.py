"""What users of adversarial methods report: nothing is shown any more, or the wrong one is fooled.

Clips whose action is the side that is bright, and whose private label is the colour of the rest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.evaluation.fit_predict import FitTask, fit_predict
from masquerade.evaluation.presets import STILL_KERNELS, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.methods import METHODS
from masquerade.metrics.classification import auroc
from masquerade.training.ablations import Changes, changed
from masquerade.training.game import Adversary, Game, Optim, Phase, Turn
from masquerade.training.games import BOTH
from masquerade.training.minimax import Played, play
from masquerade.training.objectives import Labels
from masquerade.training.sides import Data

SIDE, FRAMES, CLIPS = 16, 2, 80
TRAIN, VALIDATION, TEST = np.arange(40), np.arange(40, 56), np.arange(56, CLIPS)
FRESH = Preset(
    frames=FRAMES, size=(SIDE, SIDE), attackers=STILL_KERNELS, epochs=1, finetune_epochs=1
)
AGAINST = Turn(learns=("anonymizer",), terms={"utility": 1.0, "fooling": 0.5})


class Tinter(Anonymizer):
    """Mixes the three colours of every pixel: one can become another, or all go black."""

    learned = True

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv3d(3, 3, 1)
        with torch.no_grad():
            self.mix.weight.copy_(torch.eye(3)[:, :, None, None, None] + 0.1)
            self.mix.bias.zero_()

    def forward(self, clip, *, mask=None, state=None) -> Anonymized:
        return Anonymized(self.mix(clip).clamp(0, 1))


@pytest.fixture(autouse=True)
def tinter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "tinter", Tinter)


def world() -> tuple[ClipDataset, dict[str, np.ndarray]]:
    draw = np.random.default_rng(0)
    action, tint = draw.integers(2, size=CLIPS), draw.integers(2, size=CLIPS)
    out = 0.3 + 0.05 * torch.from_numpy(draw.random((CLIPS, 3, FRAMES, SIDE, SIDE))).float()
    for i in range(CLIPS):
        out[i, int(tint[i])] += 0.2
        half = slice(0, 8) if action[i] else slice(8, None)
        out[i, :, :, :, half] += 0.4
    return from_tensor(out), {"action": action, "tint": tint}


def played(*, rate: float, **changes: Any) -> Played:
    store, targets = world()
    game = Game(
        method="tinter",
        utility="tiny-3d",
        widths=(8, 16),
        adversaries=(Adversary(network="tiny-3d", objective=Labels()),),
        phases=(
            Phase(name="practice", epochs=14, turns=(BOTH,)),
            Phase(name="contest", epochs=20, turns=(AGAINST, BOTH)),
        ),
        optims={
            name: Optim(kind="adam", lr=rate if name == "anonymizer" else 1e-2)
            for name in ("anonymizer", "utility", "adversary")
        },
        frames=FRAMES,
        size=(SIDE, SIDE),
        batch=8,
    )
    sides = Data(
        train=store.take(TRAIN),
        validation=store.take(VALIDATION),
        targets=targets,
        utility={"action": 2},
        private={"tint": 1},
    )
    return play(changed(game, Changes(**changes)), sides, device="cpu")


def read_afresh(anonymizer: Anonymizer, label: str) -> float:
    """AUROC on test clips of the evaluation's own attackers, fitted to the anonymizer's output."""
    store, targets = world()
    with torch.no_grad():
        clips = from_tensor(anonymizer(torch.stack([*store]).float() / 255).clip)
    found = []
    for learner in ("kernel on the picture", "kernel on colours"):
        fold = Fold(train=TRAIN, validation=VALIDATION, test=TEST)
        heads = {"action": 2, "tint": 2}
        task = FitTask(
            attacker=learner,
            initialisation="scratch",
            seed=0,
            fold=fold,
            classes=heads,
            labels=targets,
        )
        said = fit_predict(task, clips, FRESH)["test"].probabilities[label][:, 1]
        found.append(auroc(targets[label][TEST].astype(float), said).value)
    return max(found)


def test_an_output_that_shows_nothing_says_so() -> None:
    """Nothing counts but the adversary: all goes black, and nobody reads anything, the action too.

    The adversary is as blind as one could wish; the run may not pass for a success.
    """
    run = played(rate=0.3, omega=100.0, objective="nt-xent", adversary=("tiny-2d",))
    last = run.history[-1]
    assert last["val_adversary_share"] > 0.95 and last["collapsed"] == 3
    assert any("the same whatever comes in" in note for note in run.notes)
    assert any("action is at chance" in note for note in run.notes)
    assert any("nothing to see" in note for note in run.notes)
    assert read_afresh(run.anonymizer, "tint") == pytest.approx(0.5, abs=0.01)
    assert read_afresh(run.anonymizer, "action") == pytest.approx(0.5, abs=0.01)


def test_an_adversary_that_stood_still_is_fooled_and_a_fresh_one_is_not() -> None:
    """One colour becomes another: the game's own adversary guesses, who learns anew reads it all.

    The losses of the game look better than after any honest one; only the retrained attacker tells.
    """
    run = played(rate=0.02, frozen=True)
    last = run.history[-1]
    assert last["val_adversary_share"] > 0.95 and last["val_tint"] < 0.6
    assert last["val_utility"] > 0.9 and last["val_variety"] > 0.2 and run.notes == ()
    assert read_afresh(run.anonymizer, "tint") > 0.9  # of who guesses .5

"""Every `tiny` recipe and every flag that changes one, played to its end on a handful of clips."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from masquerade.errors import UsageError
from masquerade.extraction.dataset import from_tensor
from masquerade.training import minimax
from masquerade.training.ablations import Changes, changed
from masquerade.training.game import Game
from masquerade.training.games import GAMES, game_of
from masquerade.training.minimax import Played, play
from masquerade.training.sides import Data

FLAGS: dict[str, tuple[str, dict[str, Any]]] = {
    "mobilenet": ("spact", {"adversary": ("mobilenet-v1",)}),
    "two adversaries, mean": ("spact", {"adversary": ("tiny-2d", "tiny-2d"), "combine": "mean"}),
    "two adversaries, sum": ("vita", {"adversary": ("tiny-2d", "tiny-2d"), "combine": "sum"}),
    "moco": ("spact", {"objective": "moco", "queue": 16}),
    "rotation": ("spact", {"objective": "rotation"}),
    "labels": ("spact", {"objective": "labels", "fool": "uniform"}),
    "segments": ("spact", {"segments": True, "adversary": ("tiny-3d",)}),
    "frozen": ("spact", {"frozen": True}),
    "alone": ("spact", {"alone": True}),
    "restart": ("vita", {"restart": 1, "catch_up": 2, "epochs": 2}),
    "gate": ("vita", {"gate": 0.5}),
    "ones": ("vita", {"fool": "ones"}),
    "reversal": ("spact", {"reversal": True}),
    "reversal of labels": ("vita", {"reversal": True, "idle": "batch"}),
    "another utility": ("bdq", {"utility": "tiny-2d"}),
}


def data_of(game: Game, *, count: int = 12) -> Data:
    """Clips of noise, of the size that a recipe wants."""
    draw = np.random.default_rng(0)
    shape = (count, 3, game.stored or game.frames, *game.size)
    store = from_tensor(torch.from_numpy(draw.random(shape)).float())
    targets = {"action": np.arange(count) % 2, "tint": np.arange(count) // 2 % 2}
    return Data(
        train=store.take(range(8)),
        validation=store.take(range(8, count)),
        targets=targets,
        utility={"action": 2},
        private={"tint": 1},
    )


def played(game: Game, monkeypatch: pytest.MonkeyPatch) -> Played:
    """One epoch of each phase, a contest too: noise teaches no action that would open it."""
    monkeypatch.setattr(minimax, "practised", lambda row, data: True)
    return play(replace(game, steps=1, batch=4), data_of(game), device="cpu")


@pytest.mark.parametrize("name", GAMES)
def test_every_tiny_recipe_is_played_to_its_end(name: str, monkeypatch) -> None:
    game = changed(game_of(name, "tiny"), Changes(epochs=1))
    found = played(game, monkeypatch)
    assert [row["phase"] for row in found.history] == [*range(1, len(game.phases) + 1)]
    fresh = {key: value.clone() for key, value in found.anonymizer.state_dict().items()}
    again = played(game, monkeypatch).anonymizer.state_dict()
    assert all(torch.equal(fresh[key], again[key]) for key in fresh)


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_is_played_to_its_end(flag: str, monkeypatch) -> None:
    name, given = FLAGS[flag]
    game = changed(game_of(name, "tiny"), Changes(**{"epochs": 1, **given}))
    found = played(game, monkeypatch)
    assert found.history[-1]["phase"] == len(game.phases)
    last = game.phases[-1]
    assert last.contested or flag == "alone"
    losses = [found.history[-1][f"train_{term}"] for turn in last.turns for term in turn.terms]
    assert losses and all(np.isfinite(losses))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device is here")
@pytest.mark.parametrize("objective", ["labels", "nt-xent", "moco", "rotation"])
def test_a_gpu_plays_as_well(objective: str, monkeypatch) -> None:
    game = changed(game_of("spact", "tiny"), Changes(epochs=1, objective=objective))
    monkeypatch.setattr(minimax, "practised", lambda row, data: True)
    given = replace(game, steps=1, batch=4)
    found = play(given, data_of(given), device="cuda", amp=True)
    assert [row["phase"] for row in found.history] == [1, 2, 3]
    assert all(value.device.type == "cpu" for value in found.anonymizer.state_dict().values())


def test_a_gate_keeps_the_action_first_and_a_reversal_is_one_step() -> None:
    plain, gated = (changed(game_of("vita", "tiny"), Changes(gate=g)) for g in (None, 0.7))
    (gate,) = [turn for turn in gated.phases[-1].turns if turn not in plain.phases[-1].turns]
    assert (gate.until, gate.learns, gate.terms) == (0.7, ("anonymizer", "utility"), {"utility": 1})
    assert changed(game_of("vita", "paper"), Changes(gate=0.7)) == game_of("vita", "paper")
    (once,) = changed(game_of("spact", "tiny"), Changes(reversal=True, omega=0.3)).phases[-1].turns
    assert once.learns == ("anonymizer", "utility", "adversary") and once.reverse == 0.3
    assert once.terms == {"utility": 1.0, "adversary": 1.0}


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("vita", {"gate": 1.2}, "share of clips"),
        ("noise-features", {"gate": 0.5}, "leave out --gate"),
        ("spact", {"reversal": True, "frozen": True}, "leave out --frozen"),
        ("spact", {"reversal": True, "combine": "mean"}, "leave out --combine"),
        ("bdq", {"reversal": True}, "not --fool entropy"),
        ("vita", {"reversal": True, "fool": "ones"}, "not --fool ones"),
    ],
)
def test_flags_that_contradict_are_refused(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        changed(game_of(name, "tiny"), Changes(**given))

"""The adversarial loop: who learns when, what ends a phase, and that a run goes on to the bit."""

from __future__ import annotations

import csv
import math
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.cli.train import parse
from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import MasqueradeError, UsageError
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.methods import METHODS, build
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.training import minimax
from masquerade.training.ablations import Changes, changed
from masquerade.training.cast import Cast, cast_of, rival_of
from masquerade.training.game import Adversary, Game, Optim, Phase, Stop, Turn
from masquerade.training.games import GAMES, game_of
from masquerade.training.held_out import collapsed, standing
from masquerade.training.minimax import Standing, play
from masquerade.training.objectives import Labels, MoCo, NTXent, Objective
from masquerade.training.pairs import FAR, Gap
from masquerade.training.phases import BOTH
from masquerade.training.ranks import Ranks, ranks_here
from masquerade.training.sides import Data, Feed, feed_of
from masquerade.training.steps import mixed, rate
from masquerade.training.terms import terms_of

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


@pytest.fixture(autouse=True)
def painter(monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "painter", Painter)


AGAINST = Turn(learns=("anonymizer",), terms={"utility": 1.0, "fooling": 0.5})
IDENTITY = Phase(
    name="identity",
    epochs=2,
    turns=(Turn(learns=("anonymizer",), terms={"reconstruction": 1.0}),),
)
PRACTICE = Phase(name="practice", epochs=6, turns=(BOTH,))
LONG = replace(PRACTICE, epochs=14)
CONTEST = Phase(name="contest", epochs=2, turns=(AGAINST, BOTH))


def game(**changes) -> Game:
    given: dict[str, Any] = {
        "method": "painter",
        "utility": "tiny-3d",
        "widths": (8, 16),
        "adversaries": (Adversary(network="tiny-3d", objective=Labels()),),
        "phases": (IDENTITY, PRACTICE, CONTEST),
        "optims": {
            name: Optim(kind="adam", lr=1e-2) for name in ("anonymizer", "utility", "adversary")
        },
        "frames": FRAMES,
        "size": (SIDE, SIDE),
        "batch": 8,
    }
    return Game(**{**given, **changes})


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


def data(**changes) -> Data:
    store, targets = clips(48, 0)
    given = {
        "train": store.take(range(32)),
        "validation": store.take(range(32, 48)),
        "targets": targets,
        "utility": {"action": 2},
        "private": {"tint": 1},
    }
    return Data(**{**given, **changes})


NORMS = {"method": "spact", "arguments": {"width": 2, "short": SIDE}}
"""An anonymizer with batch norms."""


def players(**changes) -> Cast:
    return cast_of(game(**changes), utility={"action": 2}, private={"tint": 1}, seed=0)


def state(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def feed(given: Game, sides: Data | None = None) -> Feed:
    return feed_of(given, sides or data(), seed=0, ranks=Ranks(), device=torch.device("cpu"))


@pytest.mark.parametrize("idle", ["batch", "running"])
@pytest.mark.parametrize("learns", [("anonymizer",), ("utility", "adversary"), ("adversary",)])
def test_a_step_touches_only_those_whose_turn_it_is(learns, idle: str) -> None:
    """Neither weights nor the statistics of the others' norms move by one bit."""
    cast = players(**NORMS)
    batch = next(feed(game()).held_out())
    before = {name: state(cast.player(name)) for name in ("anonymizer", "utility", "adversary")}
    terms = {"anonymizer": AGAINST.terms, "utility": BOTH.terms, "adversary": {"adversary": 1.0}}
    turn = Turn(learns=learns, terms=terms[learns[0]])
    with cast.acting(learns, idle=idle):
        found, _ = terms_of(cast, game(), turn, batch, torch.Generator())
        loss = torch.stack([found[name] * weight for name, weight in turn.terms.items()]).sum()
        loss.backward()
        everyone = [p for p in cast.parameters() if p.grad is not None]
        torch.optim.SGD(everyone, lr=0.1).step()
    for name, was in before.items():
        assert same(was, state(cast.player(name))) != (name in learns), name


def test_the_idle_anonymizer_normalises_by_the_batch_or_by_what_it_learned() -> None:
    cast, clip = players(**NORMS), torch.rand(4, 3, FRAMES, SIDE, SIDE)
    outs = {}
    for idle in ("batch", "running"):
        with cast.acting(("utility",), idle=idle), torch.no_grad():
            outs[idle] = cast.anonymizer.draft(clip).clip
    with torch.no_grad():
        learned = cast.anonymizer.eval().draft(clip).clip
    assert torch.equal(outs["running"], learned)
    assert not torch.allclose(outs["batch"], learned, atol=1e-3)


def gradient(turn: Turn) -> torch.Tensor:
    cast = players()
    with cast.acting(turn.learns, idle="batch"):
        cast.utility.eval()
        cast.adversary.eval()
        batch = next(feed(game()).held_out())
        terms, _ = terms_of(cast, game(), turn, batch, torch.Generator())
        torch.stack([weight * terms[name] for name, weight in turn.terms.items()]).sum().backward()
    return torch.cat([p.grad.flatten() for p in cast.weights("anonymizer") if p.grad is not None])


def test_the_anonymizers_gradient_is_that_of_both_losses_with_a_minus_between() -> None:
    alone = {"learns": ("anonymizer",)}
    keep = gradient(Turn(**alone, terms={"utility": 1.0}))
    read = gradient(Turn(**alone, terms={"adversary": 1.0}))
    both = gradient(Turn(**alone, terms={"utility": 1.0, "fooling": 0.5}))
    assert read.abs().max() > 1e-6
    assert torch.allclose(both, keep - 0.5 * read, atol=1e-6)
    everyone = ("anonymizer", "utility", "adversary")
    turned = gradient(Turn(learns=everyone, terms={"utility": 1.0, "adversary": 1.0}, reverse=0.5))
    assert torch.allclose(both, turned, atol=1e-6)


def test_a_game_is_learned_phase_by_phase_and_leaves_its_traces(tmp_path: Path) -> None:
    seen: list[Standing] = []
    played = play(
        game(),
        data(),
        device="cpu",
        log=tmp_path / "log.csv",
        samples=tmp_path / "samples",
        progress=seen.append,
    )
    assert [one.phase for one in seen] == ["identity"] * 2 + ["practice"] * 6 + ["contest"] * 2
    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 10 and set(lines[0]) == set(played.history[0])
    first, practised, last = (played.history[at] for at in (0, 7, 9))
    assert first["val_reconstruction"] > played.history[1]["val_reconstruction"]
    assert practised["val_utility"] > 0.9
    assert math.isnan(first["train_utility"]) and not math.isnan(last["train_fooling"])
    picture = cv2.imread(str(tmp_path / "samples" / "0010.png"))
    assert picture.shape == (4 * 2 * SIDE * 6, FRAMES * SIDE * 6, 3)
    assert played.anonymizer.trained and not played.anonymizer.training


def test_the_adversary_is_fooled_and_the_action_stays() -> None:
    """What is private is the tint, which an anonymizer can take away without the action."""
    contest = replace(CONTEST, epochs=25)
    history = play(game(phases=(IDENTITY, LONG, contest)), data(), device="cpu").history
    shows, hides = history[15], history[-1]
    assert shows["val_tint"] > 0.9 and shows["val_adversary_share"] < 0.3
    assert hides["val_utility"] > 0.9 and hides["val_adversary_share"] > 0.8


def stopping_at(epoch: int):
    def stop(standing: Standing) -> None:
        if standing.epoch == epoch:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("at", [2, 5, 9])
def test_a_stopped_game_goes_on_to_the_bit(tmp_path: Path, at: int) -> None:
    gated = replace(BOTH, until=0.97, times=2)
    given = game(
        phases=(
            IDENTITY,
            PRACTICE,
            replace(CONTEST, turns=(AGAINST, gated), restart=1, catch_up=2),
        ),
        adversaries=(Adversary(network="tiny-3d", objective=NTXent(width=8)),),
    )
    whole = play(given, data(), device="cpu")
    kept = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        play(given, data(), device="cpu", resume=kept, progress=stopping_at(at))
    resumed = play(given, data(), device="cpu", resume=kept, log=tmp_path / "log.csv")
    assert same(state(whole.anonymizer), state(resumed.anonymizer))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 11
    for a, b in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}, nan_ok=True, rel=0, abs=0
        )


def test_the_state_of_another_game_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "state.pt"
    short = game(phases=(IDENTITY,))
    play(short, data(), device="cpu", resume=kept)
    with pytest.raises(UsageError, match="another fit"):
        play(short, data(), seed=1, device="cpu", resume=kept)
    with pytest.raises(UsageError, match="another fit"):
        play(short, data(), amp=True, device="cpu", resume=kept)
    monkeypatch.setattr(minimax, "ranks_here", lambda device: nullcontext(Ranks(world=2)))
    with pytest.raises(UsageError, match=r"another fit.*number of processes"):
        play(short, data(), device="cpu", resume=kept)
    kept.write_bytes(b"of some older time")
    with pytest.raises(UsageError, match="no snapshot"):
        play(short, data(), device="cpu", resume=kept)


def test_a_phase_ends_on_its_threshold() -> None:
    rows = [{"loss": value} for value in (3.0, 1.0, 2.0, 1.5)]
    assert not Stop(column="loss", below=1.2).reached(rows)
    assert Stop(column="loss", below=1.5).reached(rows)
    assert Stop(column="loss", above=1.5).reached(rows)
    assert Stop(column="loss", plateau=2).reached(rows)
    assert not Stop(column="loss", plateau=3).reached(rows)
    assert not Stop(column="loss", below=9).reached([{"loss": math.nan}])
    early = replace(PRACTICE, stop=(Stop(column="val_utility", above=0.9),), epochs=40)
    history = play(game(phases=(IDENTITY, early)), data(), device="cpu").history
    assert history[-1]["val_utility"] >= 0.9
    assert all(row["val_utility"] < 0.9 for row in history[2:-1]) and len(history) < 30


def test_nobody_plays_against_an_adversary_while_the_action_is_a_guess() -> None:
    _, targets = clips(48, 0)
    lost = dict(targets, action=np.random.default_rng(1).integers(2, size=48))
    with pytest.raises(MasqueradeError, match="action was not learned"):
        play(game(), data(targets=lost), device="cpu")


def test_a_sated_turn_is_left_out() -> None:
    never = replace(BOTH, until=0.0)
    given = game(phases=(replace(CONTEST, turns=(AGAINST, never)),))
    history = play(given, data(), device="cpu").history
    assert all(math.isnan(row["train_adversary"]) for row in history)
    assert all(row["turns"] == 8 * at - 1 for at, row in enumerate(history, 1))


def test_a_rate_falls_with_the_batches_whoever_moves_on_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: dict[str, list[float]] = {"anonymizer": [], "utility": []}
    move = minimax._Match._move

    def seen(self, name, how) -> None:
        rates[name].append(self.optimizers[name].param_groups[0]["lr"])
        move(self, name, how)

    monkeypatch.setattr(minimax._Match, "_move", seen)
    learn = Turn(learns=("utility",), terms={"utility": 1.0})
    turns = (AGAINST, replace(learn, until=0.0), replace(learn, times=2))
    falls = {name: Optim(kind="adam", lr=1e-3, warmup=1, cosine=True) for name in rates}
    phase = replace(CONTEST, turns=turns, same_batch=True, optims=falls)
    play(game(phases=(phase,)), data(), device="cpu")
    wanted = [rate(1e-3, at / 4, epochs=2, warmup=1, step=1 / 4) for at in range(8)]
    assert rates["anonymizer"] == wanted
    assert rates["utility"] == [each for each in wanted for _ in range(2)]


@pytest.mark.parametrize("same_batch", [False, True])
def test_once_the_gate_is_reached_its_turn_is_over_for_this_round(
    monkeypatch: pytest.MonkeyPatch, same_batch: bool
) -> None:
    """VITA: the action network steps until it tells .7, then comes the adversary, five times."""
    told, moved = iter([0.1, 0.9, 0.9, 0.1, 0.1, 0.9]), []
    monkeypatch.setattr(minimax, "tells", lambda *_: next(told))
    monkeypatch.setattr(minimax._Match, "_move", lambda self, name, how: moved.append(name))
    learn = Turn(learns=("utility",), terms={"utility": 1.0}, times=8, until=0.7)
    five = Turn(learns=("adversary",), terms={"adversary": 1.0}, times=5)
    turns = (AGAINST, learn, five)
    rounds = [["anonymizer"] + ["utility"] * at + ["adversary"] * 5 for at in (1, 0, 2)]
    # 3 batches an epoch: all moves of three rounds on one each, or 21 moves on 21.
    phase = replace(CONTEST, turns=turns, same_batch=same_batch, epochs=1 if same_batch else 7)
    sides = data(train=data().train.take(range(24)))
    last = play(game(phases=(phase,)), sides, device="cpu").history[-1]
    assert moved == [name for each in rounds for name in each]
    assert last["turns"] == 3 * (1 + 8 + 5) and next(told, None) is None


def test_a_frozen_adversary_stays_and_one_that_is_left_out_does_not_play() -> None:
    frozen = changed(game(), Changes(frozen=True))
    assert [turn.learns for turn in frozen.phases[2].turns] == [("anonymizer",), ("utility",)]
    ends = replace(CONTEST, stop=(Stop(column="val_adversary_share", above=0.0),))
    frozen = changed(game(phases=(IDENTITY, PRACTICE, ends)), Changes(frozen=True))
    history = play(frozen, data(), device="cpu").history
    assert len(history) == 10
    assert math.isnan(history[-1]["train_adversary"]) and history[-1]["train_fooling"] < 0
    alone = changed(game(), Changes(alone=True))
    history = play(alone, data(private={}), device="cpu").history
    assert math.isnan(history[-1]["val_adversary"]) and len(history) == 10


@pytest.mark.parametrize("catch_up", [0, 3])
def test_adversaries_that_restart_are_fresh_ones(
    tmp_path: Path, catch_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, steps, step = tmp_path / "state.pt", [], minimax._Match._step
    monkeypatch.setattr(
        minimax._Match, "_step", lambda *given: steps.append(given[2].learns) or step(*given)
    )
    still = Phase(
        name="still",
        epochs=2,
        turns=(Turn(learns=("utility",), terms={"utility": 1.0}),),
        restart=1,
        catch_up=catch_up,
    )
    given = game(phases=(still,))
    play(given, data(), device="cpu", resume=kept)
    held = torch.load(kept, weights_only=True)["net"]
    fresh = rival_of(given, given.adversaries[0], {"tint": 1}, seed=mixed(0, 2, 1, 0))
    wanted = {f"adversary.0.{name}": value for name, value in fresh.state_dict().items()}
    assert same(wanted, held) == (catch_up == 0)
    assert steps.count(("adversary",)) == catch_up


def test_the_adversary_may_learn_from_pictures_of_another_set() -> None:
    pictures, labels = clips(40, 5)
    stills = from_tensor(torch.stack([*pictures])[:, :, :1])
    sides = data(
        stills=stills.take(range(30)),
        still_validation=stills.take(range(30, 40)),
        still_targets={"tint": labels["tint"]},
    )
    batch = next(feed(game(stills=6), sides).learned(0, torch.Generator().manual_seed(0)))
    assert batch.stills is not None and batch.stills.shape == (6, 3, 2, SIDE, SIDE)
    assert batch.clips.shape == (8, 3, FRAMES, SIDE, SIDE) and len(batch.private["tint"]) == 6
    history = play(game(stills=6, phases=(IDENTITY, LONG)), sides, device="cpu").history
    assert history[-1]["val_tint"] > 0.9


def test_collapse_is_noticed_and_said() -> None:
    well = {
        "val_utility": 0.8,
        "chance_utility": 0.25,
        "val_variety": 0.9,
        "val_adversary_share": 1.0,
        "val_kept": 0.34,
    }
    wanted = game(wanted={"kept": (0.343, 0.05)})
    sides = held_out(64)
    assert collapsed(well, wanted, sides) == ()
    flat = collapsed({**well, "val_variety": 0.0}, wanted, sides)
    assert any("the same whatever comes in" in one for one in flat)
    assert any("nothing to see" in one for one in flat)
    (guess,) = collapsed({**well, "val_utility": 0.3}, wanted, sides)
    assert "at chance" in guess
    (kept,) = collapsed({**well, "val_kept": 0.9}, wanted, sides)
    assert "kept is 0.90" in kept
    assert collapsed({**well, "val_kept": math.nan}, wanted, sides)


@pytest.mark.parametrize(
    ("count", "loss", "wrong"), [(10, 0.3, False), (10, 0.6, True), (64, 0.3, True)]
)
def test_few_held_out_clips_do_not_accuse_alone(count: int, loss: float, wrong: bool) -> None:
    """Four of ten where a guess gets two: an action that was learned looks like this too."""
    row = {
        "val_utility": 0.4,
        "chance_utility": 0.38,
        "val_variety": 0.9,
        "val_adversary_share": 0.5,
        "train_utility": loss,
    }
    assert bool(collapsed(row, game(), held_out(count))) is wrong


def held_out(count: int) -> Data:
    """Sides with that many held-out clips."""
    held = data().validation
    return data(validation=held.take([i % len(held) for i in range(count)]))


def test_a_constant_output_has_no_variety() -> None:
    cast = players()
    black = Cast(build("blacken"), cast.utility, list(cast.adversary))
    raw = standing(
        Cast(build("blur", sigma=0.01), cast.utility, list(cast.adversary)),
        game(),
        feed(game()),
        seed=0,
    )
    row = standing(black, game(), feed(game()), seed=0)
    assert row["val_variety"] == 0 and raw["val_variety"] > 0.9
    assert row["val_utility"] == pytest.approx(0.5, abs=0.2)
    assert row["val_tint"] == 0.5


@pytest.mark.parametrize(("value", "share"), [(1, 1.0), (-1, math.nan)])
def test_an_adversary_that_guesses_is_blind_whatever_the_held_out_clips_show(
    value: int, share: float
) -> None:
    """All of one class, or none with a label: neither may look like a fooled adversary."""
    _, targets = clips(48, 0)
    tint = np.where(np.arange(48) < 32, np.arange(48) % 2, value)  # even in training
    sides = data(targets={**targets, "tint": tint})
    cast = players()
    for weight in cast.adversary[0].parameters():
        torch.nn.init.zeros_(weight)  # it says one half of everything
    row = standing(cast, game(), feed(game(), sides), seed=0)
    assert row["val_adversary_share"] == pytest.approx(share, abs=1e-3, nan_ok=True)


def test_what_nobody_plays_against_is_watched_too() -> None:
    turn = Turn(learns=("anonymizer", "utility"), terms={"reconstruction": 1.0})
    alone = game(adversaries=(), phases=(replace(PRACTICE, epochs=1, turns=(turn,)),))
    played = play(alone, data(), device="cpu")
    assert any("action is at chance" in note for note in played.notes)
    assert played.history[-1]["collapsed"] == len(played.notes)


MOCO = {"adversaries": (Adversary(network="tiny-2d", objective=MoCo(width=8, queue=12)),)}


def test_the_queue_moves_in_the_adversarys_turn_and_in_no_other() -> None:
    cast, batch = players(**MOCO), next(feed(game()).held_out())
    turn = Turn(learns=("adversary",), terms={"adversary": 1.0})
    moved = []
    for now in (AGAINST, turn):
        before = state(cast.adversary)
        with cast.acting(now.learns, idle="running"):
            terms_of(cast, game(**MOCO), now, batch, torch.Generator().manual_seed(0))
        moved.append(not same(before, state(cast.adversary)))
    assert moved == [False, True]
    assert int(cast.adversary[0].at) == len(batch.clips)
    learned = {id(weight) for weight in cast.weights("adversary")}
    assert learned == {id(weight) for weight in cast.adversary[0].net.parameters()}


def test_a_moco_run_goes_on_to_the_bit(tmp_path: Path) -> None:
    whole = game(**MOCO, phases=(replace(CONTEST, epochs=2),))
    once = play(whole, data(), device="cpu")
    stop = tmp_path / "state.pt"

    class Halt(Exception):
        pass

    def halt(standing: Standing) -> None:
        raise Halt

    with pytest.raises(Halt):
        play(whole, data(), device="cpu", resume=stop, progress=halt)
    again = play(whole, data(), device="cpu", resume=stop)
    assert same(state(once.anonymizer), state(again.anonymizer))
    for column in ("train_adversary", "val_adversary_share"):
        assert [row[column] for row in once.history] == [row[column] for row in again.history]


def test_an_objective_changes_and_its_pairs_stay() -> None:
    recipe = changed(game_of("spact", "paper"), Changes(objective="moco", queue=4096, gap="far"))
    (one,) = recipe.adversaries
    assert one.objective == MoCo(queue=4096) and recipe.gap == FAR
    runs = changed(game_of("spact", "paper"), Changes(segments=True, adversary=("r3d-18",)))
    assert [one.objective for one in runs.adversaries] == [NTXent(segments=True)]
    assert changed(recipe, Changes(gap="free")).gap is None


def test_thresholds_and_the_temperature_are_those_that_are_asked_for() -> None:
    asked = Changes(
        until_identity=0.02,
        until_utility=0.5,
        until_adversary=1.5,
        until_blind=0.9,
        temperature=0.2,
    )
    identity, practice, contest = changed(game_of("spact", "paper"), asked).phases
    assert identity.stop == (Stop(column="val_reconstruction", below=0.02),)
    assert practice.stop == (
        Stop(column="train_utility", below=0.5),
        Stop(column="train_adversary", below=1.5),
    )
    assert contest.stop == (Stop(column="val_adversary_share", above=0.9),)
    (one,) = changed(game_of("spact", "paper"), asked).adversaries
    assert one.objective == NTXent(temperature=0.2)
    one_only = changed(game_of("spact", "tiny"), Changes(until_utility=0.5)).phases[1]
    assert {stop.column: stop.plateau for stop in one_only.stop} == {
        "train_utility": None,
        "train_adversary": 4,
    }
    tiny = changed(game_of("spact", "tiny"), Changes(until_blind=0.9)).phases
    assert tiny[2].stop == contest.stop and not game_of("spact", "tiny").phases[2].stop
    line = "spact --preset paper --data x -o r --until-identity 0.02 --until-utility 0.5"
    line += " --until-adversary 1.5 --until-blind 0.9 --temperature 0.2"
    assert parse(line.split())[1].phases == changed(game_of("spact", "paper"), asked).phases
    ended = changed(game(phases=(replace(CONTEST, epochs=9),)), Changes(until_blind=1e-9))
    assert len(play(ended, data(), device="cpu").history) == 1


def test_who_forgets_catches_up() -> None:
    vita = game_of("vita", "paper")
    contest = changed(vita, Changes(restart=2)).phases[-1]
    assert (contest.restart, contest.catch_up) == (2, 200)
    contest = changed(vita, Changes(restart=3, catch_up=5)).phases[-1]
    assert (contest.restart, contest.catch_up) == (3, 5)


@pytest.mark.parametrize(
    ("name", "preset", "changes", "said"),
    [
        ("noise-features", "tiny", {"omega": 3.0}, "leave out --omega"),
        ("noise-features", "tiny", {"alone": True}, "leave out --alone"),
        ("noise-features", "tiny", {"frozen": True}, "leave out --frozen"),
        ("spact", "tiny", {"alone": True, "queue": 7}, "leave out --queue"),
        ("spact", "tiny", {"frozen": True, "restart": 2}, "never learn again"),
        ("bdq", "paper", {"frozen": True}, "know nothing"),
        ("spact", "tiny", {"gap": "far", "segments": True}, "runs of them"),
        ("vita", "tiny", {"catch_up": 9}, "after a --restart"),
        ("vita", "tiny", {"restart": -1}, "--restart is 1 or more"),
        ("vita", "tiny", {"epochs": 0}, "--epochs is 1 or more"),
        ("vita", "tiny", {"batch": 1}, "--batch is 2 or more"),
        ("vita", "tiny", {"omega": math.nan}, "--omega is 0 or more"),
        ("vita", "tiny", {"action_weight": -1.0}, "--action-weight is 0 or more"),
        ("spact", "tiny", {"until_blind": 0.0}, "--until-blind must be above 0"),
        ("spact", "tiny", {"until_blind": 3.0}, "--until-blind is 1 at most"),
        ("spact", "tiny", {"temperature": math.inf}, "--temperature must be above 0"),
        ("vita", "tiny", {"temperature": 0.2}, "--temperature is of pairs"),
        ("spact", "tiny", {"frozen": True, "until_blind": 0.9}, "leave out --until-blind"),
        ("spact", "tiny", {"alone": True, "until_adversary": 1.0}, "leave out --until-adversary"),
        ("bdq", "tiny", {"until_identity": 0.1}, "leave out --until-identity"),
        ("stprivacy", "tiny", {"until_utility": 0.1}, "leave out --until-utility"),
        ("noise-features", "tiny", {"until_blind": 0.9}, "leave out --until-blind"),
    ],
)
def test_changes_that_would_change_nothing_are_refused(
    name: str, preset: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        changed(game_of(name, preset), Changes(**changes))


def test_networks_that_read_something_else_are_refused() -> None:
    with pytest.raises(UsageError, match="optical flow"):
        cast_of(game(utility="tiny-flow"), utility={"action": 2}, private={"tint": 1}, seed=0)
    with pytest.raises(UsageError, match="do not fit"):
        play(game(utility="vit-b-32"), data(), device="cpu")


def test_pairs_with_a_gap_are_frames_of_the_same_videos() -> None:
    near = Gap(most=2, frames=4, stride=2)
    frames = torch.arange(4) / 8 + torch.arange(48)[:, None] / 96
    apart = from_tensor(frames[:, None, :, None, None].expand(-1, 3, -1, SIDE, SIDE))
    train, validation = apart.take(range(32)), apart.take(range(32, 48))
    sides = data(apart=train, apart_validation=validation)
    given = game(gap=near, adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=8)),))
    one = feed(given, sides)
    held = list(one.held_out())
    for now, again in zip(held, one.held_out(), strict=True):
        assert torch.equal(now.stills, again.stills)
    stills = torch.cat([batch.stills for batch in held])
    assert stills.shape == (16, 3, 2, SIDE, SIDE)
    raw = torch.stack([*validation]).float() / 255
    for video, (a, b) in zip(raw, stills[:, 0, :, 0, 0].tolist(), strict=True):
        at = [int((video[0, :, 0, 0] - value).abs().argmin()) for value in (a, b)]
        assert abs(at[0] - at[1]) == 1 and video[0, at[0], 0, 0] == pytest.approx(a)
    batch = next(one.learned(0, torch.Generator().manual_seed(0)))
    assert batch.stills.shape == (8, 3, 2, SIDE, SIDE) and batch.clips.shape[2] == FRAMES
    assert set(batch.private) == {"tint"} and len(batch.private["tint"]) == 8
    history = play(replace(given, phases=(IDENTITY, LONG)), sides, device="cpu").history
    assert history[-1]["train_adversary"] < history[2]["train_adversary"]
    with pytest.raises(UsageError, match="other videos"):
        data(apart=validation, apart_validation=validation)


def test_held_out_pictures_are_two_views_and_none_is_its_own_negative() -> None:
    pictures, targets = clips(16, 3)
    sides = data(
        stills=pictures.take(range(10)),
        still_validation=pictures.take(range(10, 16)),
        still_targets=targets,
    )
    one = feed(game(augment=Augmentation(brightness=0.2), stills=64), sides)
    for batch, again in zip(one.held_out(), one.held_out(), strict=True):
        assert batch.stills.shape[0] == 6 == len(batch.private["tint"])
        assert torch.equal(batch.stills, again.stills)
        first, second = batch.stills.unbind(2)
        assert (first - second).abs().amax((1, 2, 3)).min() > 1e-3
        assert len({tuple(code.flatten().tolist()) for code in first}) == 6


@pytest.mark.parametrize(
    ("objective", "alike"), [(NTXent(width=8), False), (MoCo(width=8), False), (Labels(), True)]
)
def test_no_picture_is_a_pair_with_itself(objective: Objective, alike: bool) -> None:
    """Where the recipe changes no clip, pictures are changed all the same, but for labels."""
    pictures, targets = clips(16, 3)
    pictures = from_tensor(torch.stack([*pictures])[:, :, :1])
    sides = data(
        stills=pictures.take(range(10)),
        still_validation=pictures.take(range(10, 16)),
        still_targets=targets,
    )
    given = game(adversaries=(Adversary(network="tiny-2d", objective=objective),), stills=6)
    one = feed(given, sides)
    learned = list(one.learned(0, torch.Generator().manual_seed(0)))
    raw = {tuple(clip.flatten().tolist()) for clip in sides.train}
    for batch in [*learned, *one.held_out()]:
        first, second = batch.stills.unbind(2)
        assert torch.equal(first, second) is alike
    for batch in learned:  # the action's clips stay as the recipe wants them
        assert {tuple((c * 255).round().byte().flatten().tolist()) for c in batch.clips} <= raw


def test_an_adversary_that_never_saw_anything_leaves_a_doubt() -> None:
    still = {name: Optim(kind="adam", lr=1e-2) for name in ("anonymizer", "utility")}
    seen = play(game(), data(), device="cpu")
    assert not any("no adversary" in doubt for doubt in seen.doubts)
    blind = game(
        optims={**still, "adversary": Optim(kind="sgd", lr=0.0)},
        phases=(
            replace(IDENTITY, stop=(Stop(column="val_reconstruction", below=1e-6),)),
            PRACTICE,
            replace(CONTEST, stop=(Stop(column="val_adversary_share", above=0.9),)),
        ),
    )
    played = play(blind, data(), device="cpu")
    assert len(played.history) < 10 and not played.notes
    first, second = played.doubts
    assert "no adversary ever saw more than next to nothing" in first
    assert "phase identity ended" in second and "instead of at most 0.00" in second
    assert "the mean L1 to the raw clip" in second


AIDED = {("stprivacy", "paper"), ("stprivacy", "code")}


@pytest.mark.parametrize(("name", "preset"), [(n, p) for n, ps in GAMES.items() for p in ps])
def test_every_recipe_names_what_there_is(name: str, preset: str) -> None:
    recipe = game_of(name, preset)
    names = {recipe.utility, *(one.network for one in recipe.adversaries)}
    assert names <= set(RECOGNIZERS)
    assert recipe.phases[-1].contested or name == "noise-features"
    players_of = {
        player for phase in recipe.phases for turn in phase.turns for player in turn.learns
    }
    rivals = {"adversary"} if recipe.adversaries else set()
    aided = {"auxiliary"} if (name, preset) in AIDED else set()
    assert players_of == {"anonymizer", "utility", *rivals, *aided}
    assert bool(rivals) == (name != "noise-features")


def test_unknown_recipes_and_changes_are_said_plainly() -> None:
    with pytest.raises(UsageError, match="no recipe for 'blur'"):
        game_of("blur", "tiny")
    with pytest.raises(UsageError, match="no preset 'huge'"):
        game_of("spact", "huge")
    with pytest.raises(UsageError, match="no network 'r3d'"):
        changed(game(), Changes(utility="r3d"))
    with pytest.raises(UsageError, match="no objective 'x'"):
        changed(game(), Changes(objective="x"))
    with pytest.raises(UsageError, match="nt-xent or moco"):
        changed(game(), Changes(gap="far"))
    with pytest.raises(UsageError, match="--objective moco"):
        changed(game_of("spact", "tiny"), Changes(queue=64))
    with pytest.raises(UsageError, match="--objective labels"):
        changed(game_of("spact", "tiny"), Changes(fool="ones"))
    with pytest.raises(UsageError, match="without an adversary"):
        changed(game_of("noise-features", "tiny"), Changes(adversary=("resnet-50",)))
    with pytest.raises(UsageError, match="has none"):
        play(game(), data(private={}), device="cpu")
    with pytest.raises(UsageError, match="No player has a loss"):
        bad = Turn(learns=("anonymizer",), terms={"ratio": 1.0})
        play(game(phases=(replace(CONTEST, turns=(bad,)),)), data(), device="cpu")


TWO = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
import test_minimax
found = test_minimax.shared()
torch.save(found, f"{sys.argv[2]}/{found['rank']}.pt")
"""

PAIRED = game(
    grouped=True,  # norms of a batch would be those of a process's share
    adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=8)),),
    phases=(
        replace(IDENTITY, optims={"anonymizer": Optim(kind="sgd", lr=0.1)}),
        replace(CONTEST, epochs=3, stop=(Stop(column="val_adversary_share", above=50.0),)),
    ),
    optims={name: Optim(kind="sgd", lr=0.1) for name in ("anonymizer", "utility", "adversary")},
)
"""Of two frames a pair is the same ones whatever is drawn, and SGD magnifies no rounding."""


class Straight(nn.Module):
    """The least that gives a projection."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * frames, 4)

    def forward(self, clip: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"projection": self.linear(clip.flatten(1))}


def shared() -> dict[str, Any]:
    """What processes share: processes change nothing but rounding."""
    METHODS["painter"] = Painter
    whole = torch.rand(5, 3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    with ranks_here("cpu") as ranks:
        found: dict[str, Any] = {"rank": ranks.rank}

        def off(*given: Any, **named: Any) -> dict[str, float]:
            row = standing(*given, **named)
            return {**row, "val_adversary_share": 99.0} if ranks.rank else row

        minimax.standing = off
        try:
            played = play(PAIRED, data(), device="cpu")
        finally:
            minimax.standing = standing
        found["weights"], found["notes"] = played.anonymizer.state_dict(), played.notes
        found["rows"] = [{k: v for k, v in r.items() if k != "seconds"} for r in played.history]
        mine = whole[ranks.rank :: ranks.world]  # of five clips, three and two
        for name in ("loss", "fooling"):
            net = Straight(1)
            each = getattr(NTXent(), name)(net, mine, {}, torch.Generator(), ranks)
            each.mean().backward()
            ranks.share_gradients(net)
            found[name], found[f"{name} back"] = each.detach().mean(), net.linear.weight.grad
        net = MoCo(queue=7, momentum=0.9).dressed(Straight(1))
        with torch.no_grad():
            net.queue = torch.zeros(7, 4)
        for _ in range(2):
            MoCo().loss(net.train(), mine[:, :, :1], {}, torch.Generator(), ranks)
        found["queue"] = net.queue
    return found


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process finds, and each of two."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(TWO)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [*run, str(folder / "two.py"), str(Path(__file__).parent), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "painter", Painter)
        return [shared(), *(torch.load(folder / f"{rank}.pt") for rank in (0, 1))]


def test_two_processes_learn_what_one_learns(one_and_two: list[dict[str, Any]]) -> None:
    one, first, second = (found["weights"] for found in one_and_two)
    assert same(first, second)
    assert all(torch.allclose(first[name], one[name], atol=1e-5) for name in one)
    assert not torch.allclose(one["mix.weight"], Painter().mix.weight, atol=1e-3)


def test_all_processes_decide_by_the_first_ones_held_out_clips(
    one_and_two: list[dict[str, Any]],
) -> None:
    """The second believes that its adversary is blind, which would end the contest for it alone."""
    _, first, second = one_and_two
    assert len(first["rows"]) == 5 and first["notes"] == second["notes"]
    for alone, here, there in zip(*(found["rows"] for found in one_and_two), strict=True):
        assert here == pytest.approx(there, nan_ok=True, rel=0, abs=0)
        assert here == pytest.approx(alone, nan_ok=True, rel=1e-3)


@pytest.mark.parametrize("name", ["loss", "fooling"])
def test_pairs_are_told_from_those_of_all_processes(
    one_and_two: list[dict[str, Any]], name: str
) -> None:
    one, *both = one_and_two
    for each in both:
        assert torch.allclose(one[name], each[name], atol=1e-6)
        assert torch.allclose(one[f"{name} back"], each[f"{name} back"], atol=1e-6)
    assert one[f"{name} back"].abs().max() > 1e-3


def test_the_queue_is_one_of_all_processes(one_and_two: list[dict[str, Any]]) -> None:
    one, *both = one_and_two
    assert all(torch.allclose(one["queue"], each["queue"], atol=1e-6) for each in both)
    assert one["queue"].abs().sum(1).min() > 0

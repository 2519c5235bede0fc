"""Adversarial training: who learns when, what ends a phase, and exact resumption."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from toy_training import (
    ADVERSARIAL,
    AGAINST,
    FRAMES,
    LONG,
    MOCO,
    PRETRAIN,
    SIDE,
    WARMUP,
    clips,
    data,
    recipe,
    register_painter,
    same,
    weights_of,
)

from masquerade.errors import MasqueradeError, UsageError
from masquerade.training import adversarial_training, engine
from masquerade.training.adversarial_models import (
    build_adversary,
)
from masquerade.training.adversarial_training import (
    AdversarialTrainer,
    TrainingProgress,
    train_adversarially,
)
from masquerade.training.objectives import NTXent
from masquerade.training.optimization import learning_rate
from masquerade.training.recipe import (
    Adversary,
    OptimizerConfig,
    Phase,
    Stop,
    UpdateStep,
)
from masquerade.training.recipes.options import UTILITY_AND_ADVERSARY, ablate, at_chance
from masquerade.training.seeds import Stream, derive_seed

painter = pytest.fixture(autouse=True)(register_painter)


def test_phases_run_in_order_and_are_logged(tmp_path: Path) -> None:
    seen: list[TrainingProgress] = []
    steps: list[tuple[str, int, int]] = []
    trained = train_adversarially(
        recipe(),
        data(),
        device="cpu",
        log=tmp_path / "log.csv",
        samples=tmp_path / "samples",
        progress=seen.append,
        stepped=lambda *at: steps.append(at),
    )
    done = [count for _, count, _ in steps]
    assert done == list(range(1, len(done) + 1)) and steps[-1] == ("adversarial", *done[-1:] * 2)
    assert [most for _, _, most in steps] == sorted((most for *_, most in steps), reverse=True)
    assert [one.phase for one in seen] == ["pretrain"] * 2 + ["warmup"] * 6 + ["adversarial"] * 2
    with (tmp_path / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 10 and set(lines[0]) == set(trained.history[0])
    first, has_learned_action, last = (trained.history[at] for at in (0, 7, 9))
    assert first["val_reconstruction"] > trained.history[1]["val_reconstruction"]
    assert has_learned_action["val_utility"] > 0.9
    assert math.isnan(first["train_utility"]) and not math.isnan(last["train_adversarial"])
    picture = cv2.imread(str(tmp_path / "samples" / "0010.png"))
    assert picture.shape == (4 * 2 * SIDE * 6, FRAMES * SIDE * 6, 3)
    assert trained.anonymizer.trained and not trained.anonymizer.training


def test_the_adversary_is_fooled_and_the_action_stays() -> None:
    """What is private is the tint, which an anonymizer can take away without the action."""
    contest = replace(ADVERSARIAL, epochs=25)
    history = train_adversarially(
        recipe(phases=(PRETRAIN, LONG, contest)), data(), device="cpu"
    ).history
    shows, hides = history[15], history[-1]
    assert shows["val_tint"] > 0.9 and shows["val_adversary_share"] < 0.3
    assert hides["val_utility"] > 0.9 and hides["val_adversary_share"] > 0.8


def stop_at(epoch: int):
    def stop(validate: TrainingProgress) -> None:
        if validate.epoch == epoch:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("at", [2, 5, 9])
def test_an_interrupted_training_resumes_to_the_bit(tmp_path: Path, at: int) -> None:
    gated = replace(UTILITY_AND_ADVERSARY, until_accuracy=0.97, times=2)
    given = recipe(
        phases=(
            PRETRAIN,
            WARMUP,
            replace(ADVERSARIAL, updates=(AGAINST, gated), restart=1, catch_up=2),
        ),
        adversaries=(Adversary(network="tiny-3d", objective=NTXent(width=8)),),
    )
    whole = train_adversarially(given, data(), device="cpu")
    kept = tmp_path / "state.pt"
    with pytest.raises(KeyboardInterrupt):
        train_adversarially(given, data(), device="cpu", resume=kept, progress=stop_at(at))
    assert not kept.stat().st_mode & 0o077, "it holds networks that tell people apart"
    resumed = train_adversarially(
        given, data(), device="cpu", resume=kept, log=tmp_path / "log.csv"
    )
    assert same(weights_of(whole.anonymizer), weights_of(resumed.anonymizer))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 11
    for a, b in zip(whole.history, resumed.history, strict=True):
        assert {k: v for k, v in a.items() if k != "seconds"} == pytest.approx(
            {k: v for k, v in b.items() if k != "seconds"}, nan_ok=True, rel=0, abs=0
        )


@pytest.mark.parametrize(("size", "name"), [(200, "log.csv"), (3000, "state.pt")])
def test_a_full_disk_is_said_and_the_training_goes_on_afterwards(
    tmp_path: Path,
    full_after: Callable[[int], AbstractContextManager[None]],
    size: int,
    name: str,
) -> None:
    given = recipe(phases=(PRETRAIN,))
    files = {"log": tmp_path / "log.csv", "resume": tmp_path / "state.pt"}
    with full_after(size), pytest.raises(MasqueradeError, match=f"{name} cannot be written"):
        train_adversarially(given, data(), device="cpu", **files)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    resumed = train_adversarially(given, data(), device="cpu", **files)
    whole = train_adversarially(given, data(), device="cpu")
    assert same(weights_of(whole.anonymizer), weights_of(resumed.anonymizer))
    with files["log"].open() as file:
        assert len(list(csv.DictReader(file))) == len(whole.history)


def test_a_moco_training_resumes_to_the_bit(tmp_path: Path) -> None:
    whole = recipe(**MOCO, phases=(replace(ADVERSARIAL, epochs=2),))
    once = train_adversarially(whole, data(), device="cpu")
    stop = tmp_path / "state.pt"

    class Halt(Exception):
        pass

    def halt(validate: TrainingProgress) -> None:
        raise Halt

    with pytest.raises(Halt):
        train_adversarially(whole, data(), device="cpu", resume=stop, progress=halt)
    again = train_adversarially(whole, data(), device="cpu", resume=stop)
    assert same(weights_of(once.anonymizer), weights_of(again.anonymizer))
    for column in ("train_adversary", "val_adversary_share"):
        assert [row[column] for row in once.history] == [row[column] for row in again.history]


def test_the_state_of_another_training_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "state.pt"
    short = recipe(phases=(PRETRAIN,))
    train_adversarially(short, data(), device="cpu", resume=kept)
    with pytest.raises(UsageError, match="another training"):
        train_adversarially(short, data(), seed=1, device="cpu", resume=kept)
    with pytest.raises(UsageError, match="another training"):
        train_adversarially(short, data(), amp=True, device="cpu", resume=kept)
    whole = data()
    more = replace(whole, utility={name: n + 1 for name, n in whole.utility.items()})
    with pytest.raises(UsageError, match="another training"):  # a value that only test clips have
        train_adversarially(short, more, device="cpu", resume=kept)
    monkeypatch.setattr(engine, "code_digest", lambda *_: "of an update")
    with pytest.raises(UsageError, match="another version of masquerade"):
        train_adversarially(short, data(), device="cpu", resume=kept)
    kept.write_bytes(b"of some older time")
    with pytest.raises(UsageError, match="holds no training"):
        train_adversarially(short, data(), device="cpu", resume=kept)


def test_a_phase_ends_on_its_threshold() -> None:
    rows = [{"loss": value} for value in (3.0, 1.0, 2.0, 1.5)]
    assert not Stop(column="loss", below=1.2).reached(rows)
    assert Stop(column="loss", below=1.5).reached(rows)
    assert Stop(column="loss", above=1.5).reached(rows)
    assert Stop(column="loss", plateau=2).reached(rows)
    assert not Stop(column="loss", plateau=3).reached(rows)
    assert not Stop(column="loss", below=9).reached([{"loss": math.nan}])
    early = replace(WARMUP, stop=(Stop(column="val_utility", above=0.9),), epochs=40)
    history = train_adversarially(recipe(phases=(PRETRAIN, early)), data(), device="cpu").history
    assert history[-1]["val_utility"] >= 0.9
    assert all(row["val_utility"] < 0.9 for row in history[2:-1]) and len(history) < 30


def test_an_adversary_is_blind_once_its_loss_stays_near_chance() -> None:
    """One that is confidently wrong, as the anonymizer has just moved, reads it all again soon."""

    def end(shares: list[float], stop: Stop) -> int | None:
        rows = [{"val_adversary_share": share} for share in shares]
        return next((n for n in range(len(rows) + 1) if stop.reached(rows[:n])), None)

    moved = [0.754, 1.748, 1.473, 1.038, 0.902, 0.81, 0.752]  # measured, of labels
    blind = [1.068, 1.028, 1.011, 1.005, 1.005, 1.002]  # of frames
    assert end(moved, at_chance(0.95)) is None and end(blind, at_chance(0.95)) == 4
    assert end([0.6, 0.99, math.nan, 1.0, 1.0, 1.0], at_chance(0.95)) == 6
    assert end([1.06, 1.02, 1.01, 1.0], at_chance(1.0)) == 4  # of a share of 1 too


def test_the_adversarial_phase_does_not_begin_while_the_action_is_at_chance() -> None:
    _, targets = clips(48, 0)
    lost = dict(targets, action=np.random.default_rng(1).integers(2, size=48))
    with pytest.raises(MasqueradeError, match="action was not learned"):
        train_adversarially(recipe(), data(targets=lost), device="cpu")
    tried = train_adversarially(recipe(), data(targets=lost), device="cpu", allow_chance=True)
    assert tried.history[-1]["phase"] == len(recipe().phases)


def test_held_out_clips_of_one_kind_tell_nothing_of_a_binary_action() -> None:
    """Their AUROC is not defined, and was printed as nan."""
    _, targets = clips(48, 0)
    action = np.random.default_rng(1).integers(2, size=48)
    action[32:] = 1
    lost = replace(data(targets=dict(targets, action=action)), utility={"action": 1})
    with pytest.raises(MasqueradeError, match="the held-out clips are all of one kind"):
        train_adversarially(recipe(), lost, device="cpu")


def test_an_update_whose_accuracy_is_reached_is_skipped() -> None:
    never = replace(UTILITY_AND_ADVERSARY, until_accuracy=0.0)
    given = recipe(phases=(replace(ADVERSARIAL, updates=(AGAINST, never)),))
    history = train_adversarially(given, data(), device="cpu").history
    assert all(math.isnan(row["train_adversary"]) for row in history)
    assert all(row["updates"] == 8 * at - 1 for at, row in enumerate(history, 1))


def test_learning_rates_follow_the_batches_whichever_role_updates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rates: dict[str, list[float]] = {"anonymizer": [], "utility": []}
    step = AdversarialTrainer.step

    def recorded(self, loss, modules, clip) -> None:
        for role in modules:
            rates[role].append(self.optimizers[role].param_groups[0]["lr"])
        step(self, loss, modules, clip)

    monkeypatch.setattr(AdversarialTrainer, "step", recorded)
    learn = UpdateStep(learns=("utility",), losses={"utility": 1.0})
    turns = (AGAINST, replace(learn, until_accuracy=0.0), replace(learn, times=2))
    falls = {name: OptimizerConfig(kind="adam", lr=1e-3, warmup=1, cosine=True) for name in rates}
    phase = replace(ADVERSARIAL, updates=turns, same_batch=True, optimizers=falls)
    train_adversarially(recipe(phases=(phase,)), data(), device="cpu")
    wanted = [learning_rate(1e-3, at / 4, epochs=2, warmup=1, step=1 / 4) for at in range(8)]
    assert rates["anonymizer"] == wanted
    assert rates["utility"] == [each for each in wanted for _ in range(2)]


def test_without_a_cosine_the_rate_rises_over_the_whole_warmup_and_stays() -> None:
    """Also where --epochs ends the phase before."""
    rates = [
        learning_rate(1.0, at / 2, epochs=2, warmup=3, step=1 / 2, cosine=False) for at in range(8)
    ]
    assert rates == pytest.approx([1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1, 1])


@pytest.mark.parametrize("same_batch", [False, True])
def test_once_the_gate_is_reached_its_update_is_skipped_for_the_round(
    monkeypatch: pytest.MonkeyPatch, same_batch: bool
) -> None:
    """VITA: the action network learns up to an accuracy of .7, then the adversary, five times."""
    accuracies, moved = iter([0.1, 0.9, 0.9, 0.1, 0.1, 0.9]), []
    monkeypatch.setattr(adversarial_training, "accuracy", lambda *_: next(accuracies))
    monkeypatch.setattr(
        AdversarialTrainer, "step", lambda self, loss, modules, clip: moved.extend(modules)
    )
    learn = UpdateStep(learns=("utility",), losses={"utility": 1.0}, times=8, until_accuracy=0.7)
    five = UpdateStep(learns=("adversary",), losses={"adversary": 1.0}, times=5)
    turns = (AGAINST, learn, five)
    rounds = [["anonymizer"] + ["utility"] * at + ["adversary"] * 5 for at in (1, 0, 2)]
    # 3 batches an epoch: all moves of three rounds on one each, or 21 moves on 21.
    phase = replace(
        ADVERSARIAL, updates=turns, same_batch=same_batch, epochs=1 if same_batch else 7
    )
    own_data = data(train=data().train.take(range(24)))
    last = train_adversarially(recipe(phases=(phase,)), own_data, device="cpu").history[-1]
    assert moved == [name for each in rounds for name in each]
    assert last["updates"] == 3 * (1 + 8 + 5) and next(accuracies, None) is None


def test_a_frozen_adversary_stays_and_without_one_there_is_no_adversarial_loss() -> None:
    frozen = ablate(recipe(), frozen=True)
    assert [turn.learns for turn in frozen.phases[2].updates] == [("anonymizer",), ("utility",)]
    ends = replace(ADVERSARIAL, stop=(Stop(column="val_adversary_share", above=0.0),))
    frozen = ablate(recipe(phases=(PRETRAIN, WARMUP, ends)), frozen=True)
    history = train_adversarially(frozen, data(), device="cpu").history
    assert len(history) == 10
    assert math.isnan(history[-1]["train_adversary"]) and history[-1]["train_adversarial"] < 0
    alone = ablate(recipe(), no_adversary=True)
    history = train_adversarially(alone, data(private={}), device="cpu").history
    assert math.isnan(history[-1]["val_adversary"]) and len(history) == 10


@pytest.mark.parametrize("catch_up", [0, 3])
def test_restarted_adversaries_have_fresh_weights(
    tmp_path: Path, catch_up: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, steps, update = tmp_path / "state.pt", [], AdversarialTrainer._update
    monkeypatch.setattr(
        AdversarialTrainer,
        "_update",
        lambda *given: steps.append(given[2].learns) or update(*given),
    )
    still = Phase(
        name="still",
        epochs=2,
        updates=(UpdateStep(learns=("utility",), losses={"utility": 1.0}),),
        restart=1,
        catch_up=catch_up,
    )
    given = recipe(phases=(still,))
    train_adversarially(given, data(), device="cpu", resume=kept)
    held = torch.load(kept, weights_only=True)["models"]
    fresh = build_adversary(
        given,
        given.adversaries[0],
        {"tint": 1},
        seed=derive_seed(0, Stream.RESTARTED_ADVERSARIES, 1, 0),
    )
    wanted = {f"adversary.0.{name}": value for name, value in fresh.state_dict().items()}
    assert same(wanted, held) == (catch_up == 0)
    assert steps.count(("adversary",)) == catch_up


def test_weights_that_are_no_numbers_end_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the last step of an epoch no loss tells."""
    step = AdversarialTrainer._update

    def break_after(self: AdversarialTrainer, *given: Any) -> dict[str, torch.Tensor]:
        found = step(self, *given)
        with torch.no_grad():
            next(self.models.anonymizer.parameters()).fill_(math.nan)
        return found

    monkeypatch.setattr(AdversarialTrainer, "_update", break_after)
    once = recipe(phases=(replace(PRETRAIN, epochs=1),), batch=32)
    with pytest.raises(
        MasqueradeError, match=r"diverged: .* give another --seed.* and a new folder"
    ):
        train_adversarially(once, data(), device="cpu")

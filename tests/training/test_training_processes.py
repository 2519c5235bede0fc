"""Two processes train what one trains."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from toy_training import (
    ADVERSARIAL,
    NORMS,
    PRETRAIN,
    WARMUP,
    Painter,
    data,
    recipe,
    register_painter,
    same,
)

from masquerade.datasets.augmentation import SPACT
from masquerade.methods import METHODS
from masquerade.training import adversarial_training
from masquerade.training.adversarial_training import (
    train_adversarially,
)
from masquerade.training.distributed import join_processes
from masquerade.training.objectives import MoCo, NTXent, ObjectiveBatch
from masquerade.training.recipe import (
    Adversary,
    OptimizerConfig,
    Stop,
)
from masquerade.training.validation import validate

pytestmark = pytest.mark.slow
painter = pytest.fixture(autouse=True)(register_painter)

TWO = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
sys.path.insert(0, sys.argv[3])
import test_training_processes
found = test_training_processes.shared()
torch.save(found, f"{sys.argv[2]}/{found['rank']}.pt")
"""


PAIRED = recipe(
    group_norm=True,  # norms of a batch would be those of a process's share
    adversaries=(Adversary(network="tiny-2d", objective=NTXent(width=8)),),
    phases=(
        replace(PRETRAIN, optimizers={"anonymizer": OptimizerConfig(kind="sgd", lr=0.1)}),
        replace(ADVERSARIAL, epochs=3, stop=(Stop(column="val_adversary_share", above=50.0),)),
    ),
    optimizers={
        name: OptimizerConfig(kind="sgd", lr=0.1) for name in ("anonymizer", "utility", "adversary")
    },
)
"""Of two frames a pair is the same ones whatever is drawn, and SGD magnifies no rounding."""


DRAWN = recipe(
    **NORMS,  # batch norms in the anonymizer and in both of its opponents
    augment=SPACT,
    batch=10,  # of 32 clips the last batch has two
    phases=(PRETRAIN, replace(WARMUP, epochs=2), ADVERSARIAL),
    optimizers={
        name: OptimizerConfig(kind="sgd", lr=0.02)
        for name in ("anonymizer", "utility", "adversary")
    },
)
"""What is drawn at random and what is normalised by the batch depend on all of its clips."""


class Straight(nn.Module):
    """The least that gives a projection."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3 * frames, 4)

    def forward(self, clip: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"projection": self.linear(clip.flatten(1))}


def without_seconds(history: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def shared() -> dict[str, Any]:
    """What processes share: processes change nothing but rounding."""
    METHODS["painter"] = Painter
    whole = torch.rand(5, 3, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    with join_processes("cpu") as processes:
        found: dict[str, Any] = {"rank": processes.rank}

        def off(*given: Any, **named: Any) -> dict[str, float]:
            row = validate(*given, **named)
            return {**row, "val_adversary_share": 99.0} if processes.rank else row

        adversarial_training.validate = off
        try:
            trained = train_adversarially(PAIRED, data(), device="cpu")
        finally:
            adversarial_training.validate = validate
        found["weights"], found["notes"] = trained.anonymizer.state_dict(), trained.collapse
        found["rows"] = without_seconds(trained.history)
        own = data()
        own.targets["tint"][::5] = -1  # unknown, which the shares hold unequally many of
        drawn = train_adversarially(DRAWN, own, device="cpu", allow_chance=True)
        found["drawn"] = without_seconds(drawn.history)
        mine = whole[processes.rank :: processes.world]  # of five clips, three and two
        for name in ("loss", "adversarial_loss"):
            net = Straight(1)
            batch = ObjectiveBatch(mine, {}, torch.Generator(), processes.share(5))
            each = getattr(NTXent(), name)(net, batch)
            each.mean().backward()
            processes.average_gradients(net)
            found[name], found[f"{name} back"] = each.detach().mean(), net.linear.weight.grad
        used = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)])
        used[0](torch.ones(1, 1)).sum().backward()
        if processes.rank == 0:
            used[1](torch.ones(1, 1)).sum().backward()
        processes.average_gradients(used)
        found["gradients"] = [None if p.grad is None else float(p.grad) for p in used.parameters()]
        net = MoCo(queue=7, momentum=0.9).wrap(Straight(1))
        with torch.no_grad():
            net.queue = torch.zeros(7, 4)
        for _ in range(2):
            batch = ObjectiveBatch(mine[:, :, :1], {}, torch.Generator(), processes.share(5))
            MoCo().loss(net.train(), batch)
        found["queue"] = net.queue
    return found


@pytest.fixture(scope="module")
def one_and_two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process finds, and each of two."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "two.py").write_text(TWO)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [
        *run,
        str(folder / "two.py"),
        str(Path(__file__).parent),
        str(folder),
        str(Path(__file__).parents[1]),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "painter", Painter)
        return [shared(), *(torch.load(folder / f"{rank}.pt") for rank in (0, 1))]


def test_two_processes_learn_what_one_learns(one_and_two: list[dict[str, Any]]) -> None:
    one, first, second = (found["weights"] for found in one_and_two)
    assert same(first, second)
    # Rounding that differs between processors grows to 5e-5; what was learned is .1.
    assert all(torch.allclose(first[name], one[name], atol=5e-4) for name in one)
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


def test_draws_and_batch_norms_are_those_of_the_whole_batch(
    one_and_two: list[dict[str, Any]],
) -> None:
    """The loss curve of two processes is that of one with the doubled batch, to 3e-3.

    Weights that differ by 1e-7 at first make as much as 1.2e-3 of it in one process, too.
    So is how much outputs vary, in parts of what inputs do: nearly nothing after this training, so
    that rounding is a large part of it.
    """
    for alone, here, there in zip(*(found["drawn"] for found in one_and_two), strict=True):
        assert here == pytest.approx(there, nan_ok=True, rel=0, abs=0)
        varied = here.get("val_variety", math.nan)
        assert varied == pytest.approx(alone.get("val_variety", math.nan), nan_ok=True, abs=1e-3)
        here["val_variety"] = alone["val_variety"] = 0
        assert here == pytest.approx(alone, nan_ok=True, rel=3e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["loss", "adversarial_loss"])
def test_pairs_are_told_from_those_of_all_processes(
    one_and_two: list[dict[str, Any]], name: str
) -> None:
    one, *both = one_and_two
    for each in both:
        assert torch.allclose(one[name], each[name], atol=1e-6)
        assert torch.allclose(one[f"{name} back"], each[f"{name} back"], atol=1e-6)
    assert one[f"{name} back"].abs().max() > 1e-3


def test_a_weight_that_no_process_uses_has_no_gradient(one_and_two: list[dict[str, Any]]) -> None:
    """With one, even of zeros, weight decay would move it, as it does not in one process."""
    one, *both = one_and_two
    assert one["gradients"] == [1, 1, 1, 1, None, None]
    assert all(each["gradients"] == [1, 1, 0.5, 0.5, None, None] for each in both)


def test_the_queue_is_one_of_all_processes(one_and_two: list[dict[str, Any]]) -> None:
    one, *both = one_and_two
    assert all(torch.allclose(one["queue"], each["queue"], atol=1e-6) for each in both)
    assert one["queue"].abs().sum(1).min() > 0

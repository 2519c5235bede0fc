"""The one loop: it learns, stops where it should, and goes on after a kill as if there was none."""

from __future__ import annotations

import csv
import importlib.util
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from masquerade.datasets.augmentation import Augmentation
from masquerade.errors import MissingError, UsageError
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.methods import build
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.models.recognizers.modalities import ModalityRecognizer
from masquerade.training.low_resolution import LowResolutionRecognizer, RandomTransforms
from masquerade.training.predict import predict
from masquerade.training.supervised import FitProgress, fit

LABELS = {"hue": 3, "bright": 1}


def easy(count: int = 48, *, seed: int = 0) -> tuple[ClipDataset, dict[str, np.ndarray]]:
    """Clips whose strongest channel is one label and whose brightness is another."""
    draw = np.random.default_rng(seed)
    hue, bright = draw.integers(3, size=count), draw.integers(2, size=count)
    clips = 0.25 + 0.05 * torch.from_numpy(draw.random((count, 3, 4, 16, 16))).float()
    clips[torch.arange(count), torch.from_numpy(hue)] += 0.2
    clips += 0.3 * torch.from_numpy(bright)[:, None, None, None, None]
    return from_tensor(clips), {"hue": hue, "bright": bright}


def network(heads: dict[str, int] | None = None, *, seed: int = 0, **given) -> nn.Module:
    torch.manual_seed(seed)
    return RECOGNIZERS["tiny-3d"](heads=heads or LABELS, widths=(8, 16), **given)


QUICK = {"epochs": 6, "batch": 16, "lr": 1e-2, "warmup": 1, "device": "cpu"}


def weights(net: nn.Module) -> list[Tensor]:
    return list(net.state_dict().values())


def alike(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(weights(a), weights(b), strict=True))


def test_all_heads_learn_together() -> None:
    train, targets = easy(64)
    fitted = fit(network(), train, None, targets=targets, **{**QUICK, "epochs": 10})
    fresh, wanted = easy(40, seed=1)
    said = predict(fitted.net, fresh)
    assert (said["hue"].argmax(1) == wanted["hue"]).mean() > 0.9
    assert ((said["bright"][:, 0] > 0.5) == wanted["bright"]).mean() > 0.9
    assert np.allclose(said["hue"].sum(1), 1, atol=1e-5)
    assert fitted.best_epoch == 10 and len(fitted.history) == 10
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"] / 3
    assert 0 < fitted.network_seconds <= fitted.seconds


def test_several_labels_at_once_in_one_head() -> None:
    train, targets = easy(64)
    hot = np.eye(3, dtype=np.int64)[targets["hue"]]
    hot[:5] = -1  # unknown
    fitted = fit(network({"hues": 3}), train, None, targets={"hues": hot}, **{**QUICK, "epochs": 8})
    said = predict(fitted.net, train, multi_label=("hues",))["hues"]
    assert ((said > 0.5) == np.eye(3)[targets["hue"]]).mean() > 0.9


def test_a_network_without_heads_learns_the_one_label() -> None:
    train, targets = easy()
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-3d"](classes=3, widths=(8, 16))
    given = {"targets": {"hue": targets["hue"]}, **QUICK}
    fitted = fit(net, train, train.take(range(9)), **given)
    said = predict(fitted.net, train, label="hue")["hue"]
    assert (said.argmax(1) == targets["hue"]).mean() > 0.9
    with pytest.raises(UsageError, match="without heads"):
        fit(net, train, None, targets=targets, **QUICK)


def test_unknown_labels_teach_nothing() -> None:
    """Clips without a label leave its head as it was, and others are fitted as ever."""
    train, targets = easy()
    unknown = {**targets, "bright": np.full(len(train), -1)}
    net = network()
    before = net.net.head.weight.detach().clone()
    fitted = fit(net, train, train, targets=unknown, weight_decay=0.0, **QUICK)
    assert torch.equal(fitted.net.net.head.weight[3:], before[3:])  # the last row is bright's
    assert not torch.equal(fitted.net.net.head.weight[:3], before[:3])
    assert "val_bright" not in fitted.history[0] and "val_hue" in fitted.history[0]


def test_targets_are_found_by_the_clips_own_rows() -> None:
    """A store that lost clips and their order still meets its own labels."""
    store, targets = easy(64)
    part = store.take(np.random.default_rng(3).permutation(64)[:50])
    fitted = fit(network(), part, None, targets=targets, **QUICK)
    said = predict(fitted.net, store)["hue"]
    assert (said.argmax(1) == targets["hue"]).mean() > 0.9


def test_the_best_epoch_on_validation_is_kept() -> None:
    train, targets = easy(32)
    validation, other = easy(48, seed=2)
    deal = np.random.default_rng(0).permutation(len(other["hue"]))
    codes = {k: np.concatenate([targets[k], other[k][deal]]) for k in targets}  # nothing to find
    moved = replace(validation, rows=32 + validation.rows)
    fitted = fit(network(), train, moved, targets=codes, patience=3, **{**QUICK, "epochs": 40})
    losses = [row["val_loss"] for row in fitted.history]
    assert fitted.best_epoch == 1 + int(np.argmin(losses))
    assert len(losses) == fitted.best_epoch + 3  # patience ran out
    said = predict(fitted.net, moved)
    p = said["hue"][np.arange(48), codes["hue"][32:]]
    assert -np.log(p).mean() == pytest.approx(fitted.history[fitted.best_epoch - 1]["val_hue"])
    assert not fitted.net.training


def test_fits_are_seeded_and_leave_the_global_generator_alone() -> None:
    train, targets = easy()
    given = {
        "targets": targets,
        **QUICK,
        "epochs": 2,
        "augment": Augmentation(crop=(0.7, 1.0), brightness=0.2, flip=0.5, erase=0.5),
    }
    torch.manual_seed(5)
    wanted = torch.rand(3)
    nets = []
    for seed, stir in ((1, 10), (1, 20), (2, 10)):
        net = network(dropout=0.3)
        torch.manual_seed(stir)
        nets.append(fit(net, train, None, seed=seed, **given).net)
    assert alike(nets[0], nets[1]) and not alike(nets[0], nets[2])
    torch.manual_seed(5)
    fit(network(), train, None, **given)
    torch.manual_seed(5)
    net = network()
    torch.manual_seed(5)
    fit(net, train, None, **given)
    assert torch.equal(torch.rand(3), wanted)


def test_the_rate_rises_and_falls_along_a_cosine() -> None:
    train, targets = easy(16)
    fitted = fit(network(), train, None, targets=targets, epochs=12, warmup=3, lr=1e-2)
    rates = [row["lr"] for row in fitted.history]
    top = rates.index(max(rates))
    assert 1 <= top <= 3 and max(rates) <= 1e-2
    assert all(np.diff(rates[: top + 1]) > 0) and all(np.diff(rates[top:]) < 0)
    assert rates[-1] < 1e-4


def test_gradients_are_clipped_and_vectors_do_not_decay() -> None:
    train, targets = easy(16)
    net = network()
    with torch.no_grad():
        for norm in net.net.norms:
            norm.weight.mul_(100)
    fit(net, train, None, targets=targets, **{**QUICK, "epochs": 1})
    norms = torch.stack([p.grad.norm() for p in net.parameters()])
    assert norms.norm() == pytest.approx(1, abs=1e-3)

    def moved(decay: float) -> tuple[float, float]:
        net = network()
        for p in net.parameters():
            p.data.fill_(1.0)
        still = {"targets": {k: np.full(16, -1) for k in targets}, "weight_decay": decay}
        fit(net, train, None, **still, **QUICK)
        conv, norm = net.net.convs[0].weight, net.net.norms[0].weight
        return float(conv.detach().mean()), float(norm.detach().mean())

    assert moved(0.0) == (1.0, 1.0)
    conv, norm = moved(0.5)
    assert conv < 0.99 and norm == 1.0


def test_half_precision_learns_as_well() -> None:
    train, targets = easy()
    fitted = fit(network(), train, None, targets=targets, amp=True, **QUICK)
    said = predict(fitted.net, train)["hue"]
    assert (said.argmax(1) == targets["hue"]).mean() > 0.9
    assert all(p.dtype == torch.float32 for p in fitted.net.parameters())


@pytest.mark.cuda
def test_a_gpu_learns_as_well() -> None:
    train, targets = easy()
    given = {**QUICK, "device": "cuda", "amp": True}
    fitted = fit(network(), train, train, targets=targets, **given)
    assert (predict(fitted.net, train)["hue"].argmax(1) == targets["hue"]).mean() > 0.9


def test_windows_of_longer_clips() -> None:
    train, targets = easy()
    seen: set[int] = set()
    net = network()
    net.net.register_forward_pre_hook(lambda _, args: seen.add(args[0].shape[2]))
    fitted = fit(net, train, train.take([0, 1]), targets=targets, frames=3, **QUICK)
    predict(fitted.net, train, frames=3)
    assert seen == {3}


def test_the_log_has_a_line_an_epoch(tmp_path: Path) -> None:
    train, targets = easy(16)
    told: list[FitProgress] = []
    given = {"log": tmp_path / "run" / "log.csv", "progress": told.append, **QUICK}
    fitted = fit(network(), train, train, targets=targets, **given)
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    for row, kept in zip(rows, fitted.history, strict=True):
        assert float(row["val_hue"]) == pytest.approx(kept["val_hue"], rel=1e-4)
    assert [report.epoch for report in told] == [1, 2, 3, 4, 5, 6]
    assert told[0].eta == pytest.approx(5 * told[0].row["seconds"]) and told[-1].eta == 0


@pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is not None, reason="tensorboard is here"
)
def test_tensorboard_that_is_missing_is_told(tmp_path: Path) -> None:
    train, targets = easy(16)
    with pytest.raises(MissingError, match="tensorboard"):
        fit(network(), train, None, targets=targets, tensorboard=tmp_path, **QUICK)


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_fit import resumable
calls = 0
def kill(*_):
    global calls
    calls += 1
    if calls == 11:  # three steps an epoch and one validation: in the midst of the third epoch
        os.kill(os.getpid(), signal.SIGKILL)
resumable(Path(sys.argv[2]), hook=kill)
"""


def resumable(folder: Path, *, hook=None):
    train, targets = easy()
    net = network(dropout=0.2)
    if hook:
        net.register_forward_pre_hook(hook)
    return fit(
        net,
        train,
        train.take(range(7)),
        targets=targets,
        augment=Augmentation(crop=(0.7, 1.0), brightness=0.2, erase=0.5),
        resume=folder / "fit.pt",
        log=folder / "log.csv",
        **QUICK,
    )


def test_killed_and_resumed_gives_the_same_weights_to_the_bit(tmp_path: Path) -> None:
    words = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / "log.csv").read_text().count("\n") == 3  # its head and two epochs
    resumed = resumable(tmp_path)
    whole = resumable(tmp_path / "other")
    assert alike(resumed.net, whole.net)
    assert resumed.best_epoch == whole.best_epoch
    untimed = [[{**row, "seconds": 0} for row in f.history] for f in (resumed, whole)]
    assert untimed[0] == untimed[1] and len(untimed[0]) == 6
    assert (tmp_path / "log.csv").read_text().count("\n") == 7


def test_a_finished_fit_is_not_repeated(tmp_path: Path) -> None:
    first = resumable(tmp_path)

    def fail(*_) -> None:
        raise AssertionError("it was fitted again")

    again = resumable(tmp_path, hook=fail)
    assert alike(first.net, again.net) and again.history == first.history


def test_a_snapshot_of_another_fit_is_refused(tmp_path: Path) -> None:
    resumable(tmp_path)
    train, targets = easy()
    given = {"targets": targets, "resume": tmp_path / "fit.pt", **QUICK}
    with pytest.raises(UsageError, match="another training"):
        fit(network(), train, None, **given)
    own = {**given, "resume": tmp_path / "own.pt"}
    fit(network(), train, None, **own)
    with pytest.raises(UsageError, match="another training"):
        fit(network(), train, None, **own, amp=True)
    other = network()
    with torch.no_grad():
        next(other.parameters()).add_(1)
    with pytest.raises(UsageError, match="another training"):
        fit(other, train, None, **own)
    for changed in (network(dropout=0.5), network(masks_black=True)):
        assert alike(changed, network())
        with pytest.raises(UsageError, match="another training"):
            fit(changed, train, None, **own)
    (tmp_path / "fit.pt").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="holds no training"):
        fit(network(), train, None, **given)


def low_resolution(factor: int, shift: float, modality: str) -> nn.Module:
    net = ModalityRecognizer(network(), modality=modality)
    method, transforms = build("elr", factor=factor, short=16), RandomTransforms(shift=shift)
    return LowResolutionRecognizer(net, method=method, transforms=transforms)


@pytest.mark.parametrize("changed", [(4, 0.1, "stills"), (2, 0.2, "stills"), (2, 0.1, "contrast")])
def test_a_snapshot_is_of_what_a_network_does_to_clips_too(
    changed: tuple[int, float, str], tmp_path: Path
) -> None:
    """It has the same weights: the first network was returned for the second."""
    train, targets = easy()
    given = {"targets": targets, **QUICK, "epochs": 1, "resume": tmp_path / "fit.pt"}
    fit(low_resolution(2, 0.1, "stills"), train, None, **given)
    with pytest.raises(UsageError, match="another training"):
        fit(low_resolution(*changed), train, None, **given)


TWO = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from test_fit import shared
rank, *both = shared(Path(sys.argv[2]))
torch.save([(fit.net.state_dict(), fit.history) for fit in both], Path(sys.argv[2]) / f"{rank}.pt")
threads = [at.read_text() for at in Path("/proc/self/task").glob("*/comm")]
assert not any("gloo" in name for name in threads), threads  # they may abort the end of a process
"""


def shared(folder: Path):
    """Two fits: a plain one, and one with batch norm, dropout, augmentation and unknown labels."""
    rank = int(os.environ.get("RANK", "0"))
    train, targets = easy()
    torch.manual_seed(rank)  # the first process's weights count
    net = nn.Sequential(nn.Conv3d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    net(torch.zeros(1, 3, 4, 16, 16))
    given = {"targets": {"hue": targets["hue"]}, "log": folder / f"{rank}.csv", **QUICK}
    plain = fit(net, train, train.take(range(7)), **given)
    # Without a bias, which a batch norm takes away again: AdamW makes steps of its rounding.
    parts = [nn.Conv3d(3, 8, 3, 2, bias=False), nn.BatchNorm3d(8), nn.ReLU(), nn.Flatten()]
    net = nn.Sequential(*parts, nn.Dropout(0.3), nn.Linear(392, 3))
    unknown = {"hue": np.where(np.arange(48) % 5 == 1, -1, targets["hue"])}
    how = Augmentation(flip=0.5, crop=(0.7, 1.0), brightness=0.2, erase=0.3)
    changed = {**given, "targets": unknown, "batch": 13, "lr": 1e-3, "log": None}  # 13, 13, 13, 9
    return rank, plain, fit(net, train, train.take(range(7)), **changed, augment=how)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words = [*run, str(tmp_path / "two.py"), str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    both = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert not (tmp_path / "1.csv").exists() and (tmp_path / "0.csv").exists()
    _, *alone = shared(tmp_path / "alone")
    for one, (first, history), (second, _) in zip(alone, *both, strict=True):
        for name, value in one.net.state_dict().items():
            assert torch.equal(first[name], second[name])
            assert torch.allclose(first[name], value, atol=1e-4), name
        for mine, row in zip(one.history, history, strict=True):
            del mine["seconds"], row["seconds"]
            assert row == pytest.approx(mine, rel=1e-4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"targets": {"hue": np.zeros(48)}}, "bright"),
        ({"targets": {"hue": np.zeros(10), "bright": np.zeros(10)}}, "do not reach"),
        ({"targets": {"hue": np.full(48, 7), "bright": np.zeros(48)}}, "do not fit"),
        ({"epochs": 0}, "at least one"),
        ({"frames": 9}, "does not fit"),
        ({"lr": 1e30}, "lower the learning rate"),
    ],
)
def test_what_cannot_be_fitted_is_said_plainly(change: dict, said: str) -> None:
    train, targets = easy()
    with pytest.raises(UsageError, match=said):
        fit(network(), train, None, **{"targets": targets, **QUICK, **change})

"""The one loop that fits a recognizer to clips: attackers, utility and floors alike."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from masquerade.datasets.augmentation import NONE, Augmentation, augment
from masquerade.device import choose_device
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset
from masquerade.training.losses import Targets, as_codes, loss_of
from masquerade.training.predict import heads_of, logits_of
from masquerade.training.ranks import Ranks, ranks_here
from masquerade.training.record import Log, Row, Snapshot, digest, load_snapshot, save_snapshot
from masquerade.training.steps import batches, groups, mixed, rate
from masquerade.training.views import ONE_VIEW, Views, windows

Progress = Callable[["Report"], None]
Beside = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
"""(network, clips, draw) to a further loss; a dataclass, since its text names the fit."""


@dataclass(frozen=True)
class Report:
    """How far a fit has come."""

    epoch: int
    epochs: int
    seconds: float
    eta: float
    row: Row


@dataclass(frozen=True)
class Fitted:
    """A network with the weights of its best epoch.

    Args:
        net: in evaluation mode.
        best_epoch: counted from 1.
        history: one row an epoch.
        seconds: of the wall, this process's share where it was resumed.
        network_seconds: of these in the network: forward, backward, step and validation.
    """

    net: nn.Module
    best_epoch: int
    history: list[Row]
    seconds: float
    network_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a network is fitted; the arguments of `fit`."""

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    warmup: int
    patience: int | None
    seed: int
    augment: Augmentation
    frames: int | None
    views: Views
    beside: Beside | None = None
    clip: float = 1.0


@dataclass
class _Clock:
    network: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def passed(self) -> float:
        return time.perf_counter() - self.began


def fit(
    net: nn.Module,
    train: ClipDataset,
    validation: ClipDataset | None,
    *,
    targets: Targets,
    epochs: int = 30,
    batch: int = 16,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    warmup: int = 3,
    patience: int | None = None,
    seed: int = 0,
    device: str = "auto",
    amp: bool = False,
    augment: Augmentation = NONE,
    frames: int | None = None,
    views: Views = ONE_VIEW,
    beside: Beside | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    resume: Path | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a network to all labels that it has heads for, and keep its best epoch.

    The best epoch has the lowest validation loss, averaged over heads; without validation clips
    the last one is kept. Test clips have no business here. Started by torchrun, each process takes
    its share of every batch.

    Args:
        net: gives a dict of logits by label, or with one label in `targets`, logits; it is changed.
        train: clips to learn from.
        validation: clips that choose the epoch; None: the last one is kept.
        targets: codes by label, one a row of the manifest that the clips came from; -1: unknown.
            A head with one output is binary.
        epochs: at most.
        batch: clips a step, over all processes.
        lr: highest learning rate of AdamW.
        weight_decay: of AdamW; not of biases, norms and other vectors.
        warmup: epochs over which the learning rate rises, before it falls along a cosine.
        patience: epochs without a better one after which fitting stops; None: never.
        seed: of order, augmentation and dropout; the net comes with weights of its own.
        device: auto, cpu, cuda, cuda:N, mps.
        amp: half precision in the network; on the CPU it is bfloat16 and seldom pays.
        augment: of training clips.
        frames: T that the network is given, a random window of longer clips; None: all.
        views: of validation clips.
        beside: a further loss of training clips, such as a Siamese one.
        log: a CSV file, one line an epoch.
        tensorboard: a folder for TensorBoard (the `tensorboard` extra).
        resume: a file that holds everything after each epoch; where it exists, fitting goes on from
            there and ends with the same weights to the bit.
        progress: called after each epoch.
    """
    if epochs < 1 or batch < 1 or not len(train):
        raise UsageError("Fitting needs at least one clip, one epoch and a batch of one.")
    plan = Plan(
        epochs=epochs,
        batch=batch,
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        patience=patience,
        seed=seed,
        augment=augment,
        frames=frames,
        views=views,
        beside=beside,
    )
    with ranks_here(device) as ranks:
        chosen = ranks.device or choose_device(device)
        run = _Run(net.to(chosen), train, validation, targets, plan, chosen, amp, ranks)
        with Log(log, tensorboard, quiet=ranks.rank > 0) as lines:
            return run.fitted(lines, resume, progress)


class _Run:
    """One fit: what changes from epoch to epoch, and one epoch of it."""

    def __init__(
        self,
        net: nn.Module,
        train: ClipDataset,
        validation: ClipDataset | None,
        targets: Targets,
        plan: Plan,
        device: torch.device,
        amp: bool,
        ranks: Ranks,
    ) -> None:
        self.net, self.plan, self.device, self.ranks = net, plan, device, ranks
        self.train, self.validation = train, validation
        heads = heads_of(net, targets)
        self.codes = as_codes(targets, train.rows, heads)
        self.val_codes = as_codes(targets, validation.rows, heads) if validation else {}
        self.label = next(iter(heads))
        self.optimizer = torch.optim.AdamW(groups(net, plan.weight_decay), lr=plan.lr)
        self.half = _half(device) if amp else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half is torch.float16)
        self.steps = max(1, math.ceil(len(train) / plan.batch))
        self.state = Snapshot(fit=self._digest(targets), best=_weights(net))
        self.clock = _Clock()

    def fitted(self, lines: Log, resume: Path | None, progress: Progress | None) -> Fitted:
        """Run the epochs that are left, and give the best one's weights."""
        self._restore(resume)
        lines.begin(self.state.history)
        while not self._over():
            row = self._epoch(len(self.state.history))
            self.state.history.append(row)
            lines.add(row)
            if resume is not None and self.ranks.rank == 0:
                self._save(resume)
            if progress and self.ranks.rank == 0:
                progress(self._report(row))
        self.net.load_state_dict(self.state.best)
        seconds = self.clock.passed()
        history, best = list(self.state.history), self.state.best_epoch
        return Fitted(self.net.eval(), best, history, seconds, self.clock.network)

    def _over(self) -> bool:
        done, patience = len(self.state.history), self.plan.patience
        waited = done - self.state.best_epoch
        return done >= self.plan.epochs or (patience is not None and waited >= patience > 0)

    def _epoch(self, epoch: int) -> Row:
        began = time.perf_counter()
        loss = self._learn(epoch)
        self.ranks.share_buffers(self.net)
        row: Row = {"epoch": epoch + 1, "lr": self._rate(epoch, self.steps), "train_loss": loss}
        losses = self._validated()
        row.update({f"val_{label}": value for label, value in losses.items()})
        score = float(np.mean(list(losses.values()))) if losses else -float(epoch)
        if losses:
            row["val_loss"] = score
        if math.isnan(score) or math.isnan(loss):
            raise UsageError("The loss is no number any more; lower the learning rate.")
        row["seconds"] = time.perf_counter() - began
        if score < self.state.best_score:
            self.state.best_score, self.state.best_epoch = score, epoch + 1
            self.state.best = _weights(self.net)
        return row

    def _learn(self, epoch: int) -> float:
        """One epoch over the training clips; everything drawn depends on seed and epoch alone."""
        draw = torch.Generator().manual_seed(mixed(self.plan.seed, epoch, self.ranks.rank))
        total = torch.zeros((), device=self.device)
        self.net.train()
        with torch.random.fork_rng(devices=self._cuda()):
            torch.manual_seed(mixed(self.plan.seed, epoch, self.ranks.rank) + 1)
            for step, picked in enumerate(self._order(epoch)):
                clips, codes = self._batch(picked, draw)
                for group in self.optimizer.param_groups:
                    group["lr"] = self._rate(epoch, step)
                began = time.perf_counter()
                total += self._step(clips, codes, draw)
                self.clock.network += time.perf_counter() - began
        return float(self.ranks.mean(total)) / self.steps

    def _order(self, epoch: int) -> Iterator[Tensor]:
        count, batch, seed = len(self.train), self.plan.batch, self.plan.seed
        return batches(count, batch, seed=seed, epoch=epoch, ranks=self.ranks)

    def _batch(self, picked: Tensor, draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        clips = self.train.batch(picked)
        clips = windows(clips, self.plan.frames, draw).to(self.device, non_blocking=True)
        codes = {label: codes[picked].to(self.device) for label, codes in self.codes.items()}
        return augment(clips, self.plan.augment, draw), codes

    def _step(self, clips: Tensor, codes: Mapping[str, Tensor], draw: torch.Generator) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            out = self.net(clips)
            beside = self.plan.beside(self.net, clips, draw) if self.plan.beside else 0.0
        logits = out if isinstance(out, dict) else {self.label: out}
        loss = (
            beside
            + torch.stack([loss_of(logits[label], code) for label, code in codes.items()]).sum()
        )
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.ranks.share_gradients(self.net)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.plan.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _validated(self) -> dict[str, float]:
        """Validation loss by label; labels that no validation clip has are left out."""
        if self.validation is None or not len(self.validation):
            return {}
        began = time.perf_counter()
        with self._autocast():
            found = logits_of(
                self.net,
                self.validation,
                views=self.plan.views,
                frames=self.plan.frames,
                label=self.label,
            )
        self.clock.network += time.perf_counter() - began
        return {
            label: float(loss_of(logits, self.val_codes[label]))
            for label, logits in found.items()
            if bool((self.val_codes[label] >= 0).any())
        }

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.half is None:
            return nullcontext()
        return torch.autocast(self.device.type, self.half)

    def _rate(self, epoch: int, step: int) -> float:
        plan, at = self.plan, epoch + step / self.steps
        return rate(plan.lr, at, epochs=plan.epochs, warmup=plan.warmup, step=1 / self.steps)

    def _cuda(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _report(self, row: Row) -> Report:
        done, all_ = len(self.state.history), self.plan.epochs
        recent = [float(r["seconds"]) for r in self.state.history[-5:]]
        eta = (all_ - done) * sum(recent) / len(recent)
        return Report(done, all_, self.clock.passed(), eta, row)

    def _digest(self, targets: Targets) -> str:
        codes = [*self.codes.values(), *self.val_codes.values()]
        shapes = [str(tuple(v.shape)) for v in self.net.state_dict().values()]
        return digest([str(self.plan), *shapes, self.train.digest], codes)

    def _save(self, path: Path) -> None:
        self.state.net = self.net.state_dict()
        self.state.optimizer = self.optimizer.state_dict()
        self.state.scaler = self.scaler.state_dict()
        save_snapshot(self.state, path)

    def _restore(self, path: Path | None) -> None:
        found = load_snapshot(path, self.state.fit) if path is not None else None
        if found is not None:
            self.net.load_state_dict(found.net)
            self.optimizer.load_state_dict(found.optimizer)
            self.scaler.load_state_dict(found.scaler)
            self.state = found
        self.ranks.share_weights(self.net)


def _weights(net: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(net.state_dict())


def _half(device: torch.device) -> torch.dtype:
    if device.type == "cuda" and not torch.cuda.is_bf16_supported():
        return torch.float16
    return torch.bfloat16

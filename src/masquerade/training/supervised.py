"""Supervised fitting of a recognizer to clips: attackers, utility networks and floors alike."""

import copy
import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from masquerade.datasets.augmentation import NONE, Augmentation, augment
from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.training.batch_share import BatchShare
from masquerade.training.distributed import Processes, epoch_batches, join_processes
from masquerade.training.engine import Row, Trainer, digest_inputs
from masquerade.training.label_losses import Targets, codes_by_head, head_loss, shared_head_loss
from masquerade.training.optimization import learning_rate, parameter_groups
from masquerade.training.predict import heads_of, predict_logits
from masquerade.training.seeds import derive_seed
from masquerade.training.views import ONE_VIEW, Views, random_windows

NET = "net"
"""The one role of a supervised training."""

ExtraLoss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
"""(network, clips, generator) to a further loss; its `str` is part of the training's digest."""


@dataclass(frozen=True)
class FitProgress:
    """How far a fit has come; seconds so far, and about how many are left."""

    epoch: int
    epochs: int
    seconds: float
    eta: float
    row: Row


@dataclass(frozen=True)
class Fitted:
    """A network with the weights of its best epoch, in evaluation mode."""

    net: nn.Module
    best_epoch: int  # counted from 1
    history: list[Row]
    seconds: float  # of the wall, since it was last resumed
    network_seconds: float  # of these in the network: forward, backward, step and validation


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The arguments of `fit` that its weights depend on."""

    epochs: int
    batch: int
    lr: float
    weight_decay: float
    warmup: int
    patience: int | None
    seed: int
    augment: Augmentation
    frames: int | None
    step: int
    views: Views
    extra_loss: ExtraLoss | None
    clip: float = 1.0


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
    step: int = 1,
    views: Views = ONE_VIEW,
    extra_loss: ExtraLoss | None = None,
    log: Path | None = None,
    tensorboard: Path | None = None,
    resume: Path | None = None,
    progress: Callable[[FitProgress], None] | None = None,
) -> Fitted:
    """Fit a network to all labels that it has heads for, and keep its best epoch.

    The best epoch has the lowest validation loss, averaged over heads; without validation clips
    the last one is kept. Never give test clips. Started by torchrun, each process takes its share
    of every batch.

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
        step: frames from one window that may be drawn to the next.
        views: of validation clips.
        extra_loss: a further loss of training clips, such as a Siamese one.
        log: a CSV file, one line an epoch.
        tensorboard: a folder for TensorBoard (the `tensorboard` extra).
        resume: a file that holds everything after each epoch; where it exists, fitting goes on from
            there and ends with the same weights to the bit.
        progress: called after each epoch.
    """
    if epochs < 1 or batch < 1 or not len(train):
        raise UsageError("Fitting needs at least one clip, one epoch and a batch of one.")
    settings = _Settings(
        epochs=epochs,
        batch=batch,
        lr=lr,
        weight_decay=weight_decay,
        warmup=warmup,
        patience=patience,
        seed=seed,
        augment=augment,
        frames=frames,
        step=step,
        views=views,
        extra_loss=extra_loss,
    )
    with join_processes(device) as processes:
        trainer = SupervisedTrainer(
            net,
            train,
            validation,
            targets,
            settings,
            amp=amp,
            processes=processes,
            progress=progress,
        )
        trainer.run(log=log, resume=resume, tensorboard=tensorboard)
        return trainer.result()


class SupervisedTrainer(Trainer):
    """One supervised training; its arguments are those of `fit`."""

    def __init__(
        self,
        net: nn.Module,
        train: ClipDataset,
        validation: ClipDataset | None,
        targets: Targets,
        settings: _Settings,
        *,
        amp: bool,
        processes: Processes,
        progress: Callable[[FitProgress], None] | None,
    ) -> None:
        self.settings, self.progress = settings, progress
        self.train, self.validation = train, validation
        heads = heads_of(net, targets)
        self.codes = codes_by_head(targets, train.rows, heads)
        self.val_codes = codes_by_head(targets, validation.rows, heads) if validation else {}
        words = [str(settings), f"amp {amp}", str(net), train.digest]
        words += [validation.digest] if validation else []
        begun = [value.detach().cpu() for value in net.state_dict().values()]
        digest = digest_inputs(words, [*self.codes.values(), *self.val_codes.values(), *begun])
        super().__init__(net, digest=digest, amp=amp, processes=processes)
        self.label = next(iter(heads))
        self.steps = max(1, math.ceil(len(train) / settings.batch))
        self.optimizers = self.build_optimizers()
        self.state.best = copy.deepcopy(net.state_dict())
        self.began, self.network_seconds = time.perf_counter(), 0.0

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        groups = parameter_groups(self.models, self.settings.weight_decay)
        return {NET: torch.optim.AdamW(groups, lr=self.settings.lr, fused=True)}

    def is_finished(self) -> bool:
        done, patience = len(self.history), self.settings.patience
        waited = done - self.state.best_epoch
        return done >= self.settings.epochs or (patience is not None and waited >= patience > 0)

    def result(self) -> Fitted:
        """Return the network with its best weights."""
        self.models.load_state_dict(self.state.best)
        seconds = time.perf_counter() - self.began
        net, best_epoch = self.models.eval(), self.state.best_epoch
        return Fitted(net, best_epoch, list(self.history), seconds, self.network_seconds)

    def train_epoch(self, epoch: int) -> Row:
        began = time.perf_counter()
        loss = self._train_loss(epoch)
        self.processes.broadcast(self.models.buffers())
        row: Row = {"epoch": epoch + 1, "lr": self._rate(epoch, self.steps), "train_loss": loss}
        losses = self.processes.broadcast_numbers(self._validation_losses())
        row.update({f"val_{label}": value for label, value in losses.items()})
        score = float(np.mean(list(losses.values()))) if losses else -float(epoch)
        if losses:
            row["val_loss"] = score
        if math.isnan(score) or math.isnan(loss):
            raise UsageError("The loss is not a number; lower the learning rate.")
        row["seconds"] = time.perf_counter() - began
        if score < self.state.best_score:
            self.state.best_score, self.state.best_epoch = score, epoch + 1
            self.state.best = copy.deepcopy(self.models.state_dict())
        return row

    def report(self, row: Row) -> None:
        if self.progress is None or self.processes.rank != 0:
            return
        done, epochs = len(self.history), self.settings.epochs
        eta = (epochs - done) * statistics.fmean(past["seconds"] for past in self.history[-5:])
        self.progress(FitProgress(done, epochs, time.perf_counter() - self.began, eta, row))

    def _train_loss(self, epoch: int) -> float:
        """Train one epoch; everything drawn depends on seed and epoch alone."""
        settings, processes = self.settings, self.processes
        batches = epoch_batches(len(self.train), settings.batch, seed=settings.seed, epoch=epoch)
        shares, order = [], []
        for rows in batches:
            shares.append(processes.share(len(rows)))
            order.append(shares[-1].take(rows))
        # The same in every process, which draws for the whole batch (`BatchShare.draws`).
        seed = derive_seed(settings.seed, epoch, 0)
        generator = torch.Generator().manual_seed(seed)
        total = torch.zeros((), device=self.device)
        self.models.train()
        with self.seeded(seed + 1):
            for step, clips in enumerate(clip_loader(self.train, order)):
                rows, share = order[step], shares[step]
                codes = {name: code[rows].to(self.device) for name, code in self.codes.items()}
                with share.draws():
                    clips = random_windows(clips, settings.frames, generator, step=settings.step)
                    clips = clips.to(self.device, non_blocking=True)
                    clips = augment(clips, settings.augment, generator)
                for group in self.optimizers[NET].param_groups:
                    group["lr"] = self._rate(epoch, step)
                began = time.perf_counter()
                total += self._step(clips, codes, share, generator)
                self.network_seconds += time.perf_counter() - began
        return float(processes.mean(total)) / self.steps

    def _step(
        self,
        clips: Tensor,
        codes: Mapping[str, Tensor],
        share: BatchShare,
        generator: torch.Generator,
    ) -> Tensor:
        extra_loss = self.settings.extra_loss
        with self.autocast(), share.draws():
            out = self.models(clips)
            extra = share.weigh(extra_loss(self.models, clips, generator)) if extra_loss else 0.0
        logits = out if isinstance(out, dict) else {self.label: out}
        losses = [shared_head_loss(logits[label], code, share) for label, code in codes.items()]
        loss = extra + torch.stack(losses).sum()
        self.step(loss, {NET: self.models}, {NET: self.settings.clip})
        return loss.detach()

    def _validation_losses(self) -> dict[str, float]:
        """Measure losses by label; labels that no validation clip has are left out."""
        if self.validation is None or not len(self.validation):
            return {}
        began, views, frames = time.perf_counter(), self.settings.views, self.settings.frames
        with self.autocast():
            predictions = predict_logits(
                self.models, self.validation, views=views, frames=frames, label=self.label
            )
        self.network_seconds += time.perf_counter() - began
        return {
            label: float(head_loss(logits, self.val_codes[label]))
            for label, logits in predictions.items()
            if bool((self.val_codes[label] >= 0).any())
        }

    def _rate(self, epoch: int, step: int) -> float:
        plan, at = self.settings, epoch + step / self.steps
        return learning_rate(
            plan.lr, at, epochs=plan.epochs, warmup=plan.warmup, step=1 / self.steps
        )

"""The engine under every training: epochs, mixed precision, processes, log and exact resumption.

A training subclasses `Trainer` and says what one epoch does; `supervised` fits a recognizer,
`adversarial_training` an anonymizer against its adversaries.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from masquerade.errors import MissingError, UsageError
from masquerade.storage import atomic_write, code_digest, save_tensors, tensor_bytes
from masquerade.training.batch_norm import shared_batch_norms
from masquerade.training.distributed import Processes
from masquerade.training.sharding import full_state, load_optimizer

Row = dict[str, float]
"""One epoch in the log: number by column."""

STEP_CODE = (
    *("training/**/*.py", "models/**/*.py", "methods/**/*.py"),
    *("datasets/augmentation.py", "metrics/classification.py"),
)
"""Source files that decide what a training learns of its clips: another code is another training.
"""


@dataclass
class TrainingState:
    """What a training is after an epoch, and all it needs to go on from there to the bit."""

    digest: str
    history: list[Row] = field(default_factory=list)
    models: Mapping[str, Tensor] = field(default_factory=dict)
    optimizers: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)
    best: Mapping[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0
    best_score: float = float("inf")


class Trainer:
    """One training: the loop over epochs, and what every kind of training shares."""

    def __init__(self, models: nn.Module, *, digest: str, amp: bool, processes: Processes) -> None:
        self.processes, self.device = processes, processes.device
        self.models, device = models.to(self.device), self.device
        self.half = None
        if amp:
            bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported()
            self.half = torch.bfloat16 if bfloat16 else torch.float16
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.half is torch.float16)
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.state = TrainingState(digest=f"{digest} {code_digest(*STEP_CODE)}")

    @property
    def history(self) -> list[Row]:
        return self.state.history

    def is_finished(self) -> bool:
        """Whether the epochs so far suffice."""
        raise NotImplementedError

    def build_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Fresh optimizers by role, for the phase of the last epoch in the history."""
        raise NotImplementedError

    def train_epoch(self, epoch: int) -> Row:
        """Train one epoch, counted from 0, and measure it."""
        raise NotImplementedError

    def shard_models(self) -> None:
        """Divide networks among processes, once their weights are the same and before training."""

    def report(self, row: Row) -> None:
        """Called in every process once an epoch is saved; the first one writes and prints."""

    def run(
        self, *, log: Path | None, resume: Path | None, tensorboard: Path | None = None
    ) -> None:
        """Train the epochs that are left; where a file of the state exists, go on from there."""
        is_main = self.processes.rank == 0
        with (
            TrainingLog(log, tensorboard) if is_main else TrainingLog(None, None) as lines,
            shared_batch_norms(self.models, self.processes),
        ):
            saved = self._restore(resume) if resume is not None and resume.exists() else None
            self.processes.broadcast(self.models.state_dict().values())
            self.shard_models()
            if saved is not None:
                self.optimizers = self.build_optimizers()
                for role, optimizer in self.optimizers.items():
                    load_optimizer(optimizer, saved.optimizers[role])
            lines.begin(self.history)
            while not self.is_finished():
                row = self.train_epoch(len(self.history))
                self.history.append(row)
                lines.add(row)
                if resume is not None:
                    self._save(resume)
                self.report(row)

    def step(self, loss: Tensor, modules: Mapping[str, nn.Module], clip: Mapping[str, Any]) -> None:
        """Backpropagate a loss and step optimizers by role; without a gradient, do nothing."""
        if not loss.requires_grad:
            return
        for module in modules.values():
            module.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for role, module in modules.items():
            optimizer = self.optimizers.get(role)
            if optimizer is None:
                continue
            self.processes.average_gradients(module)
            self.scaler.unscale_(optimizer)
            if clip.get(role) is not None:
                torch.nn.utils.clip_grad_norm_(module.parameters(), clip[role])
            self.scaler.step(optimizer)
        self.scaler.update()

    def autocast(self) -> AbstractContextManager[Any]:
        """Half precision where it was asked for."""
        return torch.autocast(self.device.type, self.half) if self.half else nullcontext()

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Seed torch inside the block, and leave the caller's generators as they were."""
        cuda = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            yield

    def _save(self, path: Path) -> None:
        """Write the state; an interruption leaves the previous one or this one."""
        state, optimizers = self.state, self.optimizers
        state.models, state.scaler = full_state(self.models.state_dict()), self.scaler.state_dict()
        state.optimizers = {
            role: full_state(optimizer.state_dict()) for role, optimizer in optimizers.items()
        }
        if self.processes.rank != 0:
            return
        with atomic_write(path, overwrite=True, private=True) as part:  # with the attackers
            save_tensors(vars(state), part)

    def _restore(self, path: Path) -> TrainingState:
        """Go on from the state that this training left; optimizers are still to be loaded."""
        try:
            saved = TrainingState(**torch.load(path, map_location="cpu", weights_only=True))
        except Exception as error:  # of half a dozen kinds, by what stands in the file
            raise UsageError(
                f"{path} holds no training that can be resumed here; remove it, or choose another "
                "folder."
            ) from error
        if saved.digest != self.state.digest:
            raise UsageError(
                f"{path} belongs to another training (other clips, labels, network or settings, "
                "or another version of masquerade); remove it to begin anew, or choose another "
                "folder."
            )
        self.state = saved
        self.models.load_state_dict(saved.models)
        self.scaler.load_state_dict(saved.scaler)
        return saved


def digest_inputs(words: Iterable[str], tensors: Iterable[Tensor]) -> str:
    """Return the SHA-256 of settings, and of data as shapes and bytes."""
    out = hashlib.sha256("\n".join(words).encode())
    for tensor in tensors:
        out.update(str(tuple(tensor.shape)).encode())
        out.update(tensor_bytes(tensor))
    return out.hexdigest()


class TrainingLog:
    """A CSV file, and TensorBoard where it is asked for, of one row an epoch."""

    def __init__(self, path: Path | None, tensorboard: Path | None) -> None:
        self._path, self._board = path, None
        self._rows: list[Row] = []
        if tensorboard is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                install = 'pip install -e ".[tensorboard]"'
                raise MissingError(f"TensorBoard is missing: {install}") from error
            self._board = SummaryWriter(tensorboard)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._board is not None:
            self._board.close()

    def begin(self, history: Sequence[Row]) -> None:
        """Write the file anew, with the epochs that a resumed training has behind it."""
        self._rows = list(history)
        self._write()

    def add(self, row: Row) -> None:
        """Add one epoch."""
        self._rows.append(row)
        self._write()
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["epoch"]))

    def _write(self) -> None:
        if self._path is None:
            return
        with (
            atomic_write(self._path, overwrite=True) as part,
            part.open("w", newline="", encoding="utf-8") as file,
        ):
            out = csv.writer(file, lineterminator="\n")
            out.writerows(self._rows[:1])
            out.writerows([f"{value:.6g}" for value in row.values()] for row in self._rows)

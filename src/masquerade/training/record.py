"""What a fit leaves behind: a line an epoch, and a snapshot from which it goes on to the bit."""

from __future__ import annotations

import csv
import hashlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from masquerade.errors import MissingError, UsageError
from masquerade.storage import atomic_write

Row = dict[str, float]


@dataclass
class Snapshot:
    """A fit after an epoch.

    Args:
        fit: a digest of what is fitted to what and how.
        best: weights of the best epoch.
        best_epoch: counted from 1; 0: none yet.
        best_score: lower is better.
        history: one row an epoch.
        net: weights now.
        optimizer: its state.
        scaler: state of the gradient scaler.
    """

    fit: str
    best: Mapping[str, Tensor]
    best_epoch: int = 0
    best_score: float = float("inf")
    history: list[Row] = field(default_factory=list)
    net: Mapping[str, Tensor] = field(default_factory=dict)
    optimizer: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)


def save_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot in one step, so that a kill leaves the one before or this one."""
    with atomic_write(path, overwrite=True) as part:
        torch.save({f.name: getattr(snapshot, f.name) for f in fields(snapshot)}, part)


def load_snapshot(path: Path, fit: str) -> Snapshot | None:
    """The snapshot at a path, if there is one.

    Args:
        path: where `save_snapshot` put it.
        fit: the digest of the fit that wants to go on.

    Raises:
        UsageError: it is of another fit, or no snapshot.
    """
    if not path.exists():
        return None
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        snapshot = Snapshot(**held)
    except (RuntimeError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise UsageError(f"{path} is no snapshot of a fit; remove it, or name another.") from error
    if snapshot.fit != fit:
        raise UsageError(
            f"{path} is of another fit (other clips, labels, network, settings or number of "
            "processes); remove it to begin anew, or name another."
        )
    return snapshot


def digest(words: Iterable[str], tensors: Iterable[Tensor]) -> str:
    """One digest of settings and data."""
    out = hashlib.sha256("\n".join(words).encode())
    for tensor in tensors:
        out.update(str(tuple(tensor.shape)).encode())
        out.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return out.hexdigest()


def content(path: Path) -> str:
    """A digest of what is in a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Log:
    """A CSV file, and TensorBoard where it is asked for, of one row an epoch.

    Args:
        path: the CSV; None: none.
        tensorboard: its folder; None: none.
        quiet: write nothing, since another process does.
    """

    def __init__(self, path: Path | None, tensorboard: Path | None, *, quiet: bool = False) -> None:
        self.path = None if quiet else path
        self._board = None if quiet or tensorboard is None else _board(tensorboard)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._board is not None:
            self._board.close()

    def begin(self, history: Sequence[Row]) -> None:
        """Start the file anew with the epochs that a resumed fit has behind it."""
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("", "utf-8")
        for row in history:
            self._line(row)

    def add(self, row: Row) -> None:
        """One more epoch."""
        self._line(row)
        if self._board is not None:
            for name, value in row.items():
                self._board.add_scalar(name, value, int(row["epoch"]))

    def _line(self, row: Row) -> None:
        if self.path is None:
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            out = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                out.writerow(row)
            out.writerow([f"{value:.6g}" for value in row.values()])


def _board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingError(
            "TensorBoard is not here: pip install masquerade[tensorboard]"
        ) from error
    return SummaryWriter(folder)

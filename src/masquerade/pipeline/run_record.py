"""The record of a batch: JSON lines that say what was done to each file, added as it ends."""

import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from masquerade import __version__
from masquerade.errors import MasqueradeError, UsageError
from masquerade.object_store import refuse_address
from masquerade.pipeline.file_outcome import FileOutcome


@contextmanager
def run_record(
    path: Path | None, *, settings_sha256: str
) -> Iterator[Callable[[FileOutcome], None]]:
    """Give a function that adds the line of a file to a record, which only its owner can read.

    A record names sources and holds their digests, which tell whoever has a source what became of
    it. One that is there already goes on.

    Args:
        path: the record's file; None: nothing is recorded.
        settings_sha256: that of the batch's method and configuration, as its receipts have it.

    Raises:
        UsageError: the file is there and is no record, or is a device or a pipe.
        MasqueradeError: it cannot be written.
    """
    if path is None:
        yield lambda outcome: None
        return
    refuse_address(path, "--record")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MasqueradeError(
            f"{path} cannot be written: {error.strerror}; choose another --record."
        ) from error

    def add(outcome: FileOutcome) -> None:
        line = {**_line(outcome), "settings_sha256": settings_sha256, "masquerade": __version__}
        _add(path, handle, json.dumps(line).encode() + b"\n")

    try:
        _check(path, handle)
        yield add
    finally:
        os.close(handle)


def _add(path: Path, handle: int, line: bytes) -> None:
    """Write a whole line, or none of it: the next one would go on where it was broken off."""
    before, left = os.fstat(handle).st_size, line
    try:
        while left:
            left = left[os.write(handle, left) :]
    except OSError as error:
        if os.fstat(handle).st_size == before + len(line) - len(left):  # nobody else added more
            os.ftruncate(handle, before)
        raise MasqueradeError(f"{path} cannot be written: {error.strerror}.") from error


def _line(outcome: FileOutcome) -> dict[str, Any]:
    receipt = outcome.receipt
    return {
        "source": str(outcome.task.src),
        "source_sha256": receipt and receipt.source.sha256,
        "output": str(outcome.task.dst),
        "output_sha256": receipt and receipt.output and receipt.output.sha256,
        "worker": outcome.worker,
        "status": outcome.status,
        "error": outcome.error,
        "exit_code": outcome.exit_code,
    }


def _check(path: Path, handle: int) -> None:
    """Refuse a file that is no record; end the line at which a killed process left one."""
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        raise UsageError(f"{path} is a device or a pipe, and no file; choose another --record.")
    first = os.pread(handle, 1 << 20, 0).partition(b"\n")[0]
    try:
        known = not first or "settings_sha256" in json.loads(first)
    except (ValueError, TypeError, RecursionError):
        known = False
    if not known:
        raise UsageError(f"{path} is there and is no record; choose another --record.")
    size = os.fstat(handle).st_size
    if size and os.pread(handle, 1, size - 1) != b"\n":
        os.write(handle, b"\n")

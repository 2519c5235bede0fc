"""Outputs that appear whole or not at all.

An output grows under a hidden temporary name beside its destination, readable by its owner alone
and locked while its writer lives. It is given its name in one step, after its own check; what an
interrupted run left behind is recognized by its lock and removed by the next one.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from masquerade.errors import MasqueradeError, UsageError

MARK = ".masquerade-part"


@contextmanager
def part_of(destination: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `destination`; leaving in peace renames it, else it is deleted.

    Raises:
        UsageError: the destination exists and `overwrite` is off.
        MasqueradeError: the folder cannot be written.
    """
    refuse_existing(destination, overwrite=overwrite)
    folder = destination.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
        part = folder / f".{secrets.token_hex(8)}{MARK}{destination.suffix}"
        new = part.with_name(part.stem.replace(MARK, ".new"))
        lock = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(new, part)  # only now can another run's sweep see it, and it is locked
    except OSError as error:
        raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
    try:
        yield part
        _publish(part, destination, overwrite=overwrite)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
        os.close(lock)


def refuse_existing(destination: Path, *, overwrite: bool) -> None:
    """Raise unless an output may be put there."""
    if destination.is_dir():
        raise UsageError(f"{destination} is a folder; name a file, or end the name with a slash.")
    if destination.exists() and not overwrite:
        raise UsageError(f"{destination} exists already; choose another -o, or give --overwrite.")


def sweep(folder: Path) -> None:
    """Remove the parts in a folder whose writers are gone."""
    for part in folder.glob(f".*{MARK}*"):
        with suppress(OSError):
            lock = os.open(part, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                part.unlink()
            finally:
                os.close(lock)


def named(message: str, destination: Path) -> str:
    """A message with the destination's name in place of its part's."""
    return re.sub(rf"\.[0-9a-f]{{16}}{MARK}(\.\w+)?", lambda _: destination.name, message)


def _publish(part: Path, destination: Path, *, overwrite: bool) -> None:
    """Give a finished part its name and the rights of an ordinary new file."""
    mask = os.umask(0)
    os.umask(mask)
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    part.chmod(0o666 & ~mask)
    if overwrite:
        os.replace(part, destination)
        return
    try:
        os.link(part, destination)  # unlike rename, this never replaces what came meanwhile
    except FileExistsError:
        raise UsageError(f"{destination} appeared meanwhile and was kept as it is.") from None
    except OSError:  # a file system without links
        refuse_existing(destination, overwrite=False)
        os.rename(part, destination)

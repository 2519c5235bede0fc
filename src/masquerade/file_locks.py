"""Locks of files and folders, which other processes heed, and which end with their process."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from masquerade.errors import MasqueradeError, UsageError

LOCK = ".lock"  # of a folder that one process works in at a time
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # of a file system without them


def wait_for_lock(handle: int, *, shared: bool = False) -> None:
    """Wait for the lock of an open file or folder; file systems without locks give none.

    What is not locked is never taken for stale, as its lock cannot be tried either.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


@contextmanager
def take_lock(path: Path, flags: int) -> Iterator[int]:
    """Hold the lock of a file or folder, or raise OSError where another process does."""
    lock = os.open(path, flags)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield lock
    finally:
        os.close(lock)


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock of a folder while the context lasts, after a wait for it.

    File systems without locks give none.

    Raises:
        OSError: the folder cannot be opened.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        wait_for_lock(handle)
        yield
    finally:
        os.close(handle)


@contextmanager
def claim_folder(folder: Path, refusal: str) -> Iterator[None]:
    """Make a folder where it is missing, and hold it while the context lasts.

    Its lock is a file in it, which is removed at the end. File systems that know no locks let
    everybody in.

    Raises:
        UsageError: `refusal`, where another process holds it.
        MasqueradeError: it cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file, flags = folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            while not is_at(file, held.enter_context(take_lock(file, flags))):
                held.close()  # another one has just ended, and removed it
            held.callback(file.unlink, missing_ok=True)
        except BlockingIOError:
            raise UsageError(refusal) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
        yield


def create_locked(path: Path) -> int:
    """Create and lock a file that only its owner can read; returns its descriptor."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        wait_for_lock(lock)
        if is_at(path, lock):  # else another run took it for stale before it was locked
            return lock
        os.close(lock)


def is_at(path: Path, handle: int) -> bool:
    """Whether an open file is still the one of this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False

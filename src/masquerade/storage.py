"""Atomic writing of files, and digests of files and of weights.

A file is written under a hidden temporary name beside its destination, readable by its owner alone
and locked while its writer lives. It is renamed in one step when it is finished; what an
interrupted run left behind is recognized by its lock and removed by the next one. Temporary folders
are locked and removed alike.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
import unicodedata
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from masquerade.errors import MasqueradeError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

_MASKING = threading.Lock()  # of the umask
MARK = ".masquerade-part"
PART = re.compile(rf"\.[0-9a-f]{{16}}{MARK}(\.\w+)?")  # the names of temporary files
TEMPORARY = "masquerade-temporary-"  # how the names of temporary folders start
STORE_LIMIT = 100.0  # GB that clips take on the disk, unless another limit is given
LOCK = ".lock"  # of a folder that one process works in at a time
NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # of a file system without them
OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES}


@contextmanager
def atomic_write(
    destination: Path, *, overwrite: bool = False, private: bool = False
) -> Iterator[Path]:
    """Give a temporary path beside a file, renamed to it at the end, or deleted on an exception.

    The file's folder is made where it is missing.

    Raises:
        UsageError: the file exists and `overwrite` is off.
        MasqueradeError: the folder cannot be written.
    """
    try:
        with temporary_file(destination, overwrite=overwrite) as part:
            yield part
            complete(part, destination, private=private)
            publish(part, destination, overwrite=overwrite)
            sync_folder(destination.parent)
    except OSError as error:
        if error.errno not in OF_A_DISK:  # such as of a download
            raise
        raise MasqueradeError(f"{destination} cannot be written: {error.strerror}.") from error


@contextmanager
def temporary_file(destination: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give the path of a locked, private, hidden file beside a destination, deleted at the end."""
    refuse_existing(destination, overwrite=overwrite)
    folder, lock = destination.parent, None
    suffix = destination.suffix if re.fullmatch(r"\.\w{1,16}", destination.suffix) else ""
    part = hidden_path(folder, MARK + suffix)
    name, expected = str(part), OSError
    try:  # before there is anything, so that no interruption leaves it
        try:
            folder.mkdir(parents=True, exist_ok=True)
            remove_stale_files(folder)
            lock = create_locked(part)
            expected = FileNotFoundError
        except OSError as error:
            raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
        yield part
    finally:
        try:  # noqa: SIM105 (a signal is heard after a call: so the first one removes the file)
            os.unlink(name)
        except expected:
            pass
        if lock is not None:
            os.close(lock)


def make_private(folder: Path) -> None:
    """Make a folder that its owner alone can read; one that is there already keeps its rights.

    Raises:
        MasqueradeError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error


def hidden_path(folder: Path, ending: str) -> Path:
    """Name a hidden file that nobody else has."""
    return folder / f".{secrets.token_hex(8)}{ending}"


def create_locked(path: Path) -> int:
    """Make a file that only its owner can read; returns its open lock."""
    while True:
        lock = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        wait_for_lock(lock)
        if _is_at(path, lock):  # else another run took it for stale before it was locked
            return lock
        os.close(lock)


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


def complete(part: Path, destination: Path, *, private: bool = False) -> None:
    """Put a finished file on the disk, with the rights of an ordinary one unless `private`.

    They are those of the file that it is to replace, or else of a new one.
    """
    if not private:
        try:
            rights = destination.stat().st_mode & 0o777
        except FileNotFoundError:
            rights = 0o666 & ~_mask_of_rights()
        part.chmod(rights)
    with open(part, "rb") as file:
        os.fsync(file.fileno())


def _mask_of_rights() -> int:
    """The process's umask, read from /proc where there is one.

    The system call can read it only by setting it: another thread that makes a file at that moment
    makes it for everybody, and two threads that read at once leave no umask.
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name == "Umask":
                return int(value, 8)
    with _MASKING:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def publish(part: Path, destination: Path, *, overwrite: bool) -> None:
    """Give a complete file its name."""
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


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk; without, a loss of power may undo a rename."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # names may be made in it, and not be listed
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that does this by itself
            raise
    finally:
        os.close(handle)


class TemporaryFolder:
    """A folder that only its owner can read, removed with this object or at the process's end.

    Those of processes that were killed are removed when the next one is made in the same `parent`,
    which is by default the system's folder of temporary files.
    """

    def __init__(self, parent: Path | None = None) -> None:
        parent = parent or Path(tempfile.gettempdir())
        for folder in parent.glob(TEMPORARY + "[0-9a-f]" * 16):
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
            with suppress(OSError), take_lock(folder, flags) as lock:
                if os.fstat(lock).st_uid == os.getuid():
                    shutil.rmtree(folder, ignore_errors=True)
        while True:
            self.path = parent / f"{TEMPORARY}{secrets.token_hex(8)}"
            self.path.mkdir(mode=0o700)
            try:
                lock = os.open(self.path, os.O_RDONLY)
            except FileNotFoundError:  # another process took it for stale before it was locked
                continue
            wait_for_lock(lock)
            if _is_at(self.path, lock):  # else another process took it for stale
                break
            os.close(lock)
        self._remove = weakref.finalize(self, _remove_folder, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self._remove()


def file_signature(path: Path) -> tuple[int, ...]:
    """A file's device, inode, size and times, which change once it is replaced or written to."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def code_digest(*patterns: str) -> str:
    """The SHA-256 of masquerade's own source files that match patterns such as `video/*.py`."""
    root = Path(__file__).parent
    paths = sorted({path for pattern in patterns for path in root.glob(pattern)})
    return hashlib.sha256(b"".join(path.read_bytes() for path in paths)).hexdigest()


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of the names and the bytes of a state dict, in order of name."""
    content = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        content.update(name.encode())
        content.update(tensor_bytes(tensor))
    return content.hexdigest()


def save_tensors(state: Mapping[str, object], path: Path) -> None:
    """Write what `torch.load` reads; where the disk is full this raises OSError, unlike torch."""
    import torch

    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(content.getbuffer())


def tensor_bytes(tensor: Tensor) -> memoryview:
    """Return the bytes of a tensor's numbers, in order."""
    import torch  # here, so that a command that needs no network starts without it

    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data


def place_keys(paths: Iterable[Path]) -> list[str]:
    """Return a string for each path; two are equal if they name one file, there or to be made.

    Names that differ in case or in their composition of accents only are one where the file
    system says so.
    """
    exact = [os.path.join(os.path.realpath(path.parent), path.name) for path in paths]
    folded = [unicodedata.normalize("NFC", key.casefold()) for key in exact]
    alike = Counter(dict(zip(exact, folded, strict=True)).values())
    return [
        fold if alike[fold] > 1 and folds_case(Path(key).parent) else key
        for key, fold in zip(exact, folded, strict=True)
    ]


@cache
def folds_case(folder: Path) -> bool:
    """Whether names that differ in case only are one file in a folder, which may be still to make.

    It is tried with an empty file. Where nothing can be written the answer is yes.
    """
    while not os.path.isdir(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        with tempfile.NamedTemporaryFile(prefix=".masquerade-case-", dir=folder) as file:
            return os.path.exists(folder / os.path.basename(file.name).upper())
    except OSError:
        return True


def refuse_existing(
    destination: Path, *, overwrite: bool, flag: str = "-o", folders: bool = False
) -> None:
    """Refuse to put an output where a folder is, a link to nothing, or without `overwrite` a file.

    And where a device or a pipe is, under "-", and under a name that the file system does not take.
    `flag` is where another can be chosen, and `folders` whether it takes a folder, too.
    """
    refuse_standard_output(str(destination), flag)
    try:
        link = stat.S_ISLNK(destination.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError as error:
        raise UsageError(
            f"{destination} cannot be reached: {error.strerror}; choose another {flag}."
        ) from error
    except (OSError, ValueError) as error:  # such as a name of 300 characters
        reason = getattr(error, "strerror", error)
        raise UsageError(
            f"{destination} cannot be a file's name: {reason}; choose a shorter {flag}."
        ) from error
    if link and not destination.exists():
        raise UsageError(
            f"{destination} is a link to nothing; remove it, or choose another {flag}."
        )
    if destination.is_dir():
        slash = ", or end the name with a slash" if folders else ""
        raise UsageError(f"{destination} is a folder; name a file{slash}.")
    # a rename would put an ordinary file in its place, for root also in that of /dev/null
    opened = link and os.readlink(destination).startswith("/proc/")  # such as /dev/stdout
    if opened or (destination.exists() and not destination.is_file()):
        raise UsageError(
            f"{destination} is a device, a pipe or the like, which no file may replace; choose "
            f"another {flag}."
        )
    if destination.exists() and not overwrite:
        raise UsageError(
            f"{destination} exists already; choose another {flag}, or give --overwrite."
        )


def refuse_standard_output(text: str, flag: str = "-o") -> None:
    """Refuse "-", by which other programs mean standard output."""
    if text == "-":
        raise UsageError(
            f"{flag} - would be standard output, and what is written is a file, which appears "
            "complete or not at all: name one; `masquerade live` alone writes to a pipe."
        )


def refuse_replacing(destination: Path, *read: Path | None, flag: str = "-o") -> None:
    """Refuse an output that is one of the files that are read, whatever names these have."""
    for source in filter(None, read):
        with suppress(OSError, ValueError):  # one of them is not there
            if os.path.samefile(destination, source):
                raise UsageError(
                    f"{destination} would replace {source}, which is read; choose another {flag}."
                )


def remove_stale_files(folder: Path) -> None:
    """Remove the temporary files in a folder whose writers are gone."""
    for part in folder.glob(f".*{MARK}*"):
        if PART.fullmatch(part.name):
            with suppress(OSError), take_lock(part, os.O_RDWR | os.O_NOFOLLOW):
                part.unlink()


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
def alone_in(folder: Path, refusal: str) -> Iterator[None]:
    """Make a folder where it is missing, and hold it while the context lasts.

    Its lock is a file in it, which is removed at the end. File systems that know no locks let
    everybody in.

    Raises:
        UsageError: `refusal`, where another one holds it.
        MasqueradeError: it cannot be written.
    """
    with ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file, flags = folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
            while not _is_at(file, held.enter_context(take_lock(file, flags))):
                held.close()  # another one has just ended, and removed it
            held.callback(file.unlink, missing_ok=True)
        except BlockingIOError:
            raise UsageError(refusal) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise MasqueradeError(f"{folder} cannot be written: {error.strerror}.") from error
        yield


def with_final_name(message: str, destination: Path) -> str:
    """Put the destination's name in place of its temporary file's into a message."""
    return PART.sub(lambda _: destination.name, message)


def error_with_final_name(error: MasqueradeError, destination: Path) -> MasqueradeError:
    """The same error with the destination's name in place of a temporary one, and its notes."""
    named = type(error)(with_final_name(str(error), destination))
    for note in getattr(error, "__notes__", ()):
        named.add_note(note)
    return named


def _remove_folder(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)


def _is_at(path: Path, handle: int) -> bool:
    """Whether what is open still has this name."""
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False

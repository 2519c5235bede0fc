"""Atomic writing of files, and digests of files and of weights.

A file is written under a hidden temporary name beside its destination, readable by its owner alone
and locked while its writer lives. It is renamed in one step when it is finished; what an
interrupted run left behind is recognized by its lock and removed by the next one. Temporary folders
are locked and removed alike.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import platform
import re
import secrets
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from masquerade.errors import MasqueradeError, UsageError
from masquerade.file_locks import create_locked, is_at, take_lock, wait_for_lock
from masquerade.output_paths import refuse_existing

if TYPE_CHECKING:
    from torch import Tensor

COMPUTING_PACKAGES = (
    "av",
    "numpy",
    "opencv-contrib-python-headless",
    "ai-edge-litert",
    "onnxruntime",
    "torch",
)
_MASKING = threading.Lock()  # of the umask
MARK = ".masquerade-part"
PART = re.compile(rf"\.[0-9a-f]{{16}}{MARK}(\.\w+)?")  # the names of temporary files
TEMPORARY = "masquerade-temporary-"  # how the names of temporary folders start
HELD = ".masquerade-held"  # in each of them, locked: NFS locks files alone, and not folders
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
            raise MasqueradeError(
                f"{os.path.abspath(folder)} cannot be written: {error.strerror}; choose another "
                "folder, as with -o."
            ) from error
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
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        for folder in parent.glob(TEMPORARY + "[0-9a-f]" * 16):
            with suppress(OSError):
                about = folder.lstat()
                if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid():
                    with take_lock(folder / HELD, flags) as lock:
                        shutil.rmtree(folder, ignore_errors=True)
                    folder.rmdir()
        while True:
            self.path = parent / f"{TEMPORARY}{secrets.token_hex(8)}"
            self.path.mkdir(mode=0o700)
            try:
                lock = os.open(self.path / HELD, flags, 0o600)
            except FileNotFoundError:  # another process took it for stale before it was locked
                continue
            wait_for_lock(lock)
            if is_at(self.path / HELD, lock):  # else another process took it for stale
                break
            os.close(lock)
        self._remove = weakref.finalize(self, _remove_folder, self.path, lock)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *error: object) -> None:
        self._remove()


def file_signature(path: Path) -> tuple[int, ...]:
    """A file's device, inode, size and times, which change once it is replaced or written to."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


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


@cache  # reading it takes longer than hiding a frame, and it is the same for every file
def package_version(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:  # built from source, or by another name
        return "not installed by pip"


def computing_versions() -> dict[str, str]:
    """The machine's architecture, and the versions of the packages that decode and compute.

    With others, pixels, boxes and the numbers of tracks may differ.
    """
    versions = {name: package_version(name) for name in COMPUTING_PACKAGES}
    return {"machine": platform.machine(), **versions}


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


def remove_stale_files(folder: Path) -> None:
    """Remove the temporary files in a folder whose writers are gone."""
    for part in folder.glob(f".*{MARK}*"):
        if PART.fullmatch(part.name):
            with suppress(OSError), take_lock(part, os.O_RDWR | os.O_NOFOLLOW):
                part.unlink()


def with_final_name(message: str, destination: Path) -> str:
    """Put the destination's name in place of its temporary file's into a message."""
    return PART.sub(lambda _: destination.name, message)


def error_with_final_name(error: MasqueradeError, destination: Path) -> MasqueradeError:
    """Copy an error, with the destination's name in place of the temporary file's."""
    named = type(error)(with_final_name(str(error), destination))
    for note in getattr(error, "__notes__", ()):
        named.add_note(note)
    return named


def _remove_folder(folder: Path, lock: int) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
    with suppress(OSError):  # NFS keeps an open file, and so its folder, until it is closed
        folder.rmdir()

"""Transactions: several files appear together, or none of them and the older ones stay.

Everything is on the disk before the first file gets its name. A journal, on the disk before that,
says what is renamed, so that after an error or a signal this process puts the older files back, and
after a kill or a loss of power the next one that writes there does.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

from masquerade.file_locks import create_locked, lock_folder, take_lock
from masquerade.storage import (
    complete,
    hidden_path,
    publish,
    remove_stale_files,
    sync_folder,
    temporary_file,
)

JOURNAL = ".masquerade-journal"
KEPT = ".masquerade-kept"
NAME = re.compile(rf"\.[0-9a-f]{{16}}{JOURNAL}")
KEPT_NAME = re.compile(rf"\.[0-9a-f]{{16}}{KEPT}")


class _Step(NamedTuple):
    """One file that gets its name, or goes away."""

    destination: str
    kept: str  # where an older file is until all have their names
    new: list[int] | None  # what tells the new file from any other; None: the older one goes away


class Appear(Protocol):
    """Gives the temporary path of a file that appears at the end of a transaction."""

    def __call__(self, destination: Path, *, private: bool = False) -> Path:
        """Give the path of one file; `private`: its owner alone can read it, also at the end."""
        ...


@contextmanager
def transaction(*, overwrite: bool = False, remove: Iterable[Path] = ()) -> Iterator[Appear]:
    """Give temporary paths of files that all appear at the end, the first one last, or none.

    The files to `remove` go away as the others appear.

    Raises:
        UsageError: a file exists and `overwrite` is off.
        MasqueradeError: a folder cannot be written.
    """
    parts: dict[Path, Path] = {}
    owners: set[Path] = set()  # those of them that their owner alone can read
    with ExitStack() as stack:

        def written(destination: Path, *, private: bool = False) -> Path:
            if destination not in parts:
                part = temporary_file(destination, overwrite=overwrite)
                parts[destination] = stack.enter_context(part)
            if private:
                owners.add(destination)
            return parts[destination]

        yield written
        for destination, part in parts.items():
            complete(part, destination, private=destination in owners)
        if parts:
            _publish(parts, [*remove], overwrite=overwrite)


def recover(folder: Path) -> None:
    """Remove what killed processes left in a folder, and undo their transactions that were not
    complete."""
    for journal in folder.glob(f".*{JOURNAL}"):
        if not NAME.fullmatch(journal.name):
            continue
        with suppress(OSError, ValueError), take_lock(journal, os.O_RDWR | os.O_NOFOLLOW) as lock:
            if os.fstat(lock).st_uid == os.getuid():  # nobody else says what is renamed here
                steps = _read(journal)
                if any(_identity(step.destination) != step.new for step in steps):
                    _undo(steps)
                _end(journal, steps)
    remove_stale_files(folder)


def _publish(parts: dict[Path, Path], remove: list[Path], *, overwrite: bool) -> None:
    folder = next(iter(parts)).parent
    steps = []
    for destination, part in parts.items():
        older = hidden_path(destination.parent, KEPT)
        new = _identity(part)
        assert new is not None
        steps.append(_Step(os.path.abspath(destination), os.path.abspath(older), new))
    for path in remove:
        older = hidden_path(path.parent, KEPT)
        steps.append(_Step(os.path.abspath(path), os.path.abspath(older), None))
    with _lock_folder_if_possible(folder):
        journal, lock = hidden_path(folder, JOURNAL), None
        try:
            lock = create_locked(journal)
            with journal.open("w") as file:
                json.dump([_below(folder, step) for step in steps], file)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(folder)
            for step in steps[len(parts) :]:
                with suppress(FileNotFoundError):
                    os.rename(step.destination, step.kept)
            for step, part in reversed(list(zip(steps, parts.values(), strict=False))):
                if overwrite:
                    _keep(step)
                publish(part, Path(step.destination), overwrite=overwrite)
            for place in {path.parent for path in (*parts, *remove)}:
                sync_folder(place)
        except BaseException:
            _undo(steps)
            _end(journal, steps)
            raise
        else:
            try:
                _end(journal, steps)
            except BaseException:  # an interruption; the files have their names and stay
                _end(journal, steps)
                raise
        finally:
            if lock is not None:
                os.close(lock)


@contextmanager
def _lock_folder_if_possible(folder: Path) -> Iterator[None]:
    """Lock a folder against other transactions meanwhile, where the file system can."""
    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(lock_folder(folder))
        yield


def _keep(step: _Step) -> None:
    """Give the older file a second name."""
    try:
        os.link(step.destination, step.kept)
    except FileNotFoundError:
        return
    except OSError:  # a file system without links
        os.rename(step.destination, step.kept)


def _undo(steps: list[_Step]) -> None:
    """Put the older files back in place of the new ones."""
    for step in steps:
        present = _identity(step.destination)
        if present is None or present == step.new:
            try:
                os.replace(step.kept, step.destination)
            except FileNotFoundError:
                with suppress(FileNotFoundError):
                    os.unlink(step.destination)


def _end(journal: Path, steps: list[_Step]) -> None:
    for step in steps:
        with suppress(FileNotFoundError):
            os.unlink(step.kept)
    journal.unlink(missing_ok=True)


def _below(folder: Path, step: _Step) -> _Step:
    """A step whose paths are relative where they lie in the folder, which may be renamed."""
    root = os.path.join(os.path.abspath(folder), "")
    return step._replace(
        destination=step.destination.removeprefix(root), kept=step.kept.removeprefix(root)
    )


def _read(journal: Path) -> list[_Step]:
    """The steps of a journal; none where it was not written whole, as nothing was renamed then.

    Nor are there any where it is not as we write it: it may have come with somebody's videos, and
    name a file of the user to be moved or deleted.
    """
    try:
        steps = []
        for *paths, new in json.loads(journal.read_text()):
            destination, older = (os.path.abspath(journal.parent / path) for path in paths)
            steps.append(_Step(destination, older, new))
        if not all(map(_is_own, steps)):
            return []
        # older ones had the device
        return [step._replace(new=step.new and step.new[-3:]) for step in steps]
    except (ValueError, TypeError, RecursionError):
        return []


def _is_own(step: _Step) -> bool:
    """Whether an older file is kept beside its destination, under such a name as we give."""
    if b"\0" in os.fsencode(step.destination + step.kept):  # no file has such a name
        return False
    older = Path(step.kept)
    return older.parent == Path(step.destination).parent and bool(KEPT_NAME.fullmatch(older.name))


def _identity(path: str | Path) -> list[int] | None:
    """What tells a file from another one of its folder, also after a reboot; None: there is none.

    The number of its device may differ then.
    """
    try:
        about = os.stat(path)
    except FileNotFoundError:
        return None
    return [about.st_ino, about.st_size, about.st_mtime_ns]

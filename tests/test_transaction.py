"""Several files appear together or not at all, and the older ones stay, whatever ends a run."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from interruptions import KNOWN, interrupted_at

from masquerade import file_locks, output_paths, storage
from masquerade import transaction as transaction_module
from masquerade.errors import UsageError
from masquerade.file_locks import take_lock
from masquerade.storage import atomic_write
from masquerade.transaction import recover, transaction

NAMES = ("a.mp4", "b.json", "m.mkv", "r.json")
NEW = {name: f"new {name}" for name in NAMES}
GONE = "gone.json"  # of the older ones: nothing of that name is written anew
OLD = {name: f"old {name}" for name in (*NAMES, GONE)}


def held(*folders: Path) -> dict[str, str]:
    return {path.name: path.read_text() for folder in folders for path in folder.iterdir()}


def write(content: dict[str, str], folder: Path, *, overwrite: bool, last: Path | None = None):
    """Write all in one transaction; the last file into another folder where one is named."""
    with transaction(overwrite=overwrite, remove=[folder / GONE]) as path:
        for name, text in content.items():
            place = last if last and name == NAMES[-1] else folder
            path(place / name).write_text(text)


Call = tuple[str, str]


@contextmanager
def traced(fail: int = -1, how: Callable[[], Any] | None = None) -> Iterator[list[Call]]:
    """Record each call by which files are put on the disk or renamed; one of them fails."""
    calls: list[Call] = []
    real = {name: getattr(os, name) for name in ("fsync", "link", "replace", "rename", "unlink")}

    def record(name: str) -> Callable[..., Any]:
        def call(*given: Any, **more: Any) -> Any:
            place = os.readlink(f"/proc/self/fd/{given[0]}") if name == "fsync" else given[-1]
            calls.append((name, os.path.basename(place)))
            if len(calls) - 1 == fail:
                assert how is not None
                how()
            return real[name](*given, **more)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in real:
            patch.setattr(os, name, record(name))
        yield calls


def full() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("how", [full, interrupted])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("older", [{}, OLD, {"r.json": "old r.json"}])
def test_whichever_call_fails_all_are_new_or_all_are_old(
    tmp_path: Path, older: dict[str, str], apart: bool, how: Callable[[], None]
) -> None:
    last = tmp_path / "reports"
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir(parents=True)
        if last.exists():
            last.rename(tmp_path / f"reports{number}")
        last.mkdir()
        for name, text in older.items():
            ((last if apart and name == NAMES[-1] else folder) / name).write_text(text)
        with traced(number, how) as calls:
            try:
                write(NEW, folder, overwrite=True, last=last if apart else None)
                raised = False
            except (OSError, KeyboardInterrupt):
                raised = True
        found = {name: text for name, text in held(folder, last).items() if name[0] != "."}
        named = [i for i, call in enumerate(calls) if call == ("replace", "a.mp4")]
        assert found in (older, NEW), calls
        hidden = [name for name in held(folder, last) if name[0] == "." and "part" not in name]
        assert not hidden, calls
        if raised and (not named or number <= named[0]):
            assert found == older, calls
        if not raised:
            assert found == NEW, calls
        recover(folder)  # what an interruption of the tidying left
        storage.remove_stale_files(last)
        assert not [name for name in held(folder, last) if name[0] == "."], calls
        if len(calls) <= number:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize(("older", "renamed"), [({}, False), (OLD, False), (OLD, True)])
def test_whatever_a_kill_leaves_the_next_run_ends(
    tmp_path: Path, older: dict[str, str], renamed: bool
) -> None:
    """A process is killed before each of its calls; afterwards all are new or all are old.

    Also where the folder was renamed before the next run.
    """
    states = set()
    for number in range(0, 60, 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in older.items():
            (folder / name).write_text(text)
        pid = os.fork()
        if pid == 0:  # quicker than a process from the start, and killed in the same way
            with traced(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                write(NEW, folder, overwrite=bool(older))
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if renamed:
            folder = folder.rename(tmp_path / f"renamed {number}")
        recover(folder)
        assert held(folder) in (older, NEW), number
        states.add(held(folder) == NEW)
        write(NEW, folder, overwrite=True)
        assert held(folder) == NEW
        if status == 0:
            break
    assert status == 0 and states == {False, True}


@pytest.mark.filterwarnings(  # the standard library's files, whose opening is interrupted too
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
@KNOWN
@pytest.mark.parametrize("older", [{}, {"a": "old"}])
def test_an_interruption_anywhere_leaves_the_new_file_or_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: dict[str, str]
) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    reached, point = True, 0
    while reached:
        point += 1
        folder = tmp_path / str(point)
        folder.mkdir()
        for name, text in older.items():
            (folder / name).write_text(text)
        work = partial(write, {"a": "new"}, folder, overwrite=bool(older))
        own = storage, file_locks, output_paths, transaction_module
        reached = interrupted_at(point, work, *own, contextlib, pathlib)
        assert held(folder) in (older, {"a": "new"}), point
    assert held(folder) == {"a": "new"} and point > 200


def test_every_file_is_on_the_disk_before_a_name_and_every_name_after(tmp_path: Path) -> None:
    """The order in which a loss of power does no harm."""
    write(OLD, tmp_path, overwrite=False)
    with traced() as calls:
        write(NEW, tmp_path, overwrite=True)
    named = [i for i, (call, _) in enumerate(calls) if call == "replace"]
    kept = [i for i, (call, name) in enumerate(calls) if call == "link" and "kept" in name]
    synced = [i for i, (call, name) in enumerate(calls) if call == "fsync" and "part" in name]
    journal = [i for i, (call, name) in enumerate(calls) if call == "fsync" and "journal" in name]
    folder = [i for i, call in enumerate(calls) if call == ("fsync", tmp_path.name)]
    ended = [i for i, (call, name) in enumerate(calls) if call == "unlink" and "kept" in name]
    assert len(named) == len(kept) == len(synced) == 4
    assert max(synced) < journal[0] < folder[0] < min(kept) < min(named)
    assert max(named) < folder[1] < min(ended)
    assert calls[max(named)] == ("replace", "a.mp4")  # the output is the last


@pytest.mark.parametrize("overwrite", [False, True])
def test_one_file_is_on_the_disk_before_its_name_and_its_name_after(
    tmp_path: Path, overwrite: bool
) -> None:
    with traced() as calls, atomic_write(tmp_path / "a.csv", overwrite=overwrite) as part:
        part.write_text("new")
    named = calls.index(("replace" if overwrite else "link", "a.csv"))
    assert calls[named - 1] == ("fsync", part.name)
    assert calls[named + 1] == ("fsync", tmp_path.name)


def test_a_file_that_came_meanwhile_is_kept_and_nothing_else_appears(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="appeared meanwhile"),
        transaction() as path,
    ):
        for name in NAMES:
            path(tmp_path / name).write_text("new")
        (tmp_path / "b.json").write_text("another's")
    assert held(tmp_path) == {"b.json": "another's"}


def test_of_two_runs_on_one_destination_one_set_is_left_whole(tmp_path: Path) -> None:
    sets = [{name: f"{number} {name}" for name in NAMES} for number in range(4)]
    runs = [
        threading.Thread(target=lambda s=s: [write(s, tmp_path, overwrite=True) for _ in range(9)])
        for s in sets
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert held(tmp_path) in sets


def test_a_folder_is_locked_while_names_are_given_in_it_and_free_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []
    publish, flock = storage.publish, fcntl.flock

    def look(*given: Any, **more: Any) -> None:
        free.append(True)
        with suppress(OSError), take_lock(tmp_path, os.O_RDONLY):
            return publish(*given, **more) if given else None
        free[-1] = False
        if free.count(False) == 3:
            raise OSError(errno.EIO, "I/O error")
        publish(*given, **more)

    def unable(handle: int, operation: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.ENOLCK, "no locks")
        flock(handle, operation)

    monkeypatch.setattr(transaction_module, "publish", look)
    two, held_open = dict(list(NEW.items())[:2]), len(os.listdir("/proc/self/fd"))
    write(two, tmp_path, overwrite=False)
    look()
    with pytest.raises(OSError, match="I/O error"):  # the lock goes then, too
        write(two, tmp_path, overwrite=True)
    look()
    assert free == [False, False, True, False, True]
    assert held(tmp_path) == two and len(os.listdir("/proc/self/fd")) == held_open
    monkeypatch.setattr(fcntl, "flock", unable)  # a file system without
    write(NEW, tmp_path, overwrite=True)
    assert held(tmp_path) == NEW


def test_a_journal_of_another_user_and_one_in_use_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").write_text("mine")
    journal = tmp_path / f".{'0' * 16}.masquerade-journal"
    journal.write_text(f'[["{tmp_path}/mine", "{tmp_path}/none", {storage_id(tmp_path)}]]')
    monkeypatch.setattr(os, "getuid", lambda: -1)
    recover(tmp_path)
    assert (tmp_path / "mine").exists() and journal.exists()
    monkeypatch.undo()
    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print(); input()"
    words = [sys.executable, "-c", hold, str(journal)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        recover(tmp_path)
        assert (tmp_path / "mine").exists() and journal.exists()
        other.communicate(b"\n")
    strange = [
        json.dumps([[f"{tmp_path}/{a}", f"{tmp_path}/.{'0' * 16}.masquerade-kept", [0, 0, 0]]])
        for a in ("\0", "\ud800")  # which no file is named
    ]
    cut_off = ("", "[", "[1]", '[["a"]]', "\0")  # so that nothing was renamed
    for content in (*cut_off, "[" * 200_000, *strange):
        journal.write_text(content)
        recover(tmp_path)
        assert held(tmp_path) == {"mine": "mine"}, content


@pytest.mark.parametrize("older_journal", [False, True])
def test_after_a_reboot_a_killed_transaction_is_undone(tmp_path: Path, older_journal: bool) -> None:
    """The disk may have another number then, which journals of earlier versions hold."""
    kept, older = (f".{digit * 16}.masquerade-kept" for digit in "12")
    for name, text in {"mine": "old", kept: "old", "video": "old", older: "old"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "mine").write_text("new, and named before the kill")
    new = storage_id(tmp_path)
    steps = [
        [f"{tmp_path}/video", f"{tmp_path}/{older}", [number + 1 for number in new[1:]]],
        [f"{tmp_path}/mine", f"{tmp_path}/{kept}", [new[0] + 1, *new[1:]]],
    ]
    if not older_journal:
        steps[1][2] = new[1:]
    (tmp_path / f".{'0' * 16}.masquerade-journal").write_text(json.dumps(steps))
    recover(tmp_path)
    assert held(tmp_path) == {"mine": "old", "video": "old"}


@pytest.mark.parametrize(
    ("destination", "kept"),
    [
        ("gone", "thesis.tex"),  # would be deleted, or moved to where others see it
        ("shared/key", "thesis.tex"),
        ("gone", "documents/.0123456789abcdef.masquerade-kept"),
        ("gone", ".0123456789abcdef.masquerade-kept/../thesis.tex"),
        ("gone", 7),
    ],
)
def test_a_journal_that_came_with_videos_moves_and_deletes_nothing(
    tmp_path: Path, destination: str, kept: object
) -> None:
    """Files that a user unpacked are the user's own."""
    for folder in ("documents", "shared", "ward"):
        (tmp_path / folder).mkdir()
    (tmp_path / "thesis.tex").write_text("mine")
    (tmp_path / "documents" / ".0123456789abcdef.masquerade-kept").write_text("mine")
    named = kept if isinstance(kept, int) else f"{tmp_path}/{kept}"
    journal = tmp_path / "ward" / f".{'0' * 16}.masquerade-journal"
    journal.write_text(json.dumps([[f"{tmp_path}/{destination}", named, [0, 0, 0]]]))
    recover(tmp_path / "ward")
    assert (tmp_path / "thesis.tex").read_text() == "mine"
    assert len(list((tmp_path / "documents").iterdir())) == 1
    assert not list((tmp_path / "shared").iterdir()) and not list((tmp_path / "ward").iterdir())


def storage_id(folder: Path) -> list[int]:
    about = (folder / "mine").stat()
    return [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns]

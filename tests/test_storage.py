"""Files appear whole, under names that are theirs, and nobody else's file is removed."""

from __future__ import annotations

import errno
import fcntl
import gc
import hashlib
import os
import stat
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from masquerade import storage
from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import load, save, write_weights
from masquerade.errors import MasqueradeError, UsageError
from masquerade.file_locks import take_lock
from masquerade.output_paths import refuse_existing
from masquerade.storage import (
    MARK,
    PART,
    TEMPORARY,
    TemporaryFolder,
    atomic_write,
    file_digest,
    publish,
    remove_stale_files,
    save_tensors,
    sync_folder,
    temporary_file,
    tensor_bytes,
    weights_digest,
    with_final_name,
)
from masquerade.transaction import transaction


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_link_to_nothing_and_a_name_too_long_are_refused_before_the_work(
    tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "link.mp4").symlink_to(tmp_path / "nowhere.mp4")
    with pytest.raises(UsageError, match="link to nothing"):
        refuse_existing(tmp_path / "link.mp4", overwrite=overwrite)
    with pytest.raises(UsageError, match="too long; choose a shorter"):
        refuse_existing(tmp_path / ("a" * 300 + ".mp4"), overwrite=overwrite)
    assert (tmp_path / "link.mp4").is_symlink()


def test_only_our_own_temporary_files_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    other = [f".notes{MARK}.mp4", f".0123456789abcdef{MARK}-of-mine", f".{'g' * 16}{MARK}.mp4"]
    for name in other:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / f".{'1' * 16}{MARK}.mp4").symlink_to(tmp_path / other[0])
    (tmp_path / f".{'2' * 16}{MARK}").write_bytes(b"ours")
    folders = [f"{TEMPORARY}of-mine", f"{TEMPORARY}{'a' * 17}"]
    for name in (*folders, f"{TEMPORARY}{'a' * 16}"):
        (tmp_path / name).mkdir()
    remove_stale_files(tmp_path)
    with TemporaryFolder():
        pass
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*other, *folders, f".{'1' * 16}{MARK}.mp4"}


def test_parts_of_any_name_are_swept_names(tmp_path: Path) -> None:
    """A killed writer's file is found again whatever its destination is called."""
    for name in ("a.mp4", "a", "a.my-notes", "a." + "b" * 200):
        with pytest.raises(KeyError), atomic_write(tmp_path / name) as part:
            copy = part.with_name(part.name.replace(part.name[1:17], "0" * 16))
            copy.write_bytes(b"left behind")
            remove_stale_files(tmp_path)
            assert part.exists() and not copy.exists()
            raise KeyError
    assert not list(tmp_path.iterdir())


def test_what_another_run_takes_for_stale_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    flock, swept = fcntl.flock, []

    def sweeping(handle: int, operation: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if len(swept) % 2 == 0:
            path.rmdir() if path.is_dir() else path.unlink()
        swept.append(path)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", sweeping)
    with atomic_write(tmp_path / "a.csv") as part:
        assert part.exists() and part in swept[:1]
        with pytest.raises(OSError), take_lock(part, os.O_RDWR):
            pass
        part.write_text("whole")
    with TemporaryFolder() as folder:
        assert folder.is_dir() and folder not in swept[2:3]
    assert (tmp_path / "a.csv").read_text() == "whole" and len(swept) == 4


def digest_of(*parts: bytes) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()


def test_digests_are_those_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digest(tmp_path / "a") == digest_of(b"abc")
    first, second = torch.tensor([[1, 2], [3, 4]], dtype=torch.int16), torch.tensor(0.5)
    assert bytes(tensor_bytes(first.T)) == first.T.contiguous().numpy().tobytes()
    parts = (b"a", second.numpy().tobytes(), b"b", first.numpy().tobytes())
    assert weights_digest({"b": first, "a": second.requires_grad_()}) == digest_of(*parts)


def test_a_file_is_private_until_it_has_its_name(tmp_path: Path) -> None:
    dst, mask = tmp_path / "new" / "deep" / "a.mp4", os.umask(0o027)
    try:
        with atomic_write(dst) as part:
            assert part.parent == dst.parent and part.suffix == ".mp4" and PART.fullmatch(part.name)
            assert part.stat().st_mode & 0o777 == 0o600 and not dst.exists()
            with pytest.raises(OSError), take_lock(part, os.O_RDWR):
                pass
            part.write_bytes(b"new")
        assert dst.stat().st_mode & 0o777 == 0o640 and dst.read_bytes() == b"new"
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(mask)
    assert [path.name for path in dst.parent.iterdir()] == ["a.mp4"]
    with pytest.raises(UsageError, match="exists already"), atomic_write(dst):
        pass
    with atomic_write(dst, overwrite=True) as part:
        part.write_bytes(b"newer")
    assert dst.read_bytes() == b"newer"
    with pytest.raises(KeyError), atomic_write(dst, overwrite=True) as part:
        part.write_bytes(b"half")
        raise KeyError
    assert dst.read_bytes() == b"newer" and len(list(dst.parent.iterdir())) == 1


def test_a_private_file_is_never_readable_by_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def publish(part: Path, destination: Path, *, overwrite: bool) -> None:
        seen.append(part.stat().st_mode & 0o777)
        os.replace(part, destination)

    monkeypatch.setattr(storage, "publish", publish)
    before = os.umask(0)
    try:
        for private in (True, False):
            with atomic_write(tmp_path / f"{private}.png", private=private) as part:
                part.write_bytes(b"x")
    finally:
        os.umask(before)
    assert seen == [0o600, 0o666]


@pytest.mark.parametrize("rights", [0o600, 0o664])
def test_a_file_that_is_replaced_keeps_its_rights(tmp_path: Path, rights: int) -> None:
    """Also where many appear together; a private one is never for others."""
    names = [tmp_path / name for name in ("a", "b", "c")]
    for path in names:
        path.touch()
        path.chmod(rights)
    with atomic_write(names[0], overwrite=True) as part:
        part.write_bytes(b"new")
    with transaction(overwrite=True) as appear:
        appear(names[1]).write_bytes(b"new")
        appear(names[2], private=True).write_bytes(b"new")
    assert [path.stat().st_mode & 0o777 for path in names] == [rights, rights, 0o600]
    assert {path.read_bytes() for path in names} == {b"new"}


def test_the_mask_of_rights_stays_where_files_are_completed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reads it by setting it would, in two threads at once, leave none."""
    umask = os.umask

    def slow(mask: int) -> int:
        before = umask(mask)
        time.sleep(0.01)
        return before

    monkeypatch.setattr(os, "umask", slow)
    parts = [tmp_path / str(number) for number in range(8)]
    for part in parts:
        part.touch()
    before = umask(0o027)
    try:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(storage.complete, parts, [tmp_path / "new" for _ in parts]))
        assert umask(0o027) == 0o027
    finally:
        umask(before)
    assert {part.stat().st_mode & 0o777 for part in parts} == {0o640}


def test_files_and_folders_are_made_where_the_file_system_knows_no_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on some shares of a network; what a killed run leaves there stays."""

    def unable(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    for text in ("old", "new"):
        with atomic_write(tmp_path / "a", overwrite=True) as part:
            part.write_text(text)
        with transaction(overwrite=True) as appear:
            appear(tmp_path / "b").write_text(text)
    with storage.TemporaryFolder(tmp_path) as one, storage.TemporaryFolder(tmp_path) as two:
        assert one.is_dir() and two.is_dir()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a": "new", "b": "new"}


def test_a_part_is_its_owners_alone_whatever_is_allowed(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        with temporary_file(tmp_path / "a") as part:
            assert part.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.webm", ".webm"),
        ("a", ""),
        (f"a.{'b' * 16}", f".{'b' * 16}"),
        (f"a.{'b' * 17}", ""),
        ("a.m-4", ""),
    ],
)
def test_a_part_ends_like_its_file_where_that_is_a_plain_word(
    tmp_path: Path, name: str, ending: str
) -> None:
    with temporary_file(tmp_path / name) as part:
        assert part.name.endswith(MARK + ending) and PART.fullmatch(part.name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    part = temporary_file(tmp_path / "file" / "sub" / "a.mp4")
    with pytest.raises(MasqueradeError, match="cannot be written") as caught, part:
        pass
    assert caught.value.exit_code == 1


def test_of_the_current_folder_the_whole_path_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(storage, "create_locked", refuse)
    part = temporary_file(Path("a.mp4"))
    with pytest.raises(MasqueradeError) as caught, part:
        pass
    said = f"{tmp_path} cannot be written: Permission denied; choose another folder, as with -o."
    assert str(caught.value) == said


def test_a_full_disk_is_said_and_leaves_what_was_there(
    tmp_path: Path,
    made: Callable[[str], Anonymizer],
    full_after: Callable[[int], AbstractContextManager[None]],
) -> None:
    many = {"weights": torch.rand(5000)}
    (tmp_path / "a").write_bytes(b"old")
    for write in (
        lambda part: part.write_bytes(bytes(5000)),
        lambda part: save_tensors(many, part),
        lambda part: write_weights(made("vita"), part),
    ):
        with (
            full_after(1000),
            pytest.raises(MasqueradeError, match="a cannot be written: File too large"),
            atomic_write(tmp_path / "a", overwrite=True) as part,
        ):
            write(part)
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    with full_after(1000), pytest.raises(MasqueradeError, match="a cannot be written: File too"):
        save(made("vita"), tmp_path / "a")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    save(made("vita"), tmp_path / "a")
    assert load(tmp_path / "a").trained
    with pytest.raises(ConnectionError), atomic_write(tmp_path / "b"):  # it has its own words
        raise ConnectionResetError(errno.ECONNRESET, "reset")


@pytest.mark.parametrize("links", [True, False])
def test_nothing_that_came_meanwhile_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(*paths: Any) -> None:
        raise PermissionError

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    part, dst = tmp_path / "part", tmp_path / "dst"
    part.write_bytes(b"new")
    dst.write_bytes(b"theirs")
    with pytest.raises(UsageError):
        publish(part, dst, overwrite=False)
    assert (part.read_bytes(), dst.read_bytes()) == (b"new", b"theirs")
    dst.unlink()
    publish(part, dst, overwrite=False)
    assert dst.read_bytes() == b"new"
    part.unlink(missing_ok=True)
    part.write_bytes(b"newer")
    publish(part, dst, overwrite=True)
    assert dst.read_bytes() == b"newer" and not part.exists()


@pytest.mark.parametrize(("number", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_names_are_put_on_the_disk_where_the_file_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, fails: bool
) -> None:
    def sync(handle: int) -> None:
        raise OSError(number, "no")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fsync", sync)
    if fails:
        with pytest.raises(OSError, match="no"):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_temporary_folder_is_private_locked_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    held = TemporaryFolder()
    assert held.path.parent == tmp_path and held.path.stat().st_mode & 0o777 == 0o700
    (held.path / "a").write_bytes(b"a")
    with TemporaryFolder() as other:  # leaves the one alone that is in use
        assert other != held.path and (held.path / "a").exists()
        (other / "b").write_bytes(b"b")
    assert not other.exists() and (held.path / "a").exists()
    gone = held.path
    del held
    gc.collect()
    assert not gone.exists()
    stale = tmp_path / f"{TEMPORARY}{'f' * 16}"
    stale.mkdir()
    (stale / "raw").write_bytes(b"raw")
    os.symlink(tmp_path / "kept", tmp_path / f"{TEMPORARY}{'e' * 16}")
    (tmp_path / "kept").mkdir()
    with TemporaryFolder():
        assert not stale.exists() and (tmp_path / "kept").exists()


def test_a_temporary_folder_is_held_where_folders_cannot_be_locked_between_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a lock of a folder holds on one machine alone."""
    flock = fcntl.flock

    def of_files(handle: int, operation: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", of_files)
    with TemporaryFolder(tmp_path) as first:
        (first / "source.mp4").write_bytes(b"raw")
        with TemporaryFolder(tmp_path):
            assert (first / "source.mp4").exists()
    assert not list(tmp_path.iterdir())


def test_messages_name_the_file_and_not_its_part(tmp_path: Path) -> None:
    with temporary_file(tmp_path / "a.mp4") as part:
        said = with_final_name(f"{part} and {part.name} fail", tmp_path / r"\1.mp4")
    assert said == rf"{tmp_path}/\1.mp4 and \1.mp4 fail"


def test_a_temporary_folder_that_is_taken_for_stale_at_once_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another process that tidies up between its making and its lock."""
    real, removed = os.open, []

    def late(path: Any, *more: Any, **named: Any) -> int:
        if not removed and str(path).startswith(str(tmp_path)):
            removed.append(Path(path).parent)
            os.rmdir(removed[0])
        return real(path, *more, **named)

    monkeypatch.setattr(os, "open", late)
    with TemporaryFolder(tmp_path) as folder:
        assert removed and folder.is_dir() and folder not in removed

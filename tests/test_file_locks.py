"""Locks of folders: one process at a time, and nothing that stays behind."""

import errno
import fcntl
from pathlib import Path

import pytest

from masquerade.errors import MasqueradeError, UsageError
from masquerade.file_locks import LOCK, claim_folder


def test_a_folder_is_held_by_one_at_a_time_and_nothing_is_left_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "new"
    with claim_folder(folder, "busy"):
        with pytest.raises(UsageError, match="busy"), claim_folder(folder, "busy"):
            pass
        assert [one.name for one in folder.iterdir()] == [LOCK]
    assert list(folder.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(MasqueradeError, match="file cannot be written"):
        claim_folder(tmp_path / "file", "").__enter__()

    def unable(handle: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", unable)
    with claim_folder(folder, "busy"), claim_folder(folder, "busy"):
        pass


def test_a_lock_that_was_removed_while_it_was_taken_holds_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file that has gone it says nothing: the next one would make another, and hold that."""
    flock, taken = fcntl.flock, []

    def late(handle: int, operation: int) -> None:
        if not taken:
            (tmp_path / LOCK).unlink()
        taken.append(handle)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with claim_folder(tmp_path, "busy"):
        assert len(taken) == 2
        with pytest.raises(UsageError, match="busy"), claim_folder(tmp_path, "busy"):
            pass

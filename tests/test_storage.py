"""Files appear whole, under names that are theirs, and nobody else's file is removed."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from masquerade.errors import UsageError
from masquerade.storage import (
    MARK,
    TEMPORARY,
    TemporaryFolder,
    atomic_write,
    refuse_existing,
    remove_stale_files,
)


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
        assert part.exists() and part not in swept[:1]
        part.write_text("whole")
    with TemporaryFolder() as folder:
        assert folder.is_dir() and folder not in swept[2:3]
    assert (tmp_path / "a.csv").read_text() == "whole" and len(swept) == 4

"""Where outputs may be written: what they may replace, and which names are one file."""

import os
import socket
from pathlib import Path

import pytest

from masquerade import output_paths
from masquerade.errors import UsageError
from masquerade.output_paths import folds_case, place_keys, refuse_existing
from masquerade.storage import atomic_write


def test_the_same_file_has_the_same_key(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    keys = place_keys([tmp_path / "real" / "a", tmp_path / "link" / "a", tmp_path / "real" / "b"])
    assert keys[0] == keys[1] != keys[2]
    (tmp_path / "real" / "b").symlink_to(tmp_path / "real" / "a")  # a link is a place of its own
    assert place_keys([tmp_path / "real" / "b"]) == [keys[2]]


@pytest.mark.parametrize("folds", [True, False])
def test_names_that_differ_in_case_are_one_where_the_file_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool
) -> None:
    asked = []
    monkeypatch.setattr(output_paths, "folds_case", lambda folder: asked.append(folder) or folds)
    paths = [tmp_path / name for name in ("A", "a", "caf\u00e9", "cafe\u0301", "b")]
    keys = place_keys(paths)
    assert len(set(keys)) == (3 if folds else 5) and keys[4] == str(paths[4])
    assert set(asked) == {tmp_path}
    assert place_keys([paths[0], paths[0]]) == [str(paths[0])] * 2 and len(asked) == 4


def test_case_is_tried_in_the_nearest_folder_that_is_there(tmp_path: Path) -> None:
    there = os.path.exists(str(tmp_path).upper())
    assert folds_case(tmp_path / "to" / "be" / "made") == folds_case(tmp_path) == there
    assert not list(tmp_path.iterdir())
    assert folds_case(Path("/proc/self/nothing"))  # where nothing can be written


def test_what_an_output_may_replace(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "good").symlink_to(tmp_path / "a")
    refuse_existing(tmp_path / "none", overwrite=False)
    refuse_existing(tmp_path / "a" / "below-a-file", overwrite=False)
    for name in ("a", "good"):
        refuse_existing(tmp_path / name, overwrite=True)
        with pytest.raises(UsageError, match="exists already"):
            refuse_existing(tmp_path / name, overwrite=False)
    for overwrite in (False, True):
        with pytest.raises(UsageError, match=r"is a folder; name a file\.$"):
            refuse_existing(tmp_path, overwrite=overwrite)
        with pytest.raises(UsageError, match=r"name a file, or end the name with a slash\.$"):
            refuse_existing(tmp_path, overwrite=overwrite, folders=True)
        with pytest.raises(UsageError, match="cannot be a file's name"):
            refuse_existing(tmp_path / "a\0b", overwrite=overwrite)


@pytest.mark.parametrize("overwrite", [False, True])
def test_no_file_replaces_a_device_a_pipe_or_a_socket(tmp_path: Path, overwrite: bool) -> None:
    """Root could rename one over /dev/null, which then fills up for every other program."""
    os.mkfifo(tmp_path / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    (tmp_path / "link").symlink_to("/dev/null")
    (tmp_path / "stdout").symlink_to("/proc/self/fd/1")
    for name in ("pipe.mp4", "socket", "link", "stdout", "/dev/null", "/dev/zero"):
        path = tmp_path / name
        mode = path.lstat().st_mode
        with pytest.raises(UsageError, match=r"is a device, a pipe .*; choose another --report\.$"):
            refuse_existing(path, overwrite=overwrite, flag="--report")
        with (
            pytest.raises(UsageError, match="a device, a pipe"),
            atomic_write(path, overwrite=overwrite),
        ):
            pass
        assert path.lstat().st_mode == mode

"""A pickle of arrays is read; one that would do anything else does nothing."""

from __future__ import annotations

import pickle
import resource
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masquerade.datasets import restricted_pickle as pickled
from masquerade.datasets.restricted_pickle import read_arrays
from masquerade.errors import UsageError


def stored(tmp_path: Path, what: Any, protocol: int = 4) -> Path:
    path = tmp_path / "labels.pickle"
    path.write_bytes(what if isinstance(what, bytes) else pickle.dumps(what, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", ["i8", ">i4", "f4", "u1", "b1"])
def test_arrays_come_back_as_they_were(tmp_path: Path, protocol: int, kind: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(kind)
    for given in (array, np.asfortranarray(array)):
        read = read_arrays(stored(tmp_path, {"a/b.mp4": given}, protocol))["a/b.mp4"]
        assert read.dtype == given.dtype
        np.testing.assert_array_equal(read, given)


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


class Shell:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("kind", [Evil, Shell])
def test_a_malicious_pickle_does_not_run(tmp_path: Path, kind: type) -> None:
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(kind(mark)))
    assert mark.exists()  # the attack is real: plain pickle runs it
    mark.unlink()
    path = stored(tmp_path, {"a": np.zeros(5), "b": kind(mark)})
    with pytest.raises(UsageError, match="nothing of it was used: it asks for"):
        read_arrays(path)
    assert not mark.exists()


def name(module: str, attribute: str) -> bytes:
    return b"c" + module.encode() + b"\n" + attribute.encode() + b"\n"


RECONSTRUCT = name("numpy.core.multiarray", "_reconstruct")


@pytest.mark.parametrize(
    "program",
    [
        name("builtins", "eval") + b"(S'1'\ntR.",
        name("numpy.core.multiarray", "_reconstruct.__globals__") + b".",
        name("numpy", "load") + b"(S'x'\ntR.",
        name("numpy", "save") + b".",
        # BUILD with a slot state would call setattr on the admitted function itself.
        RECONSTRUCT + b"(N}S'_function'\nN" + b"stb.",
        RECONSTRUCT + b"}S'_function'\nNsb.",
        name("numpy", "ndarray") + b"}S'real'\nNsb.",
        b"]q\x00.",
        b"}K\x01K\x02s.",
        b"}S'a'\nK\x02s.",
        b"",
        b"not a pickle",
    ],
)
def test_no_program_gets_further_than_arrays(tmp_path: Path, program: bytes) -> None:
    before = {key: value for key, value in vars(pickled).items() if key.startswith("_")}
    with pytest.raises(UsageError, match="is not a plain dict"):
        read_arrays(stored(tmp_path, program))
    assert before.items() <= vars(pickled).items()
    good = {"a": np.arange(3)}  # and the reader is unharmed
    assert read_arrays(stored(tmp_path, good))["a"].tolist() == [0, 1, 2]


def test_object_arrays_and_wrong_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither number nor flag"):
        read_arrays(stored(tmp_path, {"a": np.array([{}], dtype=object)}))
    raw = pickle.dumps({"a": np.zeros(3, dtype="<i8")}, protocol=4)
    short = raw.replace(struct.pack("<I", 0) or b"", b"", 0).replace(b"K\x03\x85", b"K\x04\x85")
    assert short != raw
    with pytest.raises(UsageError, match="has 24 bytes"):
        read_arrays(stored(tmp_path, short))


def test_a_number_in_place_of_bytes_allocates_nothing(tmp_path: Path) -> None:
    program = (
        b"}S'a'\n"
        + name("numpy._core.numeric", "_frombuffer")
        + b"(L99999999999L\n"
        + name("numpy", "dtype")
        + b"(S'i8'\ntR(L12500000000L\ntS'C'\ntRs."
    )
    with pytest.raises(UsageError, match="something other than bytes"):
        read_arrays(stored(tmp_path, program))


def test_a_number_of_a_remembered_object_allocates_nothing(tmp_path: Path) -> None:
    """The unpickler in C has an array as long as the largest number: here of 4 GB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_arrays(stored(tmp_path, b"\x80\x02}r\xff\xff\xff\x0f.")) == {}
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**20  # kilobytes


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file"):
        read_arrays(tmp_path / "none.pickle")

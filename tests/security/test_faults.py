"""`benchmarks/faults.py`: whatever strikes a run, nothing raw is left and it can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
FEW = [  # one of each kind, spread over stages and ways of running
    ("kill", "publish last", "overwrite"),
    ("term", "encode", "exports"),
    ("hang-up", "compare", "folder"),
    ("disk full", "receipt", "exports"),
    ("rights", "encode", "single"),
    ("rights", "publish last", "single"),
    ("memory", "decode", "resume"),
    ("clock", "detect", "single"),
    ("NaN", "method", "single"),
    ("error", "publish last", "overwrite"),
]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    import sys

    monkeypatch.syspath_prepend(BENCHMARKS)
    import faults  # type: ignore[import-not-found]

    yield faults
    sys.modules.pop("faults", None)


def test_what_is_raw_is_found(faults: ModuleType, tmp_path: Path) -> None:
    """In whole files and in partial ones, in tags, packets and pixels, or the search shows
    nothing."""
    from canaries import MARKS  # type: ignore[import-not-found]

    known = faults.make_reference(tmp_path)
    source = (tmp_path / "a.mp4").read_bytes()
    start, index = source.index(b"mdat") - 4, source.index(b"moov") - 4
    place = tmp_path / "out"
    place.mkdir()

    def found(name: str, content: bytes, *, bare: bool = False) -> bool:
        (place / name).write_bytes(content)
        wanted = [] if bare else known["canaries"]
        said = faults.raw([place], wanted, known["parameters"])
        (place / name).unlink()
        return bool(said)

    assert start < index and len(faults.pictures(tmp_path / "a.mp4")) == faults.FRAMES
    assert found(".part.mp4", source, bare=True)
    assert found(".part.mp4", source[:index], bare=True)  # its index was never written
    assert found(".part.mp4", source[: (start + index) // 2], bare=True)
    assert found("packets", source[start + 500 : start + 1100])
    assert found("x.json", b'{"title": "' + MARKS[0].encode() + b'"}')
    rows = [piece for piece in known["canaries"] if len(piece) in (48, 72)]
    assert rows and all(found("frames.bin", b"\0" * 99 + row + b"\0" * 99) for row in rows[:6])
    black = bytes(source[:start]) + bytes(600)
    assert not found(".part.mp4", black[40:]) and not found("x.json", b'{"frames": 8}')


@pytest.mark.slow
def test_every_kind_of_fault_leaves_nothing_half_made_and_can_be_repeated(
    faults: ModuleType,
) -> None:
    tally = faults.inject([faults.Case(*words) for words in FEW])
    assert not tally.failures
    assert tally.cases.total() + tally.left_out.total() == len(FEW)


@pytest.mark.slow
def test_thirty_faults_leave_nothing_half_made(faults: ModuleType) -> None:
    """Drawn of all; `benchmarks/faults.py` injects a thousand."""
    cases = faults.all_cases(1, 3)
    random.Random(1).shuffle(cases)
    tally = faults.inject(cases[:30])
    assert not tally.failures
    assert tally.cases.total() + tally.left_out.total() == 30

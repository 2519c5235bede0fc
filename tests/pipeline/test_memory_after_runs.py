"""What a run took is given back at its end, however it ends."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

import masquerade
from masquerade.anonymizer import Anonymizer, Card
from masquerade.errors import OutputError, VideoError
from masquerade.pipeline import file_outcome, memory, single_file
from masquerade.pipeline.batch import anonymize_batch
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.plan import plan_tasks


class ReturnsItsInput(Anonymizer):
    """A method that hides nothing, or raises."""

    card = Card("", "", "", "")

    def __init__(self, *, fails: bool = False) -> None:
        super().__init__()
        self.fails = fails

    def forward(self, clip: Any, *, mask: Any = None, state: Any = None) -> Any:
        if self.fails:
            raise ArithmeticError("no frame")
        return masquerade.Anonymized(clip, mask, state)


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Nothing but what goes by itself goes: Python's garbage collector does not run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.skipif(memory._TRIM is None, reason="another C library than glibc")
def test_what_threads_freed_goes_back_to_the_system() -> None:
    """In a process of its own: in one that ran other tests older arenas have room for it."""
    code = """
        import threading
        from pathlib import Path
        import numpy as np
        from masquerade.pipeline.memory import give_memory_back

        def resident():  # MB of this process's own memory that are in use or kept free
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(int(one.split()[1]) / 1024 for one in lines if one.startswith("RssAnon:"))

        kept = []

        def work():
            frames = [np.ones(100_000, np.uint8) for _ in range(400)]  # of the thread's arena
            kept.append([np.ones(2000, np.uint8) for _ in range(50)])  # behind them: they stay
            del frames

        for _ in range(3):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        before = resident()
        give_memory_back()
        assert resident() < before - 20, (before, resident())
        assert all((rows == 1).all() for part in kept for rows in part)
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


@pytest.mark.skipif(memory._MALLOPT is None, reason="another C library than glibc")
def test_the_threads_of_a_run_add_no_arena(clip: Path, tmp_path: Path) -> None:
    code = """
        import ctypes, sys
        import masquerade
        anonymize, method = masquerade.anonymize_file, masquerade.build("selective")
        c = ctypes.CDLL(None)
        c.malloc_info(0, ctypes.c_void_p.in_dll(c, "stdout"))
        anonymize(sys.argv[1], sys.argv[2], method, regions="frame")
        c.malloc_info(0, ctypes.c_void_p.in_dll(c, "stdout"))
    """
    words = [sys.executable, "-c", dedent(code), str(clip), str(tmp_path / "o.mp4")]
    told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    before, after = (part.count("<heap nr=") for part in told.split("</malloc>")[:2])
    assert 1 <= after <= before


@pytest.mark.parametrize(
    ("source", "method", "error"),
    [
        ("person.mp4", "blacken", None),
        ("missing.mp4", "blacken", VideoError),
        ("person.mp4", ReturnsItsInput(), OutputError),
        ("person.mp4", ReturnsItsInput(fails=True), ArithmeticError),
    ],
)
def test_memory_is_given_back_however_a_run_ends(
    source: str,
    method: Any,
    error: type[Exception] | None,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(masquerade.METHODS, "returns-its-input", ReturnsItsInput)
    given: list[list[Path]] = []
    monkeypatch.setattr(
        single_file, "give_memory_back", lambda: given.append(list(tmp_path.iterdir()))
    )
    anonymizer = masquerade.build(method) if isinstance(method, str) else method
    arguments: Any = clip.parent / source, tmp_path / "o.mp4", anonymizer
    if error is None:
        masquerade.anonymize_file(*arguments, regions="frame", receipt=False)
    else:
        with pytest.raises(error):
            masquerade.anonymize_file(*arguments, regions="frame")
    assert given == [[] if error else [tmp_path / "o.mp4"]]


def test_memory_is_given_back_after_each_file_of_a_batch(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "foreign.mp4").write_bytes(b"no video " * 99)
    given: list[int] = []
    monkeypatch.setattr(file_outcome, "give_memory_back", lambda: given.append(1))
    config = PipelineConfig(regions="frame")
    pipeline = build_pipeline(masquerade.build("blacken"), config)
    tasks = plan_tasks([str(tmp_path / "foreign.mp4"), str(clip)], output=f"{tmp_path / 'out'}/")
    seen = [(one.status, len(given)) for one in anonymize_batch(tasks, pipeline)]
    assert seen == [("failed", 1), ("done", 2)]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("fails", [True, False])
def test_an_error_of_a_run_keeps_nothing_of_it(
    fails: bool, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[weakref.ref[Any]] = []
    run = single_file.FileRun.run

    def watched(self: Any) -> Any:
        runs.append(weakref.ref(self))
        return run(self)

    monkeypatch.setattr(single_file.FileRun, "run", watched)
    monkeypatch.setitem(masquerade.METHODS, "returns-its-input", ReturnsItsInput)
    method = ReturnsItsInput(fails=fails)
    with suppress(ArithmeticError, OutputError):  # `pytest.raises` would keep the error
        masquerade.anonymize_file(clip, tmp_path / "o.mp4", method, regions="frame")
    assert len(runs) == 1 and runs[0]() is None

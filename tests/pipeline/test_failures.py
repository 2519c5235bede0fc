"""A file that fails, for whatever reason, is one sentence and one code, and the others go on."""

from __future__ import annotations

import codecs
import io
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

import masquerade
from masquerade.cli import main
from masquerade.errors import UsageError, VideoError
from masquerade.pipeline import batch, file_outcome
from masquerade.pipeline.batch import anonymize_batch
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.file_outcome import FileOutcome, exit_code
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.plan import plan_tasks
from masquerade.process_pool import children_without
from masquerade.storage import MARK
from masquerade.text import escape
from masquerade.video.write import write_video

BLACK = ("--method", "blacken", "--regions", "frame", "--no-progress")


def write_pattern(path: Path, *, width: int = 64) -> Path:
    write_video(path, torch.rand(1, 3, 5, 48, width, generator=torch.manual_seed(0)))
    return path


@pytest.mark.parametrize("how", ["written to", "replaced"])
def test_a_source_that_changes_while_it_is_read_is_not_published(tmp_path: Path, how: str) -> None:
    """Its receipt would hold the digest of a file that nobody anonymized."""
    src, out = write_pattern(tmp_path / "in.mkv"), tmp_path / "o" / "out.mp4"
    other = shutil.copy(src, tmp_path / "other.mkv")

    def change(done: int, _: int | None) -> None:
        if done == 2 and how == "replaced":
            os.replace(other, src)
        elif done == 2:
            with src.open("ab") as file:
                file.write(b"\xec\x80")

    blacken = masquerade.build("blacken")
    with pytest.raises(VideoError, match=r"in\.mkv changed while it was read; anonymize it when"):
        masquerade.anonymize_file(src, out, blacken, regions="frame", progress=change)
    assert not list(out.parent.iterdir())


def with_sound_of(codec: bytes, path: Path) -> Path:
    """An mp4 whose second stream is of a codec that FFmpeg does not know."""
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate=25), out.add_stream("aac", rate=48000)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8))
            out.mux(video.encode(picture))
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.float32), "fltp", "mono")
        tone.sample_rate = 48000
        out.mux([*sound.encode(tone), *sound.encode(None), *video.encode(None)])
    data = path.read_bytes()
    path.write_bytes(data.replace(b"mp4a", codec, 1).replace(b"esds", b"free"))
    return path


@pytest.mark.parametrize("codec", [b"apac", b"ac-4", b"mha1", b"zzzz"])
def test_sound_of_an_unknown_codec_is_dropped_or_refused(
    tmp_path: Path, codec: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    source = with_sound_of(codec, tmp_path / "a.mp4")
    receipt = masquerade.anonymize_file(
        source, tmp_path / "b.mp4", masquerade.build("blacken"), regions="frame"
    )
    assert "stream1 (audio, unknown)" in receipt.removed
    for audio in ("keep", "pitch"):
        words = ["anonymize", str(source), "-o", str(tmp_path / "c.mp4"), "--audio", audio, *BLACK]
        assert main(words) == 2
        assert "--audio drop" in capsys.readouterr().err
    assert not (tmp_path / "c.mp4").exists()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        RuntimeError("one\ntwo"),
        AttributeError("name"),
        OSError(5, "I/O"),
        EOFError(),
    ],
)
def test_any_failure_of_one_file_is_one_sentence_and_the_others_go_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_pattern(tmp_path / name)
    run_file = file_outcome.run_file

    def failing(src: Path, *rest: Any, **more: Any) -> Any:
        if src.name == "b.mp4":
            raise error
        return run_file(src, *rest, **more)

    monkeypatch.setattr(file_outcome, "run_file", failing)
    assert main(["anonymize", str(tmp_path), "-o", str(tmp_path / "o"), *BLACK]) == 1
    done = capsys.readouterr()
    (line,) = done.err.splitlines()
    assert "b.mp4" in line and "Traceback" not in line and line.endswith(".")
    assert ("not enough memory" in line) == ("emory" in f"{type(error).__name__} {error}")
    assert {p.name for p in (tmp_path / "o").glob("*.mp4")} == {"a.mp4", "c.mp4"}


def test_where_an_error_arose_that_is_not_foreseen_is_printed_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("odd\x1b[31m")

    source = write_pattern(tmp_path / "a.mp4")
    words = ["anonymize", str(source), "-o", str(tmp_path / "o.mp4"), *BLACK]
    monkeypatch.setattr(file_outcome, "run_file", failing)
    assert main(words) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(
        "(RuntimeError: odd\\x1b[31m); leave it out, and report it with what --verbose prints."
    )
    assert main([*words, "--verbose"]) == 1
    said, *lines = capsys.readouterr().err.splitlines()
    assert said == line and lines[0] == "Traceback (most recent call last):"
    assert any(one.endswith("in failing") for one in lines)
    assert lines[-1] == "RuntimeError: odd\\x1b[31m"


def die_at_96(frames: np.ndarray, *, mask: Any = None, state: Any = None) -> Any:
    """Stands for a codec or a driver that takes its process along."""
    if frames.shape[2] == 96:
        os._exit(11)
    return np.zeros_like(frames), state


@pytest.mark.slow
def test_a_process_that_dies_takes_no_other_file_along(tmp_path: Path) -> None:
    for name, width in (("a.mp4", 64), ("b.mp4", 96), ("caf\udce9.mp4", 64)):
        write_pattern(tmp_path / "p.mp4", width=width).rename(tmp_path / name)
    method = masquerade.build("mask-mean")
    method.on_bytes = die_at_96
    tasks = plan_tasks([str(tmp_path)], output=str(tmp_path / "o"))
    pipeline = build_pipeline(method, PipelineConfig(regions="frame", threads=1))
    outcomes = list(anonymize_batch(tasks, pipeline, workers=2))
    assert {o.task.src.name: o.status for o in outcomes} == {
        "a.mp4": "done",
        "b.mp4": "failed",
        "caf\udce9.mp4": "done",
    }
    assert exit_code(outcomes) == 1
    assert [o.error for o in outcomes if o.error] == [
        "its worker process died, perhaps for want of memory; use fewer --workers."
    ]


def die_after_two(frames: np.ndarray, *, mask: Any = None, state: Any = None) -> Any:
    """Its process is gone when its output is begun."""
    if state == 2:
        os._exit(11)
    return np.zeros_like(frames), 1 + (state or 0)


@pytest.mark.slow
def test_workers_that_die_leave_nothing_half_made(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / name, torch.rand(1, 3, 200, 48, 64, generator=torch.manual_seed(0)))
    method = masquerade.build("mask-mean")
    method.on_bytes = die_after_two
    tasks = plan_tasks([str(tmp_path)], output=str(tmp_path / "o"))
    config = PipelineConfig(regions="frame", threads=1)
    outcomes = list(anonymize_batch(tasks, build_pipeline(method, config), workers=2))
    assert [one.status for one in outcomes] == ["failed", "failed"]
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("regions", ["faces", "people"])
def test_a_worker_builds_its_region_source_once_and_a_failed_file_leaves_it_usable(
    half_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, regions: str
) -> None:
    tasks = [FileTask(half_size, tmp_path / f"{name}.mp4") for name in "abc"]
    method = masquerade.build("blacken")
    config = PipelineConfig(regions=regions, threads=1, preview=0.4)
    pipeline = build_pipeline(method, config)._replace(regions=None)
    built, real, hide, seen = [], batch.with_region_source, method.on_bytes, []

    def hide_or_fail(pixels: np.ndarray, **given: Any) -> Any:
        seen.append(1)
        if len(seen) == 14:  # of the second file's ten frames the fourth
            raise RuntimeError("it broke off")
        return hide(pixels, **given)

    monkeypatch.setattr(method, "on_bytes", hide_or_fail)
    monkeypatch.setattr(batch, "_regions", [])
    monkeypatch.setattr(batch, "with_region_source", lambda one: built.append(1) or real(one))
    first, broken, last = (
        batch._run_in_worker(lambda: pipeline, task, pipeline.config) for task in tasks
    )
    assert "it broke off" in broken.error and len(built) == 1
    assert [one.status for one in (first, broken, last)] == ["done", "failed", "done"]
    assert first.receipt is not None and last.receipt is not None
    assert first.receipt.coverage == last.receipt.coverage
    assert first.receipt.output.sha256 == last.receipt.output.sha256


class LosingPool:
    """Does files at once; of the first pool the outcomes are lost, as where another worker dies."""

    made = 0

    def __init__(self, *_: Any, **__: Any) -> None:
        LosingPool.made += 1
        self.lost = LosingPool.made == 1

    def __enter__(self) -> LosingPool:
        return self

    def __exit__(self, *_: Any) -> None:
        pass

    def submit(self, _: Any, *given: Any) -> Future[FileOutcome]:
        future: Future[FileOutcome] = Future()
        load, task, config = given
        outcome = batch.run_task(task, load()._replace(config=config))
        if self.lost:
            future.set_exception(BrokenProcessPool())
        else:
            future.set_result(outcome)
        return future


def test_a_file_that_was_done_when_another_worker_died_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch, "worker_pool", LosingPool)
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_pattern(tmp_path / name)
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "c.mp4").write_bytes(b"somebody's")
    tasks = plan_tasks([str(tmp_path)], output=str(tmp_path / "o"))
    pipeline = build_pipeline(
        masquerade.build("blacken"), PipelineConfig(regions="frame", threads=1)
    )
    outcomes = {o.task.src.name: o for o in anonymize_batch(tasks, pipeline, workers=2)}
    assert LosingPool.made == 4, "each is run again in a pool of its own"
    assert {name: one.status for name, one in outcomes.items()} == {
        "a.mp4": "done",
        "b.mp4": "done",
        "c.mp4": "failed",
    }
    assert (tmp_path / "o" / "c.mp4").read_bytes() == b"somebody's"
    assert "exists" in outcomes["c.mp4"].error


def test_a_batch_that_is_left_ends_no_other_child_of_the_program(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_pattern(tmp_path / name)
    tasks = plan_tasks([str(tmp_path)], output=str(tmp_path / "o"))
    config = PipelineConfig(regions="frame", threads=1)
    pipeline = build_pipeline(masquerade.build("blacken"), config)
    start = multiprocessing.get_context("spawn").Process
    before, meanwhile = (start(target=time.sleep, args=(600,)) for _ in range(2))
    before.start()
    try:
        outcomes = anonymize_batch(tasks, pipeline, workers=2)
        assert next(outcomes).status == "done"
        meanwhile.start()
        outcomes.close()
        assert set(multiprocessing.active_children()) == {before, meanwhile}
    finally:
        for child in multiprocessing.active_children():
            child.kill()
            child.join()


def test_a_signal_that_a_library_swallowed_ends_the_worker_after_its_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody would end it later, as it heeds the first signal alone."""
    ended: list[int] = []
    monkeypatch.setattr(batch, "_received_signals", [])
    monkeypatch.setattr(os, "_exit", ended.append)
    outcome = FileOutcome(FileTask(Path("a"), Path("b")), "done")

    def swallowing(*_: Any, **__: Any) -> FileOutcome:
        batch._received_signals.append(signal.SIGHUP)
        return outcome

    monkeypatch.setattr(batch, "run_task", lambda *_, **__: outcome)
    pipeline = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame"))
    given: Any = (lambda: pipeline, outcome.task, pipeline.config)
    assert batch._run_in_worker(*given) is outcome and not ended
    monkeypatch.setattr(batch, "run_task", swallowing)
    batch._run_in_worker(*given)
    assert ended == [129] and not batch._busy.is_set()


def test_a_signal_that_comes_while_another_is_handled_takes_nothing_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both said that they were the second, and the worker finished its file."""
    handlers: dict[int, Any] = {}

    class Ended(list[int]):
        def append(self, number: int) -> None:
            super().append(number)
            if len(self) == 1:  # Python hears signals behind each call
                handlers[signal.SIGTERM](signal.SIGTERM, None)

    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_DFL)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(batch, "end_with_parent", lambda: None)
    monkeypatch.setattr(batch, "_received_signals", Ended())
    monkeypatch.setattr(batch, "_busy", threading.Event())
    batch._busy.set()
    batch._exit_on_signals()
    with pytest.raises(SystemExit):
        handlers[signal.SIGHUP](signal.SIGHUP, None)
    assert batch._received_signals == [signal.SIGHUP, signal.SIGTERM]
    handlers[signal.SIGINT](signal.SIGINT, None)  # and a later one does not interrupt the removal


def test_a_worker_heeds_no_signal_that_its_parent_ignores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As nohup has it for SIGHUP. By SIGTERM the parent ends its workers, whatever it ignores."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in batch.END_SIGNALS}
    try:
        with children_without(batch.END_SIGNALS):
            during = [signal.getsignal(number) for number in batch.END_SIGNALS]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert during == [signal.SIG_IGN] * len(during)
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(signal, "getsignal", lambda _: signal.SIG_IGN)
    monkeypatch.setattr(signal, "pthread_sigmask", lambda *_: None)
    monkeypatch.setattr(batch, "end_with_parent", lambda: None)
    batch._exit_on_signals()
    assert list(handlers) == [signal.SIGTERM]


@pytest.mark.slow
def test_a_hang_up_under_nohup_ends_no_worker(clip: Path, tmp_path: Path) -> None:
    """All workers ended, and the rest was done one file at a time."""
    for name in ("a.mp4", "b.mp4", "c.mp4", "d.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    out, record = tmp_path / "out", tmp_path / "record"
    words = ["anonymize", str(tmp_path), "-o", str(out), "--workers", "2", "--record", str(record)]
    process = subprocess.Popen(
        ["nohup", sys.executable, "-m", "masquerade", *words, *BLACK],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not any(out.glob(f".*{MARK}*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait(120) == 0
    done = [json.loads(line) for line in record.read_text().splitlines()]
    assert [one["status"] for one in done] == ["done"] * 4
    assert len({one["worker"] for one in done}) <= 2


NAMES = [b"caf\xe9.mp4", b"\x1b]0;owned\x07\x1b[31m.mp4", b"two\nlines.mp4", b"\xe2\x80\xaegpj.mp4"]


def test_names_of_any_bytes_lose_nothing_and_reach_no_terminal(
    called: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    content = write_pattern(tmp_path / "p.mp4").read_bytes()
    names = [*NAMES, b"z.mp4"]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)
    words = ("anonymize", folder, "-o", "o", *BLACK)
    for code, more in ((0, ["-v"]), (1, []), (0, ["-y", "--json"]), (0, ["-y", "--dry-run"])):
        done = called(*words, *more)
        assert done.returncode == code, done.stderr
        said = done.stdout + done.stderr
        assert "\\udce9" in said and ("\\x1b" in said or "--json" in more)
        assert all(char.isprintable() or char == "\n" for char in said)
    made = {os.fsencode(path.name) for path in (tmp_path / "o").iterdir()}
    assert made == {*names, *(name + b".receipt.json" for name in names)}
    for path in (tmp_path / "o").glob("*.json"):
        assert json.loads(path.read_bytes().decode())["source"]["name"].endswith(".mp4")


def test_a_list_of_names_of_any_bytes_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (NAMES[0], NAMES[3], b"a\x0bb.mp4"):
        Path(os.fsdecode(name)).touch()
    listed = b"\n".join((*(name for name in NAMES if b"\n" not in name), b"a\x0bb.mp4\r", b""))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed), encoding="ascii"))
    assert main(["anonymize", "-", "-o", "l/", "--dry-run", *BLACK]) == 0
    said = capsys.readouterr().out
    assert len(said.splitlines()) == 3 and "caf\\udce9.mp4" in said and "a\\x0bb.mp4 ->" in said


@pytest.mark.parametrize("end", [b"\r\n", b"\0"])
def test_the_mark_of_an_encoding_is_no_part_of_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], end: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.mp4").touch()
    words = ["anonymize", "-", "-o", "l/", "--dry-run", *BLACK]
    listed = codecs.BOM_UTF8 + b"a.mp4" + end
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert main(words) == 0 and capsys.readouterr().out.startswith("a.mp4 ->")
    listed = f"a.mp4{end.decode()}".encode("utf-16")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert main(words) == 2 and "UTF-16" in capsys.readouterr().err


def test_long_names_are_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pattern(tmp_path / "a.mp4")
    before = sorted(tmp_path.iterdir())
    for output in ("o" * 300 + ".mp4", "o" * 248 + ".mp4"):  # of the second only the receipt's
        assert (
            main(["anonymize", str(tmp_path / "a.mp4"), "-o", str(tmp_path / output), *BLACK]) == 2
        )
        assert "choose a shorter -o" in capsys.readouterr().err
        assert sorted(tmp_path.iterdir()) == before
    for name in ("i" * 300 + ".mp4", "i" * 300 + "*.mp4"):
        assert main(["anonymize", name, *BLACK]) in (1, 2)
        assert "Traceback" not in capsys.readouterr().err


def test_an_unreadable_file_stops_no_naming_by_content(tmp_path: Path) -> None:
    write_pattern(tmp_path / "b.mp4")
    tasks = plan_tasks([str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")], output="o", name="hash")
    assert tasks[0].dst.name == "000001.mp4" and len(tasks[1].dst.stem) == 16


def test_errors_print_no_control_characters() -> None:
    assert (
        str(UsageError("a\x1b[31m\x00\x9b\n\u202eb é 日")) == "a\\x1b[31m\\x00\\x9b\\n\\u202eb é 日"
    )
    assert escape(escape("\x07")) == "\\x07"


def test_the_command_takes_signals_before_it_loads_anything(command: Callable[..., Any]) -> None:
    code = "import sys, masquerade.cli; sys.exit(bool({'torch', 'av'} & set(sys.modules)))"
    assert command(code=code).returncode == 0
    code = """
import os, signal, sys
from masquerade.cli import main
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
sys.exit(main(["anonymize", "a.mp4"]))
"""
    done = command(code=code)
    assert done.returncode == 130 and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_an_interruption_that_a_finalizer_swallows_is_not_lost(
    command: Callable[..., Any],
) -> None:
    code = """
import os, signal, sys, time
from masquerade.cli import main
class Loses:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0)  # the exception is raised in here, where nothing can catch it
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            Loses()
sys.meta_path.insert(0, Finder())
sys.exit(main(["anonymize", "a.mp4"]))
"""
    done = command(code=code)
    assert done.returncode == 130 and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_an_interruption_waits_until_torch_is_imported(command: Callable[..., Any]) -> None:
    """Its C++ code ended the process by SIGABRT where an exception came through it."""
    code = """
import os, signal, sys
from masquerade.cli import main
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.nn":
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(1000):  # an interruption would come here
                pass
sys.meta_path.insert(0, Finder())
code = main(["anonymize", "a.mp4"])
sys.exit(code if hasattr(sys.modules["torch"], "nn") else 1)
"""
    done = command(code=code)
    assert done.returncode == 130 and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "workers"),
    [
        (signal.SIGINT, "1"),
        (signal.SIGINT, "2"),
        (signal.SIGHUP, "2"),
    ],
)
def test_a_second_signal_does_not_interrupt_the_removal(
    clip: Path, tmp_path: Path, first: signal.Signals, workers: str
) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    out = tmp_path / "out"
    words = ["anonymize", str(tmp_path), "-o", str(out), "--encoder-preset", "veryslow", *BLACK]
    start = "import sys; from masquerade.cli import main; sys.exit(main())"
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words, "--workers", workers],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not any(out.glob(f".*{MARK}*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    for number in (first, first, signal.SIGTERM, signal.SIGINT):
        os.killpg(process.pid, number)  # as a terminal does, to the workers too
        time.sleep(0.002)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.count(b"\n") == 1, said
    assert not list(out.iterdir())


@pytest.mark.slow
def test_signals_while_workers_start_are_one_sentence(clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    out = tmp_path / "out"
    words = [sys.executable, "-m", "masquerade", "anonymize", str(tmp_path), "-o", str(out), *BLACK]
    moments = ((signal.SIGINT, 0.4), (signal.SIGHUP, 1.6), (signal.SIGTERM, 3.2))
    for number, seconds in moments:
        process = subprocess.Popen(
            [*words, "--workers", "2"], stderr=subprocess.PIPE, start_new_session=True
        )
        time.sleep(seconds)
        for _ in range(2):
            with suppress(ProcessLookupError):  # a fast machine may be done by then
                os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
        assert process.returncode in (0, 130, -1, -2, -15) and said.count(b"\n") <= 1, said
        left = {path.name for path in out.iterdir()} if out.exists() else set()
        whole = [{f"{name}.mp4", f"{name}.mp4.receipt.json"} for name in "ab"]
        assert left in [set(), *whole, whole[0] | whole[1]], "nothing is half made"
        shutil.rmtree(out, ignore_errors=True)


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(clip: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    out = tmp_path / "out"
    words = ["anonymize", str(tmp_path), "-o", str(out), "--encoder-preset", "veryslow", *BLACK]
    process = subprocess.Popen(
        [sys.executable, "-m", "masquerade", *words, "--workers", "2"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not any(out.glob(f".*{MARK}*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)  # until the last of the group has closed it
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_outcomes_of_all_kinds_have_one_code() -> None:
    tasks = [FileTask(Path("a"), Path("b"))] * 2
    for codes, expected in (((1, 1), 1), ((2, 2), 1), ((1, 4), 4), ((2, 3), 3), ((4, 4), 4)):
        failed = [FileOutcome(t, "failed", "", c) for t, c in zip(tasks, codes, strict=True)]
        assert exit_code(failed) == expected


@pytest.mark.parametrize("method", ["elr", "downsample"])
def test_low_resolution_warns_of_several_frames(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    write_pattern(tmp_path / "a.mp4")
    words = ["anonymize", str(tmp_path / "a.mp4"), "--regions", "frame", "--no-progress"]
    assert main([*words, "--method", method, "-o", str(tmp_path / "b.mp4"), "-q"]) == 0
    assert "several frames together" in capsys.readouterr().err
    assert "several frames together" in (tmp_path / "b.mp4.receipt.json").read_text()

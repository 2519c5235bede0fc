"""Progress: how much is done of how much, from the start, and one time that is left."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from masquerade.cli import INTERRUPTED, main
from masquerade.cli.progress import BatchProgress, StepProgress
from masquerade.pipeline.file_outcome import FileOutcome
from masquerade.pipeline.outputs import FileTask
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.video.probe import probe_in_process


def shown(progress: BatchProgress) -> list[tuple[str, str]]:
    return [(task.description, task.fields["count"]) for task in progress.tasks]


def test_a_file_counts_frames_of_all_from_the_start() -> None:
    with BatchProgress(files=2, bar=True, quiet=False, verbose=False) as progress:
        move = progress.start_file(FileTask(Path("in/a[b].mp4"), Path("b.mp4")))
        move(0, 250)
        assert shown(progress) == [("a\\[b].mp4 (1 of 2)", "0 of 250 frames")]
        move(7, 250)
        assert shown(progress)[0][1] == "7 of 250 frames"
        move = progress.start_file(FileTask(Path("c.mkv"), Path("d.mp4")))
        move(3, None)  # nothing says how many there are
        assert shown(progress) == [("c.mkv (2 of 2)", "3 frames")]


def test_files_that_are_processed_together_are_counted() -> None:
    with BatchProgress(files=3, bar=True, quiet=True, verbose=False, together=True) as progress:
        assert shown(progress) == [("files", "0 of 3 files")]
        progress.print_outcome(FileOutcome(FileTask(Path("a.mp4"), Path("b.mp4")), "skipped"))
        assert shown(progress) == [("files", "1 of 3 files")]


def test_a_terminal_sees_frames_of_all(clip: Path, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    words = ("anonymize", clip, "-o", tmp_path / "o.mp4", "--regions", "frame")
    code = "import sys; from masquerade.cli import main; sys.exit(main())"
    run = [sys.executable, "-c", code, *map(str, words), "--method", "blacken"]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    said = b""
    with subprocess.Popen(run, stderr=theirs, stdout=subprocess.DEVNULL, env=environment) as ran:
        os.close(theirs)
        with suppress(OSError):  # the other end is closed
            while some := os.read(ours, 4096):
                said += some
    assert ran.returncode == 0
    assert b"of 25 frames" in said and b"None" not in said


def test_an_interruption_that_was_swallowed_ends_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with StepProgress(quiet=True) as progress:
        progress.follow("clip.mp4", 0, 5)
        monkeypatch.setattr(INTERRUPTED, "is_set", lambda: True)
        with pytest.raises(KeyboardInterrupt):
            progress.follow("clip.mp4", 1, 5)


def test_without_a_terminal_each_step_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with StepProgress(quiet=False) as progress:
        for done in range(4):
            progress.follow("blur: anonymizing videos", done, 4)
        progress.follow("training step", 1, 60, now="warmup", most=True)
        progress.follow("training step", 2, 60, now="warmup", most=True)
        progress.print_line("epoch 1 of at most 3")
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "blur: anonymizing videos: 4",
        "training step, warmup: at most 60",
        "epoch 1 of at most 3",
    ]
    with StepProgress(quiet=True) as progress:
        progress.follow("reading videos", 1, 2)
    assert not capsys.readouterr().err


def test_without_a_terminal_a_long_step_has_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with StepProgress(quiet=False, every=0) as progress:
        progress.follow("data and training", 0, 3, left="time left not known yet")
        progress.follow("data and training", 1, 3, now="data a", left="about 2 min left")
        progress.follow("blur: anonymizing videos", 7, 40)
        time.sleep(0.01)
        progress.follow("blur: anonymizing videos", 9, 40)
    assert capsys.readouterr().err.splitlines() == [
        "data and training, time left not known yet: 3",
        "data and training, data a, about 2 min left: 1 of 3",
        "blur: anonymizing videos: 40",
        "blur: anonymizing videos: 9 of 40",
    ]
    with StepProgress(quiet=False, every=1000) as progress:
        for done in range(3):
            progress.follow("reading videos", done, 3)
    assert capsys.readouterr().err.splitlines() == ["reading videos: 3"]


def test_a_profile_says_how_long_each_stage_was_busy(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), "--regions", "frame"]
    assert main([*words, "--method", "blacken", "--profile"]) == 0
    said = capsys.readouterr().err
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if "%" in line}
    assert {"decode", "regions", "anonymize", "convert", "encode", "check", "all"} == set(rows)
    assert rows["all"][2] == "100%" and float(rows["all"][0]) > 0


def test_a_line_says_of_each_detector_how_often_it_runs(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), "--preview", ".4"]
    assert main([*words, "--regions", "faces+text", "--method", "blacken", "--allow-empty"]) == 0
    assert "(detectors run: faces on one in 3, text on one in 5;" in capfd.readouterr().out


def test_what_detects_nothing_has_no_place_among_detectors(
    clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = probe_in_process(clip)
    with BoxWriter(tmp_path / "boxes.json", width=info.width, height=info.height) as boxes:
        boxes.add(0, [Box(2, 2, 20, 20, 1.0)])
    words = ["anonymize", str(clip), "-o", str(tmp_path / "o.mp4"), "--preview", ".2"]
    words += ["--regions", f"faces+boxes:{tmp_path / 'boxes.json'}", "--method", "blacken"]
    assert main([*words, "--allow-empty"]) == 0
    assert "(detector run on one frame in 3;" in capfd.readouterr().out

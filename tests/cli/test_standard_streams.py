"""What the command does where its standard streams are closed, full, or read no further."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = ["--method", "blacken", "--regions", "frame"]


def run(redirection: str, *words: object) -> subprocess.CompletedProcess[str]:
    """The command with its streams as a shell redirects them."""
    command = [sys.executable, "-m", "masquerade", *map(str, words)]
    shell = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command]
    return subprocess.run(shell, capture_output=True, text=True)


@pytest.mark.slow
def test_a_leak_is_told_by_the_exit_code_whoever_reads_the_words(
    clip: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    words = ["attack", clip, "--quick", "--frames", 1, "-o", page]
    read, write = os.pipe()
    os.close(read)  # as `| head -1` does after its line
    try:
        command = [sys.executable, "-m", "masquerade", *map(str, words)]
        ended = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(write)
    assert ended.returncode == 4 and page.exists()
    assert "Traceback" not in ended.stderr and "Broken" not in ended.stderr


@pytest.mark.slow
def test_a_full_disk_behind_the_words_takes_no_leak_back(clip: Path, tmp_path: Path) -> None:
    """The page was not written, and the exit code was that of an error."""
    page = tmp_path / "page.html"
    ended = run(">/dev/full", "attack", clip, "--quick", "--frames", 1, "-o", page)
    assert ended.returncode == 4 and page.exists()
    assert ended.stderr.splitlines()[-1] == "masquerade: No space left on device."


@pytest.mark.slow
def test_closed_streams_end_no_work(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "safe.mp4"
    ended = run(">&- 2>&- <&-", "anonymize", clip, "-o", out, *HIDDEN)
    assert ended.returncode == 0 and out.exists()
    assert b"safe.mp4" not in out.read_bytes()  # no word went into a file that got the number 1
    assert run(">&-", "anonymize", "--help").returncode == 0


@pytest.mark.parametrize(
    ("redirection", "words", "says"),
    [
        ("<&-", ["anonymize", "-"], "- is standard input, which is closed"),
        pytest.param(
            *("<&-", ["live", "-", "-o", "safe.mp4", *HIDDEN]),
            "- is standard input, which is closed",
            marks=pytest.mark.slow,
        ),
        (">&-", ["live", "-", "-o", "-", *HIDDEN], "- is standard output, which is closed"),
    ],
)
def test_a_closed_stream_that_is_named_is_refused(
    redirection: str, words: list[str], says: str
) -> None:
    ended = run(redirection, *words)
    assert ended.returncode == 2 and says in ended.stderr and "Traceback" not in ended.stderr


def test_a_full_disk_behind_the_output_is_said() -> None:
    ended = run(">/dev/full", "methods")
    assert (ended.returncode, ended.stderr) == (1, "masquerade: No space left on device.\n")

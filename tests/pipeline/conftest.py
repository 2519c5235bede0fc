"""What several tests of live video need: a pipe into which a file is played."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def feed(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Play a file into a named pipe, as a camera's driver would."""
    if not shutil.which("ffmpeg"):
        pytest.skip("Debian's ffmpeg and ffprobe are not installed")
    players = []

    def play(video: Path) -> Path:
        pipe = tmp_path / "camera"
        os.mkfifo(pipe)
        words = ["ffmpeg", "-v", "error", "-y", "-re", "-stream_loop", "-1", "-i", video, "-an"]
        words += ["-t", "60", "-c:v", "mpeg2video", "-f", "mpegts", pipe]
        players.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
        return pipe

    yield play
    for player in players:
        player.kill()
        player.wait()

"""The command `masquerade live` as a process: tests start it, hear it and look at its output."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from masquerade.video.read import Reader

needs_ffmpeg = pytest.mark.skipif(
    not shutil.which("ffmpeg"), reason="Debian's ffmpeg and ffprobe are not installed"
)
HIDDEN = ["--method", "blacken", "--regions", "frame"]
SLOWLY = ["--max-latency", "60"]  # where it is not asked how late frames are


@contextmanager
def live(*words: object) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "masquerade", "live", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            yield run
        finally:
            run.kill()


def wait_for(run: subprocess.Popen[str], words: str) -> None:
    assert run.stderr is not None
    lines = []
    while words not in (line := run.stderr.readline()):
        lines.append(line)
        assert line, "".join(lines)


def wait_for_handlers(run: subprocess.Popen[str]) -> None:
    """Until the process handles signals itself, as the command does before all else."""
    while True:
        assert run.poll() is None, "it has ended, and never handled signals"
        status = Path(f"/proc/{run.pid}/status").read_text()
        (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        if int(caught, 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.05)


def receipt_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.with_name(out.name + ".receipt.json").read_text())
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def shown_frames(path: Path) -> int:
    with Reader(path) as reader:
        frames = [frame for frame in reader if hasattr(frame, "rgb")]
        assert all(int(frame.rgb().max()) < 8 for frame in frames)
    return len(frames)


def wait_for_listener(port: int, run: subprocess.Popen[Any]) -> None:
    """Until the process listens there; asking it would be the one connection that it takes."""
    while f"0100007F:{port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text():
        assert run.poll() is None, "it has ended, and never listened"
        time.sleep(0.05)

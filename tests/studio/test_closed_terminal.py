"""A terminal that is closed while the studio runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")


@pytest.mark.slow
def test_a_closed_terminal_ends_the_studio_as_ctrl_c_does(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
    process = subprocess.Popen(
        [sys.executable, "-m", "masquerade", "studio", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    signal.signal(signal.SIGHUP, before)
    try:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().split()[-1]
        assert httpx2.get(address, timeout=60).status_code < 400  # it answers
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert "Traceback" not in said, said
    assert list((tmp_path / "tmp").iterdir()) == []

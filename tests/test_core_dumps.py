"""What crashes leaves no pictures on the disk."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

_, HARD = resource.getrlimit(resource.RLIMIT_CORE)
CRASHING = """
import os, resource, signal, sys
from masquerade.cli import main

resource.setrlimit(resource.RLIMIT_CORE, ({hard}, {hard}))
sys.argv = ["masquerade", "--version"]
main()
print(resource.getrlimit(resource.RLIMIT_CORE)[0], flush=True)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a job in the background inherits that it is ignored
os.kill(os.getpid(), signal.SIGQUIT)
"""


@pytest.mark.skipif(not HARD, reason="core dumps are forbidden already, and cannot be allowed")
def test_a_command_that_crashes_writes_no_core_dump(tmp_path: Path) -> None:
    script = CRASHING.format(hard=HARD)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True)
    assert done.returncode < 0 and done.stdout.split()[-1] == b"0"
    assert list(tmp_path.iterdir()) == []

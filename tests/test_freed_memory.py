"""What one frame freed is there for the next one, without a new page of it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

FRAMES = """
    import resource, sys
    import numpy as np
    from masquerade.cli import main
    from masquerade.freed_memory import keep_freed_memory

    if sys.argv[1] == "kept":
        keep_freed_memory()
    elif sys.argv[1] == "command":
        main(["--version"])

    def frame():
        arrays = [np.ones(300_000) for _ in range(8)]  # 2.4 MB each
        return sum(array[-1] for array in arrays)

    for number in range(23):
        if number == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        frame()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(kept: str, **environment: str) -> int:
    """Pages that the system gives for 20 frames of 8 arrays of 586 pages each."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FRAMES), kept],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return int(done.stdout.split()[-1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_commands_keep_what_was_freed() -> None:
    assert pages("kept") < 500
    assert pages("command") < 500
    assert pages("not") > 20_000, "glibc keeps it by itself now: this setting can go"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_what_a_user_set_stays() -> None:
    assert pages("kept", MALLOC_TRIM_THRESHOLD_="131072") > 20_000

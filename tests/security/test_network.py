"""A run needs no network and opens no socket to one; a pair leads to the process that decodes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# Python tells this hook of every socket that Python code makes; a C library's is not seen here.
GUARD = """
import sys
def refuse(event, args):
    if event.startswith("socket."):
        family, *more = args or [None]  # of a look-up the name
        if 1 in (getattr(family, "family", None), *more[:1]):  # AF_UNIX
            return
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        sys.stderr.write(f"opened {event} {args}\\n")
        raise PermissionError(event)
sys.addaudithook(refuse)
from masquerade.cli import main
sys.exit(main())
"""
UNSHARE = ["unshare", "--map-root-user", "--net"]


def _can_unshare() -> bool:
    if not shutil.which("unshare"):
        return False
    done = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
    return done.returncode == 0


@pytest.mark.slow
def test_anonymizing_opens_no_socket(
    command: Callable[..., Any], clip: Path, tmp_path: Path
) -> None:
    done = command("anonymize", clip, "-o", "out.mp4", "--preview", "0.2", code=GUARD)
    assert done.returncode == 0, done.stderr
    assert "opened" not in done.stderr and (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    ("tried", "event"),
    [("socket()", "socket.__new__"), ("getaddrinfo('example.org', 80)", "socket.getaddrinfo")],
)
def test_the_guard_above_can_fail(command: Callable[..., Any], tried: str, event: str) -> None:
    """Also where who tried it goes on without."""
    lines = f"import socket\ntry: socket.{tried}\nexcept PermissionError: pass\nfrom masq"
    done = command("--help", code=GUARD.replace("from masq", lines))
    assert done.returncode == 0 and f"opened {event}" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not _can_unshare(), reason="no network namespace may be made here")
def test_anonymizing_works_where_there_is_no_network(clip: Path, tmp_path: Path) -> None:
    """Not even the loopback is up there, for Python and for every library."""
    start = "import sys; from masquerade.cli import main; sys.exit(main())"
    words = ["anonymize", str(clip), "-o", str(tmp_path / "out.mp4"), "--preview", "0.2"]
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-c", start, *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.mp4").exists() and (tmp_path / "out.mp4.receipt.json").exists()


# ONNX Runtime leaves this where it tells its makers of what it runs: an identifier of the machine,
# and events that wait to be sent. Under CI it does not.
LEFT_BY_TELEMETRY = "Microsoft"
QUIET = ("CI", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")


def _of_a_user(cache: Path) -> dict[str, str]:
    """The environment of a user with an empty cache, whose machine runs no tests."""
    mine = {name: value for name, value in os.environ.items() if name not in QUIET}
    return mine | {"XDG_CACHE_HOME": str(cache), "HOME": str(cache)}


@pytest.mark.slow
@pytest.mark.parametrize("level", ["face", "person"])
def test_no_telemetry_is_collected(clip: Path, tmp_path: Path, level: str) -> None:
    cache, out = tmp_path / "cache", str(tmp_path / "out.mp4")
    words = ["anonymize", str(clip), "-o", out, "--preview", "0.2", "--level", level]
    start = "import sys; from masquerade.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", start, *words], env=_of_a_user(cache), check=True)
    assert not list(cache.rglob(f"*{LEFT_BY_TELEMETRY}*"))


@pytest.mark.slow
def test_an_exported_file_that_is_checked_tells_nobody(tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", str(tmp_path / "blur.onnx")
    start = "import sys; from masquerade.cli import main; sys.exit(main())"
    words = ["export", "blur", "--size", "32x48", "-o", out]
    subprocess.run([sys.executable, "-c", start, *words], env=_of_a_user(cache), check=True)
    assert not list(cache.rglob(f"*{LEFT_BY_TELEMETRY}*"))


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_no_library_asks_for_an_internet_socket(clip: Path, tmp_path: Path) -> None:
    """Also seconds after networks were loaded, when what is collected would be sent."""
    start = "import sys, time; from masquerade.cli import main; main(); time.sleep(15)"
    words = ["anonymize", str(clip), "-o", str(tmp_path / "out.mp4"), "--level", "person"]
    trace = ["strace", "-f", "-qq", "-e", "trace=socket", "-o", str(tmp_path / "calls")]
    environment = _of_a_user(tmp_path / "cache")
    subprocess.run([*trace, sys.executable, "-c", start, *words], env=environment, check=True)
    assert (tmp_path / "out.mp4").exists()
    assert "AF_INET" not in (tmp_path / "calls").read_text()

"""Processes that work for the page: what they are told, what they tell, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from masquerade.process_pool import may_fork
from masquerade.studio.children import Child

NUDGED = """
import time
from masquerade.studio.children import end_with_parent, say
def heard():
    global count
    count += 1
    say(count=count)
count = 0
def main(argv):
    end_with_parent(heard)
    say(ready=argv)
    while count < 2:
        time.sleep(0.01)
    return 7
"""
SURROUNDINGS = """
import os, signal, sys
IMPORTED = "torch" in sys.modules
from masquerade.studio.children import say
def main(argv):
    print("no JSON")
    say(imported=IMPORTED, told=os.environ.get("TOLD"), own=os.getsid(0) == os.getpid(),
        blocked=len(signal.pthread_sigmask(signal.SIG_BLOCK, ())))
    print("the reason", file=sys.stderr)
    return 0
"""
ENDLESS = """
import time
from masquerade.studio.children import say
def main(argv):
    try:
        say(ready=True)
        time.sleep(600)
    finally:
        say(cleaned=True)
"""
IN_THE_BACKGROUND = """
import signal, threading
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from masquerade.studio.children import Child
    said = threading.Event()
    child = Child("endless", on_line=lambda line: said.set(), on_end=lambda code, _: print(code))
    assert said.wait(60)
    child.stop()
"""
CRASHED = "def main(argv): import os; os.kill(os.getpid(), 9)"
BROKEN = "def main(argv): raise ArithmeticError('no result')"


class Heard:
    """What a child said, its exit code and its stderr."""

    def __init__(self, module: str, *arguments: str) -> None:
        self.lines: list[dict[str, Any]] = []
        self.code: int | None = None
        self.stderr = ""
        self._said, self._over = threading.Event(), threading.Event()
        self.child = Child(module, *arguments, on_line=self._line, on_end=self._end)

    def _line(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self._said.set()

    def _end(self, code: int, stderr: str) -> None:
        self.code, self.stderr = code, stderr
        self._over.set()

    def wait(self, *, until_end: bool = True) -> None:
        assert (self._over if until_end else self._said).wait(60)


@pytest.fixture(autouse=True)
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that are on the path of this process."""
    for name, code in {
        "nudged": NUDGED, "surroundings": SURROUNDINGS, "endless": ENDLESS, "broken": BROKEN,
        "crashed": CRASHED,
    }.items():  # fmt: skip
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_child_hears_nudges_until_it_ends() -> None:
    heard = Heard("nudged", "a")
    heard.wait(until_end=False)
    heard.child.nudge()
    heard.child.nudge()
    heard.wait()
    assert heard.code == 7
    assert heard.lines == [{"ready": ["a"]}, {"count": 1}, {"count": 2}]
    heard.child.nudge()  # of one that has ended, which is no error


@pytest.mark.parametrize("folder", ["short", "a_temporary_folder_" * 5])
def test_a_child_has_all_imported_and_the_environment_of_now(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str
) -> None:
    """Below a folder whose path is too long for a socket, it imports all anew."""
    monkeypatch.setenv("TOLD", "just now")
    if folder != "short":
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / folder))
        assert not may_fork()
    heard = Heard("surroundings")
    heard.wait()
    assert heard.code == 0 and heard.stderr == "the reason\n"
    assert heard.lines == [{"imported": may_fork(), "told": "just now", "own": True, "blocked": 0}]


def test_a_child_that_is_stopped_cleans_up_first() -> None:
    heard = Heard("endless")
    heard.wait(until_end=False)
    heard.child.stop()
    assert heard.code == 130 and heard.lines == [{"ready": True}, {"cleaned": True}]
    heard.child.stop()  # nothing is left to stop


def test_a_child_may_be_stopped_before_it_began() -> None:
    heard = Heard("endless")
    heard.child.stop()
    assert heard.code == 130


@pytest.mark.parametrize("module", ["broken", "no_such_module"])
def test_the_last_line_of_a_failed_child_says_why(module: str) -> None:
    heard = Heard(module)
    heard.wait()
    assert heard.code == 1 and not heard.lines
    last = heard.stderr.strip().splitlines()[-1]
    assert last.endswith("no result" if module == "broken" else "'no_such_module'")


def test_a_child_that_was_killed_failed() -> None:
    heard = Heard("crashed")
    heard.wait()
    assert heard.code == -signal.SIGKILL


def test_finished_children_keep_no_descriptors_open() -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    finished = [Heard("crashed")]
    finished[0].wait()
    before = opened()
    for _ in range(3):
        finished.append(Heard("crashed"))
        finished[-1].wait()
    assert opened() == before


def test_a_child_is_stopped_also_where_a_script_started_the_studio_in_the_background(
    tmp_path: Path,
) -> None:
    """There SIGINT is ignored, and what is forked inherits that."""
    (tmp_path / "starts.py").write_text(IN_THE_BACKGROUND)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    words = [sys.executable, str(tmp_path / "starts.py")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == ["130"], done.stderr


def test_one_that_cannot_be_started_ends_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> None:
        raise OSError("too many open files")

    monkeypatch.setattr(f"{Child.__module__}.prepare_children", failing)
    heard = Heard("endless")
    heard.child.stop()
    heard.wait()
    assert heard.code == -1 and "too many open files" in heard.stderr
    assert "endless" not in sys.modules

"""The search for people waits while the page asks for pictures, and goes on after it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from masquerade.studio import scan_process
from masquerade.studio.children import Child
from masquerade.studio.scan_process import Pauses

CODE = """
import time
from masquerade.studio.children import end_with_parent, say
def heard():
    global count
    count += 1
    say(count=count)
count = 0
end_with_parent(heard)
say(ready=True)
while count < 2:
    time.sleep(0.01)
"""


def test_a_search_waits_from_a_nudge_on_and_no_longer(monkeypatch: Any) -> None:
    now = [10.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    monkeypatch.setattr(scan_process.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(scan_process.time, "sleep", sleep)
    pauses = Pauses()
    pauses.wait()
    assert slept == []
    pauses.begin()
    now[0] += 0.25
    pauses.wait()
    pauses.wait()
    assert slept == [0.75]


def test_a_child_hears_nudges_until_it_ends(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "nudged.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", ":".join([str(tmp_path), *filter(None, sys.path)]))
    lines: list[dict[str, Any]] = []
    ended: list[int] = []
    child = Child("nudged", on_line=lines.append, on_end=lambda code, _: ended.append(code))
    end = time.monotonic() + 60
    while not lines:
        assert time.monotonic() < end
        time.sleep(0.01)
    child.nudge()
    child.nudge()
    while not ended:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert ended == [0] and lines == [{"ready": True}, {"count": 1}, {"count": 2}]
    child.nudge()  # of one that has ended, which is no error


def test_pictures_pause_the_search(page: TestClient, opened: Any, monkeypatch: Any) -> None:
    video = opened(scanned=False)
    paused: list[str] = []
    monkeypatch.setattr(
        "masquerade.studio.scans.ScanQueue.pause", lambda self: paused.append("asked")
    )
    for view in ("raw", "result"):
        page.get(f"/api/videos/{video['id']}/frames/1.jpg?view={view}")
    assert paused == ["asked", "asked"]

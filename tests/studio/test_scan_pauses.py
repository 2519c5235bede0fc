"""The search for people waits while the page asks for pictures, and goes on after it."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from masquerade.studio import scan_process
from masquerade.studio.scan_process import Pauses


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


def test_pictures_pause_the_search(page: TestClient, opened: Any, monkeypatch: Any) -> None:
    video = opened(scanned=False)
    paused: list[str] = []
    monkeypatch.setattr(
        "masquerade.studio.scans.ScanQueue.pause", lambda self: paused.append("asked")
    )
    for view in ("raw", "result"):
        page.get(f"/api/videos/{video['id']}/frames/1.jpg?view={view}")
    assert paused == ["asked", "asked"]

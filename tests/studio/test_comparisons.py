"""Two settings on a whole video: two runs, and both results looked at beside each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")
from starlette.testclient import TestClient

from masquerade.errors import UsageError
from masquerade.pipeline.edits import Edits
from masquerade.studio.studio import Studio

Opened = Callable[..., dict[str, Any]]


@pytest.mark.slow
def test_two_runs_are_queued_with_what_is_asked_for_and_no_more(
    page: TestClient, opened: Opened, tmp_path: Path
) -> None:
    video = opened(scanned=False, level="face")
    own = f"/api/videos/{video['id']}"
    asked = {"first": {}, "second": {"method": "blur"}}
    jobs = page.post(f"{own}/comparisons", json=asked).json()
    assert [job["compared"]["label"] for job in jobs] == ["face, as set", "blur"]
    assert [job["compared"]["place"] for job in jobs] == ["first", "second"]
    assert jobs[0]["compared"]["group"] == jobs[1]["compared"]["group"]
    folders = [tmp_path / "state" / "jobs" / job["id"] / "edits.json" for job in jobs]
    assert [Edits.read(one).method for one in folders] == ["selective", "blur"]
    assert page.get(own).json()["settings"]["level"] == "face"  # nothing was decided by it
    for job in jobs:
        refused = page.get(f"/api/jobs/{job['id']}/frames/0.jpg")
        assert refused.status_code == 422 and "no result" in refused.json()["error"]
        page.delete(f"/api/jobs/{job['id']}")


@pytest.mark.slow
def test_settings_that_cannot_be_compared_queue_nothing(page: TestClient, opened: Opened) -> None:
    video = opened(scanned=False, level="face")
    own = f"/api/videos/{video['id']}"
    pairs: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
        ({}, {}),
        ({}, {"level": "face"}),  # which is what was decided
        ({}, {"method": "magic"}),
        ({}, {"method": "stprivacy"}),
        ({"level": "face", "method": "blur"}, {"method": "blacken"}),
        ({"level": "all"}, {}),
    )
    for first, second in pairs:
        answer = page.post(f"{own}/comparisons", json={"first": first, "second": second})
        assert answer.status_code in (422, 503) and answer.json()["error"].endswith("."), second
        assert page.get("/api/jobs").json() == [], (first, second)


@pytest.mark.slow
def test_nothing_is_allowed_of_a_run_that_named_no_frames(
    page: TestClient, opened: Opened, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.jobs, "_next", lambda: None)
    own = f"/api/videos/{opened(scanned=False, level='face')['id']}/comparisons"
    asked: dict[str, Any] = {"first": {}, "second": {"method": "blur"}}
    ids = [job["id"] for job in page.post(own, json=asked).json()]
    first, second = map(studio.jobs.get, ids)
    first.state, first.exit_code = "failed", 4
    again = {**asked, "allow_gaps": True, "looked_at": ids}
    ends: tuple[tuple[Any, int | None], ...] = (
        *(("waiting", None), ("running", None), ("cancelled", None)),
        *(("failed", 1), ("cancelled", 4)),
    )
    for second.state, second.exit_code in ends:
        answer = page.post(own, json=again)
        assert answer.status_code == 422, (second.state, second.exit_code)
        assert "named no frames" in answer.json()["error"]
    assert len(studio.jobs.all()) == 2
    second.state, second.exit_code = "done", 0
    assert page.post(own, json=again).status_code == 201


@pytest.mark.slow
def test_a_queue_with_room_for_one_takes_neither(
    page: TestClient, opened: Opened, studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = opened(scanned=False, level="face")
    real, added = studio.jobs.add, []

    def full(**given: Any) -> Any:
        if added:
            raise UsageError("100 jobs wait already; let some finish.")
        added.append(real(**given))
        return added[0]

    monkeypatch.setattr(studio.jobs, "add", full)
    asked = {"first": {}, "second": {"method": "blur"}}
    answer = page.post(f"/api/videos/{video['id']}/comparisons", json=asked)
    assert answer.status_code == 422 and "let some finish" in answer.json()["error"]
    assert studio.jobs.of_video(video["id"]) == []


@pytest.mark.slow
def test_both_results_are_seen_frame_by_frame_with_their_receipts(
    page: TestClient, root: Path, wait: Callable[..., Any]
) -> None:
    video = page.post("/api/videos/open", json={"path": "night/one.mp4"}).json()
    own = f"/api/videos/{video['id']}"
    page.put(f"{own}/settings", json={"regions": "frame", "method": "blacken"})
    jobs = page.post(f"{own}/comparisons", json={"first": {}, "second": {"method": "blur"}}).json()

    def ended(found: list[dict[str, Any]]) -> bool:
        return all(job["state"] not in ("waiting", "running") for job in found)

    first, second = wait(lambda: page.get("/api/jobs").json(), ended, 400)
    assert (first["state"], second["state"]) == ("done", "done"), (first, second)
    assert [first["id"], second["id"]] == [job["id"] for job in jobs]
    assert list(first["facts"]) == list(second["facts"])
    assert "blacken" in first["facts"]["What is hidden"] and "Size" in second["facts"]
    assert [p.name for p in (root / "night").iterdir()] == ["one.mp4"]  # nothing beside the video

    def frame(job: dict[str, Any], number: int) -> np.ndarray:
        address = f"/api/jobs/{job['id']}/pictures"
        wait(lambda: page.get(address).json(), lambda told: told["done"])
        answer = page.get(f"/api/jobs/{job['id']}/frames/{number}.jpg")
        assert answer.status_code == 200, answer.text
        return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)

    for number in (0, 9):
        assert frame(first, number).max() < 10 < frame(second, number).mean()
    assert page.get(f"/api/jobs/{first['id']}/frames/9999.jpg").status_code == 422
    assert page.delete(f"/api/jobs/{first['id']}").status_code == 204
    assert page.get(f"/api/jobs/{first['id']}/frames/0.jpg").status_code == 422

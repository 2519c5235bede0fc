"""The page's camera: what was not hidden in time never comes back, and sessions end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from starlette.testclient import TestClient

from masquerade.errors import MasqueradeError
from masquerade.regions import Faces
from masquerade.regions.region import Region
from masquerade.studio import camera as module


@pytest.fixture
def filmed(clip: Path) -> list[np.ndarray]:
    """Frames of a face, BGR."""
    with av.open(str(clip)) as file:
        return [one.to_ndarray(format="bgr24") for one in file.decode(video=0)][:5]


def jpeg(picture: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", picture)[1].tobytes()


def picture(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def begin(page: TestClient, **wanted: Any) -> str:
    answer = page.post("/api/camera", json={"level": "face", "max_latency": 60, **wanted})
    assert answer.status_code == 200, answer.text
    return f"/api/camera/{answer.json()['id']}"


def send(page: TestClient, session: str, data: bytes) -> Any:
    return page.post(f"{session}/frames", content=data, headers={"content-type": "image/jpeg"})


def test_a_face_comes_back_hidden_one_frame_later(page: TestClient, filmed: list[Any]) -> None:
    session = begin(page)
    assert send(page, session, jpeg(filmed[0])).status_code == 204
    for number, frame in enumerate(filmed[1:]):
        answer = send(page, session, jpeg(frame))
        assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["x-frame"] == str(number) and float(answer.headers["x-latency"]) > 0
        assert answer.headers["cache-control"] == "no-store"
        shown, sent = picture(answer.content), filmed[number]
        change = np.abs(shown.astype(int) - sent).mean(axis=2)
        assert change[110:190, 290:350].mean() > 25, "the face is hidden"
        assert change[:40, :40].mean() < 4, "the place is not"
    assert page.delete(session).status_code == 204
    assert send(page, session, jpeg(filmed[0])).status_code == 422


def test_where_nobody_is_found_all_is_hidden(page: TestClient) -> None:
    grey = np.random.default_rng(0).integers(90, 170, (48, 64, 3), np.uint8)
    grey = cv2.resize(grey, (320, 240), interpolation=cv2.INTER_CUBIC)
    for allow_empty in (False, True):
        session = begin(page, allow_empty=allow_empty)
        send(page, session, jpeg(grey))
        shown = picture(send(page, session, jpeg(grey)).content)
        same = np.abs(shown.astype(int) - grey).mean() < 8
        assert bool(same) == allow_empty


def test_what_is_late_or_wrong_never_comes_back(
    page: TestClient, filmed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session = begin(page, max_latency=0.05)

    def stalled(self: Any, frames: Iterable[Any]) -> Iterator[Region]:
        for _ in frames:
            time.sleep(0.1)
            yield Region(full_frame=True)

    monkeypatch.setattr(Faces, "__call__", stalled)
    assert [send(page, session, jpeg(one)).status_code for one in filmed] == [204] * 5

    def broken(self: Any, frames: Iterable[Any]) -> Iterator[Region]:
        raise MasqueradeError("the detector is out of order.")
        yield

    monkeypatch.setattr(Faces, "__call__", broken)
    session = begin(page)
    answer = send(page, session, jpeg(filmed[0]))
    assert answer.status_code == 422 and "out of order" in answer.json()["error"]
    assert "start it again" in send(page, session, jpeg(filmed[0])).json()["error"]


def test_bad_pictures_are_one_sentence(page: TestClient, filmed: list[Any]) -> None:
    session = begin(page)
    for data, said in (
        (b"", "no picture"),
        (b"GIF89a", "no picture"),
        (jpeg(np.zeros((8, 4000, 3), np.uint8)), "1920 pixels"),
    ):
        answer = send(page, session, data)
        assert answer.status_code == 422, answer.text
        assert said in answer.json()["error"] or not data
    assert send(page, session, jpeg(filmed[0])).status_code == 204
    assert "size" in send(page, session, jpeg(filmed[0][:200])).json()["error"]
    for wanted in ({"level": "all"}, {"max_latency": 0}):
        assert page.post("/api/camera", json=wanted).status_code == 422


def test_a_second_tab_takes_the_camera_over_and_an_idle_one_ends(
    page: TestClient, filmed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = begin(page), begin(page)
    assert "another tab" in send(page, first, jpeg(filmed[0])).json()["error"]
    assert send(page, second, jpeg(filmed[0])).status_code == 204
    found = module.Camera(level="face", allow_empty=False, max_latency=1)
    assert not found.idle
    monkeypatch.setattr(module, "IDLE", 0.0)
    time.sleep(0.01)
    assert found.idle
    found.close()
    with pytest.raises(MasqueradeError, match="start it again"):
        found.offer(jpeg(filmed[0]))

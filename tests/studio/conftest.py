"""A studio over HTTP, without a browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")
from starlette.testclient import TestClient

from masquerade.studio.guard import Guard
from masquerade.studio.server import create_app
from masquerade.studio.studio import Studio

TOKEN, HERE = "secret-token", "http://127.0.0.1:8000"


@pytest.fixture
def root(tmp_path: Path, short_clip: Path) -> Path:
    """A folder that the page may browse, beside one that it may not."""
    folder = tmp_path / "ward"
    (folder / "night").mkdir(parents=True)
    (folder / "night" / "one.mp4").write_bytes(short_clip.read_bytes())
    (folder / "notes.txt").write_text("no video")
    (tmp_path / "secret.mp4").write_bytes(short_clip.read_bytes())
    (folder / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    return folder


@pytest.fixture
def studio(root: Path, tmp_path: Path) -> Iterator[Studio]:
    found = Studio(root=root, state=tmp_path / "state", most_bytes=2**22)
    yield found
    found.close()


@pytest.fixture
def page(studio: Studio) -> Iterator[TestClient]:
    """A client that has opened the address which the command printed."""
    app = Guard(
        create_app(studio),
        port=8000,
        token=TOKEN,
        most_upload=studio.most_bytes,
        reports=studio.reports,
    )
    with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
        assert client.get(f"/?token={TOKEN}").status_code == 200
        yield client


@pytest.fixture
def wait() -> Callable[..., Any]:
    """Ask until an answer is as wanted."""

    def waiting(ask: Callable[[], Any], done: Callable[[Any], bool], seconds: float = 90) -> Any:
        end = time.monotonic() + seconds
        while not done(found := ask()):
            assert time.monotonic() < end, found
            time.sleep(0.05)
        return found

    return waiting


@pytest.fixture
def opened(
    page: TestClient, short_clip: Path, wait: Callable[..., Any]
) -> Callable[..., dict[str, Any]]:
    """Upload a clip, choose settings, and wait until its pictures are there, and its people."""

    def upload(*, scanned: bool = True, **settings: Any) -> dict[str, Any]:
        answer = page.post("/api/videos?name=a.mp4", content=short_clip.read_bytes())
        assert answer.status_code == 201, answer.text
        address = f"/api/videos/{answer.json()['id']}"
        if settings:
            assert page.put(f"{address}/settings", json=settings).status_code == 200

        def ready(video: dict[str, Any]) -> bool:
            assert video["state"] != "failed" and video["scan"]["state"] != "failed", video
            return video["state"] == "ready" and (not scanned or video["scan"]["state"] == "done")

        return wait(lambda: page.get(address).json(), ready)

    return upload

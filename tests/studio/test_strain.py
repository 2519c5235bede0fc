"""Many clients, slow ones, and requests that nobody meant: nothing is lost and nothing let in."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from browser import running_studio
from hypothesis import HealthCheck, given, settings

pytestmark = pytest.mark.slow
schemathesis = pytest.importorskip("schemathesis")

from masquerade.studio.server import create_app  # noqa: E402
from masquerade.studio.studio import Studio  # noqa: E402


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Any:
    """The application, and its studio with a video to open."""
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "root").mkdir()
    (folder / "root" / "a.mp4").write_bytes(clip.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASQUERADE_TEMPLATES", str(folder / "templates"))
        studio = Studio(root=folder / "root", state=folder / "state", most_bytes=2**20)
        yield schemathesis.openapi.from_asgi("/api/openapi.json", create_app(studio)), studio
        studio.close()


def test_no_request_breaks_the_server(fuzzed: Any) -> None:
    """Requests made of the server's own description, and broken ones; half of them of a video."""
    app, studio = fuzzed
    asked, answered = 0, dict[str, set[int]]()
    for operation in (found.ok() for found in app.get_all_operations()):
        video = studio.open("a.mp4").id  # it may have been closed by the operation before

        @settings(
            max_examples=20,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            nonlocal asked
            asked += 1
            if asked % 2 and "/videos/{id}" in case.path:
                case.path_parameters["id"] = video  # noqa: B023 (each operation has its own)
            answer = case.call()
            answered.setdefault(f"{case.method} {case.path}", set()).add(answer.status_code)
            assert answer.status_code < 500 or answer.status_code in (503, 507), answer.text
            if answer.status_code >= 400:
                said = answer.json()["error"]
                assert said.endswith(".") and "Traceback" not in said

        ask()
    assert asked > 300
    of_a_video = [codes for name, codes in answered.items() if "/videos/{id}" in name]
    assert all(codes - {404} for codes in of_a_video)
    assert sum(200 in codes for codes in of_a_video) >= 10


def test_a_hundred_clients_at_once(tmp_path: Path, clip: Path, wait: Callable[..., Any]) -> None:
    with running_studio(tmp_path) as address:
        base = address.split("/?")[0]
        with httpx2.Client(base_url=base, timeout=60) as first:
            assert first.get(address, follow_redirects=True).status_code == 200
            video = first.post("/api/videos?name=a.mp4", content=clip.read_bytes()).json()
            own = f"/api/videos/{video['id']}"
            # A frame that is not read yet is refused, as it must be.
            wait(lambda: first.get(own).json(), lambda video: video["state"] == "ready")
            _strain(first, own)


def _strain(first: httpx2.Client, own: str) -> None:
    cookies = dict(first.cookies)

    def client(number: int) -> list[tuple[int, str]]:
        with httpx2.Client(base_url=first.base_url, cookies=cookies, timeout=60) as one:
            asked = [
                one.get(own),
                one.get(f"{own}/frames/0.jpg"),
                one.put(f"{own}/settings", json={"feather": number % 7}),
                one.get(f"{own}/edits.json"),
                one.get("/api/jobs"),
            ]
            return [answer.status_code for answer in asked]

    with ThreadPoolExecutor(100) as pool:
        codes = [code for each in pool.map(client, range(100)) for code in each]
    assert set(codes) == {200}
    log = first.get(own).json()["log"]
    assert log and all(line["what"].startswith("set feather") for line in log)


def test_a_slow_upload_holds_nobody_up_and_an_oversized_one_ends(tmp_path: Path) -> None:
    with running_studio(tmp_path, "--most-upload", "0.001") as address:
        base, token = address.split("/?token=")
        port = int(base.rsplit(":", 1)[1])
        cookie = f"Cookie: masquerade-{port}={token}\r\n"
        head = f"POST /api/videos?name=a.mp4 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{cookie}"
        with socket.create_connection(("127.0.0.1", port)) as slow:
            slow.sendall(f"{head}Content-Length: 1000\r\n\r\nx".encode())
            with httpx2.Client(base_url=base, headers={"Cookie": cookie[8:-2]}) as other:
                began = time.monotonic()
                assert other.get("/api/videos").json() == []
                assert time.monotonic() - began < 5
                huge = b"x" * 2_000_000
                assert other.post("/api/videos?name=b.mp4", content=huge).status_code == 413


def test_a_killed_studio_leaves_nothing_that_the_next_one_does_not_remove(
    tmp_path: Path, clip: Path
) -> None:
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    (tmp_path / "tmp").mkdir()
    words = [sys.executable, "-m", "masquerade", "studio", "--no-browser"]
    killed = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert killed.stdout is not None
    address = killed.stdout.readline().split()[-1]
    with httpx2.Client(base_url=address.split("/?")[0], timeout=60) as page:
        page.get(address, follow_redirects=True)
        video = page.post("/api/videos?name=a.mp4", content=clip.read_bytes()).json()
        own = f"/api/videos/{video['id']}"
        page.put(f"{own}/settings", json={"level": "face"})
        time.sleep(1)
    children = _children(killed.pid)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    raw = list((tmp_path / "tmp").glob("masquerade-temporary-*/*/source/*.mp4"))
    assert [one.name for one in raw] == ["a.mp4"], "as receipts call it"
    assert raw[0].parent.stat().st_mode & 0o777 == 0o700
    end = time.monotonic() + 30
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < end, "a process outlives the page"
        time.sleep(0.1)
    next_one = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    assert next_one.stdout is not None
    address = next_one.stdout.readline().split()[-1]
    assert not raw[0].exists()
    with httpx2.Client(base_url=address.split("/?")[0], timeout=60) as page:
        page.get(address, follow_redirects=True)
        video = page.post("/api/videos?name=a.mp4", content=clip.read_bytes()).json()
        assert video["settings"]["level"] == "face"  # what was decided is there
    next_one.terminate()
    next_one.wait(60)
    next_one.stdout.close()
    assert not list((tmp_path / "tmp").glob("masquerade-temporary-*"))


def _children(pid: int) -> list[int]:
    """All that a process started, and they started."""
    listed = [
        int(child)
        for file in Path("/proc").glob(f"{pid}/task/*/children")
        for child in file.read_text().split()
    ]
    return listed + [one for child in listed for one in _children(child)]

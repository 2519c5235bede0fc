"""Who does not have the token, or comes from another page or under another name, gets nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from masquerade.studio.guard import Guard

TOKEN, HERE = "secret-token", "http://127.0.0.1:8000"
ROUTES = ("/", "/api/about", "/api/videos", "/api/openapi.json", "/static/app.js")


@pytest.fixture
def stranger(page: TestClient) -> TestClient:
    """A client without the cookie."""
    page.cookies.clear()
    return page


@pytest.mark.parametrize("path", ROUTES)
def test_nothing_is_told_without_the_token(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code == 401
    assert stranger.get(path, params={"token": "wrong"}).status_code == 401
    stranger.cookies.set("masquerade-8000", "wrong")
    assert stranger.get(path).status_code == 401


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_gets(
    stranger: TestClient,
) -> None:
    answer = stranger.get(f"/?token={TOKEN}", follow_redirects=False)
    cookie = answer.headers["set-cookie"]
    assert answer.status_code == 200 and 'url=/"' in answer.text
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1", "127.0.0.1:8001", "localhost"]
)
def test_another_name_is_refused(page: TestClient, host: str) -> None:
    """As of a site that points its name to the loopback."""
    assert page.get("/api/about", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
def test_another_page_is_refused(page: TestClient, headers: dict[str, str]) -> None:
    for ask in (page.get, page.delete):
        assert ask("/api/videos", headers=headers).status_code == 403
    assert page.post("/api/videos?name=a.mp4", headers=headers).status_code == 403


def test_this_page_and_a_typed_address_are_let_in(page: TestClient) -> None:
    own = {"origin": HERE, "sec-fetch-site": "same-origin"}
    assert page.get("/api/videos", headers=own).status_code == 200
    assert page.get("/", headers={"sec-fetch-site": "none"}).status_code == 200


def test_nothing_is_kept_by_the_browser_and_nothing_comes_from_elsewhere(page: TestClient) -> None:
    for path in ("/", "/api/videos", "/static/app.js"):
        headers = page.get(path).headers
        assert headers["cache-control"] == "no-store"
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "http" not in policy
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy


def test_a_body_that_is_too_large_is_refused(page: TestClient, clip: object) -> None:
    parts = (b"x" * 2**20 for _ in range(6))
    answer = page.post("/api/videos?name=a.mp4", content=parts)
    assert answer.status_code == 413 and "larger than" in answer.json()["error"]
    answer = page.post("/api/videos?name=a.mp4", content=b"x" * (2**22 + 1))
    assert answer.status_code == 413 and "open it by --root" in answer.json()["error"]
    assert page.get("/api/videos").json() == []


def answered(host: str, *, port: int, cookie: str) -> int:
    """The status that a request gets."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    guard = Guard(app, port=port, token=TOKEN, most_upload=9)
    headers = [(b"host", host.encode()), (b"cookie", cookie.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}
    asyncio.run(guard(scope, app, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "foreign", ['prefs={"theme":"dark","n":[1, 2]}', "a b=c", "flag", 'x="', "=", "a@b=1"]
)
def test_cookies_of_another_server_of_this_machine_lock_nobody_out(foreign: str) -> None:
    """Ports do not separate cookies."""
    own = f"masquerade-8000={TOKEN}"
    for cookie in (f"{foreign}; {own}", f"{own}; {foreign}"):
        assert answered("127.0.0.1:8000", port=8000, cookie=cookie) == 200
    assert answered("127.0.0.1:8000", port=8000, cookie=foreign) == 401


def test_the_port_that_browsers_leave_out_may_be_left_out() -> None:
    own = f"masquerade-80={TOKEN}"
    for host in ("127.0.0.1", "localhost:80", "[::1]"):
        assert answered(host, port=80, cookie=own) == 200
    assert answered("evil.example", port=80, cookie=own) == 421


def test_a_request_that_the_end_of_the_command_cuts_off_is_answered() -> None:
    """Else the server would print a traceback at Ctrl+C."""
    sent: list[Any] = []

    async def endless(*_: Any) -> None:
        await asyncio.sleep(3600)

    async def send(message: Any) -> None:
        sent.append(message)

    async def ask() -> None:
        guard = Guard(endless, port=8000, token=TOKEN, most_upload=9)
        cookie = f"masquerade-8000={TOKEN}".encode()
        headers = [(b"host", b"127.0.0.1:8000"), (b"cookie", cookie)]
        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b""}
        task = asyncio.create_task(guard({**scope, "headers": headers}, endless, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    asyncio.run(ask())
    assert sent[0]["status"] == 503 and b"has ended" in sent[1]["body"]

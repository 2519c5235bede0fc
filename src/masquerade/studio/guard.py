"""Keeps others out: only pages of this server, opened with its token, reach it.

A page elsewhere could ask a server on the loopback, directly or under a name that it points there
(DNS rebinding). So every request must name this host, and those that change something must come
from this origin; the token is in the address that the command prints, and then in a cookie that
no script reads and no page of another site makes the browser send. Ports do not separate cookies:
a browser sends it to every server of this machine that it opens under the same name.
"""

import asyncio
import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from masquerade.errors import MasqueradeError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
REPORT_POLICY = (  # of a page of an attack, which carries its own style and pictures
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox"
)
SCRIPTED_POLICY = (  # of a benchmark's report: its own scripts run, and know nothing of this server
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "media-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "sandbox allow-scripts allow-downloads"
)
HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
SAFE = ("GET", "HEAD")
LARGER = "this is larger than {:,} bytes."
LARGER_VIDEO = "this video is larger than {:.3g} GB; open it by --root instead."
MOST_BODY = 2**26  # bytes of what is no upload
HTTP_PORT = 80  # which browsers leave out of an address


class Guard:
    """ASGI middleware that lets through only this server's own pages, with its token.

    Args:
        app: the application behind it.
        port: at which the page is served.
        token: that the cookie of every request must hold.
        most_upload: most bytes of an uploaded video; other bodies have at most `MOST_BODY`.
        reports: an address that nobody can guess, below which no cookie is asked for; or none.
    """

    def __init__(
        self, app: App, *, port: int, token: str, most_upload: int, reports: str = ""
    ) -> None:
        self._app, self._token, self._most_upload = app, token, most_upload
        names = {"127.0.0.1", "localhost", "[::1]"}
        self._hosts = {f"{name}:{port}" for name in names}
        if port == HTTP_PORT:
            self._hosts |= names
        self._reports = reports
        self._cookie = f"masquerade-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            await _refuse(send, 421, "this server answers to its own address alone.")
            return
        if not self._from_here(headers, host, scope["method"]):
            await _refuse(send, 403, "this request comes from another page.")
            return
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and token and self._is_token(token):
            cookie = f"{self._cookie}={self._token}; HttpOnly; SameSite=Strict; Path=/"
            # No redirection: a browser would not send the cookie where a file or a mail led here.
            page = (
                b'<!doctype html><title>studio</title><meta http-equiv="refresh" content="0;url=/">'
            )
            headers = {"set-cookie": cookie, "content-type": "text/html; charset=utf-8"}
            await _answer(send, 200, page, headers)
            return
        known = self._reports and scope["path"].startswith(self._reports)
        if not known and not self._is_token(_cookie(headers.get("cookie", ""), self._cookie)):
            await _refuse(send, 401, "open the address that `masquerade studio` printed.")
            return
        upload = scope["path"] == "/api/videos"
        most = self._most_upload if upload else MOST_BODY
        larger = LARGER_VIDEO.format(most / 2**30) if upload else LARGER.format(most)
        answer = _Answer(send)
        try:
            length = headers.get("content-length", "")
            if length.isdecimal() and int(length) > most:
                raise TooLargeError(larger)
            await self._app(scope, _limited(receive, most, larger), answer)
        except TooLargeError as error:
            if not answer.begun:
                await _refuse(send, 413, str(error))
        except asyncio.CancelledError:  # the command ends while a picture is still drawn
            if not answer.begun:
                await _refuse(send, 503, "the studio has ended.")

    def _is_token(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())

    def _from_here(self, headers: dict[str, str], host: str, method: str) -> bool:
        site = headers.get("sec-fetch-site")
        origin = headers.get("origin")
        if origin is not None and origin.lower() != f"http://{host}":
            return False
        if site is None:
            return True
        if site == "cross-site" or site == "same-site":  # a link may be followed from elsewhere
            link = headers.get("sec-fetch-mode") == "navigate" and method in SAFE
            return link and headers.get("sec-fetch-dest") == "document"
        return site in ("same-origin", "none")


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(32)


def _cookie(header: str, name: str) -> str:
    # Every server on this machine may set cookies of any form, which the library's reader ends at.
    pairs = (part.strip().partition("=") for part in header.split(";"))
    return next((value for key, _, value in pairs if key == name), "")


class TooLargeError(MasqueradeError):
    """A body has more bytes than it may."""


def _limited(receive: Receive, most: int, larger: str) -> Receive:
    """The parts of a body, as long as they are not too many."""
    size = 0

    async def receiving() -> MutableMapping[str, Any]:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise TooLargeError(larger)
        return message

    return receiving


class _Answer:
    """Sends an answer with the headers that every one has, and knows whether it has begun."""

    def __init__(self, send: Send) -> None:
        self._send, self.begun = send, False

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            there = {name for name, _ in message["headers"]}
            added = {**HEADERS, "content-security-policy": POLICY}
            own = [(name.encode(), value.encode()) for name, value in added.items()]
            message["headers"] = [
                *message["headers"],
                *(header for header in own if header[0] not in there),
            ]
        await self._send(message)


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = f'{{"error": "{sentence}"}}'.encode()
    await _answer(send, status, body, {"content-type": "application/json"})


async def _answer(send: Send, status: int, body: bytes, headers: dict[str, str]) -> None:
    all_headers = {**HEADERS, "content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in all_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})

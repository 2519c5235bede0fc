"""A real browser before a real studio process; where there is none, tests are skipped."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser")) if p), None)
READY = "#viewer[data-frame]"
LONG = 60_000  # milliseconds
NOBODY = {"regions": "faces", "threshold": 0.99}  # which finds no face, so that all is one mark
MISSING = "Debian's chromium is not installed"
FREE = b"\0\0\0\x08free"  # a box of an MP4 that says nothing
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
]


numbers = itertools.count(1)


@contextmanager
def running_studio(state: Path, *words: str) -> Iterator[str]:
    """A studio in a process of its own; gives the address that it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "masquerade", "studio", "--no-browser", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        _, complaints = process.communicate(timeout=60)
        assert "Traceback" not in complaints, complaints


@contextmanager
def chromium(*more: str) -> Iterator[Any]:
    """A browser of Playwright's."""
    if CHROMIUM is None:
        pytest.skip(MISSING)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *more])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def emptied(browser: Any, address: str) -> Iterator[str]:
    """A studio that several tests share: what one leaves there, and its tabs, are removed."""
    yield address
    for context in list(browser.contexts):
        for page in context.pages:
            page.unroute_all(behavior="ignoreErrors")
        context.close()
    page = new_page(browser, address, [])
    page.evaluate(
        """async () => {
            const jobs = await (await fetch("/api/jobs")).json();
            const gone = (path, {id}) => fetch(`/api/${path}/${id}`, {method: "DELETE"});
            for (const one of [...jobs, ...jobs]) await gone("jobs", one); // it is cancelled first
            const videos = await (await fetch("/api/videos")).json();
            for (const one of videos) await gone("videos", one);
        }"""
    )
    page.context.close()


def undecided(video: Path, copy: Path) -> Path:
    """A copy of an MP4 that has its pictures, and of which nothing was ever decided."""
    copy.write_bytes(video.read_bytes() + FREE * next(numbers))
    return copy


def new_page(browser: Any, address: str, complaints: list[str]) -> Any:
    """A tab at an address; what it complains of is added to a list."""
    page = browser.new_page()
    page.set_viewport_size({"width": 1400, "height": 900})
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: _hear(said, complaints))
    page.on("request", lambda asked: _stays_here(asked.url, address, complaints))
    page.goto(address)
    page.wait_for_selector("#upload", state="attached")
    page.wait_for_load_state("load")  # its scripts listen by then
    return page


def _hear(said: Any, complaints: list[str]) -> None:
    if said.type == "error":
        complaints.append(f"{said.text} ({said.location.get('url')})")


def _stays_here(url: str, address: str, complaints: list[str]) -> None:
    here = address.split("/?")[0]
    if not url.startswith((here, "blob:", "data:", "about:")):
        complaints.append(f"asked elsewhere: {url}")


def uploaded(browser: Any, address: str, video: Path, complaints: list[str]) -> Any:
    """A tab with a video whose first picture is there."""
    page = new_page(browser, address, complaints)
    page.set_input_files("#upload", str(video))
    page.wait_for_selector(READY, timeout=LONG)
    return page


def opened(browser: Any, address: str, video: Path, complaints: list[str]) -> Any:
    """A tab with a video whose people are found."""
    page = uploaded(browser, address, video, complaints)
    page.wait_for_selector("[data-track]", timeout=LONG)
    return page


def go_on(page: Any) -> None:
    """Answer the question that stands before a run, if there is one."""
    page.wait_for_selector("#check-dialog[open], [data-job]", timeout=LONG)
    if page.locator("#check-dialog[open]").count():
        page.click("#check-go")


def video_of(page: Any) -> dict[str, Any]:
    """What the server says of the video that is open."""
    return page.evaluate(
        """async () => {
            const [first] = await (await fetch("/api/videos")).json();
            return (await fetch(`/api/videos/${first.id}`)).json();
        }"""
    )


def until(page: Any, expression: str) -> None:
    """Wait until an expression about VIDEO is true."""
    end = time.monotonic() + LONG / 1000
    while not page.evaluate(
        f"""async () => {{
            const [first] = await (await fetch("/api/videos")).json();
            const VIDEO = await (await fetch(`/api/videos/${{first.id}}`)).json();
            return {expression};
        }}"""
    ):
        assert time.monotonic() < end, f"never: {expression}"
        page.wait_for_timeout(100)


def send(page: Any, method: str, path: str, body: dict[str, Any]) -> None:
    """Change the video that is open, as another tab would."""
    page.evaluate(
        """async ([method, path, body]) => {
            const [first] = await (await fetch("/api/videos")).json();
            const headers = {"Content-Type": "application/json"};
            const answer = await fetch(`/api/videos/${first.id}/${path}`,
                {method, headers, body: JSON.stringify(body)});
            if (!answer.ok) throw new Error(await answer.text());
        }""",
        [method, path, body],
    )


def searched_in_vain(browser: Any, address: str, video: Path, complaints: list[str]) -> Any:
    """A tab with a video in which nobody was found, to the end of the search."""
    page = uploaded(browser, address, video, complaints)
    send(page, "PUT", "settings", NOBODY)
    until(page, "VIDEO.state === 'ready' && VIDEO.scan.state === 'done'")
    # The page may know only a part of the search, whose mark ends earlier and is another one.
    page.wait_for_selector(
        "main:has(#scan[hidden]) #mark-fold-title:text-is('Places to look at (1 of 1 left)')",
        state="attached",
        timeout=LONG,
    )
    return page

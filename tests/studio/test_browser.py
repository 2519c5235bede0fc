"""The page as a person uses it, in Chromium: look, mend, run, and what is in the file.

One studio is there for all tests: each has a video of its own, and closes it.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from browser import (
    LONG,
    READY,
    chromium,
    emptied,
    go_on,
    new_page,
    opened,
    running_studio,
    searched_in_vain,
    send,
    undecided,
    until,
    uploaded,
    video_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the studio keeps decisions and jobs."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def studio(state: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MASQUERADE_TEMPLATES", str(state / "templates"))
        patch.setenv("MASQUERADE_WEIGHTS", str(state / "weights"))  # none are there
        with running_studio(state) as found:
            yield found


@pytest.fixture
def address(studio: str, browser: Any) -> Iterator[str]:
    """The studio's address; what a test leaves there is removed."""
    with emptied(browser, studio) as found:
        yield found


@pytest.fixture
def video(short_clip: Path, tmp_path: Path) -> Path:
    """Ten frames of which nothing was ever decided in the studio."""
    return undecided(short_clip, tmp_path / "person.mp4")


@pytest.fixture
def longer_video(clip: Path, tmp_path: Path) -> Path:
    """The like, for what is to be seen while work goes on."""
    return undecided(clip, tmp_path / "longer.mp4")


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What pages complained of; a test that ends with any fails."""
    found: list[str] = []
    yield found
    assert not found


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw over the picture, from one place to another in shares of its width and height."""
    box = page.locator("#viewer").bounding_box()
    wide, high = picture_size(page, box)
    left, top = box["x"] + (box["width"] - wide) / 2, box["y"] + (box["height"] - high) / 2
    page.mouse.move(left + start[0] * wide, top + start[1] * high)
    page.mouse.down()
    page.mouse.move(left + end[0] * wide, top + end[1] * high, steps=4)
    page.mouse.up()


def picture_size(page: Any, box: dict[str, float]) -> tuple[float, float]:
    video = video_of(page)
    scale = min(box["width"] / video["width"], box["height"] / video["height"])
    return video["width"] * scale, video["height"] * scale


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as file:
        return [one.to_ndarray(format="rgb24") for one in file.decode(video=0)]


def test_a_person_looks_mends_and_runs(
    browser: Any, address: str, video: Path, complaints: list[str], tmp_path: Path
) -> None:
    """Upload, level, a missed place drawn and followed, a setting, run, download."""
    page = opened(browser, address, video, complaints)
    page.click("[data-level=face]")
    until(page, "VIDEO.settings.level === 'face' && VIDEO.scan.state === 'done'")
    page.keyboard.press("d")
    drag(page, (0.02, 0.04), (0.2, 0.3))
    until(page, "VIDEO.drawn.length === 1")
    (drawn,) = video_of(page)["drawn"]
    assert drawn["first"] == 0 and drawn["last"] == video_of(page)["frames"] - 1
    page.click("[data-testid=more]")
    page.select_option("[data-setting=method]", "blacken")
    until(page, "VIDEO.settings.method === 'blacken' && VIDEO.scan.state === 'done'")
    page.click("#run")
    go_on(page)
    page.wait_for_selector("[data-download]", timeout=LONG)
    with page.expect_download() as given:
        page.click("[data-download]")
    given.value.save_as(tmp_path / "safe.mp4")
    raw, safe = frames_of(video), frames_of(tmp_path / "safe.mp4")
    assert len(safe) == len(raw)
    height, width = raw[0].shape[:2]
    rows = slice(round(0.08 * height), round(0.26 * height))
    columns = slice(round(0.05 * width), round(0.17 * width))
    face = slice(height * 2 // 5, height // 2), slice(width * 11 // 20, width * 6 // 10)
    for before, after in zip(raw, safe, strict=True):
        assert after[rows, columns].max() < 20 < before[rows, columns].min()
        assert after[face].mean() < 20 < before[face].mean()
        assert np.abs(after[-40:].astype(int) - before[-40:]).mean() < 6  # the rest stays


def test_somebody_is_left_visible_and_hidden_again(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = opened(browser, address, video, complaints)
    page.click("[data-level=face]")
    until(page, "VIDEO.settings.level === 'face' && VIDEO.scan.state === 'done'")
    page.click("[data-track]:has-text('Face') >> nth=0", timeout=LONG)  # of the new search
    page.click("[data-action=visible]")
    page.wait_for_selector("#visible-banner:not([hidden])")
    until(page, "VIDEO.undo !== null && VIDEO.undo.startsWith('leave visible')")
    shown = picture(page, "result")
    assert np.abs(shown.astype(int) - picture(page, "raw")).max() < 60
    page.click("#undo")
    page.wait_for_selector("#visible-banner", state="hidden")
    assert np.abs(picture(page, "result").astype(int) - picture(page, "raw")).max() > 60
    page.click("#redo")
    page.wait_for_selector("#visible-banner:not([hidden])")


def test_all_are_hidden_again_before_anybody_was_found(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = uploaded(browser, address, video, complaints)
    nobody = {"only": False, "choosable": True, "tracks": []}
    page.route("**/api/videos/*/tracks", lambda route: route.fulfill(json=nobody))
    page.evaluate(
        """async () => {
            const [first] = await (await fetch("/api/videos")).json();
            const own = `/api/videos/${first.id}`;
            const edits = await (await fetch(`${own}/edits.json`)).json();
            const body = JSON.stringify({...edits, visible: [3]});
            await fetch(`${own}/edits`, {method: "PUT", body});
        }"""
    )
    page.wait_for_selector("#visible-text:has-text('1 person stays visible')", timeout=LONG)
    page.click("#hide-all")
    page.wait_for_selector("#visible-banner", state="hidden")
    page.wait_for_selector("#status:has-text('Everybody is hidden')")
    assert video_of(page)["visible"] == []


def picture(page: Any, view: str) -> np.ndarray:
    """A frame as the server draws it now."""
    text = page.evaluate(
        """async (view) => {
            const [first] = await (await fetch("/api/videos")).json();
            const answer = await fetch(`/api/videos/${first.id}/frames/5.jpg?view=${view}`);
            const bytes = new Uint8Array(await answer.arrayBuffer());
            return btoa(String.fromCharCode(...bytes));
        }""",
        view,
    )
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)


def test_two_tabs_see_one_video_and_a_reload_loses_nothing(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    context = browser.new_context()
    one = opened(context, address, video, complaints)
    two = new_page(context, address.split("?")[0], complaints)
    two.wait_for_selector("[data-track]", timeout=LONG)
    one.click("[data-level=figure]")
    until(two, "VIDEO.settings.level === 'figure'")
    two.wait_for_selector("[data-level=figure][aria-pressed=true]")
    two.click("#run")
    go_on(two)
    one.wait_for_selector("[data-job]", timeout=LONG)
    one.reload()
    one.wait_for_selector("[data-download]", timeout=LONG)
    context.close()


def test_a_tab_that_another_has_overtaken_decides_nothing_by_number(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    context = browser.new_context()
    one = opened(context, address, video, complaints)
    until(one, "VIDEO.scan.state === 'done'")
    one.click("[data-track] >> nth=0")
    one.route("**/api/videos/*", lambda route: route.abort())  # it hears nothing
    one.evaluate(
        """async () => {
            const [first] = await (await fetch("/api/videos")).json();
            const body = JSON.stringify({feather: 3});
            const headers = {"Content-Type": "application/json"};
            await fetch(`/api/videos/${first.id}/settings`, {method: "PUT", body, headers});
        }"""
    )
    one.click("[data-action=visible]")
    one.wait_for_selector("#alert:has-text('another tab')")
    one.unroute("**/api/videos/*")
    assert video_of(one)["visible"] == []
    until(one, "VIDEO.settings.feather === 3")
    one.wait_for_selector("#undo[title*=feather]")
    one.click("[data-track] >> nth=0")
    one.click("[data-action=visible]")
    one.wait_for_selector("#visible-banner:not([hidden])")
    complaints[:] = [said for said in complaints if "409" not in said and "ERR_FAILED" not in said]
    context.close()


def test_a_run_of_decisions_that_its_check_did_not_list_is_refused(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = opened(browser, address, video, complaints)
    until(page, "VIDEO.scan.state === 'done'")
    person = page.locator("[data-track]").first.get_attribute("data-track")
    page.click("[data-track] >> nth=0")
    page.click("[data-action=visible]")
    page.wait_for_selector("#visible-banner:not([hidden])")
    page.click("[data-testid=compare]")
    page.select_option("[data-compare='1']", "method:blacken")
    page.click("[data-testid=compare-run]")  # two results that may be given on are asked about, too
    page.wait_for_selector("#check-dialog[open]")
    assert "stays visible" in page.inner_text("#check-list")
    page.click("#check-dialog form button")
    page.click("#run")
    assert "stays visible" in page.inner_text("#check-list")
    page.evaluate(
        """async (person) => {
            const [first] = await (await fetch("/api/videos")).json();
            const headers = {"Content-Type": "application/json"};
            const body = JSON.stringify({choice: "hidden", method: "blur"});
            const path = `/api/videos/${first.id}/tracks/${person}`;
            await fetch(path, {method: "PUT", body, headers});
        }""",
        person,
    )
    page.wait_for_selector("#visible-banner", state="hidden", timeout=LONG)  # the page has heard
    page.click("#check-go")
    page.wait_for_selector("#alert:has-text('another tab')")
    assert page.evaluate("fetch('/api/jobs').then(answer => answer.json())") == []
    page.click("#run")  # of what is decided now
    page.wait_for_selector("#check-dialog[open], [data-job]")
    complaints[:] = [said for said in complaints if "409" not in said]


def test_a_check_tells_who_stays_visible_before_their_list_has_come(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = opened(browser, address, video, complaints)
    until(page, "VIDEO.scan.state === 'done'")
    held: list[Any] = []
    page.route("**/api/videos/*/tracks", lambda route: held.append(route))
    page.click("[data-track] >> nth=0")
    page.click("[data-action=visible]")
    page.wait_for_selector("#undo[title*='leave visible']")
    page.click("#run")
    page.wait_for_selector("#check-list:has-text('1 person stays visible')")


HELD_STRIPS = """
    const ask = window.fetch;
    let held = null;
    window.hold = () => { held = new Promise((done) => { window.letGo = done; }); };
    window.hold();
    window.fetch = async (path, options) => {
        if (String(path).endsWith("/strip")) await held;
        return ask(path, options);
    };
"""


def test_a_run_asks_while_it_is_not_known_what_was_marked(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    """It began at once, and the page said that there were no marks, or those of other settings."""
    page = searched_in_vain(browser, address, video, complaints)
    page.add_init_script(HELD_STRIPS)
    page.reload()
    page.wait_for_selector(READY, timeout=LONG)

    def refused_for_want_of_marks() -> None:
        page.wait_for_selector("#marks-open:text-is('Reading the marks')")
        assert page.inner_text("#mark-fold-title") == "Places to look at (they are being read)"
        page.click("#run")
        page.wait_for_selector("#check-list:has-text('The marks are not known yet')")
        page.click("#check-dialog form button")
        assert page.evaluate("fetch('/api/jobs').then(answer => answer.json())") == []

    refused_for_want_of_marks()
    page.evaluate("window.letGo()")
    page.wait_for_selector("#mark-text:text-is('Nothing was found here.')")
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    page.wait_for_selector("#mark-fold-title:text-is('Places to look at (all were looked at)')")
    page.evaluate("window.hold()")
    send(page, "PUT", "settings", {"feather": 2})
    page.wait_for_selector("#undo[title*=feather]", timeout=LONG)
    refused_for_want_of_marks()


def test_a_mark_is_open_again_once_the_region_that_it_asks_about_was_moved(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = searched_in_vain(browser, address, video, complaints)
    send(page, "POST", "drawn", {"frame": 3, "box": [13, 19, 128, 144]})
    page.wait_for_selector("#mark-list:has-text('Only your own region')", state="attached")
    title = "#mark-fold-title:text-is('Places to look at ({})')"
    page.wait_for_selector(title.format("1 of 1 left"))
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    page.wait_for_selector(title.format("all were looked at"))
    (region,) = video_of(page)["drawn"]
    send(page, "PUT", f"drawn/{region['id']}", {"frame": 7, "box": [500, 19, 600, 144]})
    page.wait_for_selector(title.format("1 of 1 left"))


def test_parts_of_people_are_named_once_they_are_chosen(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = uploaded(browser, address, video, complaints)
    page.click("[data-testid=more]")
    page.select_option("#regions", "parts")
    page.wait_for_selector("#regions-text:focus")
    assert page.input_value("#regions-text") == "parts:"
    page.keyboard.type("eyes,lips\n")  # behind what stands there
    until(page, "VIDEO.settings.regions === 'parts:eyes,lips'")
    assert page.is_visible("#regions-text")
    page.select_option("#regions", "faces")
    until(page, "VIDEO.settings.regions === 'faces'")
    page.wait_for_selector("#regions-text", state="hidden")


def test_a_second_part_needs_a_name_of_its_own_and_deleting_one_is_asked(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = uploaded(browser, address, video, complaints)
    until(page, "VIDEO.state === 'ready'")
    page.click("[data-testid=more]")
    page.select_option("#regions", "frame")
    page.wait_for_selector("#people-empty:has-text('Nobody is listed')")
    page.select_option("#regions", "faces")
    page.wait_for_selector("#people-empty:not(:has-text('Nobody is listed'))", state="attached")

    def point(name: str) -> None:
        page.click("[data-mode-button=point][aria-pressed=false]")
        page.click("#viewer", position={"x": 60, "y": 60})
        page.fill("#name-input", name)
        page.click("#name-add")

    point("Badge")
    page.wait_for_selector("[data-point=badge]", timeout=LONG)
    point("badge")
    page.wait_for_selector("#alert:has-text('Badge is hidden already; choose another name')")
    page.keyboard.press("Escape")
    point("")
    page.wait_for_selector("[data-point=part]", timeout=LONG)
    page.click("[data-erase-point=part]")
    page.wait_for_selector("#ask-text:has-text('Undo does not bring it back')")
    page.click("#ask-dialog button[value='']")
    assert [one["id"] for one in video_of(page)["templates"]] == ["badge", "part"]
    page.click("[data-erase-point=part]")
    page.click("#ask-yes")
    until(page, "VIDEO.templates.length === 1")
    complaints[:] = [said for said in complaints if "422" not in said]  # the refused name


@pytest.mark.parametrize("asked", ["run", "point"])
def test_a_question_about_one_video_ends_where_another_one_is_shown(
    browser: Any,
    address: str,
    longer_video: Path,
    complaints: list[str],
    tmp_path: Path,
    asked: str,
) -> None:
    page = uploaded(browser, address, longer_video, complaints)
    until(page, "VIDEO.state === 'ready'")
    other = tmp_path / "other.mp4"
    other.write_bytes(longer_video.read_bytes())
    held: list[Any] = []
    page.route("**/api/videos?name=*", lambda route: held.append(route))
    page.set_input_files("#upload", str(other))
    if asked == "run":
        page.click("[data-level=figure]")  # its search goes on
        page.click("#run")
        page.wait_for_selector("#check-dialog[open]")
    else:
        page.click("[data-mode-button=point]")
        page.click("#viewer")
        page.wait_for_selector("#name-dialog[open]")
    held.pop().continue_()
    page.wait_for_selector("#videos:has(option:checked:text-is('other.mp4'))", state="attached")
    page.wait_for_timeout(500)
    assert page.locator("dialog[open]").count() == 0
    assert page.evaluate("fetch('/api/jobs').then(answer => answer.json())") == []


def test_settings_changed_while_an_edit_is_answered_keep_their_order(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    """Regions, then a level: it was sent as a level and then regions, which left bodies visible."""
    page = uploaded(browser, address, video, complaints)
    page.click("[data-testid=more]")
    until(page, "VIDEO.state === 'ready'")
    held: list[Any] = []
    page.route("**/drawn", lambda route: held.append(route))
    page.keyboard.press("d")
    drag(page, (0.02, 0.04), (0.2, 0.3))
    page.select_option("#regions", "faces")
    page.click("[data-level=person]")
    end = time.monotonic() + LONG / 1000
    while not held and time.monotonic() < end:  # a busy machine sends the drawing later
        page.wait_for_timeout(20)
    held.pop().continue_()
    until(page, "VIDEO.drawn.length === 1")
    page.wait_for_selector("body[data-busy=false]")
    assert video_of(page)["settings"]["level"] == "person"
    page.select_option("#method", "blur")
    page.wait_for_selector("#argument-kernel")
    page.keyboard.press("d")
    drag(page, (0.02, 0.04), (0.2, 0.3))
    page.fill("#argument-kernel", "51")
    page.fill("#argument-sigma", "20")
    page.wait_for_timeout(600)  # until both count as typed
    held.pop().continue_()
    until(page, "VIDEO.drawn.length === 2")
    page.wait_for_selector("body[data-busy=false]")
    assert video_of(page)["settings"]["arguments"] == {"kernel": 51, "sigma": 20}


@pytest.mark.parametrize(("late", "seen"), [("raw", 0), ("result", 9)])
def test_a_rectangle_is_of_the_frame_that_is_seen(
    browser: Any, address: str, video: Path, complaints: list[str], late: str, seen: int
) -> None:
    """The picture of the frame that was asked for may be late, or its result alone."""
    page = uploaded(browser, address, video, complaints)
    until(page, "VIDEO.state === 'ready'")
    held: list[Any] = []
    page.route(f"**/frames/9.jpg?view={late}*", lambda route: held.append(route))
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    page.wait_for_selector("#viewer[data-frame='0'][data-waiting]")
    if late == "result":
        page.wait_for_selector("#viewer-note:not([hidden])")  # what was filmed is shown alone
    page.click("[data-mode-button=draw]")
    drag(page, (0.02, 0.04), (0.2, 0.3))
    until(page, "VIDEO.drawn.length === 1")
    assert video_of(page)["drawn"][0]["keys"] == [seen]
    for route in held:
        route.continue_()


def test_a_job_is_cancelled(
    browser: Any, address: str, longer_video: Path, complaints: list[str], state: Path
) -> None:
    page = opened(browser, address, longer_video, complaints)
    page.click("#run")
    go_on(page)
    page.click("[data-cancel]", timeout=LONG)
    jobs = "(await (await fetch('/api/jobs')).json())"
    until(page, f"{jobs}.every(job => job.state === 'cancelled')")
    folder = state / "masquerade" / "studio" / "jobs"
    deadline = time.monotonic() + LONG / 1000
    while list(folder.iterdir()) and time.monotonic() < deadline:
        page.wait_for_timeout(100)  # its process may still be loading libraries when it is stopped
    assert not list(folder.iterdir())


def test_what_is_asked_about_a_video_ends_when_it_is_closed(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    """Else the answers are errors, of which the page says that the video is no longer open."""
    page = opened(browser, address, video, complaints)
    held: list[Any] = []
    page.route("**/api/videos/*", lambda route: held.append(route))  # the question of every while
    page.route("**/levels/*", lambda route: held.append(route))
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    end = time.monotonic() + LONG / 1000
    while len({"levels" in one.request.url for one in held}) < 2 and time.monotonic() < end:
        page.wait_for_timeout(100)
    asked = list(held)
    assert len(asked) > 1
    page.unroute("**/api/videos/*")
    page.click("#close-video")
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.click("#ask-yes")
    for route in asked:
        with suppress(Exception):  # of Playwright: it was ended
            route.continue_()
    page.wait_for_timeout(500)
    assert page.is_visible("#start") and "no longer open" not in page.inner_text("body")


def test_bad_uploads_and_a_wrong_token_are_said(
    browser: Any, address: str, complaints: list[str], tmp_path: Path
) -> None:
    page = new_page(browser, address, complaints)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 100)
    page.set_input_files("#upload", str(bad))
    page.wait_for_selector("#alert:not([hidden])", timeout=LONG)
    assert page.inner_text("#alert").strip().endswith(".")
    stranger = browser.new_context().new_page()
    answer = stranger.goto(address.split("?")[0] + "?token=wrong")
    assert answer.status == 401 and "open the address" in stranger.content()
    complaints[:] = [one for one in complaints if "422" not in one]  # the refused upload


@pytest.mark.parametrize("size", [(360, 740), (1600, 1000)])
def test_the_page_fits_and_is_small(
    browser: Any, address: str, video: Path, complaints: list[str], size: tuple[int, int]
) -> None:
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    bytes_read: list[int] = []
    page.on("response", lambda a: bytes_read.append(len(a.body())) if a.status == 200 else None)
    page.goto(address)
    page.wait_for_selector("#upload", state="attached")
    page.wait_for_load_state("networkidle")
    assert sum(bytes_read) <= 300_000
    page.set_input_files("#upload", str(video))
    page.wait_for_selector(READY, timeout=LONG)
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a[href]")]
            .filter(e => e.offsetParent !== null && !e.labels?.length && !e.textContent.trim()
                && !e.ariaLabel && !e.title && !e.getAttribute("aria-labelledby"))
            .map(e => e.outerHTML.slice(0, 90))"""
    )
    assert unnamed == []


def test_a_link_in_a_private_file_opens_the_page(
    browser: Any, address: str, complaints: list[str], tmp_path: Path
) -> None:
    """As the command opens a browser, in whose arguments everybody could read the token."""
    link = tmp_path / "open.html"
    link.write_text(f'<meta http-equiv="refresh" content="0;url={address}">')
    page = browser.new_context().new_page()
    page.goto(link.as_uri())
    page.wait_for_selector("#upload", state="attached")
    assert "token" not in page.url


def canvas(page: Any, view: str) -> np.ndarray:
    """What is painted on one side of the divider, (h, w, 3)."""
    png = page.evaluate("view => document.getElementById(view).toDataURL('image/png')", view)
    data = np.frombuffer(base64.b64decode(png.split(",")[1]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)[..., 2::-1]


def test_two_settings_are_compared_on_the_whole_video(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    """Both run, are played under one divider, and are still there after a reload."""
    page = uploaded(browser, address, video, complaints)
    page.click("[data-testid=more]")
    page.select_option("#regions", "frame")
    until(page, "VIDEO.settings.regions === 'frame' && VIDEO.state === 'ready'")
    page.click("[data-testid=compare]")
    page.select_option("[data-compare='1']", "method:blacken")
    page.select_option("[data-compare='2']", "method:mask-mean")
    page.click("[data-testid=compare-run]")
    go_on(page)
    page.click("[data-play-both]", timeout=8 * LONG)
    page.wait_for_selector("#comparison:not([hidden])")
    page.wait_for_selector("#viewer[data-frame]:not([data-frame='0'])", timeout=LONG)  # it plays
    assert page.locator("#compare-facts thead th").all_inner_texts() == ["Blacken", "Mask-mean"]
    facts = page.locator("#compare-facts tbody th").all_inner_texts()
    assert {"What is hidden", "Size", "Measured of this setting before"} <= set(facts)
    page.reload()
    page.wait_for_selector("#comparison:not([hidden])", timeout=LONG)
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    page.wait_for_selector("#viewer[data-frame='9']:not([data-waiting])", timeout=LONG)
    page.wait_for_selector("#compare-progress:empty", state="attached", timeout=LONG)
    page.wait_for_selector("#viewer-note", state="hidden")
    first, second = canvas(page, "raw"), canvas(page, "result")
    high, wide = first.shape[:2]
    face = slice(high * 2 // 5, high // 2), slice(wide * 11 // 20, wide * 6 // 10)
    assert first[face].max() < 20 < second[face].mean()
    page.select_option("#compare-left", "raw")
    page.wait_for_selector("#side-raw:text-is('As filmed')")
    page.wait_for_selector("#viewer:not([data-waiting])")
    page.wait_for_timeout(500)
    assert canvas(page, "raw")[face].std() > first[face].std() + 5
    page.focus("#viewer")
    page.keyboard.press("Escape")
    page.wait_for_selector("#comparison", state="hidden")
    assert page.inner_text("#side-result") == "Result" and "compare" not in page.url
    page.click("#close-video")  # opened again, it has its comparison back
    page.click("#ask-yes")
    page.wait_for_selector("#start:not([hidden])")
    page.set_input_files("#upload", str(video))
    page.wait_for_selector(READY, timeout=LONG)
    page.click("[data-play-both]", timeout=8 * LONG)
    page.wait_for_selector("#comparison:not([hidden])")


def test_what_holds_a_run_back_is_asked_on_the_page(
    browser: Any, address: str, video: Path, complaints: list[str], state: Path
) -> None:
    page = uploaded(browser, address, video, complaints)
    page.click("[data-level=face]")
    until(page, "VIDEO.settings.level === 'face'")
    content = hashlib.sha256(video.read_bytes()).hexdigest()
    kept = state / "masquerade" / "studio" / "edits" / f"{content}.json"
    kept.write_text(kept.read_text().replace('"level": "face"', '"level": "figure"'))
    page.wait_for_selector("#elsewhere:not([hidden])", timeout=LONG)
    assert page.is_disabled("#run")
    page.click("#elsewhere-take")
    page.wait_for_selector("#elsewhere", state="hidden")
    page.wait_for_selector("[data-level=figure][aria-pressed=true]")
    page.click("#undo")  # this page's own decision is not lost
    page.wait_for_selector("[data-level=face][aria-pressed=true]")
    kept.with_suffix(".unreadable.json").write_text("{")  # as the next start finds it
    page.wait_for_selector("#held:not([hidden])", timeout=LONG)
    assert page.is_disabled("#run") and "unreadable.json" in page.inner_text("#held")
    page.click("#held-go")
    page.wait_for_selector("#held", state="hidden")
    assert page.is_enabled("#run")


def test_a_part_is_compared_by_keys_whose_weights_are_here(
    browser: Any, address: str, video: Path, complaints: list[str]
) -> None:
    page = uploaded(browser, address, video, complaints)
    options = page.locator("#keys option")
    usable = [one for one in options.all() if one.is_enabled()]
    assert [one.get_attribute("value") for one in usable] == ["colour-hog"]
    page.click("#keys-missing summary")
    assert "--keys dino-s8 --key-weights" in page.inner_text("#keys-missing-list")

"""What the page says and does where answers are late, fail or are of another video, in Chromium.

One studio is there for all tests: each has videos of its own, and closes them.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import (
    LONG,
    READY,
    chromium,
    emptied,
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
SEARCHED = "VIDEO.state === 'ready' && VIDEO.scan.state === 'done'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, short_clip: Path) -> Path:
    folder = tmp_path_factory.mktemp("ward")
    for name in ("one.mp4", "two.mp4"):
        undecided(short_clip, folder / name)
    (folder / "index.html").write_text(
        '<meta name="generator" content="masquerade"><a href="table.csv">table.csv</a>'
    )
    (folder / "table.csv").write_text("method,leak\nblur,1\n")
    return folder


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[str]:
    with running_studio(tmp_path_factory.mktemp("state"), "--root", str(root)) as found:
        yield found


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What pages complained of; a test that ends with any fails."""
    found: list[str] = []
    yield found
    assert not found


@pytest.fixture
def address(studio: str, browser: Any) -> Iterator[str]:
    """The studio's address; what a test leaves there is removed."""
    with emptied(browser, studio) as found:
        yield found


@pytest.fixture
def video(short_clip: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A video of which nothing was ever decided, under a name."""

    def named(name: str) -> Path:
        return undecided(short_clip, tmp_path / name)

    return named


def upload_another(page: Any, path: Path) -> None:
    page.set_input_files("#upload", str(path))
    page.wait_for_selector(f"#videos:has(option:checked:text-is('{path.name}'))", state="attached")
    page.wait_for_selector(READY, timeout=LONG)


def searched_all(page: Any) -> None:
    """Wait until all that is open was searched."""
    page.wait_for_function(
        """async () => {
            const videos = await (await fetch("/api/videos")).json();
            const asked = videos.map(async ({id}) => (await fetch(`/api/videos/${id}`)).json());
            return (await Promise.all(asked)).every((one) => one.scan.state === "done");
        }""",
        timeout=LONG,
    )


def changing(page: Any, address: str, change: Callable[[Any], None]) -> None:
    """Change the server's answers of an address on their way to the page."""

    def answer(route: Any) -> None:
        if route.request.method != "GET":
            return route.continue_()
        given = route.fetch()
        told = given.json()
        change(told)
        return route.fulfill(response=given, body=json.dumps(told))

    page.route(address, answer)


def test_after_a_search_that_failed_a_run_asks_and_the_search_can_be_begun_again(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("a.mp4"), complaints)
    until(page, SEARCHED)
    failed = {"state": "failed", "done": 32, "error": "nothing more could be found."}
    changing(page, "**/api/videos/*", lambda told: told.update(scan=failed))
    page.wait_for_selector("#search-again", timeout=LONG)
    page.click("#run")
    page.wait_for_selector("#check-list:has-text('The search failed: the rest of the video')")
    page.click("#check-dialog form button")
    page.unroute("**/api/videos/*")
    page.click("#search-again")
    page.wait_for_selector("#search-again", state="hidden", timeout=LONG)


def test_outlines_are_of_the_video_that_is_shown(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("a.mp4"), complaints)
    upload_another(page, video("b.mp4"))
    searched_all(page)
    page.reload()
    page.wait_for_selector(READY, timeout=LONG)
    page.click("#outlines")
    page.wait_for_selector("#overlay g", timeout=LONG)
    shown = page.input_value("#videos")
    other = next(
        one
        for one in page.evaluate("fetch('/api/videos').then((answer) => answer.json())")
        if one["id"] != shown
    )
    with page.expect_request(f"**/videos/{other['id']}/found*", timeout=LONG):
        page.select_option("#videos", other["id"])
    page.wait_for_selector("#overlay g", timeout=LONG)


def test_outlines_of_another_frame_than_the_one_that_is_seen_are_not_shown(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("a.mp4"), complaints)
    until(page, SEARCHED)
    page.click("#outlines")
    page.wait_for_selector("#overlay g", timeout=LONG)
    held: list[Any] = []
    page.route("**/frames/9.jpg?view=result*", lambda route: held.append(route))
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    page.wait_for_selector("#viewer-note:not([hidden])")  # what was filmed is shown alone
    assert page.locator("#overlay g").count() == 0
    for route in held:
        route.continue_()
    page.wait_for_selector("#overlay g", timeout=LONG)


def test_look_at_them_leads_to_a_mark_also_at_the_frame_that_is_shown(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = searched_in_vain(browser, address, video("a.mp4"), complaints)
    page.wait_for_selector("#mark-text:text-is('Nothing was found here.')", timeout=LONG)
    page.click("#run")
    page.click("#check-look")
    page.wait_for_selector("#mark-fold-title:text-is('Places to look at (all were looked at)')")


def test_a_list_of_marks_that_is_cut_says_so(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    mark = {"kind": "unsure", "text": "Somebody was found here with little confidence."}
    many = [{**mark, "first": t, "last": t} for t in range(400)]
    page = new_page(browser, address, complaints)
    changing(page, "**/strip", lambda told: told.update(marks=many))
    page.set_input_files("#upload", str(video("a.mp4")))
    page.wait_for_selector("#mark-list li:text('first 300 of 400')", state="attached", timeout=LONG)


def test_a_double_click_is_one_run(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = searched_in_vain(browser, address, video("a.mp4"), complaints)
    page.wait_for_selector("#mark-text:text-is('Nothing was found here.')", timeout=LONG)
    page.fill("#frame", "9")
    page.keyboard.press("Tab")
    page.wait_for_selector("#mark-fold-title:text-is('Places to look at (all were looked at)')")
    page.dblclick("#run")
    page.wait_for_selector("[data-job]")
    page.wait_for_timeout(500)
    assert len(page.evaluate("fetch('/api/jobs').then((answer) => answer.json())")) == 1


def test_a_job_that_was_just_queued_is_not_lost_by_an_older_answer(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = searched_in_vain(browser, address, video("a.mp4"), complaints)
    held: list[tuple[Any, Any]] = []
    page.route("**/api/jobs", lambda route: held.append((route, route.fetch())), times=1)
    while not held:
        page.wait_for_timeout(100)
    page.click("#run")
    page.click("#check-go")
    page.wait_for_selector("[data-job]")
    for route, answer in held:
        route.fulfill(response=answer)
    page.wait_for_timeout(200)
    assert page.locator("[data-job]").count() == 1


def test_the_file_that_was_clicked_last_is_shown(
    browser: Any, address: str, complaints: list[str]
) -> None:
    page = new_page(browser, address, complaints)
    held: list[Any] = []
    page.route("**/videos/open", lambda route: held.append(route), times=1)
    page.click("[data-file='one.mp4']")
    page.wait_for_selector("[data-file='one.mp4']:disabled:has-text('Opening')")
    page.click("[data-file='two.mp4']")
    shown = "#videos:has(option:checked:text-is('two.mp4'))"
    page.wait_for_selector(shown, state="attached", timeout=LONG)
    with page.expect_response("**/videos/open"):
        held.pop().continue_()
    page.wait_for_timeout(500)
    assert page.locator(shown).count() == 1


def test_files_that_a_report_links_to_are_opened(
    browser: Any, address: str, complaints: list[str]
) -> None:
    page = new_page(browser, address, complaints)
    with page.expect_popup() as popup:
        page.click("[data-report]")
    with popup.value.expect_download() as given:
        popup.value.click("text=table.csv")
    assert Path(given.value.path()).read_text() == "method,leak\nblur,1\n"


def test_an_animated_image_is_a_video(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    source = video("a.mp4")
    gif = source.with_name("clip.gif")
    words = ["ffmpeg", "-v", "error", "-i", source, "-frames:v", "9", "-vf", "scale=160:120", gif]
    subprocess.run(words, check=True)
    uploaded(browser, address, gif, complaints)


def test_uploads_that_break_are_told_by_their_names(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = new_page(browser, address, complaints)
    page.route("**/api/videos?name=*", lambda route: route.abort())
    page.set_input_files("#upload", [str(video("a.mp4")), str(video("b.mp4"))])
    page.wait_for_selector("#alert-text:has-text('b.mp4: ')")
    assert "a.mp4: " in page.inner_text("#alert-text")
    complaints[:] = [said for said in complaints if "net::ERR" not in said]


def test_what_is_answered_after_another_video_is_shown_is_of_the_first_one(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("b.mp4"), complaints)
    for feather in (2, 3, 4):
        send(page, "PUT", "settings", {"feather": feather})  # it has other numbers of decisions
    first = page.input_value("#videos")
    upload_another(page, video("a.mp4"))
    page.wait_for_selector("[data-track]", timeout=LONG)
    searched_all(page)
    held: list[Any] = []
    page.route("**/drawn", lambda route: held.append(route))
    page.keyboard.press("d")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.click("[data-track]")
    page.click("[data-action=visible]")
    page.select_option("#videos", first)
    shown = "#videos:has(option:checked:text-is('b.mp4'))"
    page.wait_for_selector(shown, state="attached", timeout=LONG)
    page.wait_for_timeout(500)
    with page.expect_request("**/tracks/*?seen=1") as asked:
        held.pop().continue_()
    assert first not in asked.value.url
    page.wait_for_selector("body[data-busy=false]")
    assert "own region" not in page.inner_text("#status")
    assert page.inner_text("#alert") == ""


def test_a_video_that_was_closed_in_another_tab_leaves_the_list(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("a.mp4"), complaints)
    closed = page.input_value("#videos")
    upload_another(page, video("b.mp4"))
    page.evaluate("id => fetch(`/api/videos/${id}`, {method: 'DELETE'})", closed)
    page.select_option("#videos", closed)
    page.wait_for_selector("#alert-text:has-text('closed')")
    assert page.locator("#videos option").all_inner_texts() == ["b.mp4"]
    kept = page.input_value("#videos")
    page.evaluate("id => fetch(`/api/videos/${id}`, {method: 'DELETE'})", kept)
    page.wait_for_selector("#alert-text:has-text('b.mp4 is no longer open')", timeout=LONG)
    complaints[:] = [said for said in complaints if "404" not in said]


def test_what_the_server_would_refuse_about_a_person_is_not_offered(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = opened(browser, address, video("a.mp4"), complaints)
    page.click("[data-track]")
    page.click("[data-action=method]")
    offered = page.locator("[data-action^=method-]").evaluate_all(
        "all => all.map((one) => one.dataset.action)"
    )
    assert "method-blur" in offered and "method-silhouette" not in offered
    page.keyboard.press("Escape")
    page.click("[data-level=figure]")
    until(page, f"VIDEO.settings.level === 'figure' && {SEARCHED}")
    page.wait_for_selector("#people-hint", state="hidden")
    page.click("[data-track]")
    for action in ("visible", "only", "method"):
        assert page.is_disabled(f"[data-action={action}]")
    assert page.is_enabled("[data-action=hide]")


def test_settings_that_cannot_be_taken_are_not_shown_as_if_they_were(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("a.mp4"), complaints)
    page.click("[data-testid=more]")
    page.fill("#threshold", "5")
    page.keyboard.press("Tab")  # the browser says what is wrong beside the field, and leads back
    assert page.evaluate("document.activeElement.id") == "threshold"
    page.keyboard.press("Tab")
    before = page.input_value("#regions")
    refusal = '{"error": "This is refused."}'
    page.route("**/settings", lambda route: route.fulfill(status=422, body=refusal))
    page.focus("#regions")
    page.select_option("#regions", "hands")
    page.wait_for_selector("#alert-text:text-is('This is refused.')")
    page.wait_for_function(
        "before => document.querySelector('#regions').value === before", arg=before
    )
    assert video_of(page)["settings"]["threshold"] is None
    complaints[:] = [said for said in complaints if "422" not in said]


def test_the_focus_stays_with_a_person_who_is_decided_about(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = opened(browser, address, video("a.mp4"), complaints)
    until(page, SEARCHED)
    page.focus("[data-track]")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")  # Leave visible
    page.wait_for_selector(".sign-visible")
    assert page.evaluate("document.activeElement.dataset.track") is not None


def test_a_search_that_goes_on_replaces_no_button_and_no_choice_of_the_page(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = opened(browser, address, video("a.mp4"), complaints)
    until(page, SEARCHED)
    page.wait_for_timeout(1000)

    def more(told: dict[str, Any]) -> None:
        for track in told["tracks"]:
            track.update(frames=4321, last=4320)

    page.evaluate(
        """() => {
            const find = (one) => document.querySelector(one);
            window.kept = [find("[data-track]"), find("#videos option")];
        }"""
    )
    changing(page, "**/tracks", more)
    send(page, "PUT", "settings", {"feather": 2})
    page.wait_for_selector("[data-track]:has-text('4,321 frames')", timeout=LONG)
    assert page.evaluate("window.kept.map((one) => one.isConnected)") == [True, True]
    assert "4320" in page.get_attribute("[data-track]", "aria-label")


def test_the_focus_and_the_keys_are_of_what_is_seen(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = new_page(browser, address, complaints)
    page.focus("#choose")
    page.set_input_files("#upload", str(video("a.mp4")))
    page.wait_for_selector(READY, timeout=LONG)
    assert page.evaluate("document.activeElement.id") == "viewer"
    send(page, "PUT", "settings", {"feather": 2})
    page.wait_for_selector("#undo[title*=feather]", timeout=LONG)
    page.click("#open-another")
    page.keyboard.press("Control+z")
    page.wait_for_timeout(500)
    assert video_of(page)["settings"]["feather"] == 2
    assert page.evaluate("import('/static/dom.js').then((dom) => dom.clock(30 / 25))") == "0:01.2"


def test_compared_pictures_of_another_video_go_away(
    browser: Any, address: str, video: Callable[[str], Path], complaints: list[str]
) -> None:
    page = uploaded(browser, address, video("a.mp4"), complaints)
    page.click("[data-testid=compare]")
    painted = ".compare-side:nth-child(2) canvas[data-painted]"
    page.wait_for_selector(painted, timeout=LONG)
    page.route("**/method.jpg*", lambda route: None)
    upload_another(page, video("b.mp4"))
    page.wait_for_timeout(300)
    assert page.locator(painted).count() == 0

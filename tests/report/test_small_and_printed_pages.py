"""The page of benchmarks on a phone and on paper: nothing is cut."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from masquerade.benchmark.beside import OurScores
from masquerade.benchmark.published import load_published
from masquerade.evaluation.results import Evaluation, from_json
from masquerade.report.benchmark_page import render_benchmark, write_report
from masquerade.report.printed_tables import Beside

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
A4 = 688  # pixels between margins of 14 mm
LONG = "/data/" + "a_very_long_name_without_a_space" * 3 + ".csv"

TOO_WIDE = """width => [...document.querySelectorAll("body *")].filter(one =>
  one.getBoundingClientRect().right > width + 1 && !one.closest(".wide, nav ul")
).map(one => `${one.tagName} ${one.textContent.slice(0, 40)}`)"""
CUT = """() => [...document.querySelectorAll("body *")].filter(one =>
  getComputedStyle(one).overflowX !== "visible" && one.scrollWidth > one.clientWidth + 1
).map(one => `${one.tagName} ${one.textContent.slice(0, 40)}`)"""
UNSEEN = """() => [...document.querySelectorAll("main :is(p, li, th, td, h2, h3, summary, svg)")]
  .filter(one => !one.closest("td details, .readout, .slider, .weigh, .filter, .play"))
  .filter(one => one.textContent.trim() && !one.checkVisibility())
  .map(one => `${one.tagName} ${one.textContent.slice(0, 40)}`)"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or sys.platform != "linux", reason="needs chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def page(table: Evaluation, tmp_path: Path) -> Path:
    """A page with two tables, printed ones beside them, and long words wherever they may stand."""
    long = replace(
        table, command=f"masquerade evaluate --data {LONG}", limits=(f"Clips of {LONG}.",)
    )
    real = from_json((RESULTS / "uti.json").read_text("utf-8"))
    ours = [
        OurScores(title="VP-HMDB51", attackers="all", cells={"VITA": {0: "47.00 [45.0, 49.0]"}})
    ]
    text = render_benchmark(
        [long, real],
        title="Ward",
        published=[
            Beside(table=load_published("stprivacy-known"), ours=ours),
            Beside(table=load_published("selective-2")),
        ],
        about={"last command": f"masquerade benchmark {LONG}", LONG: "a name"},
    )
    path = tmp_path / "index.html"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("name", ["made", "real"])
def test_a_phone_shows_the_page_without_scrolling_sideways(
    name: str, width: int, page: Path, browser: Any
) -> None:
    path = page if name == "made" else RESULTS / f"{name}.html"
    shown = browser.new_page(viewport={"width": width, "height": 800})
    shown.goto(path.as_uri())
    for unfolded in (False, True):
        if unfolded:
            shown.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert shown.evaluate(TOO_WIDE, width) == []
        assert shown.evaluate("document.documentElement.scrollWidth") == width, unfolded
    shown.close()


def test_paper_shows_all_of_the_page(page: Path, browser: Any, tmp_path: Path) -> None:
    """Notes are unfolded; the labels of a row are not, as the charts of labels have them."""
    shown = browser.new_page(viewport={"width": A4, "height": 980})
    shown.goto(page.as_uri())
    shown.evaluate("document.querySelector('.skip').focus()")
    shown.emulate_media(media="print")
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert shown.evaluate("document.documentElement.scrollWidth") == A4
    assert shown.evaluate(TOO_WIDE.replace(".wide, ", ""), A4) == []
    assert shown.evaluate(CUT) == [] and shown.evaluate(UNSEEN) == []
    assert not shown.locator("nav").is_visible() and not shown.locator(".filter").first.is_visible()
    rows = shown.locator(".main tbody tr")
    assert rows.first.evaluate("one => getComputedStyle(one).display") == "table-row", "no cards"
    printed = shown.pdf(path=str(tmp_path / "page.pdf"), prefer_css_page_size=True)
    assert printed.startswith(b"%PDF")
    shown.close()


def test_a_browser_shows_the_charts_that_are_files(
    table: Evaluation, browser: Any, tmp_path: Path
) -> None:
    write_report(tmp_path, [table], title="Ward")
    shown = browser.new_page()
    for chart in sorted((tmp_path / "charts").iterdir()):
        shown.goto(chart.as_uri())
        colours = shown.evaluate(
            "[...document.querySelectorAll('.mark, .bar, .grid')]"
            ".map(one => getComputedStyle(one)).map(one => one.stroke + one.fill)"
        )
        assert colours and "nonergb(0, 0, 0)" not in colours, chart.name
        outside = """[...document.querySelectorAll("text")].filter(one => {
          const { left, right } = one.getBoundingClientRect();
          return right > document.documentElement.getBoundingClientRect().width || left < 0;
        }).map(one => one.textContent)"""
        assert shown.evaluate(outside) == [], chart.name
    shown.close()

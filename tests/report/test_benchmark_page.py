"""The page of benchmarks, and the folder with the same as files."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from made_rows import HOSTILE, private, score

from masquerade.benchmark.beside import OurScores
from masquerade.benchmark.data_origins import DataOrigin
from masquerade.benchmark.published import load_published
from masquerade.benchmark.suite import Ablation
from masquerade.errors import UsageError
from masquerade.evaluation.results import Evaluation, from_json
from masquerade.metrics.intervals import Score
from masquerade.report import benchmark_page
from masquerade.report.ablations import (
    ablation_panels,
    find_ablations,
    split_name,
    stated_ablations,
)
from masquerade.report.benchmark_page import TableContext, render_benchmark, write_report
from masquerade.report.differences import differences_markdown
from masquerade.report.embedded_clips import Clip, embed_clips
from masquerade.report.numbers_and_columns import number
from masquerade.report.printed_tables import Beside, printed_lines
from masquerade.report.svg_charts import Bar, bars
from masquerade.report.table import notes
from masquerade.report.verdicts import floor_value, headline_columns

RESULTS = Path(__file__).parents[2] / "docs" / "results"
VOID_TAGS = {"meta", "link", "br", "img", "input", "hr"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Page(HTMLParser):
    """All elements and texts of a page in which every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open[-4:])
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def parsed(text: str) -> Page:
    for start in re.findall(r"<svg[^>]*>(.{0,7})", text, re.S):
        assert start == "<title>", "every svg begins with its title"
    return Page(text)


@pytest.fixture
def page(table: Evaluation) -> str:
    return render_benchmark([table], title="Ward", about={"masquerade": "1.2.3"})


def test_the_page_needs_nothing_from_elsewhere(page: str, table: Evaluation) -> None:
    found = parsed(page)
    for tag, attributes in found.elements:
        for name in ("src", "href", "poster", "srcset", "action", "data"):
            target = attributes.get(name)
            assert not target or target.startswith(("#", "data:")), (tag, target)
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttp", page)
    assert not found.named("link") and not found.named("iframe")


def test_names_are_escaped(page: str) -> None:
    assert HOSTILE not in page and "<b>clinic" not in page and "<missing>" not in page
    assert "&lt;script&gt;alert" in page
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", page, re.S)
    assert not any("alert(" in one and "<script" in one for one in scripts)
    assert any("\\u003cscript>alert" in one for one in scripts)  # in the data of the slider


def test_every_method_label_and_attacker_is_there(page: str, table: Evaluation) -> None:
    said = " ".join(parsed(page).texts)
    for row in table.rows:
        assert row.name in said
    for told in ("Action kept", "Who it is", "Attributes", "red_top", "scratch", "motion"):
        assert told in said
    for told in ("at most .55", "guess\N{NO-BREAK SPACE}.05", "± .03", "10 of 20", "1.2.3"):
        assert told in said
    assert "Few clips." in said and "1 of 2 controls failed" in " ".join(said.split())
    assert table.command in said


def test_page_and_notes_count_the_same_controls(table: Evaluation) -> None:
    """Those of one kind of attacker alone are counted beside, as nothing is void by them."""
    positive, _, size = table.controls
    poses, place = (replace(positive, kind=kind, passed=False) for kind in ("poses", "only place"))
    motion = replace(positive, kind="only motion")
    for controls, told in (
        ((positive, size), ("All 1 controls passed",)),
        (
            (positive, poses, place, motion, size),
            (
                "All 1 controls passed",
                "2 of 3 controls of one kind of attacker alone failed: poses, identity; only "
                "place, identity. Where one fails, a low score of that kind says nothing.",
            ),
        ),
        ((size,), ("No controls were run",)),
    ):
        made = replace(table, controls=controls)
        page = render_benchmark([made], title="Ward").partition("Whether the attackers can be")[2]
        shown = re.sub(r"<[^>]*>", "", page.partition("<details>")[0])
        for said in (shown, " ".join(notes(made))):
            assert all(words in said for words in told)


def test_the_best_on_test_stands_folded_beside_the_chosen(table: Evaluation) -> None:
    raw, figure, *others = table.rows
    name, (action, identity, *rest) = "gait kernel", figure.findings
    identity = replace(identity, highest=name, highest_score=score(0.2, 0.03))
    figure = replace(figure, findings=(action, identity, *rest))
    page = render_benchmark([replace(table, rows=(raw, figure, *others))], title="Ward")
    start = page.rindex("<details", 0, page.index(name))
    folded = page[start : page.index("</details>", start)]
    assert "best on test, chosen with hindsight: an upper bound" in folded
    assert ".06 [.04, .08]" in folded and ".20 [.17, .23]" in folded
    before = page[page.index('<div class="claim') : start]
    assert name not in before and "[.17, .23]" not in before


def test_what_matters_stands_first(page: str) -> None:
    order = ["hides who people are from these attackers", "Action kept", "<svg class=", "λ"]
    places = [page.index(one) for one in order]
    assert places == sorted(places)


def test_the_page_can_be_read_by_ear_and_by_keyboard(page: str) -> None:
    found = parsed(page)
    assert found.named("html")[0].get("lang") == "en" and len(found.named("h1")) == 1
    assert all(one.get("scope") in ("row", "col") for one in found.named("th"))
    assert len(found.named("caption")) == len(found.named("table"))
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = [a["id"] for _, a in found.elements if a.get("id")]
    assert len(ids) == len(set(ids))
    links = [str(a["href"])[1:] for a in found.named("a") if str(a.get("href")).startswith("#")]
    assert set(links) <= set(ids) and any("row" in one for one in links)
    assert "prefers-color-scheme: dark" in page and "prefers-reduced-motion" in page
    assert "@media print" in page and "aria-sort" in page


def test_headings_say_who_is_held_out_as_the_table_does(table: Evaluation) -> None:
    """Who it is was headed "same clips", which attackers are never tested on."""
    page = render_benchmark([replace(table, held_out="clips")], title="Ward")
    assert "top-1, clips unseen;" in page and "top-1, same people, other clips;" in page
    assert "same clips" not in page


def test_nothing_is_said_of_people_where_they_are_not_held_out(table: Evaluation) -> None:
    """Page, notes and differences said that intervals and tests are over people all the same."""
    clips = replace(table, held_out="clips")
    page = render_benchmark([clips], title="Ward")
    for claim in ("groups of people", "people whom no attacker", "over people"):
        assert claim not in page
    assert "20 independent groups of clips," in page and "over clips and over runs" in page
    differences = differences_markdown(clips, {}, [])
    assert "Intervals hold for clips and" in differences
    assert "strongest attackers, chosen for each test fold" in differences
    assert "of which up to ten are averaged" in differences
    page = render_benchmark([replace(table, held_out="groups")], title="Ward")
    assert "20 independent groups," in page


def test_the_claim_has_the_colour_of_what_it_says(table: Evaluation) -> None:
    """It was green where one column of people holds, though another one leaks."""
    raw, held, *_ = table.rows
    assert 'class="claim held"' in render_benchmark([replace(table, rows=(raw, held))], title="W")
    rows = tuple(
        replace(row, findings=(*row.findings, replace(person, label="person_b")))
        for row, person in ((raw, raw.findings[1]), (held, private("identity", 0.5)))
    )
    page = render_benchmark([replace(table, rows=rows)], title="Ward")
    assert "No method of this table hides who people are." in page
    assert 'class="claim leaks"' in page and 'class="claim held"' not in page


def test_a_void_evaluation_says_so_first(table: Evaluation) -> None:
    page = render_benchmark([replace(table, void="the dice were loaded")], title="Ward")
    assert page.index("the dice were loaded") < page.index("Action kept")


def test_several_evaluations_are_sections_of_one_page(table: Evaluation) -> None:
    other = from_json((RESULTS / "ucf11.json").read_text("utf-8"))  # without attributes
    page = render_benchmark([table, other], title="Two")
    assert page.count('<section class="data" id="data-') == 2
    assert other.data in " ".join(parsed(page).texts)


def test_an_empty_page_is_refused() -> None:
    with pytest.raises(UsageError, match="one evaluation or more"):
        render_benchmark([], title="None")


@pytest.mark.parametrize("name", ["uti", "ucf11", "mimes"])
def test_real_results_make_a_page_of_moderate_size(name: str) -> None:
    evaluation = from_json((RESULTS / f"{name}.json").read_text("utf-8"))
    page = render_benchmark([evaluation], title=name)
    assert len(page.encode()) < 1_500_000
    said = " ".join(parsed(page).texts)
    assert all(row.name in said for row in evaluation.rows)


def test_the_folder_has_the_same_as_files(table: Evaluation, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_report(tmp_path / folder, [table], title="Ward")
    names = {"index.html", "table.csv", "table.tex", "trade-off.png", "trade-off.svg"}
    assert {one.name for one in (tmp_path / "a").iterdir()} == names | {"results.json", "charts"}
    for name in sorted(names):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    assert from_json((tmp_path / "a" / "results.json").read_text("utf-8")) == table
    lines = csv.reader(io.StringIO((tmp_path / "a" / "table.csv").read_text("utf-8")))
    assert len(list(lines)) == 1 + sum(len(row.findings) or 1 for row in table.rows)
    drawn = (tmp_path / "a" / "trade-off.svg").read_text("utf-8")
    assert all(name in drawn for name in ("raw", "figure .5", "&lt;script&gt;"))
    page = (tmp_path / "a" / "index.html").read_text("utf-8")
    linked = {str(a.get("href")) for a in parsed(page).named("a")}
    assert names - {"index.html"} <= linked


def test_other_charts_are_svg_files_in_the_pages_colours(table: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path, [table], title="Ward")
    charts = sorted(f"charts/{one.name}" for one in (tmp_path / "charts").iterdir())
    page = (tmp_path / "index.html").read_text("utf-8")
    shown = [one for one in parsed(page).named("svg") if str(one.get("class", "")) != "strip"]
    assert charts == sorted(
        str(a["href"]) for a in parsed(page).named("a") if str(a["href"]).startswith("charts/")
    )
    start = "charts/ward-b-clinic-b-50"
    assert any("-weights-" in one for one in charts)
    assert f"{start}-parameter-figure.svg" in charts
    assert f"{start}-label-red-top.svg" in charts
    for name in charts:
        drawn = ElementTree.parse(tmp_path / name).getroot()
        space = "{http://www.w3.org/2000/svg}"
        assert drawn.tag == f"{space}svg" and drawn[0].tag == f"{space}title"
        assert float(drawn.attrib["width"]) > 100 and float(drawn.attrib["height"]) > 50
        assert drawn.attrib["aria-label"] in {one.get("aria-label") for one in shown}
        style = drawn[1].text or ""
        used = set(re.findall(r"var\((--[\w-]+)\)", style))
        assert {"--ink", "--first", "--paper"} <= used
        assert used <= set(re.findall(r"(--[\w-]+):", style)), "colours that the file lacks"
    own = tmp_path / "charts" / "of-the-user.svg"
    own.write_text("<svg/>")
    write_report(tmp_path, [replace(table, rows=table.rows[:2])], title="Ward")
    assert own.exists(), "a file that no page of ours links to"
    own.unlink()
    fewer = {f"charts/{one.name}" for one in (tmp_path / "charts").iterdir()}
    assert f"{start}-parameter-figure.svg" not in fewer and fewer < set(charts)


def test_a_page_of_the_users_own_is_not_replaced(table: Evaluation, tmp_path: Path) -> None:
    own, chart = tmp_path / "index.html", tmp_path / "charts" / "mine.svg"
    written = '<p>H\u00f4pital <a href="charts/mine.svg">mine</a>'.encode("latin-1")
    own.write_bytes(written)
    chart.parent.mkdir()
    chart.write_text("<svg/>")
    with pytest.raises(UsageError, match="would be replaced"):
        write_report(tmp_path, [table], title="Ward")
    assert own.read_bytes() == written and chart.exists()
    assert sorted(tmp_path.iterdir()) == [chart.parent, own]
    # a benchmark, whose results lie there, replaces the page, and not what another one links to
    write_report(tmp_path, [table], title="Ward", results=["results.json"])
    assert "Ward" in own.read_text("utf-8") and chart.exists()


@pytest.fixture(scope="module")
def chart(table: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a chart of a report."""
    folder = tmp_path_factory.mktemp("made")
    write_report(folder, [table], title="Ward")
    return min(one.name for one in (folder / "charts").iterdir())


@pytest.mark.parametrize(
    "name", ["table.csv", "table.tex", "results.json", "trade-off.png", "charts/{}"]
)
def test_files_of_the_users_own_are_not_replaced_where_no_page_is(
    table: Evaluation, tmp_path: Path, chart: str, name: str
) -> None:
    own = tmp_path / "paper" / name.format(chart)
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    with pytest.raises(UsageError, match="would be replaced"):
        write_report(tmp_path / "paper", [table], title="Ward")
    assert [one for one in (tmp_path / "paper").rglob("*") if one.is_file()] == [own]
    assert own.read_text() == "mine"


@pytest.mark.parametrize("name", ["index.html", "table.csv", "table.tex", "results.json"])
def test_files_of_the_users_own_are_told_before_anything_is_drawn(
    table: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A page with many tables takes minutes."""
    monkeypatch.setattr(benchmark_page, "_sections", None)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match="would be replaced"):
        write_report(tmp_path, [table], title="Ward")


def test_a_report_is_made_beside_the_results_that_it_is_of(
    table: Evaluation, tmp_path: Path
) -> None:
    """As `evaluate` writes them."""
    (tmp_path / "results.json").write_text(table.to_json() + "\n")
    write_report(tmp_path, [from_json((tmp_path / "results.json").read_text())], title="Ward")
    assert (tmp_path / "index.html").exists()


def test_a_page_that_an_earlier_version_wrote_is_replaced(
    table: Evaluation, tmp_path: Path
) -> None:
    """It says nothing of what made it."""
    write_report(tmp_path, [table], title="Ward")
    page, charts = tmp_path / "index.html", len(list((tmp_path / "charts").iterdir()))
    earlier = page.read_text("utf-8").replace('<meta name="generator" content="masquerade">\n', "")
    page.write_text(earlier, "utf-8")
    write_report(tmp_path, [replace(table, rows=table.rows[:2])], title="Ward")
    assert page.read_text("utf-8") != earlier
    assert len(list((tmp_path / "charts").iterdir())) < charts


def test_charts_of_one_name_are_files_of_their_own(table: Evaluation, tmp_path: Path) -> None:
    write_report(tmp_path, [table, table], title="Twice")
    names = [one.stem for one in (tmp_path / "charts").iterdir()]
    assert sum(name.endswith("-2") for name in names) == len(names) / 2 > 0


def test_results_that_lie_there_already_are_linked_and_not_written_again(
    table: Evaluation, tmp_path: Path
) -> None:
    write_report(tmp_path, [table], title="Ward", results=["results/mine/ward.json"])
    assert not (tmp_path / "results.json").exists()
    page = (tmp_path / "index.html").read_text("utf-8")
    assert {"href": "results/mine/ward.json"} in parsed(page).named("a")


def test_links_to_files_of_any_name_lead_there(table: Evaluation, tmp_path: Path) -> None:
    name = "results/mine/ward #1 50%20?.json"
    write_report(tmp_path, [table], title="Ward", results=[name])
    page = parsed((tmp_path / "index.html").read_text("utf-8"))
    links = [str(one.get("href")) for one in page.named("a")]
    assert "results/mine/ward%20%231%2050%2520%3F.json" in links
    assert name in page.texts


def test_a_table_without_columns_has_no_numbers(table: Evaluation) -> None:
    page = render_benchmark([replace(table, rows=(table.rows[-1],))], title="Ward")
    assert '<h3 id="data-1-table">No numbers</h3>' in page
    assert '<h3 id="data-1-table">Three numbers for each' in render_benchmark([table], title="Ward")


@pytest.mark.parametrize(("value", "said"), [(-0.001, ".00"), (-0.01, "-.01"), (0.0, ".00")])
def test_no_number_is_less_than_nothing(value: float, said: str) -> None:
    assert number(value) == said


def test_results_of_several_evaluations_have_names_of_their_own(
    table: Evaluation, tmp_path: Path
) -> None:
    write_report(tmp_path, [table, table], title="Twice")
    found = sorted(tmp_path.glob("results-*.json"))
    assert [one.name[:10] for one in found] == ["results-1-", "results-2-"]


def test_rows_that_differ_in_one_parameter_become_charts(table: Evaluation) -> None:
    (one,) = find_ablations(table.rows)
    assert one.prefix == "figure" and one.values == (0.5, 0.7)
    assert "One parameter at a time" in render_benchmark([table], title="Ward")


def test_the_ablations_that_a_suite_states_are_drawn_by_their_parameter(table: Evaluation) -> None:
    stated = [
        Ablation(parameter="keep", rows={"1": "figure .7", "0.5": "figure .5", "2": "[later]"}),
        Ablation(parameter="what draws", rows={"a network": HOSTILE, "a figure": "figure .5"}),
        Ablation(parameter="nothing", rows={"0": "figure .5", "1": "not a row"}),
    ]
    keep, draws = stated_ablations(table.rows, stated)
    assert keep.values == (0.5, 1.0) and keep.rows[0].name == "figure .5"
    assert draws.values == ("a network", "a figure"), "words stay in their order"
    context = TableContext(ablations=stated)
    said = text_of(render_benchmark([table], title="Ward", contexts=[context]))
    assert "One parameter at a time" in said and "what draws" in said and "a network" in said


@pytest.mark.parametrize("odd", ["inf", "nan"])
def test_a_parameter_that_is_no_finite_number_is_a_word(table: Evaluation, odd: str) -> None:
    stated = [Ablation(parameter="p", rows={odd: "figure .7", "0.5": "figure .5", "0": "raw"})]
    (one,) = stated_ablations(table.rows, stated)
    assert one.values == (odd, "0.5", "0")
    (panel,) = ablation_panels(table, stated)
    assert not re.search(r'="[^"]*\bnan\b[^"]*"', panel.chart.replace('aria-label="p', ""))


def test_panels_and_cells_of_void_results_say_so(table: Evaluation) -> None:
    void = replace(table, void="the dice were loaded")
    (panel,), (sound,) = ablation_panels(void), ablation_panels(table)
    assert "parameter (void)</title>" in panel.chart and "figure (void)</text>" in panel.chart
    assert "void" not in sound.chart
    cells = main_cells(render_benchmark([void], title="Ward"))
    assert [[" void" in cell for cell in row] for row in cells] == [
        [False] * 3,
        *[[False, True, True]] * 3,
    ]


def test_cells_of_void_labels_say_so(table: Evaluation) -> None:
    """Of raw video, too, which has no verdict."""
    rows = tuple(
        replace(
            row,
            findings=tuple(
                replace(one, void="nobody reads it") if one.label == "identity" else one
                for one in row.findings
            ),
        )
        for row in table.rows
    )
    cells = main_cells(render_benchmark([replace(table, rows=rows)], title="Ward"))
    assert len(cells) == 4
    assert all([" void" in cell for cell in row] == [False, True, False] for row in cells)


def main_cells(page: str) -> list[list[str]]:
    """The cells of the main table, row by row, of those that were measured."""
    start = page.index('<table class="main">')
    rows = page[start : page.index("</table>", start)].split("<tr ")
    found = [re.findall(r'<td class="number" data-label.*?</td>', row, re.S) for row in rows]
    return [[re.sub("<svg.*?</svg>", "", cell, flags=re.S) for cell in row] for row in found if row]


def test_void_scores_are_not_drawn_over_a_parameter(table: Evaluation) -> None:
    label = headline_columns(table)[1].label
    rows = tuple(
        replace(
            row,
            findings=tuple(
                replace(one, void="nobody reads it") if one.label == label else one
                for one in row.findings
            ),
        )
        for row in table.rows
    )
    whole, without = ablation_panels(table), ablation_panels(replace(table, rows=rows))
    assert "(void)" in without[0].chart and "(void)" not in whole[0].chart
    assert without[0].chart.count('class="whisker"') < whole[0].chart.count('class="whisker"')


def test_a_guide_stands_where_a_bar_of_its_value_ends() -> None:
    """Raw video's too, which is drawn after that of a guess."""
    bar = Bar(name="a", score=Score(0.95, None, None, 9, 9), kind="a", title="a")
    chart = bars([bar], title="t", floor=0.5, raw=0.95)
    left, width = map(
        float, re.findall(r'class="bar" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', chart)[0]
    )
    (raw,) = re.findall(r'class="raw" x1="([\d.]+)"', chart)
    assert float(raw) == pytest.approx(left + width, abs=0.1)


def test_a_chart_of_a_parameter_has_intervals_and_a_guess_of_each_label(table: Evaluation) -> None:
    (panel,) = ablation_panels(table)
    columns = headline_columns(table)
    for column in columns:
        floor = floor_value(column)
        assert floor is not None and f"; a guess: {number(floor)}</title>" in panel.chart
    assert panel.chart.count('class="floor"') == len(columns) and 'class="whisker"' in panel.chart


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("downsample 4", ("downsample", 4.0)),
        ("stprivacy keep=.5", ("stprivacy keep", 0.5)),
        ("spact, no mask", ("spact", "no mask")),
        ("blur weak", ("blur", "weak")),
        ("blacken", ("", "")),
    ],
)
def test_names_have_a_prefix_and_a_parameter(name: str, parts: tuple[str, float | str]) -> None:
    assert split_name(name) == parts


def text_of(page: str) -> str:
    return " ".join(" ".join(parsed(page).texts).split())


def test_printed_scores_that_a_guess_reaches_are_marked(table: Evaluation) -> None:
    page = render_benchmark(
        [table], title="Ward", published=[Beside(table=load_published("stprivacy-known"))]
    )
    said = text_of(page)
    assert "Raw 51.44 .673 ▼ 75.58" in said and "74.60" not in said
    assert "all positive scores .696 and knows nothing of a video" in said
    assert "▼" not in render_benchmark([table], title="Ward")


def test_printed_scores_keep_their_digits(table: Evaluation) -> None:
    papers = [Beside(table=load_published(name)) for name in ("stprivacy-unseen", "spact-novel")]
    said = text_of(render_benchmark([table], title="Ward", published=papers))
    assert "81.04 .645 ▼ 74.60" in said, "with the zero at the end"
    assert "24.1 36.1" in said and ".46" in said, "without a digit that is not printed"


def test_our_lines_stand_under_the_printed_ones_of_one_table(table: Evaluation) -> None:
    ours = [
        OurScores(title="VP-HMDB51", attackers="the strongest", cells={"VITA": {0: "47.00"}}),
        OurScores(title="VP-UCF101", attackers="the strongest", cells={"VITA": {3: "77.00"}}),
        OurScores(
            title="again", attackers="others", cells={"VITA": {0: "9.00"}, "mine": {0: "n/a"}}
        ),
        OurScores(title="tried", attackers="tiny", cells={"VITA": {4: ".111"}}, void="a try-out"),
    ]
    beside = Beside(table=load_published("stprivacy-known"), ours=ours)
    lines = [(one.name, one.ours, one.note) for one in printed_lines(beside)]
    at = lines.index(("VITA", False, ""))
    assert lines[at + 1 : at + 4] == [
        ("VITA", True, ""),
        ("VITA", True, ""),
        ("VITA", True, "void"),
    ]
    assert lines[-1] == ("mine", True, "")
    cells = [[cell.text for cell in one.cells] for one in printed_lines(beside)]
    assert cells[at + 1] == ["47.00", "", "", "77.00", "", ""], "of two tables, in one line"
    said = text_of(render_benchmark([table], title="Ward", published=[beside]))
    assert said.count("VITA, measured here") == 3 and "Measured here as VP-UCF101" in said
    assert "Void: a try-out." in said


def test_data_have_their_origin_and_terms_beside_the_table(table: Evaluation) -> None:
    origin = DataOrigin(
        name="VP <HMDB51>",
        holds="Clips.",
        origin="films (https://example.org/hmdb), by `data convert`",
        terms="Research only",
    )
    page = render_benchmark([table], title="Ward", contexts=[TableContext(origins=[origin])])
    said = text_of(page)
    assert (
        "VP <HMDB51> : Clips. Origin: films ( https://example.org/hmdb ), by data convert" in said
    )
    assert "Terms: Research only." in said
    assert {"href": "https://example.org/hmdb", "rel": "noreferrer"} in parsed(page).named("a")
    assert page.index("Research only") < page.index("What is kept against what is read")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "short.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(0, 200, 40):
            pixels = np.full((48, 64, 3), level, np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels)):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path


def test_videos_are_in_the_page_and_do_not_play_by_themselves(
    table: Evaluation, clip: Path
) -> None:
    context = TableContext(videos=[Clip("figure .5", clip, "a <walk>")])
    page = render_benchmark([table], title="Ward", contexts=[context])
    (video,) = parsed(page).named("video")
    assert str(video["src"]).startswith("data:video/mp4;base64,")
    assert str(video["poster"]).startswith("data:image/jpeg;base64,")
    assert {"muted", "loop", "playsinline", "controls"} <= video.keys()
    assert video["preload"] == "none" and "autoplay" not in video
    assert video["aria-label"] == "figure .5: a <walk>" and "a &lt;walk&gt;" in page


def test_a_page_with_videos_is_its_owners_alone(
    table: Evaluation, clip: Path, tmp_path: Path
) -> None:
    page, context = tmp_path / "index.html", TableContext(videos=[Clip("blur", clip, "walk")])
    write_report(tmp_path, [table], title="Ward")
    assert page.stat().st_mode & 0o044
    write_report(tmp_path, [table], title="Ward", contexts=[context])
    assert page.stat().st_mode & 0o777 == 0o600, "a weak method shows people"


def test_videos_of_one_source_stand_side_by_side(table: Evaluation, clip: Path) -> None:
    names = [("raw", "walk"), ("raw", "fall"), ("blur", "walk"), ("blur", "fall")]
    context = TableContext(
        videos=[Clip(name, clip, shows) for name, shows in names], left_out=["elr: it failed"]
    )
    page = render_benchmark([table, table], title="Ward", contexts=[TableContext(), context])
    shown = [str(one["aria-label"]) for one in parsed(page).named("video")]
    assert shown == ["raw: walk", "blur: walk", "raw: fall", "blur: fall"]
    assert "1 not shown elr: it failed" in text_of(page)
    assert page.index("<video") > page.index('id="data-2"')


def test_videos_beyond_the_limit_are_left_out_and_named(table: Evaluation, clip: Path) -> None:
    (one,), none = embed_clips([Clip("first", clip)])
    size = len(one.url) + len(one.poster)
    both = [Clip("first", clip, "walk"), Clip("second", clip, "walk")]
    found, left_out = embed_clips(both, limit=2 * size - 1)
    assert [c.name for c in found] == ["first"] and [c.clip.name for c in left_out] == ["second"]
    assert not none
    contexts = [TableContext(videos=both)]
    page = render_benchmark([table], title="Ward", contexts=contexts, limit=2 * size - 1)
    assert "second, walk: the page would become too large." in page


def test_each_summary_has_a_name_of_its_own_for_screen_readers(table: Evaluation) -> None:
    """What is `hidden` is not read out, so that all were called the same."""
    page = render_benchmark([table], title="Ward")
    summaries = re.findall("<summary>(each label.*?)</summary>", page)
    read_out = [re.sub(r"<(\w+)[^>]* hidden[^>]*>.*?</\1>", "", text) for text in summaries]
    assert len(read_out) > 2 and len(set(read_out)) == len(read_out)
    assert ".unseen { position: absolute;" in page


def test_control_characters_of_names_leave_charts_well_formed(
    table: Evaluation, tmp_path: Path
) -> None:
    """Browsers show nothing of an ill-formed picture but an error."""
    raw, held, *others = table.rows
    odd = replace(held, name="blur \x01\x1b[31m \udce9")
    write_report(tmp_path, [replace(table, rows=(raw, odd, *others))], title="Ward")
    for path in [tmp_path / "trade-off.svg", *(tmp_path / "charts").glob("*.svg")]:
        assert ElementTree.parse(path).getroot().tag.endswith("svg")
    drawn = (tmp_path / "trade-off.svg").read_text("utf-8")
    assert r"blur \x01\x1b[31m \udce9" in drawn


@pytest.mark.parametrize("content", [b"", b"no video at all", None], ids=["empty", "other", "cut"])
def test_a_damaged_video_is_left_out_and_named(
    table: Evaluation, clip: Path, tmp_path: Path, content: bytes | None
) -> None:
    """It ended the whole benchmark before the next table."""
    damaged = tmp_path / "blur-walk.mp4"
    damaged.write_bytes(clip.read_bytes()[:40] if content is None else content)
    context = TableContext(videos=[Clip("blur", damaged, "walk"), Clip("raw", clip, "walk")])
    page = render_benchmark([table], title="Ward", contexts=[context])
    assert "blur, walk: blur-walk.mp4 cannot be decoded." in page
    assert [str(one["aria-label"]) for one in parsed(page).named("video")] == ["raw: walk"]


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"give \.mp4"):
        embed_clips([Clip("a", tmp_path / "a.avi")])
    with pytest.raises(UsageError, match="no file"):
        embed_clips([Clip("a", tmp_path / "a.mp4")])


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or sys.platform != "linux", reason="needs chromium")
def test_videos_play_in_a_browser_without_a_network(
    table: Evaluation, clip: Path, tmp_path: Path
) -> None:
    from playwright.sync_api import sync_playwright

    videos = [Clip(name, clip, "walk") for name in ("raw", "blur")]
    write_report(tmp_path, [table], title="Ward", contexts=[TableContext(videos=videos)])
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True).new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "index.html").as_uri())
        assert page.evaluate("[...document.querySelectorAll('video')].every(one => one.paused)")
        page.get_by_role("button", name="Play all").click()
        played = (
            "[...document.querySelectorAll('video')].every(v => v.played.length && v.currentTime"
        )
        page.wait_for_function(f"{played} > .1)")
        assert page.evaluate(f"{played} && v.readyState >= 2 && v.videoWidth === 64)")
        page.get_by_role("button", name="Pause all").click()
        page.get_by_role("button", name="Play all").wait_for()
        page.locator("video").first.press("Enter")
        page.get_by_role("button", name="Pause all").wait_for()
        browser.close()
    assert not [url for url in asked if not url.startswith(("file:", "data:"))]


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None or sys.platform != "linux", reason="needs chromium")
def test_a_browser_sorts_the_table(table: Evaluation, tmp_path: Path) -> None:
    page = render_benchmark([table], title="Ward")
    click = (
        "<script>document.querySelectorAll('.sort')[2].click();"
        "document.title = [...document.querySelectorAll('.methods th')].map(x => "
        "x.firstChild.textContent).join('|') + '|' + document.querySelector('[aria-sort]')"
        ".getAttribute('aria-sort')</script>"
    )
    path = tmp_path / "page.html"
    path.write_text(page.replace("</body>", f"{click}</body>"), "utf-8")
    assert CHROMIUM is not None
    line = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()]
    dom = subprocess.run(line, capture_output=True, text=True, timeout=300, check=True).stdout
    (title,) = re.findall(r"<title>(Ward|figure.*?)</title>", dom)[:1]
    assert (
        title == 'figure .5|figure .7|&lt;script&gt;alert("&amp;")&lt;/script&gt;|[later]|ascending'
    )
    assert 'type="range"' in dom and "<fieldset" in dom

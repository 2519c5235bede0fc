"""The picture of the action that is kept against what attackers read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import matplotlib
import pytest
from made_rows import action, private, row
from matplotlib import font_manager
from matplotlib.figure import Figure

from masquerade.evaluation.results import Evaluation
from masquerade.report.benchmark_page import render_benchmark, write_report
from masquerade.report.figure_files import dots_per_inch, picture, readable_fonts
from masquerade.report.trade_off import trade_off_figure


@pytest.mark.parametrize(("value", "left"), [(0.6, 0.35), (0.36, 0.34), (0.2, 0.18)])
def test_a_point_below_a_guess_is_in_the_picture(
    table: Evaluation, value: float, left: float
) -> None:
    """Its name was written beside a marker that was cut off."""
    raw = row("raw", None, action(0.8), private("red_top", 0.9, protects=False))
    turned = row("turned", "blur", action(0.5), private("red_top", value, protects=False))
    low = replace(table, rows=(raw, turned))
    (axes,) = trade_off_figure([low]).axes
    assert axes.get_xlim()[0] == pytest.approx(left)
    page = render_benchmark([low], title="Ward")
    start = page.index('class="chart scatter"')
    ticks = page[start : page.index("</svg>", start)].count(">.20<")
    assert ticks == (2 if value == 0.2 else 1), "of the axis upwards, and of that across"


def test_a_picture_of_void_results_says_so(table: Evaluation) -> None:
    """It may stand anywhere, without the page's banner."""
    raw = row("raw", None, action(0.8), private("red_top", 0.9, protects=False))
    one = replace(table, rows=(raw,))
    for void, said in ((None, ""), ("the dice were loaded", f"{table.data} (void)")):
        (axes,) = trade_off_figure([replace(one, void=void)]).axes
        assert axes.get_title(loc="left") == said
    first, second = trade_off_figure([one, replace(one, void="the dice were loaded")]).axes
    assert first.get_title(loc="left") == table.data
    assert second.get_title(loc="left") == f"{table.data} (void)"


def test_the_title_fits_above_a_single_plot(table: Evaluation) -> None:
    raw = row("raw", None, action(0.8), private("red_top", 0.9, protects=False))
    figure = trade_off_figure([replace(table, rows=(raw,))], aims=[{"red_top": 0.6}])
    assert figure.get_suptitle().endswith("green: the aim")
    (title,) = [text for text in figure.texts if text.get_text() == figure.get_suptitle()]
    box = title.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_a_picture_of_very_many_tables_is_not_larger_than_can_be_drawn() -> None:
    """From 107 tables on Matplotlib refused it."""
    assert dots_per_inch((13.0, 5.6), 110) == 110
    assert dots_per_inch((13.0, 5.6 * 200), 110) * 5.6 * 200 < 2**16
    tall = Figure(figsize=(0.2, 700))
    assert picture(tall, "png").startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_names_in_any_script_are_drawn_without_a_warning(
    table: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Installed fonts draw what Matplotlib's own has not; without one there is a box."""
    raw, held, *others = table.rows
    odd = replace(table, data="病棟", rows=(raw, replace(held, name="病棟 ぼかし"), *others))
    write_report(tmp_path, [odd], title="Ward")
    assert "病棟 ぼかし" in (tmp_path / "trade-off.svg").read_text("utf-8")
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["Yu Gothic", "Comic Sans"])
    with readable_fonts():
        assert matplotlib.rcParams["font.family"] == ["sans-serif", "Yu Gothic"]


def test_the_axis_of_the_action_begins_below_its_points(table: Evaluation) -> None:
    """And says where a guess lies, if that is beneath it."""
    label = private("red_top", 0.9, protects=False)
    shown = {}
    for value in (0.8, 0.2):
        rows = row("raw", None, action(0.8), label), row("low", "blur", action(value), label)
        (axes,) = trade_off_figure([replace(table, rows=rows)]).axes
        words = [one.get_text() for one in axes.texts]
        shown[value] = axes.get_ylim()[0], any(one.startswith("below this axis") for one in words)
    assert shown == {0.8: (pytest.approx(0.6), True), 0.2: (0, False)}

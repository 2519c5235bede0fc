"""The trade-off of benchmarks as a figure: the action that is kept against what attackers read.

Each method is a point with its 95 % intervals; up and to the left is better. Floors are lines.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from masquerade.evaluation.protocols import NOT_OF_PEOPLE, TAKES
from masquerade.evaluation.results import Evaluation, LabelResult, Row
from masquerade.methods import METHODS
from masquerade.report.figure_files import dots_per_inch, readable_fonts
from masquerade.report.label_places import Box, place_labels
from masquerade.report.numbers_and_columns import number
from masquerade.report.verdicts import floor_value, headline_columns, is_identity, void_mark
from masquerade.text import escape

LEARNED, PLAIN, RAW, AIM = "#d55e00", "#0072b2", "#000000", "#009e73"  # Okabe and Ito's
HOW_TO_READ = "lines are 95 % intervals; dotted: the best guess"
TRAINED = "squares are trained, dots are not, "

ROOM_BELOW = 0.15  # of the action, below the least value, for its interval
MARGIN = 0.02  # left of the least value, which a marker takes
BESIDE = 0.4  # inches beside a plot, into which names of points may reach
TITLE_WIDTH = 95  # characters that stand above one plot
DRAWN_LABELS = 2  # of a headline, at most


def is_learned(row: Row) -> bool:
    """Whether a row's method was trained."""
    method = METHODS.get(row.method or "")
    return method is not None and method.learned


def trade_off_labels(evaluation: Evaluation) -> list[LabelResult]:
    """The private labels of the headline that are drawn, who it is first."""
    private = [column for column in headline_columns(evaluation) if column.use == "private"]
    return private[:DRAWN_LABELS]


def axis_start(finding: LabelResult, values: Iterable[float]) -> float:
    """The left end of a private label's axis.

    .35 of AUROC, else 0, or left of the least value where that is lower.
    """
    least = 0.35 if finding.metric == "AUROC" else 0.0
    return min([least, *(value - MARGIN for value in values)])


def trade_off_figure(
    evaluations: Sequence[Evaluation], *, aims: Sequence[Mapping[str, float]] = ()
) -> Figure:
    """A row of plots for each evaluation, one a private label.

    Args:
        evaluations: whose first labels of the headline are drawn.
        aims: for each evaluation values of labels that are wanted, drawn as green lines.
    """
    with readable_fonts():
        return _draw(evaluations, aims)


def _draw(evaluations: Sequence[Evaluation], aims: Sequence[Mapping[str, float]]) -> Figure:
    drawn = [(evaluation, trade_off_labels(evaluation)) for evaluation in evaluations]
    columns = max(1, *(len(labels) for _, labels in drawn))
    layout = ConstrainedLayoutEngine(w_pad=BESIDE)
    size = (6.5 * columns, 5.6 * len(drawn))
    figure = Figure(figsize=size, dpi=dots_per_inch(size, 100), layout=layout)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(drawn), columns, squeeze=False)
    points: list[tuple[Axes, list[tuple[float, float, str]]]] = []
    for line, (evaluation, labels), wanted in zip(
        grid, drawn, aims or [{}] * len(drawn), strict=True
    ):
        for axes in line[len(labels) :]:
            axes.set_axis_off()
        for axes, label in zip(line, labels, strict=False):
            points.append((axes, _panel(axes, evaluation, label, wanted)))
            if len(drawn) > 1 or columns > 1 or evaluation.void:
                heading = escape(f"{evaluation.data}{void_mark(evaluation)}")
                axes.set_title(heading, fontsize=9, loc="left", color="#444444", parse_math=False)
    aim = "; green: the aim" if any(aims) else ""
    trained = (
        TRAINED
        if any(is_learned(row) for evaluation in evaluations for row in evaluation.rows)
        else ""
    )
    title = f"Action kept against what attackers read: {trained}{HOW_TO_READ}{aim}"
    figure.suptitle(textwrap.fill(title, TITLE_WIDTH * columns), fontsize=10)
    figure.canvas.draw()  # the layout decides where points come to lie
    figure.set_layout_engine("none")
    for axes, own in points:
        _name(axes, own)
    return figure


def _panel(
    axes: Axes, evaluation: Evaluation, label: LabelResult, aims: Mapping[str, float]
) -> list[tuple[float, float, str]]:
    """Plot all methods on one private label; returns the points and their names."""
    points = []
    utility = next((c for c in headline_columns(evaluation) if c.use == "utility"), None)
    for row in evaluation.rows:
        private = row.finding(label.label)
        action = row.finding(utility.label) if utility is not None else None
        if action is not None and private is not None and _spot(axes, row, action, private):
            points.append((private.score.value or 0.0, action.score.value or 0.0, escape(row.name)))
    guides = ((label, axes.axvline), (utility, axes.axhline))
    for column, line in guides:
        floor = floor_value(column)
        if floor is not None:
            line(floor, color="grey", linewidth=0.8, linestyle=":")
        if column is not None and label.label in aims and column.label in aims:
            line(aims[column.label], color=AIM, linewidth=0.8)
    whose = f"{label.label}, {label.metric}: {_held_out(label, evaluation)}"
    axes.set_xlabel(escape(f"{whose} (less is better)"), parse_math=False)
    if utility is not None:
        whose = f"{utility.label}, {utility.metric}: {_held_out(utility, evaluation)}"
        axes.set_ylabel(escape(f"{whose} (more is better)"), parse_math=False)
    _scale_action(axes, floor_value(utility), points)
    axes.set_xlim(left=axis_start(label, [x for x, _, _ in points]), right=1.05)
    axes.spines[["top", "right"]].set_visible(False)
    return points


def _scale_action(
    axes: Axes, guess: float | None, points: Sequence[tuple[float, float, str]]
) -> None:
    """Let the axis of the action begin below the points, and say where a guess is beneath it."""
    lowest = min((y for _, y, _ in points), default=0.0)
    bottom = max(0.0, math.floor(10 * (lowest - ROOM_BELOW)) / 10)
    axes.set_ylim(bottom, 1.01)
    if guess is not None and guess < bottom:
        words = f"below this axis: a guess, {number(guess)}"
        axes.annotate(words, (0.01, 0.01), xycoords="axes fraction", fontsize=8, color="grey")


def _held_out(finding: LabelResult, evaluation: Evaluation) -> str:
    who = evaluation.held_out
    if is_identity(finding):
        return f"{'people' if who in (TAKES, *NOT_OF_PEOPLE) else who} in train, other clips"
    return f"{who} not in train"


def _spot(axes: Axes, row: Row, action: LabelResult, private: LabelResult) -> bool:
    """One method; False where it has no score, or one that means nothing."""
    x, y = private.score, action.score
    if x.value is None or y.value is None or private.void or action.void:
        return False
    known = None not in (x.low, x.high, y.low, y.high)
    learned = is_learned(row)
    axes.errorbar(
        x.value,
        y.value,
        xerr=[[x.value - (x.low or 0)], [(x.high or 0) - x.value]] if known else None,
        yerr=[[y.value - (y.low or 0)], [(y.high or 0) - y.value]] if known else None,
        fmt="D" if row.method is None else "s" if learned else "o",
        color=RAW if row.method is None else LEARNED if learned else PLAIN,
        markersize=6,
        elinewidth=0.6,
        alpha=0.9,
    )
    return True


def _name(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's name where it covers no point and no other name."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    at = [tuple(axes.transData.transform((x, y))) for x, y, _ in points]
    style = {"fontsize": 8, "va": "center", "parse_math": False}
    sizes = []
    for _, _, name in points:
        text = axes.text(0, 0, name, **style)  # type: ignore[arg-type]
        box = text.get_window_extent()
        text.remove()
        sizes.append((box.width + 2, box.height))
    area = Box(axes.bbox.x0 + 2, axes.bbox.y0 + 2, figure.bbox.x1 - 2, axes.bbox.y1)
    area = area._replace(right=min(area.right, axes.bbox.x1 + BESIDE * figure.dpi))
    places = place_labels(at, sizes, area, radius=5.0)
    points_per_pixel = 72 / figure.dpi
    for (x, y, name), (px, py), place in zip(points, at, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            ((place.x - px) * points_per_pixel, (place.y - py) * points_per_pixel),
            textcoords="offset points",
            ha="right" if place.leftwards else "left",
            bbox={"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "grey"}
            if place.far
            else None,
            **style,  # type: ignore[arg-type]
        )

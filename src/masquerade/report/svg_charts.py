"""Charts of an evaluation as inline SVG, which take their colours from the page's style sheet.

All text is escaped, each chart has a title, and each mark says its numbers when it is pointed at.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from masquerade.metrics.intervals import Score
from masquerade.report.label_places import Box, place_labels
from masquerade.report.numbers_and_columns import number, with_interval

EMPTY = Markup("")
WIDE = set("mwMW%@")
NARROW = set("iljtfrI.,:;'| -()[]")
SHAPES = ("circle", "square", "diamond", "triangle")
"""Marks of a series, so that colour is never the only sign."""
COLOURS = ("first", "second", "third", "fourth", "fifth")  # of series, as CSS classes


@dataclass(frozen=True, kw_only=True)
class Point:
    """One method in a trade-off plot."""

    name: str
    x: Score
    y: Score
    kind: str  # a CSS class that colours it, such as a verdict
    shape: str  # in SHAPES
    title: str  # that is shown when it is pointed at
    link: str = ""  # id of what on the page tells more


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar with its interval."""

    name: str
    score: Score
    kind: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart over a parameter."""

    name: str
    values: tuple[Score | None, ...]  # one a place on the x axis
    kind: str  # a CSS class
    shape: str  # in SHAPES
    floor: float | None = None  # a guess's score, a dotted line across the chart; None: not shown


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A line across a plot, such as a floor."""

    value: float
    kind: str  # a CSS class: floor, raw or limit
    name: str


def text_width(text: str, size: float) -> float:
    """About how wide a text is in a sans-serif font of a size, in pixels."""
    units = sum(0.88 if c in WIDE else 0.36 if c in NARROW else 0.61 for c in text)
    return units * size


def scatter(
    points: Sequence[Point],
    *,
    title: str,
    across: str,
    up: str,
    least: float = 0.0,
    vertical: Sequence[Guide] = (),
    horizontal: Sequence[Guide] = (),
) -> Markup:
    """A trade-off plot of scores in [least, 1] across and [0, 1] up, with 95 % intervals."""
    width, height, left, right, top, bottom = 450.0, 410.0, 46.0, 12.0, 14.0, 48.0

    def px(value: float) -> float:
        return left + (max(value, least) - least) / (1.03 - least) * (width - left - right)

    def py(value: float) -> float:
        return height - bottom - value * (height - top - bottom)

    shapes: list[Markup] = []
    for limit in (guide for guide in vertical if guide.kind == "limit"):
        shapes.append(
            _rect(px(least), top, px(limit.value) - px(least), height - top - bottom, "zone")
        )
    for tick in _ticks(least):
        shapes.append(_line(px(tick), top, px(tick), height - bottom, "grid"))
        shapes.append(_text(px(tick), height - bottom + 16, number(tick), "tick", "middle"))
    for tick in _ticks(0.0):
        shapes.append(_line(left, py(tick), width - right, py(tick), "grid"))
        shapes.append(_text(left - 6, py(tick) + 4, number(tick), "tick", "end"))
    for guide in vertical:
        shapes.append(_guide(px(guide.value), top, px(guide.value), height - bottom, guide))
    for guide in horizontal:
        shapes.append(_guide(left, py(guide.value), width - right, py(guide.value), guide))
    for guide in horizontal:
        shapes.append(_text(width - right, py(guide.value) - 4, guide.name, "note", "end"))
    for index, guide in enumerate(vertical):
        if guide.kind != "limit":
            y = height - bottom - 6 - 13 * index
            end = px(guide.value) > 0.7 * width
            x = px(guide.value) + (-4 if end else 4)
            shapes.append(_text(x, y, guide.name, "note", "end" if end else "start"))
    shapes.append(_text((left + width - right) / 2, height - 8, across, "axis", "middle"))
    shapes.append(
        Markup(
            '<text class="axis" text-anchor="middle" transform="translate(12 {}) rotate(-90)">'
        ).format(_n((top + height - bottom) / 2))
        + Markup("{}</text>").format(up)
    )
    shapes += _placed(points, px, py, Box(left + 2, top, width, height - bottom - 4))
    return _svg(width, height, title, shapes, "scatter")


def bars(
    entries: Sequence[Bar],
    *,
    title: str,
    floor: float | None = None,
    raw: float | None = None,
) -> Markup:
    """Horizontal bars in [0, 1] with 95 % intervals, a floor and raw video as lines."""
    width, step, top = 360.0, 21.0, 20.0
    names = max((text_width(bar.name, 12) for bar in entries), default=0.0)
    left, right = min(132.0, names + 10), 36.0
    height = top + step * len(entries) + 6

    def px(value: float) -> float:
        return left + min(max(value, 0.0), 1.0) * (width - left - right)

    shapes: list[Markup] = []
    for index, bar in enumerate(entries):
        y = top + step * index
        inner = [_text(left - 6, y + 13, _shortened(bar.name, left - 8, 12), "name", "end")]
        if bar.score.value is None:
            inner.append(_text(left + 4, y + 13, "n/a", "note", "start"))
        else:
            x = px(bar.score.value)
            inner.append(_rect(left, y + 3, max(x - left, 1.5), step - 8, "bar"))
            if bar.score.low is not None and bar.score.high is not None:
                low, high, middle = px(bar.score.low), px(bar.score.high), y + step / 2 - 1
                inner.append(_line(low, middle, high, middle, "whisker"))
            inner.append(
                _text(width - right + 5, y + 13, number(bar.score.value), "value", "start")
            )
        shapes.append(_group(bar.kind, bar.title, inner))
    for value, kind, word in ((floor, "floor", "guess"), (raw, "raw", "raw")):
        if value is not None:
            shapes.append(
                _guide(
                    px(value),
                    top - 2,
                    px(value),
                    height - 4,
                    Guide(value=value, kind=kind, name=f"{word}: {number(value)}"),
                )
            )
            near = floor is not None and raw is not None and abs(px(raw) - px(floor)) < 34
            is_right_one = (kind == "raw") == ((raw or 0.0) >= (floor or 0.0))
            anchor = "middle" if not near else "start" if is_right_one else "end"
            aside = {"middle": 0.0, "end": -3.0, "start": 3.0}[anchor]
            shapes.append(_text(px(value) + aside, top - 7, word, "note", anchor))
    return _svg(width, height, title, shapes, "bars")


def lines(
    places: Sequence[float] | Sequence[str],
    series: Sequence[Series],
    *,
    title: str,
    across: str,
    named: Iterable[str] = (),
    width: float = 340.0,
    height: float = 250.0,
) -> Markup:
    """Series in [0, 1] over numbers, joined by lines, or over names, as marks side by side.

    Args:
        named: series whose name is written at their end; a legend tells the others.
    """
    wanted = set(named)
    room = max(
        (text_width(line.name, 12) + 12 for line in series if line.name in wanted), default=14
    )
    left, right, top, bottom = 34.0, min(room, 0.35 * width), 10.0, 42.0
    numbers = [float(place) for place in places if not isinstance(place, str)]
    joined = len(numbers) == len(places) and len(places) > 0
    span = (max(numbers) - min(numbers)) if joined else 0.0

    def px(index: int) -> float:
        inner = width - left - right - 24
        if joined and span > 0:
            return left + 12 + (numbers[index] - min(numbers)) / span * inner
        return left + 12 + (index + 0.5) / len(places) * inner

    def py(value: float) -> float:
        return height - bottom - value * (height - top - bottom)

    shapes: list[Markup] = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        shapes.append(_line(left, py(tick), width - right, py(tick), "grid"))
        shapes.append(_text(left - 5, py(tick) + 4, number(tick), "tick", "end"))
    last = -100.0
    for index, place in enumerate(places):
        label = place if isinstance(place, str) else f"{place:g}"
        slot = (width - left - right - 24) / max(1, len(places))
        short = _shortened(label, max(slot, 30.0), 11) if isinstance(place, str) else label
        if px(index) - last >= text_width(short, 11) + 3:
            shapes.append(_text(px(index), height - bottom + 15, short, "tick", "middle"))
            last = px(index)
    shapes.append(_text((left + width - right) / 2, height - 8, across, "axis", "middle"))
    ends: list[tuple[float, Series]] = []
    for number_of, line in enumerate(series):
        aside = 0.0 if joined else (number_of - (len(series) - 1) / 2) * 9
        known = [(i, s) for i, s in enumerate(line.values) if s is not None and s.value is not None]
        inner: list[Markup] = []
        if line.floor is not None:
            inner.append(_line(left, py(line.floor), width - right, py(line.floor), "floor"))
        if joined and len(known) > 1:
            path = " ".join(f"{_n(px(i))},{_n(py(s.value or 0.0))}" for i, s in known)
            inner.append(Markup('<polyline class="path" points="{}"/>').format(path))
        for i, s in known:
            x, y = px(i) + aside, py(s.value or 0.0)
            if s.low is not None and s.high is not None:
                inner.append(_line(x, py(s.low), x, py(s.high), "whisker"))
            if line.shape:
                inner.append(_mark(x, y, line.shape, 3.6))
        scores = ", ".join(
            f"{places[i] if isinstance(places[i], str) else format(places[i], 'g')}: "
            f"{with_interval(s) if s.low is not None else number(s.value)}"
            for i, s in known
        )
        guess = "" if line.floor is None else f"; a guess: {number(line.floor)}"
        shapes.append(_group(f"series {line.kind}", f"{line.name}: {scores}{guess}", inner))
        if known and line.name in wanted:
            ends.append((py(known[-1][1].value or 0.0), line))
    shapes += _end_names(ends, width - right - 8, height - bottom)
    return _svg(width, height, title, shapes, "lines")


def strip(
    score: Score,
    *,
    floor: float | None,
    raw: float | None,
    most: float | None,
    kind: str,
    title: str,
) -> Markup:
    """A small picture of one score in a table's cell: its interval between floor and raw video."""
    shapes = [_rect(0, 6, 120, 2, "track")]
    if most is not None:
        shapes.append(_line(120 * (score.value or 0.0), 7, 120 * most, 7, "most"))
    if score.low is not None and score.high is not None:
        shapes.append(_line(120 * score.low, 7, 120 * score.high, 7, "band"))
    for value, word in ((floor, "floor"), (raw, "raw")):
        if value is not None:
            shapes.append(_line(120 * value, 0, 120 * value, 14, word))
    if score.value is not None:
        shapes.append(_mark(120 * score.value, 7, "circle", 3.6))
    inner = Markup("").join(shapes)
    return Markup(
        '<svg class="strip {}" viewBox="-4 0 128 14" aria-hidden="true"><title>{}</title>{}</svg>'
    ).format(kind, title, inner)


def _placed(
    points: Sequence[Point],
    px: Callable[[float], float],
    py: Callable[[float], float],
    area: Box,
) -> list[Markup]:
    """Intervals below, then marks, then names where they cover neither."""
    known = [point for point in points if point.x.value is not None and point.y.value is not None]
    at = [(px(point.x.value or 0.0), py(point.y.value or 0.0)) for point in known]
    sizes = [(text_width(point.name, 12) + 4, 14.0) for point in known]
    places = place_labels(at, sizes, area)
    shapes = []
    for point, (x, y), place in zip(known, at, places, strict=True):
        inner = []
        if point.x.low is not None and point.x.high is not None:
            inner.append(_line(px(point.x.low), y, px(min(point.x.high, 1.03)), y, "whisker"))
        if point.y.low is not None and point.y.high is not None:
            inner.append(_line(x, py(point.y.low), x, py(point.y.high), "whisker"))
        if place.far:
            inner.append(_line(x, y, place.x, place.y, "leader"))
        inner.append(_mark(x, y, point.shape, 5.2))
        end = "end" if place.leftwards else "start"
        aside = place.x + (-2 if place.leftwards else 2)
        inner.append(_text(aside, place.y + 4, point.name, "name halo", end))
        group = _group(f"point {point.kind}", point.title, inner)
        shapes.append(
            Markup('<a href="#{}" aria-label="{}">{}</a>').format(point.link, point.title, group)
            if point.link
            else group
        )
    return shapes


def _end_names(ends: Sequence[tuple[float, Series]], x: float, low: float) -> list[Markup]:
    """Names at the ends of lines, pushed apart where they would overlap."""
    shapes, last = [], low + 14
    for y, line in sorted(ends, key=lambda pair: -pair[0]):
        last = min(y, last - 13)
        shapes.append(_text(x, last + 4, line.name, f"name halo {line.kind}", "start"))
    return shapes


def _ticks(least: float) -> list[float]:
    steps = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0) if least < 0.3 else (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    return [tick for tick in steps if tick >= least]


def _shortened(text: str, room: float, size: float) -> str:
    if text_width(text, size) <= room:
        return text
    while text and text_width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        kind, *map(_n, (x1, y1, x2, y2))
    )


def _guide(x1: float, y1: float, x2: float, y2: float, guide: Guide) -> Markup:
    return Markup("<g><title>{}</title>{}</g>").format(
        guide.name, _line(x1, y1, x2, y2, guide.kind)
    )


def _rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        kind, *map(_n, (x, y, width, height))
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str) -> Markup:
    return Markup('<text class="{}" x="{}" y="{}" text-anchor="{}">{}</text>').format(
        kind, _n(x), _n(y), anchor, text
    )


def _mark(x: float, y: float, shape: str, r: float) -> Markup:
    if shape == "circle":
        return Markup('<circle class="mark" cx="{}" cy="{}" r="{}"/>').format(*map(_n, (x, y, r)))
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "diamond": ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        "triangle": ((0, -1.25), (1.2, 0.9), (-1.2, 0.9)),
    }[shape]
    path = " ".join(f"{_n(x + 0.95 * r * dx)},{_n(y + 0.95 * r * dy)}" for dx, dy in corners)
    return Markup('<polygon class="mark" points="{}"/>').format(path)


def _group(kind: str, title: str, inner: Sequence[Markup]) -> Markup:
    return Markup('<g class="{}"><title>{}</title>{}</g>').format(kind, title, EMPTY.join(inner))


def _svg(width: float, height: float, title: str, shapes: Sequence[Markup], kind: str) -> Markup:
    role = "group" if kind == "scatter" else "img"  # whose points are links
    return Markup(
        '<svg class="chart {}" viewBox="0 0 {} {}" role="{}" aria-label="{}">'
        "<title>{}</title>{}</svg>"
    ).format(kind, _n(width), _n(height), role, title, title, EMPTY.join(shapes))

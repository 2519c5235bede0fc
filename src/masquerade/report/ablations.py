"""Ablations of an evaluation: rows that differ in one parameter, as small charts of the same scale.

A suite states which rows these are. Of other results, rows belong together where their names do:
`stprivacy keep .5` and `stprivacy keep .7` differ in a number, `spact, no mask` and
`spact, no budget` in what follows the comma, `blur weak` and `blur strong` in the last word.
"""

import math
import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from markupsafe import Markup

from masquerade.benchmark.suite import Ablation
from masquerade.evaluation.results import Evaluation, LabelResult, Row
from masquerade.report.svg_charts import COLOURS, SHAPES, Series, lines
from masquerade.report.verdicts import floor_value, headline_columns, title_of, void_mark

NUMBER = re.compile(r"(?P<prefix>.+?)[\s=,]+(?P<number>-?(?:\d+\.?\d*|\.\d+))$")


class ComparedRows(NamedTuple):
    """Rows that differ in one parameter."""

    prefix: str  # the parameter, or what their names share
    values: tuple[float, ...] | tuple[str, ...]  # of the parameter, a row each
    rows: tuple[Row, ...]


class Panel(NamedTuple):
    """The chart of one parameter, in a grid of ablation charts."""

    prefix: str
    chart: Markup


def find_ablations(rows: Sequence[Row]) -> list[ComparedRows]:
    """All groups of two or more rows whose names share a prefix, in the order of the table."""
    measured = [row for row in rows if row.method is not None and row.findings]
    groups: dict[str, list[tuple[float | str, Row]]] = {}
    for row in measured:
        prefix, value = split_name(row.name)
        if prefix:
            groups.setdefault(prefix, []).append((value, row))
    ablations = []
    for prefix, members in groups.items():
        plain = [row for row in measured if row.name == prefix]
        numbers = [(v, row) for v, row in members if isinstance(v, float)]
        if len(numbers) == len(members) > 1 and len({v for v, _ in numbers}) == len(numbers):
            numbers.sort(key=lambda pair: pair[0])
            ablations.append(
                ComparedRows(prefix, tuple(v for v, _ in numbers), tuple(row for _, row in numbers))
            )
        elif len(members) + len(plain) > 1:
            names = (*("as it is" for _ in plain), *(str(v) for v, _ in members))
            ablations.append(ComparedRows(prefix, names, (*plain, *(row for _, row in members))))
    return ablations


def stated_ablations(rows: Sequence[Row], stated: Sequence[Ablation]) -> list[ComparedRows]:
    """The groups that a suite states, of which two rows or more were measured."""
    measured = {row.name: row for row in rows if row.findings}
    ablations = []
    for ablation in stated:
        pairs = [(v, measured[name]) for v, name in ablation.rows.items() if name in measured]
        if len(pairs) < 2:
            continue
        values: tuple[float, ...] | tuple[str, ...] = tuple(v for v, _ in pairs)
        with suppress(ValueError):  # words stay in their order, and so do infinite numbers
            if all(math.isfinite(float(v)) for v, _ in pairs):
                pairs.sort(key=lambda pair: float(pair[0]))
                values = tuple(float(v) for v, _ in pairs)
        ablations.append(ComparedRows(ablation.parameter, values, tuple(row for _, row in pairs)))
    return ablations


def split_name(name: str) -> tuple[str, float | str]:
    """What a row's name may share with others, and its parameter; "" where it has none."""
    number = NUMBER.fullmatch(name)
    if number:
        return number["prefix"], float(number["number"])
    for separator in (", ", " "):
        prefix, matched, value = name.rpartition(separator)
        if matched:
            return prefix, value
    return "", ""


def ablation_panels(evaluation: Evaluation, stated: Sequence[Ablation] = ()) -> list[Panel]:
    """Draw a chart for each ablation: scores over the values of its parameter.

    Of the main table's labels, each with 95 % intervals and a guess's score.
    """
    columns, rows = headline_columns(evaluation)[: len(COLOURS)], evaluation.rows
    ablations = stated_ablations(rows, stated) if stated else find_ablations(rows)
    return [_panel(ablation, columns, void_mark(evaluation)) for ablation in ablations]


def _panel(ablation: ComparedRows, columns: Sequence[LabelResult], mark: str) -> Panel:
    series = []
    for index, column in enumerate(columns):
        findings = [row.finding(column.label) for row in ablation.rows]
        void = all(finding is None or finding.void for finding in findings)
        scores = tuple(
            None if finding is None or finding.void else finding.score for finding in findings
        )
        shape = SHAPES[index % len(SHAPES)]
        series.append(
            Series(
                name=f"{title_of(column)} (void)" if void else title_of(column),
                values=scores,
                kind=COLOURS[index],
                shape=shape,
                floor=floor_value(column),
            )
        )
    chart = lines(
        ablation.values,
        series,
        title=f"{ablation.prefix}: scores over its parameter{mark}",
        across=f"{ablation.prefix}{mark}",
        height=210,
    )
    return Panel(ablation.prefix, chart)

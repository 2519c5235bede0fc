"""A printed table as markdown, with a mark at every score that a guess reaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from masquerade.benchmark.guessing import KNOWS, Beaten, GuessFloor, beaten_by_guessing
from masquerade.benchmark.published import PublishedColumn, PublishedTable

_MARK: dict[str, str] = {"nothing": "\\*", "a recognized action": "†", "the true action": "†"}


def markdown(
    table: PublishedTable,
    *,
    here: Mapping[str, Mapping[int, str]] | None = None,
    floors: Sequence[GuessFloor] = (),
) -> str:
    """The table as markdown: its heading, where it is printed, scores, and what to know of them.

    `*` marks scores that a guess reaches which knows nothing of the video, and `†` those that it
    reaches by the action.

    Args:
        here: our own cells by row and column, each row of which stands under the printed one.
        floors: of guesses, beside the published ones.
    """
    here = here or {}
    lines = [f"### {table.name}: {table.title}", "", f"{table.citation}, {table.where}.", ""]
    lines += [f"{table.protocol} {table.source}", ""]
    if not table.rows and not here:
        return "\n".join(lines)
    beaten_cells = beaten_by_guessing(table, more=floors)
    beaten = {(cell.row, cell.column): cell for cell in beaten_cells}
    lines.append("| | " + " | ".join(_heading(column) for column in table.columns) + " |")
    lines.append("| --- |" + " --- |" * len(table.columns))
    for i, row in enumerate(table.rows):
        cells = [
            _cell(text, column, beaten.get((i, j)))
            for j, (text, column) in enumerate(zip(row.printed, table.columns, strict=True))
        ]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
        lines += _ours(row.name, table, here)
    printed = {row.name for row in table.rows}
    for name in here:
        lines += [] if name in printed else _ours(name, table, here)
    lines.append("")
    lines += _legend(table, tuple(beaten.values()))
    return "\n".join(lines)


def _ours(name: str, table: PublishedTable, here: Mapping[str, Mapping[int, str]]) -> list[str]:
    if name not in here:
        return []
    cells = [markdown_cell(here[name].get(at, "")) for at in range(len(table.columns))]
    return [f"| *{markdown_cell(name)}, here* | " + " | ".join(cells) + " |"]


def markdown_line(text: str) -> str:
    """Text as a part of a Markdown page: in one line, and without tags."""
    return " ".join(text.splitlines()).replace("<", "&lt;")


def markdown_cell(text: str) -> str:
    """Text as a cell of a Markdown table: in one line, without tags, and with slashes for bars."""
    return markdown_line(text).replace("|", "/")


def _legend(table: PublishedTable, beaten: Sequence[Beaten]) -> list[str]:
    """What the marks of a table mean: a line for the highest floor of each kind and column."""
    lines = []
    for knows in KNOWS:
        for column in range(len(table.columns)):
            in_column = [cell for cell in beaten if cell.column == column]
            reach = {f for cell in in_column for f in cell.floors if f.knows == knows}
            shown = any(cell.knows == knows for cell in in_column)
            if not reach or not shown:
                continue
            best = max(reach, key=lambda floor: floor.value)
            at = table.columns[column]
            assumes = f"; assumed: {best.assumes}" if best.assumes else ""
            lines.append(
                f"{_MARK[knows]} {at.dataset}, {at.label}, {at.metric}: "
                f"{format_score(best.value, at)} is scored by "
                f"{best.guess!r}, who knows {knows} of a video ({best.how}{assumes})."
            )
    return ["  \n".join(lines), ""] if lines else []


def format_score(value: float, column: PublishedColumn) -> str:
    """A score of ours as the papers print its metric: percent with two digits, F1 and f below 1."""
    digits = 3 if column.metric == "F1" else 2
    return format_printed(f"{value:.{digits}f}", column)


def format_printed(text: str, column: PublishedColumn) -> str:
    """A printed score with all its digits, and of F1 and f without the zero before the point."""
    return text if column.unit == "%" else text.removeprefix("0")


def _heading(column: PublishedColumn) -> str:
    arrow = "↑" if column.better == "higher" else "↓"
    unit = ", %" if column.unit == "%" else ""
    return f"{column.dataset} {column.label}, {column.metric}{unit} {arrow}"


def _cell(text: str, column: PublishedColumn, beaten: Beaten | None) -> str:
    if not text:
        return "–"  # noqa: RUF001
    return format_printed(text, column) + (_MARK[beaten.knows] if beaten else "")

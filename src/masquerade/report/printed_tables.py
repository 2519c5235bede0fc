"""Papers' printed tables as a page shows them, beside what was measured here.

Any objects of these shapes will do, so that this room need not know where tables come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class PrintedColumn(Protocol):
    """A column of a printed table."""

    @property
    def dataset(self) -> str: ...
    @property
    def metric(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def measures(self) -> str: ...  # `action`, `private` or `trade-off`


class PrintedRow(Protocol):
    """One method of a printed table."""

    @property
    def name(self) -> str: ...
    @property
    def note(self) -> str: ...
    @property
    def values(self) -> Sequence[float | None]: ...  # one a column, as printed


class PrintedTable(Protocol):
    """A table that a paper printed."""

    @property
    def citation(self) -> str: ...
    @property
    def where(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def columns(self) -> Sequence[PrintedColumn]: ...
    @property
    def rows(self) -> Sequence[PrintedRow]: ...


class Guess(Protocol):
    """A trivial attacker, who sees no video."""

    @property
    def guess(self) -> str: ...  # its name
    @property
    def knows(self) -> str: ...  # `nothing`, or the action
    @property
    def value(self) -> float: ...  # in the table's unit


class ReachedScore(Protocol):
    """A printed score that a trivial attacker reaches."""

    @property
    def row(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def floors(self) -> Sequence[Guess]: ...  # that reach it; who knows least first


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A printed table, and what stands beside it here.

    Args:
        table: as the paper printed it.
        reached: the scores of it that a guess reaches.
        ours: name and scores of what was measured here, in the same columns and units.
    """

    table: PrintedTable
    reached: Sequence[ReachedScore] = ()
    ours: Sequence[tuple[str, Sequence[float | None]]] = ()


class PrintedCell(NamedTuple):
    """A score as the page shows it."""

    text: str
    reached: str  # which guess reaches it; "" for none


def printed_cells(one: Beside) -> list[list[PrintedCell]]:
    """The cells of a printed table, row by row."""
    reached = {(each.row, each.column): each.floors for each in one.reached}
    rows = []
    for i, row in enumerate(one.table.rows):
        cells = []
        for j, (value, column) in enumerate(zip(row.values, one.table.columns, strict=True)):
            said = ""
            if floors := reached.get((i, j)):
                best = format_printed(floors[0].value, column.metric)
                said = f"{floors[0].guess} scores {best} and knows {floors[0].knows} of a video"
            cells.append(PrintedCell(format_printed(value, column.metric), said))
        rows.append(cells)
    return rows


def format_printed(value: float | None, metric: str) -> str:
    """A score as papers print it: F1 and f as shares, all else in percent."""
    if value is None:
        return ""
    share = metric.lower().startswith("f")
    return f"{value:.3f}".removeprefix("0") if share else f"{value:.1f}"

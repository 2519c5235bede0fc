"""Papers' printed tables as a page shows them, each with our own lines under the printed ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from masquerade.benchmark.beside import OurScores
from masquerade.benchmark.guessing import beaten_by_guessing
from masquerade.benchmark.published import PublishedTable
from masquerade.benchmark.published_markdown import format_printed, format_score


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A printed table, and the tables of ours that stand beside it."""

    table: PublishedTable
    ours: Sequence[OurScores] = ()


class PrintedCell(NamedTuple):
    """A score as the page shows it."""

    text: str
    reached: str = ""  # which guess reaches it; "" for none


class PrintedLine(NamedTuple):
    """A line of the table: a printed one, or one of ours under it."""

    name: str
    note: str
    ours: bool
    cells: tuple[PrintedCell, ...]


def printed_lines(beside: Beside) -> list[PrintedLine]:
    """The lines of a printed table, each of ours under the printed one of its name."""
    table, ours = beside.table, _joined(beside.ours)
    floors = list(dict.fromkeys(floor for scores in beside.ours for floor in scores.floors))
    beaten = beaten_by_guessing(table, more=floors)
    reached = {(cell.row, cell.column): cell.floors for cell in beaten}
    lines = []
    for i, row in enumerate(table.rows):
        cells = []
        for j, (text, column) in enumerate(zip(row.printed, table.columns, strict=True)):
            reached_by = ""
            if reaching := reached.get((i, j)):
                best, least = format_score(reaching[0].value, column), reaching[0]
                reached_by = f"{least.guess} scores {best} and knows {least.knows} of a video"
            cells.append(PrintedCell(format_printed(text, column), reached_by))
        lines.append(PrintedLine(row.name, row.note, False, tuple(cells)))
        lines += [_of_ours(*line, table) for line in ours if line[0] == row.name]
    names = {row.name for row in table.rows}
    return lines + [_of_ours(*line, table) for line in ours if line[0] not in names]


def _joined(tables: Sequence[OurScores]) -> list[tuple[str, dict[int, str], bool]]:
    """Our lines as (row, cells, void): tables of other columns share one line for each row."""
    lines: list[tuple[str, dict[int, str], bool]] = []
    for table in tables:
        for row, cells in table.cells.items():
            void = table.void is not None
            same = (
                line_cells
                for name, line_cells, line_void in lines
                if (name, line_void) == (row, void)
            )
            free = next(
                (line_cells for line_cells in same if line_cells.keys().isdisjoint(cells)), None
            )
            if free is None:
                lines.append((row, dict(cells), void))
            else:
                free.update(cells)
    return lines


def _of_ours(name: str, cells: Mapping[int, str], void: bool, table: PublishedTable) -> PrintedLine:
    texts = tuple(PrintedCell(cells.get(at, "")) for at in range(len(table.columns)))
    return PrintedLine(name, "void" if void else "", True, texts)

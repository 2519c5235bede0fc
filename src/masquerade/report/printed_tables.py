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


def printed_lines(one: Beside) -> list[PrintedLine]:
    """The lines of a printed table, each of ours under the printed one of its name."""
    table, ours = one.table, _joined(one.ours)
    floors = list(dict.fromkeys(floor for mine in one.ours for floor in mine.floors))
    beaten = beaten_by_guessing(table, more=floors)
    reached = {(each.row, each.column): each.floors for each in beaten}
    found = []
    for i, row in enumerate(table.rows):
        cells = []
        for j, (text, column) in enumerate(zip(row.printed, table.columns, strict=True)):
            said = ""
            if reaching := reached.get((i, j)):
                best, least = format_score(reaching[0].value, column), reaching[0]
                said = f"{least.guess} scores {best} and knows {least.knows} of a video"
            cells.append(PrintedCell(format_printed(text, column), said))
        found.append(PrintedLine(row.name, row.note, False, tuple(cells)))
        found += [_of_ours(*line, table) for line in ours if line[0] == row.name]
    names = {row.name for row in table.rows}
    return found + [_of_ours(*line, table) for line in ours if line[0] not in names]


def _joined(every: Sequence[OurScores]) -> list[tuple[str, dict[int, str], bool]]:
    """Our lines as (row, cells, void): tables of other columns share one line for each row."""
    found: list[tuple[str, dict[int, str], bool]] = []
    for one in every:
        for row, cells in one.cells.items():
            void = one.void is not None
            same = (mine for name, mine, other in found if (name, other) == (row, void))
            free = next((mine for mine in same if mine.keys().isdisjoint(cells)), None)
            if free is None:
                found.append((row, dict(cells), void))
            else:
                free.update(cells)
    return found


def _of_ours(name: str, cells: Mapping[int, str], void: bool, table: PublishedTable) -> PrintedLine:
    texts = tuple(PrintedCell(cells.get(at, "")) for at in range(len(table.columns)))
    return PrintedLine(name, "void" if void else "", True, texts)

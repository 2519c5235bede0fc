"""How often people are recognized behind each method, gathered from the committed tables.

python benchmarks/recognized.py    # writes docs/results/recognized.md; measures nothing
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from masquerade.evaluation import from_json
from masquerade.evaluation.results import Evaluation, Row
from masquerade.report.numbers_and_columns import highest_upper_end, number, with_interval

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
LABEL = "identity"
PAIRS = 20  # of people in UT-Interaction, of which a guess draws one
REAL, LOOKS, GAIT = "uti", "identity-looks", "identity-shuffled"
ORDER = (
    "raw",
    "downsample 4",
    "elr 16",
    "pixelate 16",
    "blur strong",
    "mask-mean",
    "blacken",
    "selective",
    "selective, gait jitter",
    "frame difference",
    "skeleton",
    "silhouette",
    "mannequin",
    "mannequin with gait jitter",
)
ABOUT = f"""# Who is recognized behind each method

Made by `python benchmarks/recognized.py` from [UT-Interaction]({REAL}.md) and from 16 drawn people
[with looks of their own]({LOOKS}.md) and [in looks that change from clip to clip]({GAIT}.md); three
seeds each, by the strongest attackers of all kinds. Nothing is measured anew. Shares of clips, with
95 % intervals; an empty cell was not measured.

- *named*: attackers know the person, or on UT-Interaction the pair, from other clips, and name who
  is in one clip. *At most*: no attacker, also none that was not chosen, reads more by the upper end
  of its interval.
- *from all clips*: the answers to all test clips of a person are averaged, as by somebody who has a
  folder of them. Of the real pairs, with six clips each, they tell as much as single clips, to .04.
- *found again*: attackers never met the person. Of all other clips of such people the one that is
  most like a clip shows the same person.
- Where looks change from clip to clip, only the gait is the person's own.

Methods that learn have no row: their runs were not attacked on these videos by these attackers.
"""
Cell = Callable[[Row], str]


def named(row: Row) -> str:
    found = row.finding(LABEL)
    return "" if found is None else with_interval(found.score)


def at_most(row: Row) -> str:
    found = row.finding(LABEL)
    most = None if found is None else highest_upper_end(row, found)
    return "" if most is None else number(most)


def from_all(row: Row) -> str:
    found = row.finding(LABEL)
    return "" if found is None else with_interval(found.pooled)


def found_again(row: Row) -> str:
    mine = [one for one in row.reidentification if one.gallery == "anonymized"]
    return with_interval(mine[0].scores["rank-1"]) if mine and mine[0].scores else ""


def guessed(evaluation: Evaluation) -> tuple[str, str, str]:
    """A guess's share of clips named, of people named from all clips, and of those found again."""
    raw = evaluation.rows[0]
    found = raw.finding(LABEL)
    assert found is not None
    floors = [score.value for score in found.floors.values() if score.value is not None]
    known = max(*floors, 1 / PAIRS)  # the oldest of the tables lacks the guess that draws a pair
    again = raw.reidentification[0].floors["rank-1"]
    return number(known), number(found.pooled_floor), number(again)


COLUMNS: tuple[tuple[str, str, Cell, int | None], ...] = (
    ("real pairs: named", REAL, named, 0),
    ("at most", REAL, at_most, None),
    ("found again", REAL, found_again, 2),
    ("drawn people: named", LOOKS, named, 0),
    ("from all clips", LOOKS, from_all, 1),
    ("found again", LOOKS, found_again, 2),
    ("looks change: named", GAIT, named, 0),
    ("from all clips", GAIT, from_all, 1),
)
"""Heads, tables, what is in the cells, and the place of its guess."""


def page() -> str:
    """The page, as Markdown."""
    tables = {
        name: from_json((RESULTS / f"{name}.json").read_text("utf-8"))
        for name in (REAL, LOOKS, GAIT)
    }
    lines = [["video", *(head for head, *_ in COLUMNS)], ["---"] * (len(COLUMNS) + 1)]
    guesses = {name: guessed(table) for name, table in tables.items()}
    lines.append(
        ["a guess", *("" if at is None else guesses[name][at] for _, name, _, at in COLUMNS)]
    )
    for wanted in ORDER:
        cells = []
        for _, name, cell, _ in COLUMNS:
            row = next((one for one in tables[name].rows if one.name == wanted), None)
            cells.append("" if row is None else cell(row))
        lines.append([wanted, *cells])
    return "\n".join([ABOUT, *(f"| {' | '.join(cells)} |" for cells in lines), ""])


if __name__ == "__main__":
    (RESULTS / "recognized.md").write_text(page(), "utf-8")

"""How often do intervals of one seed's attackers hold the scores of another seed's?

    python benchmarks/seeds.py real uti --work bench/

It reads what `masquerade benchmark real -o bench/` left. Attackers that differ in their seed alone
(first weights, order, augmentation, and the people who are held out to choose among them) are
scored by themselves: each seed as a table of its own. A cell is one label of one row. Its interval
is over the people of the test, who are the same for all seeds; it should hold the others' scores in
nine cells of ten.
"""

from __future__ import annotations

import argparse
import itertools

from saved_predictions import SavedTable, add_arguments, read_saved

from masquerade.benchmark.suite import read_suite
from masquerade.evaluation.attacker_choice import join_table
from masquerade.evaluation.results import LabelResult
from masquerade.evaluation.scoring import score_table

ASKED = 90.0  # per cent of the cells


def tables(saved: SavedTable) -> list[dict[tuple[str, str], LabelResult]]:
    """The findings of each seed by row and label."""
    return [
        {
            (row, finding.label): finding
            for row, findings in zip(
                saved.rows,
                score_table(join_table(saved.lines(seed=seed)), saved.truth, saved.specs),
                strict=True,
            )
            for finding in findings
        }
        for seed in saved.seeds
    ]


def share_held(every: list[dict[tuple[str, str], LabelResult]]) -> tuple[int, int]:
    """In how many pairs of seeds and cells the interval of one holds the score of the other."""
    held = count = 0
    for one, other in itertools.permutations(every, 2):
        for cell, finding in one.items():
            mine, value = finding.score, other[cell].score.value
            if mine.low is not None and mine.high is not None and value is not None:
                count += 1
                held += mine.low <= value <= mine.high
    return held, count


def page(given: argparse.Namespace, every: list[dict[tuple[str, str], LabelResult]]) -> str:
    """The page: the share of all cells, and each cell by seed."""
    held, count = share_held(every)
    lines = [
        f"# Seeds of attackers: {read_suite(given.suite).table(given.table).title}",
        "",
        f"Made by `python benchmarks/seeds.py {given.suite} {given.table}` from the predictions of",
        f"`masquerade benchmark {given.suite}`: {len(every)} seeds, each scored as a table of its",
        "own.",
        f"Intervals of one seed hold the scores of another in {held} of {count} comparisons:",
        f"{100 * held / max(1, count):.0f} % (asked: {ASKED:.0f}).",
        "",
        f"| video | label | guess | {' | '.join(f'seed {at}' for at in range(len(every)))} |",
        f"| --- | --- | --- |{' --- |' * len(every)}",
    ]
    for row, label in every[0]:
        scores = [one[row, label].score for one in every]
        cells = [
            "n/a" if s.value is None else f"{s.value:.2f} [{s.low:.2f}, {s.high:.2f}]"
            for s in scores
        ]
        guess = max(one.value or 0.0 for one in every[0][row, label].floors.values())
        lines.append(f"| {row} | {label} | {guess:.2f} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    given = parser.parse_args()
    every = tables(read_saved(given))
    text = page(given, every)
    (given.out / f"seeds-{given.table}.md").write_text(text)
    print(text)
    held, count = share_held(every)
    return 0 if 100 * held >= ASKED * count else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""How often do intervals of one seed's attackers hold the scores of another seed's?

    python benchmarks/seeds.py uti --work FOLDER      # after `real.py uti --work FOLDER`

Attackers that differ in their seed alone (first weights, order, augmentation, and the people who
are held out to choose among them) are scored by themselves: each seed as a table of its own. A cell
is one label of one row. Its interval is over the people of the test, who are the same for all
seeds; it should hold the others' scores in nine cells of ten.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

from real import BENCHMARKS, RESULTS, manifest_of

from masquerade.evaluation.attackers import WITHOUT_FILES, families_on_raw, get_families
from masquerade.evaluation.evaluator import PREDICTIONS
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.metric_specs import metric_specs
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.presets import get_preset
from masquerade.evaluation.protocols import protocols
from masquerade.evaluation.results import Finding
from masquerade.evaluation.scoring import score_table, scoring_inputs

ASKED = 90.0  # per cent of the cells


def tables(name: str, work: Path) -> list[dict[tuple[str, str], Finding]]:
    """The findings of each seed by row and label."""
    benchmark = BENCHMARKS[name]
    folder = work / (benchmark.data if isinstance(benchmark.data, str) else name)
    manifest = manifest_of(benchmark.data, folder, 0)
    found = protocols(manifest, folds=benchmark.folds)
    truth, specs = GroundTruth.of(manifest, found), metric_specs(manifest, found, ())
    models = get_preset(benchmark.preset).attackers
    families = get_families(WITHOUT_FILES, models)
    saved = Predictions.load(folder / PREDICTIONS)
    rows = list(dict.fromkeys(key.method for key in saved.blocks))
    every = []
    for seed in sorted({key.seed for key in saved.blocks}):
        lines = [
            (
                row,
                scoring_inputs(
                    saved.select(method=row, seed=seed),
                    truth,
                    families_on_raw(families) if row == "raw" else families,
                    models,
                ),
            )
            for row in rows
        ]
        scored = score_table(lines, truth, specs)
        every.append(
            {
                (row, finding.label): finding
                for row, findings in zip(rows, scored, strict=True)
                for finding in findings
            }
        )
    return every


def share_held(every: list[dict[tuple[str, str], Finding]]) -> tuple[int, int]:
    """In how many pairs of seeds and cells the interval of one holds the score of the other."""
    held = count = 0
    for one, other in itertools.permutations(every, 2):
        for cell, finding in one.items():
            mine, value = finding.score, other[cell].score.value
            if mine.low is not None and mine.high is not None and value is not None:
                count += 1
                held += mine.low <= value <= mine.high
    return held, count


def page(name: str, every: list[dict[tuple[str, str], Finding]]) -> str:
    """The page: the share of all cells, and each cell by seed."""
    held, count = share_held(every)
    lines = [
        f"# Seeds of attackers: {BENCHMARKS[name].title}",
        "",
        f"Made by `python benchmarks/seeds.py {name}` from the predictions of",
        f"`benchmarks/real.py {name}`: {len(every)} seeds, each scored as a table of its own.",
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
    parser.add_argument("name", choices=BENCHMARKS)
    parser.add_argument(
        "--work", type=Path, default=Path(tempfile.gettempdir()) / "masquerade-real"
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    every = tables(given.name, given.work)
    text = page(given.name, every)
    (given.out / f"seeds-{given.name}.md").write_text(text)
    print(text)
    held, count = share_held(every)
    return 0 if 100 * held >= ASKED * count else 1


if __name__ == "__main__":
    raise SystemExit(main())

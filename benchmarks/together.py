"""Do the strongest attackers read more together than the first of them alone?

    python benchmarks/together.py real uti --work bench/

It reads what `masquerade benchmark real -o bench/` left.

Test clips have no part in it. People of the validation clips (or clips, where the same people are
in train) are divided into three parts, and each part is read by what the other two choose, in eight
divisions that are drawn by seed. `first`: the one attacker with the best score. `together`: one to
ten of the best, averaged, as tables do it.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from saved_predictions import SavedTable, add_arguments, read_saved

from masquerade.benchmark.suite import read_suite
from masquerade.datasets.manifest import IntArray
from masquerade.evaluation.attacker_choice import (
    MAX_ENSEMBLE_SIZE,
    ScoringInput,
    choose,
    join_table,
    score_attackers,
)
from masquerade.evaluation.ground_truth import SplitTruth
from masquerade.evaluation.metric_specs import MetricSpec
from masquerade.evaluation.predictions import ByLabel
from masquerade.evaluation.protocols import SAME
from masquerade.metrics.statistic import Floats

PARTS, DIVISIONS = 3, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class PartsTruth(SplitTruth):
    """Clips in parts that are chosen for as test folds are, with the rates of their own folds.

    A clip of own fold f and part p has the fold PARTS f + p, of which the choice takes p.
    """

    own: SplitTruth  # the same clips, and perhaps more, in their own folds

    def rates_by_fold(self, label: str) -> Floats:
        """(PARTS F, C) training rates, those of each own fold once for each part."""
        return np.repeat(self.own.rates_by_fold(label), PARTS, axis=0)


def without_test(mine: ScoringInput, division: int, *, by_clip: bool) -> ScoringInput:
    """Validation clips in place of the test, in parts that the other two parts choose for."""
    truth = mine.validation
    _, which = np.unique(truth.clips if by_clip else truth.groups, return_inverse=True)
    part_of = (np.random.default_rng(division).permutation(which.max() + 1) % PARTS)[which]
    others = [np.flatnonzero(part_of != part) for part in range(PARTS)]
    order = np.concatenate(others)
    chosen_for = np.repeat(np.arange(PARTS), [len(rows) for rows in others])
    return replace(
        mine,
        validation=in_parts(truth, order, chosen_for),
        test=in_parts(truth, np.arange(len(part_of)), part_of),
        tests=(),
        outputs=tuple(
            replace(one, validation=at_rows(one.validation, order), test=(one.validation,))
            for one in mine.outputs
        ),
        prior=False,
    )


def in_parts(truth: SplitTruth, rows: IntArray, part: IntArray) -> PartsTruth:
    """These clips, each in the part that is given for it."""
    return PartsTruth(
        clips=truth.clips[rows],
        fold=PARTS * truth.fold[rows] + part,
        people=truth.people[rows],
        groups=truth.groups[rows],
        labels=at_rows(truth.labels, rows),
        actions=truth.actions[rows],
        # as many as there are parts, by which the choice counts its folds
        fold_priors={label: priors[:1] * PARTS for label, priors in truth.fold_priors.items()},
        own=truth,
    )


def at_rows(by_label: Mapping[str, Any], rows: IntArray) -> ByLabel[Any]:
    """What is known of these clips alone."""
    return ByLabel(by_label, lambda label: by_label[label][rows])


def score_of(spec: MetricSpec, mine: ScoringInput, most: int) -> float:
    """What is read by at most so many attackers together, over all divisions."""
    found = []
    for division in range(DIVISIONS):
        one = without_test(mine, division, by_clip=spec.protocol == SAME)
        found.append(choose(spec, one, score_attackers(spec, one), most=most).test.value)
    return float(np.mean(found))


def compare(saved: SavedTable) -> list[tuple[str, str, float, float]]:
    """Row, label, and what is read of it by the first alone and by the strongest together."""
    names = saved.rows
    found = []
    for name, inputs in zip(names, join_table(saved.lines()), strict=True):
        for protocol, mine in inputs.items():
            for spec in saved.specs[protocol]:
                if len(spec.columns) == 1:  # the means follow from them
                    first, together = (
                        score_of(spec, mine, most) for most in (1, MAX_ENSEMBLE_SIZE)
                    )
                    found.append((name, spec.name, first, together))
                    print(f"{name:30s}{spec.name:14s}{first:.3f} {together:.3f}", flush=True)
    return found


def page(given: argparse.Namespace, found: list[tuple[str, str, float, float]]) -> str:
    """The page: means over the rows, then each row."""
    lines = [
        f"# Attackers together: {read_suite(given.suite).table(given.table).title}",
        "",
        f"Made by `python benchmarks/together.py {given.suite} {given.table}` from the predictions",
        f"of `masquerade benchmark {given.suite}`.",
        "",
        (__doc__ or "").split("\n\n")[3].strip(),
        "",
        "| label | first | together |",
        "| --- | --- | --- |",
    ]
    for label in dict.fromkeys(one[1] for one in found):
        both = np.mean([one[2:] for one in found if one[1] == label], axis=0)
        lines.append(f"| {label}, mean of all rows | {both[0]:.3f} | {both[1]:.3f} |")
    lines += ["", "| video | label | first | together |", "| --- | --- | --- | --- |"]
    lines += [f"| {row} | {label} | {a:.2f} | {b:.2f} |" for row, label, a, b in found]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    given = parser.parse_args()
    (given.out / f"together-{given.table}.md").write_text(page(given, compare(read_saved(given))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

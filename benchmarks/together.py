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
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from saved_predictions import SavedTable, add_arguments, read_saved

from masquerade.benchmark.suite import read_suite
from masquerade.evaluation import attacker_choice
from masquerade.evaluation.attacker_choice import ScoringInput, choose, join_table, score_attackers
from masquerade.evaluation.ground_truth import Probabilities, SplitTruth
from masquerade.evaluation.metric_specs import MetricSpec
from masquerade.evaluation.protocols import SAME

PARTS, DIVISIONS = 3, 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Parts(SplitTruth):
    """Validation clips whose folds are parts; training rates stay those of their own folds."""

    own: SplitTruth

    @cached_property
    def rates(self) -> Probabilities:
        """Label to (n, C), the training rates of each clip's own fold."""
        return self.own.rates


def without_test(mine: ScoringInput, division: int, *, by_clip: bool) -> ScoringInput:
    """Validation clips in place of the test, in parts that are chosen for by the other parts."""
    units = mine.validation.clips if by_clip else mine.validation.groups
    _, which = np.unique(units, return_inverse=True)
    rng = np.random.default_rng(division)
    fold = (rng.permutation(which.max() + 1) % PARTS)[which]
    return replace(
        mine,
        test=Parts(**{**vars_of(mine.validation), "fold": fold}, own=mine.validation),
        tests=(),
        outputs=tuple(replace(one, test=(one.validation,)) for one in mine.outputs),
        prior=False,
    )


def vars_of(truth: SplitTruth) -> dict[str, Any]:
    """Its fields by name."""
    return {one.name: getattr(truth, one.name) for one in fields(SplitTruth)}


def score_of(spec: MetricSpec, mine: ScoringInput, most: int) -> float:
    """What is read by at most so many attackers together, over all divisions."""
    attacker_choice.MAX_ENSEMBLE_SIZE = most
    found = []
    for division in range(DIVISIONS):
        one = without_test(mine, division, by_clip=spec.protocol == SAME)
        found.append(choose(spec, one, score_attackers(spec, one)).test.value)
    return float(np.mean(found))


def compare(saved: SavedTable) -> list[tuple[str, str, float, float]]:
    """Row, label, and what is read of it by the first alone and by the strongest together."""
    names, most = saved.rows, attacker_choice.MAX_ENSEMBLE_SIZE
    found = []
    for name, inputs in zip(names, join_table(saved.lines()), strict=True):
        for protocol, mine in inputs.items():
            for spec in saved.specs[protocol]:
                if len(spec.columns) == 1:  # the means follow from them
                    first, together = (score_of(spec, mine, count) for count in (1, most))
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

"""Score a table again from the predictions that were saved, where the scoring has changed since.

    python benchmarks/score_again.py real uti --work bench/ --out docs/results/

Nothing is trained. The page and the JSON of the table in --out are written anew: scores, positive
controls, and what follows from them. Negative controls, sizes of clips, restored pictures and
re-identification stay as they are, as other files than the predictions made them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from saved_predictions import SavedTable, add_arguments, read_saved

from masquerade.benchmark.try_out import VOID
from masquerade.cli.evaluate import write_results
from masquerade.evaluation import Evaluation, from_json
from masquerade.evaluation.attacker_choice import join_table
from masquerade.evaluation.attackers import learned_channels
from masquerade.evaluation.controls import (
    CHANNEL,
    CheckedControls,
    attacked_channels,
    positive_controls,
    raw_controls,
    void_labels,
    void_reason,
)
from masquerade.evaluation.people_across_clips import revise_identity_verdicts
from masquerade.evaluation.results import Control
from masquerade.evaluation.scoring import score_table
from masquerade.evaluation.table_rows import why_row_undecided
from masquerade.methods import build
from masquerade.report.trade_off import is_learned


def score_again(saved: SavedTable, old: Evaluation, left_out: Sequence[str] = ()) -> Evaluation:
    """The same table, by the scoring of today, without some rows."""
    learned = [row.name for row in old.rows if is_learned(row)]
    lines = [line for line in saved.lines(learned) if line[0] not in left_out]
    raw, every = lines[0][1], join_table(lines)
    positive = positive_controls(raw, every, saved.truth, saved.specs)
    controls = raw_controls(positive, raw, learned_channels(saved.families, saved.models))
    controls += [one for one in old.controls if not is_positive(one)]
    checked = CheckedControls(
        specs=positive.specs, controls=tuple(controls), notes=tuple(positive.notes)
    )
    rows = {row.name: row for row in old.rows}
    measured = [finding for row in old.rows for finding in row.findings]
    methods = [
        None if (row := rows[name]).method is None else build(row.method, **row.arguments)
        for name, _ in lines
    ]
    findings = score_table(
        every,
        saved.truth,
        positive.specs,
        void=void_labels(controls),
        unread=[
            why_row_undecided(
                rows[name].coverage, method, attacked_channels(inputs), checked, saved.manifest
            )
            for method, (name, inputs) in zip(methods, lines, strict=True)
        ],
        means_of=saved.models if any(finding.means for finding in measured) else None,
        lambdas=list(
            dict.fromkeys(
                trade_off.weight for finding in measured for trade_off in finding.trade_offs
            )
        ),
    )
    again = {
        name: revise_identity_verdicts(replace(rows[name], findings=found))
        for (name, _), found in zip(lines, findings, strict=True)
    }
    kept = (row for row in old.rows if row.name not in left_out)
    return replace(
        old,
        controls=checked.controls,
        rows=tuple(again.get(row.name, row) for row in kept),
        # a try-out stays void, whatever its controls say
        void=VOID if old.void == VOID else void_reason(controls, saved.truth.action, old.preset),
    )


def is_positive(one: Control) -> bool:
    """Whether a control is of attackers of raw video that must succeed."""
    return one.kind in ("positive", "poses") or one.kind.startswith(CHANNEL)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    parser.add_argument("--command", help="what made the predictions, to stand on the page")
    parser.add_argument("--leave-out", default="", help="rows that say nothing, by commas")
    parser.add_argument("--limit", action="append", default=[], help="to stand under the table")
    given = parser.parse_args()
    old = from_json((given.out / f"{given.table}.json").read_text())
    result = score_again(read_saved(given), old, list(filter(None, given.leave_out.split(","))))
    result = replace(result, limits=(*result.limits, *given.limit))
    if given.command:
        result = replace(result, command=given.command)
    write_results(result, given.out, given.table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

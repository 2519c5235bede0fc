"""Merge rows that were measured now into a table that exists; other rows stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from masquerade.errors import UsageError
from masquerade.evaluation import Evaluation
from masquerade.evaluation.metric_specs import MEAN
from masquerade.evaluation.results import Finding, Row

OTHER_LABELS = "the mean is over other labels than those of the other rows"
ALIKE = ("data", "preset", "folds", "seeds", "attackers", "through_file")


def merged(there: Evaluation, new: Evaluation, order: Sequence[str]) -> Evaluation:
    """One table of two that were measured alike; where both have a row, the new one counts.

    Raw video is in both. How far its scores moved stands under the table: it is what another
    machine, another release, or other rows changed, whose transformations its attackers apply too.
    Of what is to be kept raw video has the strongest score of both, so that it is not weaker than
    a method for want of that method's row. Where other labels are void among the new rows, their
    means are of other labels, too, and are marked as void; controls and raw video's scores of what
    is private are then those that were there.

    Args:
        there: the table that is kept.
        new: the rows that were measured now.
        order: of the rows behind raw video; others come last.

    Raises:
        UsageError: they were not measured alike.
    """
    for name in ALIKE:
        if getattr(there, name) != getattr(new, name):
            raise UsageError(
                f"The table has {name} {getattr(there, name)} and these rows have "
                f"{getattr(new, name)}: they say nothing beside each other."
            )
    alike = _unread(there) == _unread(new)
    mine = {row.name: row if alike else _without_means(row) for row in new.rows}
    rows = {row.name: row for row in there.rows} | mine
    raw, old = mine["raw"], there.rows[0]
    ours, other = (raw, old) if alike else (old, raw)
    rows["raw"] = replace(ours, findings=_strongest(ours.findings, other.findings))
    ranks = {name: rank for rank, name in enumerate(["raw", *order])}
    by = f"Measured by `{new.command}`: "
    again = (by, *(f"{name}{mark}" for name in mine for mark in (":", ",")))
    kept = [limit for limit in there.limits if not limit.startswith(again)]
    commands = [*there.command.splitlines(), new.command]
    moved = _moved(raw, there.rows[0])
    said = (
        f"{by}{', '.join(name for name in mine if name != 'raw')}; raw video, measured again with "
        f"them, differs by at most {moved:.3f}."
    )
    return replace(
        new,
        controls=new.controls if alike else there.controls,
        command="\n".join(dict.fromkeys(commands)),
        limits=tuple(dict.fromkeys([*kept, *new.limits, said])),
        rows=tuple(sorted(rows.values(), key=lambda row: ranks.get(row.name, len(ranks)))),
    )


def lines_kept(page: str, again: Sequence[str]) -> list[str]:
    """The lines of differences in a page that are of methods which were not measured again.

    Args:
        page: its Markdown.
        again: those that were.
    """
    lines = [line for line in page.splitlines() if line.startswith("| ") and " less " in line]
    return [line for line in lines if line.split(" less ")[0][2:] not in again]


def _unread(table: Evaluation) -> set[str]:
    """The labels that no attacker reads in raw video."""
    return {one.label for one in table.controls if one.kind == "positive" and one.passed is False}


def _without_means(row: Row) -> Row:
    """A row whose means over labels are void."""
    found = (
        replace(one, void=OTHER_LABELS, leakage=None) if one.label.startswith(MEAN) else one
        for one in row.findings
    )
    return replace(row, findings=tuple(found))


def _strongest(mine: Sequence[Finding], theirs: Sequence[Finding]) -> tuple[Finding, ...]:
    """Raw video's results, of which those of what is to be kept are the stronger of two."""
    others = {found.label: found for found in theirs}

    def stronger(found: Finding) -> Finding:
        other = others.get(found.label)
        values = [one.score.value for one in (found, other) if one is not None]
        if found.use != "utility" or other is None or None in values:
            return found
        return other if (other.score.value or 0) > (found.score.value or 0) else found

    return tuple(map(stronger, mine))


def _moved(one: Row, other: Row) -> float:
    """The largest difference between scores of two rows on the same labels."""
    mine, theirs = (
        {f.label: f.score.value for f in row.findings if f.score and f.score.value is not None}
        for row in (one, other)
    )
    return max((abs(mine[label] - theirs[label]) for label in mine.keys() & theirs), default=0.0)

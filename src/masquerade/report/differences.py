"""Differences between methods on the same clips, as a section of a page of results."""

from collections.abc import Mapping, Sequence

from masquerade.evaluation.paired_comparison import PairedScores
from masquerade.evaluation.results import Evaluation
from masquerade.metrics.intervals import Score
from masquerade.report.table import headings, markdown_table
from masquerade.report.verdicts import headline_columns

HOW = (
    "Score of the first less that of the second, each read by the attacker that is strongest on "
    "validation clips. Intervals hold for {people} and, of methods that were trained several "
    "times, for training runs, and 95 % of the time for all lines of a column at once."
)


def differences_markdown(
    evaluation: Evaluation, found: Mapping[str, PairedScores], references: Sequence[str]
) -> str:
    """Every line less each of the references, on the same clips, as Markdown.

    Args:
        evaluation: whose lines and main labels are compared.
        found: the scores by label, as `evaluation.paired_comparison.paired_scores` gives them.
        references: names of lines; `raw` is raw video.
    """
    columns = [one for one in headline_columns(evaluation) if one.label in found]
    names = [row.name for row in evaluation.rows if row.name != "raw"]
    pairs = [(one, other) for one in names for other in references if one != other]
    cells = [_column(evaluation, found[one.label], one.label, pairs) for one in columns]
    body = [
        [f"{one} less {other}", *line]
        for (one, other), *line in zip(pairs, *cells, strict=True)
        if any(line)
    ]
    head = ["", *headings(columns, evaluation.held_out)[1:]]
    how = HOW.format(people=evaluation.held_out)
    return "\n".join(["## On the same clips", "", how, "", *markdown_table(head, body), ""])


def _column(
    evaluation: Evaluation, found: PairedScores, label: str, pairs: Sequence[tuple[str, str]]
) -> list[str]:
    """Each pair's difference as -.21 [-.30, -.12]; nothing where a line has no score."""
    scored = [pair for pair in pairs if set(pair) <= set(found.scores)]
    gaps = dict(zip(scored, found.differences(scored), strict=True)) if scored else {}
    findings = {row.name: row.finding(label) for row in evaluation.rows}
    void = {name for name, one in findings.items() if one is not None and one.void}
    return [
        _signed(gaps[pair]) + " void" * bool(void & set(pair)) if pair in gaps else ""
        for pair in pairs
    ]


def _signed(gap: Score) -> str:
    if gap.value is None or gap.low is None:
        return "n/a"
    return f"{gap.value:+z.2f} [{gap.low:+z.2f}, {gap.high:+z.2f}]"

"""Differences between methods on the same clips, as a section of a page of results."""

from collections.abc import Mapping, Sequence

from masquerade.evaluation.paired_comparison import PairedScores
from masquerade.evaluation.results import Evaluation
from masquerade.metrics.intervals import Score
from masquerade.report.table import headings, markdown_table
from masquerade.report.verdicts import headline_columns

HOW = (
    "Score of the first less that of the second, each read by the strongest attackers, chosen for "
    "each test fold on clips that are not in it, of which up to ten are averaged. Intervals hold "
    "for {people} and, of methods that were trained several times, for training runs, and 95 % of "
    "the time for all lines of a column at once."
)


def differences_markdown(
    evaluation: Evaluation, paired: Mapping[str, PairedScores], references: Sequence[str]
) -> str:
    """Every line less each of the references, on the same clips, as Markdown.

    Args:
        evaluation: whose lines and main labels are compared.
        paired: the scores by label, as `evaluation.paired_comparison.paired_scores` gives them.
        references: names of lines; `raw` is raw video.
    """
    columns = [column for column in headline_columns(evaluation) if column.label in paired]
    names = [row.name for row in evaluation.rows if row.name != "raw"]
    pairs = [(name, reference) for name in names for reference in references if name != reference]
    cells = [_column(evaluation, paired[column.label], column.label, pairs) for column in columns]
    body = [
        [f"{name} less {reference}", *line]
        for (name, reference), *line in zip(pairs, *cells, strict=True)
        if any(line)
    ]
    head = ["", *headings(columns, evaluation.held_out)[1:]]
    how = HOW.format(people=evaluation.held_out)
    return "\n".join(["## On the same clips", "", how, "", *markdown_table(head, body), ""])


def _column(
    evaluation: Evaluation, paired: PairedScores, label: str, pairs: Sequence[tuple[str, str]]
) -> list[str]:
    """Each pair's difference as -.21 [-.30, -.12]; nothing where a line has no score."""
    scored = [pair for pair in pairs if set(pair) <= set(paired.scores)]
    gaps = dict(zip(scored, paired.differences(scored), strict=True)) if scored else {}
    findings = {row.name: row.finding(label) for row in evaluation.rows}
    void = {name for name, finding in findings.items() if finding is not None and finding.void}
    return [
        _signed(gaps[pair]) + " void" * bool(void & set(pair)) if pair in gaps else ""
        for pair in pairs
    ]


def _signed(gap: Score) -> str:
    if gap.value is None or gap.low is None:
        return "n/a"
    return f"{gap.value:+z.2f} [{gap.low:+z.2f}, {gap.high:+z.2f}]"

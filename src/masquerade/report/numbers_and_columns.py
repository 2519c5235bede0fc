"""How tables and pages print numbers, and which columns a table has."""

import re
from collections.abc import Sequence

from masquerade.evaluation.metric_specs import MEAN
from masquerade.evaluation.protocols import NOT_OF_PEOPLE, SAME, TAKES
from masquerade.evaluation.results import Control, Evaluation, LabelResult, Row
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import Leakage


def number(value: float | None, *, digits: int = 2) -> str:
    """A share as tables print it: .83, 1.00, n/a."""
    if value is None:
        return "n/a"
    # + 0.0: without the sign of a negative number that rounds to 0
    text = f"{round(value, digits) + 0.0:.{digits}f}"
    return re.sub(r"^(-?)0\.", r"\1.", text)


def with_interval(score: Score | Leakage | None) -> str:
    """.83 [.74, .90], or n/a."""
    if score is None or score.value is None:
        return "n/a"
    return f"{number(score.value)} [{number(score.low)}, {number(score.high)}]"


def judged_controls(controls: Sequence[Control]) -> tuple[list[Control], list[Control]]:
    """Split controls that can pass: those of all attackers together, and of one kind alone.

    Where one of the first fails, what rests on it is void; of the second, it is undecided at most.
    """
    judged = [control for control in controls if control.passed is not None]
    together = ("positive", "negative")
    alone = [control for control in judged if control.kind not in together]
    return [control for control in judged if control.kind in together], alone


def highest_upper_end(row: Row, finding: LabelResult) -> float | None:
    """The highest upper end of all attackers that count.

    None for raw video, for the action, and where an end is unknown.
    """
    ends = [attack.test.high for attack in finding.attacks if attack.counts]
    if (
        row.method is None
        or finding.use != "private"
        or finding.highest_score is None
        or None in ends
    ):
        return None
    return max((end for end in ends if end is not None), default=None)


def protocol_title(finding: LabelResult, held_out: str) -> str:
    """The test protocol of a finding as tables print it, such as `clips unseen`."""
    if finding.protocol == SAME and held_out in (TAKES, *NOT_OF_PEOPLE):
        return f"{SAME}, other {held_out}"
    return finding.protocol.replace("people", held_out)


def all_columns(evaluation: Evaluation) -> list[LabelResult]:
    """The columns of a table, the action first, each as raw video's finding on its label."""
    return list(evaluation.rows[0].findings) if evaluation.rows else []


def main_columns(evaluation: Evaluation) -> list[LabelResult]:
    """The columns of the table: of several binary attributes only their mean."""
    columns = all_columns(evaluation)
    if not any(column.label == MEAN for column in columns):
        return columns
    return [column for column in columns if column.metric != "AUROC" or column.label == MEAN]

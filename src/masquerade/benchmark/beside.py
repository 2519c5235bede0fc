"""Our scores beside a paper's printed ones, where both are of one label in one metric.

They are never the same measurement: our attackers, and often the networks' first weights, are
others. So each stands in a line of its own, with its interval, under the printed line.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace

from masquerade.benchmark.guessing import KNOWS_OF, GuessFloor, guess_floors
from masquerade.benchmark.published import PublishedColumn, load_published
from masquerade.benchmark.published_markdown import format_score, markdown
from masquerade.benchmark.suite import Suite, SuiteRow, SuiteTable
from masquerade.evaluation.metric_specs import F1_THRESHOLDS, MEAN, mean_name
from masquerade.evaluation.results import Evaluation, LabelResult, Row, best_on_validation
from masquerade.metrics.intervals import Score
from masquerade.metrics.leakage import at_least_chance, f_lambda

LABELS = {  # of our manifests, by labels of the printed columns
    "gender": "gender",
    "identity": "identity",
    "pair": "identity",
    "objects": "object",
    "scenes": "scene",
}
ALL = "private attributes"  # in the printed columns: the mean over them
TOLD = ("prior", "together")
"""Families of attackers that are given the true action, or may average in one that is."""


@dataclass(frozen=True, kw_only=True)
class OurScores:
    """What one of our tables has to say beside a printed one."""

    title: str  # of our table
    attackers: str  # whose scores they are
    cells: Mapping[str, Mapping[int, str]]  # by row and by column of the printed table
    void: str | None = None  # why they mean nothing; None: they do
    floors: tuple[GuessFloor, ...] = ()  # what is guessed without any video, by the labels here


@dataclass(frozen=True, kw_only=True)
class _Line:
    """One of our rows, or of single networks behind it, as a line beside the paper's."""

    name: str
    row: SuiteRow
    found: Row
    action: str | None  # the network that reads the action; None: not a single one
    private: str | None  # the one that reads private labels


def our_scores(suite: Suite, table: SuiteTable, evaluation: Evaluation) -> OurScores | None:
    """Our scores beside the printed table; None: there is none."""
    if table.published is None:
        return None
    return OurScores(
        title=table.title,
        attackers=_attackers(table),
        cells=our_cells(suite, table, evaluation),
        void=evaluation.void,
        floors=() if evaluation.void else our_floors(suite, table, evaluation),
    )


def our_floors(suite: Suite, table: SuiteTable, evaluation: Evaluation) -> tuple[GuessFloor, ...]:
    """Compute floors of the printed table's columns from the labels that our own table has."""
    line = next((row for row in evaluation.rows if row.findings), None)
    if table.published is None or line is None:
        return ()
    floors = []
    for column in load_published(table.published).columns:
        if column.measures == "trade-off" or not _is_of(suite, table, column):
            continue
        finding = _finding(line, column)
        if column.label == ALL and (_void_attributes(line) or _has_fewer_attributes(line, column)):
            continue  # a mean over fewer attributes is no floor of the printed one
        for name, score in ({} if finding is None else finding.floors).items():
            knows = KNOWS_OF.get(name, "nothing")
            if score.value is None or knows == "a recognized action":  # by ours, not by the paper's
                continue
            floors.append(
                GuessFloor(
                    dataset=column.dataset,
                    split="",
                    label=column.label,
                    metric=column.metric,
                    guess=name,
                    knows=knows,
                    value=_in_unit(score.value, column),
                    per_attribute=None,
                    accuracy=None,
                    how="computed from the labels of this run, by its own split",
                    assumes="",
                )
            )
    return tuple(floors)


def beside_paper(table: SuiteTable, ours: OurScores | None) -> str:
    """Write the Markdown section that adds our scores to the paper's printed table.

    It is empty where the paper prints none.
    """
    if table.published is None or ours is None:
        return ""
    printed = load_published(table.published)
    how = (
        f"Lines with *here* are ours, with 95 % intervals: {ours.attackers}. The others are "
        f"printed in {printed.where}, and were reproduced by nobody here; theirs are other "
        "attackers, and often other clips. Marks say which printed scores a guess reaches."
    )
    parts = ["## Beside the paper", "", how]
    if ours.void:
        parts += ["", f"**Our lines are VOID: {ours.void}**"]
    parts += ["", markdown(printed, here=ours.cells, floors=ours.floors)]
    return "\n".join(parts).rstrip() + "\n"


def _attackers(table: SuiteTable) -> str:
    if "--average" in shlex.split(table.evaluate):
        return (
            "the mean over networks, of clips for the action and of single frames for privacy, "
            "trained as the paper's"
        )
    if table.published_attackers is not None:
        return (
            f"those of the strongest attacker of the family {table.published_attackers} (of "
            "trained methods, of all families)"
        )
    return (
        "of the action those of the strongest attackers, chosen for each test fold on clips that "
        "are not in it, of which up to ten are averaged; of private labels those of the one that "
        "is strongest on such clips and not told the action"
    )


def our_cells(suite: Suite, table: SuiteTable, evaluation: Evaluation) -> dict[str, dict[int, str]]:
    """Our scores as the paper prints its own, by row and by column of the printed table."""
    if table.published is None:
        return {}
    printed = load_published(table.published)
    cells: dict[str, dict[int, str]] = {}
    for line in _lines(suite.table(table.name), evaluation):
        row_cells = {
            at: cell
            for at, column in enumerate(printed.columns)
            if _is_of(suite, table, column) and (cell := _cell(table, line, column))
        }
        if row_cells:
            cells[line.name] = row_cells
    return cells


def _lines(table: SuiteTable, evaluation: Evaluation) -> list[_Line]:
    """The lines of ours that may stand beside the paper's."""
    measured = {row.name: row for row in evaluation.rows}
    raw = evaluation.rows[0] if evaluation.rows else None
    lines = [
        _Line(name=row.name, row=row, found=measured_row, action=row.network, private=row.network)
        for row in table.rows
        if (measured_row := raw if row.raw else measured.get(row.name)) is not None
    ]
    by_name = {line.name: line for line in lines}
    return lines + [
        replace(
            by_name[network_line.row],
            name=network_line.name,
            action=network_line.action,
            private=network_line.private,
        )
        for network_line in table.network_lines
        if network_line.row in by_name
    ]


def _is_of(suite: Suite, table: SuiteTable, column: PublishedColumn) -> bool:
    """Whether a printed column is of the dataset on which a table scores such labels."""
    private = table.private_data or table.data
    scored = table.score_on or (table.data if column.measures == "action" else private)
    return suite.data[scored].dataset == column.dataset


def _cell(table: SuiteTable, line: _Line, column: PublishedColumn) -> str:
    if line.found.not_applicable:
        return "n/a"
    if column.measures == "trade-off":
        return _trade_off(table, line, column)
    finding = _finding(line.found, column)
    score = None if finding is None else _score(table, line, finding)
    if finding is None or score is None or score.value is None:
        return ""
    text = format_score(_in_unit(score.value, column), column)
    if score.low is not None and score.high is not None:
        ends = (format_score(_in_unit(end, column), column) for end in (score.low, score.high))
        text += f" [{', '.join(ends)}]"
    if column.label == ALL and (missing := _void_attributes(line.found)):
        text += f" without {', '.join(missing)}"
    return f"{text} void" if finding.void else text


def _has_fewer_attributes(line: Row, column: PublishedColumn) -> bool:
    """Whether our mean is over fewer attributes than the paper's, as far as its data are known."""
    known = [
        len(floor.per_attribute)
        for floor in guess_floors()
        if floor.dataset == column.dataset and floor.label == ALL and floor.per_attribute
    ]
    ours = {
        finding.label
        for finding in line.findings
        if finding.use == "private" and finding.metric == "AUROC"
    }
    return len(ours - {MEAN, "identity"}) < max(known, default=0)


def _void_attributes(line: Row) -> list[str]:
    """Return the attributes that are void, and so left out of means over attributes."""
    return [
        finding.label
        for finding in line.findings
        if finding.use == "private"
        and finding.metric == "AUROC"
        and finding.void
        and finding.label != MEAN
    ]


def _finding(line: Row, column: PublishedColumn) -> LabelResult | None:
    """Our result of a printed column's label in its metric; None: there is none."""
    if column.measures == "action":
        findings = [finding for finding in line.findings if finding.use == "utility"]
    elif column.label == ALL:
        names = [mean_name(column.metric)]
        if column.metric == "F1":
            names = [mean_name(metric) for metric in F1_THRESHOLDS]
        return next((finding for name in names if (finding := line.finding(name))), None)
    else:
        finding = line.finding(LABELS.get(column.label, column.label))
        findings = [] if finding is None else [finding]
    return next((finding for finding in findings if finding.metric == column.metric), None)


def _score(table: SuiteTable, line: _Line, finding: LabelResult) -> Score | None:
    """The score that stands beside the paper's."""
    network = line.action if finding.use == "utility" else line.private
    if network is not None:
        attacks = {attack.name: attack.test for attack in finding.attacks}
        names = (f"{family} {network}" for family in _families(table, line.row))
        return next((attacks[name] for name in names if name in attacks), None)
    if finding.means:
        means = {mean.family: mean.score for mean in finding.means if mean.reads == _reads(finding)}
        return next(
            (means[family] for family in _families(table, line.row) if family in means), None
        )
    if table.published_attackers is None or line.row.raw or line.row.train is not None:
        return _seen(finding)
    best = finding.best(table.published_attackers)
    return None if best is None else best.test


def _seen(finding: LabelResult) -> Score:
    """The score of the best attacker on validation clips among those that see only the video."""
    seeing = [attack for attack in finding.attacks if attack.counts and attack.family not in TOLD]
    best = None if finding.use == "utility" else best_on_validation(seeing)
    return finding.score if best is None else best.test


def _families(table: SuiteTable, row: SuiteRow) -> tuple[str, ...]:
    """Families of attackers whose scores may stand beside the paper's, the preferred one first."""
    if table.published_attackers is None or row.raw or row.train is not None:
        # The papers' start from published weights. A try-out has no others than those of raw video.
        return ("published", "scratch", "raw")
    return (table.published_attackers,)


def _reads(finding: LabelResult) -> str:
    """What the averaged networks see, as in the paper: clips for the action, else single frames."""
    return "clips" if finding.use == "utility" else "stills"


def _trade_off(table: SuiteTable, line: _Line, column: PublishedColumn) -> str:
    """f of the two scores that stand beside the paper's, action and privacy in equal parts."""
    label = LABELS[column.label.removeprefix("action and ")]
    action = next((finding for finding in line.found.findings if finding.use == "utility"), None)
    private = line.found.finding(label)
    if action is None or private is None:
        return ""
    scores = [_score(table, line, finding) for finding in (action, private)]
    values = [None if score is None else score.value for score in scores]
    if values[0] is None or values[1] is None:
        return ""
    f_half = f_lambda(values[0], at_least_chance(values[1], private.metric))
    return format_score(f_half, column) + (" void" if action.void or private.void else "")


def _in_unit(value: float, column: PublishedColumn) -> float:
    return 100 * value if column.unit == "%" else value

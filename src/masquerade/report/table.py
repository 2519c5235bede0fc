"""An evaluation as a table that a person reads in ten seconds: on the terminal, and as markdown.

Reads results only; no number is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from masquerade.evaluation.metric_specs import MEAN
from masquerade.evaluation.protocols import SAME
from masquerade.evaluation.results import Control, Evaluation, Finding, Row
from masquerade.metrics.intervals import Score

HOW_TO_READ = (
    "Each cell: the score of the strongest attacker, chosen on validation, [its 95 % interval], "
    "and L, the leakage beyond the best trivial attacker: 0 there, 1 on raw video; n/a where the "
    "attacker of raw video is not surely above it. `place`: who sees the top twelfth only. `held` "
    "only where the upper bound lies within a tenth of that span. A low score says what these "
    "attackers recovered from these clips, and nothing more."
)

RUNS = (
    "± is the standard deviation between runs of a trained anonymizer that differ in their seed "
    "alone; intervals are over people and know nothing of it. Each run is read by one network of a "
    "kind; lines without training by those of all seeds together, which read a little more."
)


def labels_of(evaluation: Evaluation) -> list[Finding]:
    """Raw video's findings, the action first."""
    return list(evaluation.rows[0].findings) if evaluation.rows else []


def headline_of(evaluation: Evaluation) -> list[Finding]:
    """The columns of the table: of several binary attributes only their mean."""
    found = labels_of(evaluation)
    if not any(one.label == MEAN for one in found):
        return found
    return [one for one in found if one.metric != "AUROC" or one.label == MEAN]


def headings(columns: Sequence[Finding]) -> list[str]:
    """What stands above each column."""
    return ["video", *(_heading(found) for found in columns)]


def lines(evaluation: Evaluation, columns: Sequence[Finding]) -> list[list[str]]:
    """The table's cells: floors, the clips' size, then a line a method."""
    names = list(dict.fromkeys(name for found in columns for name in found.floors))
    body = [[f"floor: {name}", *(_floor(found, name) for found in columns)] for name in names]
    kinds = [one.kind for one in evaluation.controls if one.passed is None]
    for kind in dict.fromkeys(kinds):
        sized = {one.label: one for one in evaluation.controls if one.kind == kind}
        body.append([f"control: {kind}", *(_size(sized.get(f.label)) for f in columns)])
    for row in evaluation.rows:
        body.append([_name(row), *(_cell(row, found.label) for found in columns)])
    return body


def notes(evaluation: Evaluation) -> list[str]:
    """What must stand under the table: controls, whether retraining helped, the data's limits."""
    found = [HOW_TO_READ, _controls(evaluation), _retrained(evaluation.rows)]
    for row in evaluation.rows:
        if row.skipped:
            one = next(iter(row.skipped.items()))
            found.append(f"{row.name}: {len(row.skipped)} clips left out, as {one[0]}: {one[1]}")
    if any(row.runs > 1 for row in evaluation.rows):
        found.append(RUNS)
    found.append(
        f"{_folds(evaluation)}; networks of {evaluation.seeds} seed(s) answer together; preset "
        f"{evaluation.preset}; attackers: {', '.join(evaluation.attackers)}; "
        + ("on exported, re-decoded files." if evaluation.through_file else "on tensors.")
    )
    return [note for note in (*found, *evaluation.limits) if note]


def show(evaluation: Evaluation, console: Console) -> None:
    """Print the table.

    Args:
        evaluation: to show.
        console: of rich.
    """
    columns = headline_of(evaluation)
    table = Table(title=escape(evaluation.data), title_justify="left")
    for heading in headings(columns):
        table.add_column(escape(heading), overflow="fold")
    for line in lines(evaluation, columns):
        table.add_row(*(escape(cell) for cell in line))
    if evaluation.void:
        console.print(f"VOID: {evaluation.void}", style="bold red", markup=False)
    console.print(table)
    for note in notes(evaluation):
        console.print(f"- {note}", markup=False, highlight=False)


def markdown(evaluation: Evaluation) -> str:
    """The page for `docs/results`: the command, the table, every attacker, the limits.

    Args:
        evaluation: to write.
    """
    columns, single = headline_of(evaluation), labels_of(evaluation)
    parts = [f"# {evaluation.data}", ""]
    if evaluation.command:
        parts += ["```", evaluation.command, "```", ""]
    if evaluation.void:
        parts += [f"**VOID: {evaluation.void}**", ""]
    parts += [*_rows(headings(columns), lines(evaluation, columns)), ""]
    parts += [f"- {note}" for note in notes(evaluation)]
    rest = [one for one in single if one not in columns]
    if rest:
        parts += ["", "## Each attribute", "", *_rows(headings(rest), lines(evaluation, rest))]
    parts += ["", "## Controls", "", *_rows(CONTROL_HEAD, _control_lines(evaluation)), ""]
    parts += ["## Trade-off and the attacker who knows the action", ""]
    parts += [*_rows(TRADE_HEAD, _trade_lines(evaluation)), ""]
    parts += ["## Every attacker", "", *_rows(ATTACK_HEAD, _attack_lines(evaluation))]
    return "\n".join(parts) + "\n"


CONTROL_HEAD = ["control", "label", "score", "to be compared with", "passed"]
TRADE_HEAD = [
    "video",
    "label",
    "L, leakage",
    "f at lambda .5",
    "A5 - A1: beyond the true action",
    "retrained - raw-trained",
    "at least as strong",
]
ATTACK_HEAD = ["video", "label", "attacker", "validation", "test", "sd over seeds"]


def number(value: float | None) -> str:
    """A share as tables print it: .83, 1.00, n/a.

    Args:
        value: in [-1, 1], or None.
    """
    if value is None:
        return "n/a"
    text = f"{value:.2f}"
    return text.replace("0.", ".", 1) if abs(value) < 0.995 else text


def with_interval(score: Score | None) -> str:
    """.83 [.74, .90].

    Args:
        score: or None.
    """
    if score is None or score.value is None:
        return "n/a"
    return f"{number(score.value)} [{number(score.low)}, {number(score.high)}]"


def _heading(found: Finding) -> str:
    keep = "keep" if found.use == "utility" else "hide"
    return f"{found.label} ({keep}; {found.metric}, {found.protocol})"


def _name(row: Row) -> str:
    where = "" if row.regions == "frame" else f" ({row.regions})"
    return f"{row.name}{where}"


def _floor(found: Finding, name: str) -> str:
    return number(found.floors[name].value) if name in found.floors else ""


def _size(control: Control | None) -> str:
    return "" if control is None else number(control.score.value)


def _cell(row: Row, label: str) -> str:
    found = row.finding(label)
    if found is None:
        return "n/a" if row.not_applicable else ""
    text = with_interval(found.score) + _between(row, found)
    if found.use == "utility":
        return text
    if found.void:
        return f"{text} void"
    leaked = found.leakage
    place = f", place {_place(found)}" if found.protocol == SAME and _place(found) else ""
    if leaked is None or leaked.value is None:
        return f"{text} L n/a{place}"
    held = ", held" if leaked.protects else ""
    return f"{text} L {number(leaked.value)}{held}{place}"


def _between(row: Row, found: Finding) -> str:
    """How far runs that were trained alike lie apart."""
    known = [one.spread for one in found.attacks if one.name == found.worst]
    return f" ± {number(known[0])}" if row.runs > 1 and known and known[0] is not None else ""


def _leak(found: Finding) -> str:
    leaked = found.leakage
    if leaked is None or leaked.value is None:
        return "void" if found.void else "n/a"
    return f"{number(leaked.value)} [{number(leaked.low)}, {number(leaked.high)}]"


def _place(found: Finding) -> str:
    attacks = [one for one in found.attacks if one.family == "place"]
    if not attacks:
        return ""
    best = max(attacks, key=lambda one: -1.0 if one.validation is None else one.validation)
    return number(best.test.value)


def _controls(evaluation: Evaluation) -> str:
    asked = [one for one in evaluation.controls if one.passed is not None]
    failed = [one for one in asked if not one.passed]
    if not failed:
        return (
            f"All {len(asked)} controls passed: attackers succeed on raw video, and are at "
            "chance where labels were shuffled."
        )
    told = "; ".join(f"{one.kind} control of {one.label}" for one in failed)
    out = f"{len(failed)} of {len(asked)} controls failed: {told}. What rests on them is void."
    unread = [one.label for one in failed if one.kind == "positive"]
    single = [one.label for one in labels_of(evaluation) if one.metric == "AUROC"]
    inside = [label for label in dict.fromkeys(unread) if label in single and label != MEAN]
    if MEAN in single and inside:
        out += f" The mean of the attributes has {', '.join(inside)} in it all the same."
    return out


def _retrained(rows: Sequence[Row]) -> str:
    known = [
        (row.name, f.label, f.retrained_holds)
        for row in rows
        for f in row.findings
        if f.retrained_holds is not None
    ]
    if not known:
        return ""
    weaker = [f"{name}: {label}" for name, label, holds in known if not holds]
    if not weaker:
        return "Retrained attackers are at least as strong as raw-trained ones within intervals."
    return f"Retrained attackers are WEAKER than raw-trained ones, so too weak, on {weaker}."


def _folds(evaluation: Evaluation) -> str:
    if evaluation.folds:
        return f"{evaluation.folds}-fold cross-validation"
    return "The manifest's own splits"


def _control_lines(evaluation: Evaluation) -> list[list[str]]:
    said = {True: "yes", False: "NO", None: ""}
    return [
        [one.kind, one.label, with_interval(one.score), number(one.floor), said[one.passed]]
        for one in evaluation.controls
    ]


def _trade_lines(evaluation: Evaluation) -> list[list[str]]:
    said = {True: "yes", False: "NO", None: ""}
    return [
        [
            row.name,
            found.label,
            _leak(found),
            number(found.f_half),
            with_interval(found.beyond_action),
            with_interval(found.retrained_gain) if found.retrained_gain else "",
            said[found.retrained_holds],
        ]
        for row in evaluation.rows
        for found in row.findings
        if found.use == "private"
    ]


def _attack_lines(evaluation: Evaluation) -> list[list[str]]:
    return [
        [
            row.name,
            found.label,
            f"**{one.name}**" if one.name == found.worst else one.name,
            number(one.validation),
            with_interval(one.test),
            "" if one.spread is None else number(one.spread),
        ]
        for row in evaluation.rows
        for found in row.findings
        for one in found.attacks
    ]


def _rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rule = "|".join(["---"] * len(head))
    return [
        f"| {' | '.join(head)} |",
        f"|{rule}|",
        *(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in body),
    ]

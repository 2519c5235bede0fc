"""The numbers of benchmarks as CSV, a line for each method and label, and as a table for LaTeX.

A method without numbers has one line in CSV, which says why.

CSV has every digit, so that it can be read again; an empty cell is not known or does not apply.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from masquerade.evaluation.results import Evaluation, LabelResult, Row
from masquerade.metrics.intervals import Score
from masquerade.report.numbers_and_columns import (
    highest_upper_end,
    main_columns,
    number,
    protocol_title,
    with_interval,
)
from masquerade.report.verdicts import (
    best_floor,
    headline_columns,
    raw_beside,
    row_verdict,
    title_of,
    verdict,
)

COLUMNS = (
    *("data", "video", "method", "regions", "runs", "label", "use", "metric", "protocol"),
    *("clips", "independent_groups", "score", "low", "high", "at_most"),
    *("floor", "floor_attacker", "raw", "raw_low", "raw_high"),
    *("leakage", "leakage_low", "leakage_high", "f_half", "sd_over_runs"),
    *("verdict", "why", "strongest_attacker"),
    # chosen with hindsight: an upper bound
    *("best_on_test_attacker", "best_on_test", "best_on_test_low", "best_on_test_high"),
)
LATEX = {
    **{char: f"\\{char}" for char in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "\n": " ",
}
TEX_HEAD = "% Wants \\usepackage{booktabs} and, for more than ASCII, \\usepackage[T1]{fontenc}.\n"
CAPTION = (
    "Scores with 95\\,\\% intervals; $\\leq$: no attacker's upper end is higher. A guess and raw "
    "video stand above."
)


def csv_table(evaluations: Iterable[Evaluation]) -> str:
    """All evaluations as one CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for evaluation in evaluations:
        for row in evaluation.rows:
            lines = [_line(evaluation, row, finding) for finding in row.findings]
            for line in lines or [_unmeasured(evaluation, row)]:
                writer.writerow(["" if c is None else c for c in line])
    return out.getvalue()


def latex_table(evaluations: Iterable[Evaluation]) -> str:
    """A booktabs table for each evaluation: the action, who it is, and the attributes."""
    return TEX_HEAD + "\n".join(
        _latex(evaluation, i) for i, evaluation in enumerate(evaluations, 1)
    )


def escape_latex(text: str) -> str:
    """A text as LaTeX prints it."""
    return "".join(LATEX.get(char, char) for char in text)


def _line(evaluation: Evaluation, row: Row, finding: LabelResult) -> tuple[object, ...]:
    score, leaked, best = finding.score, finding.leakage, finding.highest_score
    floor, raw = best_floor(finding), raw_beside(evaluation, finding)
    private = finding.use == "private" and row.method is not None
    label_verdict = verdict(row, finding, void=evaluation.void) if private else None
    return (
        *(evaluation.data, row.name, row.method, row.regions, row.runs),
        *(finding.label, finding.use, finding.metric, protocol_title(finding, evaluation.held_out)),
        *(score.n, score.clusters),
        *(score.value, score.low, score.high, highest_upper_end(row, finding)),
        *((None, None) if floor is None else (floor[1].value, floor[0])),
        *((None, None, None) if raw is None else (raw.value, raw.low, raw.high)),
        *((None, None, None) if leaked is None else (leaked.value, leaked.low, leaked.high)),
        *(finding.f_half, finding.runs_sd),
        *((None, None) if label_verdict is None else (label_verdict.word, label_verdict.why)),
        *(finding.strongest, finding.highest or None),
        *((None, None, None) if best is None else (best.value, best.low, best.high)),
    )


def _unmeasured(evaluation: Evaluation, row: Row) -> tuple[object, ...]:
    """The line of a method that has no score of any label."""
    worst = row_verdict(row, main_columns(evaluation), void=evaluation.void)
    known = {"data": evaluation.data, "video": row.name, "method": row.method}
    known |= {"regions": row.regions, "verdict": worst.word, "why": worst.why}
    return tuple(known.get(column) for column in COLUMNS)


def _latex(evaluation: Evaluation, index: int) -> str:
    columns = headline_columns(evaluation)
    heads = [f"{title_of(c)} ({c.metric})" for c in columns]
    floors = [
        _cell(None if (f := best_floor(c)) is None else f[1], None, bare=True) for c in columns
    ]
    body = [["a guess", *floors, ""]]
    for row in evaluation.rows:
        cells = []
        for column in columns:
            finding = row.finding(column.label)
            cells.append(
                r"\textit{n/a}"
                if finding is None
                else _cell(finding.score, highest_upper_end(row, finding))
                + " void" * bool(finding.void)
            )
        word = (
            ""
            if row.method is None and row.findings
            else row_verdict(row, main_columns(evaluation), void=evaluation.void).word
        )
        body.append([escape_latex(row.name), *cells, word])
    label = re.sub(r"[^a-z0-9]+", "-", evaluation.data.lower()).strip("-") or "data"
    void = f" Void: {escape_latex(evaluation.void)}" if evaluation.void else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(evaluation.data)}. {CAPTION}{void}}}",
        rf"\label{{tab:{label}-{index}}}",
        rf"\begin{{tabular}}{{l{'l' * len(columns)}l}}",
        r"\toprule",
        _tex_line(["video", *map(escape_latex, heads), "verdict"]),
        r"\midrule",
        *(_tex_line(line) for line in body),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _cell(score: Score | None, most: float | None, *, bare: bool = False) -> str:
    if score is None or score.value is None:
        return r"\textit{n/a}"
    if bare:
        return number(score.value)
    text = with_interval(score)
    return text if most is None else rf"{text} $\leq$ {number(most)}"


def _tex_line(cells: Sequence[str]) -> str:
    # a bracket after \\ would be read as its optional argument, and a star as part of its name
    return " & ".join(f"{{{cell}}}" if cell[:1] in ("[", "*") else cell for cell in cells) + r" \\"

"""The numbers as CSV and as LaTeX."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_rows import HOSTILE

from masquerade.evaluation.results import Evaluation, from_json
from masquerade.report.benchmark_tables import COLUMNS, csv_table, escape_latex, latex_table
from masquerade.report.numbers_and_columns import main_columns
from masquerade.report.table import headings

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def test_csv_reads_back_to_the_same_numbers(table: Evaluation) -> None:
    real = from_json((RESULTS / "uti.json").read_text("utf-8"))  # scores of many digits
    lines = list(csv.DictReader(io.StringIO(csv_table([table, real]))))
    every = [(one, row, f) for one in (table, real) for row in one.rows for f in row.findings]
    lines = [line for line in lines if line["label"]]
    assert len(lines) == len(every) and set(lines[0]) == set(COLUMNS)
    for line, (one, row, found) in zip(lines, every, strict=True):
        assert (line["data"], line["video"], line["label"]) == (one.data, row.name, found.label)
        assert float(line["score"]) == found.score.value
        assert float(line["low"]) == found.score.low and float(line["high"]) == found.score.high
        leaked = None if found.leakage is None else found.leakage.value
        assert line["leakage"] == ("" if leaked is None else str(leaked))


def test_csv_has_the_best_on_test_beside_the_chosen(table: Evaluation) -> None:
    line = next(csv.DictReader(io.StringIO(csv_table([table]))))
    known = [line[f"best_on_test{part}"] for part in ("_attacker", "", "_low", "_high")]
    assert known[0] == "scratch tiny" and list(map(float, known[1:])) == pytest.approx(
        [0.8, 0.75, 0.85]
    )


def test_csv_says_who_is_held_out_as_the_table_does(table: Evaluation) -> None:
    """It said "people unseen" where the table beside it said "clips unseen"."""
    for held_out, unseen, same in (
        ("people", "people unseen", "same people"),
        ("clips", "clips unseen", "same people, other clips"),
        ("pairs", "pairs unseen", "same pairs"),
    ):
        mine = replace(table, held_out=held_out)
        lines = csv.DictReader(io.StringIO(csv_table([mine])))
        said = {line["label"]: line["protocol"] for line in lines if line["label"]}
        assert (said["action"], said["identity"]) == (unseen, same)
        assert f"identity (hide; top-1, {same})" in headings(main_columns(mine), held_out)


def test_csv_has_floor_raw_and_verdict(table: Evaluation) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_table([table]))))
    mine = next(x for x in lines if x["video"] == HOSTILE and x["label"] == "identity")
    assert (mine["floor"], mine["raw"], mine["verdict"]) == ("0.05", "0.9", "leaks")
    assert mine["floor_attacker"] == "constant" and float(mine["at_most"]) == 0.55
    held = next(x for x in lines if x["video"] == "figure .5" and x["label"] == "identity")
    assert held["verdict"] == "held"


def test_csv_has_a_line_of_a_method_that_was_not_measured(table: Evaluation) -> None:
    (line,) = (x for x in csv.DictReader(io.StringIO(csv_table([table]))) if not x["label"])
    assert (line["video"], line["verdict"], line["why"]) == (
        "[later]",
        "n/a",
        "frames are <missing>",
    )
    assert line["score"] == "" and line["data"] == table.data


def test_files_of_void_results_say_so(table: Evaluation) -> None:
    """A CSV and a table for LaTeX have no banner above them."""
    void = replace(table, void="50 % of the dice were loaded.")
    lines = list(csv.DictReader(io.StringIO(csv_table([void]))))
    said = {(line["verdict"], line["why"]) for line in lines if line["verdict"]}
    assert said == {
        ("n/a", "frames are <missing>"),
        ("void", "50 % of the dice were loaded."),
        ("void", "nobody reads it on raw video"),
    }
    tex = latex_table([void])
    assert r"Void: 50 \% of the dice were loaded." in tex
    assert not re.search(r"& (held|leaks|undecided) ", tex) and "& void " in tex


def test_latex_marks_labels_that_are_void(table: Evaluation) -> None:
    raw, row, *others = table.rows
    first, who, *more = row.findings
    named = replace(row, findings=(first, replace(who, void="nobody reads it"), *more))
    body = latex_table([replace(table, rows=(raw, named, *others))]).splitlines()
    (line,) = (line for line in body if line.startswith(row.name))
    assert line.split(" & ")[2].endswith(" void")


def test_latex_is_balanced_and_escaped(table: Evaluation) -> None:
    text = latex_table([table, table])
    plain = re.sub(r"\\\\|\\[{}%&$#_]", "", text)  # without escaped characters and line ends
    assert plain.count("{") == plain.count("}")
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {4}
    assert "<script>" not in text and r"\textless{}script" in text
    assert not any(line.startswith("[") for line in text.splitlines())
    labels = re.findall(r"\\label\{(.*?)\}", text)
    assert len(set(labels)) == 2
    assert all(line.isascii() for line in text.splitlines())


def test_a_name_that_begins_as_an_argument_of_a_line_end_is_in_braces(table: Evaluation) -> None:
    """A star after the end of a line is part of that command, and was not printed."""
    raw, row, *_ = table.rows
    rows = (raw, replace(row, name="*blur"), replace(row, name="[blur]"))
    body = latex_table([replace(table, rows=rows)]).splitlines()
    assert any(line.startswith("{*blur} &") for line in body)
    assert any(line.startswith("{[blur]} &") for line in body)


def test_latex_escapes_every_special_character() -> None:
    assert escape_latex("50 % of a_b & {c} $1 #2 ~^") == (
        r"50 \% of a\_b \& \{c\} \$1 \#2 \textasciitilde{}\textasciicircum{}"
    )
    assert escape_latex("a\\b") == r"a\textbackslash{}b"

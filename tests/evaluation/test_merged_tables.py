"""`benchmarks/merged.py`: rows measured again in a table that is there."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import pytest

from masquerade.errors import UsageError
from masquerade.evaluation import Evaluation

MERGED = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "merged.py"))


def test_new_rows_replace_old_ones_and_all_else_stays(evaluation: Evaluation) -> None:
    raw, black, *others = evaluation.rows
    there = replace(evaluation, command="first", limits=("Drawn.", "black: dark.", "copy: same."))
    score = raw.findings[0].score
    assert score is not None and score.value is not None
    other = replace(raw.findings[0], score=replace(score, value=score.value - 0.25))
    new = replace(
        evaluation,
        command="second",
        limits=("Drawn.", "black: darker."),
        rows=(replace(raw, findings=(other,)), replace(black, clips=7), replace(black, name="new")),
    )
    found = MERGED["merged"](there, new, ("copy", "black"))
    assert [row.name for row in found.rows[:3]] == ["raw", "copy", "black"]
    assert {row.name for row in found.rows[3:]} == {"new", "later"}
    assert found.rows[2].clips == 7 and found.rows[1] == others[0]
    assert found.command == "first\nsecond"
    said = "Measured by `second`: black, new; raw video, measured again with them, "
    assert found.limits == (
        "Drawn.",
        "copy: same.",
        "black: darker.",
        said + "differs by at most 0.250.",
    )
    twice = MERGED["merged"](found, new, ("copy", "black"))
    assert twice.command == "first\nsecond" and len(twice.limits) == 4


def test_tables_that_were_measured_differently_are_not_merged(evaluation: Evaluation) -> None:
    with pytest.raises(UsageError, match="seeds 1 and these rows have 3"):
        MERGED["merged"](evaluation, replace(evaluation, seeds=3), ())


def test_means_over_other_labels_are_void(evaluation: Evaluation) -> None:
    rows = tuple(
        replace(row, findings=(replace(row.findings[0], label="attributes"), *row.findings[1:]))
        for row in evaluation.rows
        if row.findings
    )
    unread = replace(
        next(one for one in evaluation.controls if one.kind == "positive"), passed=False
    )
    there = replace(evaluation, rows=rows)
    new = replace(there, controls=(*evaluation.controls, unread), rows=rows[:2])
    found = MERGED["merged"](there, new, ())
    assert found.controls == evaluation.controls and len(found.rows) > 2
    assert rows[0].name == "raw" and found.rows[0].findings == rows[0].findings  # as it was there
    for row in found.rows:
        assert (row.findings[0].void is not None) == (row.name == rows[1].name)
        assert all(one.void is None for one in row.findings[1:])


def test_differences_of_what_was_measured_again_are_dropped() -> None:
    page = "| | action |\n| spact less raw | +.01 |\n| bdq less raw | -.01 |\nless is more\n"
    assert MERGED["lines_kept"](page, ["bdq"]) == ["| spact less raw | +.01 |"]

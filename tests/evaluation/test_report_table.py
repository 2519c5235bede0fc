"""The table that a person reads, on the terminal and as markdown."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from masquerade.evaluation import Evaluation
from masquerade.report.numbers_and_columns import main_columns, number, with_interval
from masquerade.report.table import lines, markdown, markdown_table, notes, show


def test_the_table_has_floors_controls_and_notes(evaluation: Evaluation) -> None:
    console = Console(record=True, width=240, file=io.StringIO())
    show(evaluation, console)
    text, page = console.export_text(), markdown(evaluation)
    for told in ("floor: constant", "control: clip size", "raw", "black", ", background "):
        assert told in text and told in page
    assert "Drawn, not filmed." in text and "Drawn, not filmed." in page
    assert "at least as strong" in " ".join(notes(evaluation))
    columns = main_columns(evaluation)
    assert {len(line) for line in lines(evaluation, columns)} == {1 + len(columns)}


def test_no_limit_or_name_of_data_breaks_the_page(evaluation: Evaluation) -> None:
    odd = "a\n# b <b>"
    page = markdown(replace(evaluation, data=odd, void=odd, limits=(odd,)))
    said = page.splitlines()
    assert said[0] == "# a # b &lt;b>" and "- a # b &lt;b>" in said
    assert "**VOID: a # b &lt;b>**" in said and "<b>" not in page


def test_no_name_breaks_a_markdown_table() -> None:
    """A line break ended the table, and a tag was one of the page."""
    head, rule, line = markdown_table(["video", "a|b"], [["line\nbreak <b>", "x | y"]])
    assert (head, rule) == ("| video | a/b |", "|---|---|")
    assert line == "| line break &lt;b> | x / y |"


def test_names_from_the_data_reach_the_terminal_escaped(evaluation: Evaluation) -> None:
    raw = evaluation.rows[0]
    named = replace(
        evaluation,
        data="[red]clips\x1b[2J",
        rows=(replace(raw, name="[b]raw\x1b[2J"), *evaluation.rows[1:]),
        limits=("Of \x1b[2J clips.",),
    )
    console = Console(record=True, width=240, file=io.StringIO())
    show(named, console)
    text = console.export_text(styles=True)
    assert "[red]clips\\x1b[2J" in text and "[b]raw\\x1b[2J" in text and "Of \\x1b" in text
    assert "\x1b[2J" not in text


def test_the_best_on_test_is_a_folded_upper_bound(evaluation: Evaluation) -> None:
    head, _, folded = markdown(evaluation).partition("<details>")
    assert "best on test, chosen with hindsight: an upper bound" in folded
    assert "chosen with hindsight" not in head  # it is no result
    for row in evaluation.rows:
        for found in row.findings:
            assert found.highest_score is not None
            mine = [line for line in folded.splitlines() if line.startswith(f"| {row.name} |")]
            assert any(
                with_interval(found.score) in line
                and f"| {found.highest} | {with_interval(found.highest_score)} |" in line
                for line in mine
            ), (row.name, found.label)


def test_headings_say_who_is_held_out(evaluation: Evaluation) -> None:
    assert "people unseen" in markdown(evaluation) and "same people" in markdown(evaluation)
    of_pairs = markdown(replace(evaluation, held_out="pairs")).split("\n- ")[0]  # the table
    assert "pairs unseen" in of_pairs and "same pairs" in of_pairs and "people" not in of_pairs
    for what in ("takes", "clips", "groups"):
        found = markdown(replace(evaluation, held_out=what))
        assert f"{what} unseen" in found and f"same people, other {what}" in found
        assert f"same {what}" not in found  # attackers are not tested on what they learned


def test_a_void_result_says_so_first(evaluation: Evaluation) -> None:
    void = replace(evaluation, void="the dice were loaded")
    assert "**VOID: the dice were loaded**" in markdown(void).splitlines()[:8]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.826, ".83"), (1.0, "1.00"), (-0.5, "-.50"), (0.999, "1.00"), (None, "n/a")],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert number(value) == text

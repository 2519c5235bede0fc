"""The words that an evaluation is summed up in."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from typing import Any

import pytest
from made_rows import HOSTILE, attack, private, score
from made_rows import row as made

from masquerade.evaluation.mask_only import REGION_MASK
from masquerade.evaluation.results import Evaluation, Reidentification, Row
from masquerade.report.benchmark_page import _cell, _tone
from masquerade.report.benchmark_tables import csv_table
from masquerade.report.numbers_and_columns import (
    all_columns,
    highest_upper_end,
    main_columns,
    number,
)
from masquerade.report.table import lines
from masquerade.report.verdicts import (
    beyond_chosen,
    headline,
    headline_columns,
    raw_beside,
    row_verdict,
    title_of,
    verdict,
)


def test_labels_keep_their_capitals_in_the_headline(table: Evaluation) -> None:
    rows = tuple(
        replace(
            row,
            findings=tuple(
                replace(one, label="VIP_Ward") if one.label == "red_top" else one
                for one in row.findings
                if one.label != "attributes"
            ),
        )
        for row in table.rows
    )
    assert " VIP_Ward: hidden by figure .5" in headline(replace(table, rows=rows)).detail
    leaking = replace(table, rows=(rows[0], rows[3]))
    assert " VIP_Ward: void" in headline(leaking).detail


def test_the_action_comes_first_then_who_it_is_then_the_attributes(table: Evaluation) -> None:
    assert [c.label for c in headline_columns(table)] == ["action", "identity", "attributes"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("figure .5", ["held", "held", "held"]),
        ("figure .7", ["undecided", "undecided", "held"]),
        (HOSTILE, ["leaks", "leaks", "void"]),
    ],
)
def test_each_label_has_a_verdict(table: Evaluation, name: str, words: list[str]) -> None:
    row = next(row for row in table.rows if row.name == name)
    assert [verdict(row, f).word for f in row.findings if f.use == "private"] == words


def test_undecided_says_why(table: Evaluation) -> None:
    _, _, row, *_ = table.rows
    assert verdict(row, row.findings[2]).why == "attackers of poses fail"
    why = verdict(row, row.findings[1]).why
    assert "as much as .15 may be read" in why and "more clips" in why


def test_a_row_has_the_gravest_verdict_of_its_labels(table: Evaluation) -> None:
    columns = main_columns(table)
    said = [row_verdict(row, columns) for row in table.rows[1:]]
    assert [one.word for one in said] == ["held", "undecided", "leaks", "n/a"]
    assert said[2].why == "who it is, attributes"
    assert said[3].why == "frames are <missing>"


def test_a_method_does_not_hold_where_a_single_attribute_leaks(table: Evaluation) -> None:
    """Though the mean over them, most of which are hidden, is within a tenth."""
    raw, held, *others = table.rows
    *first, red = held.findings
    leaking = private("red_top", 0.7, half=0.02, protects=False)
    row = replace(held, findings=(*first, leaking))
    said = row_verdict(row, main_columns(table))
    assert (said.word, said.why) == ("leaks", "red_top")
    shown = headline(replace(table, rows=(raw, row, *others))).detail
    assert "Attributes: no method is shown to hide this." in shown
    assert row_verdict(replace(row, findings=(*first, red)), main_columns(table)).word == "held"
    (mean,) = (one for one in held.findings if one.label == "attributes")
    for mine, says in ((held, "held"), (row, "leaks")):
        shown = lines(replace(table, rows=(mine,)), [mean])[-1]
        assert (", held" in shown[1]) == (says == "held")
        assert verdict(mine, mean).word == says
    assert "red_top" in verdict(row, mean).why
    by_f1 = replace(mean, label="attributes by F1", metric="F1")
    assert verdict(held, by_f1).word == "held" and verdict(row, by_f1).word == "leaks"


def test_a_cell_of_the_table_says_what_the_verdict_says(table: Evaluation) -> None:
    """It was silent where the page said undecided, so that both seemed to leak."""
    columns = [one for one in all_columns(table) if one.use == "private"]
    told = set()
    for row in table.rows[1:4]:
        (shown,) = lines(replace(table, rows=(row,), controls=()), columns)[-1:]
        for column, cell in zip(columns, shown[1:], strict=True):
            found = row.finding(column.label)
            assert found is not None
            word = verdict(row, found).word
            said = next((w for w in ("held", "undecided", "void") if cell.endswith(w)), "leaks")
            assert said == word, cell
            told.add(word)
    assert told == {"held", "undecided", "leaks", "void"}


@pytest.mark.parametrize("label", ["identity", "attributes"])
def test_a_row_is_not_held_where_a_column_could_not_be_judged(
    table: Evaluation, label: str
) -> None:
    held, why = table.rows[1], "the attacker does not succeed on raw video"
    columns = main_columns(table)
    assert row_verdict(held, columns).word == "held"
    findings = tuple(
        replace(one, void=why, leakage=None) if one.label == label else one for one in held.findings
    )
    said = row_verdict(replace(held, findings=findings), columns)
    assert said.word == "undecided" and said.why.endswith(why)


def test_what_all_clips_of_a_person_tell_together_leaks(table: Evaluation) -> None:
    held = table.rows[1]
    many = replace(held.findings[1], pooled=score(0.5), pooled_floor=0.05)
    said = verdict(held, many)
    assert said.word == "leaks" and ".50 is read from all clips of a person" in said.why
    for floor, value in ((0.6, 0.5), (0.05, 0.15)):  # a guess from as many clips; not surely more
        mine = replace(many, pooled=score(value), pooled_floor=floor)
        assert verdict(held, mine).word == "held"
    assert verdict(held, replace(many, pooled_floor=None)).word == "held"  # of earlier versions


def test_who_is_found_again_in_other_clips_is_not_hidden(table: Evaluation) -> None:
    held = table.rows[1]

    def said(rank: float) -> str:
        again = Reidentification(
            gallery="anonymized", scores={"rank-1": score(rank)}, floors={"rank-1": 0.05}
        )
        row = replace(held, reidentification=(again,))
        assert verdict(row, held.findings[2]).word == verdict(held, held.findings[2]).word
        shown = lines(replace(table, rows=(row,)), [held.findings[1]])
        word = verdict(row, held.findings[1]).word
        assert (", held" in str(shown)) == (word == "held")
        return word

    assert said(0.4) == "leaks"
    assert said(0.16) == "held", "from .11 on, which is below a tenth of the way to always"
    unknown = Reidentification(gallery="raw", not_applicable="one clip of each")
    row = replace(held, reidentification=(unknown,))
    assert verdict(row, held.findings[1]).word == "held"


def test_each_of_several_columns_of_people_has_its_name(table: Evaluation) -> None:
    row, who = table.rows[1], table.rows[1].findings[1]
    both = [replace(who, label=label) for label in ("person_a", "person_b")]
    assert title_of(who) == "Who it is"
    assert [title_of(one) for one in both] == ["Who it is (person_a)", "Who it is (person_b)"]
    said = row_verdict(replace(row, findings=tuple(both)), both)
    assert said.why.startswith("who it is (person_a), who it is (person_b)")


def test_nothing_holds_or_leaks_where_all_is_void(table: Evaluation) -> None:
    for row in table.rows[1:4]:
        why = "the dice were loaded"
        assert row_verdict(row, main_columns(table), void=why).word == "void"
        assert verdict(row, row.findings[1], void=why) == ("void", why)


def test_no_cell_of_a_table_that_is_void_says_held(table: Evaluation) -> None:
    def cells(shown: Evaluation) -> str:
        return "\n".join(cell for line in lines(shown, all_columns(shown)) for cell in line)

    void = cells(replace(table, void="shuffled labels were found"))
    assert ", held" in cells(table) and ", undecided" in cells(table)
    assert ", held" not in void and ", undecided" not in void and "leakage .01, void" in void


def test_a_run_that_reads_more_than_the_mean_is_the_reason(table: Evaluation) -> None:
    row = replace(table.rows[1], runs=5)
    found = row.findings[1]
    assert found.leakage is not None
    one_reads = replace(found, leakage=replace(found.leakage, low=0.0, protects=False))
    said = verdict(row, one_reads)
    assert said.word == "undecided" and "in one of them more than .14" in said.why


def test_an_attacker_that_nobody_chose_leaks_too(table: Evaluation) -> None:
    _, _, row, *_ = table.rows
    found = row.findings[1]
    raised = replace(found, highest_score=replace(found.score, value=0.3, low=0.2, high=0.4))
    said = verdict(row, raised)
    assert said.word == "leaks" and ".30 is read" in said.why


def test_an_attacker_with_a_lower_score_and_a_narrower_interval_leaks_too() -> None:
    """The chosen one may read nothing surely, and another surely something."""
    sure = attack("gait", score(0.62, 0.04))
    unsure = private("attributes", 0.66, half=0.2)
    assert unsure.leakage is not None
    unknown = replace(unsure.leakage, low=-0.1)
    found = replace(unsure, leakage=unknown, attacks=(*unsure.attacks[:1], sure))
    said = verdict(made("blur", "blur", found), found)
    assert said == ("leaks", ".62 is read where a guess has .50")
    alone = replace(found, highest_score=None)  # intervals of earlier versions hold one by one
    assert verdict(made("blur", "blur", alone), alone).word == "undecided"


def test_what_is_surely_read_leaks_where_its_share_of_raw_video_is_not_known() -> None:
    """The interval of a ratio has no ends where few groups of people tell the two apart."""
    some = private("scene", 0.88)
    assert some.leakage is not None
    no_share: dict[str, Any] = {"value": None, "low": None, "high": None, "protects": None}
    found = replace(some, leakage=replace(some.leakage, **no_share))
    assert verdict(made("blur", "blur", found), found).word == "leaks"
    unsure = private("scene", 0.55, half=0.1, leakage=found.leakage)
    unsure = replace(unsure, attacks=unsure.attacks[:1])
    said = verdict(made("blur", "blur", unsure), unsure)
    assert said.word == "undecided" and "raw video shows" in said.why
    assert found.leakage is not None
    unknown = replace(found, leakage=replace(found.leakage, raw=score(0.52, 0.1)))
    assert verdict(made("blur", "blur", unknown), unknown).word == "n/a"


def test_a_cell_without_a_share_of_raw_video_says_why(table: Evaluation) -> None:
    """What raw video shows is known, and how much of it is left is not."""
    _, _, row, *_ = table.rows
    few = private("scene", 0.55, half=0.1)
    assert few.leakage is not None
    no_share: dict[str, Any] = {"value": None, "low": None, "high": None, "protects": None}
    few = replace(few, leakage=replace(few.leakage, **no_share), attacks=few.attacks[:1])
    mine = replace(table, rows=(replace(row, findings=(few,)),))
    assert verdict(mine.rows[0], few).word == "undecided"
    assert any("leakage n/a, undecided" in cell for line in lines(mine, [few]) for cell in line)


def test_the_headline_names_who_hides_and_how_much_is_kept(table: Evaluation) -> None:
    said = headline(table)
    assert said.claim == "Figure .5 hides who people are from these attackers."
    assert "in 6 of 100 clips (at most 8)" in said.detail
    assert "a guess has 5 and raw video 90" in said.detail
    assert "the action is recognized in 70 of 100 (raw video: 80)" in said.detail
    assert "Attributes: hidden by figure .5." in said.detail


def test_raw_video_beside_a_method_is_of_the_clips_that_the_method_has(table: Evaluation) -> None:
    """It may lack some, on which its leakage is not measured either."""
    raw, row, *others = table.rows
    action, who, *more = row.findings
    assert who.leakage is not None
    fewer = replace(who, leakage=replace(who.leakage, raw=score(0.7)))
    some = replace(table, rows=(raw, replace(row, findings=(action, fewer, *more)), *others))
    assert "a guess has 5 and raw video 70" in headline(some).detail
    unknown = replace(who, leakage=None)
    assert raw_beside(some, fewer) == score(0.7) and raw_beside(some, unknown) == score(0.9)
    cell = _cell(some, some.rows[1], fewer)
    assert cell is not None and cell.beside.endswith("raw\N{NO-BREAK SPACE}.70")
    rows = csv.DictReader(io.StringIO(csv_table([some])))
    told = [one["raw"] for one in rows if one["video"] == row.name and one["label"] == who.label]
    assert told == ["0.7"]


def test_a_method_behind_which_nobody_is_named_is_in_the_headline(table: Evaluation) -> None:
    raw, row, *others = table.rows
    action, who, *more = row.findings
    none = replace(who, score=replace(who.score, value=0.0, low=0.0, high=0.04))
    changed = replace(row, findings=(action, none, *more))
    said = headline(replace(table, rows=(raw, changed, *others)))
    assert said.claim == "Figure .5 hides who people are from these attackers."
    assert (
        "Least is read behind figure .5: an attacker still says who it is in 0 of 100"
        in said.detail
    )


def test_least_is_not_read_where_people_are_found_again(table: Evaluation) -> None:
    raw, row, *others = table.rows
    again = Reidentification(
        gallery="anonymized", scores={"rank-1": score(0.4)}, floors={"rank-1": 0.05}
    )
    rows = (raw, replace(row, reidentification=(again,)), *others)
    assert headline(table).detail.startswith("Least is read behind figure .5")
    words = {one.name: verdict(one, one.findings[1]).word for one in rows[1:] if one.findings}
    least = (
        headline(replace(table, rows=rows))
        .detail.split(":")[0]
        .removeprefix("Least is read behind ")
    )
    assert words["figure .5"] == "leaks" and words[least] != "leaks"


def test_a_score_surely_below_chance_is_not_the_least_that_is_read(table: Evaluation) -> None:
    """Turned round, it tells as much as one that is as far above chance."""
    raw, one, other, *_ = (
        replace(row, findings=tuple(f for f in row.findings if f.label != "identity"))
        for row in table.rows
    )

    def least(value: float, half: float) -> str:
        rows = [
            replace(row, findings=(row.findings[0], private("attributes", *scored, **why)))
            for row, scored, why in (
                (one, (value,), {"half": half}),
                (other, (0.55,), {"half": 0.03}),
            )
        ]
        return headline(replace(table, rows=(raw, *rows))).detail

    assert least(0.3, 0.05).startswith("Least is read behind figure .7")
    assert least(0.47, 0.05).startswith("Least is read behind figure .5")  # as if by chance
    assert least(0.3, 0.25).startswith("Least is read behind figure .5")


def test_the_headline_says_of_void_labels_that_they_are(table: Evaluation) -> None:
    def void(*labels: str) -> Evaluation:
        rows = [
            replace(
                row,
                findings=tuple(
                    replace(one, void="nobody reads it on raw video", leakage=None)
                    if one.label in labels
                    else one
                    for one in row.findings
                ),
            )
            for row in table.rows
        ]
        return replace(table, rows=tuple(rows))

    who = headline(void("identity"))
    assert who.claim.startswith("Whether any method hides who people are cannot be told")
    assert who.detail == (
        "Who it is: void, because nobody reads it on raw video. Attributes: hidden by figure .5."
    )
    both = headline(void("identity", "attributes")).detail
    assert both.endswith(" Attributes: void, because nobody reads it on raw video.")


@pytest.mark.parametrize("value", [0.175, 0.925, 0.125, 0.375])
def test_the_headline_rounds_as_the_table_does(table: Evaluation, value: float) -> None:
    raw, row, *others = table.rows
    action = replace(row.findings[0], score=replace(row.findings[0].score, value=value))
    changed = replace(row, findings=(action, *row.findings[1:]))
    said = headline(replace(table, rows=(raw, changed, *others)))
    assert f"the action is recognized in {number(value)[1:]} of 100" in said.detail


def test_the_headline_does_not_claim_what_was_not_shown(table: Evaluation) -> None:
    raw, _, undecided, leaks, later = table.rows
    some = replace(table, rows=(raw, undecided, leaks, later))
    said = headline(some).claim
    assert (
        said == "Whether figure .7 hides who people are is undecided; every other method leaks it."
    )
    assert headline(replace(table, rows=(raw, leaks))).claim.startswith("No method")
    assert headline(replace(table, rows=(raw, later))).claim == "No method was measured."
    assert headline(replace(table, void="the dice were loaded")).claim == "These numbers are void."


@pytest.mark.parametrize(
    ("other", "claim"),
    [
        ({"value": 0.5, "protects": False}, "No method of this table hides who people are."),
        ({"value": 0.06, "undecided": "others"}, "Whether figure .5 hides who people are is unde"),
        ({"value": 0.06, "protects": True}, "Figure .5 hides who people are from these attackers."),
        ({"value": 0.06, "void": "dice"}, "Whether figure .5 hides who people are is undecided."),
        ({"value": 0.06, "leakage": None}, "Whether figure .5 hides who people are is undecided."),
    ],
)
def test_the_headline_is_of_all_columns_of_people(
    table: Evaluation, other: dict[str, Any], claim: str
) -> None:
    """It was of the first alone: who is hidden in one column may be read in the other."""
    raw, held, *_ = table.rows
    rows = [
        replace(row, findings=(*row.findings, replace(one, label="person_b")))
        for row, one in ((raw, raw.findings[1]), (held, private("identity", half=0.02, **other)))
    ]
    both = replace(table, rows=tuple(rows))
    said = headline(both)
    assert said.claim.startswith(claim) and "Who it is:" not in said.detail
    private_columns = [column for column in headline_columns(both) if column.use == "private"]
    assert (_tone(both, private_columns) == "held") == (" hides who people are from" in claim)


def _without_raw(row: Row) -> Row:
    """A row whose clips are so few that raw video of them shows nobody."""
    findings = tuple(
        replace(one, leakage=None) if one.label == "identity" else one for one in row.findings
    )
    return replace(row, findings=findings)


def test_the_headline_says_of_which_methods_it_cannot_be_told(table: Evaluation) -> None:
    """It said that all other methods leak, and which of them read the least."""
    raw, held, undecided, leaks, _ = table.rows
    untold = _without_raw(held)
    said = headline(replace(table, rows=(raw, untold, undecided, leaks)))
    assert said.claim == (
        "Whether figure .7 hides who people are is undecided; of 1 other method it cannot be told."
    )
    assert said.detail.startswith("Least is read behind figure .7") and "balance" not in said.detail
    two = replace(table, rows=(raw, untold, replace(untold, name="figure .6"), undecided))
    assert headline(two).claim.endswith("of 2 other methods it cannot be told.")
    said = headline(replace(table, rows=(raw, untold, leaks)))
    assert said.claim == "No method of this table is shown to hide who people are."
    alone = headline(replace(table, rows=(raw, untold)))
    assert alone.detail.startswith("Least is read behind figure .5"), "nothing else was measured"


@pytest.mark.parametrize("mask", ["keep mask only", "random mask", "fixed mask", REGION_MASK])
def test_a_mask_alone_is_no_method_that_hides(table: Evaluation, mask: str) -> None:
    """Nothing is read of a random one, so it would have been the best of the table."""
    raw, held, undecided, *_ = table.rows
    alone = replace(held, name=f"figure .7, {mask}")
    shown = replace(table, rows=(raw, undecided, alone))
    said = headline(shown)
    assert said.claim == "Whether figure .7 hides who people are is undecided."
    assert mask not in said.detail
    assert _tone(shown, [raw.findings[1]]) == "undecided"


def test_an_upper_end_and_its_limit_are_told_apart() -> None:
    """Both were .14, so that the sentence said nothing."""
    found = private("identity", 0.05, half=0.05, protects=False)
    sure = [replace(one, test=replace(one.test, high=0.144)) for one in found.attacks]
    most = replace(found, attacks=tuple(sure))
    said = verdict(made("blur", "blur", most), most)
    assert said.word == "undecided"
    assert "as much as .144 may be read, and .135 would count as held" in said.why
    sure = [replace(one, test=replace(one.test, high=0.1346)) for one in found.attacks]
    most = replace(found, attacks=tuple(sure))
    said = verdict(made("blur", "blur", most, runs=3), most)
    assert "as much as .13 may be read" in said.why and "more than .14, which" in said.why


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.995, ".99"), (-0.995, "-.99"), (0.996, "1.00"), (-0.001, ".00"), (None, "n/a")],
)
def test_no_share_below_one_has_a_zero_in_front(value: float | None, text: str) -> None:
    assert number(value) == text


def test_at_most_is_of_private_labels_behind_methods_only(table: Evaluation) -> None:
    raw, held, *_ = table.rows
    assert (
        highest_upper_end(raw, raw.findings[1]) is None
        and highest_upper_end(held, held.findings[0]) is None
    )
    assert highest_upper_end(held, held.findings[1]) == pytest.approx(0.08)


def test_who_sees_no_people_is_not_in_the_at_most_of_their_attributes(table: Evaluation) -> None:
    held = table.rows[1]
    found = held.findings[1]
    sky = replace(found.attacks[0], family="background", test=replace(found.score, high=0.9))
    assert highest_upper_end(held, replace(found, attacks=(*found.attacks, sky))) == pytest.approx(
        0.9
    )
    sky = replace(sky, counts=False)
    assert highest_upper_end(held, replace(found, attacks=(*found.attacks, sky))) == pytest.approx(
        0.08
    )


def test_older_results_give_the_highest_score_instead(table: Evaluation) -> None:
    held = table.rows[1]
    found = held.findings[1]
    chosen = replace(found.score, value=0.03, low=0.02, high=0.05)
    old = replace(found, highest_score=None, score=chosen)
    assert beyond_chosen(held, old) == ("highest", 0.06)
    assert beyond_chosen(held, replace(found, highest_score=None)) is None
    assert verdict(held, old).word == "undecided"  # others than the chosen one were not looked at

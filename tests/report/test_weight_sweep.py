"""f over the weight of privacy: by the strongest attackers, and by means over networks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_rows import action, private, row, score

from masquerade.evaluation.results import Evaluation, LabelResult, NetworkMean
from masquerade.report.benchmark_page import render_benchmark
from masquerade.report.weight_sweep import STEPS, network_mean, weight_sweeps


def averaged(found: LabelResult, **means: float) -> LabelResult:
    """A finding with means of two networks, by family and what they read: raw_clips=.5."""
    every = []
    for name, value in means.items():
        family, reads = name.split("_")
        networks = (f"{reads} a", f"{reads} b")
        every.append(NetworkMean(family=family, reads=reads, networks=networks, score=score(value)))
    return replace(found, means=tuple(every))


@pytest.fixture
def averages(table: Evaluation) -> Evaluation:
    """Attackers that choose say one method is best, and means over networks another one."""
    rows = (
        row(
            "raw",
            None,
            averaged(action(0.9), scratch_clips=0.8),
            averaged(private("gender", 0.95), scratch_stills=0.9, scratch_clips=0.1),
        ),
        row(
            "keeps",
            "a",
            averaged(action(0.9), raw_clips=0.3, scratch_clips=0.85),
            averaged(private("gender", 0.9), raw_stills=0.9),
        ),
        row(
            "hides",
            "b",
            averaged(action(0.5), raw_clips=0.7),
            averaged(private("gender", 0.6), raw_stills=0.4, raw_clips=0.9),
        ),
    )
    return replace(table, rows=rows)


def test_the_papers_mean_is_over_clips_for_the_action_and_stills_for_privacy(
    averages: Evaluation,
) -> None:
    raw, keeps, hides = averages.rows
    means = [
        network_mean(one, found).score.value  # type: ignore[union-attr]
        for one in (raw, keeps, hides)
        for found in one.findings
    ]
    assert means == [0.8, 0.9, 0.3, 0.9, 0.7, 0.4]
    assert network_mean(raw, action(0.9)) is None
    clips_alone = averaged(private("gender", 0.9), raw_clips=0.7)
    assert network_mean(keeps, clips_alone).score.value == 0.7  # type: ignore[union-attr]


def test_each_kind_of_reader_has_its_own_sweep(averages: Evaluation) -> None:
    label = averages.rows[1].findings[1]
    strongest, mean = weight_sweeps(averages, label)
    assert strongest.ranges[0] == (".00", ".55", "keeps"), "the action alone counts: .9 before .5"
    assert mean.ranges == ((".00", "1.00", "hides"),)
    networks = "2 of clips (action) and 2 of single frames (privacy)"
    assert mean.read_by == f"the mean over networks: {networks}"
    weights, best = json.loads(mean.best)
    assert len(weights) == STEPS
    middle = dict(best[STEPS // 2])
    # (1 - .5) .7 + .5 (1 - .5): below chance is no protection, and .4 counts as .5
    assert middle == {"hides": ".60", "keeps": ".20"}


def test_without_means_there_is_one_sweep(table: Evaluation) -> None:
    label = next(one for one in table.rows[1].findings if one.use == "private")
    assert len(list(weight_sweeps(table, label))) == 1


def test_a_void_label_has_no_best_method(averages: Evaluation) -> None:
    rows = tuple(
        replace(one, findings=(one.findings[0], replace(one.findings[1], void="the dice")))
        for one in averages.rows
    )
    label = rows[1].findings[1]
    assert not list(weight_sweeps(replace(averages, rows=rows), label))
    some = replace(averages, rows=(averages.rows[0], rows[1], averages.rows[2]))
    assert all("keeps" not in one.best for one in weight_sweeps(some, label))


def test_a_mask_alone_is_in_no_sweep(averages: Evaluation) -> None:
    raw, keeps, *_ = averages.rows
    alone = replace(keeps, name="keeps, random mask")
    label = keeps.findings[1]
    for sweep in weight_sweeps(replace(averages, rows=(raw, keeps, alone)), label):
        assert "mask" not in sweep.best and "mask" not in str(sweep.chart)
    assert not list(weight_sweeps(replace(averages, rows=(raw, alone)), label))


def test_a_chart_of_void_results_says_so(table: Evaluation) -> None:
    label = next(one for one in table.rows[1].findings if one.use == "private")
    for void in (None, "the dice were loaded"):
        (sweep,) = weight_sweeps(replace(table, void=void), label)
        title, axis = (
            sweep.chart.count("(void)</title>"),
            sweep.chart.count("privacy (void)</text>"),
        )
        assert (title, axis) == ((0, 0) if void is None else (1, 1))


def test_the_page_shows_means_and_names_their_networks(
    averages: Evaluation, table: Evaluation
) -> None:
    page = render_benchmark([averages], title="Ward")
    start = page.index("Mean over networks")
    shown = page[start : page.index("Each private label")]
    for cell in (".70 [.65, .75]", ".40 [.35, .45]", "clips a, clips b", "stills a, stills b"):
        assert cell in shown, cell
    assert "Mean over networks" not in render_benchmark([table], title="Ward")

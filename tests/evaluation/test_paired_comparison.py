"""Methods compared clip by clip: the table's own numbers, over the clips that all could read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import CONFIG, SMALL
from scipy import stats

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import VideoError
from masquerade.evaluation import EvaluatedMethod, Evaluation
from masquerade.evaluation.paired_comparison import PairedScores, paired_scores
from masquerade.evaluation.presets import PRESETS
from masquerade.methods import build
from masquerade.metrics.intervals import score
from masquerade.metrics.statistic import Statistic, average, difference
from masquerade.report.differences import differences_markdown

ENTRIES = [
    EvaluatedMethod(name="black", anonymizer=build("blacken")),
    EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
]


def test_a_reading_is_the_number_of_the_table(
    manifest: Manifest, kept: Path, evaluation: Evaluation
) -> None:
    found = paired_scores(manifest, ENTRIES, CONFIG, folder=kept)
    assert set(found) == {"action", "red", "identity"}
    for row in evaluation.rows:
        for label, reading in found.items():
            if not row.not_applicable:
                finding = row.finding(label)
                assert finding is not None and finding.score is not None
                assert reading.scores[row.name].value == finding.score.value
    red = found["red"]
    gap = score(difference(red.scores["copy"], red.scores["black"]), clusters=red.groups)
    assert gap.value == pytest.approx(red.scores["copy"].value - red.scores["black"].value)
    assert gap.low is not None and gap.high is not None
    assert 0 < gap.low < 0.5 < gap.high  # the copy shows what black hides, of which half is a guess


def test_labels_that_are_void_in_the_table_are_void_here(
    manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_red(specs: dict[str, Any], failed: list[str]) -> tuple[dict[str, Any], Any]:
        assert failed == ["red"]
        return {name: [one for one in s if one.name != "red"] for name, s in specs.items()}, ()

    monkeypatch.setattr("masquerade.evaluation.paired_comparison.without_void", without_red)
    found = paired_scores(manifest, ENTRIES, CONFIG, folder=kept, void=["red"])
    assert set(found) == {"action", "identity"}


def test_intervals_of_several_differences_hold_all_at_once() -> None:
    """Thirty methods that read as raw video does: all thirty intervals hold zero, mostly."""
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(30), 4)
        scores = {str(n): mean_of(rng.random(120) < 0.6) for n in range(31)}
        found = PairedScores(scores=scores, groups=groups)
        gaps = found.differences([(str(n), "0") for n in range(1, 31)])
        missed += any(not one.low <= 0 <= one.high for one in gaps)
        single = [found.differences([(str(n), "0")])[0] for n in (1, 2)]
        for one, alone in zip(gaps, single, strict=False):
            assert one.value == alone.value
            assert one.high - one.low > alone.high - alone.low
    assert missed <= 8  # of 60, where 3 are expected; without correction it is most of them


def test_training_runs_that_differ_widen_the_difference() -> None:
    groups, rng = np.repeat(np.arange(20), 3), np.random.default_rng(0)
    hits = rng.random((5, 60)) < np.array([0.3, 0.9, 0.5, 0.8, 0.4])[:, None]
    other = rng.random((5, 60)) < 0.6
    runs = {"a": tuple(map(mean_of, hits)), "b": tuple(map(mean_of, other))}
    scores = {name: average(several) for name, several in runs.items()}
    apart = PairedScores(scores=scores, groups=groups, runs=runs).differences([("a", "b")])[0]
    as_one = PairedScores(scores=scores, groups=groups).differences([("a", "b")])[0]
    assert apart.value == as_one.value
    assert apart.high - apart.low > 1.5 * (as_one.high - as_one.low)


@pytest.mark.parametrize("trainings", [1, 2, 5])
def test_a_method_of_fewer_training_runs_than_seeds_is_compared_with_raw_video(
    trainings: int,
) -> None:
    """Raw video has a score for each seed, and the variance of both counts."""
    groups, rng = np.repeat(np.arange(20), 3), np.random.default_rng(0)
    runs = {
        name: tuple(map(mean_of, rng.random((many, 60)) < np.linspace(0.2, 0.9, many)[:, None]))
        for name, many in (("raw", 3), ("trained", trainings))
    }
    scores = {name: average(several) for name, several in runs.items()}
    runs["trained"] *= trainings > 1  # of a single one nothing is known to differ
    (gap,) = PairedScores(scores=scores, groups=groups, runs=runs).differences([("trained", "raw")])
    (as_one,) = PairedScores(scores=scores, groups=groups).differences([("trained", "raw")])
    assert gap.value == as_one.value
    assert gap.high - gap.low > 1.5 * (as_one.high - as_one.low)


def test_differences_of_unlike_numbers_of_runs_hold_all_at_once_too() -> None:
    """The t quantile of raw video's two degrees of freedom grows as Bonferroni's, of three."""
    groups, rng = np.repeat(np.arange(20), 3), np.random.default_rng(0)
    raw = rng.random((3, 60)) < np.array([0.5, 0.6, 0.7])[:, None]
    runs = {"raw": tuple(map(mean_of, raw)), "a": (), "b": (), "c": ()}
    scores = {name: average(several) for name, several in runs.items() if several}
    scores |= {name: mean_of(rng.random(60) < 0.6) for name in "abc"}
    found = PairedScores(scores=scores, groups=groups, runs=runs)
    alone = found.differences([("a", "raw")])[0]
    at_once = found.differences([("a", "raw"), ("b", "raw"), ("c", "raw")])[0]
    more = stats.t.ppf(1 - 0.025 / 3, 2) / stats.t.ppf(0.975, 2)  # 1.77
    assert at_once.high - at_once.low > 0.85 * more * (alone.high - alone.low)


def mean_of(hits: np.ndarray) -> Statistic:
    return Statistic(len(hits), lambda w: (w @ hits) / w.sum(axis=1))


class Fussy(Anonymizer):
    """Cannot rewrite what has no red in it."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, clip, *, mask=None, state=None) -> Anonymized:
        if clip[:, 0].amin() < 0.3:
            raise VideoError("this is not red.")
        return Anonymized(clip)


@pytest.mark.slow
def test_clips_that_one_method_cannot_rewrite_count_for_none(
    manifest: Manifest, kept: Path
) -> None:
    entries = [*ENTRIES[:1], EvaluatedMethod(name="fussy", anonymizer=Fussy())]
    action = paired_scores(manifest, entries, CONFIG, folder=kept)["action"]
    sizes = {name: one.n for name, one in action.scores.items()}
    assert len(set(sizes.values())) == 1 and 0 < sizes["raw"] < len(manifest)
    assert len(action.groups) == sizes["raw"]


@pytest.mark.slow
def test_trained_lines_and_others_are_read_by_as_many(
    manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same copy, once as two runs trained alike: neither is read by two networks together."""
    monkeypatch.setitem(PRESETS, "longer", replace(SMALL, epochs=2))
    copy = build("downsample", factor=2)
    entries = [
        EvaluatedMethod(name="copy", anonymizer=copy),
        EvaluatedMethod(name="runs", runs=((copy,) * 2,) * 2),
    ]
    plan = replace(CONFIG, folds=2, seeds=2, preset="longer", attackers=("scratch",))
    found = paired_scores(manifest, entries, plan, folder=kept)
    for reading in found.values():
        copied, runs = (reading.scores[name] for name in ("copy", "runs"))
        every_second = np.tile([[1.0, 0.0], [0.0, 1.0]], copied.n // 2)
        assert np.allclose(
            copied.weighted(every_second), runs.weighted(every_second), equal_nan=True
        )


def test_lines_less_others_are_a_table(
    manifest: Manifest, kept: Path, evaluation: Evaluation
) -> None:
    found = paired_scores(manifest, ENTRIES, CONFIG, folder=kept)
    page = differences_markdown(evaluation, found, ["raw", "copy"])
    body = [line for line in page.splitlines() if " less " in line and line.startswith("|")]
    names = [line.split(" | ")[0].strip("| ") for line in body]
    assert names == ["black less raw", "black less copy", "copy less raw"]
    (gap,) = found["action"].differences([("copy", "raw")])  # one of three is wider
    assert f"| {gap.value:+.2f} [" in body[2]
    lost = found["action"].scores["black"].value - found["action"].scores["raw"].value
    assert lost < 0 and f"| {lost:+.2f} [" in body[0]

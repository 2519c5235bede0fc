"""Methods compared clip by clip: the table's own numbers, over the clips that all could read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import CONFIG
from scenes import SMALL

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import VideoError
from masquerade.evaluation import EvaluatedMethod, Evaluation
from masquerade.evaluation.paired_comparison import paired_scores
from masquerade.evaluation.presets import PRESETS
from masquerade.methods import build
from masquerade.metrics.intervals import paired

ENTRIES = [
    EvaluatedMethod(name="black", method=build("blacken")),
    EvaluatedMethod(name="copy", method=build("downsample", factor=2)),
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
    gap = paired(red.scores["copy"], red.scores["black"], clusters=red.groups).difference
    assert gap.value == pytest.approx(red.scores["copy"].value - red.scores["black"].value)
    assert gap.low is not None and gap.high is not None
    assert 0 < gap.low < 0.5 < gap.high  # the copy shows what black hides, of which half is a guess


class Fussy(Anonymizer):
    """Cannot rewrite what has no red in it."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, clip, *, mask=None, state=None) -> Anonymized:
        if clip[:, 0].amin() < 0.3:
            raise VideoError("this is not red.")
        return Anonymized(clip)


def test_clips_that_one_method_cannot_rewrite_count_for_none(
    manifest: Manifest, kept: Path
) -> None:
    entries = [*ENTRIES[:1], EvaluatedMethod(name="fussy", method=Fussy())]
    action = paired_scores(manifest, entries, CONFIG, folder=kept)["action"]
    sizes = {name: one.n for name, one in action.scores.items()}
    assert len(set(sizes.values())) == 1 and 0 < sizes["raw"] < len(manifest)
    assert len(action.groups) == sizes["raw"]


def test_trained_lines_and_others_are_read_by_as_many(
    manifest: Manifest, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same copy, once as two runs trained alike: neither is read by two networks together."""
    monkeypatch.setitem(PRESETS, "longer", replace(SMALL, epochs=2))
    copy = build("downsample", factor=2)
    entries = [
        EvaluatedMethod(name="copy", method=copy),
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

"""Methods compared clip by clip: the table's own numbers, over the clips that all could read."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import PLAN

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.data.manifest import Manifest
from masquerade.errors import VideoError
from masquerade.evaluation import Entry, Evaluation
from masquerade.evaluation.pairing import readings
from masquerade.methods import build
from masquerade.metrics.intervals import paired

ENTRIES = [
    Entry(name="black", method=build("blacken")),
    Entry(name="copy", method=build("downsample", factor=1)),
]


def test_a_reading_is_the_number_of_the_table(
    manifest: Manifest, kept: Path, evaluation: Evaluation
) -> None:
    found = readings(manifest, ENTRIES, PLAN, folder=kept)
    assert set(found) == {"action", "red", "identity"}
    for row in evaluation.rows:
        for label, reading in found.items():
            if not row.not_applicable:
                finding = row.finding(label)
                assert finding is not None and finding.score is not None
                assert reading.lines[row.name].value == finding.score.value
    red = found["red"]
    gap = paired(red.lines["copy"], red.lines["black"], clusters=red.clusters).difference
    assert gap.value == pytest.approx(red.lines["copy"].value - red.lines["black"].value)
    assert gap.low is not None and gap.low > 0.2  # the copy shows what black hides


class Fussy(Anonymizer):
    """Cannot rewrite what has no red in it."""

    def __init__(self) -> None:
        super().__init__()

    def forward(self, clip, *, where=None, carry=None) -> Anonymized:
        if clip[:, 0].amin() < 0.3:
            raise VideoError("this is not red.")
        return Anonymized(clip)


def test_clips_that_one_method_cannot_rewrite_count_for_none(
    manifest: Manifest, kept: Path
) -> None:
    entries = [*ENTRIES[:1], Entry(name="fussy", method=Fussy())]
    action = readings(manifest, entries, PLAN, folder=kept)["action"]
    sizes = {name: one.n for name, one in action.lines.items()}
    assert len(set(sizes.values())) == 1 and 0 < sizes["raw"] < len(manifest)
    assert len(action.clusters) == sizes["raw"]

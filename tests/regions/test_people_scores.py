"""Scores of people as probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from masquerade.pipeline.coverage import CoverageCounter
from masquerade.regions.boxes import Box
from masquerade.regions.people_scores import KINDS, UNSURE, probability
from masquerade.regions.region import Region

PAGE = Path(__file__).parents[2] / "docs" / "results" / "people-calibration.md"


@pytest.mark.parametrize("kind", KINDS)
def test_a_higher_score_is_a_higher_probability(kind: str) -> None:
    found = [probability(score, kind) for score in np.linspace(0, 1, 21)]
    assert all(0 < p < 1 for p in found)
    assert sorted(found) == found and found[-1] > found[0]


def test_the_curves_are_those_that_the_benchmark_fitted() -> None:
    rows = [line.strip("| ").split(" | ") for line in PAGE.read_text("utf-8").splitlines()]
    fitted = {row[0]: (float(row[3]), float(row[4])) for row in rows if row[0] in KINDS}
    assert fitted == KINDS


def test_the_receipt_counts_finds_of_low_confidence() -> None:
    counter = CoverageCounter(["people"])
    place = 4.0, 4.0, 20.0, 40.0
    boxes = (
        Box(*place, UNSURE + 0.01, label="person"),
        Box(*place, UNSURE - 0.01, label="person"),
        Box(*place, UNSURE - 0.01, label="face"),  # whose scores are no probabilities
        Box(*place, 0.0, source="extrapolated", label="person"),
    )
    counter.add(Region(boxes=boxes), np.full((48, 48), 255, np.uint8))
    assert (counter.total().seen, counter.total().unsure) == (3, 1)
    for detector, unsure in (("pose", 1), ("hog", 0), ("torchvision", 0)):
        counter = CoverageCounter(["people"], detector)
        counter.add(Region(boxes=boxes), np.full((48, 48), 255, np.uint8))
        assert (counter.total().seen, counter.total().unsure) == (3, unsure)

"""A row that `anonymize` would not publish leaves the others of its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.evaluation import from_json

SUITE = """
title = "Ward"
about = "seconds"
[data.ward]
manifest = "{data}/manifest.csv"
[[tables]]
name = "ward"
title = "Our ward"
data = "ward"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --labels identity"
compared_with = ["raw", "moving"]
rows = [
  { name = "moving", method = "blacken --regions people --detector motion" },
  { name = "all", method = "blur --regions frame" },
]
"""


def test_a_row_that_is_not_published_is_named_and_the_others_are_measured(
    tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """It took all rows down, after the trainings, and was not named. Four frames are too few to
    know the background, so that all of them are hidden whole."""
    drawn = Mimes(size=32, frames=4, clips=24, people=6, actions=("walk", "squat"))
    write_mimes(tmp_path, drawn)
    (tmp_path / "ward.toml").write_text(SUITE)
    words = ["benchmark", str(tmp_path / "ward.toml"), "--data", str(tmp_path)]
    words += ["-o", str(tmp_path / "out"), "--device", "cpu", "--workers", "1"]
    assert main(words) == 1
    said = capsys.readouterr().err.splitlines()
    (why,) = [line for line in said if line.startswith("masquerade: ")]
    assert why.startswith("masquerade: row moving of table ward: there are no results, as")
    results = tmp_path / "out" / "results" / "ward"
    raw, moving, other = from_json((results / "ward.json").read_text()).rows
    assert "which --allow-gaps measures" in (moving.not_applicable or "") and not moving.findings
    assert raw.findings and other.findings and other.not_applicable is None
    assert "all less raw" in (results / "ward.md").read_text()
    assert len(list((results / "ward-clips").glob("*all*.mp4"))) == 2
    assert not list((results / "ward-clips").glob("*moving*.mp4"))

"""Anonymizers that were trained alike, one a seed and fold, as one line of the table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import CONFIG

from masquerade.anonymizer import Anonymizer
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.evaluation.results import from_json
from masquerade.methods import build
from masquerade.report.table import lines, main_columns, notes

COPY, BLACK = build("downsample", factor=2), build("blacken")


def action(evaluation: Evaluation, name: str) -> float:
    """What is kept of the action in a line of the table."""
    (row,) = (row for row in evaluation.rows if row.name == name)
    found = row.finding("action")
    assert found is not None and found.score.value is not None
    return found.score.value


def table(
    manifest: Manifest, kept: Path, *runs: tuple[Anonymizer, ...], seeds: int = 1
) -> Evaluation:
    """Of anonymizers of these seeds and folds."""
    entry = EvaluatedMethod(name="runs", method=None, runs=runs)
    plan = replace(CONFIG, seeds=seeds)
    return evaluate(manifest, [entry], plan, data="scenes", folder=kept)


def line(manifest: Manifest, kept: Path, *runs: tuple[Anonymizer, ...], seeds: int = 1) -> float:
    """What is kept of the action by them."""
    return action(table(manifest, kept, *runs, seeds=seeds), "runs")


def test_each_fold_is_predicted_by_the_run_trained_for_it(
    manifest: Manifest, kept: Path, evaluation: Evaluation
) -> None:
    """Four copies are the copy; black in one fold costs that fold's clips and no others'."""
    whole, black = action(evaluation, "copy"), action(evaluation, "black")
    assert line(manifest, kept, (COPY,) * 4) == whole
    assert black < line(manifest, kept, (COPY, COPY, COPY, BLACK)) < whole


@pytest.mark.slow
def test_scores_of_seeds_are_averaged_and_their_predictions_never_are(
    manifest: Manifest, kept: Path
) -> None:
    """A copy and a black one: half of what the copy gives, and not all of it."""
    found = line(manifest, kept, (COPY,) * 4, (BLACK,) * 4, seeds=2)
    copied, nothing = (line(manifest, kept, (one,) * 4) for one in (COPY, BLACK))
    assert nothing < found < copied
    assert found == pytest.approx((copied + nothing) / 2, abs=0.1)


def test_how_far_runs_lie_apart_stands_beside_their_mean(manifest: Manifest, kept: Path) -> None:
    found = table(manifest, kept, (COPY,) * 4, (BLACK,) * 4, seeds=2)
    cells = {one[0]: one[1] for one in lines(found, main_columns(found))}
    assert "±" in cells["runs"] and "±" not in cells["raw"]
    assert float(cells["runs"].split("±")[1]) > 0.1  # a copy and a black one
    assert any(note.startswith("±") for note in notes(found))
    before = found.to_json().replace('"runs": 2', '"other": 2').replace('"runs": 1', '"other": 1')
    assert {row.runs for row in from_json(before).rows} == {1}  # written before there were runs
    assert from_json(found.to_json()) == found


def test_every_fold_needs_its_own(manifest: Manifest, kept: Path) -> None:
    with pytest.raises(UsageError, match="4 folds"):
        line(manifest, kept, (COPY, COPY))
    with pytest.raises(UsageError, match="2 seeds"):
        line(manifest, kept, (COPY,) * 4, (COPY,) * 4)
    with pytest.raises(UsageError, match="one method"):
        EvaluatedMethod(name="both", method=COPY, runs=((COPY,),))

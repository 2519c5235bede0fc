"""A table that is scored again from its predictions says no more than when it was made."""

from __future__ import annotations

import importlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scenes import CONFIG

from masquerade import build
from masquerade.datasets.manifest import Manifest
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.evaluation.attacker_choice import Joined
from masquerade.evaluation.evaluator import PREDICTIONS, Evaluator
from masquerade.evaluation.predictions import Predictions
from masquerade.evaluation.scoring import score_table

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_one_training_run_is_scored_again_as_one(
    manifest: Manifest,
    kept: Path,
    evaluation: Evaluation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    saved_predictions = importlib.import_module("saved_predictions")
    score_again = importlib.import_module("score_again")
    shutil.copytree(kept, tmp_path / "kept")  # whose predictions other tests replace
    kept = tmp_path / "kept"
    methods = [
        EvaluatedMethod(name="black", anonymizer=build("blacken")),
        EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
    ]
    evaluate(manifest, methods, CONFIG, data="scenes", folder=kept)  # by fits that are there
    run = Evaluator(manifest, CONFIG, kept, None)
    saved = saved_predictions.SavedTable(
        predictions=Predictions.load(kept / PREDICTIONS),
        manifest=manifest,
        truth=run.truth,
        specs=run.specs,
        models=run.models,
        families=run.families,
    )
    again = score_again.score_again(saved, evaluation)
    assert again.void == evaluation.void
    for row, old in zip(again.rows, evaluation.rows, strict=True):
        assert [one.trade_offs for one in row.findings] == [one.trade_offs for one in old.findings]
        assert [len(one.means) for one in row.findings] == [len(one.means) for one in old.findings]
    scored: list[Joined] = []

    def recorded(joined: Joined, *more: Any, **named: Any) -> Any:
        scored.append(joined)
        return score_table(joined, *more, **named)

    monkeypatch.setattr(score_again, "score_table", recorded)
    trained = tuple(
        replace(row, method="bdq", arguments={}) if row.name == "black" else row
        for row in evaluation.rows
    )
    again = score_again.score_again(saved, replace(evaluation, rows=trained, void="old"))
    assert again.void == evaluation.void
    ((raw, black, copy),) = scored
    assert all(inputs.learned and not inputs.per_run for inputs in black.values())
    assert not any(inputs.learned for inputs in (*raw.values(), *copy.values()))

"""All attackers of a row are scored on the same clips, whatever each of them sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scenes import CONFIG, QUICK, manifest_of

from masquerade.errors import MasqueradeError, UsageError
from masquerade.evaluation import EvaluatedMethod, evaluate
from masquerade.evaluation.evaluated_clips import RAW, EvaluatedClips
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.executor import Executor
from masquerade.evaluation.presets import PRESETS, SIDE_CHANNEL, STILL_KERNELS
from masquerade.evaluation.scoring import scoring_inputs
from masquerade.extraction.dataset import ClipDataset
from masquerade.methods import build

PLAN = replace(CONFIG, preset="files", folds=2, through_file=True)


@pytest.fixture(autouse=True)
def preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attackers that see pictures, and some that see sizes of packets."""
    monkeypatch.setitem(
        PRESETS, "files", replace(QUICK, attackers={**STILL_KERNELS, **SIDE_CHANNEL})
    )


def test_a_clip_that_some_attackers_cannot_see_is_named_before_any_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract, row = EvaluatedClips._extract, 3

    def lacking(self: EvaluatedClips, *what: object) -> ClipDataset:
        clips = extract(self, *what)  # type: ignore[arg-type]
        if what[0] is RAW or what[2] != ("packets", None):
            return clips
        return replace(clips.of_rows(clips.rows[clips.rows != row]), skipped={row: "It is empty."})

    def predict(*_: object, **__: object) -> None:
        raise AssertionError("an attacker was trained")

    monkeypatch.setattr(EvaluatedClips, "_extract", lacking)
    monkeypatch.setattr(Executor, "predict", predict)
    manifest = manifest_of(tmp_path, clips=1)
    black = EvaluatedMethod(name="black", anonymizer=build("blacken"))
    with pytest.raises(UsageError) as caught:
        evaluate(manifest, [black], PLAN, data="x")
    name = manifest.clips[row].path
    assert str(caught.value).startswith(f"{name} cannot be attacked by all that attack black")
    assert str(caught.value).endswith("for want of its packets; mend it or take it out of the "
                                      "manifest: It is empty.")  # fmt: skip


def test_predictions_of_other_clips_are_not_scored(tmp_path: Path) -> None:
    """They would be those of the next clip."""
    evaluator = Evaluator(manifest_of(tmp_path, clips=1), CONFIG, tmp_path / "kept", None)
    found = evaluator.raw.predictions
    assert found is not None
    name = next(iter(STILL_KERNELS))
    blocks = {
        key: replace(
            block,
            clips=block.clips[1:],
            probabilities={label: p[1:] for label, p in block.probabilities.items()},
        )
        if key.attacker == name and key.split == "test"
        else block
        for key, block in found.blocks.items()
    }
    with pytest.raises(MasqueradeError, match=f"{name} predicts other clips than the others"):
        scoring_inputs(
            replace(found, blocks=blocks), evaluator.truth, evaluator.families, evaluator.models
        )

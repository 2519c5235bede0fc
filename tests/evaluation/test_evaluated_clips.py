"""The clips of a table's lines: each video is anonymized, and its poses looked for, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import CONFIG, manifest_of

from masquerade.errors import OutputError
from masquerade.evaluation import EvaluatedMethod
from masquerade.evaluation.evaluated_clips import ANONYMIZING, ClipKind, EvaluatedClips
from masquerade.evaluation.evaluator import GroundTruth, protocols
from masquerade.evaluation.presets import TINY
from masquerade.extraction.store import ClipCache
from masquerade.methods import build

KINDS: list[ClipKind] = [("frames", None), ("poses", None), ("packets", None)]


def clips_of(folder: Path, done: list[tuple[str, int, int]]) -> EvaluatedClips:
    """Those of 28 videos; what is done is noted."""
    manifest = manifest_of(folder, clips=1)
    assert len(manifest) == 28
    return EvaluatedClips(
        manifest=manifest,
        truth=GroundTruth.of(manifest, protocols(manifest, folds=2, seed=0, labels=None)),
        config=replace(CONFIG, allow_empty=False),
        preset=TINY,
        cache=ClipCache(folder=folder / "clips"),
        workers=1,
        open_executor=None,
        progress=lambda *what: done.append(what),
    )


def test_videos_of_a_sample_are_not_searched_for_poses_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched: list[int] = []

    def nobody(frames: Iterable[np.ndarray]) -> Iterator[list[Any]]:
        searched.append(len(shown := list(frames)))
        return ([] for _ in shown)

    monkeypatch.setattr("masquerade.extraction.extract_video.find_people", nobody)
    monkeypatch.setattr("masquerade.evaluation.evaluated_clips.SAMPLED", 14)
    done: list[tuple[str, int, int]] = []
    clips = clips_of(tmp_path, done)
    line = EvaluatedMethod(name="blur", anonymizer=build("blur"))
    sample = clips.poses_in_sample(line, KINDS)
    assert sample is not None and len(sample) == 14 and len(searched) == 14
    clips.extract(line, KINDS)
    assert len(searched) == 28, "each video once"
    assert [len(clips.of(line, line.anonymizer, *kind)) for kind in KINDS] == [28, 28, 28]
    assert (f"blur: {ANONYMIZING}", 14, 28) in done and (f"blur: {ANONYMIZING}", 0, 28) not in done


@pytest.mark.slow
def test_whether_enough_was_found_is_judged_over_all_videos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample was refused before all were seen, so that the message named those of it alone."""
    find = "masquerade.extraction.extract_video.find_people"
    monkeypatch.setattr(find, lambda frames: ([] for _ in frames))
    monkeypatch.setattr("masquerade.evaluation.evaluated_clips.SAMPLED", 14)
    clips = clips_of(tmp_path, [])
    line = EvaluatedMethod(name="blur", anonymizer=build("blur"), regions="faces")
    assert clips.poses_in_sample(line, KINDS) is not None
    with pytest.raises(OutputError, match="nothing to hide was found in 28 of 28 videos"):
        clips.extract(line, KINDS)

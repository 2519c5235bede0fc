"""The attacker who sees which tubelets are kept and nothing else, and its two controls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scenes import CONFIG
from torch import Tensor

from masquerade.anonymizer import Anonymized
from masquerade.checkpoint import save
from masquerade.cli.evaluate import main, mask_only_rows
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, evaluate
from masquerade.evaluation.evaluated_clips import RAW, has_learned
from masquerade.evaluation.mask_only import KeepMask
from masquerade.extraction.config import ExtractionConfig, config_digest
from masquerade.methods import build
from masquerade.methods.stprivacy import STPrivacy
from masquerade.regions.region import Region

SMALL: dict[str, Any] = {
    "frames": 4,
    "picture": (16, 16),
    "tubelet": (2, 4, 4),
    "width": 24,
    "heads": 3,
    "depth": 3,
    "places": (1, 2),
}


def small(**other: Any) -> STPrivacy:
    torch.manual_seed(0)
    return STPrivacy(**{**SMALL, **other}).eval()


class Bright(STPrivacy):
    """Keeps what is bright, so that its mask shows where the square of the scenes is."""

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        shown = (clip.amin(dim=1, keepdim=True) > 0.9).to(clip)
        return Anonymized(clip * 0, 1 - shown)


def clip_of(t: int = 6, *, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, t, 24, 32, generator=torch.Generator().manual_seed(seed))


def test_it_is_white_where_something_is_kept() -> None:
    method, clip = small(), clip_of()
    hidden = method(clip).hidden
    out = KeepMask(of=method)(clip).clip
    assert torch.equal(out, (1 - hidden).expand_as(clip))
    assert set(out.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("mode", ["full", "anonymize-only"])
@pytest.mark.parametrize("drawn", ["random", "fixed"])
def test_controls_keep_as_many_of_each_slot_and_never_look(drawn: Any, mode: Any) -> None:
    method = small(mode=mode)
    mask = KeepMask(of=method, source=drawn)
    kept = KeepMask(of=method)(clip_of()).clip
    out = mask(clip_of(), state=mask.init_state(seed=0)).clip
    assert out.shape == kept.shape and set(out.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(out.mean((1, 3, 4)), kept.mean((1, 3, 4)))
    assert torch.equal(out[:, :, 0], out[:, :, 1])  # the two frames of a tubelet
    other = mask(clip_of(seed=1), state=mask.init_state(seed=0)).clip
    assert torch.equal(out, other)


def test_the_random_one_is_drawn_for_each_video_and_the_fixed_one_is_not() -> None:
    clip = clip_of()
    for drawn, alike in (("random", False), ("fixed", True)):
        mask = KeepMask(of=small(), source=drawn)  # type: ignore[arg-type]
        a, b = (mask(clip, state=mask.init_state(seed=seed)).clip for seed in (1, 2))
        assert torch.equal(a, b) is alike
        assert torch.equal(a[0], a[1]) is alike and torch.equal(a[:, :, 0], a[:, :, 2]) is alike
        first, second = (mask(clip, state=mask.init_state()).clip for _ in range(2))
        assert torch.equal(first, second) is alike


def test_what_was_cut_before_is_not_taken_for_another_dials() -> None:
    digests = set()
    for method in (small(), small(keep=0.5), small(strict=False)):
        how = ExtractionConfig(frames=4, size=8, method=KeepMask(of=method), seed=0)
        digests.add(config_digest(how))
    assert len(digests) == 3


def test_a_mask_of_what_learned_has_learned_too() -> None:
    """It is of one training run, as the network is that drops the tubelets."""
    for method in (small(), KeepMask(of=small())):
        assert has_learned(EvaluatedMethod(name="one", anonymizer=method))
        assert has_learned(EvaluatedMethod(name="runs", runs=((method,),)))
    assert not has_learned(EvaluatedMethod(name="blur", anonymizer=build("blur")))
    assert not has_learned(RAW)


@pytest.mark.slow
def test_a_planted_mask_tells_the_action_and_its_controls_tell_nothing(
    manifest: Manifest, tmp_path: Path
) -> None:
    entries = mask_only_rows(EvaluatedMethod(name="bright", anonymizer=Bright(**SMALL)))
    plan = replace(CONFIG, attackers=("scratch", "motion"))
    found = evaluate(manifest, entries, plan, data="scenes", folder=tmp_path)
    kept, drawn, fixed = (row.finding("action") for row in found.rows[1:])
    assert kept is not None and drawn is not None and fixed is not None
    assert kept.score is not None and kept.score.value is not None and kept.score.value > 0.9
    for control in (drawn, fixed):
        assert control.score is not None and control.score.low is not None
        assert control.score.low <= 0.5
    about = json.loads(found.to_json())["rows"][1]
    assert about["arguments"]["of"]["method"] == "Bright" and about["arguments"]["source"] == "kept"


@pytest.mark.slow
def test_the_command_adds_three_lines(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = small()
    method.trained = True
    save(method, tmp_path / "anonymizer.safetensors")
    words = ["--data", str(folder / "clips.csv"), "--weights", str(tmp_path), "--mask-only"]
    more = ["--preset", "quick", "--folds", "2", "--seeds", "1", "--workers", "1", "--json"]
    main([*words, *more, "--attackers", "scratch"])
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["name"] for row in rows] == [
        "raw",
        "stprivacy",
        "stprivacy, keep mask only",
        "stprivacy, random mask",
        "stprivacy, fixed mask",
    ]


class Square:
    """Finds the bright square of the scenes."""

    look_ahead = 0

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        for frame in frames:
            bright = (frame.rgb() > 220).all(axis=2)
            yield Region(strength=255 * bright.astype(np.uint8))


def test_where_regions_are_hidden_tells_the_action(manifest: Manifest, tmp_path: Path) -> None:
    """However they are hidden: here by black, of which the mask shows nothing but the place."""
    line = EvaluatedMethod(name="black", anonymizer=build("blacken"), regions=Square)
    (mask,) = mask_only_rows(line)
    assert mask.name == "black, region mask only"
    few = manifest.take(range(0, len(manifest), 2))
    plan = replace(CONFIG, attackers=("scratch", "motion"), folds=2)
    found = evaluate(few, [mask], plan, data="scenes", folder=tmp_path).rows[1]
    action, red = found.finding("action"), found.finding("red")
    assert action is not None and action.score.value is not None and action.score.value > 0.9
    assert red is not None and red.score.low is not None and red.score.low <= 0.5


def test_what_drops_nothing_has_no_mask() -> None:
    with pytest.raises(UsageError, match="--mask-only is of stprivacy"):
        mask_only_rows(EvaluatedMethod(name="blur", anonymizer=build("blur")))

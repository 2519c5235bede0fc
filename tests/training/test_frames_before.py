"""Methods that subtract the frame before learn from neighbours, whatever frames networks see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import UsageError
from masquerade.methods import METHODS, build
from masquerade.training.frames_before import (
    inference_output,
    join_runs,
    last_frames,
    split_runs,
    training_output,
)
from masquerade.training.recipes import RECIPES
from masquerade.training.run import extract_training_clips, training_rows


@pytest.mark.parametrize("before", [0, 1, 2])
def test_runs_are_split_and_their_last_frames_joined(before: int) -> None:
    clips = torch.arange(2 * 3 * 4 * (before + 1)).reshape(2, 3, -1, 1, 1)
    runs = split_runs(clips, before)
    assert runs.shape == (8, 3, before + 1, 1, 1)
    assert torch.equal(runs[1, 0].flatten(), clips[0, 0, before + 1 : 2 * before + 2].flatten())
    assert torch.equal(join_runs(runs, before, batch=2), last_frames(clips, before))


def test_bdq_learns_from_what_it_will_publish() -> None:
    """Of each frame of a clip the difference to the one right before it in the video."""
    video = torch.rand(1, 3, 40, 24, 32, generator=torch.Generator().manual_seed(0))
    method = build("bdq", **RECIPES["bdq"]().arguments).eval()
    published = method(video).clip
    at = torch.tensor([3, 12, 30])
    clips = video[:, :, torch.stack([at - 1, at], 1).flatten()]  # each with the one before it
    found, keep = inference_output(method, clips, before=1)
    assert keep is None and torch.equal(found, published[:, :, at])
    learned = training_output(method, clips, before=1).clip
    assert torch.allclose(learned, published[:, :, at], atol=1e-5)


def test_what_compares_neighbours_is_given_them_by_every_recipe() -> None:
    for name, make in RECIPES.items():
        for preset in ("tiny", "paper"):
            recipe = make(preset=preset)
            spread = recipe.stride is None and not METHODS[recipe.method].framewise
            assert bool(recipe.before) is (spread and name == "bdq"), name
    assert RECIPES["bdq"](stride=1).before == 0
    with pytest.raises(UsageError, match="only where they have no stride"):
        replace(RECIPES["bdq"](), stride=2)


def test_clips_are_spread_over_the_video_with_the_frame_before_each(tmp_path: Path) -> None:
    drawn = Mimes(size=32, frames=41, clips=12, people=6, actions=("walk", "squat"))
    manifest = read_manifest(write_mimes(tmp_path / "mimes", drawn))
    recipe, rows = RECIPES["bdq"](), training_rows(manifest)
    clip = extract_training_clips(manifest, rows, recipe)[0][0]
    every = replace(recipe, before=0, frames=41, stride=1)
    whole = extract_training_clips(manifest, rows, every)[0][0]
    assert clip.shape[1] == recipe.stored_frames == 16
    starts = np.arange(8) * 39 // 7
    assert torch.equal(clip, whole[:, np.stack([starts, starts + 1], 1).flatten()])

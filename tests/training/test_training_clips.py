"""How the frames of training clips are sampled."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_training import FRAMES, PRETRAIN, SIDE, batches_of, data, recipe, register_painter

from masquerade.checkpoint import read_provenance
from masquerade.cli.train import parse
from masquerade.datasets.manifest import make_manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.datasets.overlap import fingerprints
from masquerade.errors import UsageError
from masquerade.extraction.dataset import from_tensor
from masquerade.training.adversarial_training import TrainingProgress, train_adversarially
from masquerade.training.clips import extract_training_clips, pair_recipe
from masquerade.training.frame_pairs import FAR, FREE, NEAR, Gap, frame_pairs
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes import RECIPES
from masquerade.training.rows import training_rows
from masquerade.training.run import _load_data, check_inputs, train

painter = pytest.fixture(autouse=True)(register_painter)


def asked(*words: str) -> AdversarialRecipe:
    """The recipe that these flags of `masquerade train` give."""
    return parse([words[0], "--data", "a.csv", "-o", "run", *words[1:]])[1]


def test_a_stride_that_is_asked_for_replaces_the_recipes() -> None:
    assert asked("stprivacy", "--preset", "paper").stride == 2
    assert asked("stprivacy", "--preset", "paper", "--stride", "4").stride == 4
    assert asked("spact").stride is None and asked("spact", "--stride", "3").stride == 3
    assert asked("spact", "--no-adversary", "--stride", "3").stride == 3


@pytest.mark.parametrize("preset", ["paper", "tiny"])
@pytest.mark.parametrize(("gap", "windows"), [(FREE, 1), (NEAR, 8), (FAR, 8)])
def test_frames_of_pairs_come_from_all_over_the_video(gap: Gap, windows: int, preset: str) -> None:
    """Clips of `tiny` are spread over the video, and its pairs came from the beginning alone."""
    assert pair_recipe(asked("spact", "--preset", preset), gap).windows == windows


def test_papers_recipes_draw_clips_from_the_whole_video_and_keep_the_aspect() -> None:
    for name in RECIPES:
        one = asked(name, "--preset", "paper")
        assert (one.windows, one.aspect) == (4 if name == "bdq" else 8, "crop"), name
        one = asked(name, "--preset", "tiny")
        assert (one.windows, one.aspect) == (1, "squeeze"), name
    assert asked("spact", "--aspect", "crop").aspect == "crop"


def test_the_learning_rate_of_stprivacy_grows_with_the_batch() -> None:
    """0.001 x batch / 512."""
    for preset in ("paper", "code"):
        for words, wanted in (((), 6.25e-5), (("--batch", "128"), 2.5e-4)):
            optimizers = asked("stprivacy", "--preset", preset, *words).optimizers
            assert {one.lr for one in optimizers.values()} == {wanted}
    tiny = asked("stprivacy", "--batch", "4").optimizers
    assert {one.lr for one in tiny.values()} == {1e-3}


@pytest.mark.slow
def test_free_pairs_are_frames_of_the_whole_video(tmp_path: Path) -> None:
    """Not of the clip, which is 3 frames of the 40; `--stills` takes their place."""
    drawn = Mimes(size=32, frames=40, clips=40, people=10, actions=("walk", "squat"))
    manifest = read_manifest(write_mimes(tmp_path / "long", drawn))
    rows = training_rows(manifest)
    recipe = replace(asked("spact", "--preset", "paper"), size=(16, 16), frames=3)
    load = partial(_load_data, manifest, rows, recipe, private=None, loading=None)
    found = load(stills=None, extract=extract_training_clips).pairs
    assert found is not None and recipe.gap == FREE
    every = replace(recipe, frames=40, stride=1, windows=1)
    whole = extract_training_clips(manifest, rows, every)[0][0]
    middles = [int((at + 0.5) * 40 / 16) for at in range(16)]
    assert torch.equal(found[0], whole[:, middles])
    numbers = torch.arange(16).expand(4096, 3, 1, 1, -1).transpose(2, 4)  # (B, 3, T, 1, 1)
    a, b = frame_pairs(numbers, torch.Generator().manual_seed(0), FREE)
    apart = (a - b).abs()
    assert apart.min() == 1 and apart.max() == 15
    check_inputs(recipe, stills=True, private=None)  # as UCF101 with VISPR's pictures
    pictures = load(stills=(manifest, rows), extract=extract_training_clips)
    assert pictures.pairs is None and pictures.stills is not None


def test_a_video_that_is_lost_before_its_pairs_are_read_is_left_out_of_both(tmp_path: Path) -> None:
    """It ended the training."""
    drawn = Mimes(size=32, frames=4, clips=40, people=10, actions=("walk", "squat"))
    manifest = read_manifest(write_mimes(tmp_path / "drawn", drawn))
    rows = training_rows(manifest)
    recipe = replace(asked("spact", "--preset", "paper"), size=(16, 16), frames=3)
    lost = {int(rows.train[0]), int(rows.validation[-1])}

    def extract(*given: Any, **more: Any) -> Any:
        found = extract_training_clips(*given, **more)
        for row in lost:
            manifest.path(manifest.clips[row]).unlink(missing_ok=True)
        return found

    found = _load_data(
        manifest, rows, recipe, private=None, stills=None, extract=extract, loading=None
    )
    assert found.train.rows.tolist() == rows.train[1:].tolist()
    assert found.validation.rows.tolist() == rows.validation[:-1].tolist()
    assert set(found.train.skipped) == lost and "does not exist" in found.train.skipped[min(lost)]
    assert [len(one) for one in found.datasets] == 2 * [len(found.train), len(found.validation)]


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "tiny"])
@pytest.mark.parametrize("gap", ["near", "far"])
def test_pairs_some_frames_apart_are_of_the_whole_video_too(
    gap: str, preset: str, tmp_path: Path
) -> None:
    drawn = Mimes(size=32, frames=200, clips=24, people=8, actions=("walk", "squat"))
    manifest = read_manifest(write_mimes(tmp_path / "long", drawn))
    rows = training_rows(manifest)
    recipe = replace(asked("spact", "--preset", preset, "--gap", gap), size=(16, 16), frames=3)
    load = partial(_load_data, manifest, rows, recipe, private=None, loading=None)
    found = load(stills=None, extract=extract_training_clips)
    assert found.pairs is not None and recipe.gap is not None
    stride = recipe.gap.stride
    assert stride is not None and found.pairs[0].shape[1] == 8 * recipe.gap.frames
    every = replace(recipe, frames=200, stride=1, windows=1)
    whole = extract_training_clips(manifest, rows, every)[0][0]
    count = recipe.gap.frames
    last = stride * (-(-200 // stride) - count)  # where the last window starts
    assert torch.equal(found.pairs[0][:, :count], whole[:, : count * stride : stride])
    assert torch.equal(found.pairs[0][:, -count:], whole[:, last::stride])
    pairs, batches = found.pairs.batch(torch.arange(4)), batches_of(recipe, found)
    two = [
        batches._stills(pairs, torch.Generator().manual_seed(at), augmented=False)
        for at in range(2)
    ]
    assert two[0] is not None and two[1] is not None and two[0].shape[2] == 2
    assert not torch.equal(two[0], two[1])


def test_a_resumed_run_draws_the_same_windows(tmp_path: Path) -> None:
    """Another one each epoch, and after an interruption those of a run without any, to the bit."""
    whole = data()
    shown = torch.cat([whole.train.batch(torch.arange(32)).roll(at, 4) for at in range(4)], dim=2)
    own = replace(whole, train=from_tensor(shown))
    given = recipe(windows=4, stride=1, phases=(replace(PRETRAIN, epochs=3),))

    tones = torch.arange(4, dtype=torch.uint8).repeat_interleave(FRAMES)[:, None, None]
    plain = replace(whole, train=from_tensor((50 * tones).expand(32, 3, -1, SIDE, SIDE)))

    def drawn(epoch: int) -> list[int]:
        """The windows of the clips of an epoch, which are the same in all places."""
        generator = torch.Generator().manual_seed(epoch)
        batches = batches_of(given, plain).training(epoch, generator)
        clips = torch.cat([batch.clips for batch in batches])
        assert clips.shape == (32, 3, FRAMES, SIDE, SIDE)
        assert all(len(clip.unique()) == 1 for clip in clips)  # no window reaches into another
        return (clips[:, 0, 0, 0, 0] * 255 / 50).round().int().tolist()

    assert drawn(0) == drawn(0) != drawn(1) and set(drawn(0)) == {0, 1, 2, 3}

    def train(resume: Path, stop: int) -> dict[str, torch.Tensor]:
        def progress(done: TrainingProgress) -> None:
            if done.epoch == stop:
                raise KeyboardInterrupt

        trained = train_adversarially(given, own, device="cpu", resume=resume, progress=progress)
        return trained.anonymizer.state_dict()

    wanted = train(tmp_path / "one", 0)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "two", 2)
    found = train(tmp_path / "two", 0)
    assert all(torch.equal(found[name], weight) for name, weight in wanted.items())


def test_what_a_run_learned_from_is_known_though_its_videos_go_meanwhile(tmp_path: Path) -> None:
    """Else nothing would refuse to test it on what it learned from."""
    drawn = Mimes(size=32, frames=4, clips=16, people=8, actions=("walk", "squat"))
    manifest = read_manifest(write_mimes(tmp_path / "drawn", drawn))
    rows = training_rows(manifest)
    learned = fingerprints(manifest, [*rows.train.tolist(), *rows.validation.tolist()])
    small = ("--width", "2", "--short", "16", "--epochs", "1", "--batch", "8", "--no-adversary")

    def unmount(done: TrainingProgress) -> None:
        shutil.rmtree(tmp_path / "drawn", ignore_errors=True)

    given = {"device": "cpu", "allow_chance": True, "progress": unmount}
    train(manifest, asked("spact", *small), rows, tmp_path / "run", **given)  # type: ignore[arg-type]
    assert read_provenance(tmp_path / "run")["learned"] == learned


def test_labels_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    drawn = Mimes(size=32, frames=4, clips=16, people=8, actions=("walk", "squat"))
    whole = read_manifest(write_mimes(tmp_path, drawn))
    kept = [one.name for one in whole.columns if one.role != "attribute"]
    clips = [replace(one, cells={name: one.cells[name] for name in kept}) for one in whole.clips]
    bare = make_manifest(whole.root, clips)
    with pytest.raises(UsageError, match="learns private labels, and no attribute has two values"):
        train(bare, asked("vita"), training_rows(bare), tmp_path / "run", device="cpu")

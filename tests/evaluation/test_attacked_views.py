"""How the frames of attacked clips are sampled: their stride, views and crops."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from scenes import CONFIG

from masquerade.benchmark import suite
from masquerade.cli.evaluate import config_of, parse
from masquerade.datasets.augmentation import NONE
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, evaluate
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.evaluation.config import EvaluationConfig
from masquerade.evaluation.evaluated_clips import RAW
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.fit_predict import FitTask, _augmentation, _views, fit_predict
from masquerade.evaluation.predictions import PredictionKey
from masquerade.evaluation.presets import PAPER, PRESETS, TINY, with_sampling
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.config import ExtractionConfig, config_digest
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.methods import build
from masquerade.models.recognizers import build_recognizer
from masquerade.training.predict import predict
from masquerade.training.views import Views, iterate_views

VIEWED = replace(scenes.SMALL, stride=1, aspect="crop", views=(3, 2))


def task_of(attacker: str) -> FitTask:
    """A fit of two actions from scratch, of twelve clips."""
    fold = Fold(train=np.arange(8), validation=np.arange(8, 10), test=np.arange(10, 12))
    key = PredictionKey("people unseen", "any", 0, attacker, "scratch", 0, 0, "test")
    labels = {"action": np.arange(12) % 2}
    return FitTask(key=key, fold=fold, classes={"action": 2}, labels=labels)


def frames_of(manifest: Manifest, folder: Path, **asked: object) -> tuple[ClipDataset, Evaluator]:
    """Raw clips as an evaluation with these settings cuts them, and the evaluation."""
    config = replace(CONFIG, attackers=("scratch",), **asked)  # type: ignore[arg-type]
    run = Evaluator(manifest, config, folder, None)
    return run.clips.of(RAW, None), run


def test_a_stride_that_is_asked_for_replaces_the_presets(
    manifest: Manifest, tmp_path: Path
) -> None:
    every, run = frames_of(manifest, tmp_path)
    apart, other = frames_of(manifest, tmp_path, stride=3)
    assert every.shape == apart.shape == (3, scenes.FRAMES, scenes.SIDE, scenes.SIDE)
    assert torch.equal(apart[0], every[0][:, [0, 3, 6, 7, 7, 7, 7, 7]])  # of eight frames
    said = "Frames of a clip are 3 source frames apart, as was asked for."
    assert said in other.notes and said not in run.notes
    assert run.executor.folder_of("raw", every) != other.executor.folder_of("raw", every)


def test_without_a_request_presets_stay_as_they_are() -> None:
    for preset in PRESETS.values():
        assert with_sampling(preset) == (preset, ())
    with pytest.raises(UsageError, match="--stride cannot be 0"):
        with_sampling(TINY, stride=0)


def test_the_flag_reaches_the_settings() -> None:
    line = ["--data", "a.csv", "--method", "blur"]
    assert config_of(parse(line)[0]).stride is None
    assert config_of(parse([*line, "--stride", "4"])[0]).stride == 4


def test_views_are_windows_of_the_whole_video_each_with_its_crops(
    manifest: Manifest, folder: Path
) -> None:
    """5 x 3 of VideoMAE: starts evenly spaced in time, squares along the longer side."""
    one = manifest.take([0])
    cut = ExtractionConfig(size=(8, 16), aspect="crop", crops=3, frames=2, stride=2, windows=3)
    views = extract_clips(one, cut)[0]
    whole = extract_clips(one, ExtractionConfig(size=scenes.SIDE, frames=8, stride=1))[0]
    assert views.shape == (3, 3 * 3 * 2, 8, 16)
    parts = iter(torch.split(views, 2, dim=1))
    for start in (0, 2, 4):  # of 8 frames every second one is left, and 0 to 2 may be a start
        for top in (0, 8, 16):  # a frame of 32 x 32 is cut to 16 x 32
            wanted = whole[:, [start, start + 2], top : top + 16].float()
            wanted = wanted.unflatten(3, (16, 2)).unflatten(2, (8, 2)).mean(dim=(3, 5))
            assert (next(parts).float() - wanted).abs().max() <= 1


def test_one_view_of_whole_frames_is_what_it_was() -> None:
    """Its clips are found where they were stored before there were views."""
    plain = ExtractionConfig(stride=2)
    others = [replace(plain, windows=2), replace(plain, aspect="crop")]
    others.append(replace(others[1], crops=3))
    assert len({config_digest(one) for one in (plain, *others)}) == 4
    for wrong, words in (
        (dict(windows=2), "need a stride"),
        (dict(crops=3), "need aspect crop"),
        (dict(crops=0, aspect="crop"), "at least one"),
    ):
        with pytest.raises(UsageError, match=words):
            ExtractionConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("attacker", ["tiny-2d", "kernel on motion"])
def test_predictions_are_averaged_over_all_views(attacker: str) -> None:
    """Of a network; the kernel machine sees the middle one."""
    noise = torch.Generator().manual_seed(0)
    clips = from_tensor(torch.randint(0, 256, (12, 3, 24, 16, 16), generator=noise).byte())
    preset = replace(scenes.SMALL, frames=4, size=(16, 16), stride=1, aspect="crop", views=(3, 2))
    task = task_of(attacker)
    found = fit_predict(task, clips, preset)["test"].probabilities["action"]
    middle = preset.middle_view(clips)
    assert torch.equal(middle[0], clips[0][:, 12:16])  # window 1 of 0 to 2, crop 1 of 0 and 1
    if attacker.startswith("kernel"):
        alone = fit_predict(task, middle, replace(preset, views=(1, 1)))
        assert np.array_equal(found, alone["test"].probabilities["action"])


def test_a_network_is_tested_on_every_view() -> None:
    net = build_recognizer("tiny-2d", heads={"action": 2}, modality="stills").eval()
    noise = torch.Generator().manual_seed(0)
    clips = torch.rand((4, 3, 24, 16, 16), generator=noise)
    views, frames = _views(scenes.SMALL.attackers["tiny-2d"], replace(VIEWED, frames=4))
    found = predict(net, clips, views=views, frames=frames)["action"]
    each = [predict(net, part)["action"] for part in torch.split(clips, 4, dim=2)]
    assert np.allclose(found, np.mean(each, axis=0), atol=1e-6)


def test_a_network_learns_from_one_view_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No clip that it is given, in training or in a test, has frames of two views."""
    given: list[torch.Tensor] = []

    def watch(module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        given.append(inputs[0].detach().clone())

    def watched(*words: Any, **named: Any) -> torch.nn.Module:
        net = build_recognizer(*words, **named)
        net.register_forward_pre_hook(watch)
        return net

    monkeypatch.setattr("masquerade.evaluation.fit_predict.build_recognizer", watched)
    tones = torch.arange(6, dtype=torch.uint8).repeat_interleave(4)[:, None, None]
    clips = from_tensor((40 * tones).expand(12, 3, -1, 16, 16))
    preset = replace(VIEWED, frames=4, size=(16, 16), epochs=6, augment=NONE)
    fit_predict(task_of("tiny-2d"), clips, preset)
    seen = torch.cat([clip[:, 0] for clip in given])  # (n, T, H, W)
    assert seen.shape[1:] == (4, 16, 16)
    assert (seen.amax((1, 2, 3)) - seen.amin((1, 2, 3))).max() < 1e-6
    learned = torch.cat([clip[:, 0, 0, 0, 0] for clip in given[:-12]])
    assert len(learned.unique()) == 6  # of all views, in one epoch or another


@pytest.mark.slow
def test_views_reach_the_clips_and_the_table(manifest: Manifest, tmp_path: Path) -> None:
    asked = {"stride": 1, "views": (3, 2), "aspect": "crop"}
    config = replace(CONFIG, attackers=("scratch",), **asked)  # type: ignore[arg-type]
    PRESETS["short"] = replace(scenes.QUICK, frames=4, size=(16, 24))
    try:
        method = EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))
        quick = replace(config, preset="short")
        found = evaluate(manifest, [method], quick, data="scenes", folder=tmp_path)
    finally:
        del PRESETS["short"]
    assert any("over 3 windows in time x 2 crops" in line for line in found.limits)
    assert any("cropped to the aspect of 24 x 16 pixels" in line for line in found.limits)
    assert [row.clips for row in found.rows] == [len(manifest)] * 2
    with pytest.raises(UsageError, match="several crops want --aspect crop"):
        with_sampling(TINY, stride=1, views=(5, 3))
    with pytest.raises(UsageError, match="want a --stride"):
        with_sampling(TINY, views=(5, 1))


def test_the_flag_of_views_is_read() -> None:
    line = ["--data", "a.csv", "--method", "blur"]
    assert config_of(parse(line)[0]).views is None
    assert config_of(parse([*line, "--views", "5x3"])[0]).views == (5, 3)
    assert config_of(parse([*line, "--views", "5", "--aspect", "crop"])[0]).views == (5, 1)
    for wrong in ("0", "5x0", "x3", "five", "5x3x2"):
        with pytest.raises(UsageError, match="--views wants windows"):
            config_of(parse([*line, "--views", wrong])[0])


def test_spacts_crops_are_of_frames_so_much_larger() -> None:
    """Tested on the middle .8 at 112 pixels, learned from .6 to 1 of the frame at as many."""
    preset, (about, *_) = with_sampling(PAPER, views=(5, 1), test_crop=0.8)
    assert (preset.size, preset.test_side) == ((140, 140), 112) and "5 windows" in about
    for name in ("r3d-18", "resnet-50", "vit-s-video", "r3d-18 on motion"):
        model = preset.attackers[name]
        wanted = Views(times=5, crop=0.8, size=112, whole_stills=True)
        assert _views(model, preset) == (wanted, 16)
        how = _augmentation(model, preset)
        assert how.crop == (pytest.approx(0.6), 1.0) and how.size == 112
    for name in ("resnet-18 on background", "st-gcn", "tiny-2d on outline", "r3d-18, restored"):
        model = preset.attackers[name]
        assert _views(model, preset) == _views(model, replace(PAPER, views=(5, 1)))
        assert _augmentation(model, preset) == _augmentation(model, PAPER)


def test_a_still_is_tested_whole_beside_the_middle_of_a_video() -> None:
    clips = torch.zeros((2, 3, 4, 10, 10), dtype=torch.uint8)
    clips[..., 1:9, 1:9] = 200  # the middle .8, with a dark border
    clips[1, :, 0] += 20  # a video
    for times in (1, 2):
        views = Views(times=times, crop=0.8, size=8, whole_stills=True)
        for still, video in iterate_views(clips, views, frames=2):
            assert video.shape == still.shape == (3, 2, 8, 8)
            assert torch.allclose(video[:, 1], torch.full((3, 8, 8), 200 / 255))
            assert still[..., 0, :].max() < 150 / 255 < still[..., 4, 4].min()
    with pytest.raises(UsageError, match="have a size"):
        next(iterate_views(clips, Views(crop=0.8, whole_stills=True)))


def test_networks_learn_from_and_are_tested_on_crops_of_one_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[torch.Size] = []

    def watched(*words: Any, **named: Any) -> torch.nn.Module:
        net = build_recognizer(*words, **named)
        net.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[2:]))
        return net

    monkeypatch.setattr("masquerade.evaluation.fit_predict.build_recognizer", watched)
    noise = torch.Generator().manual_seed(0)
    clips = from_tensor(torch.randint(0, 256, (12, 3, 12, 20, 20), generator=noise).byte())
    preset = replace(scenes.SMALL, frames=4, size=(16, 16), stride=1, epochs=1)
    preset, _ = with_sampling(preset, views=(3, 1), test_crop=0.8)
    found = fit_predict(task_of("tiny-2d"), clips, preset)["test"].probabilities["action"]
    assert found.shape == (2, 2) and {*sizes} == {(4, 16, 16)}


def test_short_videos_are_played_back_and_forth_where_asked(
    manifest: Manifest, tmp_path: Path
) -> None:
    """As SPAct's code completes clips, and not by their last frame."""
    every, _ = frames_of(manifest, tmp_path)
    folded, run = frames_of(manifest, tmp_path, stride=3, padding="palindrome")
    assert torch.equal(folded[0], every[0][:, [0, 3, 6, 5, 2, 1, 4, 7]])  # of eight frames
    assert "Videos shorter than a clip are played back and forth, as was asked for." in run.notes


def test_frames_are_kept_so_large_that_a_crop_has_the_presets_size(
    manifest: Manifest, tmp_path: Path
) -> None:
    clips, run = frames_of(manifest, tmp_path, stride=1, test_crop=0.8)
    assert clips.shape == (3, scenes.FRAMES, 1.25 * scenes.SIDE, 1.25 * scenes.SIDE)
    assert run.preset.test_side == scenes.SIDE
    assert any(f"0.8 of its side and {scenes.SIDE} pixels" in note for note in run.notes)


def test_crops_and_padding_that_make_no_sense_are_refused() -> None:
    for asked, words in (
        (dict(padding="palindrome"), "--padding wants a --stride"),
        (dict(test_crop=0.8), "wants square frames"),
    ):
        with pytest.raises(UsageError, match=words):
            with_sampling(TINY, **asked)  # type: ignore[arg-type]
    for share in (0.5, 1.1, -0.8, float("nan")):
        with pytest.raises(UsageError, match=r"a share above \.5, up to 1"):
            with_sampling(PAPER, test_crop=share)
    with pytest.raises(UsageError, match="give --views without crops"):
        with_sampling(PAPER, views=(5, 3), test_crop=0.8)


def test_the_flags_of_crops_and_padding_reach_the_settings() -> None:
    line = ["--data", "a.csv", "--method", "blur"]
    asked = config_of(parse([*line, "--test-crop", "0.8", "--padding", "palindrome"])[0])
    assert (asked.test_crop, asked.padding) == (0.8, "palindrome")
    plain = config_of(parse(line)[0])
    assert plain.test_crop is None and plain.padding is None


def test_clips_are_not_mirrored_where_an_action_has_a_side() -> None:
    """The mirror image of a throw to the left is one to the right."""
    for asked in (True, False):
        preset, notes = preset_of(EvaluationConfig(preset="paper", mirror=asked))
        assert any("mirror" in note for note in notes) != asked
        for model in preset.attackers.values():
            flips = _augmentation(model, preset).flip > 0
            assert not flips or asked
            one_way = model.content == "flow" or model.background
            assert _views(model, preset)[0].mirror == (asked and not one_way)
            # what a network never learned would be half of what it is asked
            assert model.network is None or _views(model, preset)[0].mirror == flips
    suites = Path(suite.__file__).parent / "suites"
    for path in suites.glob("selective-*.toml"):
        for table in tomllib.loads(path.read_text("utf-8"))["tables"]:
            assert ("--no-mirror" in table["evaluate"]) == (table["data"] == "ipn")

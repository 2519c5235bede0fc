"""Networks see clips as their published weights were trained: frames, stride and size of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import torch
from scenes import CONFIG
from torch import Tensor, nn

import masquerade
from masquerade.cli import main
from masquerade.cli.evaluate import config_of, parse
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate, from_json
from masquerade.evaluation.attackers import clip_bytes
from masquerade.evaluation.chosen_recognizers import preset_of
from masquerade.evaluation.evaluated_clips import RAW
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.own_sampling import with_own_sampling
from masquerade.evaluation.presets import (
    PAPER,
    PRESETS,
    RESTORED,
    TINY,
    AttackerModel,
    ClipSampling,
    restored,
)
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_video import VideoRows, videos_ahead
from masquerade.extraction.store import stored_bytes
from masquerade.methods import build
from masquerade.models.recognizers import RECOGNIZERS, build_recognizer
from masquerade.models.recognizers.modalities import MODALITIES

COUNT = 100  # frames of a video, of which frame i has the red value 2 i
EIGHTS = (0, 8, 16, 24, 32, 40, 48, 56), (40, 48, 56, 64, 72, 80, 88, 96)
FOURS = (
    (0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60),
    (36, 40, 44, 48, 52, 56, 60, 64, 68, 72, 76, 80, 84, 88, 92, 96),
)
FIVES = (
    (0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75),
    (20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95),
)
SIXES = (
    (0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60, 66, 72),
    (24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90, 96),
)
TWOS = tuple(range(0, 64, 2)), tuple(range(36, 100, 2))  # 32 of them
PRESETS_OWN = tuple(range(0, 32, 2)), tuple(range(68, 100, 2))  # 16, as of `paper`
# By network: the frames of the two windows that it sees of a video of 100, and their side.
SEEN: dict[str, tuple[tuple[tuple[int, ...], tuple[int, ...]], int]] = {
    "c2d-r50": (EIGHTS, 224),
    "i3d-r50": (EIGHTS, 224),
    "slow-r50": (EIGHTS, 224),
    "slowfast-r50": (TWOS, 224),
    "csn-r101": (TWOS, 224),
    "r2plus1d-r50": (FOURS, 224),
    "mvit-b": (FOURS, 224),
    "x3d-s": (SIXES, 182),
    "x3d-m": (FIVES, 224),
    "x3d-l": (FIVES, 312),
    "e2s-x3d-s": (SIXES, 182),
    "e2s-x3d-m": (FIVES, 224),
    "e2s-x3d-l": (FIVES, 312),
    "resnet-18": (PRESETS_OWN, 224),
    "resnet-50": (PRESETS_OWN, 224),
    "resnet-101": (PRESETS_OWN, 224),
    "vit-b-16": (PRESETS_OWN, 224),
    "vit-b-32": (PRESETS_OWN, 224),
    "r3d-18": (PRESETS_OWN, 112),
}
KERNEL = {"kernel on colours": PAPER.attackers["kernel on colours"]}


@pytest.fixture(scope="module", autouse=True)
def own_presets() -> Iterator[None]:
    """The paper's preset, trained for a moment, with one kernel machine; and one of small clips."""
    PRESETS["moment"] = replace(PAPER, epochs=1, finetune_epochs=1, attackers=KERNEL)
    PRESETS["low"] = replace(PRESETS["moment"], size=(32, 32))
    yield
    del PRESETS["moment"], PRESETS["low"]


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Eight videos whose frames tell their number; three colours tell where they are cut."""
    folder = tmp_path_factory.mktemp("numbered")
    lines = ["path,action,identity,split_action"]
    for number in range(8):
        pictures = np.zeros((COUNT, 32, 96, 3), np.uint8)
        pictures[..., 0] = 2 * np.arange(COUNT)[:, None, None]
        pictures[..., 1] = np.repeat([0, 80, 160], 32)
        pictures[..., 2] = 20 * number
        scenes.write(folder / f"{number}.mkv", pictures)
        split = ("train", "train", "val", "test")[number // 2]
        lines.append(f"{number}.mkv,a{number % 2},p{number // 2},{split}")
    (folder / "clips.csv").write_text("\n".join(lines) + "\n")
    return read_manifest(folder / "clips.csv")


def config(**given: Any) -> EvaluationConfig:
    plain = replace(CONFIG, preset="moment", folds=0, attackers=("scratch",), labels=())
    return replace(plain, clip_sampling="own", **given)


class Recorder(nn.Module):
    """A network that guesses, and notes the frames of each clip that it is given."""

    def __init__(self, heads: Mapping[str, int], seen: set[tuple[int, tuple[int, ...]]]) -> None:
        super().__init__()
        self.heads, self.seen, self.guess = dict(heads), seen, nn.Parameter(torch.zeros(1))

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        reds = (clip[:, 0].mean(dim=(2, 3)) * 255 / 2).round().long().tolist()  # (B, T)
        self.seen |= {(clip.shape[-1], tuple(each)) for each in reds}
        return {name: self.guess.expand(len(clip), width) for name, width in self.heads.items()}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[tuple[int, tuple[int, ...]]]]:
    """By network, side and frames of what it is given, in training and in the test."""
    found: dict[str, set[tuple[int, tuple[int, ...]]]] = {}

    def build_recorder(name: str, *, heads: Mapping[str, int], **_: Any) -> nn.Module:
        return Recorder(heads, found.setdefault(name, set()))

    monkeypatch.setattr("masquerade.evaluation.fit_predict.build_recognizer", build_recorder)
    return found


@pytest.mark.slow
def test_each_network_is_given_its_own_frames_at_its_own_size(
    numbered: Manifest,
    tmp_path: Path,
    recorded: dict[str, set[tuple[int, tuple[int, ...]]]],
) -> None:
    asked = config(recognizers=tuple(SEEN), views=(2, 1))
    found = evaluate(numbered, [], asked, data="numbered", folder=tmp_path)
    assert recorded.keys() == SEEN.keys()
    for name, (windows, side) in SEEN.items():
        assert recorded[name] == {(side, one) for one in windows}, name
    assert stored_bytes(tmp_path / "clips") == 8 * clip_bytes(preset_of(asked)[0], ("scratch",))
    told = {one.attacker: one for one in found.sampling}
    assert told.keys() == SEEN.keys()
    strides = {name: windows[0][1] - windows[0][0] for name, (windows, _) in SEEN.items()}
    for name, one in told.items():
        assert (one.frames, one.stride) == (len(SEEN[name][0][0]), strides[name])
        assert one.height == one.width == SEEN[name][1]
    (note,) = (line for line in found.limits if "as their published weights were trained" in line)
    assert "c2d-r50 8 x 8, 224 x 224;" in note and "x3d-l 16 x 5, 312 x 312;" in note
    assert "all else that sees frames sees 16 frames, 2 apart, of 112 x 112 pixels" in note
    assert from_json(found.to_json()) == found


def test_the_slow_pathway_sees_one_frame_in_four_of_the_fast_one(
    numbered: Manifest, tmp_path: Path
) -> None:
    run = Evaluator(numbered, config(preset="low", recognizers=("slowfast-r50",)), tmp_path, None)
    sampling = run.models["slowfast-r50"].sampling
    clips = run.clips.of(RAW, None, "frames", sampling).batch(torch.arange(1))
    assert clips.shape == (1, 3, 32, 224, 224)
    net = build_recognizer("slowfast-r50", heads={"action": 2}).eval()
    inputs: list[Tensor] = []
    slow = net.net.blocks[0].multipathway_blocks[0]  # type: ignore[index, union-attr]
    slow.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        net(clips.float()[..., ::7, ::7] / 255)
    numbers = ((inputs[0][0, 0] * 0.225 + 0.45).mean(dim=(1, 2)) * 255 / 2).round().long()
    assert numbers.tolist() == [0, 8, 16, 26, 34, 44, 52, 62]  # 8 of 32, the first to the last


@pytest.mark.parametrize(("name", "apart"), [("e2s-x3d-s", 6), ("e2s-x3d-m", 5)])
def test_flow_is_that_between_the_frames_that_a_network_sees(
    name: str, apart: int, tmp_path: Path
) -> None:
    """Of a picture that moves by a pixel a frame."""
    rng = np.random.default_rng(5)
    waves = rng.normal(size=(8, 8)).repeat(16, 0).repeat(16, 1)
    blurred = np.abs(np.fft.ifft2(np.fft.fft2(waves) * np.outer(*[_low_pass(128)] * 2)))
    picture = np.uint8(255 * blurred / blurred.max())
    pictures = np.stack([np.roll(picture, t, axis=1) for t in range(COUNT)])
    for number in range(4):
        scenes.write(tmp_path / f"{number}.mkv", pictures[..., None].repeat(3, -1))
    (tmp_path / "clips.csv").write_text(
        "path,action,identity\n0.mkv,a,p\n1.mkv,b,q\n2.mkv,a,r\n3.mkv,b,s\n"
    )
    PRESETS["moving"] = replace(PRESETS["moment"], size=(128, 128))
    try:
        asked = replace(config(recognizers=(name,)), preset="moving", folds=2)
        asked = replace(asked, clip_sampling="own-frames")
        run = Evaluator(read_manifest(tmp_path / "clips.csv"), asked, tmp_path / "kept", None)
    finally:
        del PRESETS["moving"]
    model = run.models[name]
    clip = run.clips.of(RAW, None, "frames", model.sampling).batch(torch.arange(1)).float() / 255
    seen = MODALITIES[model.modality].transform(clip)
    assert seen.shape == (1, 5, RECOGNIZERS[name].sampling.frames, 128, 128)
    pixels = (seen[0, 3] - 0.5) * 2 * 0.1 * 128  # to the right
    assert pixels[:, 32:-32, 32:-32].median().item() == pytest.approx(apart, abs=0.4)


def _low_pass(side: int) -> np.ndarray:
    return np.exp(-((np.fft.fftfreq(side) * 24) ** 2))


def test_windows_and_crops_are_views_of_each_networks_own_clips(
    numbered: Manifest, tmp_path: Path
) -> None:
    asked = config(preset="low", recognizers=("c2d-r50", "x3d-s"), views=(2, 3))
    run = Evaluator(numbered, replace(asked, clip_sampling="own-frames"), tmp_path, None)
    for name in ("c2d-r50", "x3d-s"):
        windows, _ = SEEN[name]
        frames = len(windows[0])
        clip = run.clips.of(RAW, None, "frames", run.models[name].sampling)[0]
        assert clip.shape == (3, 2 * 3 * frames, 32, 32)
        views = iter(torch.split(clip, frames, dim=1))
        for window in windows:
            for column in (0, 80, 160):  # left, middle, right
                view = next(views)
                assert (view[0].flatten(1) == 2 * torch.tensor(window)[:, None]).all()
                assert (view[1] == column).all()


def test_frames_are_those_of_the_whole_anonymized_video(tmp_path: Path) -> None:
    """Of methods that carry a state from frame to frame; `paper` alone would see sampled ones."""
    rng = np.random.default_rng(3)
    lines = ["path,action,identity"]
    for number in range(4):
        drawn = rng.integers(0, 256, (COUNT, 32, 32, 3)).astype(np.uint8)
        scenes.write(tmp_path / f"{number}.mkv", drawn)
        lines.append(f"{number}.mkv,a{number % 2},p{number}")
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    manifest = read_manifest(tmp_path / "clips.csv")
    names = ("c2d-r50", "csn-r101", "r2plus1d-r50", "x3d-s", "x3d-m", "resnet-50")
    asked = config(preset="low", recognizers=names)
    asked = replace(asked, clip_sampling="own-frames", folds=2)
    run = Evaluator(manifest, asked, tmp_path / "kept", None)
    whole = masquerade.read_video(tmp_path / "0.mkv").clip
    for method in (build("frame-difference"), build("selective")):
        line = EvaluatedMethod(name="m", anonymizer=method)
        run.extract(line)
        shown: dict[int, Tensor] = {}
        for name in names:
            clips = run.clips.of(line, method, "frames", run.models[name].sampling)
            assert clips.passes == 0, "it was made with the others, in one pass"
            for number, frame in zip(SEEN[name][0][0], clips[0].unbind(1), strict=True):
                assert torch.equal(shown.setdefault(number, frame), frame), (name, number)
        if method.full_frame:
            wanted = (masquerade.anonymize(whole, method)[0] * 255).round()
            for number, frame in shown.items():
                assert (frame - wanted[:, number]).abs().max() <= 1, number


def test_networks_of_a_preset_without_a_stride_get_theirs_and_all_else_stays(
    numbered: Manifest, tmp_path: Path
) -> None:
    for choice, size in (("own-frames", (48, 64)), ("own", (64, 64))):
        preset, _ = with_own_sampling(TINY, choice)  # type: ignore[arg-type]
        own = {name: one.sampling for name, one in preset.attackers.items() if one.sampling}
        assert own == dict.fromkeys(["tiny-3d", "tiny-3d on motion"], ClipSampling(8, 2, size))
        rest = {name: one for name, one in preset.attackers.items() if name not in own}
        assert rest == {name: TINY.attackers[name] for name in rest}
        assert set(TINY.attackers) - set(preset.attackers) == {f"tiny-3d{RESTORED}"}
    background = with_own_sampling(PAPER, "own")[0].attackers["resnet-18 on background"]
    assert background == PAPER.attackers["resnet-18 on background"]


def test_networks_of_restored_clips_are_left_out_with_a_note(
    manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They start from raw-trained weights of the preset's sampling, and there are none."""
    net = AttackerModel(modality="frames", network="tiny-3d", widths=(4, 4, 4), side=16)
    several = {"tiny-3d": net, **KERNEL, **restored({"tiny-3d": net, **KERNEL})}
    one = replace(scenes.SMALL, attackers=several, restoration_steps=1)
    monkeypatch.setitem(PRESETS, "restoring", one)
    plan = replace(CONFIG, preset="restoring", folds=2, clip_sampling="own-frames")
    plan = replace(plan, attackers=("reconstruction", "raw"), reidentification=False)
    blur = [EvaluatedMethod(name="blur", anonymizer=build("blur"))]
    found = evaluate(manifest.take(range(0, len(manifest), 2)), blur, plan, data="scenes")
    assert any(f"left out (tiny-3d{RESTORED})" in note for note in found.limits)
    red = found.rows[1].finding("red")
    assert red is not None
    assert {attack.name for attack in red.attacks if attack.family == "reconstruction"} == {
        f"reconstruction kernel on colours{RESTORED}"
    }


def test_nothing_changes_where_it_is_not_asked_for(manifest: Manifest) -> None:
    assert EvaluationConfig().clip_sampling == "preset"
    for preset in PRESETS.values():
        assert with_own_sampling(preset, "preset") == (preset, ())
    found = evaluate(manifest, [], replace(CONFIG, attackers=("scratch",)), data="scenes")
    assert found.sampling == () and "sampling" not in json.loads(found.to_json())
    assert from_json(found.to_json()) == found


def test_the_flag_reaches_the_settings_and_wrong_values_are_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = ["--data", "a.csv", "--method", "blur"]
    assert config_of(parse(line)[0]).clip_sampling == "preset"
    assert config_of(parse([*line, "--clip-sampling", "own"])[0]).clip_sampling == "own"
    selective = ["--data", "a.csv", "--method", "selective", "--sampling", "bilinear"]
    assert config_of(parse([*selective, "--clip-sampling", "own"])[0]).clip_sampling == "own"
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", *line, "--clip-sampling", "each"])
    assert "Expected one of ('preset'" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(UsageError, match="is preset, own-frames or own, not 'each'"):
        preset_of(replace(CONFIG, clip_sampling="each"))  # type: ignore[arg-type]
    cropped = replace(CONFIG, preset="paper", clip_sampling="own", test_crop=0.8)
    with pytest.raises(UsageError, match="out, or give --clip-sampling own-frames"):
        preset_of(cropped)
    preset, _ = preset_of(replace(cropped, clip_sampling="own-frames"))
    assert preset.attackers["r3d-18"].sampling == ClipSampling(16, 2, (140, 140))


def test_fewer_videos_wait_in_memory_where_their_clips_are_large() -> None:
    video = VideoRows(Path("a.mkv"), tuple(range(20)), ((None, None),) * 20)
    small = ExtractionConfig(frames=16, size=112)
    large = ExtractionConfig(frames=16, size=312, stride=5, windows=5)
    assert videos_ahead([video], [small], 4) == 16
    assert videos_ahead([video], [small, large], 64) == 17  # of 480 MB
    assert videos_ahead([video._replace(rows=tuple(range(2000)))], [large], 4) == 1

"""Attackers that start from files of published weights: what they read, which files are refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import scenes
import torch

from masquerade.cli.evaluate import main
from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.errors import UsageError
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, from_json
from masquerade.evaluation.attackers import ATTACKERS, get_families, required_fits
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.fit_predict import FitTask, _learning_rate, fit_predict
from masquerade.evaluation.predictions import Initialisation, PredictionKey
from masquerade.evaluation.presets import PRESETS, AttackerModel, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.evaluation.published_start import from_published, load_published
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.methods import build
from masquerade.models.recognizers import (
    RECOGNIZERS,
    Architecture,
    Recognizer,
    Sampling,
    build_recognizer,
)
from masquerade.models.resnet import resnet
from masquerade.models.vit import FrameViT, VideoViT

TINY_3D = AttackerModel(modality="frames", network="tiny-3d", widths=(8, 16, 16))
LEARNER = replace(
    scenes.SMALL, attackers={"tiny-3d": TINY_3D}, epochs=3, finetune_epochs=1, batch=4
)


def weights_file(path: Path, seed: int = 0) -> Path:
    """A tiny ResNet's weights for nine classes, in the published names."""
    torch.manual_seed(seed)
    torch.save(resnet(8, classes=9).state_dict(), path)
    return path


def command(folder: Path, out: Path, *words: str) -> list[str]:
    """An evaluation of the preset `small`: a tiny 2-D network, and a kernel on motion."""
    given = ["--data", str(folder / "clips.csv"), *scenes.COPY, "--folds", "2", *scenes.FAST]
    given[given.index("quick")] = "small"
    return [*given, "-o", str(out), *words]


def clips_of(people: Sequence[int], takes: int) -> tuple[ClipDataset, dict[str, IntArray]]:
    """Scenes as clips, and their actions and colours."""
    about = [(k, p, t) for p in people for k in range(2) for t in range(takes)]
    steps = list(scenes.STEPS)
    drawn = [scenes.frames(steps[k], p, seed=97 * p + 7 * t) for k, p, t in about]
    pixels = torch.from_numpy(np.stack(drawn)).permute(0, 4, 1, 2, 3).contiguous()
    actions, who = np.array([k for k, _, _ in about]), np.array([p for _, p, _ in about])
    return from_tensor(pixels), {"action": actions, "red": 1 - who % 2}


def fit(
    preset: Preset,
    start: Initialisation,
    clips: ClipDataset,
    labels: dict[str, IntArray],
    train: int,
    weights: Path | None = None,
    seed: int = 0,
) -> float:
    """The share of actions that an attacker reads which learned from the first clips."""
    rows = np.arange(len(clips))
    task = FitTask(
        key=PredictionKey("people unseen", "any", 0, "tiny-3d", start, seed, 0, "test"),
        fold=Fold(train=rows[:train], validation=rows[:0], test=rows[train:]),
        classes=dict.fromkeys(labels, 2),
        labels=labels,
        weights=weights,
        saves_weights=weights is not None,
    )
    found = fit_predict(task, clips, preset)["test"].probabilities["action"]
    return float((found.argmax(axis=1) == labels["action"][train:]).mean())


@pytest.mark.slow
def test_weights_that_know_the_label_read_it_from_eight_clips(tmp_path: Path) -> None:
    clips, labels = clips_of(range(100, 130), takes=2)
    action = {"action": labels["action"]}
    own = tmp_path / "own.weights"
    assert fit(replace(LEARNER, epochs=12), "scratch", clips, action, train=100, weights=own) > 0.9
    few, found = clips_of(range(14), takes=1)
    action = {"action": found["action"]}
    started, _ = from_published(LEARNER, {"tiny-3d": own})
    scratch = [fit(LEARNER, "scratch", few, action, train=8, seed=seed) for seed in range(2)]
    published = [fit(started, "published", few, action, train=8, seed=seed) for seed in range(2)]
    assert max(scratch) < 0.75 and min(published) > 0.9


@pytest.mark.slow
def test_the_family_published_is_run_on_raw_and_anonymized_video(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = weights_file(tmp_path / "tiny.pth")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    words = ["--attackers", "published", "--attacker-weights", f"tiny-2d={file}"]
    main(command(folder, tmp_path / "out", *words))
    result = from_json(capsys.readouterr().out)
    assert result.attackers == ("published",) and "tiny-2d=tiny.pth" in result.command
    for row in result.rows:
        for finding in row.findings:
            names = {one.name for one in finding.attacks if one.family == "published"}
            assert names == {"published tiny-2d"}
            assert row.name == "raw" or finding.strongest == "published tiny-2d"
    said = f"tiny-2d from tiny.pth (SHA-256 {digest[:16]})"
    assert any(said in note for note in result.limits)
    assert said in (tmp_path / "out" / "results.md").read_text()


def test_a_file_of_weights_is_read_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A benchmark asks for it to check a table, to count its work, and to attack it."""
    read: list[Path] = []

    def count(path: Path) -> str:
        read.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr("masquerade.evaluation.published_start.file_digest", count)
    file = weights_file(tmp_path / "tiny.pth")
    first, again = (from_published(scenes.SMALL, {"tiny-2d": file})[0] for _ in range(2))
    assert first == again and read == [file]
    weights_file(file, seed=1)
    other, _ = from_published(scenes.SMALL, {"tiny-2d": file})
    assert other != first and read == [file, file]


def test_fits_are_known_by_the_content_of_their_file(manifest: Manifest, tmp_path: Path) -> None:
    """Whether there are files changes nothing of what starts from none."""

    def attack_raw(families: tuple[str, ...], file: Path | None = None) -> set[str]:
        config = EvaluationConfig(
            preset="small",
            folds=2,
            seeds=1,
            workers=1,
            device="cpu",
            labels=("red",),
            attackers=families,
            attacker_weights={} if file is None else {"tiny-2d": file},
        )
        assert Evaluator(manifest, config, tmp_path / "out", None).raw.predictions is not None
        return {path.name for path in tmp_path.glob("out/fits/*/*.npz")}

    file = weights_file(tmp_path / "tiny.pth")
    every = ("scratch", "published")
    before = attack_raw(("scratch",))
    first = attack_raw(every, file) - before
    assert first and all(name.endswith("-published.npz") for name in first)
    moved = file.rename(tmp_path / "moved.pth")
    assert attack_raw(every, moved) == before | first  # nothing is fitted anew
    other = attack_raw(every, weights_file(file, seed=1)) - before - first
    assert len(other) == len(first)
    kept = {path.name.partition(".")[0] for path in tmp_path.glob("out/fits/*/*.weights")}
    network = {
        name.rpartition("-")[0] for name in (first | other) if name.endswith("-published.npz")
    }
    assert kept == {name.removesuffix("-scratch.npz") for name in before} | network


@pytest.mark.slow
def test_attackers_of_raw_video_start_from_files_too(manifest: Manifest, tmp_path: Path) -> None:
    """As the recognizers of Ilic et al. do, which learn raw video and are tested on hidden."""
    file = weights_file(tmp_path / "tiny.pth")
    config = EvaluationConfig(
        preset="small",
        folds=2,
        seeds=1,
        workers=1,
        device="cpu",
        labels=("red",),
        attackers=("scratch", "raw"),
    )

    def attack(config: EvaluationConfig, out: str) -> set[str]:
        given = Evaluator(manifest, config, tmp_path / out, None)
        given.predict(EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)))
        found = {path.name for path in (tmp_path / out / "fits").glob("copy-*/*.npz")}
        return {name for name in found if name.endswith("-raw.npz")}

    without = attack(config, "out")
    given = replace(
        config,
        attackers=("scratch", "published", "raw"),
        attacker_weights={"tiny-2d": file},
    )
    both = attack(given, "out")
    new = both - without
    assert len(new) == len(without) / len(PRESETS["small"].attackers)  # of one attacker
    for path in (tmp_path / "out" / "fits").glob("raw-*/*-published.npz"):  # and no raw fit is new
        path.with_name(path.name.rpartition("-")[0] + ".weights").unlink()
    for path in (tmp_path / "out" / "fits").glob("copy-*/*-raw.npz"):
        if path.name in new:
            path.unlink()
    with pytest.raises(FileNotFoundError, match="weights"):
        attack(given, "out")


def test_a_vit_from_images_learns_at_the_rate_of_the_paper() -> None:
    """1e-3 x batch / 512, 19 times slower than from scratch."""
    paper = PRESETS["paper"]
    vit, resnet = paper.attackers["vit-s-video"], paper.attackers["resnet-50"]
    assert _learning_rate(vit, paper, "published") == pytest.approx(1e-3 * paper.batch / 512)
    assert _learning_rate(vit, paper, "scratch") == _learning_rate(resnet, paper, "published")
    assert _learning_rate(vit, paper, "finetuned") == pytest.approx(paper.lr / 3)


def test_without_files_there_is_no_family_published(tmp_path: Path) -> None:
    models = scenes.SMALL.attackers
    assert "published" not in get_families(None, models)
    good = weights_file(tmp_path / "good.pth")
    started, _ = from_published(scenes.SMALL, {"tiny-2d": good})
    assert get_families(None, started.attackers) == tuple(ATTACKERS)
    fits = required_fits(["published"], started.attackers, raw=True)
    assert fits == (("tiny-2d", "published"),)


def test_an_image_vit_is_inflated_for_the_video_vits_of_a_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"width": 24, "depth": 2}
    video = partial(VideoViT, frames=8, size=32, attention_heads=3, **sizes)
    line = Architecture(video, Sampling(8, 2, 32), RECOGNIZERS["vit-s-video"].normalization)
    monkeypatch.setitem(RECOGNIZERS, "vit-s-video", line)
    torch.manual_seed(0)
    image = FrameViT(classes=5, size=64, patch=16, heads=3, **sizes).state_dict()
    torch.save(image, tmp_path / "vit.pth")
    model = AttackerModel(modality="frames", network="vit-s-video")
    preset = replace(scenes.SMALL, attackers={"vit-s-video": model, **scenes.SMALL.attackers})
    started, (note,) = from_published(preset, {}, tmp_path / "vit.pth")
    assert "vit-s-video from vit.pth" in note and "tiny-2d" not in note
    assert started.attackers["tiny-2d"].published is None

    net = build_recognizer("vit-s-video", heads={"action": 2})
    load_published(net, started.attackers["vit-s-video"])
    assert isinstance(net, Recognizer) and isinstance(net.net, VideoViT)
    patch = net.net.patch_embed.proj.weight
    assert torch.allclose(patch.sum(dim=2), image["patch_embed.proj.weight"], atol=1e-6)
    assert torch.equal(net.net.blocks[1].attn.qkv.weight, image["blocks.1.attn.qkv.weight"])
    clips = torch.randint(0, 256, (6, 3, 8, 32, 32)).byte()
    task = FitTask(
        key=PredictionKey("people unseen", "any", 0, "vit-s-video", "published", 0, 0, "test"),
        fold=Fold(train=np.arange(4), validation=np.arange(4, 5), test=np.arange(5, 6)),
        classes={"action": 2},
        labels={"action": np.arange(6) % 2},
    )
    found = fit_predict(task, from_tensor(clips), started)
    assert found["test"].probabilities["action"].shape == (1, 2)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--attacker-weights", "tiny-2d"], "wants NAME=FILE"),
        (["--attacker-weights", "tiny-2d="], "wants NAME=FILE"),
        (["--attacker-weights", "tiny-2d=a", "--attacker-weights", "tiny-2d=b"], "names .* twice"),
        (["--attacker-weights", "tiny-2d=gone.pth"], "no weights file gone.pth for tiny-2d"),
        (["--attacker-weights", "tiny-2d={folder}"], "is a folder"),
        (["--attacker-weights", "resnet-50={good}"], "not in the preset: choose of tiny-2d"),
        (["--attacker-weights", "kernel on motion={good}"], "starts from no weights"),
        (["--attacker-weights", "tiny-2d={text}"], "tiny-2d: text.pth is no file of tensors"),
        (["--attacker-weights", "tiny-2d={zipped}"], "tiny-2d: zipped.npz is no file of tensors"),
        (["--attacker-weights", "tiny-2d={other}"], r"lacks conv1.weight and \d+ more, has in exc"),
        (["--attacker-weights", "tiny-2d={shape}"], "has in another shape conv1.weight;"),
        (["--image-weights", "{good}"], "--image-weights is of video ViTs"),
        (["--attackers", "published"], "give --attacker-weights NAME=FILE or --image-weights"),
        (["--attackers", "raw", "--attacker-weights", "tiny-2d={good}"], "name them too"),
    ],
)
def test_what_cannot_be_a_start_is_refused_in_a_sentence_before_any_work(
    words: list[str], sentence: str, folder: Path, tmp_path: Path
) -> None:
    good = weights_file(tmp_path / "good.pth")
    wrong = {**torch.load(good), "conv1.weight": torch.zeros(2, 3, 3, 3)}
    files = {name: tmp_path / f"{name}.pth" for name in ("text", "other", "shape")}
    files |= {"good": good, "folder": tmp_path, "zipped": tmp_path / "zipped.npz"}
    files["text"].write_text("path,action\n")
    np.savez(files["zipped"], features=np.zeros(3))
    torch.save(build_recognizer("tiny-3d", heads={"a": 2}).state_dict(), files["other"])
    torch.save(wrong, files["shape"])
    given = [word.format(**files) for word in words]
    with pytest.raises(UsageError, match=sentence) as error:
        main(command(folder, tmp_path / "out", *given))
    assert error.value.exit_code == 2 and "\n" not in str(error.value)
    assert not list(tmp_path.glob("out/*/*/*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    good = weights_file(tmp_path / "good.pth")
    good.chmod(0)
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        from_published(scenes.SMALL, {"tiny-2d": good})


def test_only_networks_that_see_people_start_from_files(tmp_path: Path) -> None:
    good = weights_file(tmp_path / "good.pth")
    for name, one in PRESETS["paper"].attackers.items():
        if one.network is None or one.background or one.content != "frames":
            with pytest.raises(UsageError, match="starts from no weights: choose of r3d-18, resn"):
                from_published(PRESETS["paper"], {name: good})

"""`masquerade train`: from drawn clips to an anonymizer that `anonymize` takes, in one command."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import safetensors
import torch
from safetensors.torch import load_file

import masquerade
from masquerade.checkpoint import STATE, WEIGHTS
from masquerade.cli import benchmark
from masquerade.cli.train import main, parse, select_rows
from masquerade.datasets.manifest import read_manifest, write_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.file_locks import LOCK, take_lock
from masquerade.training.clips import extract_training_clips
from masquerade.training.distributed import is_main_process
from masquerade.training.frame_pairs import FAR, NEAR
from masquerade.training.recipes.spact import spact
from masquerade.training.rows import training_rows
from masquerade.training.run import _check_lengths, _learnable
from masquerade.training.step_time import STEP_TIME
from masquerade.training.views import random_windows

QUICK = ["--width", "2", "--short", "16", "--epochs", "1", "--batch", "8"]


@pytest.fixture(scope="module")
def mimes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn dataset of two actions that a glance tells apart."""
    drawn = Mimes(size=32, frames=4, clips=40, people=10, actions=("walk", "squat"))
    path = write_mimes(tmp_path_factory.mktemp("data") / "mimes", drawn)
    header, *rows = path.read_text().splitlines()
    more = [f"{header},same,empty", *(f"{row},1," for row in rows)]
    path.write_text("\n".join(more) + "\n")
    return path


def words(data: Path, run: Path) -> list[str]:
    return ["train", "spact", "--data", str(data), "-o", str(run), "--device", "cpu", *QUICK]


class Trained(NamedTuple):
    """A run of the line of `words`, the folder of its clips, and what was printed."""

    run: Path
    clips: Path
    error: str
    said: str


@pytest.fixture(scope="module")
def trained(mimes: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One training for all tests that need no other."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "run" / "samples").mkdir(parents=True)  # as one that was killed at its start left it
    (folder / "run" / "samples" / "0001.png").write_bytes(b"killed")
    (folder / "run" / "log.csv").write_text("epoch,phase,updates,seconds\n1,1,1,1\n")
    (folder / "run" / LOCK).touch()
    line = [*words(mimes, folder / "run")[1:], "--no-adversary", "--store-limit", "1"]
    with redirect_stderr(StringIO()) as error, redirect_stdout(StringIO()) as out:
        assert main([*line, "--cache", str(folder / "stored-clips")]) in (0, 1)
    return Trained(folder / "run", folder / "stored-clips", error.getvalue(), out.getvalue())


def test_a_benchmark_is_not_divided_by_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="start it without torchrun"):
        benchmark.main(["quick"])


@pytest.mark.slow
def test_a_rank_without_others_leaves_an_anonymizer_too(
    mimes: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It trained to the end, wrote nothing and said that all was well."""
    monkeypatch.setenv("RANK", "1")
    line = [*words(mimes, tmp_path / "run")[1:], "--no-adversary", "--cache", str(trained.clips)]
    assert main(line) in (0, 1) and masquerade.load(tmp_path / "run").width == 2
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not is_main_process()


@pytest.mark.parametrize(
    ("processes", "device", "error", "said"),
    [
        ("4", "auto", MissingError, "4 processes on a machine of 2 GPUs.*--nproc-per-node 2"),
        ("2", "cuda:1", UsageError, "one GPU each: say --device cuda in place of cuda:1"),
    ],
)
def test_processes_that_have_no_gpu_of_their_own_are_refused_before_videos_are_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    processes: str,
    device: str,
    error: type[Exception],
    said: str,
) -> None:
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", processes)):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    line = words(tmp_path / "none.csv", tmp_path / "run")[1:]  # that is not read either
    with pytest.raises(error, match=said):
        main([*line, "--device", device])


def test_a_division_among_no_others_is_refused_before_videos_are_read(tmp_path: Path) -> None:
    line = words(tmp_path / "none.csv", tmp_path / "run")[1:]  # that is not read either
    with pytest.raises(UsageError, match="--shard divides a network among several processes"):
        main([*line, "--shard"])


def test_an_action_beside_none_is_one_action(mimes: Path, tmp_path: Path) -> None:
    """Clips without a label counted as an action of their own."""
    manifest = read_manifest(mimes)
    some = ["walk" if row % 3 else "" for row in range(len(manifest))]
    write_manifest(manifest.with_cells(manifest.column("action"), some), tmp_path / "one.csv")
    line = words(tmp_path / "one.csv", tmp_path / "run")[1:]
    with pytest.raises(UsageError, match="have the same action or none"):
        main([*line, "--no-adversary"])


def test_adversaries_that_cannot_read_frames_are_refused_before_videos_are_read(
    mimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.training.run.extract_training_clips", print)
    line = words(mimes, tmp_path / "run")[1:]
    with pytest.raises(UsageError, match=r"--adversary vit-ti-video cannot read .* given 1 of"):
        main([*line, "--adversary", "vit-ti-video"])


def test_the_raw_clips_of_samples_are_for_their_owner_alone(trained: Trained) -> None:
    folder = trained.run / "samples"
    rights = {path.name: path.stat().st_mode & 0o777 for path in [folder, *folder.iterdir()]}
    assert rights.pop("samples") == 0o700 and set(rights.values()) == {0o600}
    alone = f"{folder} shows raw clips: give away anonymizer.safetensors alone.\n"
    assert trained.said.endswith(alone)


def test_a_device_that_is_none_is_refused_before_any_work(mimes: Path, tmp_path: Path) -> None:
    line = ["spact", "--data", str(mimes), "-o", str(tmp_path / "run"), "--device", "gpu"]
    with redirect_stderr(StringIO()) as said, pytest.raises(UsageError, match="say auto, cpu"):
        main(line)
    assert not said.getvalue() and not (tmp_path / "run").exists()


def test_a_training_says_what_it_is_about_to_do(trained: Trained) -> None:
    said = trained.error.splitlines()
    assert said[0].startswith("About to train ") and "clips, with" in said[0]
    assert "others held out to judge by. Phases, and their epochs: " in said[0]
    assert any(line.startswith("reading videos: ") for line in said)
    assert any(re.match(r"training step, \w+: at most \d+", line) for line in said)
    assert any(line.startswith("epoch 1 of at most ") for line in said)


def test_a_run_leaves_an_anonymizer_that_can_be_used(
    called: Callable[..., Any], mimes: Path, trained: Trained, clip: Path
) -> None:
    run = trained.run
    assert {path.name for path in run.iterdir()} == {
        "anonymizer.safetensors",
        "log.csv",
        "samples",
    }
    with (run / "log.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(list((run / "samples").glob("*.png"))) == 3
    with safetensors.safe_open(run / "anonymizer.safetensors", "pt") as file:
        about = json.loads(file.metadata()["provenance"])
    assert about["command"].startswith("masquerade train spact --data")
    assert about["seed"] == 0 and len(about["data"]) == 64
    assert about["versions"]["torch"] == torch.__version__
    method = masquerade.load(run)
    assert not method.training and method.width == 2
    out = called(
        "anonymize",
        clip,
        "-o",
        "safe.mp4",
        "--weights",
        run,
        "--regions",
        "frame",
        "--preview",
        "0.2",
    )
    assert out.returncode == 0, out.stderr
    again = called(*words(mimes, run), "--no-adversary")
    assert again.returncode == 2 and "finished run" in again.stderr


@pytest.mark.slow
def test_above_the_store_limit_clips_are_made_on_the_fly(
    mimes: Path, trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same weights, to the bit."""
    more = ["--store-limit", "0", "--cache", str(tmp_path / "clips"), "--no-adversary"]
    main([*words(mimes, tmp_path / "run")[1:], *more])
    stored, made = (
        load_file(run / "anonymizer.safetensors") for run in (trained.run, tmp_path / "run")
    )
    assert stored.keys() == made.keys()
    assert all(torch.equal(value, made[name]) for name, value in stored.items())
    shape = r"clips: \d+ x 8 x 24 x 32, 0\.\d MB"
    assert re.search(rf"{shape} in .*stored-clips\n", trained.error)
    said = rf"{shape}, more than the 0.0 MB that .* may hold: they are made"
    assert re.search(said, capsys.readouterr().err)
    assert list(trained.clips.glob("*/clips.bin"))
    assert not list(tmp_path.glob("clips/*/clips.bin"))


def test_what_has_no_adversary_is_trained_by_the_same_command(mimes: Path, tmp_path: Path) -> None:
    words = ["noise-features", "--data", str(mimes), "-o", str(tmp_path / "run"), *QUICK]
    assert main([*words, "--noise", "0.3", "--device", "cpu"]) in (0, 1)
    method = masquerade.load(tmp_path / "run")
    assert method.noise == 0.3 and method.trained
    with pytest.raises(SystemExit) as refused:  # it has no such flag
        main([*words, "--objective", "labels"])
    assert refused.value.code == 2


def log_of(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_only_what_is_named_is_hidden_and_only_those_actions_are_learned(
    tmp_path: Path,
) -> None:
    drawn = Mimes(size=32, frames=4, clips=48, people=10, actions=("walk", "squat", "wave"))
    data = write_mimes(tmp_path / "mimes", drawn)
    line = ["vita", "--data", str(data), "-o", str(tmp_path / "run"), "--device", "cpu"]
    line += ["--widths", "2", "2", "2", "--blocks", "0", "--short", "16", "--epochs", "1"]
    line += ["--adversary", "tiny-2d", "tiny-3d", "--combine", "mean"]
    line += ["--private", "hat,scene", "--actions"]
    try:
        main([*line, "walk,squat"])
    except MasqueradeError as error:  # so few clips may not teach the action
        assert "not learned" in str(error)
    lines = log_of(tmp_path / "run")
    assert "val_scene" in lines[0] and "val_hat" in lines[0]
    assert "val_warm" not in lines[0] and "val_object" not in lines[0]
    assert float(lines[1]["train_adversary"]) > 0
    manifest = read_manifest(data)
    held = [manifest.cells("action")[row] for row in training_rows(manifest).validation]
    walks, squats = held.count("walk"), held.count("squat")
    guess = max(walks, squats) / (walks + squats)
    assert "wave" in held and float(lines[0]["chance_utility"]) == pytest.approx(guess)
    with pytest.raises(UsageError, match="same action"):
        main([*line, "walk"])


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, some of them reddish."""
    folder, draw = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    rows = []
    for at in range(24):
        picture = draw.integers(0, 120, (32, 40, 3), dtype=np.uint8)
        picture[..., 2] += 120 * (at % 2)
        cv2.imwrite(str(folder / f"{at}.png"), picture)
        rows.append(f"{at}.png,{at % 2},{'val' if at % 4 > 1 else 'train'}")
    (folder / "pictures.csv").write_text("\n".join(["path,red,split", *rows]) + "\n")
    return folder / "pictures.csv"


@pytest.mark.slow
def test_the_adversary_learns_from_another_set_and_its_labels_are_named(
    mimes: Path, pictures: Path, tmp_path: Path
) -> None:
    line = ["vita", "--data", str(mimes), "-o", str(tmp_path / "run"), "--device", "cpu"]
    line += ["--widths", "2", "2", "2", "--blocks", "0", "--short", "16", "--epochs", "1"]
    try:
        main([*line, "--stills", str(pictures), "--private", "red"])
    except MasqueradeError as error:  # so few clips may not teach the action
        assert "not learned" in str(error)
    lines = log_of(tmp_path / "run")
    assert float(lines[1]["val_red"]) > 0.9 and "val_hat" not in lines[1]
    bare = pictures.with_name("bare.csv")
    bare.write_text("path,red\n0.png,0\n1.png,1\n")
    for given, said in (
        (["--stills", str(bare)], "no split column"),
        (["--stills", str(pictures), "--objective", "nt-xent", "--gap", "far"], "one frame"),
    ):
        with pytest.raises(UsageError, match=said):
            main([*line[:3], "-o", str(tmp_path / "other"), *given])
    noise = ["noise-features", "--data", str(mimes), "-o", str(tmp_path / "n")]
    with pytest.raises(UsageError, match="There is no adversary"):
        main([*noise, "--stills", str(pictures)])


@pytest.mark.slow
def test_pairs_are_drawn_as_the_gap_says(tmp_path: Path) -> None:
    """From videos that are long enough; on shorter ones two such frames would often be one."""
    drawn = Mimes(size=32, frames=80, clips=40, people=10, actions=("walk", "squat"))
    mimes, lost = write_mimes(tmp_path / "mimes", drawn), {}
    for gap in ("near", "far"):
        run = tmp_path / gap
        line = ["spact", "--data", str(mimes), "-o", str(run), "--device", "cpu", *QUICK]
        try:
            main([*line, "--gap", gap])
        except MasqueradeError as error:  # so few clips may not teach the action
            assert "not learned" in str(error)
        lost[gap] = float(log_of(run)[1]["train_adversary"])
    assert lost["near"] != lost["far"] and min(lost.values()) > 0


def test_a_clip_is_one_of_several_windows_of_the_whole_video(tmp_path: Path) -> None:
    """Under `paper`: an epoch draws it anew; the last windows end where the video does."""
    drawn = Mimes(size=32, frames=12, clips=40, people=10, actions=("walk", "squat"))
    manifest = read_manifest(write_mimes(tmp_path / "long", drawn))
    recipe = replace(spact(preset="paper"), size=(16, 16), stride=2, frames=3)
    rows = training_rows(manifest)
    learn, held = extract_training_clips(manifest, rows, recipe)
    every, _ = extract_training_clips(manifest, rows, replace(recipe, frames=12, stride=1))
    one, whole = learn[0], every[0]  # (3, T, H, W)
    assert one.shape[1] == held.shape[1] == 8 * 3
    starts = [0, 0, 0, 2, 2, 4, 4, 6]  # 6 frames are left by the stride, and 0 to 3 fit
    for window, start in enumerate(starts):
        cut = one[:, 3 * window : 3 * window + 3]
        assert torch.equal(cut, whole[:, [start, start + 2, start + 4]])
    draw = torch.Generator().manual_seed(0)
    found = random_windows(one[None].expand(64, -1, -1, -1, -1), 3, draw, step=3)
    seen = {clip.numpy().tobytes() for clip in found}
    wanted = {whole[:, [s, s + 2, s + 4]].numpy().tobytes() for s in starts}
    assert found.shape[2] == 3 and seen == wanted
    with pytest.raises(UsageError, match="windows must be 1 or more"):
        replace(recipe, stride=None)


def test_a_clip_of_a_short_video_goes_back_and_forth(mimes: Path) -> None:
    """Under `paper`; these videos are of 4 frames."""
    manifest = read_manifest(mimes)
    recipe = replace(spact(preset="paper"), size=(16, 16), stride=1, frames=10, windows=1)
    learn, _ = extract_training_clips(manifest, training_rows(manifest), recipe)
    one = learn[0]  # (3, T, H, W)
    assert one.shape[1] == 10
    assert all(torch.equal(one[:, at], one[:, back]) for at, back in ((4, 2), (5, 1), (6, 0)))


def test_a_video_that_begins_still_is_not_a_short_one() -> None:
    def spaced(frames: torch.Tensor) -> ClipDataset:
        return from_tensor(frames.reshape(1, 1, 8, 1, 1).expand(20, 3, -1, 4, 4))

    moving = torch.arange(8, dtype=torch.uint8).clamp(min=1)  # frames 0 and 1 are alike
    _check_lengths(spaced(moving), NEAR)
    with pytest.raises(UsageError, match="too short"):
        _check_lengths(spaced(moving * 0), NEAR)


@pytest.mark.parametrize("length", [54, 60, 65])
def test_a_video_without_frames_so_far_apart_is_too_short(length: int) -> None:
    """Frames 0, 13, ..., 104, the last one again where they end: none is 65 from another."""
    spaced = (13 * torch.arange(9)).clamp(max=length - 1).to(torch.uint8)
    videos = from_tensor(spaced.reshape(1, 1, 9, 1, 1).expand(20, 3, -1, 4, 4))
    with pytest.raises(UsageError, match="20 of 20 videos are too short"):
        _check_lengths(videos, FAR)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["spact"], "without labels, so leave out --private, or give --objective labels"),
        (["spact", "--no-adversary"], "has no adversary here, so leave out --private"),
        (["noise-features"], "has no adversary here, so leave out --private"),
    ],
)
def test_labels_to_hide_that_nobody_learns_are_refused(
    asked: list[str], told: str, mimes: Path, tmp_path: Path
) -> None:
    line = [*asked, "--data", str(mimes), "-o", str(tmp_path / "run"), "--private", "broad"]
    with pytest.raises(UsageError, match=told):
        main(line)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "asked",
    [
        ["--utility", "tiny-flow"],
        ["--utility", "vit-s-video"],
        ["--objective", "labels", "--adversary", "vit-s-video"],
    ],
    ids=lambda words: words[-1],
)
def test_networks_that_cannot_be_used_are_refused_before_videos_are_read(
    asked: list[str], mimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.training.clips.extract_clips", None)
    line = ["spact", "--data", str(mimes), "-o", str(tmp_path / "run"), "--device", "cpu", *asked]
    with pytest.raises(MasqueradeError, match=r"(?i)flow|given"):
        main(line)
    assert not (tmp_path / "run").exists()


def test_a_run_that_ended_while_another_read_its_videos_stays(
    mimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, read = tmp_path / "run", masquerade.training.run._load_data

    def late(*given: Any, **named: Any) -> Any:
        run.mkdir()
        (run / "anonymizer.safetensors").write_bytes(b"theirs")
        return read(*given, **named)

    monkeypatch.setattr("masquerade.training.run._load_data", late)
    with pytest.raises(UsageError, match="holds a finished run"):
        main(words(mimes, run)[1:])
    assert {path.name for path in run.iterdir()} <= {"anonymizer.safetensors", LOCK}


def test_what_an_interruption_left_beside_the_weights_goes(mimes: Path, tmp_path: Path) -> None:
    """Between the last two steps of a run its state stayed, and nothing removed it."""
    run = tmp_path / "run"
    run.mkdir()
    for name in (WEIGHTS, STATE, STEP_TIME):
        (run / name).write_bytes(b"theirs")
    with redirect_stderr(StringIO()) as said, pytest.raises(UsageError, match="a finished run"):
        main(words(mimes, run)[1:])
    assert [path.name for path in run.iterdir()] == [WEIGHTS]
    assert "resuming" not in said.getvalue()


def test_labels_to_hide_that_no_clip_to_learn_from_has_are_unknown() -> None:
    codes = np.array([[1, 0, 0], [0, 0, 1], [-1, -1, -1], [1, 1, 0]], np.int8)
    found = _learnable(codes, np.array([0, 1]))
    assert found.tolist() == [[1, -1, 0], [0, -1, 1], [-1, -1, -1], [1, -1, 0]]
    assert found.dtype == np.int8
    assert _learnable(np.array([0, 1, 2, -1]), np.array([0, 1])).tolist() == [0, 1, -1, -1]


def test_validation_has_other_people_whatever_the_order_of_the_splits(mimes: Path) -> None:
    manifest = read_manifest(mimes)
    for column in manifest.of_role("split"):  # without a part for validation
        cells = [cell.replace("val", "train") for cell in manifest.cells(column.name)]
        manifest = manifest.with_cells(column, cells)
    by_people, same_people = manifest.of_role("split")
    assert (by_people.name, same_people.name) == ("split", "split_identity")
    others = [one for one in manifest.columns if one.role != "split"]
    rows = training_rows(replace(manifest, columns=(*others, same_people, by_people)))
    who = np.array(manifest.cells("identity"))
    assert not {*who[rows.train]} & {*who[rows.validation]}


def test_validation_has_other_people_where_only_one_split_keeps_them_apart(mimes: Path) -> None:
    """Clips that are val of the other split show people of train."""
    manifest = read_manifest(mimes)
    assert all("val" in manifest.cells(name) for name in ("split", "split_identity"))
    rows = training_rows(manifest)
    who = np.array(manifest.cells("identity"))
    assert not {*who[rows.train]} & {*who[rows.validation]}
    both = training_rows(manifest, column="split_identity")
    assert {*who[both.train]} & {*who[both.validation]}


@pytest.mark.parametrize("held_out", ["", "walk"])
def test_held_out_clips_of_one_action_or_none_are_refused_before_videos_are_read(
    held_out: str, mimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one action alone a guess is right always, and a run ended after all its epochs."""
    monkeypatch.setattr("masquerade.training.clips.extract_clips", None)
    manifest = read_manifest(mimes)
    cells = manifest.cells("action")
    rows = training_rows(manifest)
    few = [held_out if row in rows.validation else cell for row, cell in enumerate(cells)]
    write_manifest(manifest.with_cells(manifest.column("action"), few), mimes.parent / "few.csv")
    line = ["spact", "--data", str(mimes.parent / "few.csv"), "-o", str(tmp_path / "run")]
    with pytest.raises(UsageError, match="that are held out have one action or none"):
        main([*line, *QUICK, *([] if held_out else ["--allow-chance"])])


def test_videos_that_are_too_short_for_a_gap_are_refused(mimes: Path, tmp_path: Path) -> None:
    line = ["spact", "--data", str(mimes), "-o", str(tmp_path / "run"), "--device", "cpu", *QUICK]
    with pytest.raises(UsageError, match=r"of \d+ videos are too short for pairs .* 65 or more"):
        main([*line, "--gap", "far"])


@pytest.mark.slow
def test_an_interrupted_run_goes_on(
    called: Callable[..., Any], mimes: Path, trained: Trained, tmp_path: Path
) -> None:
    parted = tmp_path / "parted"
    start = "import sys; from masquerade.cli import main; sys.exit(main())"
    first = subprocess.Popen(
        [sys.executable, "-c", start, *words(mimes, parted), "--no-adversary"],
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (parted / STATE).exists() and first.poll() is None:
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate()
    assert first.returncode == 130 and "same command again" in said
    assert not (parted / "anonymizer.safetensors").exists()
    with pytest.raises(MasqueradeError, match="has not ended"):
        masquerade.load(parted)
    again = called(*words(mimes, parted), "--no-adversary")
    assert again.returncode in (0, 1) and "resuming it" in again.stderr
    a, b = (masquerade.load(run).state_dict() for run in (trained.run, parted))
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "name a method"),
        ("blur --data x.csv -o run", "no recipe for 'blur'"),
        ("spact --data none.csv -o run", "none.csv"),
        ("spact --preset big --data x.csv -o r", "no preset"),
        ("vita --data MIMES -o r --gap far", "nt-xent or moco"),
        ("spact --data MIMES -o r --private height", "no column 'height'"),
        ("spact --data MIMES -o r --private ,", "names no column"),
        ("spact --data MIMES -o r --actions ,", "--actions names none; choose of squat, walk"),
        ("spact --data MIMES -o r --private same", "'same' has one value or none"),
        ("spact --data MIMES -o r --private empty", "'empty' has one value or none"),
        ("spact --data MIMES -o MIMES", "manifest.csv is a file; choose another -o"),
        ("spact --data MIMES -o MIMES/run/x", "manifest.csv is a file; choose another -o"),
        ("spact --data MIMES -o r --split fold", "no column 'fold'"),
        ("spact --data MIMES -o r --folds 3 --fold 3", "from 0 to below"),
        ("spact --data MIMES -o r --fold 3", "give both"),
        ("spact --data MIMES -o r --folds 3 --split split", "give one of them"),
        ("bdq --data MIMES -o r --stills MIMES", "leave out --stills"),
        ("stprivacy --data MIMES -o r --stills MIMES", "leave out --stills"),
        ("spact --data MIMES -o r --epochs 0", "--epochs must be 1 or more"),
        ("spact --data MIMES -o r --start r0 --until-pretrain 0.1", "leave out --until-pretrain"),
    ],
)
def test_what_is_asked_wrongly_is_said_in_one_sentence(mimes: Path, given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        main([word.replace("MIMES", str(mimes)) for word in given.split()])
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mine", "content"),
    [
        ("log.csv", "mine"),
        ("log.csv", "epoch,accuracy,loss\n0,0.5,0.7\n"),  # of Keras' CSVLogger
        ("samples/0001.png", "mine"),
    ],
)
def test_a_folder_with_files_that_a_run_would_replace_is_refused(
    mimes: Path, tmp_path: Path, mine: str, content: str
) -> None:
    file = tmp_path / "run" / mine
    file.parent.mkdir(parents=True)
    file.write_text(content)
    if mine != "log.csv":
        (tmp_path / "run" / "log.csv").touch()  # which says nothing of who wrote the samples
    with pytest.raises(UsageError, match=f"holds a {mine[:7]}.* that no training wrote"):
        main(words(mimes, tmp_path / "run")[1:])
    assert file.read_text() == content


def test_a_folder_is_of_one_training_at_a_time(mimes: Path, trained: Trained) -> None:
    """Two would write one log, and each would replace the other's state."""
    run = trained.run.with_name("busy")
    line = [*words(mimes, run)[1:], "--no-adversary", "--cache", str(trained.clips)]
    run.mkdir()
    with take_lock(run / LOCK, os.O_RDWR | os.O_CREAT):
        with pytest.raises(UsageError, match="another training is at work in "):
            main(line)
        assert sorted(run.iterdir()) == [run / LOCK]
    assert not (trained.run / LOCK).exists()  # which an earlier one had left


def test_what_a_run_killed_before_its_first_state_left_is_replaced(trained: Trained) -> None:
    assert (trained.run / "samples" / "0001.png").read_bytes() != b"killed"


def test_broken_clips_are_bad_data(called: Callable[..., Any], tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.mp4").write_bytes(b"no video")
    rows = [
        f"{i}.mp4,{'run' if i % 2 else 'sit'},{part}"
        for i, part in enumerate(["train"] * 4 + ["val"] * 4)
    ]
    (tmp_path / "m.csv").write_text("\n".join(["path,action,split", *rows]) + "\n")
    done = called("train", "spact", "--data", tmp_path / "m.csv", "-o", "run", *QUICK)
    assert done.returncode == 1 and "Not one clip could be read" in done.stderr


def test_too_few_readable_clips_are_refused_with_the_reason(mimes: Path, tmp_path: Path) -> None:
    shutil.copytree(mimes.parent, tmp_path / "data")
    manifest = read_manifest(tmp_path / "data" / mimes.name)
    rows = training_rows(manifest)
    for row in rows.validation:
        (tmp_path / "data" / manifest.clips[row].path).write_bytes(b"no video")
    recipe = replace(spact(), size=(16, 16), frames=3)
    with pytest.raises(MasqueradeError, match=r"two others held out; .* and 0: .*left out, such"):
        extract_training_clips(manifest, rows, recipe)


def test_test_clips_are_never_seen(mimes: Path) -> None:
    manifest = read_manifest(mimes)
    parts = training_rows(manifest)
    seen = np.concatenate([parts.train, parts.validation])
    for column in ("split", "split_identity"):
        assert "test" not in {manifest.cells(column)[row] for row in seen}
    assert not set(parts.train) & set(parts.validation)
    one = training_rows(manifest, column="split")
    assert {manifest.cells("split")[row] for row in one.train} == {"train"}
    assert len(one.train) > len(parts.train)


def test_it_says_where_validation_is_far_from_its_share(
    mimes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained
) -> None:
    """Of three people alike a third is held out, and nothing told why."""
    assert "are wanted" not in trained.error
    manifest = read_manifest(mimes)
    people = [f"p{number % 3}" for number in range(len(manifest))]
    few = manifest.with_cells(manifest.column("identity"), people)
    few = few.with_cells(manifest.column("split"), ["train"] * len(manifest))
    write_manifest(few, tmp_path / "few.csv")

    def stop(*_: Any, **__: Any) -> None:
        raise MasqueradeError("enough is said")

    monkeypatch.setattr("masquerade.training.run.train", stop)
    line = ["spact", "--data", str(tmp_path / "few.csv"), "-o", str(tmp_path / "run")]
    with redirect_stderr(StringIO()) as error, pytest.raises(MasqueradeError, match="enough"):
        main([*line, "--split", "split", "--device", "cpu"])
    (told,) = (one for one in error.getvalue().splitlines() if "are wanted" in one)
    assert re.search(r"split: val has 3\d% of the clips where 15% are wanted", told)
    assert "identity (3 values)" in told


def test_a_fold_is_left_out_as_evaluate_cuts_it(mimes: Path) -> None:
    from masquerade.evaluation.protocols import protocols

    manifest = read_manifest(mimes)
    options, _ = parse(["spact", "--data", "x", "-o", "r", "--folds", "4", "--fold", "1"])
    parts = select_rows(manifest, options)
    seen = set(parts.train) | set(parts.validation)
    for protocol in protocols(manifest, folds=4):
        assert not seen & set(protocol.folds[1].test)
    people = manifest.cells("identity")
    assert not {people[row] for row in parts.train} & {people[row] for row in parts.validation}


def test_a_recipe_is_changed_by_flags() -> None:
    line = "spact --data x -o r --width 16 --omega 0.9 --adversary mobilenet-v1 resnet-50 --frozen"
    _, recipe = parse(line.split())
    assert recipe.arguments == {"width": 16, "short": 24}
    assert [one.network for one in recipe.adversaries] == ["mobilenet-v1", "resnet-50"]
    last = recipe.phases[-1]
    assert last.updates[0].losses["adversarial"] == 0.9
    assert all("adversary" not in turn.learns for turn in last.updates)
    with pytest.raises(UsageError, match="no preset"):
        parse(["vita", "--preset", "big", "--data", "x", "-o", "r"])

"""What a training leaves and gives away: its weights name nobody whom it learned from."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import safetensors
import torch

import masquerade
from masquerade.cli.arguments import command_to_keep
from masquerade.cli.train import main
from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.extraction.dataset import from_tensor
from masquerade.training.adversarial_data import AdversarialData
from masquerade.training.adversarial_training import TrainedAnonymizer
from masquerade.training.recipes.spact import spact
from masquerade.training.rows import training_rows
from masquerade.training.run import _provenance


@pytest.mark.slow
def test_what_is_given_away_names_no_clip_and_no_folder(
    tmp_path: Path, clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed names the first clip that cannot be read; a public receipt had it too."""
    drawn = Mimes(size=32, frames=4, clips=40, people=10, actions=("walk", "squat"))
    data = write_mimes(tmp_path / "data", drawn)
    manifest = read_manifest(data)
    broken = [manifest.clips[row].path for row in training_rows(manifest).train[:2]]
    for path in broken:
        (tmp_path / "data" / path).write_bytes(b"no video")
    line = ["spact", "--data", str(data), "-o", str(tmp_path / "run"), "--device", "cpu"]
    line += ["--width", "2", "--short", "16", "--epochs", "1", "--batch", "8"]
    assert main([*line, "--no-adversary", f"--cache={tmp_path / 'clips'}", "--json"]) in (0, 1)
    done = capsys.readouterr()
    said = f"2 clips could not be read and are left out, such as {broken[0]}"
    assert said in " ".join(json.loads(done.out)["warnings"])
    assert f"in doubt: {said}" in done.err
    weights = (tmp_path / "run" / "anonymizer.safetensors").read_bytes()
    with safetensors.safe_open(tmp_path / "run" / "anonymizer.safetensors", "pt") as file:
        about = json.loads(file.metadata()["provenance"])
    assert any(re.match("2 of .* clips could not be read", note) for note in about["notes"])
    assert "--cache=clips" in about["command"] and f"--data {data.name}" in about["command"]
    for secret in (Path(broken[0]).name, str(tmp_path)):
        assert secret.encode() not in weights
    receipt = masquerade.anonymize_file(
        clip, tmp_path / "out.mp4", masquerade.load(tmp_path / "run"), regions="frame"
    )
    assert Path(broken[0]).name not in receipt.public().to_json()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["-o", "/home/ann/run"], ["-o", "run"]),
        (["-o/home/ann/run"], ["-orun"]),
        (["-o=/home/ann/run"], ["-o=run"]),
        (["--output=/home/ann/run"], ["--output=run"]),
        (["-orun", "--fold", "-1", "-"], ["-orun", "--fold", "-1", "-"]),
        (["--regions=boxes:/home/ann/w.json"], ["--regions=boxes:w.json"]),
        (["--weights", "mine=/home/ann/w.pth"], ["--weights", "mine=w.pth"]),
        (["--data", "s3://ward/ann/m.csv"], ["--data", "m.csv"]),
    ],
)
def test_the_command_keeps_no_folder_however_it_is_written(
    given: list[str], kept: list[str]
) -> None:
    assert command_to_keep("train", given) == shlex.join(["masquerade", "train", *kept])


def test_the_weights_keep_only_the_name_of_the_image_weights() -> None:
    recipe = spact(image_weights=Path("/home/ann/vit.pth"))
    assert recipe.image_weights == "/home/ann/vit.pth"
    clips = from_tensor(torch.rand(4, 3, 2, 8, 8))
    data = AdversarialData(train=clips, validation=clips, targets={}, utility={})
    trained = TrainedAnonymizer(masquerade.build("spact"), [{}], (), (), 0.0)
    about = _provenance(trained, data, recipe, seed=0, command="")
    assert "image_weights='vit.pth'" in about["recipe"] and "ann" not in str(about)

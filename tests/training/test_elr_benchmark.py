"""`benchmarks/elr.py`: four ways of learning to read reduced clips, in one table, and resumed."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "elr.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = Mimes(size=32, frames=4, clips=48, people=12, actions=("walk", "squat"))
    return write_mimes(tmp_path_factory.mktemp("elr") / "mimes", drawn)


@pytest.mark.slow
def test_one_command_gives_one_table_and_goes_on_where_it_was(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, script = tmp_path / "results" / "elr.md", runpy.run_path(str(SCRIPT))
    known: dict[str, Any] = script["main"].__globals__
    monkeypatch.setitem(known, "FACTORS", (1, 64))
    words = ["--data", str(data), "--folds", "0", "--seeds", "1", "--epochs", "1"]
    words += ["--work", str(tmp_path / "work"), "--out", str(out), "--device", "cpu"]
    assert script["main"](words) == 0
    text = out.read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.split(" | ")[:2] for line in lines[1:]] == [
        ["| 1", "28"],
        ["| 64", "3"],
    ]
    assert all(line.count("[") == 6 for line in lines[1:])  # four ways, two differences
    assert len(list((tmp_path / "work" / "predictions").glob("*.npy"))) == 2 * 4

    def never(*_: object, **__: object) -> None:
        raise AssertionError("this was fitted before")

    monkeypatch.setitem(known, "fit", never)
    assert script["main"](words) == 0 and out.read_text() == text


def test_ways_differ_in_what_they_learn_from_and_in_nothing_else(data: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    ways, clip = script["WAYS"], torch.rand(2, 3, 2, 28, 36)
    for name, way in ways.items():
        seen = way.transforms.apply(clip, torch.Generator().manual_seed(0))
        assert torch.allclose(seen, clip, atol=1e-4) == (name in ("plain", "random crops"))
    assert [name for name, way in ways.items() if way.extra_loss] == ["multi-Siamese"]
    cropped = [name for name, way in ways.items() if way.augment.crop != (1, 1)]
    assert cropped == ["random crops"]


def test_the_floor_is_the_most_frequent_action_of_training(data: Path, tmp_path: Path) -> None:
    script, manifest = runpy.run_path(str(SCRIPT)), read_manifest(data)
    fold = script["protocols"](manifest, folds=0, labels=())[0].folds[0]
    codes = manifest.targets("action")
    right = codes[fold.test] == np.bincount(codes[fold.train]).argmax()
    bench = script["Bench"](
        manifest=manifest,
        clips=script["extract_clips"](manifest, script["ExtractionConfig"](frames=2, size=16)),
        protocol=script["protocols"](manifest, folds=0, labels=())[0],
        seeds=1, epochs=1, device="cpu", folder=tmp_path,
    )  # fmt: skip
    assert bench.guess().value == pytest.approx(right.mean())

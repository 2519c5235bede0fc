"""The command that makes STPrivacy's figure, on a few drawn clips."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Unpack

import cv2
import pytest
import scenes
import torch

from masquerade.checkpoint import save
from masquerade.errors import UsageError
from masquerade.methods.stprivacy import STPrivacy
from masquerade.training.recipe import AdversarialRecipe
from masquerade.training.recipes import RECIPES, options
from masquerade.training.recipes.stprivacy import stprivacy

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL: dict[str, Any] = {
    "frames": 4,
    "picture": (16, 16),
    "tubelet": (2, 4, 4),
    "width": 24,
    "heads": 3,
    "depth": 3,
    "places": (1, 2),
}


def benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """The scenes with a split by people."""
    lines = (folder / "clips.csv").read_text().splitlines()
    parts = {**dict.fromkeys(range(7), "train"), **dict.fromkeys((7, 8, 9), "val")}
    out = [f"{lines[0]},split"]
    for line in lines[1:]:
        out.append(f"{line},{parts.get(int(line.split(',')[2][1:]), 'test')}")
    path = folder / "split.csv"
    path.write_text("\n".join(out) + "\n")
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the place of trained ones."""
    folder = tmp_path_factory.mktemp("one") / "run"
    folder.mkdir()
    torch.manual_seed(0)
    method = STPrivacy(**SMALL)
    method.trained = True
    save(method, folder / "anonymizer.safetensors")
    return folder


def quick_stprivacy(
    *,
    preset: Literal["quick"] = "quick",
    **ablations: Unpack[options.Ablations],
) -> AdversarialRecipe:
    """The tiny recipe's last phase alone, for one epoch."""
    whole = stprivacy(**ablations)
    last = replace(whole.phases[-1], epochs=1)
    arguments = {**whole.arguments, **SMALL}
    return replace(whole, phases=(last,), arguments=arguments, batch=8, frames=4, size=(16, 16))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES, "stprivacy", quick_stprivacy)


def test_the_figure_has_three_rows_of_each_action(data: Path, run: Path, tmp_path: Path) -> None:
    figure = benchmark("figure")
    out = tmp_path / "new" / "figure.png"
    words = ["--weights", str(run), "--data", str(data), "-o", str(out)]
    figure.main(words)
    picture = cv2.imread(str(out))
    assert picture is not None and picture.shape[1] > picture.shape[0] > 300
    with pytest.raises(UsageError, match="No clip shows sing"):
        figure.main([*words, "--actions", "sing"])


def test_the_figures_clips_are_of_the_test_split(data: Path) -> None:
    from masquerade.datasets.manifest import read_manifest

    manifest = read_manifest(data)
    rows = benchmark("figure").rows_of(manifest, [])
    assert set(rows) == set(scenes.STEPS)
    assert all(manifest.clips[row].cells["split"] == "test" for row in rows.values())

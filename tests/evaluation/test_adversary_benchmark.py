"""`benchmarks/adversary.py`: who is trained how, who is told what, and what the table says."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import masquerade
from masquerade.checkpoint import WEIGHTS
from masquerade.datasets.manifest import make_manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import MasqueradeError, UsageError
from masquerade.methods import build

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "adversary.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = Mimes(size=32, frames=4, clips=32, people=16, actions=("walk", "squat"))
    return write_mimes(tmp_path_factory.mktemp("adversary") / "mimes", drawn)


class Trainer:
    """Stands for training: notes what it is asked, and leaves a network that learned nothing."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def __call__(self, manifest, recipe, parts, folder: Path, **given) -> None:
        name = folder.name.rpartition("-")[0]  # what follows is a digest of what it is told
        self.asked.append({"recipe": recipe, "parts": parts, "folder": name, **given})
        if recipe.method == "spact" and not recipe.adversaries:
            raise MasqueradeError("The action was not learned.")
        torch.manual_seed(given["seed"])
        folder.mkdir(parents=True)
        small = {"spact": {"width": 2}, "vita": {"widths": (2, 2, 2), "blocks": 0}}[recipe.method]
        masquerade.save(
            build(recipe.method, short=16, **small),
            folder / WEIGHTS,
            provenance={"notes": ["the output is the same whatever comes in"]},
        )


@pytest.mark.slow
def test_one_command_trains_attacks_and_compares(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, trainer = runpy.run_path(str(SCRIPT))["main"], Trainer()
    monkeypatch.setitem(main.__globals__, "train", trainer)
    out = tmp_path / "results" / "adversary.md"
    words = ["--data", str(data), "--seeds", "2", "--preset", "quick", "--workers", "1"]
    words += ["--attackers", "scratch", "--work", str(tmp_path / "work"), "--out", str(out)]
    assert main(words) in (0, 1)  # so few people may leave it void
    text = out.read_text()
    lines = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")]
    others = ["spact, frozen adversary", "vita, every label named", "vita, half of them named"]
    assert lines == ["", "a guess", "raw video", "spact", *others, "", *others]
    assert "spact, no adversary, seed 0: The action was not learned." in text
    assert "spact, seed 1: the output is the same whatever comes in." in text
    assert "±" in text and "+" in text.split("How much more")[1]

    asked = {one["folder"]: one for one in trainer.asked}
    assert len(asked) == 10 and asked["spact-1"]["seed"] == 1
    last = {name: one["recipe"].phases[-1] for name, one in asked.items()}
    refreshed = [step for step in last["spact-0"].updates if "adversary" in step.learns]
    frozen = last["spact-frozen-adversary-0"]
    assert refreshed and not any("adversary" in step.learns for step in frozen.updates)
    named = asked["vita-half-of-them-named-0"]["private"]
    assert asked["vita-every-label-named-0"]["private"] is None  # all that there are
    assert set(named) < {one.name for one in read_manifest(data).of_role("attribute")}
    heading = next(line for line in text.splitlines() if "never named" in line)
    for name in ("warm", "object"):
        assert name not in named
        assert any(name in cell and "never named" in cell for cell in heading.split("|"))

    tests = {row for row, part in enumerate(read_manifest(data).cells("split")) if part == "test"}
    parts = asked["spact-0"]["parts"]
    assert not tests & {*parts.train.tolist(), *parts.validation.tolist()}

    before = len(trainer.asked)
    assert main(words) in (0, 1) and out.read_text() == text
    assert len(trainer.asked) == before + 2  # those that had failed are asked again
    assert main([*words, "--private", "warm"]) in (0, 1)  # half-told runs are told something else
    assert [one["private"] for one in trainer.asked[before + 2 :]].count(("warm",)) == 2


def test_clips_without_a_split_get_one_of_people_apart(data: Path) -> None:
    script, manifest = runpy.run_path(str(SCRIPT)), read_manifest(data)
    assert script["with_split"](manifest) is manifest
    clips = [
        replace(clip, cells={k: v for k, v in clip.cells.items() if not k.startswith("split")})
        for clip in manifest.clips
    ]
    bare = make_manifest(manifest.root, clips)
    marked = script["with_split"](bare)
    people, parts = marked.cells("identity"), marked.cells("split")
    sides = {
        side: {p for p, part in zip(people, parts, strict=True) if part == side}
        for side in ("train", "val", "test")
    }
    assert all(sides.values())
    assert not sides["train"] & sides["test"] and not sides["val"] & sides["test"]


def test_runs_of_the_table_are_taken_and_those_that_lack_are_named(tmp_path: Path) -> None:
    script = runpy.run_path(str(SCRIPT))
    words = ["--trained", "--work", str(tmp_path)]
    given = script["arguments"]().parse_args(words)
    with pytest.raises(UsageError, match="no finished run"):
        script["folder_of"]("spact", None, 1, given)
    run = tmp_path / "runs" / "spact" / "seed1-split"
    run.mkdir(parents=True)
    (run / WEIGHTS).touch()
    assert script["folder_of"]("spact", None, 1, given) == run
    for name in ("spact, frozen adversary", "vita, half of them named"):
        assert tmp_path / "runs" / "spact" not in script["folder_of"](name, None, 1, given).parents
        assert script["folder_of"](name, None, 1, given).parent == tmp_path / "runs"


def test_halves_are_apart_and_both_there() -> None:
    halves = runpy.run_path(str(SCRIPT))["halves"]
    assert halves(["a", "b", "c"], []) == (("a", "c"), ("b",))
    assert halves(["a", "b", "c"], ["b"]) == (("b",), ("a", "c"))
    for named in (["d"], ["a", "b", "c"]):
        with pytest.raises(UsageError, match="not all of them"):
            halves(["a", "b", "c"], named)

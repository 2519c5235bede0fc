"""Trying a suite out: a few clips, tiny networks, and results that are marked as void."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from given_folder import MAKERS, ucf11, ut_interaction

from masquerade.benchmark.published import published_tables
from masquerade.benchmark.suite import Source, Suite, SuiteRow, SuiteTable, read_suite
from masquerade.benchmark.try_out import (
    attacked_words,
    shrink,
    small_suite,
    trained_words,
    write_tried,
)
from masquerade.checkpoint import read_provenance
from masquerade.cli import main
from masquerade.datasets.manifest import Clip, Manifest, make_manifest, read_manifest
from masquerade.errors import MasqueradeError
from masquerade.evaluation import from_json
from masquerade.regions.key_extractors import NETWORKS


def manifest_of(folder: Path, clips: int) -> Manifest:
    rows = []
    for number in range(clips):
        path = f"{number}.avi"
        (folder / path).touch()
        cells = {"action": f"a{number % 3}", "objects": f"o{number % 5}|all", "identity": "p"}
        rows.append(Clip(path=path, cells={**cells, "split": ("train", "test", "")[number // 40]}))
    return make_manifest(folder, rows)


def test_two_clips_of_each_value_are_taken_of_each_part(tmp_path: Path) -> None:
    small = shrink(manifest_of(tmp_path, 100))
    assert set(small.cells("split")) == {"train", "test"}, "unused clips stay unused"
    for part in ("train", "test"):
        mine = small.where("split", part)
        seen = Counter(mine.cells("objects"))
        assert set(seen) == {f"o{i}|all" for i in range(5)} and min(seen.values()) >= 2
        assert min(Counter(mine.cells("action")).values()) >= 2 and len(mine) < 15
    assert len(shrink(manifest_of(tmp_path, 100), most=4)) == 8


def test_clips_whose_files_are_not_there_are_not_taken(tmp_path: Path) -> None:
    whole = manifest_of(tmp_path, 40)
    for number in range(20):
        (tmp_path / f"{number}.avi").unlink()
    assert all(int(Path(clip.path).stem) >= 20 for clip in shrink(whole).clips)
    (tmp_path / "clips.csv").write_text("path,action\ngone.avi,walk\n")
    with pytest.raises(MasqueradeError, match="None of the files of"):
        write_tried(tmp_path / "clips.csv", tmp_path / "tried" / "clips.csv")


def test_a_try_outs_manifest_leads_to_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "a.avi").touch()
    (tmp_path / "clips.csv").write_text("path,action\na.avi,walk\n")
    write_tried(tmp_path / "clips.csv", tmp_path / "data" / "tried" / "clips.csv")
    tried = read_manifest(tmp_path / "data" / "tried" / "clips.csv")
    assert tried.path(tried.clips[0]).resolve() == (tmp_path / "a.avi").resolve()


def test_videos_that_were_added_are_tried_and_a_manifest_that_would_be_the_same_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.avi").touch()
    whole, out = tmp_path / "clips.csv", tmp_path / "tried" / "clips.csv"
    whole.write_text("path,action\na.avi,walk\nb.avi,run\n")
    write_tried(whole, out)
    os.utime(out, ns=(0, 0))
    write_tried(whole, out)
    assert out.stat().st_mtime_ns == 0
    (tmp_path / "b.avi").touch()
    write_tried(whole, out)
    assert [clip.cells["action"] for clip in read_manifest(out).clips] == ["walk", "run"]


def test_only_what_makes_it_quick_is_changed() -> None:
    given = ["spact", "--preset", "paper", "--adversary", "resnet-50", "mobilenet-v1"]
    given += ["--epochs", "9", "--frozen"]
    words = trained_words(given)
    assert words[:4] == ("spact", "--adversary", "resnet-50", "mobilenet-v1")
    assert words.count("--epochs") == 1 and words[words.index("--epochs") + 1] == "1"
    assert "--frozen" in words and trained_words(given, tried=False) == tuple(given)
    words = attacked_words(["--preset", "paper", "--folds", "0", "--attackers", "raw,scratch"])
    assert words[:2] == ("--folds", "0") and words[words.index("--preset") + 1] == "many"
    cut = ["--views", "5", "--test-crop", "0.8", "--padding", "palindrome"]
    words = attacked_words(["--recognizers", "x3d-l", "--average", *cut, "--folds", "0"])
    assert words[:3] == ("--average", "--folds", "0"), "small networks, one view"
    assert not {*cut} & {*words}
    own = ("--clip-sampling", "own")
    joined = attacked_words(["--recognizers=x3d-l,resnet-50", "--views=5x3", "--folds", "0"])
    assert joined[:2] == ("--folds", "0") and not any("=" in word for word in joined)
    assert attacked_words([*cut, *own])[:2] == own, "small networks have a sampling of their own"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all datasets of the papers, drawn small."""
    folder = tmp_path_factory.mktemp("given")
    for make in dict.fromkeys(MAKERS.values()):
        make(folder)
    return folder


def test_fewer_clips_are_drawn_and_fewer_folds_cut() -> None:
    def changed(draw: str, evaluate: str) -> tuple[str | None, str]:
        data = {"d": Source(draw=draw), "k": Source(manifest="{data}/k.csv")}
        table = SuiteTable(name="t", title="T", data="d", rows=(), evaluate=evaluate)
        small = small_suite(Suite(title="S", about="a", data=data, tables=(table,)))
        assert small.data["k"] == data["k"]
        return small.data["d"].draw, small.tables[0].evaluate

    few = "--clips 9 --people 4 --frames 2 --size 32"
    assert changed(few, "--folds 0 --seeds 3") == (few, "--folds 0 --seeds 3")
    drawn, evaluated = changed(
        "--clips=320 --no-looks --size 96 --frames 48", "--folds=5 --average"
    )
    assert drawn == "--clips=24 --no-looks --size 64 --frames 8 --people 6"
    assert evaluated == "--folds=3 --average"
    assert changed(few, "")[1].strip() == "--folds 3", "five are the default"


@pytest.fixture(scope="module")
def made_dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a small network under the name of Selective's, and templates of its keys."""
    folder = tmp_path_factory.mktemp("dino")
    with pytest.MonkeyPatch.context() as patches:
        use_dino(folder, patches)
        return make_dino(folder)


@pytest.fixture
def small_dino(made_dino: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights, while their network and the templates are those that are used."""
    use_dino(made_dino.parent, monkeypatch)
    return made_dino


def use_dino(folder: Path, patches: pytest.MonkeyPatch) -> None:
    network = replace(NETWORKS["dino-s8"], patch=16, stride=16, width=24, depth=2, heads=3)
    patches.setitem(NETWORKS, "dino-s8", network)
    patches.setenv("MASQUERADE_TEMPLATES", str(folder / "library"))


def make_dino(folder: Path) -> Path:
    network = NETWORKS["dino-s8"]
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: torch.randn(value.shape, generator=generator) * 0.2
        for name, value in network.build(network.stride).state_dict().items()
    }
    path = folder / "dino.pth"
    torch.save(weights, path)
    picture = np.random.default_rng(3).integers(0, 256, (60, 80, 3), np.uint8)
    cv2.imwrite(str(folder / "person.png"), picture)
    for part in ("cheek", "eye", "forehead", "hair", "torso", "arm", "leg"):
        words = ["templates", "add", part, "--image", str(folder / "person.png")]
        words += ["--at", "30,20", "--keys", "dino-s8", "--key-weights", str(path)]
        assert main(words) == 0
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", [table.name for table in published_tables()])
def test_a_papers_suite_runs_from_the_datasets_folders_to_its_tables(
    name: str, given: Path, small_dino: Path, tmp_path: Path, quick: None
) -> None:
    """Of each table raw video and one row, a trained one if there is any: all rows take hours.

    Of SPAct's it is the one whose adversary learns the labels of another dataset.
    """
    suite, results = read_suite(name), tmp_path / "try-out" / "results" / name
    chosen = {}
    for table in suite.tables:
        trained = [row for row in table.rows if row.train is not None]
        some = [row for row in trained if row.name == "Supervised"] or trained[:1]
        some = some or [row for row in table.rows if row.method is not None][:1]
        chosen[table.name] = some or list(table.rows)
    wanted = ",".join(dict.fromkeys(row.name for rows in chosen.values() for row in rows))
    words = ["benchmark", name, "--data", str(given), "-o", str(tmp_path), "--try-out"]
    words += ["--rows", wanted, "--device", "cpu", "--workers", "1"]
    words += ["--key-weights", str(small_dino)]
    assert main(words) == 0
    for table in suite.tables:
        rows = [row for row in table.rows if row.name in wanted.split(",")]
        check_table(results, table, rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("quick", ["spact"]),
        ("identity", ["frame difference"]),
        ("trained", ["downsample 4", "spact, no adversary"]),
        ("stprivacy-drawn", ["keep 0.5", "stprivacy"]),
        ("real", ["downsample 4", "selective, bright noise"]),
    ],
)
def test_a_suite_of_our_own_runs_from_its_data_to_its_tables(
    name: str, rows: list[str], tmp_path: Path, quick: None
) -> None:
    for make in {"trained": [ut_interaction], "real": [ut_interaction, ucf11]}.get(name, []):
        make(tmp_path / "given")
    suite, results = read_suite(name), tmp_path / "try-out" / "results" / name
    words = ["benchmark", name, "--data", str(tmp_path / "given"), "-o", str(tmp_path)]
    words += ["--rows", ",".join(rows), "--try-out", "--device", "cpu", "--workers", "1"]
    assert main(words) == 0
    for table in suite.tables:
        found = from_json((results / f"{table.name}.json").read_text())
        assert "this is a try-out" in (found.void or "")
        wanted = [row.name for row in table.rows if row.name in rows]
        assert [row.name for row in found.rows] == ["raw", *wanted] and wanted
        assert [row.name for row in found.rows if row.not_applicable] == []


@pytest.mark.slow
def test_a_training_goes_on_from_the_run_that_its_row_names(
    tmp_path: Path, quick: None, not_attacked: None
) -> None:
    """SPAct on UT-Interaction starts from its run on drawn people, of which its file tells, too."""
    ut_interaction(tmp_path / "given", pairs=12)
    words = ["benchmark", "trained", "--data", str(tmp_path / "given"), "-o", str(tmp_path)]
    words += ["--tables", "uti", "--rows", "spact", "--seeds", "1"]
    assert main([*words, "--try-out", "--device", "cpu", "--workers", "1"]) == 1
    runs = {
        path.parent: read_provenance(path.parent)["learned"]
        for path in (tmp_path / "try-out").rglob("anonymizer.safetensors")
    }
    first, *others = sorted(runs.values(), key=len)
    assert len(others) == 3, "one of each fold"
    for each in others:
        assert set(first) < set(each), "what was seen before is seen by both"


def check_table(results: Path, table: SuiteTable, rows: Sequence[SuiteRow]) -> None:
    found = from_json((results / f"{table.name}.json").read_text())
    assert "this is a try-out" in (found.void or "")
    assert [row.name for row in found.rows] == ["raw", *(row.name for row in rows if not row.raw)]
    assert [row.name for row in found.rows if row.not_applicable] == []
    assert [one.attacker for one in found.sampling] == (
        ["tiny-3d"] if "--clip-sampling own" in table.evaluate else []
    )
    page = (results / f"{table.name}.md").read_text()
    beside = page.partition("## Beside the paper")[2]
    assert "Our lines are VOID" in beside
    for row in rows:
        if row.network is None:  # the tiny preset has not the paper's networks
            assert f"| *{row.name}, here* |" in beside

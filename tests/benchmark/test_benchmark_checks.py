"""What `masquerade benchmark` refuses before any work: folders, files and rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from masquerade.benchmark.kept_tables import ABOUT
from masquerade.cli import main
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.report.benchmark_page import PAGE_FILES

SUITE = """
title = "Ward"
about = "seconds"

[data.ward]
manifest = "{data}/table.csv"

[data.kth]
convert = "kth {data}/KTH"
needs = ["index.html"]

[[tables]]
name = "ward"
title = "Our ward"
data = "ward"
evaluate = "--preset many --folds 0 --seeds 1 --attackers background --allow-empty"
rows = [{ name = "black", method = "blacken" }]
"""


@pytest.fixture
def ward(tmp_path: Path) -> Path:
    """A folder with a suite and its manifest, which is called as a file of the page is."""
    write_mimes(tmp_path, Mimes(size=32, frames=4, clips=8, people=4, actions=("walk", "squat")))
    (tmp_path / "manifest.csv").rename(tmp_path / "table.csv")
    (tmp_path / "ward.toml").write_text(SUITE)
    return tmp_path


@pytest.fixture
def run(ward: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the suite and gives what it says where it refuses."""

    def refused(folder: Path, *more: str) -> str:
        words = ["benchmark", str(ward / "ward.toml"), "--data", str(ward), "-o", str(folder)]
        assert main([*words, "--device", "cpu", "--workers", "1", *more]) == 2
        return capsys.readouterr().err

    return refused


def kept(folder: Path) -> None:
    """Let a folder look like one in which a benchmark has written its tables."""
    about = folder / "results" / "other" / f"table{ABOUT}"
    about.parent.mkdir(parents=True)
    about.touch()


def test_a_page_replaces_nothing_that_is_read(ward: Path, run: Callable[..., str]) -> None:
    """Also in a folder that has results, and where a file has another name."""
    (ward / "index.html").write_text("a page of labels")
    kept(ward)
    before = {path: path.read_bytes() for path in ward.iterdir() if path.is_file()}
    said = run(ward)
    assert "index.html would replace" in said and "choose another -o" in said
    (ward / "index.html").rename(ward / "labels.html")
    assert f"{ward / 'table.csv'} would replace {ward / 'table.csv'}, which is read" in run(ward)
    (ward / "labels.html").rename(ward / "index.html")
    assert {path: path.read_bytes() for path in ward.iterdir() if path.is_file()} == before
    out = ward / "out"
    kept(out)
    os.link(ward / "ward.toml", out / "table.tex")
    assert f"table.tex would replace {ward / 'ward.toml'}" in run(out)


@pytest.mark.parametrize("name", PAGE_FILES)
def test_a_page_replaces_nothing_that_no_benchmark_wrote(
    name: str, ward: Path, run: Callable[..., str], not_attacked: None
) -> None:
    out = ward / "out"
    out.mkdir()
    (out / name).write_text("mine")
    said = run(out)
    assert f"{out / name} would be replaced" in said and "choose another -o" in said
    assert [path.name for path in out.iterdir()] == [name], "before any work"
    kept(out)
    (out / name).unlink()
    (out / name).mkdir()
    assert f"{out / name} is a folder" in run(out)


def test_a_page_of_earlier_tables_is_replaced(
    ward: Path, not_attacked: None, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ward / "out"
    kept(out)
    for name in PAGE_FILES:
        (out / name).write_text("of an earlier run")
    words = ["benchmark", str(ward / "ward.toml"), "--data", str(ward), "-o", str(out)]
    assert main([*words, "--device", "cpu", "--workers", "1"]) == 1
    assert "masquerade: table ward: Enough." in capsys.readouterr().err

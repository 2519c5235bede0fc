"""One page of all tables that were measured in a folder, whichever suite and run they are of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from masquerade.benchmark.beside import OurScores
from masquerade.benchmark.data_origins import DataOrigin
from masquerade.benchmark.guessing import GuessFloor
from masquerade.benchmark.kept_tables import (
    ABOUT,
    KeptTable,
    clips_folder,
    kept_tables,
    results_folder,
)
from masquerade.benchmark.shown_clips import ShownClip, ShownClips
from masquerade.benchmark.suite import Ablation, Suite
from masquerade.benchmark.time_spent import RowTime, TimeSpent
from masquerade.cli import main
from masquerade.cli.benchmark_plan import PlannedTable
from masquerade.cli.benchmark_run import write_page
from masquerade.cli.evaluate import write_results
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.errors import VideoError
from masquerade.evaluation.results import Evaluation, from_json

RESULTS = Path(__file__).parents[2] / "docs" / "results"
MEASURED = KeptTable(
    name="mimes",
    suite="quick",
    title="Quick",
    place=0,
    masquerade="1.2.3",
    published="stprivacy-known",
    ours=OurScores(
        title="T",
        attackers="the strongest",
        cells={"VITA": {0: "1.23"}},
        floors=(
            GuessFloor(
                dataset="VP-UCF101",
                split="",
                label="private attributes",
                metric="cMAP",
                guess="constant",
                knows="nothing",
                value=57.0,
                per_attribute=None,
                accuracy=None,
                how="computed",
                assumes="",
            ),
        ),
    ),
    origins=(DataOrigin(name="ward", holds="", origin="ours", terms="Internal."),),
    shown=ShownClips(clips=(ShownClip(row="blur", file="gone.mp4", shows="walk"),)),
    time=TimeSpent(rows=(RowTime(name="raw", attacks=60),), scores=6, training=0, on="2 cores"),
    versions={"python": "3.11.7", "torch": "2.13.0"},
    ablations=(Ablation(parameter="size", rows={"2": "blur", "4": "blur strong"}),),
)


@pytest.fixture(scope="module")
def result() -> Evaluation:
    found = from_json((RESULTS / "ucf11.json").read_text("utf-8"))
    return replace(found, rows=found.rows[:3])


def keep(folder: Path, kept: KeptTable, result: Evaluation) -> None:
    """Keep a table as `masquerade benchmark` does before it writes the page."""
    others = {f"{kept.name}{ABOUT}": kept.to_json()}
    write_results(result, results_folder(folder, kept.suite), kept.name, others=others)


def measure(folder: Path, kept: KeptTable, result: Evaluation) -> str:
    """Keep a table as `masquerade benchmark` does; gives the page."""
    keep(folder, kept, result)
    write_page(folder, "masquerade benchmark", report=pytest.fail)
    return (folder / "index.html").read_text("utf-8")


def sections(page: str) -> list[str]:
    return re.findall(r'<h2 id="data-\d-title">(.*?)</h2>', page)


def test_what_is_kept_is_read_again(tmp_path: Path, result: Evaluation) -> None:
    keep(tmp_path, MEASURED, result)
    assert kept_tables(tmp_path, report=pytest.fail) == [(MEASURED, result)]
    assert clips_folder(tmp_path, "quick", "mimes").name == "mimes-clips"


def write_two_tables(folder: Path) -> Path:
    """A suite of the tables t and u, and their data."""
    write_mimes(folder / "mimes", Mimes(size=32, frames=4, clips=16, people=8))
    path = folder / "s.toml"
    table = '[[tables]]\nname = "{}"\ntitle = "T"\ndata = "d"\nevaluate = "--folds 0 --seeds 1"\n'
    table += 'rows = [{{ name = "b", method = "blacken" }}]\n'
    data = '[data.d]\nmanifest = "{data}/mimes/manifest.csv"\n'
    path.write_text(f'title = "S"\nabout = "a"\n{data}' + "".join(map(table.format, "tu")))
    return path


@pytest.mark.parametrize("failing", [1, 2])
def test_a_page_that_cannot_be_written_ends_no_other_table(
    tmp_path: Path,
    result: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failing: int,
) -> None:
    """The first of two pages failed, and the second table was not measured."""
    path, asked, pages = write_two_tables(tmp_path), list[str](), list[int]()

    def measured(suite: Suite, planned: PlannedTable, *_: object, **more: object) -> Evaluation:
        asked.append(planned.table.name)
        return result

    def written(*_: object, **more: object) -> None:
        pages.append(len(asked))
        if len(pages) == failing:
            raise VideoError("a clip is damaged.")

    monkeypatch.setattr("masquerade.cli.benchmark_run.run_table", measured)
    monkeypatch.setattr("masquerade.cli.benchmark_run.write_page", written)
    words = ["--data", str(tmp_path), "--device", "cpu", "--workers", "1"]
    out = tmp_path / "out"
    code = main(["benchmark", str(path), "-o", str(out), *words])
    assert asked == ["t", "u"] and pages == [1, 2]
    said = "masquerade: page: a clip is damaged." in capsys.readouterr().err
    assert said == (failing == 2) and (code == 1) >= said


def test_who_interrupts_it_has_a_page_of_the_tables_that_are_done(
    tmp_path: Path, result: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, asked = write_two_tables(tmp_path), tmp_path / "out", list[str]()

    def measured(suite: Suite, planned: PlannedTable, *_: object, **more: object) -> Evaluation:
        asked.append(planned.table.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        kept = replace(MEASURED, suite=suite.name, name=asked[0])
        others = {f"{kept.name}{ABOUT}": kept.to_json()}
        write_results(result, results_folder(out, kept.suite), kept.name, others=others)
        return result

    monkeypatch.setattr("masquerade.cli.benchmark_run.run_table", measured)
    words = ["--data", str(tmp_path), "--device", "cpu", "--workers", "1"]
    assert main(["benchmark", str(path), "-o", str(out), *words]) == 130
    assert asked == ["t", "u"]
    assert sections((out / "index.html").read_text("utf-8")) == [result.data]


@pytest.mark.slow
def test_tables_of_other_runs_and_suites_stay_on_the_page(
    tmp_path: Path, result: Evaluation
) -> None:
    page = measure(tmp_path, MEASURED, replace(result, data="first"))
    assert "<td>python 3.11.7, torch 2.13.0</td>" in page
    assert sections(page) == ["first"] and "<h1>Quick</h1>" in page
    second = replace(MEASURED, name="uti", place=1)
    page = measure(tmp_path, second, replace(result, data="second"))
    assert sections(page) == ["first", "second"]
    other = replace(MEASURED, suite="mine", title="Mine", published=None, ours=None)
    page = measure(tmp_path, other, replace(result, data="of the same name"))
    assert sections(page) == ["of the same name", "first", "second"]
    assert "<h1>Tables of 2 benchmarks</h1>" in page and ">Mine. " in page
    page = measure(tmp_path, MEASURED, replace(result, data="measured again"))
    assert sections(page) == ["of the same name", "measured again", "second"]
    assert page.count("Li et al., STPrivacy") == 1, "one printed table, of two of ours"
    for name in ("mine/mimes", "quick/mimes", "quick/uti"):
        assert f'href="results/{name}.json"' in page
    for name in ("first", "second", "of the same name", "measured again"):
        assert (name in (tmp_path / "table.csv").read_text("utf-8")) == (name != "first")


def test_a_table_that_failed_since_is_marked_as_of_an_earlier_run(
    tmp_path: Path, result: Evaluation
) -> None:
    keep(tmp_path, MEASURED, result)
    page = measure(tmp_path, replace(MEASURED, name="uti", place=1), result)
    assert "Of an earlier run" not in page
    write_page(tmp_path, "again", failed=[("quick", "uti"), ("quick", "new")], report=pytest.fail)
    first, second = (tmp_path / "index.html").read_text("utf-8").split('<h2 id="data-')[1:]
    assert "Of an earlier run" in second and "Of an earlier run" not in first


def test_there_is_no_page_before_there_is_a_table(tmp_path: Path) -> None:
    write_page(tmp_path, "first", failed=[("quick", "uti")], report=pytest.fail)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("uti.json", '{"schema": "older"}'),
        *(("uti.about.json", text) for text in ("", "null", "[]", '{"ours": 5, "shown": {}}')),
    ],
)
def test_a_table_that_cannot_be_read_is_named_and_the_others_stay(
    tmp_path: Path, result: Evaluation, file: str, text: str
) -> None:
    keep(tmp_path, MEASURED, result)
    keep(tmp_path, replace(MEASURED, name="uti"), result)
    (results_folder(tmp_path, "quick") / file).write_text(text)
    said: list[str] = []
    assert [one.name for one, _ in kept_tables(tmp_path, report=said.append)] == ["mimes"]
    assert "uti is not on the page" in said[0] and len(said) == 1

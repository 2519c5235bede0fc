"""The README's and the examples' commands work as they stand."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import fields
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest
import torch

import masquerade
import masquerade.anonymizer
import masquerade.methods.blend
import masquerade.ranges
from masquerade.benchmark.jobs import Places
from masquerade.benchmark.suite import parse_suite, suite_names
from masquerade.cli import attack, benchmark, benchmark_plan, demo_clip, evaluate, export, train
from masquerade.cli.anonymize import parse
from masquerade.cli.progress import summary
from masquerade.export.network_graph import KeyGraph
from masquerade.methods import METHODS
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.pipeline.coverage import MAX_MISSED, Coverage
from masquerade.pipeline.live_run import LiveReceipt

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def commands(verb: str = "anonymize") -> list[str]:
    """Every line of the docs that gives this verb, without its comment."""
    found = []
    for path in DOCS:
        for line in path.read_text().splitlines():
            if line.startswith(f"    masquerade {verb}"):
                found.append(line.partition("#")[0].strip())
    return found


@pytest.fixture(scope="module")
def trained(
    made: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Make a folder as though a method had been trained there as `run`, SPAct as `runs/0/0`."""

    @cache
    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp("trained")
        for run, method in (("run", name), ("runs/0/0", "spact")):
            (folder / run).mkdir(parents=True)
            masquerade.save(made(method), folder / run / "anonymizer.safetensors")
        return folder

    return make


@pytest.fixture(scope="module")
def exportable(trained: Callable[[str], Path]) -> Path:
    """The folder with a trained SPAct, and the weights of other networks."""
    folder = trained("spact")
    torch.save(RECOGNIZERS["tiny-3d"](classes=10).state_dict(), folder / "raw.weights")
    torch.save(KeyGraph("dino-s8").net.state_dict(), folder / "dino_deitsmall8_pretrain.pth")
    return folder


@pytest.mark.parametrize("line", commands())
def test_the_docs_commands_parse(
    line: str, trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    named = re.search(r"--method (\S+)", line)
    learned = named is not None and METHODS[named[1]].learned
    monkeypatch.chdir(trained(named[1] if named and learned else "stprivacy"))
    options, method = parse(shlex.split(line)[2:])
    assert options.inputs and method is not None


@pytest.mark.parametrize("line", commands("attack"))
def test_the_docs_attacks_parse(line: str) -> None:
    options, config = attack.parse(shlex.split(line)[2:])
    assert options.inputs and config.frames


@pytest.mark.parametrize("line", commands("train"))
def test_the_docs_trainings_parse(line: str) -> None:
    options, recipe = train.parse(shlex.split(line)[2:])
    assert options.data.suffix == ".csv" and recipe.method == options.name
    assert recipe.phases[-1].adversarial or not recipe.adversaries


@pytest.mark.parametrize("line", commands("export"))
def test_the_docs_exports_parse(
    line: str, exportable: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(exportable)
    options, graph = export.parse(shlex.split(line)[2:])
    assert options.output.suffix == ".onnx" and graph.about["name"] == options.name


@pytest.mark.parametrize("line", commands("evaluate"))
def test_the_docs_evaluations_parse(
    line: str, trained: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained("spact"))
    options, method = evaluate.parse(shlex.split(line)[2:])
    assert options.data.suffix == ".csv" and method is not None
    evaluate.config_of(options)


@pytest.mark.parametrize("line", commands("benchmark"))
def test_the_docs_benchmarks_parse(line: str) -> None:
    options = benchmark.parse(shlex.split(line)[2:])
    assert options.suite in suite_names() and (options.list or options.output)


def test_the_docs_suite_is_one() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs/benchmark.md").read_text(), re.S)
    suite = parse_suite(tomllib.loads(text), "mine")
    assert [table.name for table in suite.tables] == ["ward", "drawn", "kth"]
    places = Places(folder=Path("out"), given=Path("given"))
    for table in suite.tables:
        planned = benchmark_plan.plan_table(suite, table, places, benchmark.Options())
        for jobs in planned.trainings.values():
            train.parse(list(jobs[0].words[1:]))
        for row in (one for one in table.rows if one.method is not None):
            evaluate.parse([*planned.words, *benchmark_plan.row_words(suite, table, row, places)])
    listed = (ROOT / "docs/benchmark.md").read_text().partition("## The suites")[2]
    assert all(f"`{name}`" in listed for name in suite_names())


def test_what_is_missing_is_installed_from_the_checkout() -> None:
    """Nothing was released: no package index knows a masquerade of ours."""
    for path in [*DOCS, *(ROOT / "src").rglob("*.py")]:
        assert not re.search(r"pip\s+install\s+['\"]?masquerade\b", path.read_text()), path.name


def test_what_stays_on_a_machine_is_on_one_page() -> None:
    page = (ROOT / "docs/what-stays.md").read_text()
    left = "*_people_private.png *_side_by_side_private.mp4 *.receipt.json clips/ fits/ samples/ "
    left += "attacks/ seen/ --record --cache --export-masks /tmp/ray swap studio templates "
    left += "index.html TABLE-clips/ *_report.html manifests edits export"
    for name in left.split():
        assert name in page, name
    assert "docs/what-stays.md" in (ROOT / "README.md").read_text()


def test_the_readme_and_the_demo_say_how_the_command_is_found() -> None:
    """It lies in .venv/bin, which no terminal looks in by itself."""
    use = (ROOT / "README.md").read_text().partition("## Use\n\n")[2]
    assert use.startswith("    . .venv/bin/activate")
    recipe = (ROOT / "Makefile").read_text().partition("\ndemo:")[2].partition("\n\n")[0]
    assert ". $(BIN)/activate" in recipe.splitlines()[-1]


def test_the_page_of_checks_quotes_the_line_that_is_printed() -> None:
    quoted = re.search(r'"(people hidden by .*?)"', (ROOT / "docs/checks.md").read_text(), re.S)
    coverage = Coverage(frames=75, filled_whole=35, share=(0.5,) * 75)
    receipt = SimpleNamespace(
        coverage=coverage,
        source=SimpleNamespace(frames=75),
        hidden_by="selective",
        left_visible=(),
        regions=[SimpleNamespace(name="people", arguments={})],
    )
    assert quoted and summary(receipt).startswith(" ".join(quoted[1].split()))  # type: ignore[arg-type]


def test_links_in_the_docs_lead_somewhere() -> None:
    for path in [*DOCS, ROOT / "CONTRIBUTING.md"]:
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.S | re.M)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_flags_in_the_docs_exist() -> None:
    known = (ROOT / "tests" / "cli" / "frozen_interface.txt").read_text()
    scripts = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    others = "--help --help-all --extra-index-url --no-deps --nproc-per-node"  # pip, torchrun
    others += " --build-arg --target --rm --user --network"  # Docker
    others += " --head --port --share --version"  # Ray, .ci
    flag = re.compile(r"(?<![\w-])--[a-z][\w-]*")
    exist = set(flag.findall(known + scripts + others))
    pages = [*DOCS, ROOT / "CONTRIBUTING.md"]
    for path in pages:
        for name in set(flag.findall(path.read_text())):
            assert name in exist or f"--no-{name[2:]}" in exist, f"{path.name}: {name}"


def test_figures_beside_the_targets_of_speed_are_in_their_tables() -> None:
    """Tables are measured anew by a script; the page that compares them is written by hand."""
    number = re.compile(r"(?<![\w.,])\d[\d,]*(?:\.\d+)?(?![\w])")
    rows = [
        line.strip("| ").split(" | ")
        for line in (ROOT / "docs/speed.md").read_text().splitlines()
        if "](results/" in line and line.startswith("| ")
    ]
    assert len(rows) >= 11
    for what, _, reached, tables, *why in rows:
        pages = re.findall(r"\]\((results/[\w-]+\.md)\)", tables)
        known = {n for page in pages for n in number.findall((ROOT / "docs" / page).read_text())}
        cited = set(number.findall(" ".join([reached, *why])))
        assert cited and cited <= known, f"{what}: {cited - known}"


def test_sections_of_papers_that_the_code_cites_exist() -> None:
    headings = re.findall(r"^#+ (\d[\d.]*) ", (ROOT / "docs/papers.md").read_text(), re.M)
    code = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for path in [*code, *(ROOT / "benchmarks").glob("*.py")]:
        for section in re.findall(r"docs/papers\.md (\d+(?:\.\d+)?)", path.read_text()):
            assert section in headings or section.startswith("8."), f"{path.name}: {section}"


def test_every_method_has_a_card_and_a_row() -> None:
    readme = (ROOT / "README.md").read_text()
    says = "docs/new-method.md, section 4, says what it holds"
    for name in masquerade.METHODS:
        card = f"docs/methods/{name}.md"
        assert (ROOT / card).is_file(), f"write a card, {card}: {says}"
        assert card in readme, f"README.md, Methods: add a row that links {card}; {says}"


def test_the_readme_a_page_and_the_command_agree_on_what_can_be_undone() -> None:
    readme = (ROOT / "README.md").read_text()

    def answer(text: str) -> str:
        found = re.search(r"\b(no|hardly|in part|partly)\b", text.lower())
        assert found, f"neither no, hardly nor partly: {text}"
        return found[0].replace("in part", "partly")

    for name, method in masquerade.METHODS.items():
        (row,) = re.findall(rf"^\| \[`{name}`\]\(.*\| (.+) \|$", readme, re.M)
        page = (ROOT / f"docs/methods/{name}.md").read_text().partition("**Can it be undone?**")[2]
        said = {"README.md": row, "its page": page, "its card": method.card.undo}
        assert len({answer(text) for text in said.values()}) == 1, f"{name}: {said}"


def test_the_readme_and_the_command_agree_on_what_a_method_hides() -> None:
    readme = (ROOT / "README.md").read_text()
    for name, method in masquerade.METHODS.items():
        ((mark, said),) = re.findall(
            rf"^\| \[`{name}`\]\([^)]*\)(?: \((\w+)\))? \| (.+?) \|", readme, re.M
        )
        assert said == method.card.hides, name
        default = "default" if name == "selective" else ""
        assert mark == ("trained" if method.learned else default), name


def test_figures_in_the_scene_are_said_to_show_whoever_is_not_found() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in ("mannequin", "skeleton"):
        (row,) = re.findall(rf"^\| \[`{name}`\]\(.*\| (.+) \|$", readme, re.M)
        page = (ROOT / f"docs/methods/{name}.md").read_text().partition("**Can it be undone?**")[2]
        for text in (row, " ".join(page.split()), masquerade.METHODS[name].card.undo):
            assert "--ground scene" in text and "not found" in text, f"{name}: {text}"


def test_new_noise_in_every_frame_is_not_said_to_hide_motion() -> None:
    """Behind it flow alone names half of the people: docs/results/gait.md."""
    page = (ROOT / "docs/methods/selective.md").read_text()
    for text in (page, str(masquerade.METHODS["selective"].__doc__)):
        assert "hides motion" not in " ".join(text.split()) and "gait stay" in text


def test_the_pages_say_what_is_refused_and_what_is_not_noticed() -> None:
    rule = (
        f"Where nothing is found in a video, or in more than {100 * MAX_MISSED:g} % of the frames "
        "between the first and the last find, no output is written unless you allow it. One person "
        "who is lost while another is found is not noticed"
    )
    for page in ("README.md", "docs/security.md"):
        words = re.sub(r"\]\([^)]*\)|\[", "", (ROOT / page).read_text())
        assert rule in " ".join(words.split()), page


def test_the_readmes_python_runs(short_clip: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "holiday.mp4").write_bytes(short_clip.read_bytes())
    exec(compile(code, "README.md", "exec"), {})
    assert "0 frames in which nothing was hidden" in capsys.readouterr().out
    assert (tmp_path / "safe.mp4").exists()


def test_the_page_of_who_is_recognized_is_what_its_command_makes_of_the_tables() -> None:
    page = runpy.run_path(str(ROOT / "benchmarks" / "recognized.py"))["page"]()
    assert page == (ROOT / "docs" / "results" / "recognized.md").read_text("utf-8")


def test_the_page_of_receipts_has_every_field_of_a_real_one(
    short_clip: Path, tmp_path: Path
) -> None:
    masquerade.anonymize_file(
        short_clip, tmp_path / "a.mp4", masquerade.build("blacken"), regions="faces"
    )
    receipt = json.loads((tmp_path / "a.mp4.receipt.json").read_text())
    named = ("settings", "left_visible", "other_methods", "exports", "stage_seconds", "versions")
    fields = set(receipt)
    for key in set(receipt).difference(named):
        parts = receipt[key] if isinstance(receipt[key], list) else [receipt[key]]
        fields |= {f"{key}.{name}" for part in parts if isinstance(part, dict) for name in part}
    page = (ROOT / "docs/receipt.md").read_text().partition("\n## Receipts of live runs")[0]
    listed = fields_of_tables(page)
    assert len(listed) == len(set(listed))
    learned = {"method.weights_sha256", "method.warnings"}  # of trained methods alone
    assert set(listed) - learned == fields


def test_the_page_of_receipts_has_every_field_of_a_live_one() -> None:
    above, _, page = (ROOT / "docs/receipt.md").read_text().partition("\n## Receipts of live runs")
    shared = re.findall("`(.*?)`", page.partition("`method`")[2].partition(" are as above")[0])
    listed = [*fields_of_tables(page), "method", *shared]
    assert set(shared) <= set(fields_of_tables(above))
    assert sorted(listed) == sorted(field.name for field in fields(LiveReceipt))


def fields_of_tables(page: str) -> list[str]:
    rows = re.findall(r"^\| (`.*?) \| ", page, re.M)
    return [name for row in rows for name in re.findall("`(.*?)`", row)]


def test_examples_are_short_and_run(
    short_clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_clip, "compose", partial(demo_clip.compose, seconds=0.4))
    for path in (ROOT / "examples").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path
    picture = tmp_path / "picture.png"
    runpy.run_path(str(ROOT / "examples" / "levels.py"))["main"](str(picture))
    assert cv2.imread(str(picture)).shape == (420, 1040, 3)
    made = tmp_path / "made.mp4"
    runpy.run_path(str(ROOT / "examples" / "own_regions.py"))["main"](str(short_clip), str(made))
    source, written = map(masquerade.read_video, (short_clip, made))
    assert written.clip.shape == source.clip.shape and torch.allclose(written.times, source.times)
    slow = tmp_path / "slow.mp4"
    masquerade.write_video(slow, torch.rand(1, 3, 5, 64, 96), rate=10)
    runpy.run_path(str(ROOT / "examples" / "own_regions.py"))["main"](
        str(slow), str(tmp_path / "s.mp4")
    )
    assert masquerade.read_video(tmp_path / "s.mp4").times.tolist() == pytest.approx(
        [0, 0.1, 0.2, 0.3, 0.4]
    )


def test_an_example_without_its_files_says_how_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.argv", ["own_regions.py"])
    with pytest.raises(SystemExit, match=r"usage: python own_regions\.py VIDEO OUTPUT"):
        runpy.run_path(str(ROOT / "examples" / "own_regions.py"), run_name="__main__")


def test_the_readmes_commands_can_be_run_one_after_another() -> None:
    """Each output has a name of its own, as one that is there already is not replaced."""
    block = (ROOT / "README.md").read_text().partition("## Use\n\n")[2].partition("\n\n")[0]
    lines = [line.partition("#")[0] for line in block.splitlines()]
    makes = [line for line in lines if re.search(r" (anonymize|live) ", line)]
    outputs = [re.search(r" -o (\S+)", line) for line in makes if "--list-people" not in line]
    assert len(outputs) > 6 and all(outputs)
    assert len({found[1] for found in outputs if found}) == len(outputs)


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_can_be_run_one_after_another(path: Path) -> None:
    lines = [line.partition("#")[0] for line in path.read_text().splitlines()]
    makes = [line for line in lines if re.match(r"    masquerade (anonymize|live) ", line)]
    outputs = [
        found[1] if (found := re.search(r" -o (\S+)", line)) else f"beside {line.split()[2]}"
        for line in makes
        if "--list-people" not in line
    ]
    assert len(set(outputs)) == len(outputs), sorted(outputs)


def test_the_demo_leaves_what_it_says(
    called: Callable[..., Any],
    short_clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done = called("demo", short_clip)
    assert done.returncode == 0, done.stderr
    made = {path.name for path in (tmp_path / "out").iterdir()}
    assert made == {
        "person_anonymized.mp4",
        "person_anonymized.mp4.receipt.json",
        "person_side_by_side_private.mp4",
        "person_report.html",
    }
    page = (tmp_path / "out" / "person_report.html").read_text()
    assert "<svg" in page and not re.findall(r"(?:src|href)=.http", page)
    assert called("demo", short_clip).returncode == 0  # again, over what is there
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr("masquerade.report.page.render_page", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        called("demo", short_clip)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

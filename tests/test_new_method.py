"""The docs' worked example: one file and one line give flags, contract tests and a table's row.

What a contributed method needs besides, and one outside the repository, is done as the page says.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "new-method.md").read_text("utf-8")

# What is compiled is copied with it, as compiling it anew takes longer than the tests.
NOT_SOURCE = shutil.ignore_patterns(".*")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of masquerade's source in which the page's two steps were done."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src" / "masquerade", folder / "masquerade", ignore=NOT_SOURCE)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (path,) = re.findall(r"^`src/(masquerade/methods/\w+\.py)`:$", PAGE, re.M)
    (folder / path).write_text(code)
    (line,) = re.findall(r'^    ("[\w-]+": \w+,)$', PAGE, re.M)
    (kind,) = re.findall(r"^class (\w+)\(Anonymizer\)", code, re.M)
    table = folder / "masquerade" / "methods" / "__init__.py"
    start = "METHODS: dict[str, type[Anonymizer]] = {\n"
    text = table.read_text()
    assert start in text
    made = f"from masquerade.methods.{Path(path).stem} import {kind}\n"
    table.write_text(text.replace(start, f"{made}\n{start}    {line}\n"))
    return folder


def ended(source: Path, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A run of Python with that source."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )


def run(source: Path, *words: str, folder: Path) -> str:
    """What a command of that source prints."""
    done = ended(source, "-m", *words, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_command_has_the_method(source: Path, clip: Path, tmp_path: Path) -> None:
    said = run(source, "masquerade", "methods", "row-mean", folder=tmp_path)
    assert "what lies beside one another in a row" in said and "--strength" in said
    words = ("anonymize", str(clip), "-o", "out.mp4", "--method", "row-mean", "--regions", "frame")
    run(source, "masquerade", *words, folder=tmp_path)
    assert (tmp_path / "out.mp4").exists()


@pytest.mark.slow
def test_it_keeps_what_is_promised_of_all_methods(source: Path) -> None:
    run(source, "pytest", "-q", "tests/test_contract.py", "-k", "row-mean", folder=ROOT)


@pytest.mark.slow
def test_it_has_a_row_in_the_table(source: Path, tmp_path: Path) -> None:
    (suite,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
    few = "--clips 16 --people 8"  # a try-out takes some anyway
    (tmp_path / "mine.toml").write_text(suite.replace("--clips 160 --people 40", few))
    words = (
        "benchmark",
        "mine.toml",
        "--rows",
        "row-mean",
        "--try-out",
        "-o",
        "mine",
        "--workers",
        "1",
    )
    run(source, "masquerade", *words, "--device", "cpu", folder=tmp_path)
    results = tmp_path / "mine" / "try-out" / "results" / "mine"
    rows = json.loads((results / "mimes.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["raw", "row-mean"]
    assert (tmp_path / "mine" / "try-out" / "index.html").exists()


@pytest.mark.slow
def test_a_contributed_method_needs_what_the_page_says(source: Path, tmp_path: Path) -> None:
    for name in ("docs", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=NOT_SOURCE)
    for name in ("README.md", "CONTRIBUTING.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "src").symlink_to(source)
    tests = (
        "tests/test_docs.py::test_every_method_has_a_card_and_a_row",
        "tests/export/test_export.py::test_the_docs_say_which_methods_are_refused",
        "tests/cli/test_frozen_interface.py",
        "tests/test_structure.py::test_a_file_holds_one_concept_and_its_name_says_which",
    )

    def failing() -> tuple[list[str], str]:
        words = ("-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *tests)
        said = ended(source, *words, folder=tmp_path).stdout
        return re.findall(r"^FAILED (\S+?)::", said, re.M), said

    failed, said = failing()
    assert set(failed) == set(re.findall(r"\| `(tests/\S+\.py)` \|$", PAGE, re.M)), said
    for part in ("docs/methods/row-mean.md", "docs/export.md", "PYTHONPATH=src python tests/cli"):
        assert part in said
    (tmp_path / "docs" / "methods" / "row-mean.md").write_text("# row-mean\n")
    rows = re.findall(r"```markdown\n(.*?)```", PAGE, re.S)
    for name, start, row in zip(
        ("README.md", "docs/export.md"), ("| [`selective`]", "| `blacken`"), rows, strict=True
    ):
        text = (tmp_path / name).read_text()
        assert start in text
        (tmp_path / name).write_text(text.replace(start, row + start, 1))
    (command,) = re.findall(r"^PYTHONPATH=src python (\S+)", PAGE, re.M)
    done = ended(source, command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    failed, said = failing()
    assert not failed and "passed" in said, said


@pytest.mark.slow
def test_a_method_outside_the_repository_needs_nothing_of_it(clip: Path, tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    in_python, command = re.findall(r"```py\n(.*?)```", PAGE, re.S)
    (tmp_path / "row_mean.py").write_text(code)
    (tmp_path / "mine.py").write_text(command)
    (tmp_path / "once.py").write_text(in_python.replace('"people"', '"frame"'))
    shutil.copy(clip, tmp_path / "ward.mp4")
    words = ("anonymize", "ward.mp4", "-o", "mine.mp4", "--method", "row-mean", "--regions")
    for line in (["once.py"], ["mine.py", *words, "frame"]):
        done = ended(ROOT / "src", *line, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    made = [json.loads((tmp_path / f"{n}.mp4.receipt.json").read_text()) for n in ("safe", "mine")]
    assert all("row-mean" in json.dumps(one) for one in made)

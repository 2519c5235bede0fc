"""The docs' worked example: one file and one line give flags, contract tests and a table's row."""

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


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of masquerade's source in which the page's two steps were done."""
    folder = tmp_path_factory.mktemp("source")
    shutil.copytree(
        ROOT / "src" / "masquerade",
        folder / "masquerade",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
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


def run(source: Path, *words: str, folder: Path) -> str:
    """What a command of that source prints."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
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

"""The folder where a command is run may be of strangers: no Python file in it runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from masquerade.benchmark.commands import run_command

MODULES = ("json", "multiprocessing", "masquerade", "numpy")  # which some process imports first
ANONYMIZE = ("anonymize", "--method", "blacken", "--regions", "frame", "--no-progress")


@pytest.fixture
def folder(short_clip: Path, tmp_path: Path) -> Path:
    """Holds two videos, and modules that leave a mark where they are imported."""
    for name in ("one.mp4", "two.mp4"):
        shutil.copy(short_clip, tmp_path / name)
    for name in MODULES:
        mark = tmp_path / f"{name}.ran"
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("one.mp4", "-o", "out.mp4"),
        pytest.param(
            ("one.mp4", "-o", "out.mp4", "--parts", "2", "--workers", "2"), marks=pytest.mark.slow
        ),
        ("one.mp4", "two.mp4", "-o", "out", "--workers", "2"),
    ],
)
def test_no_file_of_the_current_folder_runs(folder: Path, words: tuple[str, ...]) -> None:
    start = [sys.executable, "-c", "import sys; del sys.path[0]; import masquerade.cli as cli;"]
    start[-1] += "sys.exit(cli.main())"  # as the installed command: no folder of its own in front
    done = subprocess.run(
        [*start, *ANONYMIZE, *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert not list(folder.glob("*.ran")), done.stderr
    assert done.returncode == 0, done.stderr


def test_no_file_of_the_current_folder_runs_in_a_benchmark(folder: Path) -> None:
    log = folder / "log.txt"
    code = run_command(["--version"], str(log), 1, str(folder))
    assert not list(folder.glob("*.ran")), log.read_text()
    assert code == 0, log.read_text()


def test_a_module_of_the_current_folder_works_where_the_user_imported_it(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def double(x):\n    return 2 * x\n")
    start = (
        "import mine; from masquerade.process_pool import worker_pool\n"
        "with worker_pool(1) as pool: print(pool.submit(mine.double, 21).result())"
    )
    words = [sys.executable, "-c", start]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "42\n", done.stderr

"""All tables of speed, measured one after another on one machine.

    python benchmarks/speed.py [--deface-python PYTHON] [--only anonymize,selective]

Each script measures its references in the same run and prints ratios to them: the limit of decoding
and encoding, ffmpeg's own filters, deface, a network written out plainly. Run it where nothing else
runs. A script that fails stops no other; `docs/results/speed.md` lists what was measured, by which
versions, and how long it took.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from people_speed import processor

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "docs" / "results"
LIBRARIES = (
    "torch",
    "numpy",
    "opencv-contrib-python-headless",
    "av",
    "onnxruntime",
    "ai-edge-litert",
)


class Table(NamedTuple):
    """A script, the words it is run with, and the page that it writes."""

    script: str
    words: tuple[str, ...]
    page: str
    about: str


TABLES = (
    Table(
        "anonymize", ("--repeats", "5"), "anonymize.md", "methods, beside transcoding and ffmpeg"
    ),
    Table("people_speed", (), "people-speed.md", "faces, people and figures on real clips"),
    Table("selective", (), "selective.md", "a frame of `selective`, stage by stage"),
    Table(
        "stprivacy", ("--turns", "5"), "stprivacy-speed.md", "STPrivacy, beside the paper's step"
    ),
    Table("decoding", ("--repeats", "5"), "decoding.md", "decoding in a process of its own"),
    Table("fit", (), "fit.md", "training attackers"),
    Table("scaling", ("--repeats", "5"), "scaling.md", "one worker and two, plain and on Ray"),
    Table("cost", (), "cost.md", "what 1,000 hours cost"),
)


def measure(table: Table, words: Sequence[str]) -> tuple[int, float]:
    """Run a script; gives its exit code and seconds."""
    began = time.perf_counter()
    command = [sys.executable, str(HERE / f"{table.script}.py"), *table.words, *words]
    code = subprocess.run(command, cwd=HERE.parent, check=False).returncode
    return code, time.perf_counter() - began


def versions() -> str:
    """Python and the libraries that decide speed, as far as they are installed."""
    found = [f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def page(done: Sequence[tuple[Table, int, float]]) -> str:
    """The page, as Markdown."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    lines = [
        "# Tables of speed",
        "",
        f"Made by `python benchmarks/speed.py` at {commit}: {processor()}, {os.cpu_count()} cores;",
        f"{versions()}. Every table has its references in it, measured in the same run.",
        "",
        "| table | of | minutes | |",
        "| --- | --- | --- | --- |",
    ]
    for table, code, seconds in done:
        failed = "" if code == 0 else f"exit code {code}"
        link = f"[{table.script}]({table.page})"
        lines.append(f"| {link} | {table.about} | {seconds / 60:.0f} | {failed} |")
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--deface-python", help="a Python in which deface runs")
    parser.add_argument("--only", default="", help="some scripts, separated by commas")
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.md")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name]
    known = [table.script for table in TABLES]
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"there is no {', '.join(unknown)}; choose of {', '.join(known)}.")
    done = []
    for table in (one for one in TABLES if not wanted or one.script in wanted):
        print(f"== {table.script}: {table.about}", flush=True)
        deface = given.deface_python and table.script == "anonymize"
        words = ["--deface-python", given.deface_python] if deface else []
        done.append((table, *measure(table, words)))
    given.out.write_text(page(done), "utf-8")
    return 1 if any(code for _, code, _ in done) else 0


if __name__ == "__main__":
    sys.exit(main())

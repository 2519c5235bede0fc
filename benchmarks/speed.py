"""All tables of speed, measured one after another on one machine.

    python benchmarks/speed.py [--deface-python PYTHON] [--only anonymize,selective]

Each script measures its references in the same run and prints ratios to them: the limit of decoding
and encoding, ffmpeg's own filters, deface, a network written out plainly. Run it where nothing else
runs. A script that fails stops no other; `docs/results/speed.md` lists what was measured, by which
versions, and how long it took. Tables that are not measured now keep their lines there.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
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
    Table(
        "batched_detectors", (), "batched-detectors.md", "detectors given several frames at once"
    ),
    Table("decoding", ("--repeats", "5"), "decoding.md", "decoding in a process of its own"),
    Table("fit", (), "fit.md", "training attackers"),
    Table(
        "scaling",
        ("--files", "4", "--seconds", "40", "--repeats", "3"),
        "scaling.md",
        "one worker and two, plain and on Ray",
    ),
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


def earlier_rows(path: Path, done: Collection[str]) -> dict[str, str]:
    """The lines of an earlier page, by script, of tables that were not measured now."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    found = {m[1]: line for line in lines if (m := re.match(r"\| \[(\w+)\]", line))}
    return {script: line for script, line in found.items() if script not in done}


def page(done: Sequence[tuple[Table, int, float]], earlier: Mapping[str, str]) -> str:
    """The page, as Markdown."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
    ).stdout.strip()
    rows = dict(earlier)
    for table, code, seconds in done:
        failed = "" if code == 0 else f"exit code {code}"
        link = f"[{table.script}]({table.page})"
        minutes = f"{seconds / 60:.0f}"
        cells = [link, table.about, minutes, commit, processor(), failed]
        rows[table.script] = f"| {' | '.join(cells)} |"
    lines = [
        "# Tables of speed",
        "",
        f"Made by `python benchmarks/speed.py` on {os.cpu_count()} cores;",
        f"{versions()}. Every table has its references in it, measured in the same run.",
        "",
        "| table | of | minutes | at | on | |",
        "| --- | --- | --- | --- | --- | --- |",
        *(rows[table.script] for table in TABLES if table.script in rows),
    ]
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
    earlier = earlier_rows(given.out, {table.script for table, _, _ in done})
    given.out.write_text(page(done, earlier), "utf-8")
    return 1 if any(code for _, code, _ in done) else 0


if __name__ == "__main__":
    sys.exit(main())

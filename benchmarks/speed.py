"""All tables of speed, measured one after another on one machine.

    python benchmarks/speed.py [--deface-python PYTHON] [--mediapipe-python PYTHON]
                               [--only anonymize,selective]

Ratios are to references that a script measures in the same run: the limit of decoding and encoding,
ffmpeg's own filters, deface, MediaPipe, a network written out plainly. Without `--deface-python`
the columns of deface are empty, and without `--mediapipe-python` MediaPipe has no rows. Run it
where nothing else runs. A script that fails stops no other; `docs/results/speed.md` lists at which
commit, on what and with which libraries each table was measured, and how long it took. Tables that
are not measured now keep their lines there. What was wanted stands beside what was reached in
`docs/speed.md`, which is written by hand: compare it with the tables after they are measured anew.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from checkout import commit
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

    name: str
    script: str
    words: tuple[str, ...]
    page: str
    about: str


class Measured(NamedTuple):
    """A table that was measured now."""

    table: Table
    code: int  # the script's exit code
    seconds: float
    commit: str  # where the script began


CLIP = "../shared/data/wild/walk_vp9_in_mp4.mp4"  # of two people, whom a camera films live
TABLES = (
    Table(
        "anonymize",
        "anonymize",
        ("--repeats", "5"),
        "anonymize.md",
        "methods, beside transcoding and ffmpeg",
    ),
    Table(
        "check_cost",
        "anonymize",
        ("--checks", "--repeats", "5"),
        "check-cost.md",
        "the check of each frame",
    ),
    Table(
        "people_speed",
        "people_speed",
        ("--repeats", "5"),
        "people-speed.md",
        "faces, people and figures on real clips",
    ),
    Table("selective", "selective", (), "selective.md", "a frame of `selective`, stage by stage"),
    Table(
        "stprivacy",
        "stprivacy",
        ("--turns", "5"),
        "stprivacy-speed.md",
        "STPrivacy, beside the paper's step",
    ),
    Table(
        "networks",
        "networks",
        ("--turns", "5"),
        "networks-speed.md",
        "methods with a network, beside plain PyTorch",
    ),
    Table(
        "batched_detectors",
        "batched_detectors",
        (),
        "batched-detectors.md",
        "detectors given several frames at once",
    ),
    Table(
        "decoding",
        "decoding",
        ("--repeats", "5"),
        "decoding.md",
        "decoding in a process of its own",
    ),
    Table("fit", "fit", (), "fit.md", "training attackers"),
    Table(
        "scaling",
        "scaling",
        ("--files", "4", "--seconds", "30", "--repeats", "3"),
        "scaling.md",
        "one worker and two, plain and on Ray",
    ),
    Table("start", "start", ("--repeats", "5"), "start.md", "until the help, and the first frame"),
    Table("live", "live", (CLIP, "--seconds", "12"), "live.md", "a camera, anonymized live"),
    Table("cost", "cost", (), "cost.md", "what 1,000 hours cost"),
)
NOT_NOTED = "not noted"
ABOUT = (
    "A line says at which commit its table was measured, or by which one it was added where that "
    "was not noted, and on what: tables are of different commits and machines, so compare figures "
    "within one and not between two. What a ratio is to was measured in the same run; `selective` "
    "and `live` have no reference. The columns of deface in `anonymize` are empty unless "
    "`--deface-python` was given. [What was wanted, and what was reached](../speed.md)."
)


def measure(table: Table, words: Sequence[str]) -> Measured:
    """Run a script."""
    at, began = commit(), time.perf_counter()
    command = [sys.executable, str(HERE / f"{table.script}.py"), *table.words, *words]
    code = subprocess.run(command, cwd=HERE.parent, check=False).returncode
    return Measured(table, code, time.perf_counter() - began, at)


def versions() -> str:
    """Python and the libraries that decide speed, as far as they are installed."""
    found = [f"Python {platform.python_version()}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def earlier_rows(text: str) -> dict[str, str]:
    """The lines of an earlier page, by table."""
    return {m[1]: m[0] for m in re.finditer(r"^\| \[(\w+)\].*$", text, re.MULTILINE)}


def earlier_libraries(text: str) -> dict[str, str]:
    """The libraries that an earlier page names, by table."""
    lines = re.findall(r"^- (.+): (\w+(?:, \w+)*)$", text, re.MULTILINE)
    return {name: found for found, names in lines for name in names.split(", ")}


def page(done: Sequence[Measured], earlier: str) -> str:
    """The page, as Markdown, with the tables of an earlier page that were not measured now."""
    rows, libraries = earlier_rows(earlier), earlier_libraries(earlier)
    for table, code, seconds, at in done:
        failed = "" if code == 0 else f"exit code {code}"
        link = f"[{table.name}]({table.page})"
        machine = f"{processor()}, {os.cpu_count()} cores"
        cells = [link, table.about, f"{seconds / 60:.0f}", at, machine, failed]
        rows[table.name] = f"| {' | '.join(cells)} |"
        libraries[table.name] = versions()
    names = [table.name for table in TABLES if table.name in rows]
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(libraries.get(name, NOT_NOTED), []).append(name)
    lines = [
        "# Tables of speed",
        "",
        "Made by `python benchmarks/speed.py`.",
        "",
        *textwrap.wrap(ABOUT, 100, break_on_hyphens=False),
        "",
        "| table | of | minutes | at | on | |",
        "| --- | --- | --- | --- | --- | --- |",
        *(rows[name] for name in names),
        "",
        "Libraries:",
        "",
        *(f"- {found}: {', '.join(members)}" for found, members in groups.items()),
    ]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--deface-python", help="a Python in which deface runs; without it, its columns are empty"
    )
    parser.add_argument(
        "--mediapipe-python", help="a Python in which MediaPipe and PyAV run; without it, no row"
    )
    parser.add_argument("--only", default="", help="some tables, separated by commas")
    parser.add_argument("--out", type=Path, default=RESULTS / "speed.md")
    given = parser.parse_args()
    wanted = [name for name in given.only.split(",") if name]
    known = [table.name for table in TABLES]
    if unknown := [name for name in wanted if name not in known]:
        parser.error(f"there is no {', '.join(unknown)}; choose of {', '.join(known)}.")
    others = {  # tools of others, each in a Python of its own
        "anonymize": ["--deface-python", given.deface_python],
        "people_speed": ["--mediapipe-python", given.mediapipe_python],
    }
    done = []
    for table in (one for one in TABLES if not wanted or one.name in wanted):
        print(f"== {table.name}: {table.about}", flush=True)
        words = others.get(table.name, [])
        done.append(measure(table, words if all(words) else []))
    earlier = given.out.read_text("utf-8") if given.out.exists() else ""
    given.out.write_text(page(done, earlier), "utf-8")
    return 1 if any(one.code for one in done) else 0


if __name__ == "__main__":
    sys.exit(main())

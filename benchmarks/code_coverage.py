"""Which lines and branches of the pipeline and of the video room do their tests run?

    python benchmarks/code_coverage.py --write

Runs the tests that touch the two rooms under coverage.py (`pyproject.toml` has its settings), the
commands and worker processes that they start included, and counts lines and branches together.
`--write` makes docs/results/code-coverage.md and .json; without it the table is printed. The exit
code is 1 where a room is below the floor or a test failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FLOOR = 0.95
ROOMS = ("pipeline", "video")
TESTS = ("tests/pipeline", "tests/video", "tests/cli/test_cli.py", "tests/test_ranges.py")
# It limits the size of every file, that of the counts too.
LEFT_OUT = ("tests/cli/test_cli.py::test_a_full_disk_is_one_sentence_and_no_file",)
KINDS = ("num_statements", "covered_lines", "num_branches", "covered_branches")


TOOL = [sys.executable, "-P", "-m", "coverage"]  # not the module of that name beside this file


def environment(counts: Path) -> dict[str, str]:
    """What a command needs to count into a folder."""
    source = {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return {**os.environ, **source, "COVERAGE_FILE": str(counts / "counts")}


def run_tests(processes: int, counts: Path) -> int:
    """Run the tests, each process with a file of counts, and return pytest's exit code."""
    words = [*TOOL, "run", "-m", "pytest", "-n", str(processes), *TESTS]
    words += [word for test in LEFT_OUT for word in ("--deselect", test)]
    return subprocess.run(words, cwd=ROOT, env=environment(counts)).returncode


def combined(counts: Path) -> dict[str, Any]:
    """Coverage's report of all counts in a folder."""
    report = counts / "report.json"
    for words in (["combine", "-q", "--keep"], ["json", "-q", "-o", str(report)]):
        subprocess.run([*TOOL, *words], cwd=ROOT, env=environment(counts), check=True)
    return json.loads(report.read_text())


def share(counts: Counter[str]) -> float:
    """The share of lines and branches, together, that were run."""
    run = counts["covered_lines"] + counts["covered_branches"]
    return run / max(1, counts["num_statements"] + counts["num_branches"])


def tabulate(report: dict[str, Any]) -> tuple[dict[str, Counter[str]], dict[str, Counter[str]]]:
    """Counts by room and by file."""
    rooms: dict[str, Counter[str]] = {room: Counter() for room in ROOMS}
    files: dict[str, Counter[str]] = {}
    for path, found in sorted(report["files"].items()):
        counts = Counter({kind: found["summary"][kind] for kind in KINDS})
        room, name = Path(path).parts[-2:]
        rooms[room].update(counts)
        if counts["num_statements"]:
            files[f"{room}/{name}"] = counts
    return rooms, files


def page(results: dict[str, Any], rows: dict[str, Counter[str]]) -> str:
    """The table as Markdown."""
    lines = [
        f"| {name} | {c['num_statements']} | {c['num_branches']} | {100 * share(c):.1f} % |"
        for name, c in rows.items()
    ]
    return "\n".join(
        [
            "# Lines and branches that the tests run",
            "",
            f"Made by `{results['command']}` on commit {results['commit']}: {', '.join(TESTS)},",
            "with the commands and processes that they start. Lines and branches are counted "
            f"together; each room must have {FLOOR:.0%}.",
            "",
            "| | lines | branches | run |",
            "| --- | --- | --- | --- |",
            *lines,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-n", "--processes", type=int, default=2, help="that run tests")
    parser.add_argument("--counts", type=Path, help="of tests that ran: run none, and read these")
    parser.add_argument("--write", action="store_true", help="write docs/results/code-coverage.*")
    asked = parser.parse_args()
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    results: dict[str, Any] = {
        "command": "python benchmarks/code_coverage.py",
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
        "floor": FLOOR,
    }
    with tempfile.TemporaryDirectory() as name:
        code = 0 if asked.counts else run_tests(asked.processes, Path(name))
        report = combined(asked.counts or Path(name))
    rooms, files = tabulate(report)
    results["rooms"] = {room: {**c, "share": round(share(c), 4)} for room, c in rooms.items()}
    text = page(results, {**{f"**{room}**": c for room, c in rooms.items()}, **files})
    missing = {
        path: found["missing_lines"] + found["missing_branches"]
        for path, found in report["files"].items()
    }
    print(text, *(f"{path}: {lines}" for path, lines in missing.items() if lines), sep="\n")
    if asked.write:
        folder = ROOT / "docs" / "results"
        (folder / "code-coverage.md").write_text(text)
        (folder / "code-coverage.json").write_text(json.dumps(results, indent=1) + "\n")
    if code or min(map(share, rooms.values())) < FLOOR:
        raise SystemExit("a test failed" if code else f"a room is below {FLOOR:.0%}")


if __name__ == "__main__":
    main()

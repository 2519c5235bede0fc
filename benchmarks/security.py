"""Put the figures of the threat model together, each from the file that its command wrote.

    python benchmarks/security.py --promises

Reads docs/results: fuzz.md, faults.md, mutation.md, code-coverage.json, soak.json and
promises.json, and writes the table between two marks of docs/security.md. What has no file says
"not measured". `--promises` first runs every test that the page names, also the slow ones, and
writes promises.json; the exit code is 1 where one of them fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = Path("docs/security.md")
RESULTS = Path("docs/results")
BEGIN, END = "<!-- figures: benchmarks/security.py -->", "<!-- end of figures -->"
MISSING = "not measured"


def command_in(text: str) -> str:
    """The command that a page of results says it was made by."""
    found = re.search(r"python (benchmarks/[^`\n]+)", text)
    return f"`{found[1]}`" if found else ""


def fuzz(folder: Path) -> tuple[str, str]:
    """Mutated files."""
    text = (folder / "fuzz.md").read_text()
    row = re.search(r"^\| all \|(.+)\|$", text, re.M)
    assert row is not None
    inputs, *_, failed = (int(cell) for cell in row[1].split("|"))
    return f"{inputs:,} mutated files, {failed} failures", command_in(text)


def counts_in(page: Path, pattern: str) -> tuple[list[int], str]:
    """The counts that a sentence of a page names, and the command that made the page."""
    text = page.read_text()
    found = re.search(pattern, text)
    assert found is not None
    return [int(number.replace(",", "")) for number in found.groups()], command_in(text)


def faults(folder: Path) -> tuple[str, str]:
    """Runs that were struck by a fault, and repeated."""
    pattern = r"([\d,]+) runs were struck and repeated; ([\d,]+) failed"
    (runs, failed), command = counts_in(folder / "faults.md", pattern)
    return f"{runs - failed:,} of {runs:,} runs", command


def promises(folder: Path) -> tuple[str, str]:
    """Rows of the page all of whose tests passed."""
    found = json.loads((folder / "promises.json").read_text())
    here, then = len(named_tests((ROOT / PAGE).read_text())), found["promises"]
    text = f"{found['held']} of {then}, by {found['passed']} tests"
    if found["skipped"]:
        text += f" ({found['skipped']} skipped)"
    text += f", on {found['commit']}"
    if here > then:
        text += f"; of the {here} above {here - then} are newer and not in this count"
    return text, f"`{found['command'].removeprefix('python ')}`"


def coverage(folder: Path) -> tuple[str, str]:
    """Lines and branches of two rooms that the tests run."""
    found = json.loads((folder / "code-coverage.json").read_text())
    rooms = ", ".join(
        f"{name} {100 * room['share']:.1f} %" for name, room in found["rooms"].items()
    )
    return f"{rooms}, on {found['commit']}", f"`{found['command'].removeprefix('python ')}`"


def mutants(folder: Path) -> tuple[str, str]:
    """Mutants of the fail-closed pipeline that its tests kill."""
    pattern = r"([\d,]+) of ([\d,]+)\s+were\s+killed"
    (killed, drawn), command = counts_in(folder / "mutation.md", pattern)
    return f"{killed:,} of {drawn:,}: {100 * killed / drawn:.1f} %", command


def soak(folder: Path) -> tuple[str, str]:
    """Runs in one process."""
    found = json.loads((folder / "soak.json").read_text())
    what = "flat" if found["flat"] else "not flat"
    runs, minutes = found["runs"], found["minutes"]
    text = f"{what}: {runs:,} runs in {minutes:.0f} minutes, {found['wrong']} ended wrongly"
    growth = found["growth_mb"]
    text += f"; {growth['value']:+.1f} MB in the second half, on {found['commit']}"
    return text, f"`{found['command'].removeprefix('python ')}`"


ROWS: dict[str, tuple[str, Callable[[Path], tuple[str, str]]]] = {
    "inputs tried": ("fuzz.md", fuzz),
    "faults survived": ("faults.md", faults),
    "promises held": ("", promises),
    "lines and branches that tests run": ("code-coverage.md", coverage),
    "mutants killed": ("mutation.md", mutants),
    "many runs in one process": ("soak.md", soak),
}


def table(folder: Path) -> str:
    """The figures as Markdown."""
    lines = ["| | figure | made by |", "| --- | --- | --- |"]
    for name, (page, read) in ROWS.items():
        try:
            figure, command = read(folder)
        except (OSError, AssertionError, KeyError, ValueError):
            figure, command = MISSING, ""
        shown = f"[{name}](results/{page})" if page and (folder / page).exists() else name
        lines.append(f"| {shown} | {figure} | {command} |")
    return "\n".join(lines)


def named_tests(page: str) -> list[list[str]]:
    """The tests that each row of the promises names."""
    part = page.partition("## What is promised")[2].partition("\n## ")[0]
    rows = [line for line in part.splitlines() if "::test_" in line]
    return [re.findall(r"`(tests/[\w/]+\.py::\w+)`", row) for row in rows]


def run_promises() -> dict[str, Any]:
    """Run the tests that the page names, and count the rows that hold."""
    rows = named_tests((ROOT / PAGE).read_text())
    tests = sorted({test for row in rows for test in row})
    with tempfile.TemporaryDirectory() as name:
        report = Path(name) / "report.xml"
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        words = [sys.executable, "-P", "-m", "pytest", "-n", "2", "-m", "", f"--junitxml={report}"]
        subprocess.run([*words, *tests], cwd=ROOT, env=env)
        cases = list(ET.parse(report).iter("testcase"))
    outcomes: dict[str, list[str]] = {}
    for case in cases:
        path = case.attrib["classname"].replace(".", "/") + ".py"
        ended = next((c.tag for c in case if c.tag in ("failure", "error", "skipped")), "passed")
        outcomes.setdefault(f"{path}::{case.attrib['name'].partition('[')[0]}", []).append(ended)
    held = [
        row
        for row in rows
        if all("passed" in (ends := outcomes.get(test, [])) for test in row)
        and not any(end in ("failure", "error") for test in row for end in outcomes[test])
    ]
    ends = [end for found in outcomes.values() for end in found]
    commit = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=7"]
    return {
        "command": "python benchmarks/security.py --promises",
        "commit": subprocess.run(commit, capture_output=True, text=True).stdout.strip(),
        "promises": len(rows),
        "held": len(held),
        "passed": ends.count("passed"),
        "failed": ends.count("failure") + ends.count("error"),
        "skipped": ends.count("skipped"),
        "not_held": [row for row in rows if row not in held],
    }


def with_table(page: str, figures: str) -> str:
    """The page with the figures between its marks."""
    before, _, rest = page.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{PAGE} lacks {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{figures}\n\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--promises", action="store_true", help="run the tests that the page names")
    failed: list[list[str]] = []
    if parser.parse_args().promises:
        found = run_promises()
        failed = found["not_held"]
        (ROOT / RESULTS / "promises.json").write_text(json.dumps(found, indent=1) + "\n")
    figures = table(ROOT / RESULTS)
    page = ROOT / PAGE
    page.write_text(with_table(page.read_text(), figures))
    print(figures)
    if failed:
        raise SystemExit(f"not held: {failed}")


if __name__ == "__main__":
    main()

"""How long a command takes until it has printed its help, or has written one frame.

    python benchmarks/start.py [--repeats 5]     # docs/results/start.md

Each run is a process of its own. The clip has one frame, so that a run is what a user waits until
the first frame is written, with the end of the file and its check on top. Python that does nothing
is run beside it, and Python that imports PyTorch, which every method is made of.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import textwrap
from pathlib import Path

from anonymize import RATE, process, write_clip
from checkout import commit
from people_speed import processor

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "start.md"
SIZE = (640, 480)
FRAME = ("-y", "-q", "--no-receipt", "--allow-empty", "--allow-gaps")
RUNS = {
    "Python alone": ("-c", "pass"),
    "Python that imports PyTorch": ("-c", "import torch"),
    "`masquerade --help`": ("-m", "masquerade", "--help"),
    "`masquerade anonymize --help`": ("-m", "masquerade", "anonymize", "--help"),
    "one frame, blurred whole": ("--method", "blur", "--regions", "frame"),
    "one frame, `--level face`": ("--level", "face"),
    "one frame, `--level person`": ("--level", "person"),
    "four clips of one frame, blurred whole, `--workers 2`": (
        *("--method", "blur", "--regions", "frame", "--workers", "2"),
    ),
}
CLIPS = 4  # where there are several


def seconds_of(python: str, words: tuple[str, ...], src: Path) -> float:
    """How long a run takes, from its start to its end."""
    if words[0] not in ("-c", "-m"):
        given = src.parent if "--workers" in words else src
        files = (str(given), "-o", f"{src.parent / 'out'}/")
        words = ("-m", "masquerade", "anonymize", *files, *FRAME, *words)
    return process([python, *words])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    given = parser.parse_args()
    spent: dict[str, list[float]] = {name: [] for name in RUNS}
    with tempfile.TemporaryDirectory() as folder:
        clips = [Path(folder) / f"clip{number}.mp4" for number in range(CLIPS)]
        for clip in clips:
            write_clip(clip, SIZE, 1 / RATE)
        src = clips[0]
        for turn in range(-1, given.repeats):  # the first one reads files from the disk
            for name, words in RUNS.items():
                seconds = seconds_of(sys.executable, words, src)
                spent[name] += [seconds] if turn >= 0 else []
    about = (
        f"Measured at {commit()} by `python benchmarks/start.py --repeats {given.repeats}` on "
        f"{os.cpu_count()} cores ({processor()}), load {os.getloadavg()[0]:.1f} at the end. Each "
        f"run is a process of its own; frames are of {SIZE[0]} x {SIZE[1]}, and a run that writes "
        "one ends with the check of its file."
    )
    lines = ["# How long a command takes to start", "", *textwrap.wrap(about, 100), ""]
    lines += ["| | seconds, median | from to |", "| --- | --- | --- |"]
    for name, found in spent.items():
        spread = f"{min(found):.2f} to {max(found):.2f}"
        lines.append(f"| {name} | {statistics.median(found):.2f} | {spread} |")
    print("\n".join(lines))
    given.output.write_text("\n".join([*lines, ""]), "utf-8")


if __name__ == "__main__":
    main()

"""Does a long video need more memory than a short one?

    python benchmarks/memory.py [SECONDS]

Peak memory of the command on 10 s and on 600 s (or SECONDS) of the demo's clip, at 320 x 240,
faces hidden.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from anonymize import SIZES, command, process, write_clip

LENGTHS = (10, int(sys.argv[1]) if len(sys.argv) > 1 else 600)


def main() -> None:
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in LENGTHS:
            write_clip(folder / "in.mp4", SIZES[0], seconds)
            _, peaks[seconds] = process(command(folder / "in.mp4", folder / "out.mp4"))
    short, long = (peaks[seconds] for seconds in LENGTHS)
    lines = [
        "# Memory of anonymizing",
        "",
        f"Made by `python benchmarks/memory.py {LENGTHS[1]}`: peak memory of a whole process,",
        "selective on faces, 320 x 240, its receipt included.",
        "",
        f"| 10 s, MB | {LENGTHS[1]} s, MB | ratio |",
        "| --- | --- | --- |",
        f"| {short:.0f} | {long:.0f} | {long / short:.2f} |",
    ]
    text = "\n".join(lines) + "\n"
    Path(__file__).resolve().parents[1].joinpath("docs/results/memory.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

"""Peak memory of anonymizing a short and a long video.

    python benchmarks/memory.py [SECONDS]

The command runs on 10 s and on 600 s (or SECONDS) of the demo's clip, at 320 x 240, faces hidden.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from anonymize import SIZES, command, process, write_clip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seconds", type=int, nargs="?", default=600, help="of the long video")
    lengths = (10, parser.parse_args().seconds)
    peaks = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seconds in lengths:
            write_clip(folder / "in.mp4", SIZES[0], seconds)
            _, peaks[seconds] = process(command(folder / "in.mp4", folder / "out.mp4"))
    short, long = (peaks[seconds] for seconds in lengths)
    lines = [
        "# Memory of anonymizing",
        "",
        f"Made by `python benchmarks/memory.py {lengths[1]}`: peak memory of a whole process,",
        "selective on faces, 320 x 240, its receipt included.",
        "",
        f"| 10 s, MB | {lengths[1]} s, MB | ratio |",
        "| --- | --- | --- |",
        f"| {short:.0f} | {long:.0f} | {long / short:.2f} |",
    ]
    text = "\n".join(lines) + "\n"
    Path(__file__).resolve().parents[1].joinpath("docs/results/memory.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()

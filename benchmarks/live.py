"""How far behind is `masquerade live`, and how many frames does it show?

    python benchmarks/live.py ../shared/data/wild/CLIP.mp4 [--seconds 20] [-o docs/results/live.md]

Each row is a run of the command as it is, which reads a stream from a pipe at the pace of a camera
of 25 frames a second (ffmpeg -re, the clip again and again in the row's size) and writes a file.
Frames and latencies are the receipt's: from a frame's arrival until it is encoded. What a machine
cannot keep up with is dropped, and never shown raw.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

from checkout import commit

REPORT = Path(__file__).resolve().parents[1] / "docs" / "results" / "live.md"
RATE = 25  # frames a second


class Case(NamedTuple):
    """What is hidden, how, and in which size."""

    name: str
    words: tuple[str, ...]
    width: int
    height: int


CASES = [
    Case(name, words, *size)
    for size in ((640, 480), (1280, 720))
    for name, words in (
        ("blacken, whole frame", ("--method", "blacken", "--regions", "frame")),
        ("face", ("--level", "face")),
        ("person", ("--level", "person")),
        ("figure", ("--level", "figure")),
    )
]


def stream(clip: Path, case: Case, seconds: float) -> list[str]:
    """The command that plays a clip at the pace of a camera, to its standard output."""
    scaled = f"scale={case.width}:{case.height},fps={RATE}"
    words = f"ffmpeg -v error -re -stream_loop -1 -i {{}} -t {seconds} -an -vf {scaled}"
    coded = "-c:v libx264 -preset ultrafast -tune zerolatency -g 25 -f mpegts -"
    return [str(clip) if word == "{}" else word for word in f"{words} {coded}".split()]


def run(clip: Path, case: Case, seconds: float, folder: Path) -> dict[str, Any]:
    """The receipt of one run."""
    out = folder / "safe.mp4"
    command = [sys.executable, "-m", "masquerade", "live", "-", "-o", str(out), *case.words]
    with subprocess.Popen(stream(clip, case, seconds), stdout=subprocess.PIPE) as camera:
        command += ["--allow-empty", "--quiet"]
        done = subprocess.run(command, stdin=camera.stdout, capture_output=True, text=True)
        camera.send_signal(signal.SIGTERM)
    receipt = out.with_name(out.name + ".receipt.json")
    if done.returncode or not receipt.exists():
        raise SystemExit(f"{case.name}: {done.stderr}")
    found: dict[str, Any] = json.loads(receipt.read_text())
    for path in (out, receipt):
        path.unlink()
    return found


def row(case: Case, found: dict[str, Any]) -> str:
    """Its line of the table."""
    shown = found["shown"] / found["pictures"]
    median, most = (1000 * (found[name] or 0) for name in ("latency_median", "latency_95"))
    return (
        f"| {case.width} x {case.height} | {case.name} | {shown * RATE:.1f} | {shown:.0%} | "
        f"{median:.0f} | {most:.0f} | {found['late']} | {found['sent_late']} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clip", type=Path, help="a video of people")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("-o", "--output", type=Path, default=REPORT)
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if given.only in case.name:
                rows.append(row(case, run(given.clip, case, given.seconds, Path(folder))))
                print(rows[-1], flush=True)
    about = (
        f"Measured at {commit()} by `python benchmarks/live.py {given.clip.name} --seconds "
        f"{given.seconds:g}` on "
        f"{os.cpu_count()} cores ({platform.machine()}), which also play the stream, load "
        f"{os.getloadavg()[0]:.1f} at the end: a camera of {RATE} frames a second. Frames come in "
        "while the command starts, too, and are counted. Milliseconds are from a frame's arrival "
        "until it is encoded, of frames that were shown; --max-latency is a second. `late`: frames "
        "dropped as they would have come later than that; `sent late`: shown, but later."
    )
    names = "frames a second | shown | median, ms | 95 %, ms | late | sent late"
    lines = ["# Latency of live video", "", *textwrap.wrap(about, 120), ""]
    lines += [f"| size | what is hidden | {names} |", "|---|---|---|---|---|---|---|---|", *rows]
    given.output.write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

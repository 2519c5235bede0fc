"""Memory of anonymizing hours of video, beside ten seconds of it.

    python benchmarks/memory.py [--hours 10] [--rate 5]

The long video is the demo's clip at 160 x 120, over and over: its packets are written again with
later times, so that making ten hours of it takes a minute. Faces are hidden by the command, and
the memory of its processes together is read every two seconds. The rate is that of a camera that
watches a room, since frames cost the time, and what grows with them does not ask for their rate.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
from anonymize import command, write_clip
from soak import family, resident

RESULTS = Path(__file__).resolve().parents[1] / "docs/results/memory.md"
SIZE = 160, 120  # pixels; small, so that ten hours take minutes
SHORT = 10  # seconds of the short video
PAUSE = 2.0  # seconds between two looks at the memory


class Run(NamedTuple):
    """One run of the command."""

    seconds: float
    memory: list[float]  # MB, of all its processes together, every `PAUSE` seconds


def write_long(clip: Path, path: Path, *, rate: int, seconds: float) -> int:
    """Write a clip's packets again and again; gives the number of frames."""
    with av.open(str(clip)) as source:
        inside = source.streams.video[0]
        packets: list[tuple[bytes, bool]] = [
            (bytes(packet), packet.is_keyframe) for packet in source.demux(inside) if packet.size
        ]
        count = round(seconds * rate)
        with av.open(str(path), "w") as out:
            stream: Any = out.add_stream_from_template(inside)
            base = Fraction(1, rate)
            for number in range(count):
                data, key = packets[number % len(packets)]
                packet = av.Packet(data)
                packet.pts = packet.dts = number
                packet.duration, packet.time_base, packet.is_keyframe = 1, base, key
                packet.stream = stream
                out.mux(packet)
    return count


def run(src: Path, dst: Path) -> Run:
    """Hide the faces of a video, and look at the memory meanwhile."""
    began, memory = time.perf_counter(), []
    process = subprocess.Popen(command(src, dst), stdout=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(PAUSE)
        try:
            memory.append(sum(resident(pid, "RssAnon") for pid in family(process.pid)))
        except (FileNotFoundError, ProcessLookupError):  # one of them has ended
            continue
    if process.returncode:
        raise SystemExit(f"{src} was not anonymized: exit code {process.returncode}.")
    return Run(time.perf_counter() - began, memory)


def page(words: str, hours: float, frames: int, short: Run, long: Run) -> str:
    """The page, as Markdown."""
    tenths = [
        statistics.median(long.memory[i * len(long.memory) // 10 :][: len(long.memory) // 10])
        for i in range(10)
    ]
    growth = (tenths[8] - tenths[1]) / (0.7 * hours)  # at the end the output is read once more
    rows = [f"| {10 * i} to {10 * i + 10} % | {one:.0f} |" for i, one in enumerate(tenths)]
    return "\n".join(
        [
            "# Memory of anonymizing",
            "",
            f"Made by `{words}`: faces hidden in {hours:g} hours at {SIZE[0]} x",
            f"{SIZE[1]}, {frames:,} frames, in {long.seconds / 60:.0f} minutes beside other work.",
            "Memory is that of the command's processes together, without files that they share.",
            "",
            "| | MB, most |",
            "| --- | --- |",
            f"| {SHORT} seconds of it | {max(short.memory):.0f} |",
            f"| {hours:g} hours | {max(long.memory):.0f} |",
            "",
            "| of the run | MB, median |",
            "| --- | --- |",
            *rows,
            "",
            f"Growth from the second to the ninth tenth: {growth:+.2f} MB an hour of video,",
            f"{growth * 2**20 * hours / frames:.0f} bytes a frame.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--hours", type=float, default=10)
    parser.add_argument("--rate", type=int, default=5, help="frames a second")
    parser.add_argument("-o", type=Path, default=RESULTS)
    given = parser.parse_args()
    words = f"python benchmarks/memory.py --hours {given.hours:g} --rate {given.rate}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_clip(folder / "clip.mp4", SIZE, 20, in_order=True)
        runs = []
        for seconds in (SHORT, 3600 * given.hours):
            frames = write_long(
                folder / "clip.mp4", folder / "in.mp4", rate=given.rate, seconds=seconds
            )
            runs.append(run(folder / "in.mp4", folder / "out.mp4"))
    text = page(words, given.hours, frames, *runs)
    given.o.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()

"""How soon the studio answers in a real browser: from a seek, and from a setting, to the frame.

    python benchmarks/studio.py [--minutes 10] [--repeats 30] [--out docs/results/studio.md]

A clip of 640 x 480 is opened in Chromium, while people are still looked for in it. From one place
to another that is drawn by seed, and from one setting to another, it is measured in the page until
the new picture is decoded. It needs Debian's chromium.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
from playwright.sync_api import sync_playwright

from masquerade.cli.demo_clip import compose

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
METHODS = ("blur", "pixelate", "blacken", "mask-mean", "selective")
ASKED = {"seek to frame": "200", "seek to result": "", "setting to frame": "150"}  # milliseconds
LONG = 1_200_000


def long_clip(path: Path, minutes: float) -> int:
    """Write the demo's clip again and again without decoding it; returns the frames."""
    short = path.with_name("short.mp4")
    compose(short, seconds=4)
    frames = 0
    with av.open(str(path), "w") as out, av.open(str(short)) as first:
        stream = out.add_stream_from_template(first.streams.video[0])
        packets = [p for p in first.demux(first.streams.video[0]) if p.dts is not None]
        span = max(p.pts for p in packets) - min(p.pts for p in packets) + packets[0].duration
        for turn in range(round(minutes * 15)):
            with av.open(str(short)) as again:
                for packet in again.demux(again.streams.video[0]):
                    if packet.dts is None:
                        continue
                    packet.pts += turn * span
                    packet.dts += turn * span
                    packet.stream = stream
                    out.mux(packet)
                    frames += 1
    return frames


def measure(page: Any, video: Path, frames: int, repeats: int, seed: int) -> dict[str, list[float]]:
    """Milliseconds of each step, by its name; the first of each kind is left out."""
    page.wait_for_selector("#upload", state="attached")
    page.wait_for_load_state("load")  # its scripts listen by then
    page.set_input_files("#upload", str(video))
    page.wait_for_function(
        "async () => (await (await fetch('/api/videos')).json())[0]?.state === 'ready'",
        timeout=LONG,
        polling=1000,
    )
    page.wait_for_selector("#viewer[data-frame]")
    drawn = random.Random(seed)
    for _ in range(repeats + 1):
        page.fill("#frame", str(drawn.randrange(frames)))
        page.keyboard.press("Enter")
        page.wait_for_timeout(1500)
    page.click("[data-testid=more]")
    for turn in range(repeats + 1):
        page.select_option("[data-setting=method]", METHODS[turn % len(METHODS)])
        page.wait_for_timeout(600)
    read = "performance.getEntriesByType('measure').map(m => [m.name, m.duration])"
    found: dict[str, list[float]] = {}
    for name, duration in page.evaluate(read):
        found.setdefault(name, []).append(duration)
    return {name: durations[1:] for name, durations in found.items()}


def main(argv: list[str] | None = None) -> int:
    """Measure, print and write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "results" / "studio.md")
    chosen = parser.parse_args(argv)
    browser = shutil.which("chromium") or sys.exit("apt install chromium")
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "long.mp4"
        frames = long_clip(video, chosen.minutes)
        studio = subprocess.Popen(
            [sys.executable, "-m", "masquerade", "studio", "--no-browser"],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": folder},
        )
        try:
            assert studio.stdout is not None
            address = studio.stdout.readline().split()[-1]
            with sync_playwright() as playwright:
                page = playwright.chromium.launch(executable_path=browser, args=FLAGS).new_page()
                page.goto(address)
                found = measure(page, video, frames, chosen.repeats, chosen.seed)
        finally:
            studio.terminate()
            studio.wait()
    lines = [
        "# How soon the studio answers",
        "",
        f"    python benchmarks/studio.py --minutes {chosen.minutes:g} --seed {chosen.seed}",
        "",
        f"A video of 640 x 480 with {frames:,} frames, in Chromium, in milliseconds; people are "
        "looked for in it meanwhile.",
        "",
        "| | times | median | 95 % within | asked |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, limit in ASKED.items():
        times = sorted(found.get(name, []))
        if not times:  # every result was there with its frame
            continue
        high = times[min(len(times) - 1, round(0.95 * len(times)))]
        middle = statistics.median(times)
        lines.append(f"| {name} | {len(times)} | {middle:.0f} | {high:.0f} | {limit} |")
    text = "\n".join(lines) + "\n"
    print(text)
    chosen.out.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

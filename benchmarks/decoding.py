"""Speed of decoding in a process of its own, beside decoding in the same process.

    python benchmarks/decoding.py [--seconds 4] [--repeats 5]

Both decode the demo's clip in turn, in one run, at two sizes: alone, and as part of whole runs of
`anonymize_file`. A ratio is the median over repeats of the ratio within one repeat, so that a
machine that others use cancels out; below 1 the process of its own is slower. The last column is
the same of processor time, of both processes together: it is what counts where all cores are busy.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

from anonymize import ours, processor_seconds, seconds_of, write_clip

import masquerade
from masquerade.pipeline import single_file
from masquerade.video.probe import probe_in_process
from masquerade.video.read import Reader

SIZES = [(640, 480), (1920, 1080)]
RUNS = {"blacken": "frame", "selective": "faces"}


def decode(src: Path, *, trusted: bool) -> None:
    with Reader(src, trusted=trusted) as reader:
        for _ in reader:
            pass


def anonymize(src: Path, dst: Path, method: str, *, trusted: bool) -> None:
    built = masquerade.build(method)
    if not trusted:
        ours(src, dst, built, RUNS[method])
        return
    here = {"Reader": partial(Reader, trusted=True), "probe": probe_in_process}
    with mock.patch.multiple(single_file, **here):
        ours(src, dst, built, RUNS[method])


def compare(action: Callable[..., None], frames: int, repeats: int) -> str:
    """Frames a second of both, and the median of the ratios."""
    action(trusted=False), action(trusted=True)  # warm
    ours_, theirs, ratios, shares = [], [], [], []
    for number in range(repeats):
        both, spent = {}, {}
        for trusted in (False, True) if number % 2 else (True, False):
            before = processor_seconds()
            both[trusted] = seconds_of(lambda trusted=trusted: action(trusted=trusted))
            spent[trusted] = processor_seconds() - before
        ours_.append(frames / both[False])
        theirs.append(frames / both[True])
        ratios.append(both[True] / both[False])
        shares.append(spent[True] / spent[False])
    speeds = [f"{statistics.median(each):.0f}" for each in (ours_, theirs)]
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    share = f"{statistics.median(shares):.2f}"
    return f"{' | '.join(speeds)} | {statistics.median(ratios):.2f} | {spread} | {share} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4, help="of each clip")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    lines = [
        "# Decoding in a process of its own",
        "",
        f"Made by `python benchmarks/decoding.py --seconds {options.seconds:g} --repeats "
        f"{options.repeats}`; H.264, fps = frames a second.",
        "",
        "| | own process, fps | same process, fps | ratio | from to | processor time |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dst = folder / "out.mp4"
        for label in ("decoding alone", *RUNS):
            for size in SIZES:
                src = folder / f"{size[1]}.mp4"
                count = write_clip(src, size, options.seconds)
                action = partial(decode, src)
                if label in RUNS:
                    action = partial(anonymize, src, dst, label)
                name = f"{label}, {RUNS[label]}" if label in RUNS else label
                row = f"| {size[0]} x {size[1]}, {name} | "
                lines.append(row + compare(action, count, options.repeats))
                print(lines[-1], flush=True)
                out = Path(__file__).resolve().parents[1] / "docs/results/decoding.md"
                out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""How much faster two workers anonymize a folder than one: on Ray, and as plain processes.

    python benchmarks/scaling.py [--files 8] [--seconds 4] [--repeats 5]

Each run is the whole command on the same folder of copies of the demo's clip, its start and Ray's
with it. Codec and networks are held to one thread, and each run to as many cores as it has workers:
one worker decodes, finds, hides and encodes side by side, and would else use two cores already. A
ratio is the median over repeats of the ratio of two runs within one repeat, so that a machine that
others use cancels out. The outputs of all runs are compared: they are equal to the byte.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from anonymize import write_clip

RUNS = {
    "one process": ("--workers", "1"),
    "two processes": ("--workers", "2"),
    "Ray, one worker": ("--workers", "1", "--engine", "ray"),
    "Ray, two workers": ("--workers", "2", "--engine", "ray"),
}
RATIOS = (
    ("one process", "two processes"),
    ("Ray, one worker", "Ray, two workers"),
    ("two processes", "Ray, two workers"),
)
METHOD = ("--method", "selective", "--regions", "faces", "--seed", "1", "--threads", "1")
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
ONE_THREAD = dict.fromkeys(LIBRARIES, "1")
SIZE = (640, 480)


def seconds_of(folder: Path, out: Path, words: tuple[str, ...]) -> float:
    """How long a run takes, on as many cores as it has workers."""
    cores = sorted(os.sched_getaffinity(0))[: int(words[words.index("--workers") + 1])]
    run = [sys.executable, "-m", "masquerade", "anonymize", str(folder), "-o", str(out), "-q"]
    began = time.perf_counter()
    done = subprocess.run(
        [*run, *METHOD, "--allow-empty", "--allow-gaps", *words],
        env=os.environ | ONE_THREAD,
        preexec_fn=partial(os.sched_setaffinity, 0, cores),
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed: {done.stderr}")
    return time.perf_counter() - began


def measure(folder: Path, work: Path, repeat: int) -> dict[str, float]:
    """The seconds of each run, in an order that changes from repeat to repeat."""
    names = list(RUNS)
    order = names[repeat % len(names) :] + names[: repeat % len(names)]
    outs = {name: work / f"{repeat}-{names.index(name)}" for name in order}
    found = {name: seconds_of(folder, outs[name], RUNS[name]) for name in order}
    for path in folder.iterdir():
        if len({(out / path.name).read_bytes() for out in outs.values()}) != 1:
            raise SystemExit(f"{path.name} differs between runs")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4, help="of each clip")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two workers need two cores, and this process may use one.")
    with tempfile.TemporaryDirectory() as name:
        folder, repeats = Path(name) / "in", []
        folder.mkdir()
        for number in range(options.files):
            write_clip(folder / f"{number}.mp4", SIZE, options.seconds)
        for repeat in range(options.repeats):
            repeats.append(measure(folder, Path(name), repeat))
            print(*(f"{run}: {spent:.1f} s" for run, spent in repeats[-1].items()), sep="; ")
    lines = [
        "# How two workers scale",
        "",
        f"Made by `python benchmarks/scaling.py --files {options.files} --seconds "
        f"{options.seconds:g} --repeats {options.repeats}`; {os.cpu_count()} cores, clips of "
        f"{SIZE[0]} x {SIZE[1]},",
        "`selective` on faces, one thread each for codec and networks, one core for each worker, "
        "start-up included. All outputs are equal to the byte.",
        "",
        "| | times as fast | from to |",
        "| --- | --- | --- |",
    ]
    for slow, fast in RATIOS:
        ratios = [one[slow] / one[fast] for one in repeats]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(f"| {fast}, to {slow} | {statistics.median(ratios):.2f} | {spread} |")
    print("\n".join(lines))
    out = Path(__file__).resolve().parents[1] / "docs/results/scaling.md"
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

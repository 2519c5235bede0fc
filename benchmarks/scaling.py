"""How much faster two workers anonymize a folder than one: on Ray, and as plain processes.

    python benchmarks/scaling.py [--files 8] [--seconds 4] [--repeats 5]

Each run is the whole command on the same folder of copies of the demo's clip, its start and Ray's
with it; the last one is on a cluster of Ray that runs already. Codec and networks are held to one
thread, and each run to as many cores as it has workers: one worker decodes, finds, hides and
encodes side by side, and would else use two cores already. `--runs 2,5` measures some of them, by
their places in `RUNS`. A ratio is the median over repeats of the ratio of two runs within one
repeat, so that a machine that others use cancels out. The outputs of all runs are compared: they
are equal to the byte.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from anonymize import write_clip
from checkout import commit

PORT = 6399
CLUSTER = "Ray, two workers of a running cluster"
RUNS = {
    "one process": ("--workers", "1"),
    "two processes": ("--workers", "2"),
    "Ray, one worker": ("--workers", "1", "--engine", "ray"),
    "Ray, two workers": ("--workers", "2", "--engine", "ray"),
    CLUSTER: ("--workers", "2", "--engine", "ray", "--address", f"127.0.0.1:{PORT}"),
}
RATIOS = (
    ("one process", "two processes"),
    ("Ray, one worker", "Ray, two workers"),
    ("two processes", "Ray, two workers"),
    ("two processes", CLUSTER),
)
METHOD = ("--method", "selective", "--regions", "faces", "--seed", "1", "--threads", "1")
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
ONE_THREAD = dict.fromkeys(LIBRARIES, "1")
SIZE = (640, 480)
ABOUT = (
    "Ray's start is in the third row and not in the fourth: the longer a run, the nearer they are "
    "to each other."
)


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


@contextmanager
def cluster() -> Iterator[None]:
    """A cluster of Ray on two cores of this machine, whose workers' libraries have one thread."""
    ray = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"]
    words = [f"--port={PORT}", "--num-cpus=2", "--include-dashboard=false"]
    asked = [ray[0], "status", f"--address=127.0.0.1:{PORT}"]
    cores = sorted(os.sched_getaffinity(0))[:2]
    head = subprocess.Popen(
        [*ray, *words, "--disable-usage-stats"],
        env=os.environ | ONE_THREAD,
        preexec_fn=partial(os.sched_setaffinity, 0, cores),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + 60
        while subprocess.run(asked, capture_output=True).returncode:
            if head.poll() is not None or time.monotonic() > end:
                raise SystemExit("Ray did not start; is its extra installed?")
        yield
    finally:
        head.terminate()
        head.wait()


def measure(folder: Path, work: Path, repeat: int, names: list[str]) -> dict[str, float]:
    """The seconds of each run, in an order that changes from repeat to repeat."""
    order = names[repeat % len(names) :] + names[: repeat % len(names)]
    outs = {name: work / f"{repeat}-{names.index(name)}" for name in order}
    found = {}
    for name in order:
        with cluster() if name == CLUSTER else nullcontext():
            found[name] = seconds_of(folder, outs[name], RUNS[name])
    for path in folder.iterdir():
        if len({(out / path.name).read_bytes() for out in outs.values()}) != 1:
            raise SystemExit(f"{path.name} differs between runs")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4, help="of each clip")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", default="1,2,3,4,5", help="places in RUNS, from 1")
    options = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        raise SystemExit("two workers need two cores, and this process may use one.")
    names = [list(RUNS)[int(place) - 1] for place in options.runs.split(",")]
    some = "" if len(names) == len(RUNS) else f" --runs {options.runs}"
    with tempfile.TemporaryDirectory() as name:
        folder, repeats = Path(name) / "in", []
        folder.mkdir()
        for number in range(options.files):
            write_clip(folder / f"{number}.mp4", SIZE, options.seconds)
        for repeat in range(options.repeats):
            repeats.append(measure(folder, Path(name), repeat, names))
            print(*(f"{run}: {spent:.1f} s" for run, spent in repeats[-1].items()), sep="; ")
    lines = [
        "# How two workers scale",
        "",
        *textwrap.wrap(
            f"Measured at {commit()} by `python benchmarks/scaling.py --files {options.files} "
            f"--seconds {options.seconds:g} --repeats {options.repeats}{some}`; {os.cpu_count()} "
            f"cores, clips of {SIZE[0]} x {SIZE[1]}, `selective` on faces, one thread each for "
            "codec and networks, one core for each worker, start-up included. All outputs are "
            "equal to the byte.",
            100,
        ),
        "",
        "| | times as fast | from to |",
        "| --- | --- | --- |",
    ]
    for slow, fast in (one for one in RATIOS if {*one} <= {*names}):
        ratios = [one[slow] / one[fast] for one in repeats]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        lines.append(f"| {fast}, to {slow} | {statistics.median(ratios):.2f} | {spread} |")
    if len(names) == len(RUNS):
        lines += ["", *textwrap.wrap(ABOUT, 100)]
    print("\n".join(lines))
    out = Path(__file__).resolve().parents[1] / "docs/results/scaling.md"
    out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

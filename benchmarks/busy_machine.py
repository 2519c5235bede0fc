"""A training alone on the machine and beside other programs, by how long its threads spin.

    python benchmarks/busy_machine.py       # docs/results/busy-machine.md; ten minutes on two cores

Draws some clips, and trains small networks on them for an epoch: with OpenMP's own setting, by
which a thread that waits for others keeps its core busy, and with the one that commands make
(openmp_waiting.py). Once alone, and once beside as many busy processes as there are cores.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results"
PAGE = "busy-machine.md"
OWN = "300000"  # rounds that GNU's OpenMP spins by itself
METHODS = {"bdq": "BDQ", "spact": "SPAct"}


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that want a core each."""
    words = [sys.executable, "-c", "while True: pass"]
    running = [subprocess.Popen(words) for _ in range(processes)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def train_once(name: str, clips: Path, folder: Path, spins: str | None) -> float:
    """Seconds of one training; `spins` None: as commands set it."""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    environment.pop("GOMP_SPINCOUNT", None)
    with tempfile.TemporaryDirectory(dir=folder) as run:
        began = time.perf_counter()
        words = ["train", name, "--data", clips, "-o", f"{run}/run", "--epochs", "1"]
        subprocess.run(  # it ends with 1, as one epoch teaches nothing
            [sys.executable, "-m", "masquerade", *words, "--allow-chance", "--cache", folder / "c"],
            env=environment if spins is None else {**environment, "GOMP_SPINCOUNT": spins},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert (Path(run) / "run" / "anonymizer.safetensors").exists()
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--clips", type=int, default=32)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    lines = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        drawn = [sys.executable, "-m", "masquerade", "data", "mimes", folder / "m"]
        subprocess.run([*drawn, "--clips", str(given.clips)], check=True)
        for name, label in METHODS.items():
            train_once(name, folder / "m" / "manifest.csv", folder, None)  # clips are read once
            for beside in (0, cores):
                pairs = []
                with busy(beside):
                    for _ in range(given.repeats):
                        own, ours = (
                            train_once(name, folder / "m" / "manifest.csv", folder, spins)
                            for spins in (OWN, None)
                        )
                        pairs.append((own, ours))
                ratio = statistics.median(own / ours for own, ours in pairs)
                own, ours = (statistics.median(each) for each in zip(*pairs, strict=True))
                lines.append(f"| {label} | {beside} | {own:.1f} | {ours:.1f} | {ratio:.1f} |")
                print(lines[-1], flush=True)
    text = f"""# Trainings beside other programs

Made by `python benchmarks/busy_machine.py` with PyTorch {torch.__version__} on {cores} cores: one
epoch of small networks on {given.clips} drawn clips, start-up included; medians of {given.repeats}
pairs of runs. OpenMP's own setting lets a thread that waits for others keep its core busy; commands
let it sleep after some ten microseconds (`GOMP_SPINCOUNT`, unless you set it or `OMP_WAIT_POLICY`).

| training | busy processes beside it | OpenMP's own, s | as commands set it, s | times as fast |
|---|---|---|---|---|
"""
    (RESULTS / PAGE).write_text(text + "\n".join([*lines, ""]))


if __name__ == "__main__":
    main()

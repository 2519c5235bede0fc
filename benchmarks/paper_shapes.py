"""Does every training of the papers' suites run at the papers' sizes?

    python benchmarks/paper_shapes.py [--only WORDS] [--work FOLDER]

Each row of the suites that is trained by `--preset paper` is trained on four drawn clips, for one
epoch of each phase, in batches of two: so little teaches nothing, and every network, loss and step
is computed at its full size. Flags that change a number and no shape, such as `--omega`, are left
out, so that what differs by them alone is trained once. What is reported is how long it took on one
core and the peak of anonymous memory (RssAnon) of the process. With `--only` nothing is written
without `-o`, as the page is of all of them.
"""

from __future__ import annotations

import argparse
import csv
import math
import shlex
import sys
import tempfile
import textwrap
from pathlib import Path

import cv2
import numpy as np
import torch
from memory_training import Peak, watch_command

from masquerade.benchmark.published import published_tables
from masquerade.benchmark.suite import read_suite
from masquerade.checkpoint import load
from masquerade.datasets.mimes import Mimes, write_mimes

SIDE, FRAMES = 112, 16
NUMBERS = ("--stride", "--omega", "--action-weight", "--keep", "--private", "--epochs")
"""Flags with a value that changes no shape."""
STILLS = 8  # pictures in each part
SPLITS = ("train", "val")


def trainings() -> list[str]:
    """The words of every training that has sizes of its own, in the order of the suites."""
    found: dict[str, None] = {}
    for name in dict.fromkeys(table.name for table in published_tables()):
        for table in read_suite(name).tables:
            for row in table.rows:
                if row.train is not None and "--preset paper" in row.train:
                    found[shlex.join(without_numbers(shlex.split(row.train)))] = None
    return list(found)


def without_numbers(words: list[str]) -> list[str]:
    """Words without the flags that change no shape."""
    dropped = {at + i for at, word in enumerate(words) if word in NUMBERS for i in (0, 1)}
    return [word for at, word in enumerate(words) if at not in dropped]


def write_data(work: Path) -> tuple[Path, Path]:
    """Two drawn clips to learn from and two held out, longer than the farthest pair, and stills."""
    drawn = Mimes(size=128, frames=100, clips=24, people=8, actions=("walk", "squat"))
    clips = write_mimes(work / "mimes", drawn)
    with clips.open(newline="") as file:
        head, *rows = csv.reader(file)
    action, part, other = (head.index(name) for name in ("action", "split", "split_identity"))
    first = {(row[part], row[action]): row for row in rows if row[other] == "train"}
    few = [row for (name, _), row in first.items() if name in ("train", "val")]
    with clips.open("w", newline="") as file:
        csv.writer(file).writerows([head, *few])
    rng = np.random.default_rng(0)
    stills = work / "stills.csv"
    with stills.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "red", "bright", "split"])
        for number in range(2 * STILLS):
            path = work / f"{number}.png"
            cv2.imwrite(str(path), rng.integers(0, 256, (160, 200, 3), np.uint8))
            out.writerow([path.name, number % 2, number // 2 % 2, SPLITS[number // STILLS]])
    return clips, stills


def run_training(words: str, clips: Path, stills: Path, folder: Path) -> Peak:
    """Train once, by the command, and look at what came of it."""
    given = [word.replace("{vispr1}", str(stills)) for word in shlex.split(words)]
    command = [sys.executable, "-m", "masquerade", "train", *given]
    command += ["--data", str(clips), "-o", str(folder), "--cache", str(folder.parent / "cache")]
    command += ["--epochs", "1", "--batch", "2", "--allow-chance", "--device", "cpu"]
    peak = watch_command(command, fine=(0, 1))  # 1: nothing was learned, which is said
    method = load(folder / "anonymizer.safetensors")
    clip = torch.rand(1, 3, FRAMES, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        out = method(clip, state=method.init_state(seed=1)).clip
    if out.shape != clip.shape or not math.isfinite(float(out.sum())):
        raise SystemExit(f"train {words}: the anonymizer gives {tuple(out.shape)}")
    return peak


ABOUT = """Made by `python benchmarks/paper_shapes.py`: every training of the suites of the papers'
tables that has sizes of its own, one epoch of each phase on two drawn clips of {frames} frames of
{side} x {side} pixels and two held out, in batches of two, on one core. So few steps teach nothing;
all networks, losses and steps are computed at their full size. The peak is that of anonymous
resident memory (RssAnon) of the process, with PyTorch {torch}."""


def page(peaks: dict[str, Peak]) -> str:
    about = ABOUT.format(frames=FRAMES, side=SIDE, torch=torch.__version__.split("+")[0])
    lines = textwrap.wrap(about, 120, break_long_words=False, break_on_hyphens=False)
    return "\n".join(
        [
            *("# Trainings at the papers' sizes", "", *lines, ""),
            *("| training | seconds | GB |", "|---|---|---|"),
            *(
                f"| `{words}` | {one.seconds:.0f} | {one.memory:.1f} |"
                for words, one in peaks.items()
            ),
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="trainings whose words contain this")
    parser.add_argument("--work", type=Path, help="a folder for them; without it a temporary one")
    parser.add_argument(
        "-o", "--output", type=Path, help="the page; by default docs/results/, unless --only"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    peaks = {}
    with tempfile.TemporaryDirectory(dir=given.work) as temporary:
        work = Path(temporary)
        clips, stills = write_data(work)
        for number, words in enumerate(trainings()):
            if given.only is None or given.only in words:
                peaks[words] = run_training(words, clips, stills, work / f"run{number}")
                print(f"{words}: {peaks[words].seconds:.0f} s", flush=True)
    root = Path(__file__).resolve().parents[1]
    output = given.output or (None if given.only else root / "docs/results/paper-shapes.md")
    if output is not None:
        output.write_text(page(peaks))


if __name__ == "__main__":
    main()

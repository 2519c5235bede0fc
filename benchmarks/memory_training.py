"""Do training and evaluation hold a large data set in memory?

    python benchmarks/memory_training.py [--clips 100000] [--work FOLDER]

Clips are generated straight into the store where `train` and `evaluate` look for those of a
manifest, whose files are placeholders. Then an anonymizer is trained on them for one epoch, and
attacked, each in a process of its own. What is reported is the peak of the anonymous resident
memory (RssAnon in /proc/PID/status), summed over the process and its workers, sampled ten times a
second; pages of a mapped file are not in it.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from masquerade.datasets.manifest import read_manifest
from masquerade.evaluation import EvaluationConfig, evaluate
from masquerade.evaluation.presets import PRESETS, STILL_KERNELS, AttackerModel, Preset
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import clip_keys, store_name
from masquerade.extraction.extract_video import VideoRows
from masquerade.extraction.store import ClipStore, size_text
from masquerade.training.recipe import AdversarialRecipe, Phase, UpdateStep
from masquerade.training.recipes.bdq import bdq
from masquerade.training.rows import training_rows
from masquerade.training.run import train
from masquerade.video.probe import video_digest

FRAMES, SIDE = 16, 32
PEOPLE = 250
LIMIT = 2.0  # GB that training and evaluation must stay below
CHUNK = 1000  # clips that are generated at once
SPLITS = ("train", "train", "train", "val", "test")
PRESET = Preset(
    frames=FRAMES,
    size=(SIDE, SIDE),
    stride=1,
    attackers={
        "tiny-3d": AttackerModel(modality="frames", network="tiny-3d", widths=(4, 8), side=8),
        **STILL_KERNELS,
    },
    epochs=1,
    finetune_epochs=1,
    batch=64,
)


class Peak(NamedTuple):
    """What a process needed: GB of anonymous memory at most, in how many processes, seconds."""

    memory: float
    processes: int
    seconds: float


def write_data(count: int, work: Path) -> Path:
    """A manifest of placeholder files, and in `work`/clips the clips that extraction would make."""
    one = config()
    store = ClipStore(work / "clips" / store_name(one), one.shape)
    noise = np.random.default_rng(0).integers(0, 96, (CHUNK, *one.shape), dtype=np.uint8)
    (work / "videos").mkdir(parents=True)
    with (work / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "action", "tint", "identity", "split", "width", "height", "frames"])
        for start in range(0, count, CHUNK):
            numbers = np.arange(start, min(start + CHUNK, count))
            people = numbers * PEOPLE // count
            actions, tints = numbers % 2, people % 2
            clips = generate(actions, tints, noise)
            keys = []
            for number, person, action, tint in zip(numbers, people, actions, tints, strict=True):
                path = work / "videos" / f"{number:06d}.mp4"
                path.write_text(str(number))
                part = SPLITS[person % len(SPLITS)]
                row = [f"videos/{path.name}", action, tint, f"p{person}", part, SIDE, SIDE, FRAMES]
                out.writerow(row)
                video = VideoRows(path, (0,), ((None, None),), video_digest(path))
                keys += clip_keys(video, one)
            store.append(dict(zip(keys, clips, strict=True)))
    return work / "data.csv"


def generate(actions: np.ndarray, tints: np.ndarray, noise: np.ndarray) -> torch.Tensor:
    """(N, 3, T, H, W) uint8: noise, the tint in the first channel, a bar that moves or rests."""
    clips = noise[: len(actions)].copy()
    clips[:, 0] += (tints * 64).astype(np.uint8)[:, None, None, None]
    for t in range(FRAMES):
        for action in (0, 1):
            at = 4 + action * t
            clips[actions == action, :, t, :, at : at + 6] = 250
    return torch.from_numpy(clips)


def config() -> ExtractionConfig:
    """Raw clips, as training and evaluation extract them."""
    return ExtractionConfig(frames=FRAMES, size=SIDE, stride=1)


def small_recipe(*, frames: int, side: int, batch: int) -> AdversarialRecipe:
    """An adversarial training of one epoch, by small networks."""
    together = UpdateStep(
        learns=("anonymizer", "utility"), losses={"utility": 1.0, "adversarial": 1.0}
    )
    rest = UpdateStep(learns=("adversary",), losses={"adversary": 1.0})
    return replace(
        bdq(preset="tiny"),
        phases=(Phase(name="adversarial", epochs=1, updates=(together, rest), same_batch=False),),
        widths=(4, 8),
        frames=frames,
        stride=1,
        size=(side, side),
        batch=batch,
    )


def run_training(data: Path, work: Path) -> None:
    """One epoch of an adversarial training."""
    recipe = small_recipe(frames=FRAMES, side=SIDE, batch=64)
    manifest = read_manifest(data)
    train(
        manifest,
        recipe,
        training_rows(manifest),
        work / "run",
        private=("tint",),
        device="cpu",
        cache=work / "clips",
    )


def run_evaluation(data: Path, work: Path) -> None:
    """Attackers of raw video from scratch, and the controls, in two processes."""
    PRESETS["memory"] = PRESET
    plan = EvaluationConfig(
        attackers=("scratch", "prior"),
        folds=0,
        seeds=1,
        preset="memory",
        workers=2,
        device="cpu",
        labels=("tint",),
    )
    evaluate(read_manifest(data), [], plan, data="generated", folder=work)


PARTS = {"training": run_training, "evaluation": run_evaluation}


def watch(part: str, work: Path, *, script: str = __file__) -> Peak:
    """Run a part of a script in a process of its own and sample its memory."""
    return watch_command([sys.executable, script, "--part", part, "--work", str(work)])


def watch_command(words: list[str], *, fine: tuple[int, ...] = (0,)) -> Peak:
    """Run a command that may end with some exit codes, and sample its memory."""
    began = time.perf_counter()
    run = subprocess.Popen(words)
    peak, most = 0.0, 0
    while run.poll() is None:
        sizes = [anonymous_memory(pid) for pid in family(run.pid)]
        if sum(sizes) > peak:
            peak, most = sum(sizes), len([size for size in sizes if size])
        time.sleep(0.1)
    if run.returncode not in fine:
        raise SystemExit(f"{' '.join(words)} ended with {run.returncode}")
    return Peak(peak / 1e9, most, time.perf_counter() - began)


def family(pid: int) -> list[int]:
    """A process and all that it started, and they started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # it has ended
            continue
        for child in children:
            found += family(int(child))
    return found


def anonymous_memory(pid: int) -> int:
    """Bytes of resident memory that belong to no file; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))


def measure(count: int, work: Path) -> dict[str, Peak]:
    """The peak of each part on so many clips."""
    write_data(count, work)
    return {part: watch(part, work) for part in PARTS}


def page(count: int, peaks: dict[str, Peak]) -> str:
    size = count * 3 * FRAMES * SIDE * SIDE
    return "\n".join(
        [
            "# Memory of training and evaluation",
            "",
            f"Made by `python benchmarks/memory_training.py --clips {count}`:",
            f"{count:,} generated clips of {FRAMES} x {SIDE} x {SIDE}, {size_text(size)} of pixels",
            "in the store. One epoch of an adversarial training (bdq with small networks); an",
            "evaluation of raw video whose attackers and negative controls pass",
            "over the clips once each, in two processes. Kernel attackers are left out, since",
            "there are more clips than they take. The peak is that of anonymous resident memory",
            "(RssAnon), summed over the process and its workers; pages of the mapped store are not",
            "in it.",
            f"It must stay below {LIMIT:.0f} GB.",
            "",
            *table(peaks),
            "",
        ]
    )


def table(peaks: dict[str, Peak]) -> list[str]:
    """The lines of a table of the parts."""
    return [
        "| part | peak, GB | processes at the peak | seconds |",
        "| --- | --- | --- | --- |",
        *(
            f"| {part} | {one.memory:.2f} | {one.processes} | {one.seconds:.0f} |"
            for part, one in peaks.items()
        ),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=100_000, help="how many are generated")
    parser.add_argument("--work", type=Path, help="a folder for them; without it a temporary one")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="the page; without it, docs/results/")
    given = parser.parse_args()
    if given.part:
        PARTS[given.part](given.work / "data.csv", given.work)
        return
    with tempfile.TemporaryDirectory(dir=given.work) as work:
        peaks = measure(given.clips, Path(work))
    text = page(given.clips, peaks)
    root = Path(__file__).resolve().parents[1]
    (given.output or root / "docs/results/memory-training.md").write_text(text)
    print(text)
    if max(one.memory for one in peaks.values()) >= LIMIT:
        raise SystemExit("training or evaluation needs too much memory")


if __name__ == "__main__":
    main()

"""Do training and evaluation hold the labels of a very large data set in memory?

    python benchmarks/memory_labels.py [--clips 261224] [--work FOLDER]

P-HVU has 261,224 clips with 739 actions, 1,678 objects and 248 scenes, several a clip
(docs/papers.md 1.14): predictions of one network for all of them are 5.6 GB of numbers. Here are as
many clips with as many labels, but of 4 frames of 8 x 8 pixels and for small networks. An
anonymizer is trained on them for one epoch, and attacked by networks from scratch and fine-tuned
ones as in the suite `stprivacy-ospar`, each in a process of its own. What is reported is what
`memory_training.py` reports.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import torch
from memory_training import Peak, small_recipe, table, watch

from masquerade.datasets.manifest import read_manifest
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig, evaluate
from masquerade.evaluation.presets import PRESETS, AttackerModel, Preset
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import clip_keys, store_name
from masquerade.extraction.extract_video import VideoRows
from masquerade.extraction.store import ClipStore
from masquerade.methods.downsample import Downsample
from masquerade.training.rows import training_rows
from masquerade.training.run import train
from masquerade.video.probe import video_digest

FRAMES, SIDE, CHUNK = 4, 8, 2000
TEST = 16_012 / 261_224  # of all clips; a tenth of the others are for validation
SHARES = {"test": TEST, "val": 0.1 * (1 - TEST), "train": 0.9 * (1 - TEST)}
LABELS = {"action": (739, 2), "objects": (1678, 8), "scenes": (248, 3)}
"""How many there are, and how many a clip has."""
LIMIT = 8.0  # GB
METHOD = Downsample(factor=2)
ROW = EvaluatedMethod(name="downsample 2", anonymizer=METHOD)
SEED = EvaluationConfig().seed
PRESET = Preset(
    frames=FRAMES,
    size=(SIDE, SIDE),
    stride=1,
    attackers={
        f"tiny-3d, {width} channels": AttackerModel(
            modality="frames", network="tiny-3d", widths=(4, width), side=SIDE
        )
        for width in (8, 12, 16)
    },
    epochs=1,
    finetune_epochs=1,
    batch=256,
)


def write_data(count: int, work: Path) -> Path:
    """A manifest of placeholder files, and the clips that extraction would make of them."""
    rng = np.random.default_rng(0)
    configs = [extraction(None), extraction(METHOD)]
    stores = [ClipStore(work / "clips" / store_name(one), one.shape) for one in configs]
    (work / "videos").mkdir(parents=True)
    with (work / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", *LABELS, "split", "width", "height", "frames"])
        for start in range(0, count, CHUNK):
            clips: list[dict[bytes, torch.Tensor]] = [{} for _ in configs]
            for number in range(start, min(start + CHUNK, count)):
                path = work / "videos" / f"{number:06d}.mp4"
                path.write_text(str(number))
                part = rng.choice(list(SHARES), p=list(SHARES.values()))
                labels = [
                    "|".join(
                        f"{name}{code}"
                        for code in np.unique((rng.random(each) ** 2 * most).astype(int))
                    )
                    for name, (most, each) in LABELS.items()
                ]
                out.writerow([f"videos/{path.name}", *labels, part, SIDE, SIDE, FRAMES])
                video = VideoRows(path, (0,), ((None, None),), video_digest(path))
                pixels = torch.from_numpy(rng.integers(0, 255, configs[0].shape, dtype=np.uint8))
                for config, found in zip(configs, clips, strict=True):
                    found[clip_keys(video, config)[0]] = pixels
            for store, found in zip(stores, clips, strict=True):
                store.append(found)
    return work / "data.csv"


def extraction(method: Downsample | None) -> ExtractionConfig:
    """Clips as training and evaluation extract them."""
    return ExtractionConfig(
        frames=FRAMES, size=SIDE, stride=1, method=method, seed=None if method is None else SEED
    )


def run_training(data: Path, work: Path) -> None:
    """One epoch of an adversarial training."""
    recipe = small_recipe(frames=FRAMES, side=SIDE, batch=256)
    manifest = read_manifest(data)
    rows = training_rows(manifest)
    train(manifest, recipe, rows, work / "run", device="cpu", cache=work / "clips")


def run_evaluation(data: Path, work: Path) -> None:
    """Attackers from scratch and fine-tuned ones, of three seeds, on raw and anonymized clips."""
    PRESETS["memory"] = PRESET
    plan = EvaluationConfig(
        attackers=("scratch", "finetuned", "prior"),
        folds=0,
        seeds=3,
        preset="memory",
        workers=1,
        device="cpu",
        allow_empty=True,  # nothing is hidden in what is generated
    )
    evaluate(read_manifest(data), [ROW], plan, data="generated", folder=work)


PARTS = {"training": run_training, "evaluation": run_evaluation}


ABOUT = """Made by `python benchmarks/memory_labels.py --clips {count}`: {count:,} generated clips
with as many labels as P-HVU has ({labels}), several a clip, of {frames} frames of {side} x {side}
pixels. One epoch of an adversarial training (bdq with small networks); raw video and one method
attacked by three small networks, from scratch and fine-tuned, of three seeds, in one process. The
peak is that of anonymous resident memory (RssAnon): pages of mapped files are not in it. It must
stay below {limit:.0f} GB. Real clips and networks come on top: one batch of clips."""


def page(count: int, peaks: dict[str, Peak]) -> str:
    labels = ", ".join(f"{most:,} {name}" for name, (most, _) in LABELS.items())
    about = ABOUT.format(count=count, labels=labels, frames=FRAMES, side=SIDE, limit=LIMIT)
    lines = textwrap.wrap(about, 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["# Memory for thousands of labels", "", *lines, "", *table(peaks), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=261_224, help="how many are generated")
    parser.add_argument("--work", type=Path, help="a folder for them; without it a temporary one")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("-o", "--output", type=Path, help="the page; without it, docs/results/")
    given = parser.parse_args()
    if given.part:
        PARTS[given.part](given.work / "data.csv", given.work)
        return
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        write_data(given.clips, work)
        parts = [given.only] if given.only else list(PARTS)
        peaks = {part: watch(part, work, script=__file__) for part in parts}
    text = page(given.clips, peaks)
    print(text)
    root = Path(__file__).resolve().parents[1]
    (given.output or root / "docs/results/memory-labels.md").write_text(text)
    if max(one.memory for one in peaks.values()) >= LIMIT:
        raise SystemExit("training or evaluation needs too much memory")


if __name__ == "__main__":
    main()

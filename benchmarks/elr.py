"""Reading the action from extreme low resolution, with and without the papers' training.

    python benchmarks/elr.py --data clips.csv [--seeds 3] [--folds 5]     # docs/results/elr.md

Ryoo et al. (AAAI 2017 and 2018) publish plainly reduced frames, `elr`, and train recognizers of
them. Here the same small network learns in four ways, from full clips and at s = 16, 32 and 64:
from plainly reduced clips; from random crops of these, as the attackers of `masquerade evaluate`
do; from versions of each clip that are moved, turned and scaled before they are reduced, another
each time (inverse super resolution); and so that versions of one clip lie together as well
(multi-Siamese). All see mirror images, none sees test clips, and all are tested on plainly reduced
clips. An interrupted run resumes from the predictions under `--work`.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from masquerade.datasets.augmentation import Augmentation
from masquerade.datasets.manifest import Manifest, dataset_name, read_manifest
from masquerade.datasets.splits import linked_groups
from masquerade.evaluation.presets import LIGHT
from masquerade.evaluation.protocols import Protocol, action_column, protocols
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.methods.elr import ELR
from masquerade.metrics.classification import top_k
from masquerade.metrics.intervals import Score, score
from masquerade.metrics.statistic import Statistic, difference, mean
from masquerade.storage import atomic_write
from masquerade.training.engine import digest_inputs
from masquerade.training.fit_config import tiny
from masquerade.training.low_resolution import (
    LowResolutionRecognizer,
    MultiSiamese,
    RandomTransforms,
)
from masquerade.training.predict import predict
from masquerade.training.supervised import fit
from masquerade.training.views import Views

OUT = Path(__file__).resolve().parents[1] / "docs" / "results" / "elr.md"
SIZE = (28, 36)  # of full clips: two pixels for each large one of s = 16
FACTORS = (1, 16, 32, 64)
STILL = RandomTransforms(shift=0, turn=0, scale=0)
MIRROR = Augmentation(flip=0.5)


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way of training on reduced clips.

    Args:
        transforms: of a full clip in training, before it is reduced.
        augment: of the reduced clip in training.
        extra_loss: a further loss.
    """

    transforms: RandomTransforms
    augment: Augmentation = MIRROR
    extra_loss: MultiSiamese | None = None


PAPERS = {
    "inverse super resolution": Way(transforms=RandomTransforms()),
    "multi-Siamese": Way(transforms=RandomTransforms(), extra_loss=MultiSiamese()),
}
WAYS = {
    "plain": Way(transforms=STILL),
    "random crops": Way(transforms=STILL, augment=LIGHT),
} | PAPERS


class Read(NamedTuple):
    """Top-1 of the mean predictions of several seeds, and the standard deviation of single ones."""

    top1: Statistic
    spread: float | None


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Data and settings that all fits share.

    Args:
        manifest: the clips.
        clips: of full size.
        protocol: the action on people unseen.
        seeds: networks of each kind.
        epochs: of each.
        device: where they run.
        folder: for predictions; those that are there are not computed again.
    """

    manifest: Manifest
    clips: ClipDataset
    protocol: Protocol
    seeds: int
    epochs: int
    device: str
    folder: Path

    def read(self, way: Way, factor: int) -> Read:
        """Top-1 on test clips.

        Args:
            way: of learning.
            factor: s; 1: full clips.
        """
        truth = self.manifest.targets(action_column(self.manifest))[self.tested]
        folds = range(len(self.protocol.folds))
        said = [
            np.concatenate([self._predictions(way, factor, seed, at) for at in folds])
            for seed in range(self.seeds)
        ]
        single = [top_k(truth, one).value for one in said]
        spread = float(np.std(single, ddof=1)) if len(single) > 1 else None
        return Read(top_k(truth, np.mean(said, axis=0)), spread)

    def guess(self) -> Statistic:
        """Top-1 of a constant guess: the most frequent action of the training clips."""
        codes = self.manifest.targets(action_column(self.manifest))
        right = []
        for fold in self.protocol.folds:
            mode = np.bincount(codes[self._here(fold.train)]).argmax()
            right.append(codes[self._here(fold.test)] == mode)
        return mean(np.concatenate(right))

    @property
    def tested(self) -> NDArray[np.int64]:
        """(n,) rows of the test clips, fold by fold."""
        return np.concatenate([self._here(fold.test) for fold in self.protocol.folds])

    def _here(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Clips that could be read and have an action."""
        known = self.manifest.targets(action_column(self.manifest))[rows] >= 0
        return rows[known & np.isin(rows, self.clips.rows)]

    def _predictions(self, way: Way, factor: int, seed: int, at: int) -> NDArray[np.float32]:
        """(n, classes) of the test clips of one fold."""
        fold, label = self.protocol.folds[at], action_column(self.manifest)
        targets = {label: self.manifest.targets(label)}
        learned, asked = (self.clips.of_rows(self._here(rows)) for rows in (fold.train, fold.test))
        recipe = replace(tiny(), size=SIZE[0], epochs=self.epochs, augment=way.augment)
        about = digest_inputs(
            [str(way), str(factor), str(seed), str(recipe), learned.digest, asked.digest],
            [torch.from_numpy(targets[label])],
        )
        path = self.folder / f"{about[:24]}.npy"
        if not path.exists():
            torch.manual_seed(seed)
            heads = {label: len(self.manifest.column(label).values)}
            net = LowResolutionRecognizer(
                recipe.network("tiny-3d", heads=heads, modality="both"),
                method=ELR(factor=factor) if factor > 1 else None,
                transforms=way.transforms,
            )
            # No validation clips: the last epoch is kept, and test clips choose nothing.
            fit(
                net, learned, None, targets=targets, seed=seed, device=self.device,
                extra_loss=way.extra_loss, **recipe.fit_arguments(),
            )  # fmt: skip
            with atomic_write(path) as part, part.open("wb") as file:
                np.save(file, predict(net, asked, views=Views(mirror=True))[label])
        return np.asarray(np.load(path), np.float32)


def page(bench: Bench, *, data: str, command: str) -> str:
    """The results as Markdown.

    Args:
        bench: what is fitted.
        data: the manifest's name.
        command: that asked for this.
    """
    groups = linked_groups(bench.manifest)[bench.tested]
    lines = []
    for factor in FACTORS:
        found = {name: bench.read(way, factor) for name, way in WAYS.items()}
        cells = [written(score(one.top1, clusters=groups), one.spread) for one in found.values()]
        for name in PAPERS:
            gain = score(difference(found[name].top1, found["random crops"].top1), clusters=groups)
            cells.append(written(gain, sign=True))
        rows = ELR(factor=factor).size(*SIZE)[0] if factor > 1 else SIZE[0]
        lines.append(f"| {factor} | {rows} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join(
        [
            "# Reading extreme low resolution",
            "",
            f"`{command}`",
            "",
            f"{data}: top-1 of the action on {len(bench.tested)} clips of people who are not in "
            f"train, {len(set(groups.tolist()))} groups of them; mean predictions of {bench.seeds} "
            f"networks (`tiny-3d`, {bench.epochs} epochs, frames and their differences; ± is the "
            f"deviation of single ones), 95 % intervals over groups. Full clips, s = 1, are "
            f"{SIZE[0]} x {SIZE[1]} pixels. All learn from mirror images too; random crops are .8 "
            "to 1 of the reduced frame's sides, as attackers of `masquerade evaluate` learn.",
            "",
            f"| s | rows left | {' | '.join([*WAYS, *(f'{n} minus crops' for n in PAPERS)])} |",
            "|---|---|" + "---|" * (len(WAYS) + len(PAPERS)),
            *lines,
            "",
            f"The most frequent action: {written(score(bench.guess(), clusters=groups))}.",
            "",
        ]
    )


def written(found: Score, spread: float | None = None, *, sign: bool = False) -> str:
    """As .61 [.51, .70] ± .02."""
    if found.value is None:
        return "n/a"
    how, apart = "+.2f" if sign else ".2f", "" if spread is None else f" ± {spread:.2f}"
    bounds = "" if found.low is None else f" [{found.low:{how}}, {found.high:{how}}]"
    return f"{found.value:{how}}{bounds}{apart}"


def main(argv: Sequence[str] | None = None) -> int:
    """Fit what is missing and write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a manifest")
    parser.add_argument("--folds", type=int, default=5, help="0: the manifest's own splits")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=tiny().epochs)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=int, default=1, help="processes that read videos")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "masquerade-elr")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args(argv)
    manifest = read_manifest(chosen.data)
    (chosen.work / "predictions").mkdir(parents=True, exist_ok=True)
    bench = Bench(
        manifest=manifest,
        clips=extract_clips(
            manifest,
            ExtractionConfig(frames=tiny().frames, size=SIZE),
            cache=chosen.work / "clips",
            workers=chosen.workers,
        ),
        protocol=protocols(manifest, folds=chosen.folds, labels=())[0],
        seeds=chosen.seeds,
        epochs=chosen.epochs,
        device=chosen.device,
        folder=chosen.work / "predictions",
    )
    given = shlex.join(sys.argv[1:] if argv is None else argv)
    text = page(bench, data=dataset_name(chosen.data), command=f"python benchmarks/elr.py {given}")
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(text, "utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

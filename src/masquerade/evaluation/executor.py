"""The fits of an evaluation: shared among processes, cached on disk, resumed after a stop."""

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation.attacker_families import Fit
from masquerade.evaluation.fit_predict import FitTask, fit_predict
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.predictions import PredictionKey, Predictions
from masquerade.evaluation.presets import Preset
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.processes import processes

Progress = Callable[[str, int, int], None]


class _Job(NamedTuple):
    """A fit, its clips, and the file of its predictions."""

    key: PredictionKey
    task: FitTask
    clips: ClipDataset
    file: Path
    preset: Preset
    device: str


@dataclass(frozen=True, kw_only=True)
class Executor:
    """Where and how fits are done."""

    folder: Path  # for weights and predictions; what is there is not done again
    preset: Preset  # of clips and attackers
    seeds: int  # networks of each kind
    workers: int = 1  # processes, each on one core; 1: this one, on all of them
    device: str = "cpu"  # where networks run; a GPU is not shared among processes
    progress: Progress | None = None  # called with (what, fits done, fits in all)

    def __post_init__(self) -> None:
        if any(self.folder.glob("*/clips.npy")):
            raise UsageError(
                f"{self.folder.parent} was made by an earlier version, whose files are not read: "
                "choose another -o, or delete it."
            )

    def folder_of(self, name: str, clips: ClipDataset) -> Path:
        """The folder of a method's fits, named by the content of its clips."""
        content = hashlib.sha256(clips.digest.encode() + clips.rows.tobytes())
        content.update(repr(self.preset).encode())
        plain = re.sub(r"\W+", "-", name).strip("-")
        folder = self.folder / f"{plain}-{content.hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def predict(
        self,
        method: str,
        clips: ClipDataset,
        fits: Sequence[Fit],
        truth: GroundTruth,
        *,
        raw: ClipDataset | None = None,
        shuffle: int = 0,
        run: int = 0,
        seeds: Sequence[int] | None = None,
        folds: Sequence[int] | None = None,
    ) -> Predictions:
        """Do every fit of all protocols that is not cached, all side by side.

        Raw-trained weights are in the folder of the clips `raw`; None: these clips are raw. A
        `shuffle` is the number of the shuffle of the labels in `truth`; 0: they are the true ones.
        """
        folder = self.folder_of(method, clips)
        base = folder if raw is None else self.folder_of("raw", raw)
        seeds = range(self.seeds) if seeds is None else seeds
        jobs = []
        for protocol in truth.protocols.values():
            labels = {label: truth.labels[label] for label in protocol.heads}
            digest = _labels_digest(labels)
            numbers = range(len(protocol.folds)) if folds is None else folds
            for (attacker, start), seed, at in itertools.product(fits, seeds, numbers):
                fold = protocol.folds[at]
                name = _name(attacker, seed, shuffle, fold, digest)
                task = FitTask(
                    attacker=attacker,
                    initialisation=start,
                    seed=seed,
                    fold=fold.of_clips(clips.rows),
                    classes={label: truth.classes[label] for label in protocol.heads},
                    labels=labels,
                    weights=None if shuffle else base / f"{name}.weights",
                    saves_weights=raw is None,
                )
                key = PredictionKey(protocol.name, method, run, attacker, start, seed, at, "test")
                file = folder / f"{name}-{start}.npz"
                jobs.append(_Job(key, task, clips, file, self.preset, self.device))
        self._do(jobs, folder.name)
        blocks = {}
        for job in jobs:
            for key, block in Predictions.load(job.file).blocks.items():
                blocks[job.key._replace(split=key.split)] = block
        return Predictions(blocks=blocks, people=truth.people, groups=truth.groups)

    def _do(self, jobs: Sequence[_Job], what: str) -> None:
        missing = [job for job in jobs if not job.file.exists()]
        missing.sort(key=self._is_short)
        done = len(jobs) - len(missing)
        # what was cached is reported before the first fit is done
        for at, _ in enumerate(itertools.chain([None], self._each(missing)), done):
            if self.progress:
                self.progress(what, at, len(jobs))

    def _is_short(self, job: _Job) -> tuple[bool, bool]:
        """The longest fits first, so that no process waits for the last one."""
        kernel = self.preset.attackers[job.task.attacker].network is None
        return kernel, job.task.initialisation != "scratch"

    def _each(self, jobs: Sequence[_Job]) -> Iterator[None]:
        if self.workers < 2 or len(jobs) < 2 or self.device != "cpu":
            yield from map(_run, jobs)
            return
        with processes(self.workers) as pool:
            waiting = [pool.submit(_run, job) for job in jobs]
            for done in as_completed(waiting):
                yield done.result()


def _labels_digest(labels: dict[str, IntArray]) -> str:
    about = hashlib.sha256()
    for name in sorted(labels):
        about.update(f"{name} {labels[name].shape}".encode() + labels[name].tobytes())
    return about.hexdigest()


def _name(attacker: str, seed: int, shuffle: int, fold: Fold, labels: str) -> str:
    """A fit's name: everything that makes it but its clips, which have a folder of their own."""
    about = hashlib.sha256(f"{attacker} {seed} {shuffle} {labels}".encode())
    for array in (fold.train, fold.validation, fold.test):
        about.update(f"{array.shape}".encode() + array.tobytes())
    return about.hexdigest()[:16]


def _run(job: _Job) -> None:
    with torch.random.fork_rng():  # networks draw their first weights from the global generator
        blocks = fit_predict(job.task, job.clips, job.preset, device=job.device)
    keyed = {job.key._replace(split=split): block for split, block in blocks.items()}
    none = job.task.fold.train[:0]
    Predictions(blocks=keyed, people=none, groups=none).save(job.file)

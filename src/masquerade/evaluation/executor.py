"""Run the fits of an evaluation: in parallel, cached on disk, resumed after a stop."""

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation.attackers import Fit
from masquerade.evaluation.fit_predict import FitTask, fit_predict
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.predictions import PredictionKey, Predictions
from masquerade.evaluation.presets import Preset
from masquerade.evaluation.protocols import Fold
from masquerade.extraction.dataset import ClipDataset
from masquerade.process_pool import processes

Progress = Callable[[str, int, int], None]
FITTED_BY = (
    *("evaluation/fit_predict.py", "evaluation/kernel_ridge.py", "evaluation/pose_attackers.py"),
    "evaluation/gait_attackers.py",
    *("datasets/augmentation.py", "models/**/*.py", "training/*.py"),
)
"""The files whose code a fit depends on, beside its preset."""


Tasks = Sequence[tuple[Path, FitTask]]
"""Each with the file of its predictions."""


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
        content.update(repr(self.preset).encode() + _code_digest())
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
        tasks: list[tuple[Path, FitTask]] = []
        for protocol in truth.protocols.values():
            labels = {label: truth.labels[label] for label in protocol.heads}
            digest = _labels_digest(labels)
            numbers = range(len(protocol.folds)) if folds is None else folds
            for (attacker, start), seed, at in itertools.product(fits, seeds, numbers):
                fold = protocol.folds[at].for_seed(seed)
                name = _fit_name(attacker, seed, shuffle, fold, digest)
                task = FitTask(
                    key=PredictionKey(
                        protocol.name, method, run, attacker, start, seed, at, "test"
                    ),
                    fold=fold.of_clips(clips.rows),
                    classes={label: truth.classes[label] for label in protocol.heads},
                    labels=labels,
                    weights=None if shuffle else base / f"{name}.weights",
                    saves_weights=raw is None,
                )
                tasks.append((folder / f"{name}-{start}.npz", task))
        shuffled = ", labels shuffled" if shuffle else ""
        self._fit_missing(tasks, clips, f"{method}{shuffled}: training attackers")
        blocks = {}
        for file, task in tasks:
            for key, block in Predictions.load(file).blocks.items():
                blocks[task.key._replace(split=key.split)] = block
        return Predictions(blocks=blocks, people=truth.people, groups=truth.groups)

    def _fit_missing(self, tasks: Tasks, clips: ClipDataset, what: str) -> None:
        missing = [(file, task) for file, task in tasks if not file.exists()]
        missing.sort(key=self._is_short)
        run = partial(_run, clips=clips, preset=self.preset, device=self.device)
        report = self.progress or (lambda *_: None)
        cached = len(tasks) - len(missing)
        report(what, cached, len(tasks))
        for done, _ in enumerate(self._each(run, missing), cached + 1):
            report(what, done, len(tasks))

    def _is_short(self, task: tuple[Path, FitTask]) -> tuple[bool, bool]:
        """The longest fits first, so that no process waits for the last one."""
        key = task[1].key
        return self.preset.attackers[key.attacker].network is None, key.initialisation != "scratch"

    def _each(self, run: Callable[[Path, FitTask], None], tasks: Tasks) -> Iterator[None]:
        if self.workers < 2 or len(tasks) < 2 or self.device != "cpu":
            yield from itertools.starmap(run, tasks)
            return
        with processes(self.workers) as pool:
            waiting = [pool.submit(run, *task) for task in tasks]
            for done in as_completed(waiting):
                yield done.result()


@functools.cache
def _code_digest() -> bytes:
    """The SHA-256 of the code that fits: when it changes, everything is fitted anew."""
    root = Path(__file__).parents[1]
    paths = [path for part in FITTED_BY for path in root.glob(part)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(paths))).digest()


def _labels_digest(labels: dict[str, IntArray]) -> str:
    about = hashlib.sha256()
    for name in sorted(labels):
        about.update(f"{name} {labels[name].shape}".encode() + labels[name].tobytes())
    return about.hexdigest()


def _fit_name(attacker: str, seed: int, shuffle: int, fold: Fold, labels: str) -> str:
    """A fit's name: everything that makes it but its clips, which have a folder of their own."""
    about = hashlib.sha256(f"{attacker} {seed} {shuffle} {labels}".encode())
    for array in (fold.train, fold.validation, fold.test):
        about.update(f"{array.shape}".encode() + array.tobytes())
    return about.hexdigest()[:16]


def _run(file: Path, task: FitTask, clips: ClipDataset, preset: Preset, device: str) -> None:
    with torch.random.fork_rng():  # networks draw their first weights from the global generator
        blocks = fit_predict(task, clips, preset, device=device)
    keyed = {task.key._replace(split=split): block for split, block in blocks.items()}
    none = task.fold.train[:0]
    Predictions(blocks=keyed, people=none, groups=none).save(file)

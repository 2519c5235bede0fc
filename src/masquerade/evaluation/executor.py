"""Run the fits of an evaluation: in parallel, cached on disk, resumed after a stop."""

import concurrent.futures
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.evaluation.attackers import Fit
from masquerade.evaluation.fit_predict import FitTask, fit_predict, kernel_clips
from masquerade.evaluation.ground_truth import GroundTruth
from masquerade.evaluation.kernel_ridge import save_features
from masquerade.evaluation.predictions import PredictionKey, Predictions
from masquerade.evaluation.presets import RESTORED, AttackerModel, Preset
from masquerade.evaluation.protocols import Fold
from masquerade.evaluation.restoration import (
    FoldSeed,
    RestorationTask,
    load_restoration_net,
    restored_clips,
    save_restoration_net,
    shared_train,
)
from masquerade.evaluation.shared_fits import share_fits
from masquerade.extraction.dataset import ClipDataset, mapped_clips, write_clips
from masquerade.process_pool import OpenExecutor, naming_dead_workers, worker_pool
from masquerade.storage import TemporaryFolder, code_digest, make_private
from masquerade.training.distributed import under_torchrun

Progress = Callable[[str, int, int], None]
LARGE_LABELS = 2**20  # bytes of one label's codes from which on workers read them from a file
FITTING_CODE = (
    *("evaluation/fit_predict.py", "evaluation/kernel_ridge.py", "evaluation/pose_attackers.py"),
    *("evaluation/gait_attackers.py", "evaluation/side_channel_attackers.py"),
    *("evaluation/published_start.py", "evaluation/restoration.py"),
    "evaluation/presets.py",  # which view kernel machines read, and what is restored
    # how clips are shrunk and cut where they are read, and labels become what is learned
    *("extraction/dataset.py", "datasets/clip_sampling.py", "evaluation/ground_truth.py"),
    *("datasets/augmentation.py", "models/**/*.py", "training/*.py"),
)
"""The files whose code a fit depends on, beside its preset."""

TRAINING, REGRESSING = "training attackers", "fitting kernel attackers"
RESTORING = "restoring its clips"
"""What is done for a row, as its progress is told."""

SUBMITTED = 4  # tasks for each process that are handed out at once
MOST_LETTERS = 50  # of a method's name in a folder's name, which has 255 bytes at most
RESTORED_BYTES = 2 << 30  # of a method's restored clips that are kept while they are attacked

Tasks = Sequence[tuple[Path, FitTask, ClipDataset]]
"""Each with the file of its predictions, and the clips that it sees."""


@dataclass(kw_only=True, eq=False)
class Executor:
    """Where and how fits are done."""

    folder: Path  # for weights and predictions; what is there is not done again
    preset: Preset  # of clips and attackers
    seeds: int  # networks of each kind
    workers: int = 1  # processes, each on one core; 1: this one, on all of them
    # what reaches processes of other machines that do the fits; None: `workers` of this one
    open_executor: OpenExecutor | None = None
    device: str = "cpu"  # where networks run; a GPU is not shared among processes of one machine
    progress: Progress | None = None  # called with (what, fits done, fits in all)
    _pool: concurrent.futures.Executor | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if any(self.folder.glob("*/clips.npy")):
            raise UsageError(
                f"{self.folder.parent} was made by an earlier version, whose files are not read: "
                "choose another -o, or delete it."
            )

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Keep the worker processes open until the context ends: each takes seconds to start."""
        if self.fits_here:
            yield
            return
        with self.open_pool():
            yield

    @contextmanager
    def open_pool(self) -> Iterator[concurrent.futures.Executor]:
        """The worker processes, which end with the context unless they were open before it."""
        if self._pool is not None:
            yield self._pool
            return
        open_executor = self.open_executor or partial(worker_pool, self.workers)
        with naming_dead_workers(), open_executor() as self._pool:
            try:
                yield self._pool
            finally:
                self._pool = None

    @property
    def fits_here(self) -> bool:
        """Whether fits run without worker processes: here, or in those that torchrun started."""
        alone = self.open_executor is None and (self.workers < 2 or self.device != "cpu")
        return under_torchrun() or alone

    @property
    def _shared(self) -> Path | None:
        """The folder for temporary files that other machines read, too; None: the system's."""
        return None if self.open_executor is None else self.folder

    def folder_of(self, name: str, clips: ClipDataset) -> Path:
        """The folder of a method's fits, named by the content of its clips.

        Names that begin alike may share it: fits follow from the clips.
        """
        content = hashlib.sha256(clips.digest.encode() + clips.rows.tobytes())
        content.update(repr(replace(self.preset, attackers={})).encode())
        content.update(code_digest(*FITTING_CODE).encode())
        plain = re.sub(r"\W+", "-", name).strip("-")[:MOST_LETTERS]
        make_private(self.folder)
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
        restored: Mapping[FoldSeed, ClipDataset] | None = None,
    ) -> Predictions:
        """Do every fit of all protocols that is not cached, all side by side.

        Raw-trained weights are in the folder of the clips `raw`; None: these clips are raw. A
        `shuffle` is the number of the shuffle of the labels in `truth`; 0: they are the true ones.
        With `restored`, from `restore`, attackers see these clips in place of `clips`.
        """
        folder = self.folder_of(method, clips)
        base = folder if raw is None else self.folder_of("raw", raw)
        seeds = range(self.seeds) if seeds is None else seeds
        tasks: list[tuple[Path, FitTask, ClipDataset]] = []
        for protocol in truth.protocols.values():
            labels = {label: truth.labels[label] for label in protocol.heads}
            digest = _labels_digest(labels)
            numbers = range(len(protocol.folds)) if folds is None else folds
            for (attacker, start), seed, at in itertools.product(fits, seeds, numbers):
                fold = protocol.folds[at].for_seed(seed)
                seen = clips if restored is None else restored[protocol.name, seed, at]
                plain = attacker.removesuffix(RESTORED)  # whose raw-trained weights it has
                plain_model, own_model = (self.preset.attackers[name] for name in (plain, attacker))
                if start in ("scratch", "finetuned"):  # the others start from published weights
                    plain_model = replace(plain_model, published=None)
                    own_model = replace(own_model, published=None)
                weights = _fit_name(f"{plain} {plain_model}", seed, shuffle, fold, digest)
                model = f"{attacker} {own_model}"
                model += "" if restored is None else f" {seen.digest}"
                name = _fit_name(model, seed, shuffle, fold, digest)
                task = FitTask(
                    key=PredictionKey(
                        protocol.name, method, run, attacker, start, seed, at, "test"
                    ),
                    fold=fold.of_clips(clips.rows),
                    classes={label: truth.classes[label] for label in protocol.heads},
                    labels=labels,
                    weights=None if shuffle else base / f"{weights}.weights",
                    saves_weights=raw is None and start in ("scratch", "published"),
                )
                tasks.append((folder / f"{name}-{start}.npz", task, seen))
        shuffled = ", labels shuffled" if shuffle else ""
        self._fit_missing(tasks, f"{method}{shuffled}")
        blocks = {}
        for file, task, _ in tasks:
            for key, block in Predictions.load(file).blocks.items():
                blocks[task.key._replace(split=key.split)] = block
        return Predictions(blocks=blocks, people=truth.people, groups=truth.groups)

    def restore(
        self,
        method: str,
        clips: ClipDataset,
        truth: GroundTruth,
        *,
        raw: ClipDataset,
        seeds: Sequence[int] | None = None,
        folds: Sequence[int] | None = None,
    ) -> dict[FoldSeed, ClipDataset]:
        """Train networks that restore raw clips, and return the restored clips of each fold.

        A few seeds share a network, which has seen no clip that one of them holds out.
        """
        folder = self.folder_of(method, clips)
        all_seeds = list(range(self.seeds) if seeds is None else seeds)
        tasks: list[tuple[Path, RestorationTask]] = []
        files: dict[FoldSeed, Path] = {}
        for protocol in truth.protocols.values():
            for at in range(len(protocol.folds)) if folds is None else folds:
                for group, rows in shared_train(protocol.folds[at], all_seeds, clips.rows):
                    pair = clips.of_rows(rows), raw.of_rows(rows)
                    name = hashlib.sha256(f"{group[0]} {pair[1].digest}".encode() + rows.tobytes())
                    file = folder / f"{name.hexdigest()[:16]}.restoration"
                    task = RestorationTask(
                        published=pair[0],
                        raw=pair[1],
                        steps=self.preset.restoration_steps,
                        seed=group[0],
                    )
                    tasks.append((file, task))
                    files |= {(protocol.name, seed, at): file for seed in group}
        save = partial(save_restoration_net, device=self.device)
        self._run_missing(dict(tasks).items(), save, f"{method}: training networks that restore it")
        shown = {
            file: restored_clips(clips, load_restoration_net(file, device=self.device))
            for file in dict(tasks)
        }
        if len(shown) * len(clips) * math.prod(clips.shape) <= RESTORED_BYTES:
            scratch = TemporaryFolder(self._shared)
            copies = {file: (scratch.path / file.stem, dataset) for file, dataset in shown.items()}
            self._run_missing(copies.values(), write_clips, f"{method}: {RESTORING}")
            shown = {file: mapped_clips(*copy, owner=scratch) for file, copy in copies.items()}
        return {key: shown[file] for key, file in files.items()}

    def _fit_missing(self, tasks: Tasks, method: str) -> None:
        run = partial(_run, preset=self.preset, device=self.device)
        features: dict[tuple[AttackerModel, int], tuple[Path, ClipDataset, AttackerModel]] = {}
        networks: list[tuple[Path, FitTask, ClipDataset]] = []
        kernels: list[tuple[Path, FitTask, ClipDataset]] = []
        with TemporaryFolder(self._shared) as scratch:
            for file, task, clips in self._with_label_files(tasks, scratch):
                model = self.preset.attackers[task.key.attacker]
                if model.network is not None:
                    networks.append((file, task, clips))
                    continue
                if not file.exists():
                    new = scratch / f"{len(features)}.npy"
                    seen = kernel_clips(clips, model, self.preset)
                    shared = features.setdefault((model, id(clips)), (new, seen, model))
                    task = replace(task, features=shared[0])
                kernels.append((file, task, clips))
            # The longest first, so that no process waits for the last one; and apart from kernel
            # regressions, of which one takes a hundredth of the time, so that the pace says more.
            networks.sort(key=lambda fit: fit[1].key.initialisation not in ("scratch", "published"))
            self._run_missing(networks, run, f"{method}: {TRAINING}")
            doing = f"{method}: computing features for attackers"
            self._run_missing(features.values(), save_features, doing)
            self._run_missing(kernels, run, f"{method}: {REGRESSING}")

    def _with_label_files(self, tasks: Tasks, folder: Path) -> Tasks:
        """Save large labels as files that tasks name, where these are sent to other processes.

        Else each task would hold the labels of all clips, which of P-HVU are .7 GB.
        """
        missing = any(not file.exists() for file, _, _ in tasks)
        if self.fits_here or not missing:
            return tasks
        files: dict[int, Path] = {}  # by the identity of the array, which protocols share
        with_files = []
        for file, task, clips in tasks:
            large = {
                name: codes for name, codes in task.labels.items() if codes.nbytes >= LARGE_LABELS
            }
            for codes in large.values():
                if id(codes) not in files:
                    files[id(codes)] = folder / f"labels-{len(files)}.npy"
                    np.save(files[id(codes)], codes)
            small = {name: codes for name, codes in task.labels.items() if name not in large}
            named = {name: files[id(codes)] for name, codes in large.items()}
            with_files.append((file, replace(task, labels=small, label_files=named), clips))
        return with_files

    def _run_missing(
        self, tasks: Collection[tuple[Any, ...]], run: Callable[..., None], what: str
    ) -> None:
        """Run the tasks whose file, which comes first in each, is not there."""
        if not tasks:
            return
        missing = [task for task in tasks if not task[0].exists()]
        report = self.progress or (lambda *_: None)
        cached = len(tasks) - len(missing)
        report(what, cached, len(tasks))
        for done, _ in enumerate(self._each(run, missing), cached + 1):
            report(what, done, len(tasks))

    def _each(self, run: Callable[..., None], tasks: Sequence[tuple[Any, ...]]) -> Iterator[None]:
        if under_torchrun():
            yield from share_fits(run, tasks)
        elif self.fits_here or len(tasks) < 2:
            yield from itertools.starmap(run, tasks)
        elif self._pool is not None:
            waiting: set[Future[None]] = set()
            for task in tasks:
                waiting.add(self._pool.submit(run, *task))
                if len(waiting) >= SUBMITTED * self.workers:  # each holds what its task is given
                    ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in ended)
            yield from (future.result() for future in as_completed(waiting))
        else:
            with self.opened():
                yield from self._each(run, tasks)


def _labels_digest(labels: dict[str, IntArray]) -> str:
    about = hashlib.sha256()
    for name in sorted(labels):
        about.update(f"{name} {labels[name].shape}".encode())
        about.update(np.ascontiguousarray(labels[name]).data)  # without a copy
    return about.hexdigest()


def _fit_name(model: str, seed: int, shuffle: int, fold: Fold, labels: str) -> str:
    """A fit's name: everything that makes it but its clips, which have a folder of their own."""
    about = hashlib.sha256(f"{model} {seed} {shuffle} {labels}".encode())
    for array in (fold.train, fold.validation, fold.test):
        about.update(f"{array.shape}".encode() + array.tobytes())
    return about.hexdigest()[:16]


def _run(file: Path, task: FitTask, clips: ClipDataset, *, preset: Preset, device: str) -> None:
    mapped = {name: np.load(path, mmap_mode="c") for name, path in task.label_files.items()}
    task = replace(task, labels={**task.labels, **mapped}, label_files={})
    with torch.random.fork_rng():  # networks draw their first weights from the global generator
        blocks = fit_predict(task, clips, preset, device=device)
    keyed = {task.key._replace(split=split): block for split, block in blocks.items()}
    none = task.fold.train[:0]
    Predictions(blocks=keyed, people=none, groups=none).save(file)

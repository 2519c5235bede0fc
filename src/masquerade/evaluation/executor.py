"""The fits of an evaluation: shared among processes, kept on disk, and found again after a stop."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.evaluation.attackers import Answered
from masquerade.evaluation.fit_predict import Start, Task, Told, load_told, save_told, told, without
from masquerade.evaluation.metric_specs import classes_of
from masquerade.evaluation.presets import Preset
from masquerade.evaluation.protocols import Fold, Protocol
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.processes import processes

Progress = Callable[[str, int, int], None]


class _Order(NamedTuple):
    """A task, its clips, and where its answers and the raw-trained weights lie."""

    task: Task
    clips: ClipDataset
    answers: Path
    preset: Preset
    device: str


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where and how fits are done.

    Args:
        folder: for clips, weights and answers; what is there is not done again.
        preset: of clips and learners.
        seeds: networks of each kind.
        workers: processes, each on one core; 1: this one, on all of them.
        device: where networks run; a GPU is not shared among processes.
        progress: called with (what, fits done, fits in all).
    """

    folder: Path
    preset: Preset
    seeds: int
    workers: int = 1
    device: str = "cpu"
    progress: Progress | None = None

    def folder_of(self, name: str, clips: ClipDataset) -> Path:
        """Where the answers about a method's clips lie; named by what the clips are.

        Args:
            name: of the method, for people who look into the folder.
            clips: of the method.
        """
        content = hashlib.sha256(clips.digest.encode() + clips.rows.tobytes())
        content.update(repr(self.preset).encode())
        plain = re.sub(r"\W+", "-", name).strip("-")
        folder = self.folder / f"{plain}-{content.hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def answered(
        self,
        clips: ClipDataset,
        folder: Path,
        fits: Sequence[tuple[str, Start]],
        protocols: Sequence[Protocol],
        manifest: Manifest,
        *,
        codes: Mapping[str, IntArray] | None = None,
        deal: int = 0,
        raw: Path | None = None,
        only: int | None = None,
    ) -> tuple[Sequence[Answered], float]:
        """Do every fit of some protocols that is not done yet, all side by side.

        Args:
            clips: of a method.
            folder: of the answers about them.
            fits: learners and starts.
            protocols: whose folds.
            manifest: whose labels.
            codes: other labels than the manifest's: shuffled ones.
            deal: number of the shuffle, so that each has a place of its own.
            raw: the folder of the raw clips, where raw-trained weights lie; None: this is it.
            only: the number of the one network of each kind; None: one for each of the seeds.

        Returns:
            What was told under each protocol, and the CPU seconds of all of it, also where it was
            done before.
        """
        seeds = range(1 if codes else self.seeds) if only is None else (only,)
        orders: dict[tuple[int, str, Start, int], list[_Order]] = {}
        for place, protocol in enumerate(protocols):
            given = codes or {label: manifest.targets(label) for label in protocol.heads}
            heads = {name: classes_of(manifest, name) for name in protocol.heads}
            for learner, start in fits:
                for seed in seeds:
                    mine = orders.setdefault((place, learner, start, seed), [])
                    for fold in protocol.folds:
                        key = _key(learner, seed, deal, fold, given)
                        task = Task(
                            learner=learner,
                            start=start,
                            seed=seed,
                            fold=without(fold, clips.rows),
                            heads=heads,
                            codes=given,
                            weights=None if codes else (raw or folder) / f"{key}.weights",
                            keeps=raw is None and codes is None and start == "fresh",
                        )
                        answers = folder / f"{key}-{start}.npz"
                        mine.append(_Order(task, clips, answers, self.preset, self.device))
        self._do([one for many in orders.values() for one in many], folder.name)
        answered: Sequence[dict[tuple[str, Start], list[list[Told]]]] = [{} for _ in protocols]
        spent = 0.0
        for (place, learner, start, _), many in orders.items():
            told = [load_told(one.answers) for one in many]
            answered[place].setdefault((learner, start), []).append(told)
            spent += sum(one.cpu_seconds for one in told)
        return answered, spent

    def _do(self, orders: Sequence[_Order], what: str) -> None:
        missing = [one for one in orders if not one.answers.exists()]
        missing.sort(key=self._quick)
        done = len(orders) - len(missing)
        self._say(what, done, len(orders))
        for at, _ in enumerate(self._each(missing), 1):
            self._say(what, done + at, len(orders))

    def _quick(self, order: _Order) -> tuple[bool, bool]:
        """The longest fits first, so that no process waits for the last one."""
        kernel = self.preset.learners[order.task.learner].network is None
        return kernel, order.task.start != "fresh"

    def _each(self, orders: Sequence[_Order]) -> Iterator[None]:
        if self.workers < 2 or len(orders) < 2 or self.device != "cpu":
            yield from map(_carried_out, orders)
            return
        with processes(self.workers) as pool:
            waiting = [pool.submit(_carried_out, order) for order in orders]
            for done in as_completed(waiting):
                yield done.result()

    def _say(self, what: str, done: int, of: int) -> None:
        if self.progress:
            self.progress(what, done, of)


def _key(learner: str, seed: int, deal: int, fold: Fold, codes: Mapping[str, IntArray]) -> str:
    """A fit's name: everything that makes it but its clips, which have a folder of their own."""
    about = hashlib.sha256(f"{learner} {seed} {deal} {sorted(codes)}".encode())
    for array in (fold.train, fold.validation, fold.test, *(codes[k] for k in sorted(codes))):
        about.update(f"{array.shape}".encode() + array.tobytes())
    return about.hexdigest()[:16]


def _carried_out(order: _Order) -> None:
    with _seeded():
        save_told(told(order.task, order.clips, order.preset, device=order.device), order.answers)


@contextmanager
def _seeded() -> Iterator[None]:
    """Networks draw their first weights from torch's own generator; leave it as it was."""
    with torch.random.fork_rng():
        yield

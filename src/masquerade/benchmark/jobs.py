"""The jobs of a suite before its tables: datasets that are made, and anonymizers that are trained.

Each is one masquerade command in a process of its own, and is done once what it makes is there, so
that a benchmark that was stopped goes on where it was.
"""

import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from masquerade.anonymizer import Anonymizer
from masquerade.benchmark.commands import Commands, LocalCommands, reason_in
from masquerade.benchmark.durations import Durations, OpenJob, SpentTimes, TimeLeft
from masquerade.benchmark.label_digest import label_digest
from masquerade.benchmark.suite import (
    Suite,
    SuiteRow,
    SuiteTable,
    cut_of,
    first_of,
    named_data,
    split_words,
)
from masquerade.benchmark.try_out import trained_words
from masquerade.checkpoint import WEIGHTS
from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.overlap import fingerprints
from masquerade.errors import UsageError
from masquerade.extraction.config import READING_CODE
from masquerade.methods import METHODS
from masquerade.storage import code_digest, file_digest, file_signature
from masquerade.training.engine import STEP_CODE
from masquerade.training.step_time import read_step_time

TRAINING_CODE = (
    *READING_CODE,  # which frames of a video, and how they become clips
    *STEP_CODE,
    *("datasets/splits.py", "datasets/manifest.py"),
    *("evaluation/protocols.py", "cli/train.py"),  # which rows a fold leaves out
)
"""Source files that decide what a training learns: their digest is part of its folder's name."""

DRAWING_CODE = "datasets/mimes/**/*.py"
"""Source files that draw the synthetic people of a dataset."""


CONVERSION_CODE = (
    *("datasets/published/*.py", "datasets/manifest.py", "datasets/splits.py"),
    *("datasets/overlap.py", "cli/data.py"),
)
"""Source files that read published datasets and split them."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One command."""

    name: str  # what it does, for people
    kind: str  # jobs of one kind take about as long: what the time that is left is judged by
    words: tuple[str, ...]  # of the command, after `masquerade`
    done: Path  # what is there once it is done
    log: Path  # what the command says
    after: tuple[str, ...] = ()  # names of the jobs that have to be done before


class TrainingRun(NamedTuple):
    """One of the trainings of a row: with which seed, and without which fold."""

    seed: int | str  # {seed}: a placeholder
    fold: int | str  # {fold}: a placeholder
    folds: int = 0  # 0: the manifest's own split


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where a benchmark keeps what it makes."""

    folder: Path  # its -o
    given: Path  # the folder of --data, with datasets as their authors publish them
    tried: bool = False  # whether a few clips of each dataset are used, to try a suite out
    image_weights: Path | None = None  # what methods start from that can, as STPrivacy's paper does
    key_weights: Path | None = None  # of the network by which rows that name one compare templates
    # digests of files by what names them, each taken once: a suite asks for it many times
    _digests: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def whole(self, suite: Suite, name: str) -> Path:
        """The manifest of a whole dataset of the suite.

        One that is made has a digest of what it is made by in its name, so that other words, other
        content of label files, or another folder of --data, make another one.
        """
        source = suite.data[name]
        if source.manifest is not None:
            return Path(source.manifest.replace("{data}", str(self.given)))
        if source.draw is not None:
            return self.folder / "data" / self._named(suite, name) / "manifest.csv"
        return self.folder / "data" / f"{self._named(suite, name)}.csv"

    def manifest(self, suite: Suite, name: str) -> Path:
        """The manifest of a dataset as it is used."""
        if self.tried:
            return self.folder / "data" / "tried" / f"{self._named(suite, name)}.csv"
        return self.whole(suite, name)

    def log(self, suite: Suite, name: str) -> Path:
        """What the command says that makes a dataset."""
        return self.folder / "data" / f"{self._named(suite, name)}.log"

    def _named(self, suite: Suite, name: str) -> str:
        """A dataset's name with a digest of what it is and, if it is not drawn, of where it is."""
        drawn = suite.data[name].draw is not None
        where = "" if drawn else str(self.given.absolute())
        return f"{name}-{short_digest([self.data_digest(suite, name), where])}"

    def data_digest(self, suite: Suite, name: str) -> str:
        """Of what a dataset is: how it is made and of which others, or what its manifest says.

        Without the folder of --data, so that a moved one is the same.
        """
        source = suite.data[name]
        if source.manifest is None:
            words = shlex.split(source.draw or source.convert or "")
            needed_data = named_data(suite, source.convert or "")
            known = [words, *(self.data_digest(suite, needed_name) for needed_name in needed_data)]
            made_by = (DRAWING_CODE,) if source.draw is not None else CONVERSION_CODE
            known.append(code_digest(*made_by))
            if source.convert is not None:
                known.append(self._label_files_digest(words))
            return short_digest(known)
        path = self.whole(suite, name)
        return file_digest(path) if path.is_file() else ""

    def content_digest(self, suite: Suite, name: str) -> str:
        """Of what is learned from a dataset: what it is, and its labels and videos as they are now.

        Before it is made these are not known.
        """
        path, known = self.manifest(suite, name), self.data_digest(suite, name)
        return short_digest([known, self._clips_digest(path)]) if path.is_file() else known

    def _clips_digest(self, path: Path) -> str:
        """The digest of a manifest's labels and of the fingerprints of its videos."""
        text = f"clips of {path} {file_signature(path)}"  # a try-out writes it anew
        if text not in self._digests:
            manifest = read_manifest(path)
            labels = [[*clip.cells.items()] for clip in manifest.clips]
            marks = fingerprints(manifest, range(len(manifest)))
            self._digests[text] = short_digest([labels, marks])
        return self._digests[text]

    def _label_files_digest(self, words: Sequence[str]) -> str:
        """The digest of the label files that words name."""
        text = shlex.join(words)
        if text not in self._digests:
            self._digests[text] = label_digest(words, self.given, made=self.folder)
        return self._digests[text]

    def _named_file_digests(self, words: Sequence[str]) -> Iterator[str]:
        """The digests of the files that a training's flags name: weights, and manifests' clips."""
        for path in _files_named(words):
            if path.suffix == ".csv":
                yield self._clips_digest(path)
                continue
            if str(path) not in self._digests:
                self._digests[str(path)] = file_digest(path)
            yield self._digests[str(path)]

    def run(self, suite: Suite, table: SuiteTable, row: SuiteRow, run: TrainingRun) -> Path:
        """The folder of a training run.

        It follows from what is trained on which data by which code and not from the table, so that
        rows of several tables, and of several suites with one -o, share their training.
        """
        data = table.learned
        name = f"{(row.train or '').split()[0]}-{data}-{self._digest(suite, table, row)}"
        cut = f"-of{run.folds}" if run.folds else ""
        return self.folder / "runs" / _plain(name) / f"seed{run.seed}-fold{run.fold}{cut}"

    def _digest(self, suite: Suite, table: SuiteTable, row: SuiteRow) -> str:
        train = row.train or ""
        data = [table.learned, *named_data(suite, train)]
        known = [shlex.split(train), [(name, self.content_digest(suite, name)) for name in data]]
        known.append(code_digest(*TRAINING_CODE))
        known += self._named_file_digests(split_words(train, self.given))
        if self._starts_from_image(row):
            known.append(self._image_digest)
        if row.start is not None:
            start_table, start_row = first_of(suite, row.start)
            known += [
                self._digest(suite, start_table, start_row),
                cut_of(start_table, start_table.folds),
            ]
        return short_digest(known)

    def start_words(self, row: SuiteRow) -> tuple[str, ...]:
        """The flags of a training that starts from the image weights."""
        words = ("--image-weights", str(self.image_weights))
        return words if self._starts_from_image(row) else ()

    def _starts_from_image(self, row: SuiteRow) -> bool:
        words = shlex.split(row.train or "")
        if self.image_weights is None or "--image-weights" in words:
            return False
        method = METHODS.get(words[0])
        own = Anonymizer.init_from_image_weights
        return method is not None and method.init_from_image_weights is not own

    @cached_property
    def _image_digest(self) -> str:
        return "" if self.image_weights is None else file_digest(self.image_weights)

    def fill(self, suite: Suite, words: str) -> tuple[str, ...]:
        """Flags as words, with {NAME} of a dataset replaced by its manifest."""
        for name in suite.data:
            words = words.replace(f"{{{name}}}", shlex.quote(str(self.manifest(suite, name))))
        return split_words(words, self.given)


@dataclass(frozen=True, kw_only=True)
class MissingData:
    """Files and folders that a dataset needs and that are not there."""

    data: str  # the suite's name of the dataset
    paths: tuple[Path, ...]
    about: str  # where it comes from, and its terms


def with_needed(suite: Suite, wanted: Sequence[str]) -> tuple[str, ...]:
    """Datasets and those that they are made with, as by `--without {NAME}`, which come first."""
    names: dict[str, None] = {}
    for name in wanted:
        inputs = named_data(suite, suite.data[name].convert or "")
        names |= dict.fromkeys([*with_needed(suite, inputs), name])
    return tuple(names)


def lacking_data(suite: Suite, places: Places, wanted: Sequence[str]) -> tuple[MissingData, ...]:
    """What is not there of the files that datasets need; of one that is made already, nothing."""
    lacking = []
    for name in with_needed(suite, wanted):
        source, manifest = suite.data[name], places.whole(suite, name)
        needed = [places.given / path for path in source.needs]
        if source.manifest is not None:
            needed.append(manifest)
        elif manifest.exists():
            continue
        paths = tuple(path for path in needed if not path.exists())
        lacking += [MissingData(data=name, paths=paths, about=source.about)] if paths else []
    return tuple(lacking)


def data_jobs(suite: Suite, places: Places, wanted: Sequence[str]) -> list[Job]:
    """Make the datasets that are drawn or converted."""
    jobs = []
    for name in with_needed(suite, wanted):
        source, manifest = suite.data[name], places.whole(suite, name)
        if source.manifest is not None:
            continue
        after: list[str] = []
        if source.draw is not None:
            words = ("data", "mimes", str(manifest.parent), *source.words(places.given))
        else:
            text = source.convert or ""
            for input_name in named_data(suite, text):
                after += [_making(input_name)] if suite.data[input_name].manifest is None else []
                text = text.replace(
                    f"{{{input_name}}}", shlex.quote(str(places.whole(suite, input_name)))
                )
            words = ("data", "convert", *split_words(text, places.given), "-o", str(manifest))
        jobs.append(
            Job(
                name=_making(name),
                kind="data",
                words=words,
                done=manifest,
                log=places.log(suite, name),
                after=tuple(after),
            )
        )
    return jobs


def check_lacking(lacking: Sequence[MissingData]) -> None:
    """Refuse to begin where files are not there.

    Raises:
        UsageError: the message says which, and where they come from.
    """
    if lacking:
        first, more = lacking[0], len(lacking) - 1
        hint = f" {more} more datasets lack files; --list says which." if more else ""
        raise UsageError(
            f"{first.data} needs {', '.join(map(str, first.paths))}, which is not there: give its "
            f"folder by --data. {first.about}{hint}".rstrip()
        )


def training_jobs(
    suite: Suite,
    table: SuiteTable,
    places: Places,
    *,
    seeds: int,
    folds: int,
    device: str,
    store_limit: float | None = None,
) -> dict[str, tuple[Job, ...]]:
    """Train each row of a table that is trained, for each seed and fold; jobs by row."""
    more: tuple[str, ...] = ("--device", device)
    more += () if store_limit is None else ("--store-limit", str(store_limit))
    cut = cut_of(table, folds)
    return {
        row.name: tuple(
            _training_job(suite, table, row, places, TrainingRun(seed, fold, cut), more)
            for seed in range(seeds)
            for fold in range(max(1, cut))
        )
        for row in table.rows
        if row.train is not None
    }


def _training_job(
    suite: Suite,
    table: SuiteTable,
    row: SuiteRow,
    places: Places,
    run: TrainingRun,
    more: tuple[str, ...],  # flags that do not change what is learned
) -> Job:
    data, train = table.learned, row.train or ""
    folder = places.run(suite, table, row, run)
    words = ("train", *trained_words(places.fill(suite, train), tried=places.tried))
    words += ("--data", str(places.manifest(suite, data)), "-o", str(folder))
    words += ("--seed", str(run.seed), *more, *places.start_words(row))
    words += ("--cache", str(places.folder / "seen"))
    if run.folds:
        words += ("--folds", str(run.folds), "--fold", str(run.fold))
    named = dict.fromkeys([data, *named_data(suite, train)])
    after = [_making(name) for name in named]
    if row.start is not None:
        start_table, start_row = first_of(suite, row.start)
        cut = cut_of(start_table, start_table.folds)
        # whether it learned without the clips of the same fold
        same = start_table.learned == data and cut == run.folds
        begun = TrainingRun(run.seed, run.fold if same else 0, cut)
        words += ("--start", str(places.run(suite, start_table, start_row, begun)))
        after.append(_training(suite, start_table, start_row, begun))
    return Job(
        name=_training(suite, table, row, run),
        kind=f"train {train} on {data}",
        words=words,
        done=folder / WEIGHTS,
        log=folder.with_suffix(".log"),
        after=tuple(after),
    )


def _making(name: str) -> str:
    return f"data {name}"


def _training(suite: Suite, table: SuiteTable, row: SuiteRow, run: TrainingRun) -> str:
    """The name of a training, the same for all rows that share it."""
    start = "" if row.start is None else f" from {row.start}"
    fold = f"fold {run.fold} of {run.folds}" if run.folds else "fold 0"
    return f"train {row.train} on {table.learned}{start}, seed {run.seed}, {fold}"


def _files_named(words: Sequence[str]) -> Iterator[Path]:
    """The files that flags of a training name, or the .safetensors of a folder that they name."""
    for before, word in pairwise(words):
        value = word.partition("=")[2] if word.startswith("--") else word
        if value and "--" in (before[:2], word[:2]):
            path = Path(value)
            yield from [path] if path.is_file() else sorted(path.glob("*.safetensors"))


def short_digest(known: Sequence[object]) -> str:
    """A digest that is short enough for a name."""
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:8]


def _plain(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


TOLD_EVERY = 20.0  # seconds after which the time that is left is told anew
NEXT = "the next job"  # begins, of which and of those after it is not known how long they take


def _at_work(job: Job, spent: float) -> OpenJob:
    """A job that runs for so many seconds; of a training it is known how far it has come."""
    measured = read_step_time(job.done.parent)
    return OpenJob(kind=job.kind, spent=spent, left=None if measured is None else measured.left)


@dataclass(kw_only=True)
class JobRunner:
    """Run jobs side by side, each once those before it are done."""

    workers: int
    durations: Durations
    spent: SpentTimes
    # told what was done, jobs done, jobs in all, and the time that is left
    report: Callable[[str, int, int, TimeLeft], None]
    commands: Commands = field(default_factory=LocalCommands)  # where the jobs run
    failures: dict[str, str] = field(default_factory=dict)  # job to what its command said last
    _lock: Lock = field(default_factory=Lock)

    def run(self, jobs: Sequence[Job], *, others: Sequence[Job] = ()) -> None:
        """Do what is not done; what fails is in `failures`, and what waited for it, too.

        `others` are done by another call: they are counted, and so is the time that they take.
        """
        waiting = {job.name: job for job in jobs if not job.done.exists()}
        running: dict[Future[str | None], tuple[Job, float]] = {}
        shared = time.monotonic()  # until when time was shared among jobs that ran side by side

        def tell(what: str) -> None:
            now = time.monotonic()
            undone = [job for job in others if not job.done.exists()]
            at_work = [_at_work(job, now - began) for job, began in running.values()]
            later = [job for job in (*waiting.values(), *undone) if self._can_run(job)]
            unfinished = at_work + [OpenJob(kind=job.kind) for job in later]
            left = self.durations.left(unfinished, side_by_side=self.workers)
            until = ""
            if left is None:
                times = [self.durations.left_of(job, at_work) for job in at_work]
                left = min((seconds for seconds in times if seconds is not None), default=None)
                until = NEXT
            total = len(jobs) + len(others)
            self.report(what, total - len(unfinished), total, TimeLeft(left, until))

        tell("")
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                while waiting or running:
                    for job in list(waiting.values()):
                        failed = [name for name in job.after if name in self.failures]
                        if failed:
                            self.failures[waiting.pop(job.name).name] = f"{failed[0]} failed."
                            continue
                        undone = {*waiting, *(active.name for active, _ in running.values())}
                        if len(running) < self.workers and undone.isdisjoint(job.after):
                            shared = self._share_time(running, shared)
                            if not job.done.parent.exists():  # else what was stopped goes on
                                self.spent.of_job(job.done).seconds = 0.0
                            future = pool.submit(self._run_job, waiting.pop(job.name))
                            running[future] = job, time.monotonic()
                    if not running:
                        continue
                    done = wait(running, timeout=TOLD_EVERY, return_when=FIRST_COMPLETED).done
                    shared = self._share_time(running, shared)
                    for finished in done:
                        job, _ = running.pop(finished)
                        if (why := finished.result()) is not None:
                            self.failures[job.name] = why
                        tell(job.name)
                    if not done:
                        tell("")
            except BaseException:
                self.commands.stop()
                raise

    def _share_time(
        self, running: Mapping[Future[str | None], tuple[Job, float]], since: float
    ) -> float:
        """Share the time since `since` among the running jobs; returns the time now."""
        now = time.monotonic()
        for job, _ in running.values():
            self.spent.of_job(job.done).seconds += (now - since) / len(running)
        if running:
            self.spent.save()
        return now

    def _can_run(self, job: Job) -> bool:
        """Whether neither a job nor one that it needs has failed."""
        return self.failures.keys().isdisjoint((job.name, *job.after))

    def _run_job(self, job: Job) -> str | None:
        """Run one command; returns why it failed."""
        began = time.monotonic()
        code = self.commands.run(job.words, job.log, side_by_side=self.workers)
        if code is None:
            return "stopped."
        if job.done.exists():  # `train` ends with 1, too, where it warns of what it trained
            with self._lock:
                self.durations.add(job.kind, time.monotonic() - began)
            return None
        try:
            reason = reason_in(job.log.read_text("utf-8", "replace"))
        except OSError:  # a machine of a cluster that lacks the folder begins no log either
            return "it left no log: do all machines see this folder, and that of -o?"
        return reason or f"it ended with {code} and said nothing."

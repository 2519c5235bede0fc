"""Many files: which they are, where they go, and one bad one does not stop the others."""

from __future__ import annotations

import glob
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import described
from masquerade.errors import MasqueradeError, UsageError
from masquerade.pipeline.config import PipelineConfig
from masquerade.pipeline.file import Progress, receipt_path, run
from masquerade.pipeline.receipt import Receipt, config_hash, sha256_of
from masquerade.video.encoding import CONTAINERS, suffix_of

IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}
VIDEOS = {
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts",
    ".vob", ".ogv", ".flv", ".wmv", ".asf", ".3gp", ".gif",
}  # fmt: skip
OWN = "_anonymized"
Naming = Literal["keep", "sequential", "hash"]


@dataclass(frozen=True)
class FileTask:
    """One file to anonymize."""

    src: Path
    dst: Path


@dataclass(frozen=True)
class FileOutcome:
    """What became of one file."""

    task: FileTask
    status: Literal["done", "skipped", "failed"]
    error: str = ""
    exit_code: int = 0
    receipt: Receipt | None = None


def plan_tasks(
    inputs: Iterable[str],
    *,
    output: str | None = None,
    recursive: bool = False,
    suffix: str | None = None,
    name: Naming = "keep",
    codec: str = "h264",
    sequence: bool = False,
) -> list[FileTask]:
    """Every file to be done and where it goes, before any work.

    Args:
        inputs: files, folders and patterns.
        output: a file if there is one input, else a folder (also if it ends in a slash).
        recursive: folders with all below them, mirrored under `output`.
        suffix: put behind each name; None: "_anonymized" beside the input, nothing in a folder.
        name: keep names, number them, or use a hash of the content.
        codec: decides the container of videos.
        sequence: a folder is one video.

    Raises:
        UsageError: nothing to do, or two inputs would go to one output.
    """
    found = list(_expand(inputs, recursive=recursive, sequence=sequence))
    if not found:
        raise UsageError("there is no video or image among the inputs; name one.")
    one_file = output is not None and len(found) == 1 and not _is_folder(output, found[0])
    if output is not None and one_file:
        return [FileTask(found[0][0], Path(output))]
    if output is not None and Path(output).is_file():
        raise UsageError(f"{output} is one file for {len(found)} inputs; name a folder.")
    if output is not None and len(found) > 1 and not _is_folder(output, found[1]):
        raise UsageError(f"{output} names one file for {len(found)} inputs; name a folder.")
    tasks = []
    for number, (src, below) in enumerate(found, 1):
        folder = src.parent if output is None else Path(output) / below
        tail = suffix if suffix is not None else (OWN if output is None else "")
        stem = {"keep": src.stem, "sequential": f"{number:06d}"}.get(name) or sha256_of(src)[:16]
        tasks.append(FileTask(src, folder / f"{stem}{tail}{_extension(src, codec)}"))
    return _distinct(tasks)


def _expand(
    inputs: Iterable[str], *, recursive: bool, sequence: bool
) -> Iterator[tuple[Path, Path]]:
    """(file, its folder below the input that led to it)."""
    seen: set[Path] = set()
    for text in inputs:
        paths = [Path(text)]
        if not paths[0].exists() and glob.has_magic(text):
            paths = [Path(match) for match in sorted(glob.glob(text, recursive=True))]
        for path in paths:
            entries = [(path, Path())]
            if path.is_dir() and not sequence:
                entries = list(_listed(path, recursive=recursive))
            for file, below in entries:
                key = Path(os.path.realpath(file))  # a link to a file already named adds nothing
                if key not in seen:
                    seen.add(key)
                    yield file, below


def _listed(folder: Path, *, recursive: bool) -> Iterator[tuple[Path, Path]]:
    """The videos and images of a folder, without our own outputs."""
    for root, folders, names in os.walk(folder):  # links to folders are not followed
        folders.sort()
        if not recursive:
            folders.clear()
        for name in sorted(names):
            file = Path(root) / name
            known = file.suffix.lower() in VIDEOS | IMAGES
            if known and not name.startswith(".") and not file.stem.endswith(OWN):
                yield file, Path(root).relative_to(folder)


def _is_folder(output: str, entry: tuple[Path, Path]) -> bool:
    """Whether an output means a folder: it is one, ends like one, or has no suffix."""
    return Path(output).is_dir() or output.endswith(("/", os.sep)) or not Path(output).suffix


def _extension(src: Path, codec: str) -> str:
    if src.suffix.lower() in IMAGES and not src.is_dir():
        return src.suffix
    return suffix_of(next(name for name, codecs in CONTAINERS.items() if codec in codecs))


def _distinct(tasks: list[FileTask]) -> list[FileTask]:
    """a.avi and a.mp4 of one folder become a.avi.mp4 and a.mp4.mp4."""
    counts = Counter(task.dst for task in tasks)
    tasks = [
        FileTask(task.src, task.dst.with_name(task.dst.stem + task.src.suffix + task.dst.suffix))
        if counts[task.dst] > 1
        else task
        for task in tasks
    ]
    counts = Counter(task.dst for task in tasks)
    twice = [task for task in tasks if counts[task.dst] > 1]
    if twice:
        raise UsageError(
            f"{twice[0].src} and {twice[1].src} would both become {twice[0].dst}; "
            "give --name sequential, or do them apart."
        )
    return tasks


def is_finished(task: FileTask, anonymizer: Anonymizer, settings: PipelineConfig) -> bool:
    """Whether an earlier run made this very output from this very source and settings."""
    path = receipt_path(task.dst, settings)
    try:
        receipt = json.loads(path.read_text("utf-8"))
        chosen = {**settings.as_dict(), **described(anonymizer)}
        return bool(
            receipt["settings_sha256"] == config_hash(chosen)
            and receipt["source"]["sha256"] == sha256_of(task.src)
            and receipt["output"]["sha256"] == sha256_of(task.dst)
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def anonymize_batch(
    tasks: list[FileTask],
    anonymizer: Anonymizer,
    settings: PipelineConfig,
    *,
    workers: int = 1,
    resume: bool = False,
    skip_existing: bool = False,
    progress: Callable[[FileTask], Progress | None] = lambda task: None,
) -> Iterator[FileOutcome]:
    """Anonymize files, in this process or in several, and say of each what became of it."""
    todo = []
    for task in tasks:
        if (skip_existing and task.dst.exists()) or (
            resume and is_finished(task, anonymizer, settings)
        ):
            yield FileOutcome(task, "skipped")
        else:
            todo.append(task)
    many = len(tasks) > 1
    if workers <= 1 or len(todo) <= 1:
        for task in todo:
            yield _one(task, anonymizer, _own(task, settings, many), progress(task))
        return
    yield from _in_processes(todo, anonymizer, settings, workers)


def _own(task: FileTask, settings: PipelineConfig, many: bool) -> PipelineConfig:
    """With many files, what is exported beside them goes into folders, a file each."""
    if not many:
        return settings
    endings = {"report": ".receipt.json", "export_boxes": ".boxes.json", "export_masks": ".mkv"}
    given = {key: getattr(settings, key) for key in endings}
    folders = {key: path / (task.dst.name + endings[key]) for key, path in given.items() if path}
    return replace(settings, **folders)


def _one(
    task: FileTask,
    anonymizer: Anonymizer,
    settings: PipelineConfig,
    progress: Progress | None = None,
) -> FileOutcome:
    try:
        receipt = run(task.src, task.dst, anonymizer, settings, progress=progress)
    except MasqueradeError as error:
        return FileOutcome(task, "failed", str(error), error.exit_code)
    return FileOutcome(task, "done", receipt=receipt)


def _in_processes(
    tasks: list[FileTask], anonymizer: Anonymizer, settings: PipelineConfig, workers: int
) -> Iterator[FileOutcome]:
    context = multiprocessing.get_context("spawn")  # forking a process with threads can hang it
    pool = ProcessPoolExecutor(workers, context, initializer=_end_cleanly)
    futures: dict[Future[FileOutcome], FileTask] = {}
    try:
        for task in tasks:
            own = _own(task, settings, True)
            futures[pool.submit(_one, task, anonymizer, own)] = task
        for future in as_completed(futures):
            try:
                yield future.result()
            except BrokenProcessPool:
                why = "a worker process died, perhaps for want of memory; use fewer --workers."
                yield FileOutcome(futures[future], "failed", why, 1)
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_cleanly() -> None:
    """In a worker: a request to end runs the clean-up of a half-made output."""

    def end(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)


def exit_code(outcomes: Iterable[FileOutcome]) -> int:
    """0 where all went well; of one failure its own code; of several the gravest."""
    codes = [outcome.exit_code for outcome in outcomes if outcome.status == "failed"]
    if len(set(codes)) <= 1 and (not codes or codes[0] != 2):
        return codes[0] if codes else 0
    return next((code for code in (4, 3) if code in codes), 1)

"""Anonymize many files, one after the other or in processes; a failed one stops no other.

What an earlier run finished is left out where that is asked for.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from masquerade import __version__
from masquerade.anonymizer import Anonymizer
from masquerade.errors import MasqueradeError, UsageError, VideoError
from masquerade.freed_memory import keep_freed_memory
from masquerade.pipeline.config import Engine, Pipeline, PipelineConfig, with_region_source
from masquerade.pipeline.file_outcome import FileOutcome, failed, recover_folders, run_task
from masquerade.pipeline.file_parts import check_parts
from masquerade.pipeline.outputs import (
    FileTask,
    check_outputs,
    config_of,
    config_of_retry,
    content_digest,
    main_output,
    receipt_path,
)
from masquerade.pipeline.ray_batch import check_shared, run_on_ray, run_parts_on_ray
from masquerade.pipeline.receipt import CODE, VERSION
from masquerade.pipeline.single_file import OnProgress
from masquerade.process_pool import END_SIGNALS, end_with_parent, loader_of, worker_pool
from masquerade.ray_cluster import check_engine
from masquerade.storage import code_digest, file_digest

_busy = threading.Event()  # in a worker: it anonymizes a file
_received_signals: list[int] = []  # in a worker: the signals that it got
_regions: list[Any] = []  # in a worker, which does files of one batch alone: its region source


def check_resume(config: PipelineConfig, anonymizer: Anonymizer) -> None:
    """Refuse to resume a run where no receipt tells whether a file was done with these settings.

    Raises:
        UsageError: receipts do not hold what is needed.
    """
    if config.public_receipt:
        raise UsageError("--resume needs the full receipt; leave --public-receipt out.")
    if not (config.receipt or config.shadow):
        raise UsageError(
            "--resume goes by receipts; leave --no-receipt out, or give --skip-existing."
        )
    keyed = anonymizer.needs_source_digest
    if keyed or config.seed is not None:
        flag = "--key" if keyed else "--seed"
        raise UsageError(
            f"--resume cannot tell what was done with this {flag}, as no receipt holds it: leave "
            "one of them out, or give --skip-existing."
        )


def output_exists(task: FileTask, config: PipelineConfig) -> bool:
    """Whether the output of a task exists, so that `skip_existing` leaves the task out.

    Raises:
        UsageError: its receipt tells that it is of another source, by name or by size.
    """
    path = main_output(task.dst, config)
    if not _exists(path):
        return False
    try:
        receipt = json.loads(receipt_path(task.dst, config).read_text("utf-8"))
        name, size = receipt["source"]["name"], receipt["source"]["bytes"]
        read = task.src.stat().st_size if size and task.src.is_file() else size
        of_output = None if config.shadow else receipt["output"]["sha256"]
    except (OSError, VideoError, ValueError, KeyError, TypeError, RecursionError):
        return True  # no receipt tells what it is of
    if name in (None, task.src.name) and size == read:  # a public receipt has neither
        return True
    if of_output is not None and of_output != content_digest(path):
        return True  # the receipt is of an output that was replaced
    raise UsageError(
        f"{path} exists, and its receipt says that it is of another video than this one: choose "
        "another -o, or give --overwrite."
    )


def _exists(path: Path) -> bool:
    """Whether a file exists; one with a name that the file system refuses does not."""
    try:
        return path.exists()
    except OSError:
        return False


def is_finished(task: FileTask, pipeline: Pipeline) -> bool:
    """Whether an earlier run made this output from this source with this method and configuration.

    It must have been a run of the same code, which may have mended a leak since. It must also have
    attacked the output where this run would, and written the exports asked for.
    Other `threads`, or a stricter --allow-empty or --allow-gaps then, make no difference.
    A receipt of another format is refused, unless the output may be replaced.
    """
    config = pipeline.config
    path = receipt_path(task.dst, config)
    try:
        receipt = json.loads(path.read_text("utf-8"))
        version = receipt["receipt"]
        if version == VERSION:
            earlier = receipt["settings"]
            same = replace(
                config,
                threads=earlier["threads"],
                allow_empty=config.allow_empty and earlier["allow_empty"],
                allow_gaps=config.allow_gaps and earlier["allow_gaps"],
            )
            return bool(
                receipt["versions"]["masquerade"] == __version__
                and receipt["code_sha256"] == code_digest(CODE)
                and (pipeline.check_output is None or receipt["verified"] is True)
                and receipt["settings_sha256"] == pipeline._replace(config=same).fingerprint()
                and receipt["source"]["sha256"] == content_digest(task.src)
                and (config.shadow or receipt["output"]["sha256"] == content_digest(task.dst))
                and all(
                    receipt["exports"][kind] == file_digest(file)
                    for kind, file in config.exports.items()
                )
            )
    except (OSError, VideoError, ValueError, KeyError, TypeError, RecursionError):
        return False
    if config.overwrite:
        return False
    raise UsageError(
        f"{path.name} is of format {version} and this version of masquerade reads {VERSION}, so it "
        "cannot be resumed: give --overwrite to do that file again."
    )


def anonymize_batch(
    tasks: list[FileTask],
    pipeline: Pipeline,
    *,
    workers: int | None = None,
    engine: Engine = "processes",
    address: str | None = None,
    resume: bool = False,
    skip_existing: bool = False,
    progress: Callable[[FileTask], OnProgress | None] = lambda task: None,
) -> Generator[FileOutcome, None, None]:
    """Anonymize files, in this process, in several or on a cluster; yield the outcome of each.

    `workers` are how many files are done side by side; None: one, or on a Ray cluster, which is
    that at `address`, as many as it has cores. With `parts` in the configuration one file is done
    after the other, and `workers` are how many of its parts are done side by side. `resume` leaves
    out files that `is_finished`, `skip_existing` files whose output exists. `progress` is called
    with each task that begins in this process, and gives its callback. Whoever leaves before the
    end closes it, which ends the processes and removes what they left.
    """
    check_outputs(tasks, pipeline.config)
    check_engine(engine, address=address, device=pipeline.config.device)
    if resume:
        check_resume(pipeline.config, pipeline.anonymizer)
    in_parts = pipeline.config.parts > 1
    if in_parts:
        check_parts(pipeline)
        if engine == "ray":
            check_shared(tasks)
        pipeline = pipeline._replace(workers=workers)
    configs = {task: config_of(task, pipeline.config, tasks) for task in tasks}
    recover_folders(configs.items())
    todo = []
    for task in tasks:
        own = pipeline._replace(config=configs[task])
        try:
            done = (skip_existing and output_exists(task, own.config)) or (
                resume and is_finished(task, own)
            )
        except MasqueradeError as error:  # such as a store that does not answer
            yield FileOutcome(task, "failed", str(error), error.exit_code)
            continue
        if done:
            yield FileOutcome(task, "skipped")
        else:
            todo.append((task, own))
    if engine == "ray":
        if in_parts:
            yield from run_parts_on_ray(todo, progress, address=address, workers=workers)
        else:
            yield from run_on_ray(todo, address=address, workers=workers)
        return
    if workers is not None and workers > 1 and len(todo) > 1 and not in_parts:
        yield from _run_in_processes(todo, workers)
        return
    for task, own in todo:
        yield run_task(task, own, progress(task))


def _run_in_worker(
    load: Callable[[], Pipeline], task: FileTask, config: PipelineConfig
) -> FileOutcome:
    """`run_task` in a process that ends with it on a signal, and does not take the next task.

    Also where a library swallowed the exception and the task went on: nobody would end it later.
    """
    outcome = None
    with suppress(SystemExit):
        _busy.set()
        outcome = run_task(task, load()._replace(config=config), build=_with_kept_regions)
    _busy.clear()
    if _received_signals or outcome is None:
        os._exit(128 + _received_signals[0] if _received_signals else 1)
    return outcome


def _with_kept_regions(pipeline: Pipeline) -> Pipeline:
    """Add the worker's region source, which is built for its first file and serves all others."""
    if not _regions:
        _regions.append(with_region_source(pipeline).regions)
    return pipeline._replace(regions=_regions[0])


def _run_in_processes(todo: list[tuple[FileTask, Pipeline]], workers: int) -> Iterator[FileOutcome]:
    """Run files in parallel. If a process dies, each unfinished file is rerun in one of its own."""
    broken = []
    try:
        with worker_pool(workers, initializer=_start_worker, signals=END_SIGNALS) as pool:
            load = loader_of(pool, todo[0][1]._replace(regions=None))
            futures: dict[Future[FileOutcome], tuple[FileTask, Pipeline]] = {}
            for task, own in todo:
                retry = own._replace(config=config_of_retry(task, own.config))
                try:
                    future = pool.submit(_run_in_worker, load, task, own.config)
                    futures[future] = (task, retry)
                except BrokenProcessPool:
                    broken.append((task, retry))
            for future in as_completed(futures):
                task, retry = futures.pop(future)  # and with it the outcome, which may be large
                try:
                    yield future.result()
                except BrokenProcessPool:
                    broken.append((task, retry))
                except Exception as error:  # such as a network for which a worker has no memory
                    yield failed(task, error)
    finally:
        # a worker that ends at once leaves the file that it was writing
        recover_folders((task, own.config) for task, own in todo)
    if len(todo) == 1 and broken:
        why = "its worker process died, perhaps for want of memory; use fewer --workers."
        yield FileOutcome(todo[0][0], "failed", why, 1)
        return
    for pair in broken:  # any of these files may have ended the process
        yield from _run_in_processes([pair], 1)


def _start_worker() -> None:
    keep_freed_memory()
    _exit_on_signals()


def _exit_on_signals() -> None:
    """In a worker: raise SystemExit on the first signal, so that a half-made output is removed.

    Those that it was started to ignore stay ignored.
    """

    def end(received: int, frame: object) -> None:
        # before the next signal, which may come inside of the next line
        first = not _received_signals
        _received_signals.append(received)
        if not _busy.is_set():  # an exception would be printed, and there is nothing to remove
            os._exit(128 + received)
        if first:
            sys.exit(128 + received)

    for number in END_SIGNALS:
        # nohup lets a hang-up be ignored; by SIGTERM the parent ends its workers
        if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
    end_with_parent()

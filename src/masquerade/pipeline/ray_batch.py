"""Anonymize files on a Ray cluster: each file is one task, or each part of a file is one.

The machines see the inputs and the output folder under the same paths, or as addresses of an object
store. Ray Data hands out the files, bounds how many are under way, brings the outcomes back as they
come, and does a file again whose worker died.
"""

import logging
import os
import pickle
import platform
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import chdir, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from masquerade.core_dumps import forbid_core_dumps
from masquerade.errors import UsageError
from masquerade.freed_memory import keep_freed_memory
from masquerade.object_store import is_remote
from masquerade.pipeline.config import Pipeline, PipelineConfig
from masquerade.pipeline.file_outcome import FileOutcome, recover_folders, run_task
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.single_file import OnProgress
from masquerade.ray_cluster import TRIES, BeginCounter, RayExecutor, ray_cluster, wants_gpu
from masquerade.storage import MARK

ENDED_AFTER = 10.0  # seconds in which the workers of a run that was interrupted are gone

Todo = Sequence[tuple[FileTask, Pipeline]]


def run_on_ray(
    todo: Todo, *, address: str | None = None, workers: int | None = None
) -> Generator[FileOutcome, None, None]:
    """Anonymize files on a cluster, see `ray_cluster`; those whose worker died are done again."""
    if not todo:
        return
    lost = dict(enumerate(task for task, _ in todo))
    try:
        with ray_cluster(address, workers=workers) as ray:
            for index, outcome in _outcomes(ray, todo, workers):
                del lost[index]
                yield outcome
    except BaseException:
        _wait_for_ends(todo)
        raise
    recover_folders((task, own.config) for task, own in todo)
    for task in lost.values():
        yield _died(task)


def check_shared(tasks: Sequence[FileTask]) -> None:
    """Refuse files in parts that the cluster's machines cannot all see.

    Raises:
        UsageError: one is at an address, whose copy lies on one machine.
    """
    for task in tasks:
        if is_remote(task.src) or is_remote(task.dst):
            raise UsageError(
                f"parts of {task.src.name} cannot be done on a Ray cluster, as its copy would lie "
                "on one machine: leave --parts out, or copy it into a folder that all machines see."
            )


def run_parts_on_ray(
    todo: Todo,
    progress: Callable[[FileTask], OnProgress | None],
    *,
    address: str | None = None,
    workers: int | None = None,
) -> Generator[FileOutcome, None, None]:
    """Anonymize files one after another, the parts of each on a cluster; see `ray_cluster`.

    Regions are found here. `progress` is called with each task, and gives its callback.
    """
    if not todo:
        return
    try:
        with ray_cluster(address, workers=workers) as ray:
            for task, own in todo:
                own = own._replace(open_executor=partial(RayExecutor, ray, gpus_of(ray, own)))
                yield run_task(task, own, progress(task))
    except BaseException:
        _wait_for_ends(todo)
        raise


def gpus_of(ray: Any, pipeline: Pipeline) -> int:
    """The GPUs that a file is given: one where it is asked for, or would be used.

    With one that it does not use, files would wait for one another.
    """
    device = pipeline.config.device
    return int(wants_gpu(ray, device) and (device != "auto" or pipeline.uses_gpu()))


def _died(task: FileTask) -> FileOutcome:
    why = "its worker process died again and again, perhaps for want of memory; use fewer --workers"
    return FileOutcome(task, "failed", f"{why}.", 1)


def _outcomes(ray: Any, todo: Todo, workers: int | None) -> Iterator[tuple[int, FileOutcome]]:
    """The index and outcome of each file as it ends; none of one that could not be done at all."""
    from ray.data import DataContext, TaskPoolStrategy, from_items

    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # it tells each error of each task
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = -1  # what ends one file does not end the others
    pipeline = todo[0][1]._replace(regions=None)
    counter = ray.remote(num_cpus=0)(BeginCounter).remote()
    rows = [row_of(index, task, own) for index, (task, own) in enumerate(todo)]
    outcomes = from_items(rows, override_num_blocks=len(rows)).map(
        row_runner(pipeline, os.getcwd(), lambda index: ray.get(counter.begin.remote(index))),
        compute=TaskPoolStrategy(size=workers),
        num_cpus=1,
        num_gpus=gpus_of(ray, pipeline),
    )
    with suppress(ray.exceptions.RayError):  # such as a machine that is lost with outcomes on it
        for row in outcomes.iter_rows():
            yield row["index"], pickle.loads(row["outcome"])


def row_of(index: int, task: FileTask, own: Pipeline) -> dict[str, Any]:
    """The row of one file, with its configuration, and whether nothing of its output is there."""
    new = not any(path.exists() for path in task.outputs(own.config))
    return {"index": index, "file": pickle.dumps((task, own.config, new))}


def row_runner(
    pipeline: Pipeline, folder: str, begin: Callable[[int], int]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What each worker calls with a row of the dataset; gives a row with the file's outcome.

    Args:
        pipeline: what all files share.
        folder: in which paths that are relative begin.
        begin: notes that a file is begun; gives how often it was before.
    """

    def run(row: dict[str, Any]) -> dict[str, Any]:
        forbid_core_dumps()
        keep_freed_memory()
        task, config, new = pickle.loads(row["file"])
        before = begin(row["index"])
        if before >= TRIES:
            return {"index": row["index"], "outcome": pickle.dumps(_died(task))}
        if before and new:  # it may have been done, and only its outcome was lost
            config = replace(config, overwrite=True)
        there = os.path.isdir(folder)
        if there or not _begins_in_folder(task, config):
            with chdir(folder if there else "."):
                outcome = run_task(task, pipeline._replace(config=config))
        else:  # it would be done in a folder of the worker's own, where nobody looks for it
            why = (
                f"{platform.node()} has no folder {folder}, in which names of this run begin: let "
                "all machines see it, or give whole paths or addresses."
            )
            outcome = FileOutcome(task, "failed", why, 1)
        return {"index": row["index"], "outcome": pickle.dumps(outcome)}

    return run


def _begins_in_folder(task: FileTask, config: PipelineConfig) -> bool:
    """Whether a file or an output of it is named by a path from the current folder."""
    paths = (task.src, *task.outputs(config))
    return not all(is_remote(path) or path.is_absolute() for path in paths)


def _wait_for_ends(todo: Todo) -> None:
    """Remove what workers leave when they are ended, which takes them a moment."""
    folders = {path.parent for task, own in todo for path in task.outputs(own.config)}
    until = time.monotonic() + ENDED_AFTER
    while time.monotonic() < until:
        recover_folders((task, own.config) for task, own in todo)
        if not any(part for folder in folders for part in folder.glob(f".*{MARK}*")):
            return
        time.sleep(0.1)

"""Anonymize files on a Ray cluster: each file is one task, or each part of a file is one.

The machines see the inputs and the output folder under the same paths, or as addresses of an object
store. Ray hands the files out to its workers, and one whose worker died is handed out again.
"""

import os
import platform
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import chdir
from functools import partial
from queue import SimpleQueue
from typing import Any

from masquerade.errors import UsageError
from masquerade.object_store import is_remote
from masquerade.pipeline.config import Pipeline, PipelineConfig
from masquerade.pipeline.file_outcome import FileOutcome, failed, recover_folders, run_task
from masquerade.pipeline.outputs import FileTask, config_of_retry
from masquerade.pipeline.single_file import OnProgress
from masquerade.ray_cluster import TRIES, RayExecutor, not_loaded, ray_cluster, wants_gpu
from masquerade.storage import MARK

DIED = "its worker process died again and again, perhaps for want of memory; use fewer --workers."
ENDED_AFTER = 10.0  # seconds in which the workers of a run that was interrupted are gone

Todo = Sequence[tuple[FileTask, Pipeline]]


def run_on_ray(
    todo: Todo, *, address: str | None = None, workers: int | None = None
) -> Generator[FileOutcome, None, None]:
    """Anonymize files on a cluster, see `ray_cluster`; those whose worker died are done again."""
    if not todo:
        return
    try:
        with ray_cluster(address, workers=workers) as ray:
            yield from _outcomes(ray, todo, workers)
    except BaseException:
        _wait_for_ends(todo)
        raise
    recover_folders((task, own.config) for task, own in todo)


def check_shared(tasks: Sequence[FileTask]) -> None:
    """Refuse files in parts that the cluster's machines cannot all see.

    Raises:
        UsageError: a file is at an address, whose copy lies on one machine.
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

    If each were given a GPU that it does not use, files would wait for one another.
    """
    device = pipeline.config.device
    return int(wants_gpu(ray, device) and (device != "auto" or pipeline.uses_gpu()))


def _outcomes(ray: Any, todo: Todo, workers: int | None) -> Iterator[FileOutcome]:
    """Hand the files out to a cluster's workers, and yield the outcome of each as it ends."""
    pipeline = todo[0][1]._replace(regions=None)
    # sent once, and not with each file: it holds the method's weights
    run = partial(run_in_worker, partial(ray.get, ray.put(pipeline)), os.getcwd())
    # each file, by which configuration it is done, and how often its worker died
    waiting = deque((task, own.config, 0) for task, own in todo)
    under_way: dict[Future[FileOutcome], tuple[FileTask, PipelineConfig, int]] = {}
    ended: SimpleQueue[Future[FileOutcome]] = SimpleQueue()
    with RayExecutor(ray, gpus_of(ray, pipeline), tries=1, anywhere=True) as cluster:
        while waiting or under_way:
            while waiting and (workers is None or len(under_way) < workers):
                task, config, deaths = waiting.popleft()
                retry = config if deaths else config_of_retry(task, config)  # before it begins
                file = cluster.submit(run, task, config)
                under_way[file] = task, retry, deaths
                file.add_done_callback(ended.put)
            file = ended.get()
            task, retry, deaths = under_way.pop(file)
            try:
                outcome = file.result()
            except BrokenProcessPool:
                if deaths + 1 < TRIES:
                    waiting.append((task, retry, deaths + 1))
                    continue
                outcome = FileOutcome(task, "failed", DIED, 1)
            except Exception as error:  # which stops no other file
                outcome = failed(task, error)
            yield outcome


def run_in_worker(
    load: Callable[[], Pipeline], folder: str, task: FileTask, config: PipelineConfig
) -> FileOutcome:
    """Anonymize a file in a worker process of some machine.

    Args:
        load: gives what all files share.
        folder: in which paths that are relative begin.
        task: the file.
        config: of this file.
    """
    try:
        pipeline = load()._replace(config=config)
    except Exception as error:  # such as a method of the user's own that is not installed here
        missing = not_loaded(error)
        return FileOutcome(task, "failed", str(missing), missing.exit_code)
    if not _begins_in_folder(task, config):
        return run_task(task, pipeline)
    try:
        with chdir(folder):
            return run_task(task, pipeline)
    except OSError as error:
        # it would be done in a folder of the worker's own, where nobody looks for it
        why = (
            f"{platform.node()} cannot use the folder {folder}, in which names of this run begin "
            f"({error.strerror}): let all machines see it, or give whole paths or addresses."
        )
        return FileOutcome(task, "failed", why, 1)


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

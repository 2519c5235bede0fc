"""Run one file of a batch, and say how it ended, whatever goes wrong in it."""

import os
import platform
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal

from masquerade.errors import MasqueradeError, as_masquerade_error, traceback_of
from masquerade.object_store import is_remote
from masquerade.pipeline.config import Pipeline, PipelineConfig, with_region_source
from masquerade.pipeline.memory import give_memory_back
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.receipt import Receipt
from masquerade.pipeline.remote_file import run_remote_file
from masquerade.pipeline.single_file import OnProgress, run_file
from masquerade.text import escape
from masquerade.transaction import recover


def this_process() -> str:
    """The name of this machine and this process's number."""
    return f"{platform.node()}:{os.getpid()}"


@dataclass(frozen=True)
class FileOutcome:
    """How the anonymization of one file ended."""

    task: FileTask
    status: Literal["done", "skipped", "failed"]
    error: str = ""
    exit_code: int = 0
    receipt: Receipt | None = None
    worker: str = field(default_factory=this_process)  # the process that did it
    traceback: str = ""  # of an error that is not of masquerade itself


def recover_folders(tasks: Iterable[tuple[FileTask, PipelineConfig]]) -> None:
    """Remove what processes that were killed left beside the outputs."""
    for folder in {path.parent for task, config in tasks for path in task.outputs(config)}:
        recover(folder)


def run_task(
    task: FileTask,
    pipeline: Pipeline,
    progress: OnProgress | None = None,
    *,
    build: Callable[[Pipeline], Pipeline] = with_region_source,
) -> FileOutcome:
    """Anonymize one file; in a worker `build` adds the region source, which cannot be sent."""
    try:
        if pipeline.regions is None:
            pipeline = build(pipeline)
        if is_remote(task.src) or is_remote(task.dst):
            receipt = run_remote_file(task, pipeline, progress=progress)
        else:
            receipt = run_file(task.src, task.dst, pipeline, progress=progress)
    except Exception as error:  # of any library: the other files go on
        return failed(task, error)
    finally:
        give_memory_back()
    return FileOutcome(task, "done", receipt=receipt)


def failed(task: FileTask, error: Exception) -> FileOutcome:
    """The outcome of a file whose anonymization raised an error."""
    if isinstance(error, MasqueradeError):
        notes = "\n".join(getattr(error, "__notes__", ()))  # as of an attack on the output
        return FileOutcome(task, "failed", str(error), error.exit_code, traceback=notes)
    known = as_masquerade_error(error)
    why = str(known)
    if known is error:
        lines = str(error).strip().splitlines() or [""]
        why = f"it failed for a reason that is not foreseen ({type(error).__name__}: {lines[0]})"
        why += "; leave it out, and report it with what --verbose prints."
    return FileOutcome(task, "failed", escape(why), 1, traceback=traceback_of(error))


def exit_code(outcomes: Iterable[FileOutcome]) -> int:
    """0: all done; else 4 or 3 if a failure has that code, 4 first, and else 1."""
    codes = {outcome.exit_code for outcome in outcomes if outcome.status == "failed"}
    return next((code for code in (4, 3) if code in codes), 1 if codes else 0)

"""Anonymize a file of an object store: a copy of it in a private folder, and its outputs put."""

from contextlib import suppress
from pathlib import Path

from masquerade.errors import MasqueradeError
from masquerade.object_store import RemotePath, fetch, put, refuse_existing_remote, remove
from masquerade.pipeline.config import Pipeline
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.receipt import Receipt
from masquerade.pipeline.single_file import OnProgress, run_file
from masquerade.storage import TemporaryFolder


def run_remote_file(
    task: FileTask, pipeline: Pipeline, *, progress: OnProgress | None = None
) -> Receipt:
    """Anonymize a file whose source or output is in an object store; see `run_file`.

    The source is copied into a folder of this machine that only its owner can read and that is
    removed at the end. Outputs are put once they are verified, the receipt first.
    """
    config = pipeline.config
    outputs = task.outputs(config)
    if not config.overwrite:
        for path in outputs:
            if isinstance(path, RemotePath):
                refuse_existing_remote(path)
    with TemporaryFolder() as folder:
        for name in ("source", "output"):
            (folder / name).mkdir()
        src = fetch(task.src, folder / "source") if isinstance(task.src, RemotePath) else task.src
        dst = folder / "output" / task.dst.name if isinstance(task.dst, RemotePath) else task.dst
        made = FileTask(src, dst)
        receipt = run_file(src, dst, pipeline, progress=progress)
        _put(list(zip(made.outputs(config), outputs, strict=True)), overwrite=config.overwrite)
    return receipt


def _put(files: list[tuple[Path, Path]], *, overwrite: bool) -> None:
    """Put files into the store, the first last; where one fails, none that is new stays."""
    done: list[RemotePath] = []
    try:
        for file, path in reversed(files):
            if isinstance(path, RemotePath):
                put(file, path, overwrite=overwrite)
                done.append(path)
    except BaseException:
        for path in done if not overwrite else ():
            with suppress(MasqueradeError):
                remove(path)
        raise

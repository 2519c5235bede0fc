"""Anonymize a file of an object store: a copy of it in a private folder, and its outputs put."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from masquerade.errors import MasqueradeError, UsageError
from masquerade.object_store import (
    RemotePath,
    UnconfirmedError,
    fetch,
    is_remote,
    may_hold_copy,
    put,
    refuse_existing_remote,
    remove,
)
from masquerade.pipeline.config import Pipeline
from masquerade.pipeline.outputs import FileTask
from masquerade.pipeline.receipt import Receipt
from masquerade.pipeline.single_file import OnProgress, run_file
from masquerade.storage import TemporaryFolder
from masquerade.transaction import Appear


def run_remote_file(
    task: FileTask, pipeline: Pipeline, *, progress: OnProgress | None = None
) -> Receipt:
    """Anonymize a file whose source or output is in an object store; see `run_file`.

    The source is copied into a folder of this machine that only its owner can read and that is
    removed at the end. Outputs are put once they are verified, the receipt first, and those of this
    machine appear after them.
    """
    config = pipeline.config
    outputs = task.outputs(config)
    if not config.overwrite:
        for path in outputs:
            if isinstance(path, RemotePath):
                refuse_existing_remote(path)
    with TemporaryFolder() as folder:
        for name in ("source", "output", "older"):
            (folder / name).mkdir()
        src = fetch(task.src, folder / "source") if isinstance(task.src, RemotePath) else task.src
        dst = folder / "output" / task.dst.name if isinstance(task.dst, RemotePath) else task.dst
        local = FileTask(src, dst).outputs(config)
        store = _Store(folder / "older", overwrite=config.overwrite)

        def put_outputs(receipt: Receipt, appear: Appear) -> None:
            for path in task.outdated_receipts(config):
                if isinstance(path, RemotePath):
                    store.remove(path)
            pairs = zip(local, outputs, strict=True)
            store.put([(appear(file), path) for file, path in pairs if is_remote(path)])

        try:
            return run_file(src, dst, pipeline, progress=progress, also=put_outputs)
        except BaseException:
            store.take_back()
            raise


class _Store:
    """Puts and removes the files of one output in an object store, and can take that back.

    Args:
        folder: for copies of what is replaced or removed.
        overwrite: replace what is there.
    """

    def __init__(self, folder: Path, *, overwrite: bool) -> None:
        self._folder, self._overwrite = folder, overwrite
        # what was put or removed, and what was there before
        self._older: dict[RemotePath, Path | None] = {}

    def put(self, files: Sequence[tuple[Path, Path]]) -> None:
        """Put files into the store, the first, which is the video, last.

        What they replace is copied first, so that it can be put back; of the video it is not.
        """
        for number, (file, path) in reversed(list(enumerate(files))):
            assert isinstance(path, RemotePath)
            there = self._overwrite and path.exists()
            if there and number:
                self._keep(path)
            try:
                put(file, path, overwrite=self._overwrite)
            except BaseException as error:
                # it may have come all the same, before an interruption or without an answer
                unconfirmed = isinstance(error, UnconfirmedError)
                refused = isinstance(error, UsageError)  # what is there is somebody's
                if unconfirmed or (not refused and may_hold_copy(path, file)):
                    self._note_put(path, video_replaced=there and not number)
                raise
            self._note_put(path, video_replaced=there and not number)

    def remove(self, path: RemotePath) -> None:
        """Remove a file from the store; a copy of it is kept, to be put back."""
        self._keep(path)
        remove(path)

    def _keep(self, path: RemotePath) -> None:
        """Copy a file before it is replaced or removed, apart from others of the same name."""
        own = self._folder / str(len(self._older))
        own.mkdir()
        self._older[path] = fetch(path, own)

    def _note_put(self, path: RemotePath, *, video_replaced: bool) -> None:
        self._older.setdefault(path, None)
        if video_replaced:  # the older one is gone: what belongs to the new one stays
            self._older.clear()

    def take_back(self) -> None:
        """Remove the files that were put, and put back those that were replaced or removed."""
        for path, older in self._older.items():
            with suppress(MasqueradeError):
                if older is None:
                    remove(path)
                else:
                    put(older, path, overwrite=True)
        self._older.clear()

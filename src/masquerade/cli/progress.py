"""What a person sees while files are done: a bar on a terminal, one line a file."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from masquerade.pipeline.batch import FileOutcome, FileTask
from masquerade.pipeline.file import Progress as Callback
from masquerade.pipeline.receipt import Receipt


class BatchProgress:
    """Progress and results of a batch.

    Args:
        files: how many files there are.
        bar: show a bar; it appears on a terminal only.
        quiet: errors only.
        verbose: more about each file.
    """

    def __init__(self, *, files: int, bar: bool, quiet: bool, verbose: bool) -> None:
        self._talk = Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet, self._verbose, self._files, self._number = quiet, verbose, files, 0
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed} of {task.total} frames, {task.fields[rate]:.0f} a second"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._talk,
            transient=True,
            disable=not (bar and not quiet and self._talk.is_terminal),
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def follow(self, task: FileTask) -> Callback:
        """The callback that moves the bar of one file."""
        self._number += 1
        for old in self._progress.task_ids:
            self._progress.remove_task(old)
        count = f" ({self._number} of {self._files})" if self._files > 1 else ""
        bar = self._progress.add_task(task.src.name + count, total=None, rate=0.0)

        def moved(done: int, total: int | None) -> None:
            speed = self._progress.tasks[0].speed or 0.0
            self._progress.update(bar, completed=done, total=total, rate=speed)

        return moved

    def result(self, outcome: FileOutcome) -> None:
        """Say what became of one file: outputs on stdout, trouble on stderr."""
        task = outcome.task
        if outcome.status == "failed":
            where = f"{task.src}: " if self._files > 1 else ""  # names recur from folder to folder
            self._talk.print(f"masquerade: {where}{outcome.error}", style="red", markup=False)
        elif outcome.status == "skipped" and not self._quiet:
            self._talk.print(f"{task.src}: done before, left as it is", markup=False)
        elif outcome.receipt is not None:
            self._done(task, outcome.receipt)

    def _done(self, task: FileTask, receipt: Receipt) -> None:
        for warning in receipt.warnings:
            self._talk.print(f"{task.src}: {warning}", style="yellow", markup=False)
        if self._quiet:
            return
        made = task.dst if receipt.output else "looked at, nothing written"
        print(f"{task.src} -> {made}: {summary(receipt)}")
        if self._verbose:
            self._details(receipt)

    def _details(self, receipt: Receipt) -> None:
        for name, items in (("removed", receipt.removed), ("kept", receipt.kept)):
            if items:
                self._talk.print(f"  {name}: {', '.join(items)}", markup=False)
        spent = ", ".join(f"{key} {value:.1f} s" for key, value in receipt.stage_seconds.items())
        self._talk.print(f"  {receipt.device}; busy: {spent}", markup=False)


def summary(receipt: Receipt) -> str:
    """A receipt in one line."""
    coverage, frames = receipt.coverage, receipt.source.frames
    name = "+".join(look.name for look in receipt.regions)
    if name == "frame":
        return f"all of {frames} frames hidden by {receipt.method['name']}"
    every = max(look.arguments.get("every") or 1 for look in receipt.regions)
    if name == "templates":
        (look,) = receipt.regions
        return (
            f"what looks like the points hidden by {receipt.method['name']} in "
            f"{frames - coverage.empty} of {frames} frames (keys: {look.arguments['keys']})"
        )
    mode = f"looked for in one frame of {every}, " if every > 1 else ""
    return (
        f"{name} hidden by {receipt.method['name']} in {frames - coverage.empty} of {frames} frames"
        f" ({mode}{coverage.seen} seen, {coverage.filled} filled in between)"
    )

"""Progress bar and one printed line for each file that is anonymized."""

from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from masquerade.pipeline.batch import FileOutcome, FileTask
from masquerade.pipeline.file import OnProgress
from masquerade.pipeline.receipt import Receipt


class BatchProgress:
    """Progress and outcomes of a batch: outputs on stdout, all else on stderr.

    Args:
        files: how many files there are.
        bar: show a bar; it appears on a terminal only.
        quiet: print errors only.
        verbose: print more about each file.
    """

    def __init__(self, *, files: int, bar: bool, quiet: bool, verbose: bool) -> None:
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet, self._verbose, self._files, self._number = quiet, verbose, files, 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed} of {task.total} frames, {task.fields[rate]:.0f} a second"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._stderr,
            transient=True,
            disable=not (bar and self._stderr.is_terminal),
        )

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def start_file(self, task: FileTask) -> OnProgress:
        """Show a bar for the next file; gives the callback that moves it."""
        self._number += 1
        for old in self._bar.task_ids:
            self._bar.remove_task(old)
        count = f" ({self._number} of {self._files})" if self._files > 1 else ""
        bar = self._bar.add_task(task.src.name + count, total=None, rate=0.0)

        def move(done: int, total: int | None) -> None:
            speed = self._bar.tasks[0].speed or 0.0
            self._bar.update(bar, completed=done, total=total, rate=speed)

        return move

    def print_outcome(self, outcome: FileOutcome) -> None:
        """Print one file's outcome."""
        task = outcome.task
        if outcome.status == "failed":
            source = f"{task.src}: " if self._files > 1 else ""  # names recur between folders
            self._stderr.print(f"masquerade: {source}{outcome.error}", style="red", markup=False)
        elif outcome.status == "skipped" and not self._quiet:
            self._stderr.print(f"{task.src}: done before, left as it is", markup=False)
        elif outcome.receipt is not None:
            self._print_done(task, outcome.receipt)

    def _print_done(self, task: FileTask, receipt: Receipt) -> None:
        for warning in receipt.warnings:
            self._stderr.print(f"{task.src}: {warning}", style="yellow", markup=False)
        if self._quiet:
            return
        made = task.dst if receipt.output else "nothing written"
        print(f"{task.src} -> {made}: {summary(receipt)}")
        if self._verbose:
            self._print_details(receipt)

    def _print_details(self, receipt: Receipt) -> None:
        for name, items in (("removed", receipt.removed), ("kept", receipt.kept)):
            if items:
                self._stderr.print(f"  {name}: {', '.join(items)}", markup=False)
        spent = ", ".join(f"{key} {value:.1f} s" for key, value in receipt.stage_seconds.items())
        self._stderr.print(f"  {receipt.device}; busy: {spent}", markup=False)


def summary(receipt: Receipt) -> str:
    """A receipt in one line."""
    coverage, frames, method = receipt.coverage, receipt.source.frames, receipt.method["name"]
    name = "+".join(record.name for record in receipt.regions)
    if name == "frame":
        return f"all of {frames} frames hidden by {method}"
    hidden = f"hidden by {method} in {frames - coverage.empty} of {frames} frames"
    if name == "templates":
        return f"what looks like the points {hidden} (keys: {receipt.regions[0].arguments['keys']})"
    every = max(record.arguments.get("every") or 1 for record in receipt.regions)
    mode = f"detector run on one frame in {every}; " if every > 1 else ""
    found = f"{coverage.seen} regions detected, {coverage.filled} filled in by tracking"
    return f"{name} {hidden} ({mode}{found})"

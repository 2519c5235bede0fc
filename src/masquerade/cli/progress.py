"""Progress on stderr: a bar and a printed line a file, and a bar for the step of a training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

from rich import markup
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from masquerade.cli import INTERRUPTED
from masquerade.text import escape, name_some

if TYPE_CHECKING:  # what they import is not needed to show it
    from masquerade.pipeline.coverage import Coverage
    from masquerade.pipeline.file_outcome import FileOutcome
    from masquerade.pipeline.outputs import FileTask
    from masquerade.pipeline.receipt import Receipt
    from masquerade.pipeline.single_file import OnProgress

MOST_IDS = 5  # of people left visible, in the line of a file


class TimeLeft(TimeRemainingColumn):
    """The time that is left, and nothing while it is not known, or is said in other words."""

    def render(self, task: Task) -> Text:
        """As rich says it, with a word that says what it is."""
        if task.time_remaining is None or task.fields.get("left"):
            return Text()
        return super().render(task).append(" left")


class BatchProgress(Progress):
    """Progress and outcomes of a batch: outputs on stdout, all else on stderr.

    The bar appears on a terminal only, and counts the frames of each file, or of several that are
    processed `together` the files; `quiet` leaves nothing but errors and warnings, and `profile`
    adds how long each stage took.
    """

    def __init__(
        self,
        *,
        files: int,
        bar: bool,
        quiet: bool,
        verbose: bool,
        profile: bool = False,
        together: bool = False,
    ) -> None:
        self._stderr = Console(stderr=True, highlight=False, soft_wrap=True)
        self._quiet, self._verbose, self._files, self._number = quiet, verbose, files, 0
        self._profile = profile
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[count]}"),
            TimeLeft(),
            console=self._stderr,
            transient=True,
            disable=not (bar and self._stderr.is_terminal),
        )
        self._together = self._add_bar("files", "files", total=files) if together else None

    def _add_bar(self, name: str, unit: str, total: int | None = None) -> Callable[..., None]:
        """Add a bar, and return the function that moves it."""

        def count(done: int, of: int | None) -> str:
            return f"{done} {unit}" if of is None else f"{done} of {of} {unit}"

        def move(done: int, total: int | None) -> None:
            self.update(bar, completed=done, total=total, count=count(done, total))

        bar = self.add_task(name, total=total, count=count(0, total))
        return move

    def start_file(self, task: FileTask) -> OnProgress:
        """Show a bar for the next file, and return the callback that moves it."""
        self._number += 1
        for old in self.task_ids:
            self.remove_task(old)
        number = f" ({self._number} of {self._files})" if self._files > 1 else ""
        show = self._add_bar(markup.escape(escape(task.src.name)) + number, "frames")

        def move(done: int, total: int | None) -> None:
            if INTERRUPTED.is_set():  # FFmpeg may have swallowed the exception
                raise KeyboardInterrupt
            show(done, total)

        return move

    def print_outcome(self, outcome: FileOutcome) -> None:
        """Print one file's outcome."""
        if self._together:
            self._number += 1
            self._together(self._number, self._files)
        source, output = escape(outcome.task.src), escape(outcome.task.dst)
        if outcome.status == "failed":
            named = f"{source}: " if self._files > 1 else ""  # names recur between folders
            self._stderr.print(f"masquerade: {named}{outcome.error}", style="red", markup=False)
            if self._verbose and outcome.traceback:
                self._stderr.print(outcome.traceback, markup=False)
        elif outcome.status == "skipped" and not self._quiet:
            self._stderr.print(f"{source}: done before, left as it is", markup=False)
        elif outcome.receipt is not None:
            for warning in outcome.receipt.warnings:
                self._stderr.print(f"{source}: {warning}", style="yellow", markup=False)
            if not self._quiet:
                output = output if outcome.receipt.output else "nothing written"
                print(f"{source} -> {output}: {summary(outcome.receipt)}")
            if self._verbose and not self._quiet:
                self._print_details(outcome.receipt)
            if self._profile:
                self._stderr.print(stage_table(outcome.receipt))

    def _print_details(self, receipt: Receipt) -> None:
        for name, items in (("removed", receipt.removed), ("kept", receipt.kept)):
            if items:
                self._stderr.print(f"  {name}: {escape(', '.join(items))}", markup=False)
        spent = ", ".join(f"{key} {value:.1f} s" for key, value in receipt.stage_seconds.items())
        self._stderr.print(f"  {receipt.device}; busy: {spent}", markup=False)


def stage_table(receipt: Receipt) -> Table:
    """How long each stage of a run was busy; stages overlap, so that shares add up to more."""
    table = Table("stage", "seconds", "ms a frame", "of the time", box=None)
    frames, whole = max(1, receipt.source.frames), max(receipt.seconds, 1e-9)
    for name, spent in (*receipt.stage_seconds.items(), ("all", receipt.seconds)):
        cells = f"{spent:.2f}", f"{1000 * spent / frames:.1f}", f"{spent / whole:.0%}"
        table.add_row(name, *cells)
    return table


class StepProgress(Progress):
    """Progress through the steps of a command: a bar with the time left, or plain lines.

    Without a terminal there is a line where a step begins, and then one about `every` so many
    seconds, or after a twentieth of the time that the step has taken.
    """

    def __init__(self, *, quiet: bool, every: float = 60.0) -> None:
        console = Console(stderr=True, quiet=quiet)
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.completed} of {task.fields[most]}{task.total}"),
            TimeLeft(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._every, self._began, self._next = every, 0.0, 0.0  # of lines, in seconds
        self._step: tuple[str, int] | None = None
        self._bar: TaskID | None = None

    def print_line(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def follow(
        self, what: str, done: int, of: int, *, now: str = "", left: str = "", most: bool = False
    ) -> None:
        """Move the bar of one step.

        Args:
            what: the step's name.
            done: how much of it is done.
            of: how much there is in all.
            now: what it is at.
            left: how long it still takes, in words; otherwise that follows from its pace.
            most: it may end before `of`.

        Raises:
            KeyboardInterrupt: a signal asked the process to end.
        """
        if INTERRUPTED.is_set():  # what it raised was lost in a finalizer, or in FFmpeg
            raise KeyboardInterrupt
        what, now = escape(what), escape(now)  # they may hold names of files
        words, title = "at most " if most else "", ", ".join(filter(None, (what, now, left)))
        time = monotonic()
        if begins := self._step != (what, of):
            if self._bar is not None:
                self.remove_task(self._bar)
            self._step, self._began = (what, of), time
            self._bar = self.add_task(what, total=of, most=words, left=left)
        if not self.console.is_terminal and (begins or time >= self._next):
            self.print_line(f"{title}: {'' if begins else f'{done} of '}{words}{of}")
            self._next = time + max(self._every, (time - self._began) / 20)
        assert self._bar is not None
        self.update(self._bar, completed=done, description=title, left=left)


def summary(receipt: Receipt) -> str:
    """A receipt in one line."""
    coverage, frames, method = receipt.coverage, receipt.source.frames, receipt.hidden_by
    name = "+".join(record.name for record in receipt.regions)
    if name == "frame":
        if min(coverage.share, default=0) == 1:
            return f"all of {frames} frames hidden by {method}"
        ends = min(coverage.share, default=0), max(coverage.share, default=0)  # --region limits it
        # rounded down, as 100 % is said of all alone
        words = dict.fromkeys(f"{int(1000 * share) / 1000:.1%}" for share in ends)
        return f"{' to '.join(words)} of the area of {frames} frames hidden by {method}"
    if receipt.left_visible:
        name += (
            f" (all but ID {name_some([str(track) for track in receipt.left_visible], MOST_IDS)})"
        )
    covered = len(coverage.share) - coverage.empty - coverage.filled_whole
    hidden = f"hidden by {method} in {covered} of {frames} frames"
    if coverage.filled_whole:
        hidden += f", {coverage.filled_whole} frames hidden whole, as nothing could be told apart,"
    if name == "templates":
        return f"what looks like the points {hidden} (keys: {receipt.regions[0].arguments['keys']})"
    mode = _detector_rates(
        {region.name: n for region in receipt.regions if (n := region.arguments.get("every"))}
    )
    seen = _count_finds(coverage)
    missed = f"; none in {coverage.missed} frames between" if coverage.missed else ""
    return f"{name} {hidden} ({mode}{seen}{missed})"


def _count_finds(coverage: Coverage) -> str:
    """Count the regions that were tracked, detected, and filled in by tracking, in words."""
    several = "region" if coverage.tracks == 1 else "regions"
    followed = f"{coverage.tracks} {several} followed: " if coverage.tracks else "regions "
    unsure = f", {coverage.unsure} of them unsure" if coverage.unsure else ""
    filled = (
        f", and filled in {_times(coverage.filled)} without a detection" if coverage.filled else ""
    )
    return f"{followed}found {_times(coverage.seen)}{unsure}{filled}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _detector_rates(intervals: Mapping[str, int]) -> str:
    """Say how often detectors run, by the names of their region sources; "" if on every frame.

    Sources without such an interval are not in `every`: they detect nothing, or choose their
    keyframes by what moves.
    """
    rates = set(intervals.values())
    if rates <= {1}:
        return ""
    if len(rates) == 1:
        return f"detector run on one frame in {rates.pop()}; "
    words = [
        f"{name} on {'every frame' if n == 1 else f'one in {n}'}" for name, n in intervals.items()
    ]
    return f"detectors run: {', '.join(words)}; "

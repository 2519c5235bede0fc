"""The time that a table took, over all runs of the command that went on with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from masquerade.benchmark.attack_clock import TableWork
from masquerade.benchmark.durations import SpentTimes
from masquerade.benchmark.jobs import Job


@dataclass(frozen=True, kw_only=True)
class RowTime:
    """The time of one line of a table, in seconds."""

    name: str
    attacks: float  # also of anonymizing its videos
    trained: bool = False
    training: float | None = None  # of all its runs; None: it is not trained, or not known


@dataclass(frozen=True, kw_only=True)
class TimeSpent:
    """The time of a table, in seconds. Trainings side by side share the time that passes."""

    rows: tuple[RowTime, ...]
    scores: float  # of scores, comparisons and clips, when they were last made
    training: float | None  # of all trainings, each once; None: not known of some
    on: str  # cores and, if there is one, the device

    def sentence(self) -> str:
        """How long the table took, in one sentence."""
        attacks = self.scores + sum(row.attacks for row in self.rows)
        trained = any(row.trained for row in self.rows)
        if trained and self.training is None:
            parts = "training, of which it is not known, attacks"
            return f"Made on {self.on}: {parts} {_minutes(attacks)}."
        parts = f"training {_minutes(self.training or 0)}, attacks {_minutes(attacks)}"
        return f"Made in {_minutes(attacks + (self.training or 0))} on {self.on} ({parts})."

    def by_row(self) -> str:
        """How long each line took, in one line."""
        return "; ".join(map(_row, self.rows)) + f"; scores: {_minutes(self.scores)}"

    def markdown(self) -> str:
        """Both, to stand under the table."""
        return f"## Time\n\n{self.sentence()} By row, {self.by_row()}.\n"


def time_spent(
    spent: SpentTimes, work: TableWork, trainings: Mapping[str, Sequence[Job]], *, on: str
) -> TimeSpent:
    """The time of a table.

    Args:
        spent: what was measured.
        work: the table's lines.
        trainings: of its lines, by name.
        on: what it was made on, in words.
    """

    def of(jobs: Sequence[Job]) -> float | None:
        seconds = {job.done: spent.of_job(job.done).seconds for job in jobs}
        return sum(seconds.values()) if all(seconds.values()) else None

    return TimeSpent(
        rows=tuple(
            RowTime(
                name=line.name,
                attacks=spent.of(line.key).seconds,
                trained=line.name in trainings,
                training=of(trainings[line.name]) if line.name in trainings else None,
            )
            for line in work.lines
            if line.fits
        ),
        scores=spent.of(work.key).seconds,
        training=of([job for jobs in trainings.values() for job in jobs]),
        on=on,
    )


def _row(row: RowTime) -> str:
    if not row.trained:
        return f"{row.name}: {_minutes(row.attacks)}"
    if row.training is None:
        return f"{row.name}: {_minutes(row.attacks)} and its training"
    whole = _minutes(row.attacks + row.training)
    return f"{row.name}: {whole}, of which training {_minutes(row.training)}"


def _minutes(seconds: float) -> str:
    minutes = seconds / 60
    if minutes >= 120:
        return f"{minutes / 60:.1f} h"
    return f"{minutes:.0f} min" if minutes >= 10 else f"{minutes:.1f} min"

"""How long work took, kept in files of a folder: to judge what is left, and to state it."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from masquerade.storage import atomic_write

LATEST = 20  # measurements of a kind that are kept: an older machine may have been another


@dataclass(frozen=True)
class TimeLeft:
    """Seconds until a benchmark is done."""

    seconds: float | None  # None: nothing was measured yet that says it
    until: str = ""  # what then begins, of which it is not known how long it takes

    def then(self, later: "TimeLeft") -> "TimeLeft":
        """Add the time of the attacks that come afterwards."""
        if self.seconds is None or self.until:
            return self
        if later.seconds is None:
            return TimeLeft(self.seconds, "attacks") if self.seconds else later
        return TimeLeft(self.seconds + later.seconds, later.until)

    def __str__(self) -> str:
        if self.seconds is None:
            return "time left not known yet"
        minutes = self.seconds / 60
        rounded = f"{max(1, round(minutes))} min"
        if minutes >= 90:
            rounded = f"{round(minutes / 60)} h" if minutes < 48 * 60 else f"{minutes / 1440:.0f} d"
        return f"about {rounded} left{f' until {self.until}' if self.until else ''}"


@dataclass(frozen=True, kw_only=True)
class OpenJob:
    """A job that runs or waits, and what is known of the time that it still takes."""

    kind: str
    spent: float = 0.0  # seconds for which it runs already
    left: float | None = None  # seconds, by its own step time; None: not known, or it does not run


@dataclass(kw_only=True)
class Durations:
    """How long jobs took, and one of what is counted, to judge how long the others will take."""

    path: Path
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by kind

    def __post_init__(self) -> None:
        with suppress(TypeError, ValueError):
            plain = _read(self.path)
            self.seconds = {
                kind: [_measured(value) for value in known] for kind, known in plain.items()
            }

    def add(self, kind: str, seconds: float) -> None:
        """Record how many seconds a job of a kind took."""
        known = self.seconds.setdefault(kind, [])
        known.append(_rounded(seconds))
        del known[:-LATEST]
        _write(self.path, self.seconds)

    def put(self, seconds: Mapping[str, float]) -> None:
        """Record how many seconds one of each kind takes, in place of what was known."""
        self.seconds |= {kind: [_rounded(value)] for kind, value in seconds.items()}
        _write(self.path, self.seconds)

    def mean(self, kind: str) -> float | None:
        """Seconds that one of a kind takes; None: none was measured."""
        known = self.seconds.get(kind)
        return sum(known) / len(known) if known else None

    def left(self, jobs: Sequence[OpenJob], *, side_by_side: int) -> float | None:
        """Seconds until jobs are done; None: it is not known yet how long one of them takes."""
        left = [self.left_of(job, jobs) for job in jobs]
        known = [seconds for seconds in left if seconds is not None]
        if len(known) < len(left):
            return None
        return max(sum(known) / side_by_side, *known, 0.0)

    def left_of(self, job: OpenJob, other_jobs: Sequence[OpenJob] = ()) -> float | None:
        """Seconds until a job is done; None: they are not known yet.

        They follow from jobs of its kind that are done or, as long as none is, from its own steps
        or those of another one of its kind that runs. Its own steps are believed, too, where they
        are faster, as of a training that goes on where it was stopped, or where it takes longer
        than others.
        """
        mean = self.mean(job.kind)
        if mean is None:
            like = [
                other_job
                for other_job in other_jobs
                if other_job.kind == job.kind and other_job.left is not None
            ]
            totals = [other_job.spent + (other_job.left or 0.0) for other_job in like]
            mean = sum(totals) / len(totals) if totals else None
        if job.left is None:
            return None if mean is None else max(0.0, mean - job.spent)
        if mean is None or mean <= job.spent:
            return job.left
        return min(job.left, mean - job.spent)


@dataclass(kw_only=True)
class Spent:
    """What was done of a piece of work, over all runs of the command, and how long it took."""

    seconds: float = 0.0
    videos: int = 0  # anonymized
    fits: int = 0  # of attackers


@dataclass(kw_only=True)
class SpentTimes:
    """What each training and each line of a table took, kept in a file."""

    path: Path
    each: dict[str, Spent] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with suppress(TypeError, ValueError):
            plain = _read(self.path)
            self.each = {name: _spent(**numbers) for name, numbers in plain.items()}

    def of(self, name: str) -> Spent:
        """What was spent on a piece of work; of one that was not begun, nothing."""
        return self.each.setdefault(name, Spent())

    def of_job(self, done: Path) -> Spent:
        """What was spent on a job, by what it makes in the folder of the file."""
        return self.of(os.path.relpath(done, self.path.parent))

    def save(self) -> None:
        """Write the file."""
        plain = {name: asdict(spent) for name, spent in self.each.items() if spent != Spent()}
        _write(self.path, plain)


def _read(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where it is missing or damaged, so that it is begun anew."""
    try:
        plain = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _measured(value: float) -> float:
    """Return a number that is finite and not negative; of another raise ValueError."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{value} was not measured")
    return value


def _spent(*, seconds: float, videos: int, fits: int) -> Spent:
    """Check the numbers of a file, and return them as `Spent`."""
    return Spent(
        seconds=_measured(seconds), videos=int(_measured(videos)), fits=int(_measured(fits))
    )


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def _write(path: Path, plain: object) -> None:
    with atomic_write(path, overwrite=True) as part:
        part.write_text(json.dumps(plain, indent=1), "utf-8")

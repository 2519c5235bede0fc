"""How long work took, kept in files of a folder: to judge what is left, and to state it."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from masquerade.storage import atomic_write

LATEST = 20  # measurements of a kind that are kept: an older machine may have been another


@dataclass(kw_only=True)
class Durations:
    """How long jobs took, and one of what is counted, to judge how long the others will take."""

    path: Path
    seconds: dict[str, list[float]] = field(default_factory=dict)  # by kind

    def __post_init__(self) -> None:
        with suppress(OSError, ValueError):
            self.seconds = json.loads(self.path.read_text("utf-8"))

    def add(self, kind: str, seconds: float) -> None:
        """Record how many seconds a job of a kind took."""
        known = self.seconds.setdefault(kind, [])
        known.append(_rounded(seconds))
        del known[:-LATEST]
        _write(self.path, self.seconds)

    def put(self, seconds: Mapping[str, float]) -> None:
        """Record how many seconds one of each kind takes, in place of what was known."""
        self.seconds |= {kind: [_rounded(one)] for kind, one in seconds.items()}
        _write(self.path, self.seconds)

    def mean(self, kind: str) -> float | None:
        """Seconds that one of a kind takes; None: none was measured."""
        known = self.seconds.get(kind)
        return sum(known) / len(known) if known else None

    def left(self, jobs: Sequence[tuple[str, float]], *, side_by_side: int) -> float | None:
        """Seconds until jobs are done; None: it is not known yet how long one of them takes.

        `jobs` are pairs of a kind and the seconds for which a job of it runs already.
        """
        left = []
        for kind, spent in jobs:
            known = self.mean(kind)
            if known is None:
                return None
            left.append(max(0.0, known - spent))
        return max(sum(left) / side_by_side, *left, 0.0)


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
        with suppress(OSError, ValueError, TypeError):
            plain = json.loads(self.path.read_text("utf-8"))
            self.each = {name: Spent(**one) for name, one in plain.items()}

    def of(self, name: str) -> Spent:
        """What was spent on a piece of work; of one that was not begun, nothing."""
        return self.each.setdefault(name, Spent())

    def of_job(self, done: Path) -> Spent:
        """What was spent on a job, by what it makes in the folder of the file."""
        return self.of(os.path.relpath(done, self.path.parent))

    def save(self) -> None:
        """Write the file."""
        kept = {name: asdict(one) for name, one in self.each.items() if one != Spent()}
        _write(self.path, kept)


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def _write(path: Path, plain: object) -> None:
    with atomic_write(path, overwrite=True) as part:
        part.write_text(json.dumps(plain, indent=1), "utf-8")

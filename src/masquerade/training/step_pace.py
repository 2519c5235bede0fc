"""How far a training has come and at what pace, kept in its folder while it runs.

A benchmark reads there how long a training in another process still takes.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from masquerade.storage import atomic_write

PACE = "pace.json"
KEPT_EVERY = 5.0  # seconds
SHARE = 0.01  # of all steps, before and after which it is kept again


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Steps of a training, over all its runs, and the seconds that one of its phase takes."""

    done: int
    most: int  # in all, as phases may end early
    each: float

    @property
    def left(self) -> float:
        """Seconds until the training is done, at most."""
        return (self.most - self.done) * self.each


@dataclass(kw_only=True)
class PaceKeeper:
    """Measures the steps of a training, and keeps their pace in its folder."""

    folder: Path
    now: Callable[[], float] = time.monotonic
    _phase: str = ""
    _first: tuple[int, float] = (0, 0.0)  # step of the phase in this run, and when it was done
    _kept: tuple[int, float] = field(default=(0, 0.0))

    def follow(self, phase: str, done: int, most: int) -> None:
        """A step is done; the first of a phase, in which all is new, is not measured."""
        time = self.now()
        if phase != self._phase:
            self._phase, self._first = phase, (done, time)
            return
        step, then = self._kept
        if done - step >= SHARE * most or time - then >= KEPT_EVERY:
            first, began = self._first
            pace = Pace(done=done, most=most, each=(time - began) / (done - first))
            with atomic_write(self.folder / PACE, overwrite=True) as part:
                part.write_text(json.dumps(asdict(pace)), "utf-8")
            self._kept = done, time

    def end(self) -> None:
        """The training is done."""
        (self.folder / PACE).unlink(missing_ok=True)


def read_pace(folder: Path) -> Pace | None:
    """The pace of the training in a folder; None: none is there, or too little was done of it."""
    with suppress(OSError, ValueError, TypeError):
        return Pace(**json.loads((folder / PACE).read_text("utf-8")))
    return None

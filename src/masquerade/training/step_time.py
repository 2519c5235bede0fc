"""How many steps a training has done and how long one takes, kept in its folder while it runs.

A benchmark reads there how long a training in another process still takes.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from masquerade.storage import atomic_write

STEP_TIME = "step-time.json"
KEPT_EVERY = 5.0  # seconds
SHARE = 0.01  # of all steps, before and after which it is kept again


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How many steps of a training are done, over all its runs, and how long one takes now."""

    done: int
    steps: int  # in all, unless a phase ends early
    seconds: float  # of one step of the phase it is in

    @property
    def left(self) -> float:
        """Seconds until the training is done, at most."""
        return (self.steps - self.done) * self.seconds


@dataclass(kw_only=True)
class StepTimer:
    """Measures the steps of a training, and keeps how long one takes in its folder."""

    folder: Path
    now: Callable[[], float] = time.monotonic
    _phase: str = ""
    _first: tuple[int, float] = (0, 0.0)  # step of the phase in this run, and when it was done
    _kept: tuple[int, float] = field(default=(0, 0.0))

    def follow(self, phase: str, done: int, steps: int) -> None:
        """Count a step that is done; the first of a phase is not measured, as it is slower."""
        time = self.now()
        if phase != self._phase:
            self._phase, self._first = phase, (done, time)
            return
        step, then = self._kept
        if done - step >= SHARE * steps or time - then >= KEPT_EVERY:
            first, began = self._first
            measured = StepTime(done=done, steps=steps, seconds=(time - began) / (done - first))
            with atomic_write(self.folder / STEP_TIME, overwrite=True) as part:
                part.write_text(json.dumps(asdict(measured)), "utf-8")
            self._kept = done, time

    def end(self) -> None:
        """The training is done."""
        (self.folder / STEP_TIME).unlink(missing_ok=True)


def read_step_time(folder: Path) -> StepTime | None:
    """The step time of the training in a folder; None: none runs there, or it has just begun."""
    with suppress(OSError, ValueError, TypeError):
        return StepTime(**json.loads((folder / STEP_TIME).read_text("utf-8")))
    return None

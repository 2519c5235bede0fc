"""Timestamps of frames, and the repair of those that are missing or do not rise."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class FrameTime:
    """When a frame is shown and for how long, in ticks of `time_base` seconds."""

    pts: int
    duration: int
    time_base: Fraction
    index: int = 0


class TimestampRepair:
    """Makes the timestamps of successive frames rise strictly, and counts those it replaced.

    A missing, repeated or backward timestamp is replaced by the decoding time if that rises, else
    by the last timestamp plus one frame's duration. A first frame without any gets `start`, in
    ticks of `time_base`.
    """

    def __init__(self, *, rate: Fraction, time_base: Fraction, start: int = 0) -> None:
        self.step = max(1, round(1 / (rate * time_base)))
        self.repaired = 0
        self._start = start
        self._last: int | None = None

    @property
    def next_tick(self) -> int:
        """One frame after the last timestamp, in ticks."""
        return self._start if self._last is None else self._last + self.step

    def tick(self, pts: int | None, dts: int | None) -> int:
        """The next frame's timestamp in ticks, from the times to show and to decode it."""
        for candidate in (pts, dts):
            if candidate is not None and (self._last is None or candidate > self._last):
                break
        else:
            candidate = self.next_tick
        self.repaired += candidate != pts
        self._last = candidate
        return candidate

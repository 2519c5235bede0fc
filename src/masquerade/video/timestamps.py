"""Timestamps that only ever rise, from files whose own do not."""

from __future__ import annotations

from fractions import Fraction


class TimestampRepair:
    """Gives every frame a timestamp after the last one's, and counts those it had to make up.

    A missing, repeated or backward timestamp is replaced by the decoding time if that rises, else
    by the last timestamp and one frame's duration.

    Args:
        rate: frames a second on average.
        time_base: seconds a tick.
        start: ticks, for a first frame without any timestamp.
    """

    def __init__(self, *, rate: Fraction, time_base: Fraction, start: int = 0) -> None:
        self.step = max(1, round(1 / (rate * time_base)))
        self.mended = 0
        self._start = start
        self._last: int | None = None

    @property
    def following(self) -> int:
        """One frame after the last timestamp, in ticks."""
        return self._start if self._last is None else self._last + self.step

    def tick(self, pts: int | None, dts: int | None) -> int:
        """The frame's timestamp in ticks.

        Args:
            pts: when the file says to show it.
            dts: when the file says to decode it.
        """
        for candidate in (pts, dts):
            if candidate is not None and (self._last is None or candidate > self._last):
                break
        else:
            candidate = self.following
        self.mended += candidate != pts
        self._last = candidate
        return candidate

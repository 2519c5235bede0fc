"""Timestamps of frames, and the repair of those that are missing or do not rise."""

from dataclasses import dataclass
from fractions import Fraction
from math import floor

LONGEST_GAP = Fraction(1, 10)  # seconds between sounds that raises no doubt
ROUNDED = Fraction(1, 100)  # seconds by which times may be off, as those of short packets in MKV


def nearest(ticks: Fraction) -> int:
    """The nearest whole tick; of a half the next one, so that even times stay even."""
    return floor(ticks + Fraction(1, 2))


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
    ticks of `time_base`. One timestamp that is ahead of those on both sides of it is replaced by
    one between them.
    """

    def __init__(self, *, rate: Fraction, time_base: Fraction, start: int = 0) -> None:
        self.step = max(1, round(1 / (rate * time_base)))
        self.repaired = 0
        self._start = start
        self._last: int | None = None
        self._before = start - 1  # the timestamp before the last one
        self._own = False  # whether the last one is the frame's own

    @property
    def next_tick(self) -> int:
        """One frame after the last timestamp, in ticks."""
        return self._start if self._last is None else self._last + self.step

    def last_before(self, pts: int | None) -> int:
        """Return the last timestamp, which is moved back where the next one, `pts`, is earlier.

        Else one flipped bit would delay all that follows: nothing rises above a time hours ahead.
        """
        if self._last is not None and pts is not None and self._before + 1 < pts < self._last:
            self._last = min(self._before + self.step, (self._before + pts) // 2)
            self.repaired += self._own
            self._own = False
        return self._start if self._last is None else self._last

    def tick(self, pts: int | None, dts: int | None) -> int:
        """The next frame's timestamp in ticks, from the times to show and to decode it."""
        for candidate in (pts, dts):
            if candidate is not None and (self._last is None or candidate > self._last):
                break
        else:
            candidate = self.next_tick
        self._own = candidate == pts
        self.repaired += not self._own
        if self._last is not None:
            self._before = self._last
        self._last = candidate
        return candidate


class SoundClock:
    """Repairs the timestamps of one audio stream so that they rise, and counts the repairs.

    Where recordings were put behind each other the clock starts again. Their sound then begins
    where the last one ended, as their pictures do; so does one that is ahead of the next.
    """

    def __init__(self) -> None:
        self.repaired = 0
        self._last: Fraction | None = None  # the second at which the last sound begins
        self._end = Fraction(0)  # and at which it ends

    def doubts(self, begins: Fraction | None) -> bool:
        """Whether a start time is so late that the next sound has to confirm it."""
        late = begins is not None and begins > self._end + LONGEST_GAP
        return late and self._last is not None

    def shift(
        self,
        begins: Fraction | None,
        length: Fraction,
        following: Fraction | None = None,
        *,
        tick: Fraction | None = None,
    ) -> Fraction:
        """The seconds to add to the start time of the next sound.

        Args:
            begins: when it begins by itself; None: it does not say.
            length: how long it lasts.
            following: when the next one begins by itself, where that is known.
            tick: the least by which times rise, which muxers insist on.
        """
        if begins is None:
            self._end += length
            return Fraction(0)
        start = begins
        if self._last is not None:
            ahead = following is not None and self._last < following < begins
            if begins < self._last or ahead:
                start = self._end
            elif begins == self._last:
                start = begins + (tick or 0)
            self.repaired += abs(start - begins) > ROUNDED
        self._last, self._end = start, start + length
        return start - begins

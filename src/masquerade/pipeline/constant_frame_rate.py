"""Variable to constant frame rate, for players and tools that need one."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil
from typing import Any

from masquerade.errors import VideoError
from masquerade.pipeline.stream import AnonymizedFrame
from masquerade.video.timestamps import FrameTime, nearest

MAX_REPEATS = 100_000  # of one picture: an hour at 27 frames a second
LATE = Fraction(3, 8)
"""Of a tick: how late a frame may begin that is shown from that tick on. Times that a file rounds,
as Matroska does to milliseconds, lie around the ticks, and those of twice or three times the rate
around a half or a third; this is far from all of them, so that rounding chooses nothing."""


def to_constant_rate(items: Iterable[Any], rate: Fraction) -> Iterator[Any]:
    """Repeat and drop frames so that each lasts 1 / rate seconds; other items pass through.

    A frame that is dropped is given, too, as one that lasts no time: whoever counts frames counts
    it, and nobody writes it. At least one frame is kept.
    """
    held: AnonymizedFrame | None = None
    begun, start, tick = Fraction(0), 0, 0
    for item in items:
        if not isinstance(item, AnonymizedFrame):
            yield item
            continue
        time = item.frame.pts * item.frame.time_base
        if held is None:  # its ticks are counted from here, wherever between two it begins
            begun, tick = time, nearest(time * rate)
            start = tick
        else:
            until = start + ceil((time - begun) * rate - LATE)
            yield from _repeat(held, tick, until, rate)
            tick = max(tick, until)
        held = item
    if held is not None:
        end = (held.frame.pts + held.frame.duration) * held.frame.time_base
        until = max(start + ceil((end - begun) * rate - LATE), start + 1)
        yield from _repeat(held, tick, until, rate)


def _repeat(
    held: AnonymizedFrame, first: int, last: int, rate: Fraction
) -> Iterator[AnonymizedFrame]:
    """Yield a frame at each tick from `first` up to `last`, which is left out."""
    if last - first > MAX_REPEATS:
        raise VideoError(
            f"one picture lasts {float((last - first) / rate):.0f} seconds, which takes "
            f"{last - first} frames at {float(rate):g} a second and {MAX_REPEATS} are the most; "
            "leave --cfr out, or cut the source."
        )
    for tick in range(first, last):
        yield held._replace(frame=FrameTime(tick, 1, 1 / rate, held.frame.index))
    if last <= first:
        yield held._replace(frame=FrameTime(first, 0, 1 / rate, held.frame.index))


def exact_rate(rate: float | None) -> Fraction | None:
    """A frame rate as an exact fraction: 29.97 is 30000 / 1001."""
    if rate is None:
        return None
    exact = Fraction(rate).limit_denominator(1001)
    ntsc = Fraction(round(rate * 1.001) * 1000, 1001)
    return ntsc if ntsc and abs(ntsc - rate) < 2e-4 * rate and exact.denominator > 1 else exact

"""Variable to constant frame rate, for players and tools that need one."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from math import ceil
from typing import Any

from masquerade.errors import VideoError
from masquerade.pipeline.stream import AnonymizedFrame
from masquerade.video.timestamps import FrameTime

MAX_REPEATS = 100_000  # of one picture: an hour at 27 frames a second


def to_constant_rate(items: Iterable[Any], rate: Fraction) -> Iterator[Any]:
    """Repeat and drop frames so that each lasts 1 / rate seconds; other items pass through.

    A frame that is dropped is given, too, as one that lasts no time: whoever counts frames counts
    it, and nobody writes it. At least one frame is kept.
    """
    held: AnonymizedFrame | None = None
    tick: int | None = None
    start = 0
    for item in items:
        if not isinstance(item, AnonymizedFrame):
            yield item
            continue
        time = item.frame.pts * item.frame.time_base
        if held is None or tick is None:
            tick = start = round(time * rate)
        else:
            yield from _repeat(held, tick, time, rate)
            tick = max(tick, ceil(time * rate))
        held = item
    if held is not None and tick is not None:
        end = (held.frame.pts + held.frame.duration) * held.frame.time_base
        yield from _repeat(held, tick, max(end, (start + 1) / rate), rate)


def _repeat(
    held: AnonymizedFrame, first: int, end: Fraction, rate: Fraction
) -> Iterator[AnonymizedFrame]:
    """A frame at each tick from the first one to the time at which it ends."""
    last = ceil(end * rate)
    if last - first > MAX_REPEATS:
        raise VideoError(
            f"one picture lasts {float(end - first / rate):.0f} seconds, which takes "
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
    return ntsc if ntsc and abs(ntsc - rate) < 0.005 and exact.denominator > 1 else exact

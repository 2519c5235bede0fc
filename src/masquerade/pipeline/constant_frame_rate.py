"""Variable to constant frame rate, for players and tools that need one."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from masquerade.errors import UsageError
from masquerade.pipeline.stream import AnonymizedFrame
from masquerade.video.timestamps import FrameTime


def to_constant_rate(items: Iterable[Any], rate: Fraction) -> Iterator[Any]:
    """Repeat and drop frames so that each lasts 1 / rate seconds; other items pass through."""
    held: AnonymizedFrame | None = None
    tick: int | None = None
    for item in items:
        if not isinstance(item, AnonymizedFrame):
            yield item
            continue
        time = item.frame.pts * item.frame.time_base
        if tick is None:
            tick = round(time * rate)
        while held is not None and tick / rate < time:
            yield held._replace(frame=FrameTime(tick, 1, 1 / rate, held.frame.index))
            tick += 1
        held = item
    if held is not None and tick is not None:
        end = (held.frame.pts + held.frame.duration) * held.frame.time_base
        while tick / rate < end:
            yield held._replace(frame=FrameTime(tick, 1, 1 / rate, held.frame.index))
            tick += 1


def exact_rate(rate: float | None) -> Fraction | None:
    """A frame rate as an exact fraction: 29.97 is 30000 / 1001."""
    if rate is None:
        return None
    if rate <= 0:
        raise UsageError(f"a rate of {rate:g} frames a second makes no video; give more than 0.")
    exact = Fraction(rate).limit_denominator(1001)
    ntsc = Fraction(round(rate * 1.001) * 1000, 1001)
    return ntsc if abs(ntsc - rate) < 0.005 and exact.denominator > 1 else exact

"""Frames at a constant rate, for players that want one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from masquerade.errors import UsageError
from masquerade.pipeline.stream import AnonymizedFrame


def to_constant_rate(items: Iterable[Any], rate: Fraction) -> Iterator[Any]:
    """Repeat and leave out frames so that each lasts 1 / rate seconds."""
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
            yield held._replace(frame=FrameTime(held.frame.index, tick, 1, 1 / rate))
            tick += 1
        held = item
    if held is not None and tick is not None:
        end = (held.frame.pts + held.frame.duration) * held.frame.time_base
        while tick / rate < end:
            yield held._replace(frame=FrameTime(held.frame.index, tick, 1, 1 / rate))
            tick += 1


def exact_rate(rate: float | None) -> Fraction | None:
    """Frames a second as they are meant: 29.97 is 30000 / 1001."""
    if rate is None:
        return None
    if rate <= 0:
        raise UsageError(f"a rate of {rate:g} frames a second makes no video; give more than 0.")
    exact = Fraction(rate).limit_denominator(1001)
    film = Fraction(round(rate * 1.001) * 1000, 1001)
    return film if abs(film - rate) < 0.005 and exact.denominator > 1 else exact


@dataclass(frozen=True)
class FrameTime:
    """A frame's place in time, without its pixels."""

    index: int
    pts: int
    duration: int
    time_base: Fraction

"""Packets that wait because a machine is too slow are known by the times that they carry."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from masquerade.video.live_backlog import MOST, Backlog

RATE = 25


def follow(
    decoding: Callable[[int], float], *, sent: Callable[[int], float], count: int = 500
) -> tuple[list[float], list[float], int]:
    """A reader that decodes each packet for some seconds; gives what is said to wait, what does,
    and after how many packets it is said to grow (`count`: never)."""
    backlog, now, told, true, grew = Backlog(), 0.0, [], [], count
    for number in range(count):
        waited = sent(number) > now
        now = max(now, sent(number))
        backlog.add(number / RATE, now, waited=waited)
        told.append(backlog.seconds)
        true.append(now - sent(number))
        if backlog.grows(now):
            grew = min(grew, number)
        now += decoding(number)
    return told, true, grew


def in_time(number: int) -> float:
    return number / RATE


def test_a_slow_machine_knows_how_old_its_pictures_are() -> None:
    told, true, grew = follow(lambda _: 0.06, sent=in_time)
    assert told == pytest.approx(true, abs=1e-6) and true[-1] > 9
    assert MOST < true[grew] < MOST + 1  # a second after it was too much


def test_a_pause_that_is_caught_up_leaves_nothing_out() -> None:
    """As where other programs had the processor for two seconds."""
    told, true, grew = follow(lambda number: 2.0 if number == 50 else 0.01, sent=in_time)
    assert grew == 500 and max(told) == pytest.approx(max(true)) and told[-1] == 0


@pytest.mark.parametrize(
    "sent",
    [
        lambda number: 0.0,  # a file that comes through a pipe as fast as it is read
        lambda number: (number // 50 + 1) * 2.0,  # in bursts of two seconds
        lambda number: number / RATE + (3.0 if number > 100 else 0.0),  # the network stood still
        lambda number: number / RATE * 1.001,  # the camera's clock is slow
    ],
    ids=["file", "bursts", "network", "clock"],
)
def test_what_waits_elsewhere_is_no_backlog(sent: Callable[[int], float]) -> None:
    told, _, grew = follow(lambda _: 0.01, sent=sent)
    assert grew == 500 and max(told) < MOST


def test_a_source_that_counts_time_anew_is_followed() -> None:
    backlog = Backlog()
    for start in (0.0, 5000.0, 3.0):  # forward, and back to the beginning
        for number in range(100):
            backlog.add(start + number / RATE, 100 + number / RATE, waited=False)
            assert backlog.seconds < 1e-6


def test_what_is_forgotten_is_no_backlog() -> None:
    backlog = Backlog()
    backlog.add(0.0, 0.0, waited=True)
    backlog.add(0.04, 8.0, waited=False)
    assert backlog.seconds == pytest.approx(7.96)
    backlog.forget()
    assert backlog.seconds == 0 and not backlog.grows(9.0)
    backlog.add(0.08, 8.04, waited=False)
    assert backlog.seconds == 0

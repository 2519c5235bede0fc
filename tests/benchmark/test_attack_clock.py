"""The time that is left of attacks: counted before, and measured while they are done."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from masquerade.benchmark.attack_clock import AttackClock, LineWork, TableWork
from masquerade.benchmark.durations import Durations, SpentTimes, TimeLeft
from masquerade.evaluation.executor import REGRESSING


def line(name: str, table: str = "t") -> LineWork:
    return LineWork(name=name, key=f"s/{table}/{name}", method=name, videos=10, fits=4)


TABLE = TableWork(
    name="t", key="s/t", kind="k", lines=(line("raw"), line("blur"), line("blur: wide"))
)
LATER = TableWork(name="u", key="s/u", kind="k", lines=(line("raw", "u"), line("blur", "u")))


@dataclass
class Watch:
    """A clock that goes when it is told to."""

    time: float = 0.0
    said: list[str] = field(default_factory=list)


def clock_of(folder: Path, watch: Watch, works: list[TableWork] | None) -> AttackClock:
    return AttackClock(
        durations=Durations(path=folder / "durations.json"),
        spent=SpentTimes(path=folder / "spent.json"),
        show=lambda what, done, of, left: watch.said.append(left),
        now=lambda: watch.time,
        works=works,
    )


def step(clock: AttackClock, watch: Watch, what: str, of: int, each: float, done: int = 0) -> None:
    """A step of so many things, of which some were there already."""
    clock.follow(what, done, of)
    for number in range(done + 1, of + 1):
        watch.time += each
        clock.follow(what, number, of)


def attack(clock: AttackClock, watch: Watch) -> None:
    """A table: videos take 1 s each, attackers 5 s, and scores 6 s."""
    clock.begin(TABLE)
    for name in ("blur", "blur: wide"):
        step(clock, watch, f"{name}: anonymizing videos", 10, 1.0)
        step(clock, watch, f"{name}: anonymizing videos", 10, 1.0, done=10)  # as another content
    step(clock, watch, "raw: reading videos", 10, 1.0)
    for name in ("raw", "blur", "blur: wide"):
        step(clock, watch, f"{name}: training attackers", 2, 5.0)
        step(clock, watch, f"{name}: training attackers", 2, 5.0)  # of another content
    clock.follow("scores", 0, 1)
    watch.time += 6
    clock.end()


def test_nothing_is_said_before_something_was_measured(tmp_path: Path) -> None:
    watch = Watch()
    clock = clock_of(tmp_path, watch, None)
    assert str(clock.left()) == "time left not known yet"
    clock.works = [TABLE]
    clock.begin(TABLE)
    step(clock, watch, "blur: anonymizing videos", 10, 1.0)
    assert set(watch.said) == {"time left not known yet"}, "nobody knows how long attackers take"


def test_videos_and_attackers_that_are_left_are_counted(tmp_path: Path) -> None:
    watch = Watch()
    clock = clock_of(tmp_path, watch, [TABLE, LATER])
    attack(clock, watch)
    assert watch.time == 30 + 12 * 5 + 6
    assert clock.left() == TimeLeft(2 * (10 * 1 + 4 * 5 + 2)), "the other table"
    known = clock_of(tmp_path / "again", watch, [TABLE])  # what was measured helps another run
    known.durations = clock.durations
    assert known.left() == TimeLeft(30 + 60 + 6)


def test_a_table_that_failed_takes_no_more_time(tmp_path: Path) -> None:
    watch = Watch()
    clock = clock_of(tmp_path, watch, [TABLE, LATER])
    attack(clock, watch)
    clock.begin(LATER)
    step(clock, watch, "blur: anonymizing videos", 10, 1.0)
    clock.leave("u")
    assert clock.left() == TimeLeft(0)


def test_while_it_runs_the_pace_so_far_counts(tmp_path: Path) -> None:
    watch = Watch()
    clock = clock_of(tmp_path, watch, [TABLE])
    clock.begin(TABLE)
    step(clock, watch, "blur: anonymizing videos", 10, 2.0)
    step(clock, watch, "blur: wide: anonymizing videos", 10, 2.0)
    step(clock, watch, "raw: reading videos", 10, 1.0)
    step(clock, watch, "raw: training attackers", 2, 60.0)
    assert clock.left() == TimeLeft(10 * 60, "scores")
    assert watch.said[-1] == "about 10 min left until scores"
    clock.follow("raw, labels shuffled: training attackers", 0, 1)
    watch.time += 60  # a control takes time, and is none of the attackers that are counted
    clock.follow("raw, labels shuffled: training attackers", 1, 1)
    assert clock.left().seconds == 10 * 90
    clock.follow("blur: training attackers", 0, 2)  # raw video is over, with fewer than planned
    assert clock.left().seconds == 8 * 90


def test_what_is_done_counts_no_more_in_another_run(tmp_path: Path) -> None:
    """A run that was stopped within the second line: what is kept is neither left nor new."""
    watch = Watch()
    clock = clock_of(tmp_path, watch, [TABLE])
    clock.begin(TABLE)
    for name in ("blur", "blur: wide"):
        step(clock, watch, f"{name}: anonymizing videos", 10, 1.0)
    step(clock, watch, "raw: reading videos", 10, 1.0)
    step(clock, watch, "raw: training attackers", 4, 5.0)
    step(clock, watch, "blur: training attackers", 2, 5.0)
    watch.time += 5
    clock.follow("clips", 0, 1)

    again = clock_of(tmp_path, watch, [TABLE])
    assert again.left() == TimeLeft(6 * 5, "scores")
    again.begin(TABLE)
    step(again, watch, "blur: anonymizing videos", 10, 1.0, done=10)
    step(again, watch, "raw: training attackers", 4, 5.0, done=4)
    step(again, watch, "blur: training attackers", 4, 5.0, done=2)
    assert again.left().seconds == 4 * 5
    assert again.spent.of("s/t/blur").seconds == 10 + 4 * 5, "both runs together"
    # the copies of one line were deleted: they are made again, and counted as left
    again.begin(TABLE)
    again.follow("blur: anonymizing videos", 0, 10)
    assert again.spent.of("s/t/blur").videos == 0


def test_kernel_regressions_count_only_where_there_are_no_networks(tmp_path: Path) -> None:
    watch = Watch()
    quick = replace(TABLE, lines=tuple(replace(one, fitting=REGRESSING) for one in TABLE.lines))
    for table, left in ((TABLE, 10 * 5.5), (quick, 10 * 0.5)):
        clock = clock_of(tmp_path / table.lines[0].fitting, watch, [table])
        clock.begin(table)
        step(clock, watch, "raw: reading videos", 10, 0.0)
        if table is TABLE:
            step(clock, watch, "raw: training attackers", 2, 5.0)
        step(clock, watch, f"raw: {REGRESSING}", 2, 0.5)
        assert clock.left().seconds == left, "they add to the time that a network takes"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "time left not known yet"),
        (4, "about 1 min left"),
        (60 * 80, "about 80 min left"),
        (3600 * 5, "about 5 h left"),
        (86400 * 3, "about 3 d left"),
    ],
)
def test_the_time_is_said_roughly(seconds: float | None, words: str) -> None:
    assert str(TimeLeft(seconds)) == words
    assert str(TimeLeft(0.0).then(TimeLeft(seconds))) == words
    assert str(TimeLeft(None).then(TimeLeft(seconds))) == "time left not known yet"


def test_it_is_said_until_when_the_time_is_known() -> None:
    assert str(TimeLeft(600.0).then(TimeLeft(None))) == "about 10 min left until attacks"
    assert TimeLeft(60.0).then(TimeLeft(60.0, "scores")) == TimeLeft(120.0, "scores")
    assert str(TimeLeft(60.0, "the next job").then(TimeLeft(60.0))) == (
        "about 1 min left until the next job"
    )

"""How long the attacks of a benchmark's tables take: measured while they run, and what is left.

Attackers are trained line by line, after all methods of a table have anonymized its videos; how
many videos and attackers there are is known before. What one of them takes is measured here: of
attackers those that are networks are counted, as the others take a hundredth of the time.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from masquerade.benchmark.durations import Durations, SpentTimes, TimeLeft
from masquerade.evaluation.evaluated_clips import ANONYMIZING, READING
from masquerade.evaluation.executor import RESTORING, TRAINING

SAVED_EVERY = 5.0  # seconds after which what was measured is written


@dataclass(frozen=True, kw_only=True)
class LineWork:
    """How much work a line of a table is: videos to anonymize and attackers to train."""

    name: str  # of the line
    key: str  # under which its time is kept
    method: str  # lines of one method anonymize a video in about the same time
    videos: int  # to be anonymized, by each of its anonymizers
    fits: int  # attackers to be trained: networks or, where there are none, kernel regressions
    fitting: str = TRAINING  # the step in which these are trained


@dataclass(frozen=True, kw_only=True)
class TableWork:
    """How much work the attacks of a table are."""

    name: str
    key: str  # under which the time of its scores is kept
    kind: str  # tables of one kind have the same attackers and data
    lines: tuple[LineWork, ...]  # raw video first


@dataclass(kw_only=True)
class AttackClock:
    """Follows the progress of attacks, and judges how long what is left will take.

    Only time in which something new was made counts as the time of a line: what was there already
    is read within seconds, and would be counted each time.
    """

    durations: Durations
    spent: SpentTimes
    show: Callable[[str, int, int, str], None]  # told the step, what of it is done, and time left
    now: Callable[[], float] = time.monotonic
    # of all tables; None: it cannot be counted yet, as while their data are made
    works: Sequence[TableWork] | None = None
    _table: TableWork | None = None  # that is attacked
    _finished: set[str] = field(default_factory=set)  # names of tables
    _over: set[str] = field(default_factory=set)  # keys of lines that are attacked
    _anonymized: set[str] = field(default_factory=set)  # and of those whose videos are made
    # by kind, of this run: seconds, and in how many videos or fits
    _rates: dict[str, tuple[float, int]] = field(default_factory=dict)
    _seen: dict[str, int] = field(default_factory=dict)  # fits by line, of this run, also kept ones
    _step: tuple[str, int, int] | None = None
    _time: float = 0.0  # of the last step
    _began: float = 0.0  # of the table
    _counted: float = 0.0  # seconds of the table that are those of its lines
    _saved: float = 0.0

    def begin(self, table: TableWork) -> None:
        """The attacks of a table begin; its lines may be others than were planned."""
        if self.works is not None:
            self.works = [
                table if planned.name == table.name else planned for planned in self.works
            ]
        self._table, self._step = table, None
        self._began, self._counted = self.now(), 0.0

    def follow(self, what: str, done: int, of: int) -> None:
        """Note how much of a step is done, and show it."""
        time = self.now()
        line, doing = self._line_of(what)
        before = self._step
        if line is not None and before is not None and before[::2] == (what, of):
            new = done - before[1]
            if new > 0:
                self._add(line, doing, time - self._time, new)
        if line is not None and (before is None or before[::2] != (what, of) or done < before[1]):
            self._begin_step(line, doing, of - done, done)
        self._step, self._time = (what, done, of), time
        if time - self._saved > SAVED_EVERY:
            self._save()
        self.show(what, done, of, str(self.left()))

    def end(self) -> None:
        """The table is scored and written."""
        table = self._table
        if table is None:
            return
        rest = max(0.0, self.now() - self._began - self._counted)
        self.spent.of(table.key).seconds = rest  # of the last time: it is done again each time
        self.durations.put({_score(table): rest / len(table.lines)})
        self._finished.add(table.name)
        self._table = None
        self._save()

    def leave(self, name: str) -> None:
        """No more time is spent on a table, whether it was finished or failed."""
        self._finished.add(name)
        self._table = None

    def left(self) -> TimeLeft:
        """Estimate how long the attacks that are left will take."""
        if self.works is None:
            return TimeLeft(None)
        seconds, scored = 0.0, True
        for table in self.works:
            if table.name in self._finished:
                continue
            for line in table.lines:
                for kind, many in self._left_of(table, line):
                    rate = self._rate(kind) if many else 0.0
                    if rate is None:
                        return TimeLeft(None)
                    seconds += many * rate
            scoring = self.durations.mean(_score(table))
            scored = scored and scoring is not None
            rest = (scoring or 0.0) * len(table.lines)
            if table == self._table:
                rest = max(0.0, rest - (self._time - self._began - self._counted))
            seconds += rest
        return TimeLeft(seconds, "" if scored else "scores")

    def _left_of(self, table: TableWork, line: LineWork) -> list[tuple[str, int]]:
        """How many videos and attackers a line has left, by kind of work."""
        if line.key in self._over:
            return []
        spent = self.spent.of(line.key)
        videos = 0 if line.key in self._anonymized else max(0, line.videos - spent.videos)
        fits = max(0, line.fits - max(spent.fits, self._seen.get(line.key, 0)))
        return [(_anonymize(line), videos), (_attack(table), fits)]

    def _rate(self, kind: str) -> float | None:
        """Seconds for one of a kind; a video of a new method takes as long as those of others."""
        seconds, many = self._rates.get(kind, (0.0, 0))
        if many:
            return seconds / many
        known = self.durations.mean(kind)
        if known is None and kind.startswith("anonymize "):
            other_kinds = [
                other_kind
                for other_kind in self.durations.seconds
                if other_kind.startswith("anonymize ")
            ]
            other_kinds += [
                other_kind for other_kind in self._rates if other_kind.startswith("anonymize ")
            ]
            means = [self._rate(other_kind) for other_kind in dict.fromkeys(other_kinds)]
            measured = [mean for mean in means if mean is not None]
            return sum(measured) / len(measured) if measured else None
        return known

    def _line_of(self, what: str) -> tuple[LineWork | None, str]:
        """The line that a step is of, and what it does there."""
        best: tuple[LineWork | None, str] = None, what
        for line in () if self._table is None else self._table.lines:
            for name, control in ((line.name, ""), (f"{line.name}, labels shuffled", "control, ")):
                doing = control + what.removeprefix(f"{name}: ")
                if what.startswith(f"{name}: ") and len(doing) < len(best[1]) + len(control):
                    best = line, doing
        # of restored clips nothing is kept: it is done again each time
        return (None, what) if best[1] == RESTORING else best

    def _begin_step(self, line: LineWork, doing: str, lacking: int, done: int) -> None:
        """What comes before a step is over; what of it was there already is done."""
        assert self._table is not None
        lines, spent = self._table.lines, self.spent.of(line.key)
        if doing in (ANONYMIZING, READING):  # raw video, the first line, is read after all others
            before = lines[1:] if doing == READING else lines[1 : lines.index(line)]
            self._anonymized |= {work.key for work in before}
            spent.videos = min(spent.videos, max(0, line.videos - lacking))
            return
        self._anonymized |= {work.key for work in lines}
        self._over |= {work.key for work in lines[: lines.index(line)]}
        if doing == line.fitting:
            spent.fits = min(spent.fits, max(0, line.fits - lacking))
            self._note_fits(line, done)

    def _add(self, line: LineWork, doing: str, seconds: float, new: int) -> None:
        """So many seconds were spent on a line, by which so many new things were made."""
        assert self._table is not None
        self._counted += seconds
        spent = self.spent.of(line.key)
        spent.seconds += seconds
        if doing in (ANONYMIZING, READING):
            spent.videos += new
            self._measure(_anonymize(line), seconds, new)
        else:  # whatever else a line takes, such as looking for poses, is counted by its fits
            self._measure(_attack(self._table), seconds, new if doing == line.fitting else 0)
        if doing == line.fitting:
            self._note_fits(line, new)

    def _note_fits(self, line: LineWork, more: int) -> None:
        self._seen[line.key] = self._seen.get(line.key, 0) + more
        spent = self.spent.of(line.key)
        spent.fits = max(spent.fits, min(line.fits, self._seen[line.key]))

    def _measure(self, kind: str, seconds: float, new: int) -> None:
        before = self._rates.get(kind, (0.0, 0))
        self._rates[kind] = before[0] + seconds, before[1] + new

    def _save(self) -> None:
        """Keep what was measured, for the next run of the command."""
        self._saved = self.now()
        self.spent.save()
        self.durations.put(
            {kind: seconds / many for kind, (seconds, many) in self._rates.items() if many}
        )


def _anonymize(line: LineWork) -> str:
    return f"anonymize by {line.method}, a video"


def _attack(table: TableWork) -> str:
    return f"attack {table.kind}, a fit"


def _score(table: TableWork) -> str:
    return f"score {table.kind}, a line"

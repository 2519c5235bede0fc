"""The time that a table took: of its trainings and its attacks, over all runs of the command."""

from __future__ import annotations

from pathlib import Path

from masquerade.benchmark.attack_clock import LineWork, TableWork
from masquerade.benchmark.durations import Spent, SpentTimes
from masquerade.benchmark.jobs import Job
from masquerade.benchmark.time_spent import RowTime, TimeSpent, time_spent

ROWS = (
    RowTime(name="raw", attacks=90),
    RowTime(name="spact", attacks=30, trained=True, training=3600),
    RowTime(name="bdq", attacks=30, trained=True, training=3600),
)


def job(folder: Path, name: str) -> Job:
    done = folder / "runs" / name / "anonymizer.safetensors"
    return Job(name=name, kind="train", words=(), done=done, log=folder / "log")


def test_a_table_says_how_long_it_took_in_all_and_by_row() -> None:
    time = TimeSpent(rows=ROWS, scores=60, training=3600, on="2 cores")
    assert time.sentence() == "Made in 64 min on 2 cores (training 60 min, attacks 3.5 min)."
    by_row = (
        "raw: 1.5 min; spact: 60 min, of which training 60 min; bdq: 60 min, of which training "
    )
    assert time.by_row() == f"{by_row}60 min; scores: 1.0 min"
    assert time.markdown() == f"## Time\n\n{time.sentence()} By row, {time.by_row()}.\n"
    long = TimeSpent(rows=ROWS[:1], scores=9000, training=None, on="16 cores and cuda")
    assert "Made in 2.5 h on 16 cores and cuda (training 0.0 min, attacks 2.5 h)." in (
        long.sentence()
    )


def test_a_training_whose_time_was_not_kept_is_not_said_to_take_none() -> None:
    row = RowTime(name="spact", attacks=30, trained=True)
    time = TimeSpent(rows=(row,), scores=30, training=None, on="2 cores")
    assert time.sentence() == (
        "Made on 2 cores: training, of which it is not known, attacks 1.0 min."
    )
    assert time.by_row() == "spact: 0.5 min and its training; scores: 0.5 min"


def test_a_training_that_rows_share_counts_once(tmp_path: Path) -> None:
    spent = SpentTimes(path=tmp_path / "spent.json")
    shared, other = job(tmp_path, "shared"), job(tmp_path, "other")
    spent.of_job(shared.done).seconds, spent.of_job(other.done).seconds = 100, 10
    spent.each |= {"raw": Spent(seconds=1), "a": Spent(seconds=2), "b": Spent(seconds=3)}
    spent.of("t").seconds = 4
    spent.save()
    lines = [
        LineWork(name=name, key=name, method=name, videos=1, fits=fits)
        for name, fits in (("raw", 1), ("a", 1), ("b", 1), ("not run", 0))
    ]
    work = TableWork(name="t", key="t", kind="k", lines=tuple(lines))
    read = SpentTimes(path=tmp_path / "spent.json")
    time = time_spent(read, work, {"a": [shared], "b": [shared, other]}, on="2 cores")
    assert [row.name for row in time.rows] == ["raw", "a", "b"]
    assert time.training == 110 and [row.training for row in time.rows] == [None, 100, 110]
    assert time.scores == 4 and sum(row.attacks for row in time.rows) == 6
    assert time_spent(read, work, {"a": [job(tmp_path, "new")]}, on="").training is None

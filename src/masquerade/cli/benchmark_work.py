"""Count what the attacks of a benchmark's table take, before they begin."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from masquerade.benchmark.attack_clock import LineWork, TableWork
from masquerade.benchmark.jobs import Job, Places, short_digest
from masquerade.benchmark.suite import Suite, SuiteRow, SuiteTable
from masquerade.datasets.manifest import Manifest
from masquerade.evaluation import EvaluatedMethod, EvaluationConfig
from masquerade.evaluation.evaluated_clips import RAW
from masquerade.evaluation.evaluator import Evaluator
from masquerade.evaluation.executor import REGRESSING, TRAINING
from masquerade.evaluation.mask_only import NAMES

UNCOUNTED = ("--workers", "--device", "--store-limit", "--data", "--private-data", "--score-on")
"""Flags with a value that change no result, or whose files are known by their content."""

Lines = Sequence[tuple[SuiteRow, Sequence[EvaluatedMethod]]]
"""Rows of a table but raw video, each with its lines: several where masks are attacked alone."""


def count_work(
    suite: Suite,
    table: SuiteTable,
    places: Places,
    lines: Lines,
    *,
    words: Sequence[str],
    row_words: Mapping[str, Sequence[str]],
    trainings: Mapping[str, Sequence[Job]],
    clips: tuple[Manifest, EvaluationConfig],
) -> TableWork:
    """What the attacks of a table take.

    Args:
        suite: of the table.
        table: its protocol and rows.
        places: where what it makes is kept.
        lines: of each row.
        words: of `masquerade evaluate` for all rows.
        row_words: those that rows have of their own, by name.
        trainings: of rows that are trained, by name.
        clips: that are attacked, and how.
    """
    manifest, config = clips
    evaluator = Evaluator(manifest, config, folder_of_attacks(places, table), None)
    videos = len({manifest.path(clip) for clip in manifest.clips})
    data = [(name, places.content_digest(suite, name)) for name in table.attacked]
    protocol = [_without(words, UNCOUNTED), data]
    on = "+".join(table.attacked)

    def work(line: EvaluatedMethod, row: SuiteRow | None) -> LineWork:
        here = str(places.folder)  # which may be moved
        own = [] if row is None else [word.replace(here, "") for word in row_words[row.name]]
        several = 1 if row is None else len(trainings.get(row.name, ())) or 1
        method = "reading" if row is None else row.method or row.train
        networks = evaluator.networks_of(line)
        return LineWork(
            name=line.name,
            key=f"{suite.name}/{table.name}/{line.name} {short_digest([protocol, own])}",
            method=f"{method} on {on}",
            videos=0 if line.not_applicable else videos * several,
            fits=networks or evaluator.attackers_of(line),
            fitting=TRAINING if networks else REGRESSING,
        )

    works = [work(RAW, None)]
    works += [work(line, row) for row, row_lines in lines for line in row_lines]
    return TableWork(
        name=table.name,
        key=f"{suite.name}/{table.name} {short_digest([protocol, [w.key for w in works]])}",
        kind=f"by {table.evaluate} on {on}",
        lines=tuple(works),
    )


def lines_to_train(row: SuiteRow) -> list[EvaluatedMethod]:
    """The lines of a row that is not trained yet."""
    masks = NAMES.values() if "--mask-only" in row.evaluate else ()
    names = [row.name, *(f"{row.name}, {name}" for name in masks)]
    return [EvaluatedMethod(name=name) for name in names]


def folder_of_attacks(places: Places, table: SuiteTable) -> Path:
    """Where copies of clips, attackers and predictions of a table lie."""
    return places.folder / "attacks" / "-".join(table.attacked)


def _without(words: Sequence[str], flags: Sequence[str]) -> list[str]:
    """Words without some flags and their values."""
    left, dropped = [], False
    for word in words:
        if not dropped and word not in flags:
            left.append(word)
        dropped = not dropped and word in flags
    return left

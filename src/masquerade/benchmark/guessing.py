"""Which printed scores a guess reaches: floors of the papers' data, and the cells at or below them.

A private score at or below a floor shows nothing about what is hidden, since whoever saw no video
scores as much. An action at or below its floor is lost. The floors were computed from published
labels (docs/papers.md 5.3); `masquerade data floors` computes those of attributes again. A
benchmark adds those of the labels that it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

from masquerade.benchmark.published import (
    UNITS,
    PublishedColumn,
    PublishedDataset,
    PublishedRow,
    PublishedTable,
    parse_toml,
    published_datasets,
    read_packaged,
    take,
)
from masquerade.errors import MasqueradeError

Knows = Literal["nothing", "a recognized action", "the true action"]
KNOWS: tuple[Knows, ...] = get_args(Knows)  # from least to most

KNOWS_OF: dict[str, Knows] = {  # by names of `metrics.floors`; all others know nothing
    "action prior": "the true action",
    "action prior, tuned on train": "the true action",
    "predicted action": "a recognized action",
}


@dataclass(frozen=True, kw_only=True)
class GuessFloor:
    """What somebody scores who sees no video, in the unit of the printed tables."""

    dataset: str  # name of a PublishedDataset
    split: str  # of the dataset, such as 1; "" where there is one
    label: str  # as in the tables' columns
    metric: str  # as in the tables' columns
    guess: str  # the trivial attacker, such as constant, all positive or action prior
    knows: Knows  # what it knows of a test video
    value: float  # its score
    per_attribute: tuple[float, ...] | None  # its score on each attribute, where computed
    accuracy: float | None  # of the recognizer whose actions it knows, in percent
    how: str  # it was computed, in a sentence
    assumes: str  # what the paper leaves open and the floor takes for given; "" for nothing


@dataclass(frozen=True, kw_only=True)
class Beaten:
    """A printed score that a guess reaches."""

    row: int  # index into the table's rows
    column: int  # index into the table's columns
    score: float  # as printed
    floors: tuple[GuessFloor, ...]  # that reach it: who knows least first, then the highest

    @property
    def knows(self) -> Knows:
        """The least that has to be known of a video for a guess as good as this score."""
        return self.floors[0].knows


def beaten_by_guessing(
    table: PublishedTable,
    floors: Sequence[GuessFloor] | None = None,
    *,
    more: Sequence[GuessFloor] = (),
) -> tuple[Beaten, ...]:
    """The printed scores that a guess reaches, row by row.

    A private score is reached where it is at or below a floor of the same data, label and metric,
    an action likewise. The floor of a recognized action counts for rows only whose own action is
    recognized at least as well as that floor needs. Trade-offs have no floor.

    Args:
        floors: None: the published ones of the first split, the only one where there is one.
        more: others beside them, such as those of the labels that a run has.
    """
    if floors is None:
        floors = [floor for floor in guess_floors() if floor.split in ("", "1")]
    floors = [*floors, *more]
    beaten = []
    for i, row in enumerate(table.rows):
        for j, column in enumerate(table.columns):
            score = row.values[j]
            if score is None or column.measures == "trade-off":
                continue
            reach = [
                floor
                for floor in floors
                if _same(floor, column) and score <= floor.value and _applies(floor, table, row)
            ]
            if reach:
                reach.sort(key=lambda floor: (KNOWS.index(floor.knows), -floor.value))
                beaten.append(Beaten(row=i, column=j, score=score, floors=tuple(reach)))
    return tuple(beaten)


@cache
def guess_floors() -> tuple[GuessFloor, ...]:
    """All floors of the papers' data that were computed from published labels."""
    return tuple(parse_floors(read_packaged("floors"), published_datasets()))


def parse_floors(text: str, datasets: Mapping[str, PublishedDataset]) -> list[GuessFloor]:
    """Floors from the text of `floors.toml`.

    Raises:
        MasqueradeError: something in it is wrong; the message says which floor.
    """
    floors = take(parse_toml(text, "floors"), "floors", {"floor": list})["floor"]
    return [_floor(plain, i, datasets) for i, plain in enumerate(floors, 1)]


def _same(floor: GuessFloor, column: PublishedColumn) -> bool:
    floor_key = (floor.dataset, floor.label, floor.metric)
    return floor_key == (column.dataset, column.label, column.metric)


def _applies(floor: GuessFloor, table: PublishedTable, row: PublishedRow) -> bool:
    """Whether a row's own action is recognized as well as the floor needs."""
    if floor.accuracy is None:
        return True
    return any(
        column.measures == "action"
        and (column.dataset, column.metric) == (floor.dataset, "top-1")
        and value is not None
        and value >= floor.accuracy
        for column, value in zip(table.columns, row.values, strict=True)
    )


def _floor(plain: Any, number: int, datasets: Mapping[str, PublishedDataset]) -> GuessFloor:
    where = f"floor {number}"
    texts = {"dataset": str, "split": str, "label": str, "metric": str, "guess": str, "knows": str}
    record = take(
        plain,
        where,
        {**texts, "value": float, "how": str, "assumes": str},
        {"per_attribute": list, "accuracy": float},
    )
    for key, known in (("dataset", datasets), ("metric", UNITS), ("knows", KNOWS)):
        if record[key] not in known:
            raise MasqueradeError(f"{where} has the unknown {key} {record[key]!r}.")
    if (record["knows"] == "a recognized action") != ("accuracy" in record):
        raise MasqueradeError(f"{where}: a recognized action needs its accuracy, nothing else.")
    per_attribute = record.pop("per_attribute", None)
    highest = 100.0 if UNITS[record["metric"]] == "%" else 1.0
    if not all(0 <= value <= highest for value in (record["value"], *(per_attribute or ()))):
        raise MasqueradeError(f"{where} has a score out of 0 to {highest:g}.")
    return GuessFloor(
        per_attribute=None if per_attribute is None else tuple(per_attribute),
        accuracy=record.pop("accuracy", None),
        **record,
    )

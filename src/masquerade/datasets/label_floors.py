"""The floors of a dataset's private labels: its labels put in order for `metrics.floors`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import Column, IntArray, Manifest, read_manifest
from masquerade.datasets.published.vp import read_vp
from masquerade.errors import UsageError
from masquerade.metrics.floors import Floor, class_floors
from masquerade.metrics.floors import floors as binary_floors

_PICKLES = {".pickle", ".pkl", ".p"}


@dataclass(frozen=True, kw_only=True)
class Published:
    """What STPrivacy (ICCV 2023, Table 1) reports of its attackers; the split is not stated.

    Args:
        name: of the labels.
        accuracy: top-1 of the action on its protected video.
        raw_f1: of the attacker on raw video.
        raw_cmap: the same.
        f1: of the attacker on protected video.
        cmap: the same.
    """

    name: str
    accuracy: float
    raw_f1: float
    raw_cmap: float
    f1: float
    cmap: float


UCF101 = Published(
    name="VP-UCF101", accuracy=0.8255, raw_f1=0.684, raw_cmap=0.7662, f1=0.634, cmap=0.7379
)
HMDB51 = Published(
    name="VP-HMDB51", accuracy=0.5073, raw_f1=0.673, raw_cmap=0.7558, f1=0.613, cmap=0.7248
)


@dataclass(frozen=True, kw_only=True)
class AttributeFloors:
    """The floors of all binary attributes together, or of one attribute of several classes.

    Args:
        attributes: their names; `per_attribute` of each row is in this order.
        train: clips that were counted.
        test: clips that are scored.
        left_out: clips of either split without a label.
        floors: one row a trivial attacker and metric, scores in [0, 1].
    """

    attributes: tuple[str, ...]
    train: int
    test: int
    left_out: int
    floors: tuple[Floor, ...]


@dataclass(frozen=True, kw_only=True)
class FloorsResult:
    """The floors of a labelled split.

    Args:
        labels: name of the file.
        split: which.
        tables: the binary attributes first, then each attribute of several classes.
        notes: what the numbers mean, to stand beside them.
    """

    labels: str
    split: str
    tables: tuple[AttributeFloors, ...]
    notes: tuple[str, ...]

    def to_json(self) -> str:
        """The result as JSON; `shown` is each value as tables print it."""
        found: dict[str, Any] = asdict(self)
        for table, mine in zip(found["tables"], self.tables, strict=True):
            for row, floor in zip(table["floors"], mine.floors, strict=True):
                each = floor.per_attribute or ()
                row["shown"] = shown(floor, floor.value)
                row["shown_per_attribute"] = [shown(floor, value) for value in each]
        return json.dumps(found, indent=2, ensure_ascii=False)


def shown(floor: Floor, value: float | None) -> str:
    """A value as the papers print its metric: F1 and BCE as they are, all others in percent."""
    if value is None:
        return "n/a"
    plain = "F1" in floor.metric or floor.metric == "BCE"
    return f"{value:.4f}" if plain else f"{100 * value:.2f}"


def label_floors(
    labels: Path,
    *,
    splits: Path | None = None,
    split: str = "1",
    action_accuracy: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> FloorsResult:
    """The floors of a published pickle or of a manifest.

    Args:
        labels: a VP-UCF101 or VP-HMDB51 pickle, or a manifest.
        splits: for a pickle, the folder of the official lists.
        split: for a pickle 1, 2 or 3; for a manifest the split column, or 1 for its only one.
        action_accuracy: of an action recognizer, in [0, 1]; None: for a pickle the published
            one on protected video, for a manifest none.
        resamples: for the standard errors; 0 leaves them out.
        seed: of what draws.
    """
    published = None
    if labels.suffix in _PICKLES:
        if splits is None or split not in ("1", "2", "3"):
            raise UsageError(
                f"{labels.name} needs --splits, the lists' folder, and --split 1 to 3."
            )
        manifest = read_vp(labels, splits=splits, split=int(split))
        published = UCF101 if (splits / "trainlist01.txt").exists() else HMDB51
        accuracy = published.accuracy if action_accuracy is None else action_accuracy
        tables = manifest_floors(
            manifest, split="split", accuracy=accuracy, resamples=resamples, seed=seed
        )
    else:
        manifest = read_manifest(labels)
        split = _split_column(manifest, split)
        tables = manifest_floors(
            manifest, split=split, accuracy=action_accuracy, resamples=resamples, seed=seed
        )
    notes = (*_unseen(manifest, split, tables), *_notes(published, tables[0].floors))
    return FloorsResult(labels=labels.name, split=split, tables=tables, notes=notes)


def manifest_floors(
    manifest: Manifest,
    *,
    split: str,
    accuracy: float | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> tuple[AttributeFloors, ...]:
    """The floors of every attribute of a manifest: train is counted, test is scored.

    An attribute of classes none of which is in both, as people under a split by people, has none.

    Args:
        manifest: with one action a clip.
        split: the split column.
        accuracy: of an action recognizer, in [0, 1]; adds the floor from its guesses.
        resamples: for the standard errors of the binary attributes; 0 leaves them out.
        seed: of what draws.
    """
    actions = [c for c in manifest.of_role("action") if c.kind == "classes"]
    if len(actions) != 1:
        raise UsageError("Floors from the action need one column with one action a clip.")
    code = manifest.targets(actions[0].name)
    attributes = manifest.of_role("attribute")
    binary = [c.name for c in attributes if c.kind == "binary"]
    tables = []
    if binary:
        tables.append(_binary_table(manifest, split, binary, code, accuracy, resamples, seed))
    for column in attributes:
        if column.kind in ("classes", "identity"):
            tables += _class_table(manifest, split, column, code, accuracy)
    if not tables:
        raise UsageError(f"No attribute that {split!r} could teach has a floor.")
    return tuple(tables)


def _binary_table(
    manifest: Manifest,
    split: str,
    names: Sequence[str],
    code: IntArray,
    accuracy: float | None,
    resamples: int,
    seed: int,
) -> AttributeFloors:
    flags = np.stack([manifest.targets(name) for name in names], axis=1)  # (N, P)
    known = np.asarray((flags >= 0).all(axis=1))
    train, test, out = _sides(manifest, split, known & (code >= 0))
    rows = binary_floors(
        flags[train],
        flags[test],
        code[train],
        code[test],
        accuracy=accuracy,
        all_labels=flags[known],
        resamples=resamples,
        seed=seed,
    )
    return _table(names, train, test, out, rows)


def _class_table(
    manifest: Manifest, split: str, column: Column, code: IntArray, accuracy: float | None
) -> list[AttributeFloors]:
    label = manifest.targets(column.name)
    train, test, out = _sides(manifest, split, (label >= 0) & (code >= 0))
    if not np.isin(label[test], label[train]).any():
        return []  # nobody who is asked for was ever seen: there is nothing to learn
    rows = class_floors(
        label[train],
        label[test],
        code[train],
        code[test],
        accuracy=accuracy,
        classes=len(column.values),
    )
    return [_table([column.name], train, test, out, rows)]


def _sides(
    manifest: Manifest, split: str, known: NDArray[np.bool_]
) -> tuple[IntArray, IntArray, int]:
    """Which clips are counted, which are scored, and how many of both lack a label."""
    part = np.array(manifest.cells(split))
    train, test = (np.flatnonzero((part == name) & known) for name in ("train", "test"))
    if not len(train) or not len(test):
        raise UsageError(f"Split {split!r} has no labelled clips in train, or none in test.")
    return train, test, int((~known & np.isin(part, ("train", "test"))).sum())


def _table(
    names: Sequence[str], train: IntArray, test: IntArray, out: int, rows: tuple[Floor, ...]
) -> AttributeFloors:
    return AttributeFloors(
        attributes=tuple(names), train=len(train), test=len(test), left_out=out, floors=rows
    )


def _split_column(manifest: Manifest, name: str) -> str:
    names = [column.name for column in manifest.of_role("split")]
    if name in names:
        return name
    if name == "1" and len(names) == 1:
        return names[0]
    raise UsageError(
        f"Name the split column with --split; there are: {', '.join(names) or 'none'}."
    )


def _unseen(manifest: Manifest, split: str, tables: Sequence[AttributeFloors]) -> tuple[str, ...]:
    """Which attributes of classes have no table, and why."""
    have = {name for table in tables for name in table.attributes}
    wanted = [c.name for c in manifest.of_role("attribute") if c.kind in ("classes", "identity")]
    missing = ", ".join(name for name in wanted if name not in have)
    if not missing:
        return ()
    return (f"No value of {missing} is in both train and test of split {split}: no floor.",)


def _notes(published: Published | None, floors: Sequence[Floor]) -> tuple[str, ...]:
    notes = [
        "A privacy score says something only as far as it lies above the best of these rows: "
        "whoever knows the action has the action prior without seeing the video, and useful "
        "anonymized video shows the action."
    ]
    if published is None:
        return tuple(notes)
    rows = {(row.name, row.metric): row for row in floors}
    compared = (
        ("raw video", "F1", published.raw_f1, "all positive"),
        ("protected video", "F1", published.f1, "all positive"),
        ("raw video", "cMAP", published.raw_cmap, "action prior"),
        ("protected video", "cMAP", published.cmap, "predicted action"),
    )
    for where, metric, score, name in compared:
        row = rows[name, metric]
        apart = score - (row.value or 0.0)
        notes.append(
            f"{published.name}: the published attacker on {where} has {metric} "
            f"{shown(row, score)}, {shown(row, abs(apart))} {'below' if apart < 0 else 'above'} "
            f"the floor '{name}' of {shown(row, row.value)}."
        )
    return (
        *notes,
        "The paper does not say which split it used. Differences below about one point of cMAP "
        "(two standard errors) are no differences on one split.",
    )

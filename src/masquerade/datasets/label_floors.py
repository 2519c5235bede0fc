"""Compute the floors of a manifest's private labels, by `metrics.floors`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from masquerade.datasets.manifest import Column, IntArray, Manifest, read_manifest
from masquerade.datasets.published.vp import read_vp
from masquerade.datasets.splits import is_of_people
from masquerade.errors import UsageError
from masquerade.metrics.floors import Floor, attribute_floors, class_floors

_PICKLES = {".pickle", ".pkl", ".p"}

# What STPrivacy (Li et al., ICCV 2023, Table 1) reports of its attackers on raw and on protected
# video, and of the action on protected video. The paper does not state the split.
_ACTION_ACCURACY = {"VP-UCF101": 0.8255, "VP-HMDB51": 0.5073}
_ATTACKER = {  # F1 and cMAP
    "VP-UCF101": {"raw": (0.684, 0.7662), "protected": (0.634, 0.7379)},
    "VP-HMDB51": {"raw": (0.673, 0.7558), "protected": (0.613, 0.7248)},
}


@dataclass(frozen=True, kw_only=True)
class AttributeFloors:
    """The floors of all binary attributes together, or of one attribute of several classes."""

    attributes: tuple[str, ...]  # names, in the order of `per_attribute` of each row
    train: int  # clips of train
    test: int  # clips of test
    left_out: int  # clips of either without a label
    floors: tuple[Floor, ...]  # one row a trivial attacker and metric


@dataclass(frozen=True, kw_only=True)
class FloorsResult:
    """The floors of a labelled split."""

    labels: str  # name of the file
    split: str
    tables: tuple[AttributeFloors, ...]  # binary attributes first, then each attribute of classes
    notes: tuple[str, ...]  # how to read the numbers

    def to_json(self) -> str:
        """The result as JSON; `shown` is each value as tables print it."""
        result: dict[str, Any] = asdict(self)
        for table, own in zip(result["tables"], self.tables, strict=True):
            for row, floor in zip(table["floors"], own.floors, strict=True):
                values = floor.per_attribute or ()
                row["shown"] = format_score(floor, floor.value)
                row["shown_per_attribute"] = [format_score(floor, value) for value in values]
        return json.dumps(result, indent=2, ensure_ascii=False)


def format_score(floor: Floor, value: float | None) -> str:
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
        resamples: of the bootstrap for standard errors; 0 leaves them out.
        seed: of the random scores and resamples.
    """
    published = None
    name = labels.name
    if labels.suffix in _PICKLES:
        if splits is None or split not in ("1", "2", "3"):
            raise UsageError(f"{name} needs --splits, the lists' folder, and --split 1 to 3.")
        manifest, column = read_vp(labels, splits=splits, split=int(split)), "split"
        published = "VP-UCF101" if (splits / "trainlist01.txt").exists() else "VP-HMDB51"
        if action_accuracy is None:
            action_accuracy = _ACTION_ACCURACY[published]
    elif splits is not None:
        raise UsageError(f"{name} is no pickle, and --splits are the lists of one: leave them out.")
    else:
        manifest = read_manifest(labels)
        column = split = _split_column(manifest, split)
    tables = _floors(manifest, column, action_accuracy, {"resamples": resamples, "seed": seed})
    notes = tuple(_notes(manifest, split, published, tables))
    return FloorsResult(labels=name, split=split, tables=tables, notes=notes)


def _floors(
    manifest: Manifest, split: str, accuracy: float | None, bootstrap: Mapping[str, int]
) -> tuple[AttributeFloors, ...]:
    """The floors of every attribute of a manifest, fitted on train and scored on test.

    An attribute of classes none of which is in both splits, such as people under a split by
    people, has none.
    """
    actions = [c for c in manifest.of_role("action") if c.kind == "classes"]
    if len(actions) != 1:
        raise UsageError("Floors from the action need one column with one action a clip.")
    code = manifest.targets(actions[0].name)
    part = np.array(manifest.cells(split))
    if not {"train", "test"} <= set(part.tolist()):
        raise UsageError(f"Split {split!r} has no clip in train, or none in test.")
    columns = _varied(manifest, split)
    # each mean is over the same attributes in every row, of clips that have them all
    binary = [column for column in columns if column.kind == "binary"]
    together = [binary, *([column] for column in columns if column.kind in ("classes", "identity"))]
    tables = []
    while together:
        if not (averaged := together.pop(0)):
            continue
        labels = np.stack([manifest.targets(column.name) for column in averaged], axis=1)  # (N, P)
        labelled = np.asarray((labels >= 0).all(axis=1))
        known = labelled & (code >= 0)
        train, test = (np.flatnonzero((part == name) & known) for name in ("train", "test"))
        if not len(train) or not len(test):
            names = ", ".join(column.name for column in averaged)
            raise UsageError(
                f"Split {split!r} has no clip in train, or none in test, with an action and all of "
                f"{names}; fill in these labels, or leave a column out."
            )
        varied = _varied(manifest.take([*train, *test]), split)
        # without clips that lack another label one may not vary
        if not set(averaged) <= set(varied):
            together.insert(0, [column for column in averaged if column in varied])
            continue
        if averaged[0].kind != "binary" and not np.isin(labels[test], labels[train]).any():
            continue
        if accuracy is not None:
            _refuse_unseen(actions[0], code[train], code[test], split)
        if averaged[0].kind == "binary":
            arguments = labels[train], labels[test], code[train], code[test]
            all_labels = labels[labelled]
            floors = attribute_floors(
                *arguments, accuracy=accuracy, all_labels=all_labels, **bootstrap
            )
        else:
            arguments = labels[train, 0], labels[test, 0], code[train], code[test]
            floors = class_floors(*arguments, accuracy=accuracy, classes=len(averaged[0].values))
        table = AttributeFloors(
            attributes=tuple(column.name for column in averaged),
            train=len(train),
            test=len(test),
            left_out=int((~known & np.isin(part, ("train", "test"))).sum()),
            floors=floors,
        )
        tables.append(table)
    if not tables:
        raise UsageError(f"No attribute has a floor under split {split!r}.")
    return tuple(tables)


def _refuse_unseen(action: Column, train: IntArray, test: IntArray, split: str) -> None:
    """Refuse actions of test that a recognizer, whose accuracy is given, could not have learned."""
    if unseen := [action.values[code] for code in np.setdiff1d(test, train)]:
        raise UsageError(
            f"--action-accuracy: no labelled clip in train of split {split!r} shows "
            f"{', '.join(unseen[:5])}{' and others' * (len(unseen) > 5)}, which no recognizer "
            "could learn; leave the option out, or clips of these actions."
        )


def _varied(manifest: Manifest, split: str) -> list[Column]:
    """The attributes that have a label in train and, where they are binary, both in test."""
    train, test = (manifest.where(split, part) for part in ("train", "test"))
    return [
        column
        for column in manifest.of_role("attribute")
        if column.kind in ("binary", "classes", "identity")
        and train.count_values(column.name) > 0
        and test.count_values(column.name) >= (2 if column.kind == "binary" else 1)
    ]


def _split_column(manifest: Manifest, name: str) -> str:
    names = [column.name for column in manifest.of_role("split")]
    if name == "1" and len(names) == 1:
        return names[0]
    if name not in names:
        known = ", ".join(names) or "none"
        raise UsageError(f"Name the split column with --split; there are: {known}.")
    return name


def _notes(
    manifest: Manifest, split: str, published: str | None, tables: Sequence[AttributeFloors]
) -> Iterator[str]:
    """Which attributes have no floor, how to read the others, and what the paper reports."""
    have = {name for table in tables for name in table.attributes}
    attributes = [c for c in manifest.of_role("attribute") if c.name not in have]
    if missing := ", ".join(c.name for c in attributes if c.kind in ("classes", "identity")):
        yield f"No value of {missing} is in both train and test of split {split}: no floor."
    if missing := ", ".join(c.name for c in attributes if c.kind == "binary"):
        yield (
            f"{missing}: no label in train of split {split}, or one value in test, of clips that "
            "have an action and all labels of 0 and 1: no floor."
        )
    several = [c for c in attributes if c.kind == "multi-label"]
    if missing := ", ".join(c.name for c in several if not is_of_people(c)):
        yield f"{missing}: of several values a clip, whose floors `masquerade evaluate` computes."
    if missing := ", ".join(c.name for c in several if is_of_people(c)):
        yield f"{missing}: several people in one clip, who are not attacked: no floor."
    yield (
        "Compare a privacy score with the best of these rows: an attacker who knows the action "
        "reaches the action prior without seeing the video, and useful anonymized video shows the "
        "action."
    )
    if published is None:
        return
    rows = {(row.name, row.metric): row for row in tables[0].floors}
    for video, floor in (("raw", "action prior"), ("protected", "predicted action")):
        f1, cmap = _ATTACKER[published][video]
        for metric, score, name in (("F1", f1, "all positive"), ("cMAP", cmap, floor)):
            row = rows[name, metric]
            gap = score - (row.value or 0.0)
            side = "below" if gap < 0 else "above"
            yield (
                f"{published}: the published attacker on {video} video has {metric} "
                f"{format_score(row, score)}, {format_score(row, abs(gap))} {side} the floor "
                f"'{name}' of {format_score(row, row.value)}."
            )
    yield (
        "The paper does not say which split it used. Differences below about one point of cMAP "
        "(two standard errors) are not significant on one split."
    )

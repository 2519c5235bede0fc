"""Majority vote of several annotators, and their agreement beyond chance (Fleiss' kappa)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import multimode
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from masquerade.datasets.manifest import NO_VALUES, Column, Manifest
from masquerade.errors import UsageError

Ties = Literal["unknown", "present", "first"]
"""The label of a tie: none; the positive label of a binary column and none elsewhere (what may have
to be hidden counts as present); or the tied label of the annotator who is named first."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """The annotators' agreement on one column (or on one value of a multi-label column)."""

    column: str  # `name=value` for one value of a multi-label column
    clips: int  # with at least one label
    rated: int  # with two or more labels, which kappa is over
    kappa: float | None  # None where it is undefined
    ties: int  # clips without a majority


@dataclass(frozen=True, kw_only=True)
class VoteResult:
    """The voted labels."""

    manifest: Manifest  # the first annotator's, with the voted labels
    ties: Ties  # the label of ties
    agreement: tuple[Agreement, ...]  # one a voted column

    def to_json(self) -> str:
        """The agreement as JSON; the labels go to a manifest."""
        rows = [asdict(row) for row in self.agreement]
        result = {"clips": len(self.manifest), "ties": self.ties, "agreement": rows}
        return json.dumps(result, indent=2, ensure_ascii=False)


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Fleiss' kappa (1971): (P - P_e) / (1 - P_e); None where P_e is 1 or no item has two ratings.

    Items may have different numbers of ratings; those with fewer than two are left out.
    `counts` (N, K) is how many raters put item i into category k.
    """
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2 or (table < 0).any():
        raise UsageError("Fleiss' kappa needs a table of counts, items by categories.")
    table = table[table.sum(axis=1) >= 2]
    if not len(table):
        return None
    raters = table.sum(axis=1)
    agreed = ((table * (table - 1)).sum(axis=1) / (raters * (raters - 1))).mean()
    share = table.sum(axis=0) / table.sum()
    chance = float((share**2).sum())
    return None if np.isclose(chance, 1.0) else float((agreed - chance) / (1 - chance))


def majority(ratings: Sequence[str], *, ties: Ties = "unknown", binary: bool = False) -> str:
    """The label that more annotators gave than any other, or ""; empty ratings do not vote."""
    tied = multimode(filter(None, ratings))
    if len(tied) == 1 or (tied and ties == "first"):
        return tied[0]
    return "1" if tied and ties == "present" and binary else ""


def vote(annotators: Sequence[Manifest], *, ties: Ties = "unknown") -> VoteResult:
    """Vote on the label of every clip and column of two or more manifests with the same columns.

    Clips are matched by path, as written, and frame range. A column is voted on where it is an
    action or attribute; all others must agree. In a multi-label column every value is voted on; a
    set with a tied value is unknown as a whole where ties are, since a manifest has no half of one.
    """
    if len(annotators) < 2:
        raise UsageError("A vote needs the manifests of two or more annotators.")
    wanted, *others = (
        [(column.name, column.kind) for column in manifest.columns] for manifest in annotators
    )
    for number, have in enumerate(others, start=2):
        if have != wanted:
            odd = sorted({name for name, _ in set(have) ^ set(wanted)}) or ["their order"]
            raise UsageError(
                f"Annotator {number} does not have the first one's columns and kinds: "
                f"{', '.join(odd)}; write the kind into the header, as in gender:binary."
            )
    rows = [{clip.key: clip for clip in manifest.clips} for manifest in annotators]
    keys = list(dict.fromkeys(key for by_key in rows for key in by_key))
    rated = [[by_key[key] for by_key in rows if key in by_key] for key in keys]
    merged = replace(annotators[0], clips=tuple(clips[0] for clips in rated))
    agreement: list[Agreement] = []
    for column in annotators[0].columns:
        ratings = [[clip.cells[column.name] for clip in clips] for clips in rated]
        if column.role not in ("action", "attribute"):
            for (path, *_), clip_ratings in zip(keys, ratings, strict=True):
                if len(set(clip_ratings)) > 1:
                    raise UsageError(
                        f"The annotators' files differ in column {column.name} of {path}, "
                        "which is not voted on; make it agree."
                    )
            continue
        values = sorted({v for manifest in annotators for v in manifest.column(column.name).values})
        cells, column_agreement = _vote_column(column, values, ratings, ties)
        merged = merged.with_cells(column, cells)
        agreement += column_agreement
    order = tuple(merged.column(column.name) for column in annotators[0].columns)
    merged = replace(merged, columns=order)
    return VoteResult(manifest=merged, ties=ties, agreement=tuple(agreement))


def _vote_column(
    column: Column, values: Sequence[str], ratings: list[list[str]], ties: Ties
) -> tuple[list[str], list[Agreement]]:
    if column.kind != "multi-label":
        cells = [
            majority(clip_ratings, ties=ties, binary=column.kind == "binary")
            for clip_ratings in ratings
        ]
        return cells, [_agreement(column.name, values, ratings)]
    votes: list[list[str]] = [[] for _ in ratings]  # by clip one a value
    found = []
    for value in values:
        flags = [
            [str(int(value in cell.split("|"))) for cell in clip_ratings if cell]
            for clip_ratings in ratings
        ]
        found.append(_agreement(f"{column.name}={value}", ("0", "1"), flags))
        for clip_votes, clip_flags in zip(votes, flags, strict=True):
            clip_votes.append(majority(clip_flags, ties=ties, binary=True))
    cells = [
        _join(values, clip_votes) if any(clip_ratings) else ""
        for clip_votes, clip_ratings in zip(votes, ratings, strict=True)
    ]
    return cells, found


def _join(values: Sequence[str], votes: Sequence[str]) -> str:
    """The cell of a set of values that were voted on; empty, unknown, where one is a tie."""
    if "" in votes:
        return ""
    chosen = [value for value, vote in zip(values, votes, strict=True) if vote == "1"]
    return "|".join(chosen) or NO_VALUES


def _agreement(name: str, values: Sequence[str], ratings: list[list[str]]) -> Agreement:
    counts = np.array([[clip_ratings.count(value) for value in values] for clip_ratings in ratings])
    counts = counts.reshape(len(ratings), len(values))  # also without values
    raters = counts.sum(axis=1)
    return Agreement(
        column=name,
        clips=int((raters > 0).sum()),
        rated=int((raters > 1).sum()),
        kappa=fleiss_kappa(counts),
        ties=sum(len(multimode(filter(None, clip_ratings))) > 1 for clip_ratings in ratings),
    )

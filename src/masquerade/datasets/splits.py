"""Grouped splits: K folds, validation and test sets that never share people or source clips."""

import os
import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from masquerade.datasets.manifest import Clip, Column, IntArray, Manifest, names_people
from masquerade.errors import UsageError

NEAR = 0.25  # a draw that misses the clips that are asked for by no more of them stands


def group_columns(manifest: Manifest) -> tuple[str, ...]:
    """The columns that name people or source clips."""
    return tuple(
        column.name for column in manifest.columns if column.role == "group" or is_of_people(column)
    )


def people_columns(manifest: Manifest) -> tuple[str, ...]:
    """The columns that name people, of one of two merged datasets too."""
    named = map(manifest.column, group_columns(manifest))
    return tuple(column.name for column in named if is_of_people(column))


def namespace(column: Column) -> str:
    """The namespace of a group column, within which equal values are one person or source.

    All columns of people share one, in each of several merged datasets; any other has its own.
    """
    own = own_name(column.name)
    return column.name.removesuffix(own) if is_of_people(column) else column.name


def is_of_people(column: Column) -> bool:
    """Whether a column names people, as it is called or as the header declares."""
    return column.kind == "identity" or names_people(own_name(column.name))


def own_name(column: str) -> str:
    """The name that a group column had before its dataset was merged with another."""
    return re.sub(r"^group_(first|second|\d+)_", "", column)


def notes_on_people(manifest: Manifest) -> tuple[str, ...]:
    """Notes that it is not known who is in all clips or some, or one may have two names."""
    people = people_columns(manifest)
    if not people:
        return (
            "No column names the people, such as `identity`: one person may be in train and in "
            "test.",
        )
    cells = np.array([manifest.cells(name) for name in people])  # (columns, rows)
    notes = []
    if unknown := int((cells == "").all(axis=0).sum()):
        notes.append(
            f"Who is in {unknown} of {len(manifest)} clips is unknown ({' and '.join(people)} is "
            "empty): people of train may be in test."
        )
    spelled: dict[str, set[str]] = {}
    for value in {v for cell in np.unique(cells) for v in str(cell).split("|")}:
        spelled.setdefault(_plain(value), set()).add(value)
    if alike := sorted(
        ", ".join(sorted(spellings)) for spellings in spelled.values() if len(spellings) > 1
    ):
        notes.append(
            f"{'; '.join(alike[:3])}{' and others' * (len(alike) > 3)}: these differ by case, "
            "spaces, zeros or invisible characters alone, and are different people in "
            f"{' and '.join(people)}; spell one person's name in one way."
        )
    return tuple(notes)


def _plain(name: str) -> str:
    """A name in lower case, without leading zeros and invisible characters, with one kind of space.

    And without the `.0` that spreadsheets put behind numbers.
    """
    seen = "".join(character for character in name if unicodedata.category(character) != "Cf")
    folded = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", seen).casefold()).strip()
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"(?<=\d)\.0+$", "", folded))


def describe_links(manifest: Manifest, columns: Sequence[str] | None = None) -> str:
    """A sentence that names the columns which link clips, for messages on groups of clips."""
    names = group_columns(manifest) if columns is None else columns
    if not names:
        return "Clips of one file are one group."
    links = []
    for name in names:
        count = len({value for cell in manifest.cells(name) for value in cell.split("|") if value})
        links.append(f"{name} ({count} value{'s' * (count != 1)})")
    return (
        f"Clips are linked by {', '.join(links)}: if a column names neither people nor sources, "
        "change the first word of its name."
    )


def shown_people(manifest: Manifest) -> IntArray:
    """Who is in each clip by all columns of people: (N, K) codes, ascending, and then -1.

    One name is one person in whichever column it stands, as it is to `linked_groups`.
    """
    spaces = {name: namespace(manifest.column(name)) for name in people_columns(manifest)}
    who = [
        {(space, v) for name, space in spaces.items() for v in clip.cells[name].split("|") if v}
        for clip in manifest.clips
    ]
    number = {person: code for code, person in enumerate(sorted(set().union(*who)))}
    shown = np.full((len(who), max([1, *map(len, who)])), -1, np.int64)
    for row, people in zip(shown, who, strict=True):
        row[: len(people)] = sorted(number[person] for person in people)
    return shown


def shares_people(split: str, column: Column) -> bool:
    """Whether a split is named after a column of people: it has the same ones in all its parts."""
    return is_of_people(column) and split == f"split_{column.name}"


def kept_apart(manifest: Manifest, split: str) -> list[str]:
    """The columns whose people or source clips may be in one part alone of a split."""
    named = map(manifest.column, group_columns(manifest))
    return [column.name for column in named if not shares_people(split, column)]


def linked_groups(manifest: Manifest, columns: Sequence[str] | None = None) -> IntArray:
    """Number the connected components of clips that share a file, a person or a source clip.

    `columns` are those that link clips; None: all that name people or source clips. The result is
    (N,), from 0 in order of appearance.
    """
    names = group_columns(manifest) if columns is None else tuple(columns)
    spaces = {name: namespace(manifest.column(name)) for name in names}
    parent = list(range(len(manifest)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[tuple[str, str], int] = {}
    for i, clip in enumerate(manifest.clips):
        keys = [("path", clip.path)]
        keys += [(spaces[name], v) for name in names for v in clip.cells[name].split("|") if v]
        for key in keys:
            a, b = root(i), root(first.setdefault(key, i))
            parent[max(a, b)] = min(a, b)
    return np.unique([root(i) for i in range(len(manifest))], return_inverse=True)[1]


def grouped_folds(
    groups: IntArray, k: int, *, seed: int, strata: IntArray | None = None
) -> IntArray:
    """Stratified group K-fold: the fold of each clip (N,), of nearly equal size, by whole groups.

    Groups are assigned greedily, the largest first and equal ones in random order, each to the fold
    where it least unbalances the classes (`strata`, (N,), such as the action), then the sizes.
    """
    names, sizes = np.unique(groups, return_counts=True)
    if not 2 <= k <= len(names):
        raise UsageError(f"{k} folds of {len(names)} groups: ask for 2 to {len(names)}.")
    classes = np.zeros_like(groups) if strata is None else np.unique(strata, return_inverse=True)[1]
    weight = 1 / np.bincount(classes)  # a rare class counts as much as a common one
    rows = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    members = dict(zip(names, rows, strict=True))
    order = np.random.default_rng(seed).permutation(names)
    load = np.zeros((k, len(weight)))
    fold_of = np.empty(len(groups), dtype=np.int64)
    for group in sorted(order, key=lambda g: -len(members[g])):
        own = members[group]
        counts = np.bincount(classes[own], minlength=len(weight)) * weight
        cost = (2 * load * counts).sum(axis=1)  # what it adds to the sum of squared loads
        best = min(range(k), key=lambda f: (round(float(cost[f]), 12), load[f].sum(), f))
        load[best] += counts
        fold_of[own] = best
    return fold_of


def carve_validation(
    manifest: Manifest,
    *,
    name: str = "split",
    fraction: float = 0.1,
    least: int = 1,
    seed: int,
    columns: Sequence[str] | None = None,
) -> Manifest:
    """Turn whole groups of train into a validation part, for choices that test must not make.

    They have as nearly `fraction` of the train clips as groups allow, and `least` or more;
    `columns` link clips to groups as in `linked_groups`. A split of the same people, as
    `split_identity` of `identity`, keeps them in all its parts: None then leaves that column out.
    """
    if columns is None:
        columns = kept_apart(manifest, name)
    if not 0 < fraction < 1:
        raise UsageError(f"A validation share of {fraction} is not between 0 and 1.")
    cells = list(manifest.cells(name))
    train = [i for i, cell in enumerate(cells) if cell == "train"]
    groups = linked_groups(manifest.take(train), columns)
    if len(set(groups.tolist())) < 2:
        raise UsageError(
            f"Train of {name!r} is one group of people or sources: nothing can be carved off. "
            f"{describe_links(manifest.take(train), columns)}"
        )
    for i in _draw_groups(groups, fraction * len(train), seed, least=least):
        cells[train[i]] = "val"
    return manifest.with_cells(replace(manifest.column(name), values=()), cells)


def random_split(
    manifest: Manifest,
    *,
    test: float = 0.4,
    seed: int,
    columns: Sequence[str] | None = None,
) -> Manifest:
    """Split by whole groups at random, for a dataset published without a split.

    The new column is called split. `test` is the share of the clips to test on, 0.4 as in the
    papers; `columns` link clips to groups as in `linked_groups`.
    """
    if not 0 < test < 1:
        raise UsageError(f"A test share of {test} is not between 0 and 1.")
    groups = linked_groups(manifest, columns)
    if len(set(groups.tolist())) < 2:
        raise UsageError(
            "All clips are one group of people or sources: no test set can be drawn. "
            f"{describe_links(manifest, columns)}"
        )
    drawn = set(_draw_groups(groups, test * len(manifest), seed))
    cells = ["test" if i in drawn else "train" for i in range(len(manifest))]
    return manifest.with_cells(Column(name="split", role="split", kind="classes"), cells)


def copy_split(manifest: Manifest, other: Manifest) -> Manifest:
    """Give each clip the part of a split that another manifest's clips of the same file have.

    Splits that the manifest has of its own are left out: one of them might be tested on.

    Raises:
        UsageError: the other has no split, or a clip's file is in none of its parts, or in several.
    """
    columns = other.of_role("split")
    if not columns:
        raise UsageError("The manifest whose split is to be taken has none.")
    manifest = _without(manifest, {split.name for split in manifest.of_role("split")})
    for column in columns:
        parts: dict[str, set[str]] = {}
        for clip in other.clips:
            parts.setdefault(_place(other, clip), set()).add(clip.cells[column.name])
        cells: list[str] = []
        for clip in manifest.clips:
            found = parts.get(_place(manifest, clip), set())
            if len(found) != 1:
                where = "several parts" if found else "no part"
                raise UsageError(f"{clip.path} is in {where} of {column.name!r} there.")
            cells += found
        manifest = manifest.with_cells(column, cells)
    return manifest


def _place(manifest: Manifest, clip: Clip) -> str:
    """Where a clip's file is, whatever links lead there; also of one that is not there."""
    path = manifest.path(clip)
    try:
        return os.path.realpath(path)  # unlike Path.resolve it bears links in a circle
    except ValueError:  # no file's name, as it holds a NUL
        return os.path.abspath(path)


def _without(manifest: Manifest, names: Collection[str]) -> Manifest:
    """A manifest without some of its columns."""
    return replace(
        manifest,
        columns=tuple(column for column in manifest.columns if column.name not in names),
        clips=tuple(
            replace(clip, cells={k: v for k, v in clip.cells.items() if k not in names})
            for clip in manifest.clips
        ),
    )


def note_on_share(
    manifest: Manifest, part: str, share: float, *, name: str = "split", of: Sequence[str]
) -> str | None:
    """A note where a part is far from the share of `of` that is wanted; else None."""
    cells = manifest.cells(name)
    rows = [i for i, cell in enumerate(cells) if cell in of]
    got = sum(cells[i] == part for i in rows) / len(rows)
    if abs(got - share) <= NEAR * share:
        return None
    columns = kept_apart(manifest, name)
    subset = manifest.take(rows)
    largest = int(np.bincount(linked_groups(subset, columns)).max())
    return (
        f"{name}: {part} has {got:.0%} of the clips where {share:.0%} are wanted, which is as "
        f"near as groups allow, the largest of which has {largest} of {len(rows)}. "
        f"{describe_links(subset, columns)}"
    )


def _draw_groups(groups: IntArray, wanted: float, seed: int, *, least: int = 1) -> list[int]:
    """Rows of groups that are drawn at random while they fit, but never of all groups.

    Where that misses what is wanted by far, the groups are those that miss it by the least.
    """
    sizes = np.bincount(groups)
    order = np.random.default_rng(seed).permutation(len(sizes))
    drawn: list[int] = []
    count = 0
    for group in order.tolist():
        if count < least or count + sizes[group] <= wanted:
            drawn.append(group)
            count += int(sizes[group])
    if abs(count - wanted) > NEAR * wanted or count == len(groups):
        drawn = _nearest(sizes, order, wanted, least)
    return np.flatnonzero(np.isin(groups, drawn)).tolist()


def _nearest(sizes: IntArray, order: IntArray, wanted: float, least: int) -> list[int]:
    """Groups with as nearly as many clips as wanted as any have, `least` or more if possible.

    The first in order that add up to it (subset sum by dynamic programming).
    """
    last = np.full(sizes.sum(), -1)  # by a sum of sizes, the group that first made it; not of all
    reached = np.zeros(len(last), dtype=bool)
    reached[0] = True
    for group in order:
        size = sizes[group]
        new = size + np.flatnonzero(reached[:-size] & ~reached[size:])
        reached[new] = True
        last[new] = group
    sums = np.flatnonzero(reached)[1:]
    sums = sums[sums >= least] if sums[-1] >= least else sums
    left = int(sums[np.abs(sums - wanted).argmin()])
    drawn = []
    while left:
        drawn.append(int(last[left]))
        left -= int(sizes[drawn[-1]])
    return drawn

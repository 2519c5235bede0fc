"""Who may be in train when whom is in test: folds for each kind of label.

Utility and attributes are measured on people that no network has seen; identity on people that it
has seen, in clips (and source files) that it has not. Validation is cut out of train the same way:
the test split chooses nothing (FACTS 6, #23).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from masquerade.datasets.manifest import Column, IntArray, Manifest
from masquerade.datasets.splits import grouped_folds, linked_groups
from masquerade.errors import UsageError

UNSEEN, SAME = "people unseen", "same people"
HELD = 8  # one in so many train clips is held for validation
SPLITS = {UNSEEN: ("split_action", "split"), SAME: ("split_identity", "split")}
"""The manifest's own splits: the first of these columns that is there."""


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fit, as rows of the manifest; the three do not meet.

    Args:
        train: what networks are fitted on.
        validation: what attackers are chosen on.
        test: what is reported.
    """

    train: IntArray
    validation: IntArray
    test: IntArray


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Labels that are measured on the same folds, by one network with a head for each.

    Args:
        name: `people unseen` or `same people`.
        labels: columns that are reported: those that differ among the test clips.
        heads: columns that networks learn; the action too, for the floor from a predicted action.
        folds: no clip is in two tests.
        many: those of the heads that have several values a clip.
    """

    name: str
    labels: tuple[str, ...]
    heads: tuple[str, ...]
    folds: tuple[Fold, ...]
    many: tuple[str, ...] = ()

    @property
    def everyone(self) -> IntArray:
        """(n,) all rows of all folds, ascending."""
        parts = [np.concatenate([f.train, f.validation, f.test]) for f in self.folds]
        return np.unique(np.concatenate(parts))

    @property
    def tested(self) -> IntArray:
        """(n,) all rows that are in a test, ascending."""
        return np.sort(np.concatenate([fold.test for fold in self.folds]))


def action_column(manifest: Manifest) -> str:
    """The one column of actions: with one a clip, or else with several."""
    every = manifest.of_role("action")
    for kind in ("classes", "multi-label"):
        names = [column.name for column in every if column.kind == kind]
        if len(names) == 1:
            return names[0]
        if names:
            break
    raise UsageError(
        f"An evaluation needs one column of actions; there are: {', '.join(names) or 'none'}."
    )


def label_columns(
    manifest: Manifest, only: Sequence[str] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Labels for unseen people, labels for the same people, and notes on those left out.

    Args:
        manifest: the clips.
        only: the private labels that are asked for; None: all.
    """
    for name in only or ():
        if manifest.column(name).role != "attribute":
            raise UsageError(f"Column {name!r} is no private attribute; leave it out of --labels.")
    groups = linked_groups(manifest)
    unseen: list[str] = []
    same: list[str] = []
    notes: list[str] = []
    for column in manifest.of_role("attribute"):
        if only is not None and column.name not in only:
            continue
        if column.kind == "identity" and _different(manifest, column.name) > 1:
            if _met_again(manifest, column):
                same.append(column.name)
            else:
                notes.append(f"{column.name}: nobody is in two clips, so nobody can be met again.")
        elif column.kind == "fact":
            continue
        elif _different(manifest, column.name) < 2:
            notes.append(f"{column.name} has one value only: there is nothing to find out.")
        elif not _shared(manifest, column, groups):
            notes.append(f"{column.name} has values of one group only: as good as its identity.")
        else:
            unseen.append(column.name)
    return tuple(unseen), tuple(same), tuple(notes)


def protocols(
    manifest: Manifest, *, folds: int, seed: int = 0, labels: Sequence[str] | None = None
) -> tuple[Protocol, ...]:
    """The protocols that a manifest's labels allow.

    Args:
        manifest: with one action a clip.
        folds: how many; 0: the columns split_action and split_identity.
        seed: of the folds; the same for every method.
        labels: the private ones that are attacked; None: all. Folds keep people together anyway.
    """
    action = action_column(manifest)
    unseen, same, _ = label_columns(manifest, labels)
    if _different(manifest, action) < 2:
        raise UsageError(f"All clips show one {action}: an evaluation needs two or more to keep.")
    groups = linked_groups(manifest)
    found = []
    if len(set(groups.tolist())) > 1:
        heads = (action, *unseen)
        parts = _folds(manifest, UNSEEN, groups, _strata(manifest, action), folds, seed)
        tested = manifest.take(np.concatenate([fold.test for fold in parts]))
        many = _many(manifest, heads)
        told = tuple(name for name in unseen if name in many or _different(tested, name) > 1)
        found.append(
            Protocol(name=UNSEEN, labels=(action, *told), heads=heads, folds=parts, many=many)
        )
    if same:
        parts = _folds(manifest, SAME, _files(manifest), manifest.targets(same[0]), folds, seed)
        heads = (*same, action)
        many = _many(manifest, heads)
        found.append(Protocol(name=SAME, labels=same, heads=heads, folds=parts, many=many))
    if not found:
        raise UsageError("There is one group of people only: nothing can be held out for a test.")
    return tuple(found)


def untold(found: Sequence[Protocol]) -> tuple[str, ...]:
    """Notes on labels that networks learn and that are not reported.

    Args:
        found: the protocols of an evaluation.
    """
    said = {name for protocol in found for name in protocol.labels}
    return tuple(
        f"{name} has one value only among the test clips: there is nothing to find out."
        for protocol in found
        for name in protocol.heads
        if name not in said
    )


def _many(manifest: Manifest, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in names if manifest.column(name).kind == "multi-label")


def _strata(manifest: Manifest, action: str) -> IntArray:
    """(N,) what folds are balanced by: the action, of several the first."""
    codes = manifest.targets(action)
    if codes.ndim == 1:
        return codes
    return np.where((codes > 0).any(axis=1), codes.argmax(axis=1), -1)


def _different(manifest: Manifest, name: str) -> int:
    """How many values of a label there are among these very clips.

    One that all of them have, of several a clip, is none: nobody need look for it.
    """
    codes = manifest.targets(name)
    if codes.ndim == 1:
        return len(np.unique(codes[codes >= 0]))
    there = codes[(codes >= 0).all(axis=1)]
    return 2 if len(there) and (there.min(axis=0) < there.max(axis=0)).any() else 1


def _shared(manifest: Manifest, column: Column, groups: IntArray) -> bool:
    """Whether values occur in two groups, so that they can be learned without their own.

    All of them must; of several a clip, where rare ones are many, one: the others are not scored.
    """
    codes = manifest.targets(column.name)
    if codes.ndim == 2:
        return any(len(set(groups[value > 0].tolist())) > 1 for value in codes.T)
    return all(len(set(groups[codes == c].tolist())) > 1 for c in range(len(column.values)))


def _met_again(manifest: Manifest, column: Column) -> bool:
    """Whether somebody is in two clips that are not cut from one file."""
    files, codes = _files(manifest), manifest.targets(column.name)
    return any(len(set(files[codes == code].tolist())) > 1 for code in np.unique(codes[codes >= 0]))


def _files(manifest: Manifest) -> IntArray:
    """(N,) one number for clips that are cut from one source."""
    return linked_groups(manifest, [column.name for column in manifest.of_role("group")])


def _folds(
    manifest: Manifest, name: str, groups: IntArray, strata: IntArray, folds: int, seed: int
) -> tuple[Fold, ...]:
    if folds == 0:
        return (_given(manifest, SPLITS[name], groups, strata, seed),)
    of = grouped_folds(groups, folds, seed=seed, strata=strata)
    return tuple(
        _held(np.flatnonzero(of != k), np.flatnonzero(of == k), groups, strata, seed + k)
        for k in range(folds)
    )


def _given(
    manifest: Manifest, columns: Sequence[str], groups: IntArray, strata: IntArray, seed: int
) -> Fold:
    known = [name for name in columns if any(name == c.name for c in manifest.of_role("split"))]
    column = known[0] if known else columns[0]  # which then raises, naming it
    cells = np.array(manifest.cells(column))
    train, val, test = (np.flatnonzero(cells == part) for part in ("train", "val", "test"))
    if not len(train) or not len(test):
        raise UsageError(
            f"Column {column} leaves train or test empty; use --folds 5, or leave "
            "out with --labels what it is there for."
        )
    if len(val):
        return Fold(train=train, validation=val, test=test)
    return _held(train, test, groups, strata, seed)


def _held(train: IntArray, test: IntArray, groups: IntArray, strata: IntArray, seed: int) -> Fold:
    """Cut validation out of train, whole groups of it."""
    mine = groups[train]
    parts = min(HELD, len(set(mine.tolist())))
    if parts < 2:
        raise UsageError("Train is one group of people: nothing is left for validation.")
    of = grouped_folds(mine, parts, seed=seed + 1, strata=strata[train])
    return Fold(train=train[of != 0], validation=train[of == 0], test=test)


def straddling(protocol: Protocol, groups: Sequence[int] | IntArray) -> IntArray:
    """Groups that are both in train or validation and in the test of some fold; should be none."""
    codes = np.asarray(groups)
    both = [
        np.intersect1d(codes[np.concatenate([f.train, f.validation])], codes[f.test])
        for f in protocol.folds
    ]
    return np.unique(np.concatenate(both))

"""Cross-validation folds for each kind of label; groups never straddle train and test.

Utility and attributes are measured on people that no network has seen; identity on people that it
has seen, in clips and source files that it has not. Validation is cut out of train the same way,
so that attackers are never chosen on the test split (docs/papers.md 6, #23).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from masquerade.datasets.manifest import Column, IntArray, Manifest
from masquerade.datasets.splits import (
    describe_links,
    grouped_folds,
    is_of_people,
    linked_groups,
    people_columns,
)
from masquerade.errors import UsageError

UNSEEN, SAME = "people unseen", "same people"
# what a table holds out, in place of people, where the clips of its split are of the same people
TAKES = "takes"
NOT_OF_PEOPLE = ("clips", "groups", "source videos")  # what is held out where people are not
VALIDATION_PARTS = 8  # of the training clips, one of which is held out for validation
# the manifest's own splits: the first of these columns that is there
SPLIT_COLUMNS = {UNSEEN: ("split_action", "split"), SAME: ("split_identity", "split")}


@dataclass(frozen=True, kw_only=True)
class Fold:
    """One fold, as rows of the manifest; the three splits are disjoint."""

    train: IntArray  # what attackers are fitted on
    validation: IntArray  # what they are chosen on
    test: IntArray  # what is reported
    # (train, validation) of other seeds: each holds another part of the people out
    others: tuple[tuple[IntArray, IntArray], ...] = ()

    def rows(self, split: str) -> IntArray:
        """The rows of a split by its name."""
        return getattr(self, split)

    def of_clips(self, clips: IntArray) -> Fold:
        """The fold without clips that are not among these."""
        train, validation, test = (
            np.intersect1d(rows, clips) for rows in (self.train, self.validation, self.test)
        )
        others = tuple((np.intersect1d(a, clips), np.intersect1d(b, clips)) for a, b in self.others)
        return Fold(train=train, validation=validation, test=test, others=others)

    def shared(self, groups: IntArray) -> IntArray:
        """Test clips of a group that training or validation has too; groups are (N,), by row."""
        learned = np.concatenate([self.train, self.validation])
        return self.test[np.isin(groups[self.test], groups[learned])]

    def for_seed(self, seed: int) -> Fold:
        """The fold as attackers of a seed see it.

        Each seed holds another part of the training people out, so that with several seeds the
        strongest attacker is chosen on more people: repeated grouped cross-validation.
        """
        parts = ((self.train, self.validation), *self.others)
        train, validation = parts[seed % len(parts)]
        return Fold(train=train, validation=validation, test=self.test)


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Labels that are measured on the same folds, by one network with a head for each."""

    name: str  # `people unseen` or `same people`
    labels: tuple[str, ...]  # columns that are reported: those that vary among the test clips
    # columns that networks learn; the action too, for the floor from a predicted action
    heads: tuple[str, ...]
    folds: tuple[Fold, ...]  # no clip is in the test split of two

    @property
    def clips(self) -> IntArray:
        """(n,) all rows of all folds, ascending."""
        parts = [np.concatenate([f.train, f.validation, f.test]) for f in self.folds]
        return np.unique(np.concatenate(parts))

    def of_clips(self, clips: IntArray) -> Protocol:
        """The protocol without clips that are not among these."""
        return replace(self, folds=tuple(fold.of_clips(clips) for fold in self.folds))


def action_column(manifest: Manifest) -> str:
    """The one column of actions: with one a clip, or else with several."""
    columns = manifest.of_role("action")
    for kind in ("classes", "multi-label"):
        names = [column.name for column in columns if column.kind == kind]
        if len(names) == 1:
            return names[0]
        if names:
            break
    raise UsageError(
        f"An evaluation needs one column of actions; there are: {', '.join(names) or 'none'}."
    )


def split_column(manifest: Manifest, protocol: str) -> str | None:
    """The column of the manifest's own split for a protocol; None: it has none."""
    columns = {column.name for column in manifest.of_role("split")}
    return next((name for name in SPLIT_COLUMNS[protocol] if name in columns), None)


def label_columns(
    manifest: Manifest, only: Sequence[str] | None = None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Labels for unseen people, labels for the same people, and notes on those left out."""
    for name in only or ():
        if manifest.column(name).role != "attribute":
            raise UsageError(f"Column {name!r} is no private attribute; leave it out of --labels.")
    groups, sources = linked_groups(manifest), _source_columns(manifest)
    unseen: list[str] = []
    same: list[str] = []
    notes: list[str] = []
    for column in manifest.of_role("attribute"):
        if only is not None and column.name not in only:
            continue
        if column.kind == "multi-label" and is_of_people(column):
            notes.append(_why_not_attacked(manifest, column))
        elif column.kind == "identity" and manifest.count_values(column.name) > 1:
            elsewhere = _named_elsewhere(manifest, column)
            if _recurs(manifest, column):
                same.append(column.name)
                if elsewhere:
                    doubt = f"{elsewhere}, {_WRONG}: this is undecided or leaks, and never held"
                    notes.append(f"{column.name}: {doubt}. {_TO_JUDGE}")
            else:
                apart = f" of different {' and '.join(sources)}" if sources else ""
                alone = f" by this column, but {elsewhere}. {_TO_JUDGE}" if elsewhere else "."
                notes.append(
                    f"{column.name}: nobody is in two clips{apart}, so nobody can be recognised"
                    f"{alone}"
                )
        elif column.kind == "fact":
            continue
        elif manifest.count_values(column.name) < 2:
            notes.append(f"{column.name} has one value only: there is nothing to find out.")
        elif not _is_shared(manifest, column, groups):
            notes.append(f"{column.name} has values of one group only: as good as its identity.")
        else:
            unseen.append(column.name)
    return tuple(unseen), tuple(same), tuple(notes)


def protocols(
    manifest: Manifest, *, folds: int, seed: int = 0, labels: Sequence[str] | None = None
) -> tuple[Protocol, ...]:
    """The protocols that a manifest's labels allow.

    0 `folds` are the columns split_action and split_identity. `labels` are the private ones that
    are attacked, None all; folds do not depend on it.
    """
    action = action_column(manifest)
    unseen, same, _ = label_columns(manifest, labels)
    if manifest.count_values(action) < 2:
        raise UsageError(f"All clips show one {action}: an evaluation needs two or more to keep.")
    groups = linked_groups(manifest)
    found = []
    if len(set(groups.tolist())) > 1:
        parts = _folds(manifest, UNSEEN, groups, _strata(manifest, action), folds, seed)
        tested = manifest.take(np.concatenate([fold.test for fold in parts]))
        reported = [
            name
            for name in unseen
            if manifest.column(name).kind == "multi-label" or tested.count_values(name) > 1
        ]
        labels = (action, *reported)
        found.append(Protocol(name=UNSEEN, labels=labels, heads=(action, *unseen), folds=parts))
    if same:
        files = source_files(manifest)
        # whatever is attacked, so that tables of other labels are of the same folds
        strata = manifest.targets(label_columns(manifest)[1][0])
        parts = _folds(manifest, SAME, files, strata, folds, seed)
        found.append(Protocol(name=SAME, labels=same, heads=(*same, action), folds=parts))
    if not found:
        raise UsageError(
            "There is one group of people only: nothing can be held out for a test. "
            f"{describe_links(manifest)}"
        )
    return tuple(found)


def _why_not_attacked(manifest: Manifest, column: Column) -> str:
    """Why a column of several people a clip is no label, and what to do to have it attacked."""
    people = next((cell for cell in manifest.cells(column.name) if "|" in cell), "p1|p2")
    why = f"{column.name} names several people in one clip ({people}): it links clips, and"
    if any(attribute.kind == "identity" for attribute in manifest.of_role("attribute")):
        return f"{why} is not attacked itself."
    rename = "call it people and " if column.name.lower() == "identity" else ""
    return (
        f"{why} who they are is not attacked, nor are they looked for in other clips. To have "
        f"both, {rename}add a column identity of one value a clip: of a pair "
        f"{people.replace('|', '+')}, or nothing where it is not to be asked."
    )


_WRONG = "and whoever recognises them is counted as wrong"
_TO_JUDGE = (
    "To have it judged, put all people of a clip into one column people (p1|p2), and into identity "
    "one value for those who are always together (p1+p2), or nothing."
)


def counted_wrong(manifest: Manifest) -> dict[str, str]:
    """Why columns of identities are never held, by name: some right answers count as wrong."""
    identities = [column for column in manifest.of_role("attribute") if column.kind == "identity"]
    elsewhere = {column.name: _named_elsewhere(manifest, column) for column in identities}
    return {name: f"{where}, {_WRONG}" for name, where in elsewhere.items() if where}


def _named_elsewhere(manifest: Manifest, column: Column) -> str | None:
    """A sentence on clips that name, in other columns, somebody of another value of this one.

    A value that is nobody's name there, as that of a pair, is of the two or more people who are in
    all its clips. None: there are no such clips.
    """
    others = [name for name in people_columns(manifest) if name != column.name]
    cells = manifest.cells(column.name)
    named = [{v for name in others for v in clip.cells[name].split("|")} for clip in manifest.clips]
    always: dict[str, set[str]] = {}
    for value, people in zip(cells, named, strict=True):
        always[value] = always.get(value, people) & people - {""}
    names = set().union(*named)
    values_of = defaultdict(set)  # by person
    for value, people in always.items():
        for person in {value, *(people if value not in names and len(people) > 1 else ())}:
            values_of[person].add(value)
    where: set[str] = set()
    count = 0
    for value, clip in zip(cells, manifest.clips, strict=True):
        differing = {
            name
            for name in others
            if any(values_of[v] - {value, ""} for v in clip.cells[name].split("|"))
        }
        where |= differing if value else set()
        count += bool(value and differing)
    if not count:
        return None
    by = " or ".join(name for name in others if name in where)
    return f"{count} of {len(cells)} clips name in {by} somebody of another {column.name}"


def notes_on_unreported(used_protocols: Sequence[Protocol]) -> tuple[str, ...]:
    """Notes on labels that networks learn and that are not reported."""
    reported = {name for protocol in used_protocols for name in protocol.labels}
    return tuple(
        f"{name} has one value only among the test clips: there is nothing to find out."
        for protocol in used_protocols
        for name in protocol.heads
        if name not in reported
    )


def _strata(manifest: Manifest, action: str) -> IntArray:
    """(N,) what folds are balanced by: the action, of several the first."""
    codes = manifest.targets(action)
    if codes.ndim == 1:
        return codes
    return np.where((codes > 0).any(axis=1), codes.argmax(axis=1), -1)


def _is_shared(manifest: Manifest, column: Column, groups: IntArray) -> bool:
    """Whether values occur in two groups, so that they can be learned from other people.

    All of them must; of several a clip one is enough, since rare ones are not scored.
    """
    codes = manifest.targets(column.name)
    if codes.ndim == 2:
        return any(len(set(groups[value > 0].tolist())) > 1 for value in codes.T)
    return all(len(set(groups[codes == c].tolist())) > 1 for c in range(len(column.values)))


def _recurs(manifest: Manifest, column: Column) -> bool:
    """Whether somebody is in two clips that are not cut from one file."""
    files, codes = source_files(manifest), manifest.targets(column.name)
    return any(len(set(files[codes == code].tolist())) > 1 for code in np.unique(codes[codes >= 0]))


def source_files(manifest: Manifest) -> IntArray:
    """(N,) one number for clips that are cut from one source."""
    return linked_groups(manifest, _source_columns(manifest))


def _source_columns(manifest: Manifest) -> list[str]:
    return [column.name for column in manifest.of_role("group")]


def _folds(
    manifest: Manifest, name: str, groups: IntArray, strata: IntArray, folds: int, seed: int
) -> tuple[Fold, ...]:
    links = describe_links(manifest, _source_columns(manifest) if name == SAME else None)
    if folds == 0:
        return (_manifest_fold(manifest, name, groups, strata, seed, links),)
    if folds > (count := len(set(groups.tolist()))):
        raise UsageError(f"{folds} folds of {count} groups: ask for 2 to {count}. {links}")
    fold_of = grouped_folds(groups, folds, seed=seed, strata=strata)
    parts = [(np.flatnonzero(fold_of != k), np.flatnonzero(fold_of == k)) for k in range(folds)]
    return tuple(
        _hold_out(name, train, test, groups, strata, seed + k, links)
        for k, (train, test) in enumerate(parts)
    )


def _manifest_fold(
    manifest: Manifest, name: str, groups: IntArray, strata: IntArray, seed: int, links: str
) -> Fold:
    """The manifest's own splits."""
    column = split_column(manifest, name) or SPLIT_COLUMNS[name][0]  # which then raises, naming it
    cells = np.array(manifest.cells(column))
    train, val, test = (np.flatnonzero(cells == part) for part in ("train", "val", "test"))
    if not len(train) or not len(test):
        raise UsageError(
            f"Column {column} leaves train or test empty; use --folds 5, or leave "
            "out with --labels what it is there for."
        )
    if len(val):
        return Fold(train=train, validation=val, test=test)
    return _hold_out(name, train, test, groups, strata, seed, links)


def _hold_out(
    name: str,
    train: IntArray,
    test: IntArray,
    groups: IntArray,
    strata: IntArray,
    seed: int,
    links: str,
) -> Fold:
    """Cut validation out of train, whole groups of it; `links`: what links clips."""
    train_groups = groups[train]
    parts = min(VALIDATION_PARTS, len(set(train_groups.tolist())))
    if parts < 2:
        raise UsageError(f"Train is one group of people: nothing is left for validation. {links}")
    fold_of = grouped_folds(train_groups, parts, seed=seed + 1, strata=strata[train])
    held_out = [fold_of == part for part in range(parts)]
    if name == SAME:
        held_out = _keep_everybody(held_out, strata[train], seed=seed + 1)
    (train_0, validation_0), *others = ((train[~part], train[part]) for part in held_out)
    return Fold(train=train_0, validation=validation_0, test=test, others=tuple(others))


def _keep_everybody(
    held_out: list[NDArray[np.bool_]], people: IntArray, *, seed: int
) -> list[NDArray[np.bool_]]:
    """The validation parts, (n,) each, without people who would then be in no training clip.

    An attacker that never learned somebody cannot name them, however strong it is. Where everybody
    has one recording alone, other clips of it are held out.
    """

    def known(parts: list[NDArray[np.bool_]]) -> list[NDArray[np.bool_]]:
        reduced = [part & np.isin(people, people[~part]) for part in parts]
        return [part for part in reduced if part.any()]

    remaining = known(held_out)
    if remaining:
        return remaining
    clips = np.arange(len(people))
    fold_of = grouped_folds(clips, min(VALIDATION_PARTS, len(clips)), seed=seed, strata=people)
    return known([fold_of == part for part in range(fold_of.max() + 1)]) or held_out

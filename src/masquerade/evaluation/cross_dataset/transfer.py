"""Attackers that learn from one or two datasets and are scored on another.

SPAct's HMDB51 + VISPR to PA-HMDB51 (CVPR 2022, 4.2): actions are learned from the first, private
attributes from the second, and both are scored on the third. The clips that are scored get split
`test` and the others train and validation, for `--folds 0`.
"""

from collections.abc import Sequence

import numpy as np

from masquerade.datasets.manifest import Column, Manifest
from masquerade.datasets.overlap import find_overlap
from masquerade.datasets.splits import carve_validation, group_columns, is_of_people
from masquerade.errors import UsageError
from masquerade.evaluation.cross_dataset.merge import concatenate
from masquerade.evaluation.protocols import UNSEEN, VALIDATION_PARTS, action_column, split_column

SPLIT = Column(name="split_action", role="split", kind="classes")
NamedDataset = tuple[str, Manifest]
"""Name of a dataset, and its clips."""


def transfer_dataset(
    learned: NamedDataset, scored: NamedDataset, *, private: NamedDataset | None = None
) -> tuple[Manifest, tuple[str, ...]]:
    """One manifest of the clips to learn from and the clips to score, and notes on it.

    Of the first datasets train and validation are learned from, or all clips where there is no
    split; of the other the test clips are scored, or all. Clips that the other has too, or that
    share people or a source with one of its clips, are not learned from. Labels are matched by the
    names and kinds of their columns; identities of two datasets are different people. Private
    attributes are learned from `private`, such as stills, where it is given.
    """
    target, action = _scored_clips(scored), action_column(learned[1])
    sources = [learned] if private is None else [learned, private]
    scored_clips = scored[0], target
    parts, left_out = zip(*(_learned_clips(of, scored_clips) for of in sources), strict=True)
    _check_action(action, (learned[0], parts[0]), scored_clips)
    last = sources[-1][0], parts[-1]
    labels, notes = _shared_labels(last, scored_clips, wanted=private is not None)
    shown = target.cells(action)
    target = _without_unseen(target, action, parts[0])
    for name in labels:
        target = _without_unseen(target, name, parts[-1])
    side_labels = [[action], *([] for _ in sources[1:]), [action, *labels]]
    side_labels[len(sources) - 1] += labels
    sides = zip((*parts, target), side_labels, strict=True)
    whole = concatenate(
        [
            (manifest, _new_names(manifest, names, at))
            for at, (manifest, names) in enumerate(sides, 1)
        ]
    )
    new = sum(a != b for a, b in zip(shown, target.cells(action), strict=True))
    if new:
        notes = [f"Of {scored[0]} {new} show an {action} that was not learned: unknown.", *notes]
    what = f"from {learned[0]}"
    if private is not None:
        what = f"the action {what} and private labels from {private[0]},"
    return whole, (f"Attackers learned {what} and are scored on {scored[0]}.", *left_out, *notes)


def _new_names(manifest: Manifest, labels: Sequence[str], number: int) -> dict[str, str]:
    """Labels and split keep their names; people and source clips only group the clips."""
    groups = {f"group_{number}_{name}": name for name in group_columns(manifest)}
    return {name: name for name in (*labels, SPLIT.name)} | groups


def _scored_clips(of: NamedDataset) -> Manifest:
    """The test clips of a dataset, or all where it has no split."""
    title, manifest = of
    column = split_column(manifest, UNSEEN)
    if column is not None:
        manifest = manifest.where(column, "test")
    if not len(manifest):
        raise UsageError(
            f"Column {column} of {title} says test of no clip: say it of those to be scored, or "
            "take the column out to have all scored."
        )
    return manifest.with_cells(SPLIT, ["test"] * len(manifest))


def _learned_clips(of: NamedDataset, scored: NamedDataset) -> tuple[Manifest, str]:
    """The train and validation clips that may be learned from, and a note on those left out."""
    title, manifest = of
    column = split_column(manifest, UNSEEN)
    cells = ["train"] * len(manifest) if column is None else list(manifest.cells(column))
    here = np.flatnonzero(np.isin(cells, ("train", "val")))
    # of all: two may be related through a third in test
    overlap = find_overlap(manifest, scored[1])
    clips = manifest.with_cells(SPLIT, cells).take(np.setdiff1d(here, overlap.rows).tolist())
    same, kin = (len(np.intersect1d(here, rows)) for rows in (overlap.same_frames, overlap.related))
    if "train" not in clips.cells(SPLIT.name):
        raise UsageError(
            f"Nothing of {title} is left to learn from: give other clips than those that are "
            "scored, some of them with split train."
        )
    if "val" not in clips.cells(SPLIT.name):
        clips = carve_validation(clips, name=SPLIT.name, fraction=1 / VALIDATION_PARTS, seed=0)
    return clips, (
        f"Not learned from, of {title}: {same} that {scored[0]} has too, and {kin} "
        f"that share people, a source or a file with clips of it."
    )


def _shared_labels(
    source: NamedDataset, scored: NamedDataset, *, wanted: bool
) -> tuple[list[str], list[str]]:
    """Attributes that can be learned and scored, one or more if wanted, and notes on the others."""
    (title, manifest), (scored_title, target) = source, scored
    learned_kinds, scored_kinds = (
        {column.name: column.kind for column in _attributes(dataset)}
        for dataset in (manifest, target)
    )
    both = [name for name in learned_kinds if name in scored_kinds]
    alike = [name for name in both if learned_kinds[name] == scored_kinds[name]]
    train = manifest.where(SPLIT.name, "train")
    labels = [name for name in alike if _values(train, name) > 1]
    if not labels and (learned_kinds or wanted):
        raise UsageError(
            f"No private attribute can be learned from {title} and scored on {scored_title} (the "
            f"one has {', '.join(learned_kinds) or 'none'}, the other "
            f"{', '.join(scored_kinds) or 'none'}): give both a column of the same name and kind, "
            "with two values to learn."
        )
    reasons = {
        f"Not attacked, since {scored_title} does not have them": [
            n for n in learned_kinds if n not in scored_kinds
        ],
        f"Not attacked, since they cannot be learned from {title}": [
            *(name for name in scored_kinds if name not in learned_kinds),
            *(name for name in alike if name not in labels),
        ],
        "Not attacked, since their values are of two kinds": [n for n in both if n not in alike],
    }
    return labels, [f"{why}: {', '.join(names)}." for why, names in reasons.items() if names]


def _attributes(manifest: Manifest) -> list[Column]:
    columns = manifest.of_role("attribute")
    return [column for column in columns if column.kind != "fact" and not is_of_people(column)]


def _values(manifest: Manifest, name: str) -> int:
    """How many values a column's clips have; with several a clip, of presence and absence."""
    codes = manifest.targets(name)
    return len(np.unique(codes[codes >= 0]))


def _check_action(action: str, learned: NamedDataset, scored: NamedDataset) -> None:
    (title, manifest), (scored_title, target) = learned, scored
    kinds = {column.name: column.kind for column in target.of_role("action")}
    kind = manifest.column(action).kind
    if kinds.get(action) != kind:
        raise UsageError(
            f"{scored_title} has no column {action} of {kind}, so that what was learned from "
            f"{title} cannot be scored there: name the actions' column alike in both."
        )
    if not any(_without_unseen(target, action, manifest).cells(action)):
        raise UsageError(
            f"No clip of {scored_title} shows an action that {title} has clips of: spell the "
            "actions alike in both."
        )


def _without_unseen(target: Manifest, name: str, learned: Manifest) -> Manifest:
    """The scored clips; values of a column that are not in train become unknown.

    Several values a clip stay: unseen classes are not predicted by any attacker.
    """
    column = target.column(name)
    if column.kind == "multi-label":
        return target
    known = set(learned.where(SPLIT.name, "train").cells(name))
    return target.with_cells(column, [c if c in known else "" for c in target.cells(name)])

"""Name what a split holds out for testing: people, source videos, groups, or only clips."""

from collections.abc import Sequence

import numpy as np

from masquerade.datasets.manifest import Manifest
from masquerade.datasets.splits import (
    group_columns,
    linked_groups,
    notes_on_people,
    own_name,
    people_columns,
)
from masquerade.evaluation.protocols import (
    SAME,
    UNSEEN,
    Fold,
    Protocol,
    action_column,
    source_files,
)


def describe_held_out(
    manifest: Manifest, used_protocols: tuple[Protocol, ...]
) -> tuple[str, tuple[str, ...]]:
    """Return what is held out for testing, as a table calls it, and notes on it.

    People are held out where more than half of the clips name theirs, and a split that the
    manifest has keeps them apart; else source videos, groups, or no more than clips.
    """
    folds = [
        fold for protocol in used_protocols if protocol.name == UNSEEN for fold in protocol.folds
    ]
    columns = group_columns(manifest)
    notes = (
        *notes_on_people(manifest),
        *_notes_on_actions(manifest, folds),
        *_notes_on_recordings(manifest, used_protocols),
    )
    groups = linked_groups(manifest)
    for fold in folds:
        shared = fold.shared(groups)
        if len(shared):
            whose = "people or source videos" if columns else "files"
            return "clips", (
                f"{len(shared)} of {len(fold.test)} test clips are of {whose} that are in train "
                f"too, by the manifest's own split, such as {manifest.clips[shared[0]].path}: "
                "their scores are not of people unseen. `masquerade data check` lists them, and "
                "--folds 5 keeps them apart.",
                *notes,
            )
    people = people_columns(manifest)
    others = [name for name in columns if name not in people]
    if _in_most_clips(manifest, people):
        return "people", notes
    if not _in_most_clips(manifest, others):
        return "clips", notes
    return "source videos" if own_name(others[0]).lower().startswith("source") else "groups", notes


def _in_most_clips(manifest: Manifest, columns: Sequence[str]) -> bool:
    """Whether more than half of the clips have a value of any of these columns."""
    count = sum(any(clip.cells[name] for name in columns) for clip in manifest.clips)
    return 2 * count > len(manifest)


def _notes_on_recordings(
    manifest: Manifest, used_protocols: tuple[Protocol, ...]
) -> tuple[str, ...]:
    """That test clips, by which people are recognised, are cut from recordings of train."""
    files = source_files(manifest)
    for fold in (
        fold for protocol in used_protocols if protocol.name == SAME for fold in protocol.folds
    ):
        shared = fold.shared(files)
        if len(shared):
            return (
                f"{len(shared)} of {len(fold.test)} test clips of the same people are of files or "
                "source videos that are in train too, by the manifest's own split, such as "
                f"{manifest.clips[shared[0]].path}: the recording may tell who it is. --folds 5 "
                "keeps them apart.",
            )
    return ()


def _notes_on_actions(manifest: Manifest, folds: list[Fold]) -> tuple[str, ...]:
    """That test clips show an action which no clip of their fold's train shows."""
    column = manifest.column(action_column(manifest))
    if column.kind != "classes":
        return ()
    codes = manifest.targets(column.name)
    unlearned: list[int] = []
    for fold in folds:
        tested, learned = codes[fold.test], codes[np.concatenate([fold.train, fold.validation])]
        unlearned += tested[(tested >= 0) & ~np.isin(tested, learned)].tolist()
    if not unlearned:
        return ()
    names = ", ".join(column.values[code] for code in sorted(set(unlearned)))
    return (
        f"{len(unlearned)} test clips show an {column.name} that none of their train clips shows "
        f"({names}): they count as not recognised.",
    )

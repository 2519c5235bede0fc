"""Two datasets in one evaluation: actions are measured on one, private attributes on the other.

SPAct's cross-dataset protocol (CVPR 2022, 4.2): actions of UCF101 or HMDB51, attributes of VISPR.
Labels that a dataset does not have are unknown in its clips, and are not scored there.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from masquerade.datasets.manifest import (
    SIZE_FACTS,
    Clip,
    Kind,
    Manifest,
    Role,
    make_manifest,
    role_of,
)
from masquerade.datasets.splits import carve_validation, group_columns
from masquerade.errors import UsageError
from masquerade.evaluation.protocols import SPLIT_COLUMNS, VALIDATION_PARTS, split_column


def merge_datasets(actions: Manifest, private: Manifest) -> Manifest:
    """One manifest of the actions of one dataset and the private attributes of another.

    Of the first the attributes are left out, and people and source clips only group its clips; of
    the second, whose clips may be stills, the actions are left out. Each keeps its splits; where
    one has no validation, it is cut out of its train, since attackers of each label are chosen on
    clips that have it.
    """
    actions, private = _with_validation(actions), _with_validation(private)
    hidden = private.of_role("attribute")
    if not hidden:
        raise UsageError("The manifest of --private-data has no column with an attribute.")
    first = {column.name: column.name for column in actions.of_role("action")}
    first |= {f"group_first_{name}": name for name in group_columns(actions)}
    second = {column.name: column.name for column in hidden}
    second |= {f"group_second_{column.name}": column.name for column in private.of_role("group")}
    return concatenate(
        [
            (manifest, names | split_columns(manifest))
            for manifest, names in ((actions, first), (private, second))
        ]
    )


def concatenate(sides: Sequence[tuple[Manifest, Mapping[str, str]]]) -> Manifest:
    """One manifest of the clips of several; columns that one does not have are empty there."""
    roles: dict[str, Role] = {}
    kinds: dict[str, Kind] = {}
    for manifest, names in sides:
        for new, old in names.items():
            roles[new] = manifest.column(old).role if new == old else role_of(new)
            kinds[new] = manifest.column(old).kind
    empty = dict.fromkeys([*roles, *SIZE_FACTS], "")
    root = Path(os.path.commonpath([manifest.root.resolve() for manifest, _ in sides]))
    clips = [
        _relocate(clip, manifest, names, empty, root)
        for manifest, names in sides
        for clip in manifest.clips
    ]
    return make_manifest(root, clips, roles=roles, kinds=kinds)


def split_columns(manifest: Manifest) -> dict[str, str]:
    """The split column that `--folds 0` uses for each protocol, by the name looked for first."""
    renamed = {columns[0]: split_column(manifest, name) for name, columns in SPLIT_COLUMNS.items()}
    return {new: old for new, old in renamed.items() if old}


def _with_validation(manifest: Manifest) -> Manifest:
    for name in dict.fromkeys(split_columns(manifest).values()):
        if {"train", "test"} <= {*(cells := manifest.cells(name))} and "val" not in cells:
            manifest = carve_validation(manifest, name=name, fraction=1 / VALIDATION_PARTS, seed=0)
    return manifest


def _relocate(
    clip: Clip, manifest: Manifest, names: Mapping[str, str], empty: Mapping[str, str], root: Path
) -> Clip:
    cells = dict(empty) | {new: clip.cells[old] for new, old in names.items()}
    cells |= {name: clip.cells.get(name, "") for name in SIZE_FACTS}
    file = manifest.path(clip)
    target = file.parent.resolve() / file.name  # a link keeps the name its fingerprint is made of
    path = Path(os.path.relpath(target, root)).as_posix()
    return replace(clip, path=path, cells=cells)

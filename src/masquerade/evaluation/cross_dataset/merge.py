"""Two data sets in one evaluation: the action is kept in the one, people hide in the other.

SPAct's cross-dataset protocol (CVPR 2022, 4.2): actions of UCF101 or HMDB51, attributes of VISPR.
Labels that a data set does not have are unknown in its clips, and count for nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from masquerade.datasets.manifest import Clip, Kind, Manifest, Role, make_manifest, role_of
from masquerade.datasets.splits import carve_validation, group_columns
from masquerade.errors import UsageError
from masquerade.evaluation.protocols import HELD, SPLITS

FACTS = ("width", "height", "frames")  # what a clip's size is told by without opening it


def crossed(actions: Manifest, private: Manifest) -> Manifest:
    """One manifest of the actions of one data set and the private attributes of another.

    People and source clips of the first only hold its clips together, and its attributes are left
    out; so are the second's actions. Splits are those of each; where one has train and test alone,
    validation is cut out of its own train, since attackers of each side are chosen on its clips.

    Args:
        actions: with one action a clip.
        private: with attributes; its clips may be stills.

    Raises:
        UsageError: the second has no attribute, or the splits of one leave nothing to hold out.
    """
    actions, private = _with_validation(actions), _with_validation(private)
    hidden = private.of_role("attribute")
    if not hidden:
        raise UsageError("The manifest of --private-data has no column with an attribute.")
    first = {one.name: one.name for one in actions.of_role("action")}
    first |= {f"group_first_{name}": name for name in group_columns(actions)}
    second = {one.name: one.name for one in hidden}
    second |= {f"group_second_{one.name}": one.name for one in private.of_role("group")}
    return joined(
        [(one, names | _splits(one)) for one, names in ((actions, first), (private, second))]
    )


def joined(sides: Sequence[tuple[Manifest, Mapping[str, str]]]) -> Manifest:
    """One manifest of the clips of several; what a set does not have is unknown there.

    Args:
        sides: each with the names that columns get, and what they are called in the set; without
            those columns that are left out.
    """
    roles: dict[str, Role] = {}
    kinds: dict[str, Kind] = {}
    for manifest, names in sides:
        for new, old in names.items():
            roles[new] = manifest.column(old).role if new == old else role_of(new)
            kinds[new] = manifest.column(old).kind
    empty = dict.fromkeys([*roles, *FACTS], "")
    root = Path(os.path.commonpath([manifest.root.resolve() for manifest, _ in sides]))
    clips = [
        _moved(clip, manifest, names, empty, root)
        for manifest, names in sides
        for clip in manifest.clips
    ]
    return make_manifest(root, clips, roles=roles, kinds=kinds)


def splits_of(manifest: Manifest) -> tuple[str, ...]:
    """The columns of a data set that `--folds 0` goes by; none: it has no split."""
    names = {name for columns in SPLITS.values() for name in columns}
    return tuple(one.name for one in manifest.of_role("split") if one.name in names)


def _with_validation(manifest: Manifest) -> Manifest:
    for name in splits_of(manifest):
        if {"train", "test"} <= {*(cells := manifest.cells(name))} and "val" not in cells:
            manifest = carve_validation(manifest, name=name, fraction=1 / HELD, seed=0)
    return manifest


def _splits(manifest: Manifest) -> dict[str, str]:
    """The first column of each protocol's splits, under the name that is looked for first."""
    known = splits_of(manifest)
    found = {columns[0]: [name for name in columns if name in known] for columns in SPLITS.values()}
    return {new: old[0] for new, old in found.items() if old}


def _moved(
    clip: Clip, manifest: Manifest, names: Mapping[str, str], empty: Mapping[str, str], root: Path
) -> Clip:
    cells = dict(empty) | {new: clip.cells[old] for new, old in names.items()}
    cells |= {name: clip.cells.get(name, "") for name in FACTS}
    folder = manifest.path(clip).parent.resolve()  # a link keeps the name that its mark is made of
    path = Path(os.path.relpath(folder / manifest.path(clip).name, root)).as_posix()
    return replace(clip, path=path, cells=cells)

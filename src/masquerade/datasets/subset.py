"""Some of a manifest's clips, by what is done in them: to train on these and score on others."""

from __future__ import annotations

from collections.abc import Sequence

from masquerade.datasets.manifest import Column, Manifest, make_manifest
from masquerade.errors import UsageError


def of_actions(manifest: Manifest, names: Sequence[str]) -> Manifest:
    """The clips of some actions; every column keeps only the values that occur among them.

    Args:
        manifest: the clips.
        names: of the column with one action a clip.

    Raises:
        UsageError: there is no such column, or no such action.
    """
    column = _action(manifest)
    unknown = [name for name in names if name not in column.values]
    if unknown or not names:
        raise UsageError(
            f"There is no {column.name} {', '.join(unknown) or 'named'}; "
            f"choose of {', '.join(column.values)}."
        )
    cells = manifest.cells(column.name)
    mine = manifest.take(row for row, cell in enumerate(cells) if cell in names)
    return make_manifest(
        manifest.root,
        mine.clips,
        roles={one.name: one.role for one in manifest.columns},
        kinds={one.name: one.kind for one in manifest.columns},
    )


def _action(manifest: Manifest) -> Column:
    found = [one for one in manifest.of_role("action") if one.kind == "classes"]
    if len(found) != 1:
        raise UsageError("--actions needs a manifest with one column of one action a clip.")
    return found[0]

"""The rows of a manifest that a training learns from, and those held out to end its phases."""

from dataclasses import dataclass

import numpy as np

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import (
    carve_validation,
    note_on_share,
    people_columns,
    shares_people,
)
from masquerade.errors import UsageError

VALIDATION = 0.15  # of train, whole groups of people, where the manifest has no validation split
LEAST_VALIDATION = 2  # clips, as adversarial training wants


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """Rows of a manifest to learn from and to end phases by; test rows are in neither."""

    train: IntArray
    validation: IntArray
    note: str | None = None  # that validation is far from the share that was to be held out


def training_rows(manifest: Manifest, *, column: str | None = None, seed: int = 0) -> TrainingRows:
    """Return the rows that are train in every split column, so that no test split is used.

    Of one split column where it is named. Validation has other people where a column that keeps
    people apart has such a part. Where the manifest has no validation split, whole groups of people
    are held out by the seed.
    """
    names = [column] if column else [split.name for split in manifest.of_role("split")]
    if not names:
        raise UsageError(
            "The manifest has no split column: what is tested must not be learned from; add one, "
            "or leave out a fold with --folds and --fold."
        )
    cells = np.array([manifest.cells(name) for name in names])  # (columns, rows)
    learn = np.flatnonzero((cells == "train").all(axis=0))
    if not len(learn):
        raise UsageError(f"No clip is in train of {' and '.join(names)}; name one with --split.")
    people = [manifest.column(name) for name in people_columns(manifest)]
    apart = [name for name in names if not any(shares_people(name, column) for column in people)]
    untested = (cells != "test").all(axis=0)
    for columns in (apart, names):
        held_out = np.flatnonzero((cells[np.isin(names, columns)] == "val").any(axis=0) & untested)
        if len(held_out) > 1:
            return TrainingRows(train=learn, validation=held_out)
    return hold_out_validation(manifest, learn, (apart or names)[0], seed=seed)


def hold_out_validation(
    manifest: Manifest, rows: IntArray, column: str, *, seed: int = 0
) -> TrainingRows:
    """Hold out whole groups of people of some rows, which are all train in a split column."""
    carved = carve_validation(
        manifest.take(rows), name=column, fraction=VALIDATION, least=LEAST_VALIDATION, seed=seed
    )
    cells = np.array(carved.cells(column))
    return TrainingRows(
        train=rows[cells == "train"],
        validation=rows[cells == "val"],
        note=note_on_share(carved, "val", VALIDATION, name=column, of=("train", "val")),
    )

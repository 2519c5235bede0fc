"""Training runs as evaluation meets them: what they saw, and what they said against themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masquerade.checkpoint import provenance_of
from masquerade.datasets.fingerprints import UNKNOWN, comparable, fingerprints, overlapping
from masquerade.datasets.manifest import Manifest
from masquerade.errors import UsageError
from masquerade.evaluation.config import Plan
from masquerade.evaluation.protocols import protocols

Paths = Sequence[Sequence[Path]]  # of the weights of each seed's folds


INSTEAD = (
    "give --folds 0 and the split that it was trained with, or, of runs with `train --folds 5`, "
    "each fold's own, as --folds 5 --weights 'runs/{fold}'."
)


def check_unseen(
    manifest: Manifest, plan: Plan, runs: Paths, *, instead: str = INSTEAD
) -> tuple[str, ...]:
    """Refuse anonymizers that learned from clips which they are to be tested on.

    A run keeps fingerprints of its clips. One that keeps none, or those of an older version,
    cannot be checked: it is not refused, and the line that this gives says so under the table.

    Args:
        manifest: of the clips.
        plan: whose folds.
        runs: of each seed as many as there are folds.
        instead: what to do where one is refused.

    Raises:
        UsageError: one did.
    """
    found = protocols(manifest, folds=plan.folds, seed=plan.seed, labels=plan.labels)
    for fold, paths in enumerate(zip(*runs, strict=True)):
        tested = np.unique(np.concatenate([one.folds[fold].test for one in found]))
        mine = fingerprints(manifest, tested.tolist())
        for path in paths:
            seen = overlapping(mine, provenance_of(path).get("learned", ()))
            if seen:
                raise UsageError(
                    f"{path} learned from {len(seen)} of the {len(mine)} clips that it would be "
                    f"tested on: {instead}"
                )
    every = _each(runs)
    dark = [path for path in every if not comparable(provenance_of(path).get("learned", [UNKNOWN]))]
    if not dark:
        return ()
    return (
        f"{len(dark)} of {len(every)} training runs cannot be checked, since they keep no "
        "fingerprints that this version can compare: whether they learned from the clips "
        f"that they are tested on is not known of {', '.join(_called(dark, every))}.",
    )


def doubts_of(name: str, runs: Paths) -> tuple[str, ...]:
    """One line, to stand under the table, on what training runs said against themselves.

    Args:
        name: of the line of the table.
        runs: as in `check_unseen`; one that stands for several counts once.
    """
    every = _each(runs)
    against: dict[str, list[str]] = {}
    doubted = 0
    for path in every:
        notes = provenance_of(path).get("notes", ())
        doubted += bool(notes)
        for note in notes:
            against.setdefault(note, []).extend(_called([path], every))
    if not doubted:
        return ()
    told = "; ".join(f"{note} in {', '.join(names)}" for note, names in against.items())
    return (f"{name}: {doubted} of {len(every)} training runs are in doubt: {told}.",)


def _each(runs: Paths) -> list[Path]:
    """Every run once."""
    return list(dict.fromkeys(path for paths in runs for path in paths))


def _called(some: Sequence[Path], every: Sequence[Path]) -> list[str]:
    """Their names, with the folder above where two are called alike, as in runs/{seed}/{fold}."""
    alike = len({path.name for path in every}) < len(every)
    return [f"{path.parent.name}/{path.name}" if alike else path.name for path in some]

"""Training runs as evaluation meets them: what they saw, and what they said against themselves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masquerade.checkpoint import provenance_of
from masquerade.data.manifest import Manifest
from masquerade.data.marks import marks
from masquerade.errors import UsageError
from masquerade.evaluation.entries import Plan
from masquerade.evaluation.protocols import protocols

Paths = Sequence[Sequence[Path]]  # of the weights of each seed's folds


def check_unseen(manifest: Manifest, plan: Plan, runs: Paths) -> None:
    """Refuse anonymizers that learned from clips which they are to be tested on.

    A run keeps marks of its clips; one that was trained before there were any cannot be checked.

    Args:
        manifest: of the clips.
        plan: whose folds.
        runs: of each seed as many as there are folds.

    Raises:
        UsageError: one did.
    """
    found = protocols(manifest, folds=plan.folds, seed=plan.seed, labels=plan.labels)
    for fold, paths in enumerate(zip(*runs, strict=True)):
        tested = np.unique(np.concatenate([one.folds[fold].test for one in found]))
        mine = set(marks(manifest, tested.tolist()))
        for path in paths:
            met = len(mine & set(provenance_of(path).get("learned", ())))
            if met:
                raise UsageError(
                    f"{path} learned from {met} of the {len(mine)} clips that it would be tested "
                    "on: give --folds 0 and the split that it was trained with, or, of runs with "
                    "`train --folds 5`, each fold's own, as --folds 5 --weights 'runs/{fold}'."
                )


def doubts_of(name: str, runs: Paths) -> tuple[str, ...]:
    """One line, to stand under the table, on what training runs said against themselves.

    Args:
        name: of the line of the table.
        runs: as in `check_unseen`; one that stands for several counts once.
    """
    every = list(dict.fromkeys(path for paths in runs for path in paths))
    alike = len({path.name for path in every}) < len(every)  # as in runs/{seed}/{fold}
    against: dict[str, list[str]] = {}
    doubted = 0
    for path in every:
        notes = provenance_of(path).get("notes", ())
        doubted += bool(notes)
        for note in notes:
            called = f"{path.parent.name}/{path.name}" if alike else path.name
            against.setdefault(note, []).append(called)
    if not doubted:
        return ()
    told = "; ".join(f"{note} in {', '.join(names)}" for note, names in against.items())
    return (f"{name}: {doubted} of {len(every)} training runs are in doubt: {told}.",)

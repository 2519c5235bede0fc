"""Check the training runs that are evaluated: the clips they learned from, their diagnostics."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import read_provenance
from masquerade.datasets.manifest import Manifest
from masquerade.datasets.overlap import UNKNOWN, comparable, fingerprints, overlapping
from masquerade.errors import UsageError
from masquerade.evaluation.config import EvaluationConfig
from masquerade.evaluation.protocols import protocols
from masquerade.storage import weights_digest
from masquerade.text import escape

RunPaths = Sequence[Sequence[Path]]
"""Of the weights of each seed's folds."""
INSTEAD = (
    "give --folds 0 and the split that it was trained with, or, of runs with `train --folds 5`, "
    "each fold's own, as --folds 5 --weights 'runs/{fold}'."
)


def check_unseen(
    manifest: Manifest, config: EvaluationConfig, runs: RunPaths, *, instead: str = INSTEAD
) -> tuple[str, ...]:
    """Refuse anonymizers that learned from clips which they are to be tested on.

    A run keeps fingerprints of its clips. One that keeps none, or those of an older version,
    cannot be checked: it is not refused, and the line that this gives says so under the table.
    `instead` says what to do where one is refused.
    """
    used_protocols = protocols(manifest, folds=config.folds, seed=config.seed, labels=config.labels)
    all_paths = _unique(runs)
    about = {path: read_provenance(path) for path in all_paths}
    for fold, paths in enumerate(zip(*runs, strict=True)):
        tested = np.unique(
            np.concatenate([protocol.folds[fold].test for protocol in used_protocols])
        )
        test_prints = fingerprints(manifest, tested.tolist())
        for path in paths:
            seen = overlapping(test_prints, about[path].get("learned", ()))
            if seen:
                raise UsageError(
                    f"{path} learned from {len(seen)} of the {len(test_prints)} clips that it "
                    f"would be tested on: {instead}"
                )
    unchecked = [
        path for path in all_paths if not comparable(about[path].get("learned", [UNKNOWN]))
    ]
    if not unchecked:
        return ()
    return (
        f"{len(unchecked)} of {len(all_paths)} training runs cannot be checked, since they keep no "
        "fingerprints that this version can compare: whether they learned from the clips "
        f"that they are tested on is not known of {', '.join(_names(unchecked, all_paths))}.",
    )


def check_different(paths: RunPaths, runs: Sequence[Sequence[Anonymizer]]) -> None:
    """Refuse copies of one training run: equal weights under several seeds of a fold.

    Args:
        paths: of the weights.
        runs: what was loaded from each.
    """
    for names, loaded in zip(zip(*paths, strict=True), zip(*runs, strict=True), strict=True):
        first: dict[str, Path] = {}
        for path, anonymizer in zip(names, loaded, strict=True):
            earlier = first.setdefault(weights_digest(anonymizer.state_dict()), path)
            if earlier != path:
                raise UsageError(
                    f"{path} holds the same weights as {earlier}, which is one training run: give "
                    "each seed a run of its own, or fewer --seeds."
                )


def run_warnings(name: str, runs: RunPaths) -> tuple[str, ...]:
    """One line, to stand under the table, on the diagnostics that training runs kept."""
    all_paths = _unique(runs)
    runs_of: dict[str, list[str]] = {}
    doubted = 0
    for path in all_paths:
        notes = read_provenance(path).get("notes", ())
        doubted += bool(notes)
        for note in notes:
            runs_of.setdefault(escape(note), []).extend(_names([path], all_paths))
    if not doubted:
        return ()
    reasons = "; ".join(f"{note} in {', '.join(names)}" for note, names in runs_of.items())
    return (f"{name}: {doubted} of {len(all_paths)} training runs are in doubt: {reasons}.",)


def _unique(runs: RunPaths) -> list[Path]:
    return list(dict.fromkeys(path for paths in runs for path in paths))


def _names(paths: Sequence[Path], all_paths: Sequence[Path]) -> list[str]:
    """Their names, with the folder above where two have one name, as in runs/{seed}/{fold}."""
    ambiguous = len({path.name for path in all_paths}) < len(all_paths)
    return [f"{path.parent.name}/{path.name}" if ambiguous else path.name for path in paths]

"""Methods compared on the same clips: what a table of intervals, line by line, cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.evaluation.config import Entry, Plan
from masquerade.evaluation.executor import Progress
from masquerade.evaluation.scoring import tried, worst_of
from masquerade.evaluation.table import Run
from masquerade.metrics.statistic import Statistic


@dataclass(frozen=True, kw_only=True)
class Readings:
    """One label under every line, all over the same test clips.

    Args:
        lines: by the line's name, what its strongest attacker, chosen on validation, scores there.
        clusters: (n,) group of people of each test clip.
    """

    lines: Mapping[str, Statistic]
    clusters: IntArray


def readings(
    manifest: Manifest,
    entries: Sequence[Entry],
    plan: Plan,
    *,
    folder: Path,
    progress: Progress | None = None,
) -> dict[str, Readings]:
    """By label what is read under raw video and each entry, to be averaged and to be subtracted.

    Controls are those of `evaluate`: ask it first, with the same folder, and nothing is done twice.
    Where there are trained lines, each of whose runs one network of a kind reads, so it is for all:
    three networks that answer together about the other lines would read more for being three.

    Args:
        manifest: the clips and their labels.
        entries: the methods, without raw video, each with a name of its own.
        plan: how.
        folder: as in `evaluate`.
        progress: as in `evaluate`.
    """
    run = Run(manifest, plan, folder, progress)
    raw = run.row(Entry(name="raw", method=None), None)
    lines = {"raw": raw} | {entry.name: run.row(entry, raw) for entry in entries}
    found, apart = {}, any(entry.runs for entry in entries)
    for protocol in run.protocols:
        cases = {
            name: replace(line.cases[protocol.name], apart=apart)
            for name, line in lines.items()
            if line.cases
        }
        rows = reduce(np.intersect1d, [case.rows for case in cases.values()])
        shared = {name: case.only(rows) for name, case in cases.items()}
        for target in run.targets[protocol.name]:
            found[target.name] = Readings(
                lines={name: worst_of(tried(target, case)).test for name, case in shared.items()},
                clusters=shared["raw"].clusters,
            )
    return found

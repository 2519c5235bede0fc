"""What two data sets share, so that nobody learns from a clip, or of a person, that is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from masquerade.datasets.fingerprints import file_of, marks, met
from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import linked_groups
from masquerade.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Shared:
    """Rows of a data set that may not be learned from where another one is scored.

    Args:
        same: (n,) those that have a frame in common with a clip of the other.
        kin: (m,) those besides that share a file, a person or a source clip with one of it.
    """

    same: IntArray
    kin: IntArray

    @property
    def rows(self) -> IntArray:
        """(n + m,) both, ascending."""
        return np.union1d(self.same, self.kin)


def shared(manifest: Manifest, other: Manifest) -> Shared:
    """What one data set shares with another: files, known by name and size wherever they lie.

    Who is related to whom is told by the first one's own columns: a person called p01 in both need
    not be one.

    Args:
        manifest: whose rows are asked for.
        other: that is scored.
    """
    mine, theirs = (marks(one, range(len(one))) for one in (manifest, other))
    same = np.array(met(mine, theirs), dtype=np.int64)
    files = {file_of(mark) for mark in theirs}
    groups = linked_groups(manifest)
    there = groups[[file_of(mark) in files for mark in mine]]
    return Shared(same=same, kin=np.setdiff1d(np.flatnonzero(np.isin(groups, there)), same))


def without(manifest: Manifest, other: Manifest) -> Manifest:
    """The clips that share neither a file nor, as far as is known, people or sources with another.

    Args:
        manifest: to learn from.
        other: to be scored.

    Raises:
        UsageError: none is left.
    """
    found = shared(manifest, other).rows
    if len(found) == len(manifest):
        raise UsageError("Every clip shares a file, people or a source with one of --without.")
    return manifest.take(np.setdiff1d(np.arange(len(manifest)), found).tolist())

"""Overlap of two data sets: clips that both have, and clips of the same people or sources."""

from dataclasses import dataclass

import numpy as np

from masquerade.datasets.fingerprints import file_part, fingerprints, overlapping
from masquerade.datasets.manifest import IntArray, Manifest
from masquerade.datasets.splits import linked_groups
from masquerade.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Clips of one data set that must not be trained on where another one is the test set."""

    same_frames: IntArray  # (n,) rows that have a frame in common with a clip of the other
    related: IntArray  # (m,) further rows that share a file, a person or a source with the other

    @property
    def rows(self) -> IntArray:
        """(n + m,) both, ascending."""
        return np.union1d(self.same_frames, self.related)


def find_overlap(manifest: Manifest, other: Manifest) -> Overlap:
    """Find the rows of a data set that overlap with another one, the test set.

    Files are compared by name and size, not by folder. People and sources are those of the first
    one's columns, linked through shared files: a person called p01 in both need not be one.
    """
    mine, theirs = (fingerprints(one, range(len(one))) for one in (manifest, other))
    same = np.array(overlapping(mine, theirs), dtype=np.int64)
    files = {file_part(fingerprint) for fingerprint in theirs}
    groups = linked_groups(manifest)
    linked = groups[[file_part(fingerprint) in files for fingerprint in mine]]
    related = np.setdiff1d(np.flatnonzero(np.isin(groups, linked)), same)
    return Overlap(same_frames=same, related=related)


def without_overlap(manifest: Manifest, other: Manifest) -> Manifest:
    """The clips of a training set that do not overlap with a test set; raises if none is left."""
    found = find_overlap(manifest, other).rows
    if len(found) == len(manifest):
        raise UsageError("Every clip shares a file, people or a source with one of --without.")
    return manifest.take(np.setdiff1d(np.arange(len(manifest)), found).tolist())

"""Overlap of two data sets: clips that both have, and clips of the same people or sources.

Clips are compared by fingerprints, short digests that tell whether they have frames in common.
"""

import hashlib
import math
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from masquerade.datasets.manifest import Clip, IntArray, Manifest
from masquerade.datasets.splits import linked_groups
from masquerade.errors import UsageError, VideoError
from masquerade.video.probe import images_in

DIGITS = 14  # hexadecimal; collisions among a million files are unlikely. Earlier versions had 12
FINGERPRINT = re.compile(rf"[0-9a-f]{{{DIGITS}}} [0-9]+-[0-9]*")  # of a file, and its frames
ENDS = 65536  # bytes of a file's beginning and end, which tell uncompressed videos of a size apart
UNKNOWN = "unknown"
"""Stands among the fingerprints of a run that continues a run which kept none."""


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

    Files are compared as by `fingerprints`; where one of them is not there, by name alone. People
    and sources are those of the first one's columns, linked through shared files: a person called
    p01 in both need not be one.
    """
    paths = [source.path(clip) for source in (manifest, other) for clip in source.clips]
    unsized = {path.name for path in paths if not os.path.exists(path)}
    mine, theirs = (_fingerprints(source, source.clips, unsized) for source in (manifest, other))
    same = np.array(overlapping(mine, theirs), dtype=np.int64)
    files = {_parsed(fingerprint)[0] for fingerprint in theirs}
    groups = linked_groups(manifest)
    linked = groups[[_parsed(fingerprint)[0] in files for fingerprint in mine]]
    related = np.setdiff1d(np.flatnonzero(np.isin(groups, linked)), same)
    return Overlap(same_frames=same, related=related)


def without_overlap(manifest: Manifest, other: Manifest) -> Manifest:
    """The clips of a training set that do not overlap with a test set; raises if none is left."""
    rows = find_overlap(manifest, other).rows
    if len(rows) == len(manifest):
        raise UsageError("Every clip shares a file, people or a source with one of --without.")
    return manifest.take(np.setdiff1d(np.arange(len(manifest)), rows).tolist())


def fingerprints(manifest: Manifest, rows: Iterable[int]) -> list[str]:
    """A digest of each clip's file, and its frames, such as `9c01f2a4d2e4d5 0-7`.

    It is of the file's name and size, and of its first and last 64 KB. A whole file has an open
    range: `9c01f2a4d2e4d5 0-`. Folders do not count, so that a data set may be moved. Of a folder
    of frames, which may be called 001 in every scene, the names and sizes of all frames count and
    what is in the first and the last one. The name cannot be read back from it.
    """
    return _fingerprints(manifest, [manifest.clips[row] for row in rows])


def comparable(given: Iterable[str]) -> bool:
    """Whether all fingerprints were made by this version, so that they can be compared."""
    return all(FINGERPRINT.fullmatch(fingerprint) for fingerprint in given)


def overlapping(mine: Sequence[str], others: Iterable[str]) -> list[int]:
    """The places in `mine` of clips that share a frame with a clip of `others`.

    Those of `others` that are not comparable are ignored.
    """
    ranges: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for fingerprint in others:
        if comparable([fingerprint]):
            file, first, last = _parsed(fingerprint)
            ranges[file].append((first, last))
    found = []
    for place, fingerprint in enumerate(mine):
        file, first, last = _parsed(fingerprint)
        if any(a <= last and first <= b for a, b in ranges[file]):
            found.append(place)
    return found


def _fingerprints(
    manifest: Manifest, clips: Iterable[Clip], unsized: Collection[str] = ()
) -> list[str]:
    """The fingerprints of clips, of the name alone where the file's is among `unsized`."""
    found, files = [], dict[Path, str]()  # each read once, whose clips may be thousands
    for clip in clips:
        path = manifest.path(clip)
        if path not in files:
            content = _content(path, unsized)
            about = f"{path.name} {content}".encode("utf-8", "surrogatepass")  # any bytes
            files[path] = hashlib.sha256(about).hexdigest()[:DIGITS]
        frames = f"{clip.first or 0}-{'' if clip.last is None else clip.last}"
        found.append(f"{files[path]} {frames}")
    return found


def _content(path: Path, unsized: Collection[str]) -> str:
    """The size of a file, or of a folder's files, with a digest of what is at the ends."""
    try:
        if path.name in unsized:
            return "0"
        if not path.is_dir():
            return _ends(path)
        files = sorted(images_in(path))
        sizes = [f"{file.name} {file.stat().st_size}" for file in files]
        return "\n".join([*sizes, *map(_ends, files[:1] + files[-1:])])
    except (OSError, ValueError, VideoError):  # or its name holds a NUL
        return "0"  # a file that cannot be read is in no training set


def _ends(path: Path) -> str:
    """The size of a file, with a digest of its first and last 64 KB."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        about = hashlib.sha256(file.read(ENDS))
        file.seek(max(0, size - ENDS))
        about.update(file.read(ENDS))
    return f"{size} {about.hexdigest()}"


def _parsed(fingerprint: str) -> tuple[str, float, float]:
    """The digest of the file, the first frame and the last, inclusive."""
    file, _, frames = fingerprint.partition(" ")
    first, _, last = frames.partition("-")
    return file, float(first), float(last) if last else math.inf

"""Fingerprints of clips: short digests that tell whether two data sets have frames in common."""

import hashlib
import math
from collections.abc import Iterable, Sequence

from masquerade.datasets.manifest import Clip, Manifest

DIGITS = 12  # hexadecimal; collisions among a million files are unlikely
UNKNOWN = "unknown"
"""Stands among the fingerprints of a run that continues a run which kept none."""


def fingerprints(manifest: Manifest, rows: Iterable[int]) -> list[str]:
    """A digest of each clip's file name and size, and its frames, such as `9c01f2a4d2e4 0-7`.

    A whole file has an open range: `9c01f2a4d2e4 0-`. Folders do not count, so that a data set may
    be moved. The name cannot be read back from it.
    """
    return [_fingerprint(manifest, manifest.clips[row]) for row in rows]


def comparable(given: Iterable[str]) -> bool:
    """Whether all of these are fingerprints with frames, so that they can be compared."""
    return all(" " in fingerprint for fingerprint in given)


def file_part(fingerprint: str) -> str:
    """The part that all clips of one file share."""
    return fingerprint.partition(" ")[0]


def overlapping(mine: Sequence[str], others: Iterable[str]) -> list[int]:
    """The places in `mine` of clips that share a frame with a clip of `others`.

    Those of `others` that are not comparable are ignored.
    """
    ranges: dict[str, list[tuple[float, float]]] = {}
    for fingerprint in others:
        if comparable([fingerprint]):
            ranges.setdefault(file_part(fingerprint), []).append(_frames(fingerprint))
    found = []
    for place, fingerprint in enumerate(mine):
        first, last = _frames(fingerprint)
        if any(a <= last and first <= b for a, b in ranges.get(file_part(fingerprint), ())):
            found.append(place)
    return found


def _fingerprint(manifest: Manifest, clip: Clip) -> str:
    path = manifest.path(clip)
    try:
        size = len(list(path.iterdir())) if path.is_dir() else path.stat().st_size
    except OSError:
        size = 0  # a file that cannot be read is in no training set
    file = hashlib.sha256(f"{path.name} {size}".encode()).hexdigest()[:DIGITS]
    return f"{file} {clip.first or 0}-{'' if clip.last is None else clip.last}"


def _frames(fingerprint: str) -> tuple[float, float]:
    """First and last frame, inclusive."""
    first, _, last = fingerprint.partition(" ")[2].partition("-")
    return float(first), float(last) if last else math.inf

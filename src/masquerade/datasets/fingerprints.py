"""Marks of clips: whether two tables speak of the same frames, without naming or keeping them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence

from masquerade.datasets.manifest import Clip, Manifest

LONG = 12  # hexadecimal digits: of a million files hardly two share a mark by chance
UNTOLD = "untold"
"""Stands among the marks of a run that went on from one which kept none."""


def marks(manifest: Manifest, rows: Iterable[int]) -> list[str]:
    """Of each clip a short digest of its file's name and size, and its frames: `9c01f2a4d2e4 0-7`.

    A whole file has all frames from the first on: `9c01f2a4d2e4 0-`. Folders do not count, so that
    a data set may be moved; whoever has the file can tell that it is meant, and nobody else.

    Args:
        manifest: of the clips.
        rows: which of them.
    """
    return [_mark(manifest, manifest.clips[row]) for row in rows]


def comparable(given: Iterable[str]) -> bool:
    """Whether marks tell of all that was learned; those of older versions cannot be compared.

    Args:
        given: of a run.
    """
    return all(" " in mark for mark in given)


def file_of(mark: str) -> str:
    """The part of a mark that all clips of one file share.

    Args:
        mark: of a clip.
    """
    return mark.partition(" ")[0]


def met(mine: Sequence[str], others: Iterable[str]) -> list[int]:
    """The places of those clips that share a frame with some other one.

    Args:
        mine: marks of clips.
        others: marks; those that cannot be compared meet nothing.
    """
    known: dict[str, list[tuple[float, float]]] = {}
    for mark in others:
        if comparable([mark]):
            known.setdefault(file_of(mark), []).append(_frames(mark))
    found = []
    for place, mark in enumerate(mine):
        first, last = _frames(mark)
        if any(a <= last and first <= b for a, b in known.get(file_of(mark), ())):
            found.append(place)
    return found


def _mark(manifest: Manifest, clip: Clip) -> str:
    path = manifest.path(clip)
    try:
        size = len(list(path.iterdir())) if path.is_dir() else path.stat().st_size
    except OSError:
        size = 0  # what cannot be read is learned from by nobody
    file = hashlib.sha256(f"{path.name} {size}".encode()).hexdigest()[:LONG]
    return f"{file} {clip.first or 0}-{'' if clip.last is None else clip.last}"


def _frames(mark: str) -> tuple[float, float]:
    """First and last, both inclusive."""
    first, _, last = mark.partition(" ")[2].partition("-")
    return float(first), float(last) if last else math.inf

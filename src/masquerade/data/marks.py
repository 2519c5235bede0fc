"""Marks of clips: whether two tables speak of the same clip, without naming it or keeping it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from masquerade.data.manifest import Clip, Manifest

LONG = 12  # hexadecimal digits: of a million clips hardly two share a mark by chance


def marks(manifest: Manifest, rows: Iterable[int]) -> list[str]:
    """A short digest of each clip's file name, size in bytes and range of frames.

    Folders do not count, so that a data set may be moved; whoever has the file can tell that it is
    meant, and nobody else.

    Args:
        manifest: of the clips.
        rows: which of them.
    """
    return [_mark(manifest, manifest.clips[row]) for row in rows]


def _mark(manifest: Manifest, clip: Clip) -> str:
    path = manifest.path(clip)
    try:
        size = len(list(path.iterdir())) if path.is_dir() else path.stat().st_size
    except OSError:
        size = 0  # what cannot be read is learned from by nobody
    about = f"{path.name} {size} {clip.first} {clip.last}"
    return hashlib.sha256(about.encode()).hexdigest()[:LONG]

"""A digest of the label files that a dataset is converted from, to notice that one was changed."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from masquerade.errors import UsageError
from masquerade.storage import file_digest

LABELS = (".txt", ".csv", ".tsv", ".json", ".pickle", ".pkl", ".mat", ".xml", ".npy", ".npz", "")
"""How label files end; of all others, as videos and pictures, the name says what they are."""
VIDEOS = "--videos"  # names the folder of the videos, which holds no labels


def label_digest(words: Sequence[str], folder: Path) -> str:
    """Digest the labels that the words of `masquerade data convert` name.

    That is of label files their content, and of all other files below a folder their names alone:
    there may be a million of them, and whoever reads them compares their content.

    Args:
        words: the dataset, and paths with {data} for the folder or without.
        folder: of --data, which may be moved.
    """
    digest = hashlib.sha256()
    for before, word in pairwise(words):  # the first one is the reader's name
        flag, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
        if value and flag != VIDEOS:
            for name, path in _files(Path(value.replace("{data}", str(folder)))):
                content = _content(path) if path.suffix.lower() in LABELS else ""
                digest.update(f"{word} {name} {content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """A file, or all files below a folder but hidden ones, each with its name there, in order."""
    if path.is_file():
        yield path.name, path
    for folder, folders, files in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            file = Path(folder) / name
            yield file.relative_to(path).as_posix(), file


def _content(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error

"""A digest of the label files that a dataset is converted from, to notice that one was changed."""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from masquerade.datasets.published.label_files import walk_files
from masquerade.errors import UsageError
from masquerade.storage import file_digest

PICKLES = (".pickle", ".pkl", ".p")
LABELS = (".txt", ".csv", ".tsv", ".json", *PICKLES, ".mat", ".xml", ".npy", ".npz", "")
"""How label files below a folder end; of all others, as videos, the name says what they are."""
VIDEOS = "--videos"  # names the folder of the videos, which holds no labels


def label_digest(words: Sequence[str], folder: Path, *, made: Path | None = None) -> str:
    """Digest the labels that the words of `masquerade data convert` name.

    That is the content of files that a word names, and of label files below a folder. Of all other
    files below a folder it is their names alone: there may be a million of them, and whoever reads
    them compares their content.

    Args:
        words: the dataset, and paths with {data} for the folder or without.
        folder: of --data, which may be moved.
        made: a folder that no labels are in, as the run itself writes to it.
    """
    digest = hashlib.sha256()
    for before, word in pairwise(words):  # the first one is the reader's name
        flag, _, value = word.partition("=") if word.startswith("--") else (before, "", word)
        if value and flag != VIDEOS:
            for name, path in _files(Path(value.replace("{data}", str(folder))), made):
                content = _content(path) if path.suffix.lower() in LABELS or not name else ""
                digest.update(f"{word} {name} {content}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _files(path: Path, made: Path | None) -> Iterator[tuple[str, Path]]:
    """All files below a folder but hidden ones, by their names there; or a file, without a name."""
    if path.is_file():
        yield "", path
    for file in walk_files(path, without=made, hidden=False):
        yield file.relative_to(path).as_posix(), file


def _content(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error

"""Read text, JSON and CSV label files; errors name the file."""

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from masquerade.datasets.manifest import Clip
from masquerade.errors import UsageError
from masquerade.video.probe import written_beside

VIDEOS = (".avi", ".mp4", ".mpg", ".mpeg", ".mov", ".mkv", ".webm")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text that are not blank, each with its number from 1."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_json(path: Path) -> Any:
    """The content of a JSON file."""
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:  # also of a number too long, or too many brackets
        raise UsageError(f"{path} cannot be read as JSON: {error}.") from error


def read_csv(path: Path) -> list[list[str]]:
    """The rows of a CSV, the header first."""
    try:
        return list(csv.reader(io.StringIO(_text(path))))
    except csv.Error as error:
        raise UsageError(f"Cannot read {path}: {error}.") from error


def files_below(folder: Path, suffixes: Iterable[str] = VIDEOS) -> list[Path]:
    """Every file below a folder with one of these endings, sorted."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    known = set(suffixes)
    return sorted(p for p in walk_files(folder) if p.suffix.lower() in known and p.is_file())


def walk_files(folder: Path, *, without: Path | None = None, hidden: bool = True) -> Iterator[Path]:
    """Every file below a folder and below folders that are linked there, in order.

    A folder that is linked below itself is not entered again.

    Args:
        folder: where to look; where there is none, nothing is found.
        without: a folder that is left out.
        hidden: whether to look at files and folders whose names begin with a dot, too.
    """
    left_out = None if without is None else os.path.realpath(without)
    above = {os.fspath(folder): frozenset((os.path.realpath(folder),))}  # of each, real paths
    for place, folders, files in os.walk(folder, followlinks=True):
        real = above.pop(place)
        entered = []
        for name in sorted(name for name in folders if hidden or not name.startswith(".")):
            path = os.path.join(place, name)
            target = os.path.realpath(path)
            if target not in real and target != left_out:
                above[path] = real | {target}
                entered.append(name)
        folders[:] = entered
        for name in sorted(name for name in files if hidden or not name.startswith(".")):
            yield Path(place, name)


def videos_named(folder: Path, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str]]]:
    """Every video below a folder whose path without its ending has the pattern: path and match.

    What `anonymize` wrote beside a video is left out.
    """
    names = [path.relative_to(folder) for path in files_below(folder)]
    stems = [name.with_suffix("").as_posix() for name in names]
    ours = written_beside(stems)
    for name, stem in zip(names, stems, strict=True):
        if stem not in ours and (match := pattern.search(stem)):
            yield name.as_posix(), match


def spelled_as_below(videos: Path | None, clips: Iterable[Clip]) -> list[Clip]:
    """Clips `Class/clip.avi` with their paths as a folder spells them, where only case differs.

    A clip that is not in the folder keeps its path, and so do all where no folder is given.
    """
    named = list(clips)
    if videos is None or all(os.path.exists(videos / clip.path) for clip in named):
        return named
    there = {path.relative_to(videos).as_posix() for path in videos.glob("*/*")}
    spelled = {name.casefold(): name for name in sorted(there)}
    return [
        clip
        if clip.path in there
        else replace(clip, path=spelled.get(clip.path.casefold(), clip.path))
        for clip in named
    ]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text in UTF-8: {error}.") from error
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:  # a list may name a path with a NUL
        raise UsageError(f"Cannot read {path}: {error}.") from error

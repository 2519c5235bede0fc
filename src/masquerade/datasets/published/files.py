"""Text and JSON as published label files hold them, read with errors that name the file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from masquerade.errors import UsageError

VIDEOS = (".avi", ".mp4", ".mpg", ".mpeg", ".mov", ".mkv", ".webm")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text that are not blank, each with its number from 1."""
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            yield number, line.strip()


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}.") from error


def files_below(folder: Path, suffixes: Iterable[str] = VIDEOS) -> list[Path]:
    """Every file below a folder with one of these endings, sorted."""
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}.")
    known = set(suffixes)
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in known and p.is_file())


def one_of(path: Path, names: Iterable[str]) -> Path:
    """The first of these files in a folder that is there, or the path itself where it is a file."""
    tried = [path] if path.is_file() else [path / name for name in names]
    for candidate in tried:
        if candidate.exists():
            return candidate
    wanted = " nor ".join(p.name for p in tried)
    raise UsageError(f"{path} holds no {wanted}; point at the folder of the published files.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text in UTF-8: {error}.") from error
    except OSError as error:
        raise UsageError(f"Cannot read {path}: {error.strerror}.") from error

"""Checks of a dataset before training: missing and broken files, duplicates, leaks of a split."""

import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, product
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest
from masquerade.datasets.splits import (
    kept_apart,
    namespace,
    notes_on_people,
    people_columns,
    shares_people,
)
from masquerade.errors import VideoError
from masquerade.storage import file_digest
from masquerade.video.container import printable
from masquerade.video.decoding_process import RemoteDecoder, count_frames, probe
from masquerade.video.probe import FOLDER_RATE, images_in


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file that exists but does not decode, with the decoder's reason."""

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class SplitLeak:
    """People, source clips or files that are in several parts of one split."""

    split: str  # column
    by: str  # column or columns of people, `file` for one file, or `content` for equal files
    value: str  # the person, source or file
    parts: tuple[str, ...]  # of the split, such as train and test
    clips: int  # how many


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The findings of `check_manifest`."""

    clips: int  # rows of the manifest
    files: int  # different files (or folders of frames)
    missing: tuple[str, ...] = ()  # paths
    unreadable: tuple[Unreadable, ...] = ()  # files that do not decode
    past_end: tuple[str, ...] = ()  # paths whose frame range ends after the last frame
    duplicates: tuple[tuple[str, ...], ...] = ()  # groups of paths with equal content
    split_leaks: tuple[SplitLeak, ...] = ()  # leaks between the parts of a split
    not_compared: tuple[str, ...] = ()  # `split: column` pairs that share people on purpose
    notes: tuple[str, ...] = ()  # what a split cannot be checked for, which is no finding

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        faults = self.missing or self.unreadable or self.past_end or self.duplicates
        return not (faults or self.split_leaks)

    def to_json(self) -> str:
        """The result as JSON, with `ok`."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2, ensure_ascii=False)


def check_manifest(
    manifest: Manifest, *, files: bool = True, every_frame: bool = False
) -> CheckResult:
    """Look for missing, unreadable and equal files, and for leaks between splits.

    Args:
        manifest: the clips.
        files: open the files; False: check only the manifest's columns.
        every_frame: decode whole files instead of a first frame; slow, but finds truncated files.
    """
    by_path = {clip.path: manifest.path(clip) for clip in manifest.clips}
    opened = by_path if files else {}
    # os.path, unlike pathlib, accepts names that no file can have
    there = {name: path for name, path in opened.items() if os.path.exists(path)}
    ranged = {clip.path for clip in manifest.clips if clip.last is not None}
    decoded = {
        name: _decode(path, every_frame, count=name in ranged) for name, path in there.items()
    }
    frames = {name: count for name, (_, count) in decoded.items() if count}
    duplicates = _equal_files({name: there[name] for name, (why, _) in decoded.items() if not why})
    past_end = {
        clip.path
        for clip in manifest.clips
        if clip.last is not None and clip.last >= frames.get(clip.path, math.inf)
    }
    splits = [column.name for column in manifest.of_role("split")]
    pairs = product(splits, map(manifest.column, people_columns(manifest)))
    return CheckResult(
        clips=len(manifest),
        files=len(by_path),
        missing=tuple(name for name in opened if name not in there),
        unreadable=tuple(
            Unreadable(path=name, why=why) for name, (why, _) in decoded.items() if why
        ),
        past_end=tuple(sorted(past_end)),
        duplicates=tuple(duplicates),
        split_leaks=tuple(find_split_leaks(manifest, duplicates)),
        not_compared=tuple(
            f"{split}: {by.name}" for split, by in pairs if shares_people(split, by)
        ),
        notes=notes_on_people(manifest),
    )


def find_split_leaks(
    manifest: Manifest, duplicates: Sequence[Sequence[str]] = ()
) -> list[SplitLeak]:
    """Find split leaks: people, sources, files or equal files in several parts of a split.

    A value is one person in whichever columns of people it stands, as it is to `linked_groups`.
    A split named after a column of people, as `split_identity` after `identity`, is meant to have
    the same people in train and test; that pair is not checked. One named after a column of
    sources keeps them apart, as any other.
    """
    content = {path: group[0] for group in duplicates for path in group}
    found: list[SplitLeak] = []
    for split in manifest.of_role("split"):
        together: dict[str, list[str]] = {"file": ["file"], "content": ["content"]}
        for name in kept_apart(manifest, split.name):
            together.setdefault(namespace(manifest.column(name)), []).append(name)
        for columns in together.values():
            cells: dict[str, list[str]] = defaultdict(list)
            naming: dict[str, set[str]] = defaultdict(set)  # the columns that a value is in
            for clip in manifest.clips:
                values = {by: _values(clip, by, content) for by in columns}
                for value in dict.fromkeys(chain.from_iterable(values.values())):
                    cells[value].append(clip.cells[split.name])
                    naming[value] |= {by for by in columns if value in values[by]}
            for value, clip_parts in cells.items():
                used = [cell for cell in clip_parts if cell]  # an empty cell is in no part
                parts = tuple(sorted(set(used)))
                by = " and ".join(name for name in columns if name in naming[value])
                if len(parts) > 1:
                    found.append(
                        SplitLeak(
                            split=split.name, by=by, value=value, parts=parts, clips=len(used)
                        )
                    )
    return found


def _values(clip: Clip, by: str, content: dict[str, str]) -> list[str]:
    if by == "file":
        return [clip.path]
    if by == "content":
        return [content[clip.path]] if clip.path in content else []
    return [value for value in clip.cells[by].split("|") if value]


def _equal_files(paths: dict[str, Path]) -> list[tuple[str, ...]]:
    """Groups of equal content; only files of equal size are read."""
    sizes = {name: sum(p.stat().st_size for p in _parts(paths[name])) for name in sorted(paths)}
    often = Counter(sizes.values())
    groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, size in sizes.items():
        if often[size] > 1:
            groups[tuple(map(file_digest, _parts(paths[name])))].append(name)
    return sorted(tuple(group) for group in groups.values() if len(group) > 1)


def _parts(path: Path) -> list[Path]:
    return images_in(path) if path.is_dir() else [path]


def _decode(path: Path, every_frame: bool, *, count: bool) -> tuple[str, int | None]:
    """The reason why a file does not decode or "", and its number of frames where known.

    With `count` the number of a file that decodes is known.
    """
    try:
        return "", _frames(path, every_frame, count=count)
    except VideoError as error:
        listed = path.is_file() and _is_playlist(path)
        name = printable(path)
        why = str(error).removeprefix(f"{name} ").replace(f"{name}{os.sep}", "")
        return ("a playlist, not a video" if listed else why), None
    except OSError as error:
        return error.strerror or type(error).__name__, None


def _frames(path: Path, every_frame: bool, *, count: bool) -> int | None:
    if path.is_dir() and not every_frame:  # there may be a million images
        images = images_in(path)
        probe(images[0])
        return len(images)
    # of a folder all images are probed, as they have to be of one size
    info = probe(path, rate=FOLDER_RATE if path.is_dir() else None)
    if not every_frame:  # containers tell of frames that nobody is shown, as where a film was cut
        return count_frames(path) if count else info.frames
    with RemoteDecoder(path, info) as decoder:
        return sum(1 for _ in decoder)


def _is_playlist(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith((b"#EXTM3U", b"ffconcat"))
    except OSError:
        return False

"""What is wrong with a dataset before anything is trained on it: files and leaks between splits."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from masquerade.datasets.manifest import Clip, Manifest
from masquerade.datasets.splits import group_columns
from masquerade.errors import VideoError
from masquerade.video.container import open_container, printable
from masquerade.video.probe import check_size, main_stream

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """A file that is there and does not decode.

    Args:
        path: as in the manifest.
        why: in the decoder's words.
    """

    path: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Straddle:
    """People, source clips or files that are in several parts of one split.

    Args:
        split: the split column.
        by: the column of people or sources; `file` for one file, `content` for equal files.
        value: who or what straddles.
        parts: of the split, such as train and test.
        clips: how many are concerned.
    """

    split: str
    by: str
    value: str
    parts: tuple[str, ...]
    clips: int


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What `check_manifest` found.

    Args:
        clips: rows of the manifest.
        files: different files (or folders of frames) among them.
        missing: paths of files that are not there.
        unreadable: files that do not decode.
        beyond: paths with a frame range that ends after the last frame.
        duplicates: groups of paths with equal content.
        straddling: leaks between the parts of a split.
        not_compared: `split: column` pairs left alone, since that split is there to recognise
            the same people again.
    """

    clips: int
    files: int
    missing: tuple[str, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    beyond: tuple[str, ...] = ()
    duplicates: tuple[tuple[str, ...], ...] = ()
    straddling: tuple[Straddle, ...] = ()
    not_compared: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Nothing was found."""
        found = self.missing or self.unreadable or self.beyond or self.duplicates
        return not (found or self.straddling)

    def to_json(self) -> str:
        """The result as JSON, with `ok`."""
        return json.dumps({"ok": self.ok, **asdict(self)}, indent=2, ensure_ascii=False)


def check_manifest(
    manifest: Manifest, *, files: bool = True, every_frame: bool = False
) -> CheckResult:
    """Look for missing, unreadable and equal files, and for leaks between splits.

    Args:
        manifest: the clips.
        files: open the files; False: only the manifest's own columns.
        every_frame: decode whole files instead of a first frame. Slow, and finds what is cut off.
    """
    by_path = {clip.path: manifest.path(clip) for clip in manifest.clips}
    duplicates: list[tuple[str, ...]] = []
    # os.path, unlike pathlib, bears a name that no file can have
    missing = [name for name, path in by_path.items() if files and not os.path.exists(path)]
    unreadable: list[Unreadable] = []
    beyond: set[str] = set()
    if files:
        there = {name: path for name, path in by_path.items() if name not in set(missing)}
        lasts = _lasts(manifest.clips)
        for name, path in there.items():
            why, frames = _decode(path, every_frame)
            if why:
                unreadable.append(Unreadable(path=name, why=why))
            elif frames is not None and lasts.get(name, -1) >= frames:
                beyond.add(name)
        broken = {each.path for each in unreadable}
        duplicates = _equal_files({n: path for n, path in there.items() if n not in broken})
    return CheckResult(
        clips=len(manifest),
        files=len(by_path),
        missing=tuple(missing),
        unreadable=tuple(unreadable),
        beyond=tuple(sorted(beyond)),
        duplicates=tuple(duplicates),
        straddling=tuple(find_straddling(manifest, duplicates)),
        not_compared=tuple(f"{s}: {c}" for s, c in _pairs(manifest) if _recognises(s, c)),
    )


def find_straddling(manifest: Manifest, duplicates: Sequence[Sequence[str]] = ()) -> list[Straddle]:
    """People, source clips, files and equal files that are in several parts of a split.

    A split called after a column of people, as `split_identity` after `identity`, is there to
    recognise the same people in other clips; that pair is not compared.

    Args:
        manifest: the clips.
        duplicates: groups of paths with equal content.
    """
    content = {path: group[0] for group in duplicates for path in group}
    found: list[Straddle] = []
    for split in manifest.of_role("split"):
        named = [c for c in group_columns(manifest) if not _recognises(split.name, c)]
        for by in ("file", "content", *named):
            parts: dict[str, list[str]] = defaultdict(list)
            for clip in manifest.clips:
                for value in _values(clip, by, content):
                    parts[value].append(clip.cells[split.name])
            found += _straddles(split.name, by, parts)
    return found


def _straddles(split: str, by: str, parts: dict[str, list[str]]) -> Iterable[Straddle]:
    for value, cells in parts.items():
        used = [cell for cell in cells if cell]  # an empty cell is in no part
        if len(set(used)) > 1:
            there = tuple(sorted(set(used)))
            yield Straddle(split=split, by=by, value=value, parts=there, clips=len(used))


def _values(clip: Clip, by: str, content: dict[str, str]) -> list[str]:
    if by == "file":
        return [clip.path]
    if by == "content":
        return [content[clip.path]] if clip.path in content else []
    return [value for value in clip.cells[by].split("|") if value]


def _pairs(manifest: Manifest) -> list[tuple[str, str]]:
    columns = group_columns(manifest)
    return [(split.name, name) for split in manifest.of_role("split") for name in columns]


def _recognises(split: str, column: str) -> bool:
    return split == f"split_{column}"


def _lasts(clips: Iterable[Clip]) -> dict[str, int]:
    lasts: dict[str, int] = {}
    for clip in clips:
        if clip.last is not None:
            lasts[clip.path] = max(clip.last, lasts.get(clip.path, 0))
    return lasts


def _equal_files(paths: dict[str, Path]) -> list[tuple[str, ...]]:
    """Groups of equal content; only files of equal size are read."""
    sized = sorted(paths, key=lambda name: (_size(paths[name]), name))
    groups: dict[str, list[str]] = defaultdict(list)
    for _, same in groupby(sized, key=lambda name: _size(paths[name])):
        names = list(same)
        if len(names) > 1:
            for name in names:
                groups[_digest(paths[name])].append(name)
    return sorted(tuple(group) for group in groups.values() if len(group) > 1)


def _parts(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix.lower() in _IMAGES)
    return [path]


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part in _parts(path))


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for part in _parts(path):
        with part.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def _decode(path: Path, every_frame: bool) -> tuple[str, int | None]:
    """Why a file does not decode ("" if it does), and how many frames it has, where known."""
    import av

    try:
        if not path.is_dir():
            return "", _frames(path, every_frame)
        parts = _parts(path)
        for part in parts if every_frame else parts[:1]:
            _frames(part, every_frame=False)
        return ("" if parts else "the folder holds no image"), len(parts)
    except VideoError as error:
        listed = path.is_file() and _is_playlist(path)
        why = str(error).removeprefix(f"{printable(path)} ")
        return ("a playlist, not a video" if listed else why), None
    except (av.FFmpegError, OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error) or type(error).__name__, None


def _frames(path: Path, every_frame: bool) -> int | None:
    with open_container(path) as container:
        stream = main_stream(container, path)
        check_size(stream.width, stream.height, path)
        frames = container.decode(stream)
        if next(frames, None) is None:
            raise ValueError("no frame decodes")
        if every_frame:
            return 1 + sum(1 for _ in frames)
        return stream.frames or None


def _is_playlist(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(8).startswith((b"#EXTM3U", b"ffconcat"))
    except OSError:
        return False

"""Metadata: which tags, chapters and other streams go into an output; by default none."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from masquerade.errors import UsageError
from masquerade.video.read import Reader

KINDS = ("subtitle", "data", "attachment")
# What the muxer writes about its own file; the source's would be false in the output.
_STRUCTURE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


@dataclass(frozen=True, kw_only=True)
class MetadataSelection:
    """What goes into the output beside pixels, and the names of what does and what does not."""

    tags: Mapping[str, str] = field(default_factory=dict)  # of the file
    stream_tags: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # by source index
    streams: tuple[int, ...] = ()  # indices of subtitle, data and attachment streams
    chapters: tuple[Any, ...] = ()  # as PyAV gives them
    kept: tuple[str, ...] = ()  # names, never values
    removed: tuple[str, ...] = ()


def select_metadata(
    reader: Reader, metadata: str = "strip", *, audio: Collection[int] = ()
) -> MetadataSelection:
    """Choose what goes into the output of an open reader, and with which streams of `audio`.

    `metadata` is "strip"; "keep" for all; or "keep:KEY,KEY" where a key is a tag's name or one of
    subtitle, chapter, data and attachment. A cover picture is never kept.
    """
    keys = _keys(metadata)
    info = reader.info
    streams = tuple(s.index for s in info.streams if s.kind in KINDS and _wants(keys, s.kind))
    chapters = tuple(reader.chapters) if _wants(keys, "chapter") else ()
    tags = {k: v for k, v in reader.tags.items() if _wants(keys, k) and _own(k)}
    going = {info.video_index, *streams, *audio}
    stream_tags = {
        index: {k: v for k, v in reader.stream_tags(index).items() if _wants(keys, k) and _own(k)}
        for index in sorted(going)
    }
    names = [*tags, *(f"stream{i}:{tag}" for i, held in stream_tags.items() for tag in held)]
    named = {s.index: f"stream{s.index} ({s.kind}, {s.codec})" for s in info.streams}
    kept = [*names, *(name for i, name in named.items() if i in going - {info.video_index})]
    removed = [
        tag
        for tag in info.tags
        if tag not in names and not (chapters and tag.startswith("chapter"))
    ]
    removed += [name for i, name in named.items() if i not in going]
    if info.chapters:
        (kept if chapters else removed).append(f"{info.chapters} chapters")
    return MetadataSelection(
        tags=tags,
        stream_tags=stream_tags,
        streams=streams,
        chapters=chapters,
        kept=tuple(kept),
        removed=tuple(removed),
    )


def _keys(metadata: str) -> frozenset[str] | None:
    """The names to keep, in lower case; None: all."""
    if metadata == "strip":
        return frozenset()
    if metadata == "keep":
        return None
    how, _, names = metadata.partition(":")
    keys = frozenset(name.strip().lower() for name in names.split(",")) - {""}
    if how != "keep" or not keys:
        raise UsageError(
            f"--metadata takes strip, keep or keep:KEY,KEY with names of tags, not {metadata}."
        )
    return keys


def _wants(keys: frozenset[str] | None, name: str) -> bool:
    return keys is None or name.lower() in keys


def _own(name: str) -> bool:
    return name.lower() not in _STRUCTURE

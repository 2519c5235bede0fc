"""Metadata: which tags, chapters and other streams go into an output; by default none."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any, Self

from av.sidedata.sidedata import Type as SideDataType

from masquerade.video.container import open_container
from masquerade.video.metadata_keys import metadata_keys
from masquerade.video.read import Reader
from masquerade.video.side_data import UNNAMED

KINDS = ("subtitle", "data", "attachment")
CHAPTER_TRACK = "bin_data"  # FFmpeg's name of what is in MP4's stream of chapters
FONTS = (
    *("font/", "application/font-", "application/x-font", "application/x-truetype-font"),
    "application/vnd.ms-opentype",
)
"""How MIME types of fonts begin. No other attachment is kept: it may be a picture of the source."""
FONT_FILES = (b"\0\1\0\0", b"OTTO", b"true", b"ttcf", b"wOFF", b"wOF2")
"""And how fonts do: TrueType, OpenType, Apple's, collections of them, and those of web pages."""
CHAPTERS = -1  # in place of a stream's index
# Names of tags that FFmpeg's demuxers, QuickTime, Matroska and Exif define. A name that a user made
# up may identify someone as a value does, and is counted only.
_KNOWN = frozenset(
    """
    album album_artist artist author bps bitsperrawsample comment compatible_brands composer
    copyright creation_time creation_date date date_released datetime datetimedigitized
    datetimeoriginal description director disc duration encoded_by encoder encoder_options
    episode_id exifversion filename filename_extension focallength fnumber flash exposuretime genre
    gpsaltitude gpsaltituderef gpsdatestamp gpsimgdirection gpslatitude gpslatituderef gpslongitude
    gpslongituderef gpstimestamp grouping handler_name handler_vendor_id imagedescription
    imagelength imagewidth icc_profile_name isospeedratings keywords language lensmake lensmodel
    location location-eng loop major_brand make maker makernote mimetype minor_version model
    network number_of_bytes number_of_frames orientation performer pixelxdimension pixelydimension
    producer publisher purl rating reel_name resolutionunit rotate serial_number service_name
    service_provider show software source_id stereo_mode synopsis temporal title title-eng track
    timecode usercomment variant_bitrate vendor_id wm/encodingtime xmp xresolution yresolution
    _statistics_tags _statistics_writing_app _statistics_writing_date_utc
    com.android.capture.fps com.android.version com.android.manufacturer com.android.model
    com.apple.quicktime.artwork com.apple.quicktime.author com.apple.quicktime.comment
    com.apple.quicktime.content.identifier com.apple.quicktime.creationdate
    com.apple.quicktime.location.iso6709 com.apple.quicktime.location.accuracy.horizontal
    com.apple.quicktime.make com.apple.quicktime.model com.apple.quicktime.software
    com.apple.quicktime.title
    """.split()  # noqa: SIM905
)
_SIDE = {f"side:{name}" for name in (*SideDataType.__members__, *UNNAMED.values())}
_PREFIX = re.compile(r"(stream|chapter)\d+:|frame:")
# What the muxer writes about its own file; the source's would be false in the output.
_STRUCTURE = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}


@dataclass(frozen=True, kw_only=True)
class MetadataSelection:
    """What goes into the output beside pixels, and the names of what does and what does not."""

    tags: Mapping[str, str] = field(default_factory=dict)  # of the file
    stream_tags: Mapping[int, Mapping[str, str]] = field(default_factory=dict)  # by source index
    streams: tuple[int, ...] = ()  # indices of subtitle, data and attachment streams
    chapters: tuple[Any, ...] = ()  # as PyAV gives them
    names_kept: tuple[str, ...] = ()  # also those that a user made up
    names_removed: tuple[str, ...] = ()
    # those of them that we made, of a stream by its source index, or of all CHAPTERS
    own_names: Mapping[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> tuple[str, ...]:
        """Names for a receipt, never values."""
        return _without_own_names(self.names_kept, self.own_names)

    @property
    def removed(self) -> tuple[str, ...]:
        """Names for a receipt, never values."""
        return _without_own_names(self.names_removed, self.own_names)

    def held_by(self, path: Path, order: Sequence[int]) -> Self:
        """With what a finished output does not hold as removed: its container may have no place.

        `order` are the source indices of the output's streams. A tag whose value is in it counts as
        kept under whatever name: Matroska writes "my tag" as MY_TAG.
        """
        if not self.names_kept:
            return self
        with open_container(path) as output:
            held: dict[int | None, Mapping[str, str]] = {None: output.metadata}
            held |= dict(zip(order, (stream.metadata for stream in output.streams), strict=False))
            if output.chapters():
                held[CHAPTERS] = {}
        names = {(index, name.lower()) for index, tags in held.items() for name in tags}
        values = {value for tags in held.values() for value in tags.values()}
        meant: dict[str, tuple[int | None, Mapping[str, str]]] = {"": (None, self.tags)}
        meant |= {f"stream{i}:": (i, tags) for i, tags in self.stream_tags.items()}
        lost = {
            f"{before}{name}"
            for before, (index, tags) in meant.items()
            for name, value in tags.items()
            if (index, name.lower()) not in names and value not in values
        }
        lost |= {name for name, index in self.own_names.items() if index not in held}
        return replace(
            self,
            names_kept=tuple(name for name in self.names_kept if name not in lost),
            names_removed=(
                *self.names_removed,
                *(name for name in self.names_kept if name in lost),
            ),
        )

    def until(self, second: float) -> Self:
        """The selection for a preview that ends then: later chapters go, and the last is cut."""
        begun = [
            chapter for chapter in self.chapters if chapter["start"] * chapter["time_base"] < second
        ]
        ends = [
            min(chapter["end"], floor(Fraction(second) / chapter["time_base"])) for chapter in begun
        ]
        chapters = tuple({**chapter, "end": end} for chapter, end in zip(begun, ends, strict=True))
        if len(chapters) == len(self.chapters):
            return replace(self, chapters=chapters)
        counted = next(name for name, index in self.own_names.items() if index == CHAPTERS)
        kept_names = (f"{len(chapters)} of {counted}",) if chapters else ()
        gone = f"{len(self.chapters) - len(chapters)} of {counted}"
        return replace(
            self,
            chapters=chapters,
            names_kept=(*(name for name in self.names_kept if name != counted), *kept_names),
            names_removed=(*self.names_removed, gone),
            own_names={**self.own_names, gone: CHAPTERS, **dict.fromkeys(kept_names, CHAPTERS)},
        )

    @property
    def titles(self) -> list[str]:
        """The titles of the chapters that have one."""
        tags = [tag for chapter in self.chapters for tag in chapter["metadata"].items()]
        return [value for name, value in tags if name.lower() == "title"]


def select_metadata(
    reader: Reader, metadata: str = "strip", *, audio: Collection[int] = ()
) -> MetadataSelection:
    """Choose what goes into the output of an open reader, and with which streams of `audio`.

    `metadata` is "strip"; "keep" for all; or "keep:KEY,KEY" where a key is a tag's name or one of
    subtitle, chapter, data and attachment. Of attachments fonts alone are kept: another may be a
    picture of the source, whatever it says that it is, and a cover picture never is. "keep" leaves
    out data of a kind that is unknown.
    """
    keys = metadata_keys(metadata)
    info = reader.info
    # The stream in which MP4 holds chapters is never copied: the output's muxer makes its own.
    mp4 = "mp4" in info.container
    tracks = {s.index for s in info.streams if mp4 and s.codec == CHAPTER_TRACK}
    other_streams = [
        s
        for s in info.streams
        if s.kind in KINDS
        and s.index not in tracks
        and _wants(keys, s.kind)
        and (s.kind != "attachment" or _is_font(reader, s.index))
    ]
    # No container takes what FFmpeg does not know, as telemetry of cameras; who names it is told.
    known = [
        s for s in other_streams if keys is not None or s.kind != "data" or s.codec != "unknown"
    ]
    streams = tuple(s.index for s in known)
    chapters = tuple(reader.chapters) if _wants(keys, "chapter") else ()
    tags = {k: v for k, v in reader.tags.items() if _wants(keys, k) and _is_own(k)}
    going = {info.video_index, *streams, *audio}
    stream_tags = {
        index: {
            k: v for k, v in reader.stream_tags(index).items() if _wants(keys, k) and _is_own(k)
        }
        for index in sorted(going)
    }
    names = [*tags, *(f"stream{i}:{tag}" for i, held in stream_tags.items() for tag in held)]
    named = {s.index: f"stream{s.index} ({s.kind}, {s.codec})" for s in info.streams}
    counted = f"{info.chapters} chapters"
    own_names = {counted: CHAPTERS, **{name: i for i, name in named.items()}}
    kept_names = [*names, *(name for i, name in named.items() if i in going - {info.video_index})]
    removed = [
        tag
        for tag in info.tags
        if tag not in names and not (chapters and tag.startswith("chapter"))
    ]
    removed += [
        name for i, name in named.items() if i not in going and not (chapters and i in tracks)
    ]
    if info.chapters:
        (kept_names if chapters else removed).append(counted)
    return MetadataSelection(
        tags=tags,
        stream_tags=stream_tags,
        streams=streams,
        chapters=chapters,
        names_kept=tuple(kept_names),
        names_removed=tuple(removed),
        own_names=own_names,
    )


def _without_own_names(names: Sequence[str], own_names: Collection[str]) -> tuple[str, ...]:
    """Names of known tags, those that are `own_names`, and how many others there are."""
    known = tuple(
        name
        for name in names
        if name in own_names or name in _SIDE or _PREFIX.sub("", name, count=1).lower() in _KNOWN
    )
    unknown = len(names) - len(known)
    return (*known, f"{unknown} tags of other names") if unknown else known


def _wants(keys: frozenset[str] | None, name: str) -> bool:
    return keys is None or name.lower() in keys


def _is_font(reader: Reader, index: int) -> bool:
    """Whether an attachment says that it is a font, and begins as one does."""
    tags = reader.stream_tags(index).items()
    if not any(n.lower() == "mimetype" and kind.lower().startswith(FONTS) for n, kind in tags):
        return False
    held = getattr(reader.stream(index).stream, "data", None) or b""
    return bytes(held).startswith(FONT_FILES)


def _is_own(name: str) -> bool:
    return name.lower() not in _STRUCTURE

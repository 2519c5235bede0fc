"""Data in an MP4 or QuickTime file of which FFmpeg gives neither a tag nor a packet."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from mmap import mmap
from pathlib import Path

import numpy as np

from masquerade.video.container import open_container
from masquerade.video.undisplayed import DEEPEST, mp4_boxes

Mp4Box = tuple[bytes, int, int]
"""A box's name, and where its content begins and ends."""
UNUSED = "data that no stream uses"
TOP = frozenset(b"ftyp styp moov moof mdat mfra sidx ssix wide meta free skip".split())
"""The boxes at the top level of an MP4; `udta`, which FFmpeg reads there too, does not belong."""
PADDING = (b"free", b"skip", b"wide")
BRANDS = (b"ftyp", b"styp")
MOST_BRANDS = 128  # bytes; a dozen are usual
SLACK = 16  # bytes of unused data that are ignored, such as box headers of padding between samples
_INSIDE = {  # of boxes of boxes: those that tell how samples are stored, or that FFmpeg reads
    "moov": "mvhd iods trak mvex pssh ctab clip prfl udta meta",
    "trak": "tkhd tapt edts tref trgr load clip matt kmat imap txas mdia udta meta",
    "mdia": "mdhd hdlr elng minf udta meta",
    "minf": "vmhd smhd hmhd sthd nmhd gmhd hdlr dinf stbl udta meta",
    "stbl": "stsd stts ctts cslg stsc stsz stz2 stco co64 stss stsh stps sdtp stdp padb subs sbgp "
    "sgpd saiz saio senc udta meta",
    "mvex": "mehd trex leva",
    "moof": "mfhd traf pssh",
    "traf": "tfhd tfdt trun sdtp subs sbgp sgpd saiz saio senc",
    "mfra": "tfra mfro",
    "meta": "hdlr mhdr keys ilst ctry lang",
    "udta": "meta",  # of which FFmpeg gives all others as tags
}
INSIDE = {of.encode(): frozenset(names.encode().split()) for of, names in _INSIDE.items()}
PICTURE_ENTRY = frozenset(
    b"avcC hvcC lhvC vvcC av1C vpcC dvcC dvvC dvwC esds d263 glbl jp2h m4ds mvcC colr pasp clap "
    b"fiel gama btrt mdcv clli cclv amve SmDm CoLL ACLR ADHR APRG ARES strf st3d sv3d vexu "
    b"hfov sinf".split()
)
SOUND_ENTRY = frozenset(
    b"esds wave chan chnl srat pcmC dOps dfLa dac3 dec3 dac4 dmlp ddts alac damr btrt mhaC mhaP "
    b"SA3D sinf frma enda".split()
)
"""Boxes of a sample entry, which say how pictures or sound are coded."""
_TIMES = {b"mvhd": 1, b"mdhd": 1, b"tkhd": 0}
"""Which of two times in a box, those of making and of change, is the first without a tag."""
_FILLED = re.compile(rb"[^\0]")


def list_used_bytes(path: Path) -> list[tuple[int, int]]:
    """List where in a file the packets of its streams lie, as (start, end) of each stretch.

    Packets that an edit list leaves out count too: `tally_frames` reports those.
    """
    places, sizes = array("q"), array("q")
    with open_container(path, as_stored=True) as container:
        for packet in container.demux():
            if packet.size and packet.pos is not None and packet.pos >= 0:
                places.append(packet.pos)
                sizes.append(packet.size)
    starts = np.array(places, np.int64)
    order = np.argsort(starts, kind="stable")
    starts = starts[order]
    ends = np.maximum.accumulate(starts + np.array(sizes, np.int64)[order])
    apart = np.flatnonzero(starts[1:] > ends[:-1])
    first = starts[np.concatenate([[0], apart + 1])] if len(starts) else starts
    last = np.concatenate([ends[apart], ends[-1:]])
    return list(zip(first.tolist(), last.tolist(), strict=True))


def count_unused(data: mmap, boxes: Iterable[Mp4Box], used: Sequence[tuple[int, int]]) -> int:
    """Count the bytes of `mdat` that no packet takes, of each stretch from its first filled one on.

    Args:
        data: the file.
        boxes: its boxes, as `mp4_boxes` gives them.
        used: of `list_used_bytes`.
    """
    count, lasts = 0, [end for _, end in used]
    for name, start, after in boxes:
        at = bisect_right(lasts, start)
        while name == b"mdat" and start < after:
            begins, ends = used[at] if at < len(used) else (after, after)
            stop = min(begins, after)
            if start < stop and (filled := _FILLED.search(data, start, stop)):
                count += stop - filled.start()
            start, at = max(start, ends), at + 1
    return count


def names_in_mp4(data: mmap, boxes: Iterable[Mp4Box]) -> Iterator[str]:
    """Yield the names of boxes and data in an MP4 that are neither samples nor tags."""
    indexes = 0
    for name, start, after in boxes:
        indexes += name == b"moov"
        if name not in TOP:
            yield _box(name)
        elif name in BRANDS and after - start > MOST_BRANDS:
            yield _data_in(name)
        yield from _names_in_box(data, name, start, after)
    if indexes > 1:
        yield "a second moov box"


def _names_in_box(data: mmap, name: bytes, start: int, after: int, depth: int = 0) -> Iterator[str]:
    if name in PADDING and is_filled(data, start, after):
        yield _data_in(name)
    if name in _TIMES:
        size = 8 if data[start : start + 1] == b"\1" else 4
        if is_filled(data, start + 4 + _TIMES[name] * size, min(after, start + 4 + 2 * size)):
            yield f"a time in {_box(name)}"
    if name == b"minf":
        yield from _names_in_entries(data, start, after)
    if name not in INSIDE or depth >= DEEPEST:
        return
    if name == b"meta" and data[start + 4 : start + 8] != b"hdlr":
        start += 4  # MP4's has a version, QuickTime's has none
    place = start
    for inner, begins, place in mp4_boxes(data, start, after):
        is_user_data = name == b"udta" and inner != b"uuid"
        if inner not in INSIDE[name] and inner not in PADDING and not is_user_data:
            yield _box(inner)
        yield from _names_in_box(data, inner, begins, place, depth + 1)
    if is_filled(data, place, after):  # what is no box
        yield _data_in(name)


def _names_in_entries(data: mmap, place: int, end: int) -> Iterator[str]:
    """Yield the names of unknown boxes and data in the sample entries of a video or sound track.

    These are in the `minf` box from `place` to `end`.
    """
    kinds = {name for name, *_ in mp4_boxes(data, place, end) if name in (b"vmhd", b"smhd")}
    video, boxes = b"vmhd" in kinds, mp4_boxes(data, place, end)
    if not kinds:
        return
    tables = (mp4_boxes(data, start, after) for name, start, after in boxes if name == b"stbl")
    for table, start, after in chain.from_iterable(tables):
        iso = data[start : start + 1] != b"\0"
        for name, entry, stop in mp4_boxes(data, start + 8, after) if table == b"stsd" else ():
            place = entry + _fields(data, entry, video=video, iso=iso)
            for inner, begins, ends in mp4_boxes(data, place, stop):
                if inner in PADDING and is_filled(data, begins, ends):
                    yield _data_in(inner)
                elif inner not in (PICTURE_ENTRY if video else SOUND_ENTRY).union(PADDING):
                    yield _box(inner)
                place = ends
            if is_filled(data, place, stop):
                yield _data_in(name)


def _fields(data: mmap, entry: int, *, video: bool, iso: bool) -> int:
    """The size in bytes of a sample entry's fields; its boxes follow. QuickTime has 3 of sound."""
    if not video:
        kind = int.from_bytes(data[entry + 8 : entry + 10], "big")
        return 28 if iso else {1: 44, 2: 64}.get(kind, 28)
    depth, table = (int.from_bytes(data[entry + n : entry + n + 2], "big") for n in (74, 76))
    if table == 0 and depth in (1, 2, 4, 8):  # the colours of a palette
        return 86 + 8 * (int.from_bytes(data[entry + 84 : entry + 86], "big") + 1)
    return 78


def is_filled(data: mmap, start: int, after: int) -> bool:
    """Whether any byte between two places is not zero."""
    return _FILLED.search(data, start, after) is not None


def _box(name: bytes) -> str:
    return with_article(f"{name.decode('latin-1').strip()} box")


def with_article(named: str) -> str:
    """Put "a" or "an" before what has a name of a few letters, as of a box or a chunk."""
    return f"an {named}" if named[0] in "AEIOaeio" else f"a {named}"


def _data_in(name: bytes) -> str:
    return f"data in {_box(name)}"

"""Data in an MP4 or QuickTime file of which FFmpeg gives neither a tag nor a packet."""

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
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


def count_unused(data: mmap, boxes: Sequence[Mp4Box], used: Sequence[tuple[int, int]]) -> int:
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


def names_in_mp4(data: mmap, boxes: Sequence[Mp4Box]) -> Iterator[str]:
    """Yield the names of boxes and data in an MP4 that are neither samples nor tags."""
    for name, start, after in boxes:
        if name not in TOP:
            yield _box(name)
        elif name in BRANDS and after - start > MOST_BRANDS:
            yield _data_in(name)
        yield from _names_in_box(data, name, start, after)
    if [name for name, *_ in boxes].count(b"moov") > 1:
        yield "a second moov box"


def _names_in_box(data: mmap, name: bytes, start: int, after: int, depth: int = 0) -> Iterator[str]:
    if name in PADDING and is_filled(data, start, after):
        yield _data_in(name)
    if name not in INSIDE or depth >= DEEPEST:
        return
    if name == b"meta" and data[start + 4 : start + 8] != b"hdlr":
        start += 4  # MP4's has a version, QuickTime's has none
    place = start
    for inner, begins, place in mp4_boxes(data, start, after):
        told = name == b"udta" and inner != b"uuid"
        if inner not in INSIDE[name] and inner not in PADDING and not told:
            yield _box(inner)
        yield from _names_in_box(data, inner, begins, place, depth + 1)
    if is_filled(data, place, after):  # what is no box
        yield _data_in(name)


def is_filled(data: mmap, start: int, after: int) -> bool:
    """Whether any byte between two places is not zero."""
    return _FILLED.search(data, start, after) is not None


def _box(name: bytes) -> str:
    return f"a {name.decode('latin-1').strip()} box"


def _data_in(name: bytes) -> str:
    return f"data in {_box(name)}"

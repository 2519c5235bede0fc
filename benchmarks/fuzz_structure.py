"""The parts of a video file by its format, and mutations that keep most of them.

Random bytes stop at a demuxer's first check. What reaches decoders is a file whose parts are right
but for one: a box too long, an element twice, a packet gone, another file's chunk.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple


class Part(NamedTuple):
    """A piece of a file: header, then payload.

    start, body, end: offsets. length: offset and size of the field that says how long it is, or
    None. order: of that field's bytes.
    """

    start: int
    body: int
    end: int
    length: tuple[int, int] | None = None
    order: str = "big"


Parser = Callable[[bytes], Iterator[Part]]
BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"moof", b"traf", b"mvex"}
MASTERS = {  # Matroska's elements that hold others
    0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1F43B675, 0xA0, 0x1C53BB6B, 0xBB, 0xB7,
    0x114D9B74, 0x4DBB, 0x1254C367, 0x7373, 0x67C8, 0x1A45DFA3,
}  # fmt: skip


def boxes(data: bytes, place: int = 0, stop: int | None = None) -> Iterator[Part]:
    """MP4 and MOV."""
    stop = len(data) if stop is None else stop
    while place + 8 <= stop:
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = min(place + size if size >= 8 else stop, stop)
        yield Part(place, place + 8, end, (place, 4))
        if name in BOXES:
            yield from boxes(data, place + 8, end)
        place = end


def elements(data: bytes, place: int = 0, stop: int | None = None) -> Iterator[Part]:
    """Matroska and WebM."""
    stop = len(data) if stop is None else stop
    while place < stop and data[place]:
        id_end = place + 9 - data[place].bit_length()
        if id_end >= stop or not data[id_end]:
            return
        body = id_end + 9 - data[id_end].bit_length()
        bits = 7 * (body - id_end)
        size = int.from_bytes(data[id_end:body], "big") & ((1 << bits) - 1)
        end = stop if size == (1 << bits) - 1 else min(body + size, stop)
        yield Part(place, body, end, (id_end, body - id_end))
        if int.from_bytes(data[place:id_end], "big") in MASTERS:
            yield from elements(data, body, end)
        place = end


def chunks(data: bytes, place: int = 0, stop: int | None = None) -> Iterator[Part]:
    """RIFF: AVI and WebP."""
    stop = len(data) if stop is None else stop
    while place + 8 <= stop:
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        end = min(place + 8 + size + size % 2, stop)
        yield Part(place, place + 8, end, (place + 4, 4), "little")
        if data[place : place + 4] in (b"RIFF", b"LIST"):
            yield from chunks(data, place + 12, end)
        place = end


def png(data: bytes) -> Iterator[Part]:
    """PNG and APNG; checksums stay as they were, and FFmpeg does not ask for them."""
    place = 8
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "big")
        yield Part(place, place + 8, min(end, len(data)), (place, 4))
        place = end


def segments(data: bytes) -> Iterator[Part]:
    """JPEG, and every picture of motion JPEG."""
    for found in re.finditer(rb"\xff[\xc0-\xfe]", data):
        place = found.start()
        size = int.from_bytes(data[place + 2 : place + 4], "big")
        if data[place + 1] not in range(0xD0, 0xDA):
            yield Part(place, place + 4, min(place + 2 + size, len(data)), (place + 2, 2))


def flv(data: bytes) -> Iterator[Part]:
    """Flash's tags."""
    place = 13
    while place + 15 <= len(data):
        end = place + 15 + int.from_bytes(data[place + 1 : place + 4], "big")
        yield Part(place, place + 11, min(end, len(data)), (place + 1, 3))
        place = end


def asf(data: bytes, place: int = 0, stop: int | None = None) -> Iterator[Part]:
    """Windows Media's objects; those of the header are parts of their own."""
    stop = len(data) if stop is None else stop
    while place + 24 <= stop:
        size = int.from_bytes(data[place + 16 : place + 24], "little")
        end = min(place + max(size, 24), stop)
        yield Part(place, place + 24, end, (place + 16, 8), "little")
        if place == 0:
            yield from asf(data, 30, end)
        place = end


def ivf(data: bytes) -> Iterator[Part]:
    """IVF's file header and frames."""
    yield Part(0, 32, 32, (6, 2), "little")
    place = 32
    while place + 12 <= len(data):
        end = place + 12 + int.from_bytes(data[place : place + 4], "little")
        yield Part(place, place + 12, min(end, len(data)), (place, 4), "little")
        place = end


def transport_packets(data: bytes) -> Iterator[Part]:
    """MPEG-TS: 188 bytes each; the length is that of the adaptation field."""
    for place in range(0, len(data) - 187, 188):
        yield Part(place, place + 4, place + 188, (place + 4, 1))


def _between(mark: bytes, header: int, length: tuple[int, int] | None, order: str) -> Parser:
    """Parts that begin with a mark and reach to the next one."""

    def parse(data: bytes) -> Iterator[Part]:
        at = [found.start() for found in re.finditer(re.escape(mark), data)]
        for start, end in pairwise([*at, len(data)]):
            field = (start + length[0], length[1]) if length else None
            yield Part(start, min(start + header, end), end, field, order)

    return parse


def blocks(data: bytes) -> Iterator[Part]:
    """Eight parts of any file, for formats without parts worth naming."""
    size = max(8, len(data) // 8)
    for start in range(0, len(data), size):
        end = min(start + size, len(data))
        yield Part(start, min(start + 16, end), end)


start_codes = _between(b"\0\0\1", 6, (4, 2), "big")
PARSERS: dict[str, Parser] = {  # by FFmpeg's name of the muxer
    "mp4": boxes, "mov": boxes, "3gp": boxes,
    "matroska": elements, "webm": elements,
    "avi": chunks, "webp": chunks,
    "mpegts": transport_packets,
    "mpeg": start_codes, "vob": start_codes, "vcd": start_codes,
    "mpeg2video": start_codes, "mpeg1video": start_codes,
    "h264": start_codes, "hevc": start_codes,
    "png": png, "apng": png, "jpeg": segments, "mjpeg": segments,
    "flv": flv, "asf": asf, "ivf": ivf,
    "ogg": _between(b"OggS", 27, (26, 1), "little"),
    "gif": _between(b"!\xf9\x04", 8, (3, 1), "little"),
}  # fmt: skip


def mutate(data: bytes, muxer: str, other: bytes, other_muxer: str, draw: random.Random) -> bytes:
    """One to three mutations of a file, the last one a splice with `other` now and then."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        parts = [part for part in PARSERS.get(muxer, blocks)(data) if part.end > part.start]
        if not parts or draw.random() < 0.1:
            parts = list(blocks(data))
        if not parts:
            break  # nothing is left of it
        part = draw.choice(parts)
        if draw.random() < 0.06:
            data = _splice(data, part, other, other_muxer, draw)
        else:
            data = draw.choice(MUTATIONS)(data, part, parts, draw)
    return data


def _flip(data: bytes, start: int, end: int, draw: random.Random) -> bytes:
    end = min(end, len(data))  # a damaged part may claim to reach further
    if start >= end:
        return data
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8))):
        changed[draw.randrange(start, end)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def flip_header(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Flip bits in a part's header."""
    return _flip(data, part.start, max(part.body, part.start + 1), draw)


def flip_payload(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Flip bits in a part's payload."""
    return _flip(data, part.body, part.end, draw)


def write_number(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Write an extreme number over some bytes of a part, early ones more often."""
    size = draw.choice((1, 2, 4, 8))
    place = min(part.end, part.start + int((part.end - part.start) * draw.random() ** 3))
    number = draw.choice((0, 1, 2**7, 2**15 - 1, 2**31 - 1, 2**31, 2**63, -1)) % 256**size
    field = number.to_bytes(size, draw.choice(("big", "little")))
    return data[:place] + field + data[place + size :]


def change_length(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Say another length of a part than it has."""
    if part.length is None:
        return flip_header(data, part, parts, draw)
    at, size = part.length
    order = "little" if part.order == "little" else "big"
    now = int.from_bytes(data[at : at + size], order)
    new = draw.choice((0, 1, now - 1, now + 1, now // 2, 2 * now, 256**size // 2, -1, 8))
    return data[:at] + (new % 256**size).to_bytes(size, order) + data[at + size :]


def resize(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Lengthen or shorten a payload and leave every length as it was."""
    place = draw.randint(part.body, part.end) if part.end > part.body else part.end
    count = draw.choice((1, 2, 4, 64, 1024))
    if draw.random() < 0.5:
        return data[:place] + data[min(place + count, part.end) :]
    return data[:place] + draw.randbytes(count) + data[place:]


def duplicate(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Give a part twice, or up to 32 times."""
    copies = data[part.start : part.end] * draw.choice((1, 1, 3, 31))
    return data[: part.end] + copies[: 2**20] + data[part.end :]


def drop(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Leave a part out."""
    return data[: part.start] + data[part.end :]


def swap(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Exchange two parts that do not hold each other."""
    first, second = sorted((part, draw.choice(parts)))
    if first.end > second.start:
        return drop(data, part, parts, draw)
    a, b = data[first.start : first.end], data[second.start : second.end]
    return data[: first.start] + b + data[first.end : second.start] + a + data[second.end :]


def truncate(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """End the file inside a part."""
    return data[: draw.randint(part.start, part.end)] or data[:1]


def erase(data: bytes, part: Part, parts: list[Part], draw: random.Random) -> bytes:
    """Fill a payload with zeros or ones."""
    fill = draw.choice((b"\0", b"\xff"))
    return data[: part.body] + fill * max(0, part.end - part.body) + data[part.end :]


def _splice(data: bytes, part: Part, other: bytes, muxer: str, draw: random.Random) -> bytes:
    """Put another file's part in a part's place, or its rest behind it."""
    theirs = draw.choice(list(PARSERS.get(muxer, blocks)(other)) or list(blocks(other)))
    if draw.random() < 0.5:
        return data[: part.end] + other[theirs.start :]
    return data[: part.start] + other[theirs.start : theirs.end] + data[part.end :]


MUTATIONS = (
    *(flip_header, flip_payload, write_number, change_length, resize),
    *(duplicate, drop, swap, truncate, erase),
)

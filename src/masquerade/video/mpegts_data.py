"""Names of services in an MPEG transport stream, of which PyAV gives no tag (ETSI EN 300 468)."""

import re
from collections.abc import Iterator
from mmap import mmap

_TABLE = rb"G[\0\x20\x40\x60]\x11"  # as a packet of service descriptions begins
_DESCRIBES = (0x42, 0x46)  # tables of services: of this stream, and of others
_SERVICE = 0x48  # the descriptor that names one
_PLAIN = re.compile(rb"(?:FFmpeg|Service\d\d)?")  # what FFmpeg writes of itself
_LARGEST = 4096  # bytes of a section
_FILLING = 0xFF  # instead of a table: what follows in a packet is empty
_LEADING = 65_536  # bytes before the first whole packet, at most, as FFmpeg passes over
_SURE = 8  # packets in a row, where a file is long enough


def packet_size(data: mmap) -> int | None:
    """The packet size of a transport stream in bytes; None: the file is none."""
    for size in (188, 192, 204):
        more = min(_SURE, len(data) // size) - 1
        packets = re.compile(rb"G(?:.{%d}G){%d}" % (size - 1, max(1, more)), re.DOTALL)
        if packets.search(data, 0, _LEADING + _SURE * size):
            return size
    return None


def names_in_mpegts(data: mmap, size: int) -> Iterator[str]:
    """Yield which names of services and providers say more than FFmpeg does of itself."""
    for section in _sections(data, size):
        place, end = 11, min(len(section), 3 + _number(section, 1)) - 4  # a checksum ends it
        while place + 5 <= end:
            at, place = place + 5, place + 5 + _number(section, place + 3)
            while at + 2 <= min(place, end):
                descriptor = section[at + 2 : at + 2 + section[at + 1]]
                if section[at] == _SERVICE:
                    yield from _told(descriptor)
                at += 2 + section[at + 1]


def _told(descriptor: bytes) -> Iterator[str]:
    """Yield which of its two texts a descriptor holds, each behind a byte of its length."""
    place = 1
    for name in ("service_provider", "service_name"):
        length = descriptor[place] if place < len(descriptor) else 0
        if not _PLAIN.fullmatch(descriptor[place + 1 : place + 1 + length].strip(b"\0 ")):
            yield name
        place += 1 + length


def _sections(data: mmap, size: int) -> Iterator[bytes]:
    """The service descriptions, put together of the packets that hold their parts."""
    held = b""
    # a packet is next to another one; a stream that was cut goes on anywhere
    table = rb"%s(?:(?=.{%d}G)|(?<=G.{%d}))" % (_TABLE, size - 3, size + 2)
    for match in re.finditer(table, data, re.DOTALL):
        place = match.start()
        if not data[place + 3 : place + 4].strip(b"\0"):
            continue
        fields = data[place + 3] >> 4 & 3
        before = 5 + data[place + 4] if fields & 2 and place + 4 < len(data) else 4
        body = data[place + before : place + 188] if fields & 1 else b""
        if data[place + 1] & 0x40 and body:  # a section begins, behind the rest of another
            yield from _complete(held and held + body[1 : 1 + body[0]])
            held = body[1 + body[0] :]
        elif held and len(held) < _LARGEST:
            held += body
    yield from _complete(held)


def _complete(held: bytes) -> Iterator[bytes]:
    """Yield the whole sections at the beginning of `held` that describe services."""
    while len(held) >= 3 and held[0] != _FILLING and len(held) >= 3 + _number(held, 1):
        section, held = held[: 3 + _number(held, 1)], held[3 + _number(held, 1) :]
        if section[0] in _DESCRIBES:
            yield section


def _number(section: bytes, place: int) -> int:
    """The lower 12 bits of two bytes."""
    return (section[place] & 15) << 8 | section[place + 1]

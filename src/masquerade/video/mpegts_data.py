"""Names of services in an MPEG transport stream, of which PyAV gives no tag (ETSI EN 300 468)."""

import re
from collections.abc import Iterator
from mmap import mmap

_TABLE = re.compile(rb"G[\0\x20\x40\x60]\x11", re.DOTALL)  # a packet of service descriptions
_DESCRIBES = (0x42, 0x46)  # tables of services: of this stream, and of others
_SERVICE = 0x48  # the descriptor that names one
_PLAIN = re.compile(rb"(?:FFmpeg|Service\d\d)?")  # what FFmpeg writes of itself
_LARGEST = 1024  # bytes of a section


def packet_layout(data: mmap) -> tuple[int, int] | None:
    """Bytes of a packet of a transport stream, and where in it the packet proper begins."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        if data[first : first + 8 * size : size] == b"G" * 8:
            return size, first
    return None


def names_in_mpegts(data: mmap, size: int, first: int) -> Iterator[str]:
    """Yield which names of services and providers say more than FFmpeg does of itself."""
    for section in _sections(data, size, first):
        place, end = 11, min(len(section), 3 + _number(section, 1)) - 4  # a checksum ends it
        while place + 5 <= end:
            at, place = place + 5, place + 5 + _number(section, place + 3)
            while at + 2 <= min(place, end):
                said = section[at + 2 : at + 2 + section[at + 1]]
                if section[at] == _SERVICE:
                    yield from _told(said)
                at += 2 + section[at + 1]


def _told(said: bytes) -> Iterator[str]:
    """Yield which of its two texts a descriptor holds, each behind a byte of its length."""
    place = 1
    for name in ("service_provider", "service_name"):
        length = said[place] if place < len(said) else 0
        if not _PLAIN.fullmatch(said[place + 1 : place + 1 + length].strip(b"\0 ")):
            yield name
        place += 1 + length


def _sections(data: mmap, size: int, first: int) -> Iterator[bytes]:
    """The service descriptions, put together of the packets that hold their parts."""
    held = b""
    for found in _TABLE.finditer(data):
        place = found.start()
        if (place - first) % size or not data[place + 3 : place + 4].strip(b"\0"):
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
    if len(held) >= 3 and held[0] in _DESCRIBES and len(held) >= 3 + _number(held, 1):
        yield held


def _number(section: bytes, place: int) -> int:
    """The lower 12 bits of two bytes."""
    return (section[place] & 15) << 8 | section[place + 1]

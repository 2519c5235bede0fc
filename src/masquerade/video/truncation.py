"""Truncated and overwritten files, in formats whose demuxers do not notice or resume in silence."""

import re
from collections.abc import Callable, Iterator
from itertools import takewhile
from mmap import ACCESS_READ, mmap
from pathlib import Path
from zlib import crc32

MOST_BOXES = 100_000  # of an MP4, that are looked at
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # of a JPEG; others lie in coded pictures
_ALONE = (0x01, 0xD8, 0xD9)  # markers of a JPEG without a size


def is_truncated(path: Path, container: str) -> bool | None:
    """Whether part of a file is missing or overwritten; None: nothing in it says where it ends.

    `container` is FFmpeg's name of the format. Only the sizes that chain a file's parts are
    followed, up to its end; what the parts hold is for the decoder.
    """
    check = _CHECKS.get(container)
    if check is None:  # still images, whose decoders notice
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return check(data)


def mp4_end(path: Path) -> tuple[bool, bool]:
    """Whether an MP4's last box runs past the file's end, and whether its index is there.

    (False, True) for another format, and for more boxes than a file has.
    """
    size, place, names = path.stat().st_size, 0, set[bytes]()
    with path.open("rb") as file:
        for _ in range(MOST_BOXES):
            if place >= size:
                return place > size, b"moov" in names
            file.seek(place)
            head = file.read(16)
            length, name = int.from_bytes(head[:4], "big"), head[4:8]
            if not names and name != b"ftyp":
                return False, True
            names.add(name)
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            place += length if length >= 8 else size - place  # 0: up to the end
    return False, True


def _riff(data: mmap) -> bool | None:
    """AVI and WebP: chunks say their sizes, unless they were left open."""
    place = 0
    while data[place : place + 4] == b"RIFF":
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if not size:
            return None
        place += 8 + size + size % 2
    return place > len(data) + 1  # a last byte that only fills up may be missing


# What may stand in a Matroska segment and its clusters, by the elements' ids.
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = {
    *(_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770),
    *(0x1254C367, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF),
}


def _matroska(data: mmap) -> bool | None:
    """Matroska: known elements follow each other up to the segment's end, or the file's."""
    size, place = ebml_size(data, 4)
    place += size or 0
    if data[place : place + 4] != _SEGMENT.to_bytes(4, "big"):
        return False
    size, place = ebml_size(data, place + 4)
    opened, end = size is None, len(data) if size is None else place + size
    while place < min(end, len(data)):
        length = 9 - data[place].bit_length()
        element = int.from_bytes(data[place : place + length], "big")
        size, place = ebml_size(data, place + length)
        if element not in _ELEMENTS or (size is None and element != _CLUSTER):
            return True
        place += 0 if element == _CLUSTER else size or 0
    return None if opened and place == len(data) else max(place, end) > len(data)


def ebml_size(data: mmap, place: int) -> tuple[int | None, int]:
    """A size of 1 to 8 bytes, and where it ends; None: all ones, which means unknown."""
    if place >= len(data) or not data[place]:
        return None, place
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value, place + length


def _mp4(data: mmap) -> bool | None:
    """Fragmented MP4: boxes follow each other to the end. Without fragments the index tells."""
    place, fragments, name = 0, False, b""
    while place + 8 <= len(data):
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        fragments |= name == b"moof"
        if not name.isascii() or not name.strip(b"\0") or 0 < size < 8:
            return fragments
        place += size or len(data) - place
    if not fragments or place != len(data):
        return fragments
    header = data.find(b"mvhd")  # its duration is 0 where a recording had not ended
    at, size = (header + 28, 8) if data[header + 4] else (header + 20, 4)
    return False if name == b"mfra" or any(data[at : at + size]) else None


def _mpegts(data: mmap) -> bool | None:
    """MPEG-TS: every packet begins with the same byte, and the last ones are whole."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        marks = data[first::size]
        if len(marks) > 8 and marks[:8] == b"G" * 8:
            broken = len(data) % size > 0 or marks.strip(b"G") != b""
            return broken or _ends_in_a_packet(data, size, first) or None
    return None


def _ends_in_a_packet(data: mmap, size: int, first: int) -> bool:
    """Whether more was to come of the last picture or sound of any stream of an MPEG-TS."""
    held: dict[int, int] = {}  # bytes of each stream's last packet that are there
    filled: dict[int, bool] = {}  # whether anything fills up what holds its end
    done = set()
    for place in range(len(data) - size + first, max(0, len(data) - 2**24), -size):
        flags, fields = data[place + 1], data[place + 3] >> 4 & 3
        stream = (flags & 31) << 8 | data[place + 2]
        if stream in done or not fields & 1:
            continue
        before = 5 + data[place + 4] if fields & 2 else 4
        held[stream] = held.get(stream, 0) + 188 - before
        filled.setdefault(stream, before > 5)
        if flags & 64:  # here it begins
            done.add(stream)
            head = data[place + before : place + before + 6]
            length = int.from_bytes(head[4:], "big")  # 0, as that of most pictures: no length
            if head[:3] == b"\0\0\1" and (
                held[stream] < length + 6 if length else not filled[stream]
            ):
                return True
    return False


def _mpeg(data: mmap) -> bool | None:
    """MPEG-PS: packs and packets of known sizes lead to the end, which a code may mark."""
    place, code = data.find(b"\0\0\1\xba"), 0
    while data[place : place + 3] == b"\0\0\1" and place + 4 <= len(data):
        code = data[place + 3]
        if code == 0xBA and place + 14 <= len(data):  # of MPEG-2, or of MPEG-1
            place += 14 + (data[place + 13] & 7) if data[place + 4] & 0xC0 else 12
        elif code == 0xB9:
            place += 4
        else:
            place += 6 + int.from_bytes(data[place + 4 : place + 6], "big")
    if place != len(data):
        return True
    return False if code == 0xB9 else None


def _last_code(is_end: Callable[[int], bool]) -> Callable[[mmap], bool | None]:
    """Video without a container: a code may mark the end, and nothing else does."""

    def check(data: mmap) -> bool | None:
        place = data.rfind(b"\0\0\1") + 3
        return False if any(map(is_end, data[place : place + 1])) else None

    return check


def _mjpeg(data: mmap) -> bool | None:
    """Pictures of JPEG: the last one ends; whether it was the last, nothing tells."""
    return None if data[-1024:].rstrip(b"\0\r\n").endswith(b"\xff\xd9") else True


def _png(data: mmap) -> bool:
    """PNG, moving or not: chunks follow each other to the one that ends it."""
    place = 8
    while data[place + 4 : place + 8] not in (b"IEND", b""):
        place += 12 + int.from_bytes(data[place : place + 4], "big")
    return place + 12 > len(data)


def _flv(data: mmap) -> bool | None:
    """FLV: tags of sound, pictures and scripts follow each other to the end."""
    place = int.from_bytes(data[5:9], "big") + 4
    while place + 11 <= len(data) and data[place] & 31 in (8, 9, 18):
        place += 11 + int.from_bytes(data[place + 1 : place + 4], "big") + 4
    if place != len(data):
        return True
    length = data.find(b"\0\x08duration\0", 0, 1 << 16)  # a number, 0 where nobody knew
    return False if length >= 0 and any(data[length + 11 : length + 19]) else None


def _asf(data: mmap) -> bool | None:
    """WMV: the header says the file's size, and its packets, of one size, begin alike."""
    about = data.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"), 0, 1 << 20)
    packets = data.find(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"), 0, 1 << 24) + 50
    if about < 0 or packets < 50:
        return True

    def number(place: int, size: int = 8) -> int:
        return int.from_bytes(data[about + place : about + place + size], "little")

    if number(88, 4) & 1:  # a broadcast, whose size nobody knew
        return None
    size = number(92, 4)
    starts = data[packets : packets + number(56) * size : size] if size else b""
    return number(40) > len(data) or len(starts) < number(56) or len(set(starts)) > 1


def _ivf(data: mmap) -> bool | None:
    """IVF: frames, none of them empty, follow each other to the end."""
    place = int.from_bytes(data[6:8], "little")
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        place += 12 + size if size else len(data)
    if place != len(data):
        return True
    return False if any(data[24:28]) else None  # how long it is


_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _ogg(data: mmap) -> bool:
    """Ogg: pages with right checksums lead to the end, and each stream's last one says so."""
    place, ended = 0, {}
    while data[place : place + 4] == b"OggS":
        ended[data[place + 14 : place + 18]] = bool(data[place + 5] & 4)
        table = data[place + 27 : place + 27 + data[place + 26]]
        page = data[place : place + 27 + len(table) + sum(table)]
        # Ogg's CRC is zlib's with the bits of every byte mirrored, and starts from 0.
        plain = (page[:22] + bytes(4) + page[26:]).translate(_MIRRORED)
        checksum = (crc32(plain, 0xFFFFFFFF) ^ 0xFFFFFFFF).to_bytes(4, "big")
        if checksum.translate(_MIRRORED) != page[22:26]:
            return True
        place += 27 + len(table) + sum(table)
    return place != len(data) or not all(ended.values())


def _gif(data: mmap) -> bool:
    """GIF: a semicolon ends it; zeros and line ends may follow."""
    return not data[-1024:].rstrip(b"\0\r\n").endswith(b";")


def _jpeg(data: mmap) -> bool:
    """JPEG: an end marker follows the picture's own data, and maybe anything else."""
    header = takewhile(lambda segment: segment[0] != 0xDA, jpeg_segments(data))
    return data.find(b"\xff\xd9", max((end for _, _, end in header), default=2)) < 0


def jpeg_segments(data: mmap) -> Iterator[tuple[int, int, int]]:
    """Yield the segments of a JPEG: its marker, and where its payload begins and ends.

    0xDA is the marker before a coded picture, which is passed over, and 0xD9 that of its end.
    """
    place = 2
    while match := _MARKER.search(data, place):
        marker, start = data[match.start() + 1], match.end()
        place = start
        if marker not in _ALONE:
            size = int.from_bytes(data[start : start + 2], "big")
            start, place = start + 2, start + max(2, size)
        yield marker, start, place


_CHECKS: dict[str, Callable[[mmap], bool | None]] = {
    "avi": _riff,
    "webp_pipe": _riff,
    "matroska,webm": _matroska,
    "mov,mp4,m4a,3gp,3g2,mj2": _mp4,
    "mpegts": _mpegts,
    "mpeg": _mpeg,
    "mpegvideo": _last_code(lambda code: code == 0xB7),
    "h264": _last_code(lambda code: code & 31 in (10, 11)),
    "hevc": _last_code(lambda code: code >> 1 & 63 in (36, 37)),
    "mjpeg": _mjpeg,
    "png_pipe": _png,
    "apng": _png,
    "flv": _flv,
    "asf": _asf,
    "ivf": _ivf,
    "ogg": _ogg,
    "gif": _gif,
    "jpeg_pipe": _jpeg,
}

"""Truncated and overwritten files, in formats whose demuxers do not notice or resume in silence."""

from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from zlib import crc32


def is_truncated(path: Path, container: str) -> bool:
    """Whether part of a file is missing or overwritten; False too where its format cannot tell.

    `container` is FFmpeg's name of the format. Only the sizes that chain a file's parts are
    followed, up to its end; what the parts hold is for the decoder.
    """
    check = _CHECKS.get(container)
    if check is None:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return check(data)


def _riff(data: mmap) -> bool:
    """AVI and WebP: the first chunk says its size."""
    return int.from_bytes(data[4:8], "little") + 8 > len(data)


# What may stand in a Matroska segment and its clusters, by the elements' ids.
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675
_ELEMENTS = {
    *(_CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770),
    *(0x1254C367, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0xAF, 0x5854, 0xEC, 0xBF),
}


def _matroska(data: mmap) -> bool:
    """Matroska: known elements follow each other up to the segment's end, or the file's."""
    size, place = ebml_size(data, 4)
    place += size or 0
    if data[place : place + 4] != _SEGMENT.to_bytes(4, "big"):
        return False
    size, place = ebml_size(data, place + 4)
    end = len(data) if size is None else place + size
    while place < min(end, len(data)):
        length = 9 - data[place].bit_length()
        element = int.from_bytes(data[place : place + length], "big")
        size, place = ebml_size(data, place + length)
        if element not in _ELEMENTS or (size is None and element != _CLUSTER):
            return True
        place += 0 if element == _CLUSTER else size or 0
    return max(place, end) > len(data)


def ebml_size(data: mmap, place: int) -> tuple[int | None, int]:
    """A size of 1 to 8 bytes, and where it ends; None: all ones, which means unknown."""
    if place >= len(data) or not data[place]:
        return None, place
    length = 9 - data[place].bit_length()
    value = int.from_bytes(data[place : place + length], "big") & ((1 << 7 * length) - 1)
    return None if value == (1 << 7 * length) - 1 else value, place + length


def _mp4(data: mmap) -> bool:
    """Fragmented MP4: boxes follow each other to the end. Without fragments the index tells."""
    place, fragments = 0, False
    while place + 8 <= len(data):
        size, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if size == 1:
            size = int.from_bytes(data[place + 8 : place + 16], "big")
        fragments |= name == b"moof"
        if not name.isascii() or not name.strip(b"\0") or 0 < size < 8:
            return fragments
        place += size or len(data) - place
    return fragments and place != len(data)


def _mpegts(data: mmap) -> bool:
    """MPEG-TS: every packet begins with the same byte, and the last one is whole."""
    for size, first in ((188, 0), (192, 4), (204, 0)):
        marks = data[first::size]
        if len(marks) > 8 and marks[:8] == b"G" * 8:
            return len(data) % size > 0 or marks.strip(b"G") != b""
    return False


def _flv(data: mmap) -> bool:
    """FLV: tags of sound, pictures and scripts follow each other to the end."""
    place = int.from_bytes(data[5:9], "big") + 4
    while place + 11 <= len(data) and data[place] & 31 in (8, 9, 18):
        place += 11 + int.from_bytes(data[place + 1 : place + 4], "big") + 4
    return place != len(data)


def _asf(data: mmap) -> bool:
    """WMV: the header says the file's size, and its packets, of one size, begin alike."""
    about = data.find(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"), 0, 1 << 20)
    packets = data.find(bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c"), 0, 1 << 24) + 50
    if about < 0 or packets < 50:
        return True

    def number(place: int, size: int = 8) -> int:
        return int.from_bytes(data[about + place : about + place + size], "little")

    if number(88, 4) & 1:  # a broadcast, whose size nobody knew
        return False
    size = number(92, 4)
    starts = data[packets : packets + number(56) * size : size] if size else b""
    return number(40) > len(data) or len(starts) < number(56) or len(set(starts)) > 1


def _ivf(data: mmap) -> bool:
    """IVF: frames, none of them empty, follow each other to the end."""
    place = int.from_bytes(data[6:8], "little")
    while place + 12 <= len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        place += 12 + size if size else len(data)
    return place != len(data)


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
    place = 2
    while data[place : place + 1] == b"\xff" and data[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return data.find(b"\xff\xd9", place) < 0


_CHECKS: dict[str, Callable[[mmap], bool]] = {
    "avi": _riff,
    "webp_pipe": _riff,
    "matroska,webm": _matroska,
    "mov,mp4,m4a,3gp,3g2,mj2": _mp4,
    "mpegts": _mpegts,
    "flv": _flv,
    "asf": _asf,
    "ivf": _ivf,
    "ogg": _ogg,
    "gif": _gif,
    "jpeg_pipe": _jpeg,
}

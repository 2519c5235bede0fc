"""Whether a container crops its pictures: players show less then than the decoder gives."""

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from masquerade.video.truncation import ebml_size

# Matroska's elements by their ids: those that lead to the four sides to crop.
_MASTERS = {0x18538067, 0x1654AE6B, 0xAE, 0xE0}  # Segment, Tracks, TrackEntry, Video
_SIDES = {0x54AA, 0x54BB, 0x54CC, 0x54DD}
_DEEPEST = 8  # masters or boxes in each other, as FFmpeg reads them
_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}  # MP4's that lead to the sample entries


def is_cropped(path: Path, container: str) -> bool:
    """Whether a file of FFmpeg's format `container` names a part of the pictures to show."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if container == "matroska,webm":
            return _matroska(data, 0, len(data))
        return "mp4" in container and _mp4(data, 0, len(data))


def _matroska(data: mmap, place: int, end: int, depth: int = 0) -> bool:
    while place < end and data[place] and depth <= _DEEPEST:
        length = 9 - data[place].bit_length()
        element = int.from_bytes(data[place : place + length], "big")
        size, place = ebml_size(data, place + length)
        after = end if size is None else min(end, place + size)
        if element in _MASTERS and _matroska(data, place, after, depth + 1):
            return True
        if element in _SIDES and any(data[place:after]):
            return True
        place = after
    return False


def _mp4(data: mmap, place: int, end: int, depth: int = 0) -> bool:
    for name, start, after in _boxes(data, place, end if depth <= _DEEPEST else place):
        if name in _BOXES and _mp4(data, start, after, depth + 1):
            return True
        if name == b"stsd":
            for _, entry, stop in _boxes(data, start + 8, after):
                size = [_number(data, entry + 24, 2), _number(data, entry + 26, 2)]
                for inner, at, _ in _boxes(data, entry + 78, stop):
                    width, by, height, per = (_number(data, at + n, 4) for n in (0, 4, 8, 12))
                    if inner == b"clap" and [width, height] != [size[0] * by, size[1] * per]:
                        return True
    return False


def _boxes(data: mmap, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The name of each box, and where its content begins and ends."""
    while place + 8 <= end:
        size, start = _number(data, place, 4), place + 8
        if size == 1:
            size, start = _number(data, place + 8, 8), place + 16
        after = end if size == 0 else place + size
        if not start <= after <= end:
            return
        yield data[place + 4 : place + 8], start, after
        place = after


def _number(data: mmap, place: int, size: int) -> int:
    return int.from_bytes(data[place : place + size], "big")

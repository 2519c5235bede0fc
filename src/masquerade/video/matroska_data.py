"""Names of programs and other data in a Matroska file that FFmpeg does not give as tags."""

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from masquerade.video.encoder_tags import has_other_text
from masquerade.video.mp4_data import is_filled
from masquerade.video.truncation import ebml_size
from masquerade.video.undisplayed import matroska_elements

EBML = b"\x1a\x45\xdf\xa3"  # as a file begins
_SEGMENT, _CLUSTER, _INFO, _VOID, _CHECKSUM = 0x18538067, 0x1F43B675, 0x1549A966, 0xEC, 0xBF
_FILE = 0  # is no element
_INSIDE = {  # what is in a file and in elements that may say no size, as in a recording
    _FILE: {int.from_bytes(EBML, "big"), _SEGMENT, _VOID, _CHECKSUM},
    _SEGMENT: {
        *(_CLUSTER, _INFO, _VOID, _CHECKSUM),
        *(0x114D9B74, 0x1654AE6B, 0x1C53BB6B),  # SeekHead, Tracks, Cues
        *(0x1941A469, 0x1043A770, 0x1254C367),  # Attachments, Chapters, Tags
    },
    _CLUSTER: {
        *(_VOID, _CHECKSUM, 0xE7, 0xA7, 0xAB),  # Timestamp, Position, PrevSize
        *(0xA3, 0xA0, 0xAF, 0x5854),  # SimpleBlock, BlockGroup, EncryptedBlock, SilentTracks
    },
}
_APPS = {0x4D80: "MuxingApp", 0x5741: "WritingApp"}
_FILES = {0x7384: "SegmentFilename", 0x3C83AB: "PrevFilename", 0x3E83BB: "NextFilename"}


def list_other_apps(path: Path) -> tuple[str, ...]:
    """Fields of a Matroska file that name an unknown program; of other files none."""
    with path.open("rb") as file:
        if file.read(4) != EBML:
            return ()
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            texts = [
                (_APPS[element], data[start:after].decode("utf-8", "replace"))
                for element, start, after in _in_segments(data)
                if element in _APPS
            ]
    return tuple(dict.fromkeys(app for app, text in texts if has_other_text("encoder", text)))


def names_in_matroska(data: mmap) -> Iterator[str]:
    """Yield the names of what a Matroska file holds beside its streams, tags and programs."""
    for element, start, after in _in_segments(data):
        if element in _FILES and is_filled(data, start, after):
            yield f"a {_FILES[element]}"
        elif element == _VOID and is_filled(data, start, after):
            yield "data in a Void element"


def matroska_end(data: mmap) -> int:
    """The offset in bytes at which the last element of a Matroska file ends."""
    return max((after for _, _, after in _follow(data)), default=0)


def _in_segments(data: mmap) -> Iterator[tuple[int, int, int]]:
    """The elements of the file, of its segments and of their information."""
    for element, start, after in _follow(data):
        yield element, start, after
        inner = matroska_elements(data, start, after) if element == _SEGMENT else ()
        for child, begins, ends in inner:
            yield child, begins, ends
            if child == _INFO:
                yield from matroska_elements(data, begins, ends)


def _follow(data: mmap, place: int = 0, holder: int = _FILE) -> Iterator[tuple[int, int, int]]:
    """Yield the elements in a file or in a `holder`, up to the first that does not belong there."""
    while place < len(data) and data[place]:
        length = 9 - data[place].bit_length()
        element = int.from_bytes(data[place : place + length], "big")
        if element not in _INSIDE[holder] and place + length <= len(data):
            return
        size, start = ebml_size(data, place + length)
        after = len(data) if size is None else min(len(data), start + size)
        if size is None and element in _INSIDE:  # it ends where what it holds does
            after = max((ends for _, _, ends in _follow(data, start, element)), default=start)
        yield element, start, after
        place = after

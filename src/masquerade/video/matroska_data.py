"""Names of programs and other data in a Matroska file that FFmpeg does not give as tags."""

from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from masquerade.video.encoder_tags import has_other_text
from masquerade.video.mp4_data import is_filled
from masquerade.video.undisplayed import matroska_elements

EBML = b"\x1a\x45\xdf\xa3"  # as a file begins
_SEGMENT, _INFO, _VOID = 0x18538067, 0x1549A966, 0xEC
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


def _in_segments(data: mmap) -> Iterator[tuple[int, int, int]]:
    """The elements of the file, of its segments and of their information."""
    for element, start, after in matroska_elements(data, 0, len(data)):
        yield element, start, after
        inner = matroska_elements(data, start, after) if element == _SEGMENT else ()
        for one, begins, ends in inner:
            yield one, begins, ends
            if one == _INFO:
                yield from matroska_elements(data, begins, ends)

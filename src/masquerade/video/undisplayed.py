"""What a file holds and players do not show, though a decoder would give it."""

import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from av import VideoFrame
from av.video.stream import VideoStream

from masquerade.video.truncation import ebml_size

_CROPPED = "says that players are to crop its pictures; crop them first"
_ORDERED = "has chapters that say what of it players show, and in which order; remove them first"
_OFF = "holds a video that is switched off, so that players leave it out; remove it first"
_IMAGES = "is a HEIF or AVIF image, of tiles and layers; save it as PNG or JPEG first"
# Matroska's elements by their ids: those that lead to the four sides to crop and to the flags of
# tracks (Segment, Tracks, TrackEntry, Video) and of chapters (Chapters, EditionEntry).
_MASTERS = {0x18538067, 0x1654AE6B, 0xAE, 0xE0, 0x1043A770, 0x45B9}
_IN_ORDER = 0x45DD  # of an edition: its chapters are all that is shown
_SIDES = {0x54AA, 0x54BB, 0x54CC, 0x54DD}
_TYPE, _ENABLED = 0x83, 0xB9  # of a track; type 1 is video
_CLUSTER = 0x1F43B675
DEEPEST = 8  # masters or boxes in each other, as FFmpeg reads them
_BOXES = {b"moov", b"trak", b"mdia", b"minf", b"stbl"}  # MP4's that lead to the sample entries


def undisplayed_content(path: Path, container: str) -> str | None:
    """Why players show less of a file than is in it, of FFmpeg's format `container`; None: no."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if container == "matroska,webm":
            return _matroska(data, 0, len(data))
        return _mp4(data, 0, len(data)) if "mp4" in container else None


def undisplayed_layers(stream: VideoStream, frame: VideoFrame) -> str | None:
    """Why players show less than a stream's first frame; None: they show all of it."""
    if stream.metadata.get("alpha_mode", "0") != "0":  # WebM's, of VP8 and VP9
        return "has transparent parts that players do not show; flatten it first"
    context = stream.codec_context
    if context.name != "hevc" or any(part.is_alpha for part in frame.format.components):
        return None
    # The video parameter set: its number, two flags, and how many layers there are beside one.
    about = re.search(rb"\x40\x01(.)(.)\xff\xff", context.extradata or b"", re.DOTALL)
    if about is None or not (about[1][0] & 3) << 4 | about[2][0] >> 4:
        return None
    return "holds more than one layer, of views, depth or transparency; save one of them first"


def _matroska(data: mmap, place: int, end: int, depth: int = 0) -> str | None:
    track: dict[int, int] = {}
    for element, start, after in matroska_elements(data, place, end if depth <= DEEPEST else place):
        if element in _MASTERS and (hidden := _matroska(data, start, after, depth + 1)):
            return hidden
        if element in _SIDES and any(data[start:after]):
            return _CROPPED
        if element == _IN_ORDER and any(data[start:after]):
            return _ORDERED
        if element in (_TYPE, _ENABLED):
            track[element] = int.from_bytes(data[start:after], "big")
    return _OFF if track.get(_TYPE) == 1 and track.get(_ENABLED) == 0 else None


def _mp4(data: mmap, place: int, end: int, depth: int = 0) -> str | None:
    for name, start, after in mp4_boxes(data, place, end if depth <= DEEPEST else place):
        if name in _BOXES and (hidden := _mp4(data, start, after, depth + 1)):
            return hidden
        if name == b"meta" and not depth and b"pict" in data[start : start + 64]:
            return _IMAGES
        if name == b"stsd":
            for _, entry, stop in mp4_boxes(data, start + 8, after):
                size = [_number(data, entry + 24, 2), _number(data, entry + 26, 2)]
                for inner, at, _ in mp4_boxes(data, entry + 78, stop):
                    width, by, height, per = (_number(data, at + n, 4) for n in (0, 4, 8, 12))
                    if inner == b"clap" and [width, height] != [size[0] * by, size[1] * per]:
                        return _CROPPED
    return None


def matroska_elements(data: mmap, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield the ID of each Matroska element, and where its content begins and ends.

    A cluster of unknown size, as recordings have, ends at the end for all that is known: what it
    holds is given beside it, and so is what follows it.
    """
    while place < end and data[place]:
        length = 9 - data[place].bit_length()
        element = int.from_bytes(data[place : place + length], "big")
        size, start = ebml_size(data, place + length)
        after = end if size is None else min(end, start + size)
        yield element, start, after
        place = start if size is None and element == _CLUSTER else after


def mp4_boxes(data: mmap, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
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

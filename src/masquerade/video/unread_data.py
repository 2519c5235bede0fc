"""Data in a file that FFmpeg lists no tag of: metadata of pictures, and what lies behind them."""

import re
from collections.abc import Iterator
from mmap import ACCESS_READ, mmap
from pathlib import Path

from masquerade.video.container import JPEG
from masquerade.video.decoding_process import list_used_bytes
from masquerade.video.matroska_data import EBML, matroska_end, names_in_matroska
from masquerade.video.mp4_data import (
    SLACK,
    TOP,
    UNUSED,
    count_unused,
    is_filled,
    names_in_mp4,
    with_article,
)
from masquerade.video.mpegts_data import names_in_mpegts, packet_size
from masquerade.video.pictures import NEXT_PICTURE
from masquerade.video.truncation import jpeg_segments
from masquerade.video.undisplayed import mp4_boxes

BEHIND = "data behind the picture"
EXIF = "Exif that is not read"
MOST_NAMES = 100  # that are told of a file, whose boxes may each have another
BARE = 32  # bytes of Exif that has one entry: how the picture is turned, which is no tag to FFmpeg
INSTEAD = "a picture that is shown instead of the animation, which no attack looked at"
PNG, GIF = b"\x89PNG\r\n\x1a\n", b"GIF8"
# what draws the picture, and what FFmpeg reads as tags
PNG_CHUNKS = frozenset(
    b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB bKGD hIST pHYs sPLT cICP mDCV cLLI "
    b"acTL fcTL fdAT tEXt zTXt".split()
)
WEBP_CHUNKS = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_ENCODER = re.compile(rb"Lav[cf]\d")  # FFmpeg's own name


def list_unread_data(
    path: Path, *, exif_is_read: bool = True, video: bool = False, container: str = ""
) -> tuple[str, ...]:
    """Names of the metadata and other data in a file that FFmpeg does not read.

    Of a JPEG, PNG, WebP, GIF, MP4, Matroska file or MPEG transport stream, each name once; of other
    files none: FFmpeg reads the tags of a TIFF. Of Exif it reads the first segment, if it can:
    `exif_is_read`. Of a `video` that is JPEG alone, every picture is a frame. `container` is
    FFmpeg's name of the format, which knows an MP4 whatever box comes first.
    """
    names: dict[str, None] = {}
    with path.open("rb") as file:
        if not file.read(1):
            return ()
        with mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            for name in _names(data, path, video=video, container=container):
                if name == EXIF and exif_is_read:
                    exif_is_read = False  # which is of the first alone
                    continue
                names[name] = None
                if len(names) == MOST_NAMES:
                    break
    return tuple(names)


def _names(data: mmap, path: Path, *, video: bool, container: str) -> Iterator[str]:
    if data[:3] == JPEG:
        yield from _in_jpeg(data, video=video)
    elif data[:8] == PNG:
        yield from _in_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        yield from _in_webp(data)
    elif data[:4] == GIF:
        if data.find(b"XMP DataXMP") >= 0:
            yield "XMP"
    elif data[4:8] in TOP or "mp4" in container:  # old QuickTime files have no ftyp
        yield from _in_mp4(data, path)
    elif data[:4] == EBML:
        yield from names_in_matroska(data)
        yield from _behind(data, matroska_end(data))
    elif (size := packet_size(data)) is not None:
        yield from names_in_mpegts(data, size)


def _in_jpeg(data: mmap, *, video: bool) -> Iterator[str]:
    for marker, start, end in jpeg_segments(data):
        if marker == 0xD9 and not (video and NEXT_PICTURE.match(data, start)):
            yield from _behind(data, start)
            return
        yield from _segment(marker, data[start:end])


def _segment(marker: int, content: bytes) -> Iterator[str]:
    """Yield the names of metadata (XMP, a comment) in one segment of a JPEG file."""
    if marker == 0xFE and not _ENCODER.match(content):
        yield "a comment"
    if not 0xE0 <= marker <= 0xEF:
        return
    name = content.partition(b"\0")[0]
    if name == b"JFIF":
        if any(content[12:14]):
            yield "a thumbnail"
    elif name == b"JFXX":
        yield "a thumbnail"
    elif name.startswith(b"http://ns.adobe.com/"):
        yield "XMP"
    elif name == b"MPF":
        yield "further pictures"
    elif marker == 0xED:
        yield "IPTC"
    elif name == b"Exif":
        yield from _exif(len(content))
    elif name not in (b"ICC_PROFILE", b"Adobe"):
        yield f"an APP{marker - 0xE0} segment"


def _in_png(data: mmap) -> Iterator[str]:
    place, met = 8, set[bytes]()
    while place + 8 <= len(data):
        name, size = data[place + 4 : place + 8], int.from_bytes(data[place : place + 4], "big")
        content = data[place + 8 : place + 8 + min(size, 80)]
        key = content.partition(b"\0")[0].decode("latin-1")
        late = {b"acTL", b"IDAT"} <= met  # FFmpeg reads what stands before an animation's pictures
        if name == b"iTXt":
            yield "XMP" if key == "XML:com.adobe.xmp" else _text(key)
        elif name == b"eXIf":
            yield from _exif(size)
        elif name in (b"tEXt", b"zTXt") and b"\0" not in content:
            yield _chunk(name)
        elif name in (b"tEXt", b"zTXt") and late:
            yield _text(key)
        elif name == b"IDAT" and b"acTL" in met and b"fcTL" not in met:
            yield INSTEAD
        elif name not in PNG_CHUNKS:
            yield _chunk(name)
        met.add(name)
        place += 12 + size
        if name == b"IEND":
            yield from _behind(data, place)
            return


def _text(key: str) -> str:
    return f"a text called {key}"


def _chunk(name: bytes) -> str:
    return with_article(f"{name.decode('latin-1')} chunk")


def _in_webp(data: mmap) -> Iterator[str]:
    end = min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    place = 12
    while place + 8 <= end:
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if name == b"EXIF":
            yield from _exif(size)
        elif name not in WEBP_CHUNKS:
            yield "XMP" if name == b"XMP " else _chunk(name)
        place += 8 + size + size % 2
    yield from _behind(data, end)


def _in_mp4(data: mmap, path: Path) -> Iterator[str]:
    end, after, samples = len(data), 0, False
    yield from names_in_mp4(data, mp4_boxes(data, 0, end))
    for name, _, stop in mp4_boxes(data, 0, end):  # no list: there may be millions
        after, samples = stop, samples or name == b"mdat"
    if samples and count_unused(data, mp4_boxes(data, 0, end), list_used_bytes(path)) > SLACK:
        yield UNUSED
    if data[after + 4 : after + 8] not in TOP:  # else the file ends within a box
        yield from _behind(data, after)


def _exif(size: int) -> Iterator[str]:
    if size > BARE:
        yield EXIF


def _behind(data: mmap, place: int) -> Iterator[str]:
    """Say that a file goes on after the end of its picture, unless with zeros."""
    if is_filled(data, place, len(data)):
        yield BEHIND

"""How many pictures a file holds, to know when a decoder gives fewer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from av import Packet

from masquerade.video.truncation import jpeg_segments

if TYPE_CHECKING:
    from masquerade.video.probe import VideoInfo

# bytes: MPEG-4 pictures up to this size may repeat the last one, and are not shown then; in still
# and small video others are as small, so that this tells only how many pictures there are at least
_NOT_CODED = 19
NEXT_PICTURE = re.compile(rb"\0*\xff\xd8(?=\xff)")
"""What follows the end of a JPEG where another one is behind it."""
JPEG_FORMAT = "jpeg_pipe"
"""FFmpeg's name of the format of a JPEG file, whose first picture alone is read."""
_MOST_LISTED = 1000  # pictures in the directory of a JPEG
_CAPTURES = ("mpegts", "mpeg", "h264", "hevc", "mpegvideo")  # may begin in the middle of a picture


def is_before_start(pts: int | None, container: str, *, length: int = 0) -> bool:
    """Whether a picture or sound lies wholly before the start that an MP4's edit list sets.

    It lasts `length` ticks from `pts` on. Times of an MP4, FFmpeg's format `container`, are counted
    from there.
    """
    return "mp4" in container and pts is not None and pts < 0 and pts + length <= 0


def is_edited_out(packet: Packet[Any], container: str, *, length: int = 0) -> bool:
    """Whether players skip a packet, since the file's edit list cuts it.

    Its picture or sound lasts `length` ticks. FFmpeg marks such packets, but not those before the
    start of an MP4 in fragments.
    """
    return packet.is_discard or is_before_start(packet.pts, container, length=length)


class PictureCounter:
    """Counts the packets of a video that hold a picture which players show.

    Not counted are what an edit list cuts, hidden reference pictures of VP8 and VP9, and what
    precedes the first keyframe: in time everywhere, in the file where recordings begin anywhere.
    """

    def __init__(self, info: VideoInfo) -> None:
        self._codec, self._container = info.codec, info.container
        self._capture = info.container in _CAPTURES
        self._count, self._leading = 0, False
        self._first: Packet[Any] | None = None  # the first keyframe

    def add(self, packet: Packet[Any]) -> None:
        """Count one packet of the video stream, in the file's order."""
        if not packet.size or is_edited_out(packet, self._container) or self._hidden(packet):
            return
        if self._first is None and packet.is_keyframe:
            self._first = packet
            self._count = 1 if self._capture else self._count + 1
            self._leading = packet.pts is not None
            return
        # What is shown before the first keyframe follows it at once, and may lack its references.
        start = None if self._first is None else self._first.pts
        self._leading &= packet.pts is None or (start is not None and packet.pts < start)
        self._count += not self._leading

    def missing(self, pictures: int, *, interlaced: bool) -> int:
        """How many pictures are missing where so many were decoded."""
        # The two fields of one H.264 picture may come as two packets.
        fields = interlaced and self._codec in ("h264", "hevc")
        return max(0, (self._count // 2 if fields else self._count) - pictures)

    def _hidden(self, packet: Packet[Any]) -> bool:
        return may_show_nothing(packet, self._codec) or is_hidden(packet, self._codec)


class EarlyPictures:
    """Counts the packets of a video that precede its first keyframe, in the file or in time.

    A file that was cut out of a stream has some, which a decoder may leave out for want of others.
    `container` is FFmpeg's name of its format.
    """

    def __init__(self, container: str) -> None:
        self._container = container
        self.count = 0
        self.first: int | None = None  # the keyframe's time in ticks
        self._open = True

    def add(self, packet: Packet[Any]) -> None:
        """Count a packet if it precedes the first keyframe and no edit list cuts it.

        Packets are given in the file's order.
        """
        if not self._open:
            return
        if self.first is None and packet.is_keyframe:
            self.first = packet.pts
            self._open = packet.pts is not None
        elif self.first is None or (packet.pts is not None and packet.pts < self.first):
            self.count += not is_edited_out(packet, self._container)
        else:
            self._open = False


def may_show_nothing(packet: Packet[Any], codec: str) -> bool:
    """Whether a packet of MPEG-4 is so small that it may repeat the last picture, and show none."""
    return codec == "mpeg4" and packet.size <= _NOT_CODED


def is_hidden(packet: Packet[Any], codec: str) -> bool:
    """Whether a packet of VP8 or VP9 is a reference picture that players decode and do not show."""
    if codec not in ("vp8", "vp9") or not packet.size:
        return False
    data = memoryview(packet)
    if codec == "vp8":
        return not data[0] & 0x10
    # show_existing_frame and show_frame, which lie a bit further in profile 3
    shows = 0x05 if data[0] & 0x30 == 0x30 else 0x0A
    return not data[0] & shows and data[-1] & 0xE0 != 0xC0  # no superframe


def has_more_pictures(path: Path, container: str) -> bool:
    """Whether an image file holds pictures beside the one that FFmpeg decodes."""
    check = _CHECKS.get(container)
    if check is None:
        return False
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return check(data)


def _tiff(data: mmap) -> bool:
    """TIFF: the first directory says where the next page's is."""
    return _directory(data, 0)[2] != 0


def _jpeg(data: mmap, *, video: bool = False) -> bool:
    """JPEG: its multi-picture directory lists several pictures, or another JPEG follows it.

    Neither a map of brightness nor a preview of the first is a picture of its own. Of a `video` all
    that follow are read, and so would a preview be.
    """
    listed: bool | None = None
    for marker, start, end in jpeg_segments(data):
        if marker == 0xD9:
            follows = NEXT_PICTURE.match(data, start) is not None
            return follows and not video if listed is None else listed
        content = data[start:end]
        if b"hdrgm:" in content or b"HDRGainMap" in content:
            return False
        if marker == 0xE2 and content.startswith(b"MPF\0"):
            listed = bool(listed) | _lists_several(data, start + 4, end, previews=video)
    return bool(listed)


def _lists_several(data: mmap, base: int, end: int, *, previews: bool) -> bool:
    """Whether a JPEG's multi-picture directory lists several; `previews` of one count, too."""
    tags, number, _ = _directory(data, base)
    count, first = tags.get(0xB001, 0), tags.get(0xB002, 0)
    if count < 2 or previews or count > _MOST_LISTED or not 0 < first <= end - base - 16 * count:
        return count > 1
    kinds = [number(first + 16 * entry, 4) & 0xFFFFFF for entry in range(count)]
    return sum(kind >> 16 != 1 for kind in kinds) > 1


def _directory(data: mmap, base: int) -> tuple[dict[int, int], Callable[[int, int], int], int]:
    """Read a TIFF directory: the first value of each tag, a reader of numbers, and the next offset.

    The reader takes a number's offset from `base` and its size in bytes.
    """
    order: Literal["little", "big"] = "little" if data[base : base + 2] == b"II" else "big"

    def number(place: int, size: int) -> int:
        return int.from_bytes(data[base + place : base + place + size], order)

    first = number(4, 4)
    end = first + 2 + 12 * number(first, 2)
    tags = {number(place, 2): number(place + 8, 4) for place in range(first + 2, end, 12)}
    return tags, number, number(end, 4)


_CHECKS: dict[str, Callable[[mmap], bool]] = {
    "tiff_pipe": _tiff,
    "jpeg_pipe": _jpeg,
    "mjpeg": partial(_jpeg, video=True),
}

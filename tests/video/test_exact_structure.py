"""What the bytes of a file say of its end, exactly: whole, not whole, or nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from test_file_structure import (
    CLUSTER,
    FLV,
    INFO,
    IVF,
    MP4,
    WEBM,
    element,
    flv_tag,
    matroska,
    mp4_box,
    written,
)

from masquerade.video.truncation import ebml_size, is_truncated

FRAGMENT = mp4_box(b"moof", 8) + mp4_box(b"mdat", 30)


def mvhd(duration: int, *, long: bool = False) -> bytes:
    body = struct.pack(">IQQIQ", 1 << 24, 7, 7, 1000, duration) if long else b""
    body = body or struct.pack(">5I", 0, 7, 7, 1000, duration)
    return struct.pack(">I4s", 8 + len(body), b"mvhd") + body


def number(name: str, size: bytes, body: bytes = b"") -> bytes:
    return bytes.fromhex(name) + size + body


SEGMENT = element("1a45dfa3", b"head")
OPEN = b"\x01" + b"\xff" * 7
MATROSKA = {
    "another element behind the head": (SEGMENT + element("1549a966", b"i"), False),
    "a size of one byte": (SEGMENT + number("18538067", b"\x83", b"\xec\x81\0"), False),
    "a size of eight bytes": (
        SEGMENT + number("18538067", b"\x01" + bytes(6) + b"\3", b"\xec\x81\0"),
        False,
    ),
    "an open segment that ends with an element": (matroska(INFO, unknown=True), None),
    "an open segment that ends within one": (matroska(INFO, unknown=True)[:-1], True),
    "a segment that says more than there is": (matroska(INFO, CLUSTER)[:-1], True),
    "a segment and something behind it": (matroska(INFO, CLUSTER) + b"behind", False),
    "an open cluster, and another": (
        matroska(element("1f43b675", element("a3", b"x"), unknown=True), INFO, CLUSTER),
        False,
    ),
    "an empty element": (matroska(element("ec", b""), INFO), False),
    "an open block": (matroska(number("a3", OPEN), INFO), True),
    "an open segment, empty": (SEGMENT + number("18538067", OPEN), None),
    "an id of the same digits the other way": (matroska(element("66a94915", b"i" * 9)), True),
}


@pytest.mark.parametrize("name", MATROSKA)
def test_matroska_is_followed_to_its_end(tmp_path: Path, name: str) -> None:
    content, broken = MATROSKA[name]
    assert is_truncated(written(tmp_path, content), WEBM) is broken


ALLOWED = (
    "114d9b74", "1549a966", "1654ae6b", "1c53bb6b", "1941a469", "1043a770", "1254c367", "e7",
    "a3", "a0", "a7", "ab", "af", "5854", "ec", "bf",
)  # fmt: skip


@pytest.mark.parametrize("name", ALLOWED)
def test_every_element_of_a_segment_may_stand_in_it(tmp_path: Path, name: str) -> None:
    assert is_truncated(written(tmp_path, matroska(element(name, b"12"))), WEBM) is False
    other = f"{int(name, 16) ^ 1:x}"
    if other not in ALLOWED:
        assert is_truncated(written(tmp_path, matroska(element(other, b"12"))), WEBM) is True


def test_sizes_of_ebml_are_read_as_they_are_defined() -> None:
    for length in range(1, 9):
        top = (1 << 7 * length) - 1
        for value in {0, 1, 5, top // 3, top - 1}:
            raw = ((1 << 7 * length) | value).to_bytes(length, "big")
            assert ebml_size(b"??" + raw + b"?", 2) == (value, 2 + length)  # type: ignore[arg-type]
        raw = ((1 << 7 * length) | top).to_bytes(length, "big")
        assert ebml_size(raw, 0) == (None, length)  # type: ignore[arg-type]
    assert ebml_size(b"\x81", 1) == (None, 1)  # type: ignore[arg-type]
    assert ebml_size(b"\0\x81", 0) == (None, 0)  # type: ignore[arg-type]


MP4S = {
    "an index": (mp4_box(b"ftyp", 8) + mp4_box(b"moov", 8), False),
    "an index, and the rest of a box": (mp4_box(b"moov", 8) + bytes(3), False),
    "an index, and a box without a name": (mp4_box(b"moov", 8) + bytes(8), False),
    "fragments that nobody ended": (mvhd(0) + FRAGMENT, None),
    "fragments and how long they are": (mvhd(5) + FRAGMENT, False),
    "fragments and how long they are, in 64 bits": (mvhd(5, long=True) + FRAGMENT, False),
    "fragments that nobody ended, in 64 bits": (mvhd(0, long=True) + FRAGMENT, None),
    "a long time in 64 bits": (mvhd(1 << 32, long=True) + FRAGMENT, False),
    "fragments and their index": (mvhd(0) + FRAGMENT + mp4_box(b"mfra", 8), False),
    "fragments and too little": (mvhd(5) + FRAGMENT[:-1], True),
    "fragments and too much": (mvhd(5) + FRAGMENT + b"1234567", True),
    "fragments and a box of 7": (mvhd(5) + FRAGMENT + mp4_box(b"free", 0, size=7), True),
    "fragments and a box of 8": (mvhd(5) + FRAGMENT + mp4_box(b"free", 0), False),
    "fragments and the last box open": (mvhd(5) + FRAGMENT + mp4_box(b"mdat", 9, size=0), False),
    "a box whose name is no text": (mvhd(5) + FRAGMENT + mp4_box(b"fr\xe9e", 8), True),
    "a long box in the middle": (
        mvhd(5) + mp4_box(b"mdat", 700, long=True) + FRAGMENT,
        False,
    ),
}


@pytest.mark.parametrize("name", MP4S)
def test_boxes_of_mp4_are_followed_to_its_end(tmp_path: Path, name: str) -> None:
    content, broken = MP4S[name]
    assert is_truncated(written(tmp_path, content), MP4) is broken


def pes(size: int, *, told: int | None = None, start: bytes = b"\0\0\1") -> bytes:
    told = max(0, size - 6) if told is None else told
    return (start + b"\xe0" + told.to_bytes(2, "big")).ljust(size, b"p")


def ts(payload: bytes, *, stream: int = 0x101, begins: bool = False, fill: bool = True) -> bytes:
    """A packet of 188 bytes; what the payload leaves is filled up in an adaptation field."""
    head = bytes([0x47, begins << 6 | stream >> 8, stream & 255])
    left = 184 - len(payload)
    if not left:
        return head + b"\x10" + payload
    assert fill and left > 1
    return head + b"\x30" + bytes([left - 1, 0]) + b"\xff" * (left - 2) + payload


def mpegts(*packets: bytes, before: bytes = b"", behind: bytes = b"") -> bytes:
    first = [ts(bytes(184), stream=0x1FFF)] * 9
    return b"".join(before + packet + behind for packet in (*first, *packets))


TOLD = pes(400)
STREAMS = {
    "a packet that is whole": ((ts(TOLD[:184], begins=True), ts(TOLD[184:368]), ts(TOLD[368:])), 0),
    "a packet without its end": ((ts(TOLD[:184], begins=True), ts(TOLD[184:368])), 1),
    "one that fits exactly": ((ts(pes(368)[:184], begins=True), ts(pes(368)[184:])), 0),
    "one byte more told": ((ts(pes(368, told=363)[:184], begins=True), ts(bytes(184))), 1),
    "no length, and an end that is filled": ((ts(pes(100, told=0), begins=True),), 0),
    "no length, and no end": ((ts(pes(184, told=0), begins=True),), 1),
    "no length, filled before the end": (
        (ts(pes(100, told=0), begins=True), ts(bytes(184))),
        1,
    ),
    "no packet of pictures": ((ts(pes(184, told=500, start=b"\0\0\2"), begins=True),), 0),
    "another stream behind it": (
        (ts(TOLD[:184], begins=True), ts(pes(100), stream=0x102, begins=True)),
        1,
    ),
    "the same number in other bits": (
        (ts(TOLD[:184], begins=True), ts(pes(100), stream=0x201, begins=True)),
        1,
    ),
    "an older packet that lacks its end": (
        (ts(TOLD[:184], begins=True), ts(pes(100), begins=True)),
        0,
    ),
    "the middle of a packet": ((ts(bytes(184)), ts(bytes(100))), 0),
}


@pytest.mark.parametrize("size", [188, 192, 204])
@pytest.mark.parametrize("name", STREAMS)
def test_the_last_packets_of_a_transport_stream_are_whole(
    tmp_path: Path, name: str, size: int
) -> None:
    packets, broken = STREAMS[name]
    sides = {188: (b"", b""), 192: (bytes(4), b""), 204: (b"", bytes(16))}[size]
    content = mpegts(*packets, before=sides[0], behind=sides[1])
    expected = True if broken else None
    assert is_truncated(written(tmp_path, content), "mpegts") is expected


def test_a_packet_without_anything_in_it_is_passed_over(tmp_path: Path) -> None:
    empty = ts(TOLD[:184], begins=True), b"G\1\1\x20" + b"\xb7\0" + b"\xff" * 182
    assert is_truncated(written(tmp_path, mpegts(*empty)), "mpegts") is True
    assert is_truncated(written(tmp_path, mpegts(ts(pes(184, told=178), begins=True), empty[1])),
                        "mpegts") is None  # fmt: skip


def test_marks_of_a_transport_stream_are_counted(tmp_path: Path) -> None:
    packet = ts(bytes(184), stream=0x1FFF)
    for count, end, broken in [(8, b"", None), (8, b"?", True), (9, b"?", True), (9, b"", None)]:
        assert is_truncated(written(tmp_path, packet * count + end), "mpegts") is broken
    assert is_truncated(written(tmp_path, packet * 7 + bytes(188) * 3), "mpegts") is None
    assert is_truncated(written(tmp_path, packet * 8 + bytes(188) * 3), "mpegts") is True


PACK2, PACK1 = b"\0\0\1\xba\x44" + bytes(8) + b"\xfa" + b"st", b"\0\0\1\xba\x21" + bytes(7)
PICTURE, END = b"\0\0\1\xe0\0\x09" + bytes(9), b"\0\0\1\xb9"
PS = {
    "ended": (PACK2 + PICTURE + END, False),
    "ended, of the older kind": (PACK1 + PICTURE + END, False),
    "not ended": (PACK2 + PICTURE, None),
    "a long packet": (PACK2 + b"\0\0\1\xe0\1\2" + bytes(258) + END, False),
    "cut": (PACK2 + PICTURE[:-1], True),
    "cut in a pack": (PACK2 + PICTURE + PACK2[:13], True),
    "cut behind a code": (PACK2 + PICTURE + b"\0\0\1", True),
    "something in between": (PACK2 + PICTURE + b"?" + END, True),
    "something before": (b"??" + PACK2 + PICTURE + END, False),
    "a pack at the end": (PACK2 + PICTURE + PACK2, None),
}


@pytest.mark.parametrize("name", PS)
def test_packets_of_a_program_stream_lead_to_its_end(tmp_path: Path, name: str) -> None:
    content, broken = PS[name]
    assert is_truncated(written(tmp_path, content), "mpeg") is broken


CODES = {"mpegvideo": [0xB7], "h264": [10, 11], "hevc": [36, 37]}


@pytest.mark.parametrize("container", CODES)
def test_a_code_ends_video_without_a_container(tmp_path: Path, container: str) -> None:
    for byte in range(256):
        value = {"mpegvideo": byte, "h264": byte & 31, "hevc": byte >> 1 & 63}[container]
        content = b"\0\0\1\x41...\0\0\1" + bytes([byte])
        expected = False if value in CODES[container] else None
        assert is_truncated(written(tmp_path, content), container) is expected
    assert is_truncated(written(tmp_path, b"...\0\0\1"), container) is None


def png_chunk(name: bytes, size: int) -> bytes:
    return struct.pack(">I4s", size, name) + bytes(size) + b"sums"


def asf(size: int, packets: int, *, length: int = 10, broadcast: int = 0, told: int = 0) -> bytes:
    about = bytearray(bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365") + bytes(88))
    body = b"".join((b"\x82" + bytes(length))[:length] for _ in range(packets))
    data = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c") + bytes(34)
    struct.pack_into("<Q", about, 40, told or size)
    struct.pack_into("<Q", about, 56, packets)
    struct.pack_into("<I", about, 88, broadcast)
    struct.pack_into("<I", about, 92, length)
    return b"0&" + bytes(about) + data + body


ASF = asf(216, 6)
VORBIS = b"\0\x08duration\0"


def ivf(frames: int, *sizes: int) -> bytes:
    head = IVF[:24] + struct.pack("<II", frames, 0)
    return head + b"".join(struct.pack("<IQ", size, 0) + bytes(size) for size in sizes)


AVI = b"RIFF" + struct.pack("<I", 12) + bytes(12)
OTHERS = {
    "avi, even": ("avi", b"RIFF" + struct.pack("<I", 12) + bytes(12), False),
    "avi, odd and filled up": ("avi", b"RIFF" + struct.pack("<I", 11) + bytes(12), False),
    "avi, odd": ("avi", b"RIFF" + struct.pack("<I", 11) + bytes(11), False),
    "avi, cut": ("avi", b"RIFF" + struct.pack("<I", 12) + bytes(10), True),
    "avi, open": ("avi", b"RIFF" + bytes(16), None),
    "avi, of two parts": ("avi", AVI * 2, False),
    "avi, second part cut": (
        "avi",
        AVI * 2 + b"RIFF" + bytes([9, 0, 0, 0]),
        True,
    ),
    "webp, cut": ("webp_pipe", b"RIFF" + struct.pack("<I", 300) + bytes(270), True),
    "webp": ("webp_pipe", b"RIFF" + struct.pack("<I", 300) + bytes(300), False),
    "mjpeg, ended": ("mjpeg", b"\xff\xd8..\xff\xd9\r\n\0", None),
    "mjpeg, cut": ("mjpeg", b"\xff\xd8..\xff", True),
    "mjpeg, ended far before": ("mjpeg", b"\xff\xd9" + bytes(1022), None),
    "mjpeg, ended too far before": ("mjpeg", b"\xff\xd9" + bytes(1023), True),
    "gif, ended": ("gif", b"GIF;" + bytes(1023), False),
    "gif, ended too far before": ("gif", b"GIF;" + bytes(1024), True),
    "gif, cut": ("gif", b"GIF;..\r\n\0", True),
    "png": ("png_pipe", b"12345678" + png_chunk(b"IDAT", 300) + png_chunk(b"IEND", 0), False),
    "png, last byte missing": (
        "apng",
        b"12345678" + png_chunk(b"IDAT", 9) + png_chunk(b"IEND", 0)[:-1],
        True,
    ),
    "png, no end": ("apng", b"12345678" + png_chunk(b"IDAT", 9), True),
    "png, something behind": (
        "png_pipe",
        b"12345678" + png_chunk(b"IEND", 0) + b"behind",
        False,
    ),
    "jpeg": ("jpeg_pipe", b"\xff\xd8\xff\xe0\1\2" + bytes(256) + b"\xff\xda.\xff\xd9..", False),
    "jpeg, the end of a small picture in it": (
        "jpeg_pipe",
        b"\xff\xd8\xff\xe0\0\x06\xff\xd9..\xff\xda...",
        True,
    ),
    "jpeg, no end": ("jpeg_pipe", b"\xff\xd8\xff\xda...", True),
    "flv": ("flv", FLV + flv_tag(18, 5) + flv_tag(8, 300) + flv_tag(9, 70), None),
    "flv, cut": ("flv", FLV + flv_tag(8, 300)[:-1], True),
    "flv, cut in a head": ("flv", FLV + flv_tag(8, 300) + flv_tag(9, 3)[:10], True),
    "flv, smallest tag": ("flv", FLV + flv_tag(8, 0), None),
    "flv, another tag": ("flv", FLV + flv_tag(10, 4), True),
    "ivf": ("ivf", ivf(2, 5, 300), False),
    "ivf, of many": ("ivf", ivf(1 << 24, 70000), False),
    "ivf, not ended": ("ivf", ivf(0, 5, 300), None),
    "ivf, cut": ("ivf", ivf(2, 5, 300)[:-1], True),
    "ivf, cut in a head": ("ivf", ivf(2, 5) + bytes(11), True),
    "ivf, an empty frame": ("ivf", ivf(2, 5) + struct.pack("<IQ", 0, 1), True),
    "asf": ("asf", ASF, False),
    "asf, a byte missing": ("asf", ASF[:-1], True),
    "asf, one packet": ("asf", asf(166, 1), False),
    "asf, a broadcast": ("asf", asf(999, 6, broadcast=1), None),
    "asf, a broadcast among others": ("asf", asf(999, 6, broadcast=3), None),
    "asf, another flag": ("asf", asf(999, 6, broadcast=2), True),
    "asf, packets overwritten": ("asf", ASF[:-25] + bytes(25), True),
    "asf, packets missing": ("asf", asf(1, 6)[:-20], True),
    "asf, no packets": ("asf", ASF.replace(bytes.fromhex("3626b2"), b"..."), True),
    "asf, no size": ("asf", ASF.replace(bytes.fromhex("a1dcab"), b"..."), True),
    "asf, no size of packets": ("asf", asf(156, 6, length=0), True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_end_of_other_formats(tmp_path: Path, name: str) -> None:
    container, content, broken = OTHERS[name]
    assert is_truncated(written(tmp_path, content), container) is broken


@pytest.mark.parametrize("place", [0, 700, 65530])
def test_flv_says_how_long_it_is_near_its_begin(tmp_path: Path, place: int) -> None:
    for value, broken in ((b"\0" * 8, None), (b"\0" * 7 + b"1", False), (b"1" + b"\0" * 7, False)):
        body = bytes(place) + VORBIS + value + bytes(4)
        tag = b"\x12" + len(body).to_bytes(3, "big") + bytes(7) + body
        content = FLV + tag + struct.pack(">I", 11 + len(body))
        expected = None if place > 65000 else broken
        assert is_truncated(written(tmp_path, content), "flv") is expected


def ogg_page(stream: int, *sizes: int, last: bool = False, first: bool = False) -> bytes:
    flags = last << 2 | first << 1
    head = b"OggS\0" + bytes([flags]) + bytes(8) + struct.pack("<II", stream, 3)
    table = bytes([len(sizes), *sizes])
    body = bytes(range(1, 200)) * 3
    body = body[: sum(sizes)]
    reg = 0
    for byte in head + bytes(4) + table + body:  # bit by bit, as the format defines it
        reg ^= byte << 24
        for _ in range(8):
            reg = (reg << 1 ^ (0x04C11DB7 if reg & 1 << 31 else 0)) & 0xFFFFFFFF
    return head + reg.to_bytes(4, "little") + table + body


OGG = {
    "one page": (ogg_page(1, 9, last=True), False),
    "two of one stream": (ogg_page(1, 255, 9, first=True) + ogg_page(1, 30, last=True), False),
    "no last one": (ogg_page(1, 255, 9) + ogg_page(1, 30), True),
    "a last one that is not the last": (ogg_page(1, 9, last=True) + ogg_page(1, 9), True),
    "two streams": (ogg_page(1, 9, last=True) + ogg_page(1 << 24, 7, last=True), False),
    "one of two ended": (ogg_page(1, 9) + ogg_page(1 << 24, 7, last=True), True),
    "one page without anything": (ogg_page(4, last=True), False),
    "something behind": (ogg_page(1, 9, last=True) + b"?", True),
}


@pytest.mark.parametrize("name", OGG)
def test_pages_of_ogg_lead_to_its_end(tmp_path: Path, name: str) -> None:
    content, broken = OGG[name]
    assert is_truncated(written(tmp_path, content), "ogg") is broken


def test_every_byte_of_an_ogg_page_is_checked(tmp_path: Path) -> None:
    whole = ogg_page(1, 9, last=True)
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 1
        assert is_truncated(written(tmp_path, bytes(data)), "ogg") is True, place

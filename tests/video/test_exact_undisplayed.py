"""What a file holds and players do not show, byte by byte, on files of a few bytes."""

from __future__ import annotations

import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest

from masquerade.video.undisplayed import undisplayed_content, undisplayed_layers

MP4, WEBM = "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"
OPEN = b"\x01" + b"\xff" * 7


def element(name: str, body: bytes, *, unknown: bool = False) -> bytes:
    size = OPEN if unknown else struct.pack(">H", 0x4000 | len(body))
    return bytes.fromhex(name) + size + body


def track(*parts: bytes) -> bytes:
    entry = element("ae", b"".join(parts))
    return element("1a45dfa3", b"head") + element("18538067", element("1654ae6b", entry))


def video(*parts: bytes) -> bytes:
    return track(element("83", b"\1"), element("e0", b"".join(parts)))


def found(folder: Path, content: bytes, container: str) -> bool:
    path = folder / "file"
    path.write_bytes(content)
    return undisplayed_content(path, container) is not None


def nested(depth: int) -> bytes:
    body = element("54aa", b"\1")
    for _ in range(depth):
        body = element("e0", body)
    return body


SIDES = ("54aa", "54bb", "54cc", "54dd")
MATROSKA = {
    "nothing": (video(element("b0", b"\1")), False),
    **{f"{side} of 1": (video(element(side, b"\0\1")), True) for side in SIDES},
    **{f"{side} of 256": (video(element(side, b"\1\0")), True) for side in SIDES},
    **{f"{side} of 0": (video(element(side, b"\0\0")), False) for side in SIDES},
    "a side behind another element": (video(element("b0", b"77"), element("54dd", b"\1")), True),
    "a side in what is no master": (track(element("e1", element("54aa", b"\1"))), False),
    "a side that is called otherwise": (video(element("54ab", b"\1")), False),
    "a side in the second of two": (
        track(element("e0", b""), element("e0", element("54aa", b"\1"))),
        True,
    ),
    "an open segment": (
        element("18538067", element("1654ae6b", element("ae", nested(1))), unknown=True),
        True,
    ),
    "switched off": (track(element("83", b"\1"), element("b9", b"\0")), True),
    "switched off, told first": (track(element("b9", b""), element("83", b"\1")), True),
    "switched on": (track(element("83", b"\1"), element("b9", b"\1")), False),
    "switched on by 256": (track(element("83", b"\1"), element("b9", b"\1\0")), False),
    "sound that is switched off": (track(element("83", b"\2"), element("b9", b"\0")), False),
    "not said": (track(element("83", b"\1")), False),
    "no type": (track(element("b9", b"\0")), False),
    "8 masters": (nested(8), True),
    "9 masters": (nested(9), False),
    "zeros before it": (b"\0" + nested(1), False),
    "behind clusters of unknown size": (
        element(
            "18538067",
            element("1f43b675", element("a3", b"block"), unknown=True)
            + element("1f43b675", element("e7", b"\1"), unknown=True)
            + element("1043a770", element("45b9", element("45dd", b"\1"))),
            unknown=True,
        ),
        True,
    ),
    "the first of the file": (element("54aa", b"\1"), True),
    "a size beyond the master": (
        track(bytes.fromhex("e0") + b"\x44\0" + element("54aa", b"\1")),
        True,
    ),
}


@pytest.mark.parametrize("name", MATROSKA)
def test_crops_and_switches_of_matroska(tmp_path: Path, name: str) -> None:
    content, hidden = MATROSKA[name]
    assert found(tmp_path, content, WEBM) is hidden
    assert not found(tmp_path, content, "avi")


def box(name: bytes, body: bytes, *, size: int | None = None, long: bool = False) -> bytes:
    if long:
        return struct.pack(">I4sQ", 1, name, 16 + len(body)) + body
    return struct.pack(">I4s", 8 + len(body) if size is None else size, name) + body


def clap(width: int, by: int, height: int, per: int, name: bytes = b"clap") -> bytes:
    return box(name, struct.pack(">8I", width, by, height, per, 0, 1, 0, 1))


def entry(*inner: bytes, size: tuple[int, int] = (640, 300)) -> bytes:
    head = bytes(24) + struct.pack(">2H", *size) + bytes(50)
    return box(b"avc1", head + b"".join(inner))


def movie(*entries: bytes, long: bool = False) -> bytes:
    body = box(b"stsd", struct.pack(">2I", 0, len(entries)) + b"".join(entries))
    for name in (b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        body = box(b"free", b"123") + box(name, body, long=long)
    return box(b"ftyp", b"isom") + body


def deep(depth: int) -> bytes:
    body = box(b"stsd", bytes(8) + entry(clap(1, 1, 1, 1)))
    for _ in range(depth):
        body = box(b"stbl", body)
    return body


WHOLE, CUT = clap(640, 1, 300, 1), clap(638, 1, 300, 1)
MP4S = {
    "nothing": (movie(entry()), False),
    "the whole picture": (movie(entry(WHOLE)), False),
    "the whole picture, in parts": (movie(entry(clap(1280, 2, 900, 3))), False),
    "narrower": (movie(entry(CUT)), True),
    "lower": (movie(entry(clap(640, 1, 299, 1))), True),
    "turned round": (movie(entry(clap(300, 1, 640, 1))), True),
    "of another size": (movie(entry(WHOLE, size=(641, 300))), True),
    "large sides": (movie(entry(clap(40000, 1, 257, 1), size=(40000, 257))), False),
    "behind another box": (movie(entry(box(b"avcC", b"12345"), CUT)), True),
    "in the second entry": (movie(entry(WHOLE), entry(CUT)), True),
    "in boxes of 64 bits": (movie(entry(CUT), long=True), True),
    "a box of another name": (movie(entry(clap(1, 1, 1, 1, b"pasp"))), False),
    "in the last box, open": (box(b"moov", deep(0), size=0), True),
    "behind a box that is too large": (box(b"free", b"", size=9999) + movie(entry(CUT)), False),
    "behind a box of no size": (box(b"free", b"", size=7) + movie(entry(CUT)), False),
    "behind an empty box": (box(b"free", b"") + movie(entry(CUT)), True),
    "8 boxes": (deep(8), True),
    "9 boxes": (deep(9), False),
    "in what leads nowhere": (box(b"free", deep(1)), False),
    "an image": (box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"pict")), True),
    "an image of a film": (box(b"moov", box(b"meta", b"pict")), False),
    "tags": (box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"mdta")), False),
    "the word far behind": (box(b"meta", bytes(61) + b"pict"), False),
    "the word just there": (box(b"meta", bytes(60) + b"pict"), True),
}


@pytest.mark.parametrize("name", MP4S)
def test_crops_and_images_of_mp4(tmp_path: Path, name: str) -> None:
    content, hidden = MP4S[name]
    assert found(tmp_path, content, MP4) is hidden
    assert not found(tmp_path, content, "avi")


def layers(
    data: bytes | None, *, codec: str = "hevc", pixels: str = "yuv420p", **tags: str
) -> bool:
    context = SimpleNamespace(name=codec, extradata=data)
    stream: Any = SimpleNamespace(metadata=tags, codec_context=context)
    frame: Any = SimpleNamespace(format=av.VideoFormat(pixels))
    return undisplayed_layers(stream, frame) is not None


def test_layers_are_counted_and_transparency_is_told() -> None:
    assert layers(b"x", codec="vp9", alpha_mode="1") and not layers(b"x", alpha_mode="0")
    for first in range(4):
        for second in range(16):
            data = b"..\x40\x01" + bytes([0xFC | first, second << 4 | 15]) + b"\xff\xff.."
            assert layers(data) is (first > 0 or second > 0)
            assert not layers(data, codec="h264") and not layers(data, pixels="yuva420p")
    assert not layers(None) and not layers(b"..")
    newline = b"\x40\x01\x0a\x0a\xff\xff"
    assert layers(newline)

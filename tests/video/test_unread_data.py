"""What files hold beside the picture that is looked at."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import ffmpeg, make, needs_ffmpeg

from masquerade.attack.file_facts import read_streams, read_tags
from masquerade.attack.finding import Finding
from masquerade.cli import main
from masquerade.video.probe import FrameCount, probe, tally_frames
from masquerade.video.unread_data import list_unread_data

XMP = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta>Jane</x:xmpmeta>"


def still(path: Path) -> Path:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    assert cv2.imwrite(str(path), picture)
    return path


def segment(marker: int, said: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(said) + 2) + said


def chunk(name: bytes, said: bytes) -> bytes:
    return struct.pack(">I", len(said)) + name + said + struct.pack(">I", zlib.crc32(name + said))


def tags(path: Path) -> Finding:
    return read_tags(probe(path))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (segment(0xE1, XMP), "XMP"),
        (segment(0xED, b"Photoshop 3.0\08BIM"), "IPTC"),
        (segment(0xFE, b"12 High Street"), "a comment"),
        (segment(0xE0, b"JFXX\0\x10"), "a thumbnail"),
        (segment(0xE2, b"MPF\0MM"), "further pictures"),
        (segment(0xE5, b"Maker\0"), "an APP5 segment"),
    ],
)
def test_what_a_jpeg_tells_beside_its_picture(tmp_path: Path, more: bytes, named: str) -> None:
    path = still(tmp_path / "a.jpg")
    assert tags(path).level == "nothing"
    data = path.read_bytes()
    path.write_bytes(data[:2] + more + data[2:])
    assert tags(path).level == "recovered" and tags(path).says.endswith(f" in {named}.")


def test_what_lies_behind_a_picture_is_told(tmp_path: Path) -> None:
    """As in a motion photo, which is a JPEG with a video behind it."""
    for name in ("a.jpg", "a.png", "a.webp"):
        path = still(tmp_path / name)
        whole = path.read_bytes()
        path.write_bytes(whole + b"\0" * 100)  # filled up
        assert list_unread_data(path) == ()
        path.write_bytes(whole + b"video")
        assert list_unread_data(path) == ("data behind the picture",)


def test_texts_of_png_and_webp_are_told(tmp_path: Path) -> None:
    path = still(tmp_path / "a.png")
    data = path.read_bytes()
    xmp = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta/>")
    path.write_bytes(data[:33] + xmp + chunk(b"tIME", bytes(7)) + data[33:])
    assert list_unread_data(path) == ("XMP", "a tIME chunk")
    path = still(tmp_path / "a.webp")
    data = path.read_bytes() + b"XMP \x04\0\0\0<x/>"
    path.write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert list_unread_data(path) == ("XMP",)


@needs_ffmpeg
def test_boxes_of_an_mp4_that_no_player_reads_are_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")
    data = path.read_bytes()
    assert list_unread_data(path) == ()
    for box, named in ((b"uuid", "a uuid box"), (b"free", "data in a free box")):
        path.write_bytes(data + struct.pack(">I4s", 24, box) + b"a picture, whole")
        assert list_unread_data(path) == (named,)
    path.write_bytes(data + struct.pack(">I4s", 24, b"free") + bytes(16))
    assert list_unread_data(path) == ()
    path.write_bytes(data[: len(data) // 2])  # cut short, within a box that is known
    assert list_unread_data(path) == ()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif", "bmp"])
def test_our_own_pictures_tell_nothing(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    words = ["anonymize", str(still(tmp_path / "a.png")), "-o", str(out), "--method", "blacken"]
    assert main([*words, "--regions", "frame"]) == 0
    assert tags(out).level == "nothing", tags(out).says


@needs_ffmpeg
def test_frames_that_players_do_not_show_are_recovered(tmp_path: Path) -> None:
    """An edit list hides them from players and decoders, and leaves them in the file."""
    path = make(tmp_path / "a.mp4", "-bf", 0)
    info = probe(path)
    assert tally_frames(path) == FrameCount(25, 0, 0.0) and read_streams(info).level == "nothing"
    data = bytearray(path.read_bytes())
    length = data.index(b"elst") + 12
    data[length : length + 4] = (400).to_bytes(4, "big")  # of a second
    path.write_bytes(data)
    count = tally_frames(path)
    assert count == FrameCount(10, 15, 0.0)
    found = read_streams(info, hidden=count.hidden)
    assert found.level == "recovered"
    assert found.says.startswith("15 frames are in the file that an edit list hides from players")


@needs_ffmpeg
def test_a_second_video_is_recovered_as_nobody_looked_at_it(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:s=64x48:d=0.2", "-f", "lavfi", "-i"),
        *("testsrc=s=64x48:d=0.2", "-map", 0, "-map", 1, "-pix_fmt", "yuv420p", path),
    )
    found = read_streams(probe(path))
    assert found.level == "recovered" and "No attack looked at the pictures" in found.says

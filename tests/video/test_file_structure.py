"""What the bytes of a file say of its end and its pictures, on files of a few bytes."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import pytest
import torch

from masquerade.errors import UsageError
from masquerade.video.color import RGB, Color
from masquerade.video.encoding import (
    CODECS,
    CONTAINERS,
    Encoding,
    container_for,
    encoder_for,
    pixel_format,
    suffix_of,
)
from masquerade.video.pictures import PictureCounter, has_more_pictures
from masquerade.video.probe import VideoInfo, probe_in_process
from masquerade.video.read import read_video
from masquerade.video.rgb_to_yuv import colors_for
from masquerade.video.truncation import is_truncated
from masquerade.video.write import write_video

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"
WEBM = "matroska,webm"


def mp4_box(name: bytes, body: int, *, size: int | None = None, long: bool = False) -> bytes:
    head = 16 if long else 8
    size = head + body if size is None else size
    if long:
        return struct.pack(">I4sQ", 1, name, size) + bytes(body)
    return struct.pack(">I4s", size, name) + bytes(body)


def element(number: str, body: bytes, *, unknown: bool = False) -> bytes:
    size = b"\x01" + b"\xff" * 7 if unknown else bytes([0x40 | len(body) >> 8, len(body) & 255])
    return bytes.fromhex(number) + size + body


def matroska(*parts: bytes, unknown: bool = False) -> bytes:
    return element("1a45dfa3", b"head") + element("18538067", b"".join(parts), unknown=unknown)


def flv_tag(kind: int, body: int) -> bytes:
    return bytes([kind]) + body.to_bytes(3, "big") + bytes(7 + body) + struct.pack(">I", 11 + body)


FLV = b"FLV\x01\x05" + struct.pack(">II", 9, 0)
INFO, CLUSTER = element("1549a966", b"i" * 20), element("1f43b675", element("a3", b"b" * 30))
IVF = b"DKIF\0\0" + struct.pack("<H", 32) + bytes(24)
PACKETS = b"G" + bytes(187)
WHOLE = {
    "fragments": (MP4, mp4_box(b"ftyp", 8) + mp4_box(b"moof", 40) + mp4_box(b"mdat", 99)),
    "fragments, long": (MP4, mp4_box(b"moof", 8) + mp4_box(b"mdat", 300, long=True)),
    "fragments, open": (MP4, mp4_box(b"moof", 8) + mp4_box(b"mdat", 77, size=0)),
    "index": (MP4, mp4_box(b"moov", 8) + mp4_box(b"mdat", 20, size=900)),
    "matroska": (WEBM, matroska(INFO, CLUSTER, CLUSTER)),
    "matroska, live": (
        WEBM,
        matroska(INFO, element("1f43b675", element("a3", b"b"), unknown=True), unknown=True),
    ),
    "flv": ("flv", FLV + flv_tag(18, 5) + flv_tag(8, 300) + flv_tag(9, 70)),
    "mpegts": ("mpegts", PACKETS * 12),
    "mpegts, of a recorder": ("mpegts", (bytes(4) + PACKETS) * 12),
    "mpegts, few packets": ("mpegts", PACKETS * 7 + b"?"),
    "ivf": ("ivf", IVF + struct.pack("<IQ", 5, 0) + bytes(5) + struct.pack("<IQ", 9, 1) + bytes(9)),
    "avi": ("avi", b"RIFF" + struct.pack("<I", 12) + bytes(12)),
    "gif": ("gif", b"GIF89a....;\r\n\0"),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", list(WHOLE))
def test_a_whole_file_is_whole(tmp_path: Path, name: str) -> None:
    container, content = WHOLE[name]
    assert not is_truncated(written(tmp_path, content), container)
    assert not is_truncated(written(tmp_path, content[:-3]), "another format")


@pytest.mark.parametrize("missing", [1, 6])
@pytest.mark.parametrize(
    "name",
    ["fragments", "fragments, long", "matroska", "flv", "mpegts", "mpegts, of a recorder", "ivf"],
)  # fmt: skip
def test_a_file_that_ends_early_is_not(tmp_path: Path, name: str, missing: int) -> None:
    container, content = WHOLE[name]
    assert is_truncated(written(tmp_path, content[:-missing]), container)


@pytest.mark.parametrize(
    ("container", "content"),
    [
        (MP4, mp4_box(b"moof", 8) + mp4_box(b"mdat", 0, size=7) + bytes(30)),
        (MP4, mp4_box(b"moof", 8) + mp4_box(b"\0\0\0\0", 8)),
        (WEBM, matroska(INFO, element("1f43b676", b"x"), CLUSTER)),
        (WEBM, matroska(INFO, element("a3", b"", unknown=True))),
        ("flv", FLV + flv_tag(18, 5) + flv_tag(7, 5)),
        ("mpegts", PACKETS * 9 + bytes(188)),
        ("ivf", IVF + struct.pack("<IQ", 0, 0) + struct.pack("<IQ", 3, 0) + bytes(3)),
        ("avi", b"RIFF" + struct.pack("<I", 12) + bytes(10)),
        ("gif", b"GIF89a....."),
    ],
)
def test_a_part_that_was_overwritten_is_noticed(
    tmp_path: Path, container: str, content: bytes
) -> None:
    assert is_truncated(written(tmp_path, content), container)


def tiff(following: int, *, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}IHHHIII", 8, 1, 256, 3, 1, 40, following)


def test_the_second_page_of_a_tiff_is_noticed(tmp_path: Path) -> None:
    for order in ("<", ">"):
        assert not has_more_pictures(written(tmp_path, tiff(0, order=order)), "tiff_pipe")
        assert has_more_pictures(written(tmp_path, tiff(99, order=order)), "tiff_pipe")
    assert not has_more_pictures(written(tmp_path, tiff(99)), "png_pipe")


@pytest.mark.parametrize("container", ["jpeg_pipe", "mjpeg"])
def test_the_pictures_of_a_phone_are_counted_unless_one_is_a_map(
    tmp_path: Path, container: str
) -> None:
    def segment(marker: int, said: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(said) + 2) + said

    def jpeg(count: int, before: bytes = b"") -> bytes:
        pages = b"MPF\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0xB001, 4, 1, count, 0)
        picture = segment(0xDA, b"") + b"pixels \xff\0 MPF\0"
        return b"\xff\xd8" + segment(0xE1, before) + segment(0xE2, pages) + picture

    assert not has_more_pictures(written(tmp_path, jpeg(1)), container)
    assert has_more_pictures(written(tmp_path, jpeg(2)), container)
    for name in (b"hdrgm:", b"HDRGainMap"):
        assert not has_more_pictures(written(tmp_path, jpeg(2, name)), container)
    assert not has_more_pictures(written(tmp_path, b"\xff\xd8 no directory"), container)
    thumbnail = b"Exif\0\0" + jpeg(1) + b"\xff\xd9"
    assert not has_more_pictures(written(tmp_path, jpeg(1, thumbnail)), container)
    assert has_more_pictures(written(tmp_path, jpeg(2, thumbnail)), container)
    behind = has_more_pictures(written(tmp_path, jpeg(1)[:6] + b"\xff\xd9\xff\xd8\xff"), container)
    assert behind == (container == "jpeg_pipe")


def info(codec: str, container: str = "x", **other: object) -> VideoInfo:
    given = {"path": Path("x"), "kind": "video", "width": 4, "height": 4, **other}
    return VideoInfo(codec=codec, container=container, **given)  # type: ignore[arg-type]


def counted(codec: str, *packets: bytes, container: str = "x", key: int = 0) -> int:
    counter = PictureCounter(info(codec, container))
    for number, content in enumerate(packets):
        packet = av.Packet(content)
        packet.pts, packet.time_base = number, Fraction(1, 25)
        packet.is_keyframe = number == key
        counter.add(packet)
    return counter.missing(0, interlaced=False)


def test_only_pictures_that_are_shown_are_counted() -> None:
    shown, hidden = b"\x10rest", b"\x00rest"
    assert counted("vp8", shown, hidden, shown) == 2
    assert counted("vp9", b"\x82rest", b"\x80rest", b"\x08rest", b"\x80res\xc1") == 3
    assert counted("mpeg4", bytes(20), bytes(19), bytes(20)) == 2
    assert counted("h264", bytes(1), b"", bytes(30)) == 2
    counter = PictureCounter(info("h264"))
    for _ in range(10):
        counter.add(av.Packet(bytes(30)))
    assert counter.missing(4, interlaced=False) == 6 and counter.missing(12, interlaced=False) == 0
    assert counter.missing(4, interlaced=True) == 1  # two fields a picture
    other = PictureCounter(info("mpeg2video"))
    other.add(av.Packet(bytes(30)))
    assert other.missing(0, interlaced=True) == 1


@pytest.mark.parametrize(
    ("codec", "even", "odd", "deep", "lossless"),
    [
        ("h264", "yuv420p", "yuv444p", "yuv420p10le", "rgb24"),
        ("h265", "yuv420p", "yuv444p", "yuv420p10le", "gbrp"),
        ("vp9", "yuv420p", "yuv420p", None, "gbrp"),
        ("av1", "yuv420p", "yuv420p", "yuv420p10le", None),
        ("ffv1", "bgr0", "bgr0", "gbrp16le", "bgr0"),
        ("mjpeg", "yuvj420p", "yuvj420p", None, None),
        ("prores", "yuv422p10le", "yuv444p10le", "yuv422p10le", None),
    ],
)
def test_a_codec_gets_pixels_that_it_holds_at_this_size_and_depth(
    codec: str, even: str, odd: str, deep: str | None, lossless: str | None
) -> None:
    encoding, container = Encoding(codec=codec), "mp4"  # type: ignore[arg-type]
    assert pixel_format(encoding, container, width=64, height=48, deep=False) == even
    for width, height in ((63, 48), (64, 47), (63, 47)):
        assert pixel_format(encoding, container, width=width, height=height, deep=False) == odd
    if deep is None:
        with pytest.raises(UsageError, match="8 bits"):
            pixel_format(encoding, container, width=64, height=48, deep=True)
    else:
        assert pixel_format(encoding, container, width=64, height=48, deep=True) == deep
    spec = CODECS[encoding.codec]
    assert (spec.lossless[1] if spec.lossless else None) == lossless
    assert spec.max_crf == (63 if codec in ("vp9", "av1") else 51)
    assert encoder_for(encoding, bitrate=None)[1].get("crf") == (
        None if spec.crf is None else str(spec.crf)
    )
    assert "crf" not in encoder_for(encoding, bitrate=9000)[1]


def test_every_name_asks_for_its_container_and_gets_it_back() -> None:
    names = {
        "mp4": "mp4", "m4v": "mp4", "mov": "mov", "gif": "gif", "png": "png", "jpg": "jpeg",
        "jpeg": "jpeg", "bmp": "bmp", "tif": "tiff", "tiff": "tiff", "webp": "webp",
    }  # fmt: skip
    for suffix, container in names.items():
        assert container_for(f"a.{suffix}", Encoding()) == container
        assert container_for(suffix_of(container), Encoding()) == container
    for container, codecs in CONTAINERS.items():
        for codec in codecs:
            assert container_for("x" + suffix_of(container), Encoding(codec=codec)) == container


def test_colour_tags_follow_the_pixel_format() -> None:
    tagged = info("h264", color=Color(9, 16, 9, full_range=False))
    assert colors_for(tagged, "yuv420p10le") == tagged.color
    for name in ("rgb24", "bgr0", "gbrp", "pal8"):
        assert colors_for(tagged, name) == Color(9, 16, RGB, full_range=True)
    assert colors_for(tagged, "yuvj420p") == Color(9, 16, 5, full_range=True)
    drawn = info("png", color=Color(1, 13, RGB, full_range=True))
    assert colors_for(drawn, "yuv420p") == Color(1, 13, 1, full_range=False)
    full = info("h264", color=Color(9, 16, 9, full_range=True))
    assert colors_for(full, "yuv422p10le") == full.color
    assert colors_for(full, "yuv422p10le", says_range=False) == tagged.color


@pytest.mark.parametrize("rate", [10, Fraction(30000, 1001), 23.976])
def test_a_clip_in_memory_is_written_at_its_rate_and_in_its_colours(
    tmp_path: Path, rate: float
) -> None:
    """Values a little outside of [0, 1] are cut there and do not wrap around."""
    clip = torch.full((1, 3, 5, 16, 32), 1.0009)
    clip[:, 1] = -0.0009
    clip[:, 2] = 0.5
    path = tmp_path / "a.mkv"
    write_video(path, clip, rate=rate, encoding=Encoding(codec="ffv1"))
    about, video = probe_in_process(path), read_video(path)
    assert float(about.rate) == pytest.approx(float(rate), rel=1e-3)
    assert video.times.tolist() == pytest.approx([k / float(rate) for k in range(5)], abs=2e-3)
    assert (about.width, about.height, about.kind) == (32, 16, "video")
    assert about.sample_aspect == 1 and about.duration == pytest.approx(5 / rate, abs=0.02)
    for plane, value in enumerate((1.0, 0.0, 128 / 255)):
        assert (video.clip[0, plane] - value).abs().max() < 1e-3
    again = tmp_path / "b.mkv"
    write_video(again, video, rate=3, encoding=Encoding(codec="ffv1"))
    assert probe_in_process(again).rate == about.rate  # a video keeps its own
    for wrong in (clip[0], clip[:, :2], clip[:, :, :0], torch.cat([clip, clip])):
        with pytest.raises(UsageError, match="1, 3, T, H, W"):
            write_video(tmp_path / "c.mkv", wrong)
    assert not (tmp_path / "c.mkv").exists()


def test_stills_of_every_kind_are_images_and_in_order(tmp_path: Path) -> None:
    import cv2
    import numpy as np

    for suffix in ("png", "jpg", "bmp", "webp", "tiff"):
        path = tmp_path / f"10.{suffix}"
        cv2.imwrite(str(path), np.full((6, 8, 3), 90, np.uint8))
        about = probe_in_process(path)
        assert (about.kind, about.width, about.height) == ("image", 8, 6)

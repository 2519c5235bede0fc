"""No output says which programs wrote it, in any byte."""

from __future__ import annotations

import re
import secrets
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from clips import frames, make, make_with_sound, needs_ffmpeg, rewrite, streams

from masquerade.video import live_output
from masquerade.video.addresses import Address
from masquerade.video.encoding import CODECS, CONTAINERS, IMAGES, Encoding, suffix_of
from masquerade.video.live_output import CARRIED, LiveWriter
from masquerade.video.probe import VideoInfo
from masquerade.video.timestamps import FrameTime

pytestmark = needs_ffmpeg
# As muxers, encoders, handlers and vendors spell them; "options:" is how x264 lists its settings.
NAMES = re.compile(
    rb"Lav[cf]|Lib[aA]v|[Ff][Ff]mpeg|FFMP|FFV1 |x26[45]|SVT-AV1|[Ll]ibvpx|[Ll]ib[Oo]pus|[Ll]ibwebp|"
    rb"Xiph|LAME|[Ll]ibfdk|[Ll]ibaom|[Hh]andler|[Mm]asquerade|MASQUERADE|[Ss]oftware|options:"
)
CHOICES = [
    (container, Encoding(codec=codec, lossless=lossless))
    for container, codecs in CONTAINERS.items()
    for codec in codecs
    for lossless in (False, True)
    if not (lossless and CODECS[codec].lossless is None)
]


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("source") / "a.mkv"
    return make_with_sound(path, "-c:v", "libx264", "-c:a", "aac", seconds=0.2)


@pytest.mark.parametrize(
    ("container", "encoding"), CHOICES, ids=[f"{c}-{e.codec}-{e.lossless}" for c, e in CHOICES]
)
def test_no_video_names_what_wrote_it(monkeypatch, source, tmp_path, container, encoding):
    # The same sound each time: four letters stand in 100 MB of chance by chance.
    monkeypatch.setattr(secrets, "randbelow", lambda _: 0)
    monkeypatch.setattr(secrets, "choice", max)
    path = tmp_path / f"out{suffix_of(container)}"
    rewrite(source, path, audio="pitch", encoding=encoding, force_8bit=True)
    assert not NAMES.findall(path.read_bytes())
    assert [stream["codec_type"] for stream in streams(path)] == ["video", "audio"]


@pytest.mark.parametrize(
    ("muxer", "codec"), [(muxer, codec) for muxer in ("mpegts", "flv") for codec in CARRIED[muxer]]
)
def test_no_live_video_names_what_wrote_it(monkeypatch, tmp_path, muxer, codec):
    path = tmp_path / "sent"
    if muxer == "flv":  # as of a server, which gets it through another muxer
        monkeypatch.setattr(
            live_output, "_destination", lambda _: (f"[f=flv:fflags=+bitexact]{path}", "tee", {})
        )
    info = VideoInfo(path=Path("x"), kind="video", container="", width=64, height=64)
    encoding = Encoding(codec=codec)
    with LiveWriter(Address(str(path), "pipe", output=True), info=info, encoding=encoding) as sent:
        for number in range(50):
            shade = np.full((64, 64, 3), 5 * number, np.uint8)
            sent.write(shade, FrameTime(number, 1, Fraction(1, 25)))
    data = path.read_bytes()
    assert not NAMES.findall(data) and b"Service" not in data
    assert len(frames(path)) == 50


@pytest.mark.parametrize("kind", IMAGES)
def test_no_image_names_what_wrote_it(tmp_path, kind):
    image = make(tmp_path / "a.png", "-frames:v", 1, "-pix_fmt", "rgb24")
    path = tmp_path / f"out{suffix_of(kind)}"
    rewrite(image, path)
    assert not NAMES.findall(path.read_bytes())


def test_checksums_of_matroska_are_those_of_what_they_cover(source, tmp_path):
    rewrite(source, tmp_path / "out.mkv", metadata="keep")
    data = (tmp_path / "out.mkv").read_bytes()
    found = 0
    for element in re.finditer(rb"(?<!\x53\xab\x84)(\x15\x49\xa9\x66|\x16\x54\xae\x6b)", data):
        length = 9 - data[element.end()].bit_length()
        size = int.from_bytes(data[element.end() : element.end() + length], "big")
        start = element.end() + length
        held = data[start : start + size - (1 << 7 * length)]
        assert held[:2] == b"\xbf\x84"
        assert held[2:6] == crc32(held[6:]).to_bytes(4, "little")
        found += 1
    assert found == 2

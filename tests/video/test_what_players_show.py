"""Only what a player shows is read: crops of the container, transparent parts, coded borders."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ffmpeg, frames, make, needs_ffmpeg

from masquerade.errors import VideoError
from masquerade.video.probe import probe

pytestmark = needs_ffmpeg


def refused(path: Path, says: str) -> None:
    with pytest.raises(VideoError, match=says) as caught:
        probe(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def with_clap(path: Path, width: int, height: int) -> None:
    """Put a clean aperture into an mp4 whose index stands last."""
    data = bytearray(path.read_bytes())
    moov = data.index(b"moov")
    entry = data.index(b"avc1", moov)
    end = entry - 4 + int.from_bytes(data[entry - 4 : entry], "big")
    for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1"):
        place = data.index(name, moov) - 4
        size = int.from_bytes(data[place : place + 4], "big") + 40
        data[place : place + 4] = size.to_bytes(4, "big")
    data[end:end] = struct.pack(">I4s8I", 40, b"clap", width, 1, height, 1, 0, 1, 0, 1)
    path.write_bytes(data)


def test_a_clean_aperture_smaller_than_the_picture_is_refused(tmp_path):
    path = make(tmp_path / "a.mp4")
    whole = path.read_bytes()
    with_clap(path, 64, 48)
    assert len(frames(path)) == 25
    path.write_bytes(whole)
    with_clap(path, 64, 40)
    refused(path, "crop")


def test_boxes_that_lie_in_each_other_without_end_are_left(tmp_path):
    path = make(tmp_path / "a.mp4")
    nested = b"".join(struct.pack(">I4s", 8 * n, b"moov") for n in range(3000, 0, -1))
    path.write_bytes(path.read_bytes() + nested)
    assert probe(path).width == 64


@pytest.mark.parametrize("side", [0xAA, 0xBB, 0xCC, 0xDD])
def test_pixel_crop_of_matroska_is_refused(tmp_path, side):
    path = make(tmp_path / "a.mkv", "-vf", "setsar=4/3")
    data = path.read_bytes()
    shown = data.index(b"\x54\xb0\x81", data.index(b"\x16\x54\xae\x6b"))  # DisplayWidth
    for pixels in (0, 8):
        path.write_bytes(data[:shown] + bytes([0x54, side, 0x81, pixels]) + data[shown + 4 :])
        if not pixels:
            assert probe(path).width == 64
    refused(path, "crop")


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_transparent_webm_is_refused(tmp_path, codec):
    path = tmp_path / "a.webm"
    pattern = ("-f", "lavfi", "-i", "testsrc2=s=64x48:d=0.2,format=yuva420p")
    ffmpeg(*pattern, "-c:v", codec, "-auto-alt-ref", 0, "-pix_fmt", "yuva420p", path)
    refused(path, "transparent")


def test_pictures_that_turn_transparent_later_are_blended_over_black(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("png", rate=10, width=64, height=48, pix_fmt="rgb24")
        for number, kind in enumerate(("rgb24", "rgba", "rgba", "rgb24")):
            pixels = np.full((48, 64, 3 + (kind == "rgba")), 200, np.uint8)
            pixels[..., 3:] = 0
            encoder = av.CodecContext.create("png", "w")
            encoder.width, encoder.height, encoder.pix_fmt = 64, 48, kind
            encoder.time_base = Fraction(1, 10)
            for packet in encoder.encode(av.VideoFrame.from_ndarray(pixels, kind)):
                packet.stream, packet.time_base = stream, Fraction(1, 10)
                packet.pts = packet.dts = number
                out.mux(packet)
    found = frames(path)
    assert [int(frame.rgb().max()) for frame in found] == [200, 0, 0, 200]
    assert int(found[1].rgb((32, 24)).max()) == 0


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_borders_that_only_the_codec_knows_are_cut(tmp_path, codec):
    """Both codecs code whole blocks, and say how much of them is no picture."""
    path = tmp_path / "a.mp4"
    quiet = ("-x265-params", "log-level=error") if codec == "libx265" else ()
    make(path, "-c:v", codec, *quiet, "-pix_fmt", "yuv420p", size="50x38", seconds=0.2)
    assert {frame.rgb().shape for frame in frames(path)} == {(38, 50, 3)}

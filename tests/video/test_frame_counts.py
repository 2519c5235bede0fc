"""Frames are counted also where a file's packets are none: fields of H.264, repeats of MPEG-4."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest
from clips import ffmpeg, frames, make, needs_ffmpeg

from masquerade.video.decoding_process import tally_frames
from masquerade.video.probe import StreamFrames

pytestmark = needs_ffmpeg


def golomb(*values: int) -> str:
    """Numbers as the bits of Exp-Golomb codes."""
    codes = [f"{value + 1:b}" for value in values]
    return "".join("0" * (len(code) - 1) + code for code in codes)


def unit(head: int, bits: str) -> bytes:
    """A unit of H.264; no three bytes of these look like the start of the next one."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return b"\0\0\0\1" + bytes([head]) + int(bits, 2).to_bytes(len(bits) // 8, "big")


def grey_fields(count: int) -> Iterator[bytes]:
    """Grey frames of 64x64 in H.264, two fields each, as camcorders write: x264 writes none."""
    # frame numbers of 4 bits, an order that is that of decoding, 4x2 macroblocks a field
    sequence = f"{77:08b}{0:08b}{30:08b}" + golomb(0, 0, 2, 1) + "0" + golomb(3, 1) + "00100"
    picture = golomb(0, 0) + "00" + golomb(0, 0, 0) + "000" + golomb(0, 0, 0) + "100"
    yield unit(0x67, sequence) + unit(0x68, picture)
    for number in range(count):
        for bottom in (False, True):
            first = not number and not bottom
            slice_head = golomb(0, 7, 0) + f"{number % 16:04b}1{bottom:d}"
            slice_head += golomb(0) + "00" if first else "0"
            grey = golomb(3) + "111"  # a macroblock without differences
            head = 0x65 if first else 0x61
            yield unit(9, "000") + unit(head, slice_head + golomb(0, 1) + grey * 8)


@pytest.mark.parametrize("name", ["a.h264", "a.ts", "a.mp4", "a.mkv"])
def test_two_fields_of_h264_are_one_frame(tmp_path: Path, name: str) -> None:
    raw, path = tmp_path / "a.h264", tmp_path / name
    raw.write_bytes(b"".join(grey_fields(20)))
    if path != raw:
        ffmpeg("-framerate", 25, "-i", raw, "-c", "copy", path)
    assert tally_frames(path) == StreamFrames(20, 0, 0.0)
    assert len(frames(path)) == 20


def test_interlaced_frames_in_one_packet_each_are_counted(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4", "-x264-params", "interlaced=1:bframes=2")
    assert tally_frames(path).shown == len(frames(path)) == 25


def test_pictures_of_mpeg_4_that_are_not_coded_are_no_frames(tmp_path: Path) -> None:
    """An encoder writes them where nothing has changed; a decoder gives nothing for them."""
    plain, path = make(tmp_path / "plain.avi", "-c:v", "mpeg4", rate=10), tmp_path / "a.avi"
    with av.open(str(plain)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        coded = [packet for packet in source.demux(video=0) if packet.size]
        pieces = [bytes(one) for one in coded]
        for place in (4, 7):
            pieces.insert(place, bytes([0, 0, 1, 0xB6, 0x50 | place, 0x9F]))
        for number, piece in enumerate(pieces):
            packet = av.Packet(piece)
            packet.stream, packet.pts, packet.dts = stream, number, number
            packet.time_base, packet.is_keyframe = Fraction(1, 10), not number
            out.mux(packet)
    assert len(pieces) == 12
    assert tally_frames(path).shown == len(frames(path)) == 10
    assert tally_frames(plain).shown == 10


def test_still_video_of_mpeg_4_counts_its_smallest_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=s=32x32:r=25:d=1", "-c:v", "mpeg4", "-g", 100, path)
    with av.open(str(path)) as container:
        assert min(packet.size for packet in container.demux(video=0) if packet.size) < 20
    assert tally_frames(path).shown == len(frames(path)) == 25

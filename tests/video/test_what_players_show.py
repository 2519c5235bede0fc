"""Only what a player shows is read: crops of the container, transparent parts, coded borders."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import av
import numpy as np
import pytest
from clips import ffmpeg, frames, length, make, make_with_sound, needs_ffmpeg, rewrite

from masquerade.errors import VideoError
from masquerade.pipeline.source_warnings import source_warnings
from masquerade.video.encoding import open_encoder
from masquerade.video.probe import (
    list_packets_in_process,
    probe_in_process,
    tally_frames_in_process,
)
from masquerade.video.read import Reader

pytestmark = needs_ffmpeg


def refused(path: Path, says: str) -> None:
    with pytest.raises(VideoError, match=says) as caught:
        probe_in_process(path)
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
    assert probe_in_process(path).width == 64


@pytest.mark.parametrize("side", [0xAA, 0xBB, 0xCC, 0xDD])
def test_pixel_crop_of_matroska_is_refused(tmp_path, side):
    path = make(tmp_path / "a.mkv", "-vf", "setsar=4/3")
    data = path.read_bytes()
    shown = data.index(b"\x54\xb0\x81", data.index(b"\x16\x54\xae\x6b"))  # DisplayWidth
    for pixels in (0, 8):
        path.write_bytes(data[:shown] + bytes([0x54, side, 0x81, pixels]) + data[shown + 4 :])
        if not pixels:
            assert probe_in_process(path).width == 64
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


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
@pytest.mark.parametrize(("codec", "about"), [("libx264", "h264"), ("libx265", "hevc")])
@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_border_is_cut_to_the_column(tmp_path, suffix, codec, about, side):
    """A decoder that may begin its rows anywhere is needed for those at the left."""
    quiet = ("-x265-params", "log-level=error") if codec == "libx265" else ()
    whole = make(tmp_path / f"a.{suffix}", "-c:v", codec, *quiet, size="96x64", seconds=0.2)
    path = tmp_path / f"cut.{suffix}"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", f"{about}_metadata=crop_{side}=8", path)
    rows = slice(8 * (side == "top"), 64 - 8 * (side == "bottom"))
    columns = slice(8 * (side == "left"), 96 - 8 * (side == "right"))
    planes = [frame.picture.to_ndarray(format="gray")[rows, columns] for frame in frames(whole)]
    shown = [frame.picture.to_ndarray(format="gray") for frame in frames(path)]
    assert len(shown) == 5 and all(map(np.array_equal, shown, planes))
    assert probe_in_process(path).hidden_border == 8


def test_an_alpha_layer_of_hevc_is_refused(tmp_path):
    """Another layer may be transparency, which decoders leave out."""
    for suffix in ("mp4", "mkv", "ts", "h265"):
        path = make(tmp_path / f"a.{suffix}", "-c:v", "libx265", "-x265-params", "log-level=error")
        assert probe_in_process(path).width == 64
        data = path.read_bytes()
        one, two = b"\x40\x01\x0c\x01\xff\xff", b"\x40\x01\x0c\x11\xff\xff"
        assert one in data
        path.write_bytes(data.replace(one, two))
        refused(path, "layer")


def test_a_video_track_that_is_switched_off_is_refused(tmp_path):
    path = tmp_path / "a.mkv"
    both = ("-f", "lavfi", "-i", "testsrc2=s=64x48:d=0.2", "-f", "lavfi", "-i", "sine=d=0.2")
    ffmpeg(*both, "-c:v", "libx264", "-c:a", "aac", path)
    data = path.read_bytes()
    for kind in (2, 1):  # of sound, and of video
        before = b"\x9c\x81\x00\x22\xb5\x9c\x83und"  # its pictures are not laced; its language
        at = [found for found in range(len(data)) if data.startswith(before, found)][kind - 1]
        off = data[:at] + b"\xb9\x81\x00\xec\x85" + bytes(5) + data[at + len(before) :]
        path.write_bytes(off)
        if kind == 2:
            assert len(frames(path)) == 5
    refused(path, "switched off")


def test_chapters_that_say_what_is_shown_are_refused(tmp_path):
    """Players show their spans alone; other chapters are places to go to."""
    path, names = tmp_path / "a.mkv", tmp_path / "chapters"
    names.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=400\n")
    whole = make(tmp_path / "whole.mkv")
    ffmpeg("-i", whole, "-i", names, "-map_chapters", 1, "-c", "copy", path)
    assert probe_in_process(path).chapters == 1
    data = path.read_bytes()
    default = data.index(b"\x45\xdb\x81", data.index(b"\x45\xb9"))  # a flag of the edition
    for ordered in (0, 1):
        flag = bytes([0x45, 0xDD, 0x81, ordered])
        path.write_bytes(data[:default] + flag + data[default + 4 :])
        if not ordered:
            assert len(frames(path)) == 25
    refused(path, "chapters")


def test_heif_and_avif_are_refused(tmp_path):
    """Of their tiles, frames and layers FFmpeg gives one."""
    for count in (1, 5):
        path = tmp_path / f"{count}.avif"
        with av.open(str(path), "w", format="avif") as out:
            stream = out.add_stream("libsvtav1", rate=25, options={"preset": "12"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            open_encoder(stream.codec_context)  # or these tests were real-time processes from here
            for number in range(count):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 9 * number, np.uint8))
                frame.pts = number
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        refused(path, "HEIF")


def test_what_an_edit_list_cuts_is_not_read(tmp_path):
    """Both at the start, where decoding must begin earlier, and at the end."""
    whole = make(tmp_path / "a.mp4", "-bf", 0, seconds=2)
    ffmpeg("-ss", 0.7, "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    shown, cut = frames(whole), frames(tmp_path / "cut.mp4")
    assert len(cut) == 32 and np.array_equal(cut[0].rgb(), shown[18].rgb())
    data = bytearray(whole.read_bytes())
    length = data.index(b"elst") + 12
    data[length : length + 4] = (1000).to_bytes(4, "big")  # of two seconds
    whole.write_bytes(data)
    assert len(frames(whole)) == 25


@pytest.mark.parametrize("reordered", [0, 2])
def test_what_an_edit_list_cuts_of_fragments_is_not_read(tmp_path, reordered):
    """FFmpeg gives it times before 0, and does not mark it as it does in other MP4s."""
    coded = ("-c:v", "libx264", "-preset", "veryfast", "-bf", reordered, "-c:a", "aac")
    whole = make_with_sound(tmp_path / "a.mp4", *coded)
    plain, path = tmp_path / "plain.mp4", tmp_path / "cut.mp4"
    cut = ("-ss", 0.48, "-i", whole, "-c", "copy")
    ffmpeg(*cut, plain)
    ffmpeg(*cut, "-movflags", "frag_keyframe+delay_moov", path)
    assert len(frames(plain)) == len(frames(path)) == 38
    wanted, found = frames(plain)[0], frames(path)[0]
    assert np.array_equal(found.rgb(), wanted.rgb()) and found.time == wanted.time
    assert probe_in_process(path).start == probe_in_process(plain).start
    assert probe_in_process(path).duration == pytest.approx(probe_in_process(plain).duration)
    assert list_packets_in_process(path) == list_packets_in_process(plain)
    tally, other = tally_frames_in_process(path), tally_frames_in_process(plain)
    assert tally == other and tally.hidden == 12 and tally.hidden_sound > 0.4
    assert sum(tally[:2]) == 50
    for choice in ("keep", "pitch"):
        rewrite(path, tmp_path / "out.mp4", audio=choice)
        rewrite(plain, tmp_path / "plain_out.mp4", audio=choice)
        assert length(tmp_path / "out.mp4") == pytest.approx(
            length(tmp_path / "plain_out.mp4"), abs=0.03
        )
        assert length(tmp_path / "out.mp4") < 1.6


def test_the_default_one_of_several_videos_is_read(tmp_path):
    """A track that mp4 does not enable is none."""
    for suffix in ("mp4", "mov", "mkv"):
        path = tmp_path / f"two.{suffix}"
        ffmpeg(
            *("-f", "lavfi", "-i", "testsrc2=s=64x48:d=0.2"),
            *("-f", "lavfi", "-i", "testsrc=s=80x48:d=0.2", "-map", 0, "-map", 1),
            *("-pix_fmt", "yuv420p", "-disposition:v:0", 0, "-disposition:v:1", "default", path),
        )
        assert {frame.rgb().shape for frame in frames(path)} == {(48, 80, 3)}


def test_an_image_that_stands_for_an_animation_is_not_read(tmp_path):
    """APNG may begin with a picture for viewers that know no animation."""
    path = make(tmp_path / "a.apng", "-pix_fmt", "rgb24", seconds=0.2)
    data = path.read_bytes()
    control, picture = data.index(b"fcTL") - 4, data.index(b"IDAT") - 4
    end = picture + 12 + int.from_bytes(data[picture : picture + 4], "big")
    first, second = data[control:picture], data[picture:end]
    white = tmp_path / "white.png"
    ffmpeg("-f", "lavfi", "-i", "color=white:s=64x48", "-frames:v", 1, "-pix_fmt", "rgb24", white)
    other = white.read_bytes()
    other = other[other.index(b"IDAT") - 4 : other.index(b"IEND") - 4]
    body = b"fdAT" + bytes(4) + second[8:-4]
    moved = (len(body) - 4).to_bytes(4, "big") + body + crc32(body).to_bytes(4, "big")
    wanted = [frame.rgb() for frame in frames(path)]
    path.write_bytes(data[:control] + other + first + moved + data[end:])
    found = [frame.rgb() for frame in frames(path)]
    assert len(found) == 5 and all(map(np.array_equal, found, wanted))


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_both_fields_and_both_eyes_are_read_as_players_show_them(tmp_path, codec):
    """Interlaced pictures hold both fields, HEVC's fields come apart; views lie side by side."""
    pattern = ("-f", "lavfi", "-i", "testsrc2=s=64x48:d=0.4:r=50")
    stereo = ("-c:v", "libx264", "-x264-params", "frame-packing=3")
    ffmpeg(*pattern, *stereo, "-pix_fmt", "yuv420p", tmp_path / "eyes.mkv")
    eyes = frames(tmp_path / "eyes.mkv")
    assert len(eyes) == 20 and eyes[0].rgb().shape == (48, 64, 3)
    assert np.ptp(eyes[0].rgb()[:, :32]) > 99 and np.ptp(eyes[0].rgb()[:, 32:]) > 99
    path = tmp_path / "fields.mkv"
    if codec == "libx264":
        ffmpeg(*pattern, "-vf", "interlace", "-flags", "+ildct+ilme", "-pix_fmt", "yuv420p", path)
        number, lines = 10, 48
    else:
        fields = ("-c:v", codec, "-x265-params", "interlace=tff:log-level=error")
        ffmpeg(*pattern, *fields, "-pix_fmt", "yuv420p", path)
        number, lines = 20, 48
    assert probe_in_process(path).interlaced
    found = frames(path)
    assert len(found) == number and {frame.rgb().shape for frame in found} == {(lines, 64, 3)}


@pytest.mark.parametrize("remote", [False, True])
def test_fields_that_come_later_are_counted(tmp_path: Path, remote: bool) -> None:
    """Broadcasts change between films and studio pictures; the first picture tells of neither."""
    coded = ("-c:v", "libx264", "-bf", 0, "-bsf:v", "h264_mp4toannexb")
    one = make(tmp_path / "one.h264", *coded, seconds=0.4)
    two = make(tmp_path / "two.h264", *coded, "-x264-params", "tff=1", seconds=0.2)
    one.write_bytes(one.read_bytes() + two.read_bytes())
    path = tmp_path / "both.mkv"
    ffmpeg("-i", one, "-c", "copy", path)
    with Reader(path, trusted=not remote) as reader:
        assert not reader.info.interlaced
        assert sum(1 for _ in reader) == 15 and reader.interlaced == 5
        (said,) = (
            one
            for one in source_warnings(
                reader, frames=15, gpu=False, repaired=reader.repaired_timestamps
            )
            if "fields" in one
        )
    assert "interlaced" in said

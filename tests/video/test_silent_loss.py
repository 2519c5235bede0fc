"""Pictures that a decoder or demuxer drops in silence are noticed, and healthy files pass."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import ffmpeg, frames, make, make_with_sound, needs_ffmpeg, rewrite

from masquerade.errors import VideoError
from masquerade.video.decoding import Decoder
from masquerade.video.probe import (
    StreamFrames,
    list_packets_in_process,
    probe_in_process,
    tally_frames_in_process,
)
from masquerade.video.read import Reader
from masquerade.video.truncation import is_truncated

pytestmark = needs_ffmpeg
X264 = ("-c:v", "libx264", "-g", 10, "-c:a", "aac")
X265 = ("-c:v", "libx265", "-x265-params", "log-level=error:keyint=10:bframes=3")
FRAGMENTS = ("-movflags", "frag_keyframe+empty_moov")
FORMATS = {
    "a.ts": X264,
    "a.wmv": ("-c:v", "wmv2", "-c:a", "wmav2"),
    "a.flv": ("-c:v", "flv1", "-c:a", "mp3", "-ar", 44100),
    "a.mp4": (*X264, *FRAGMENTS),
    "a.webm": ("-c:v", "libvpx", "-auto-alt-ref", 1, "-lag-in-frames", 16, "-c:a", "libopus"),
    "a.mkv": X264,
    "a.ogv": ("-c:v", "libtheora", "-c:a", "libopus"),
    "a.ivf": ("-c:v", "libvpx", "-auto-alt-ref", 1, "-lag-in-frames", 16, "-an"),
}


def refused(path: Path, says: str = "salvage") -> None:
    with pytest.raises(VideoError, match=says) as caught:
        frames(path)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_missing_and_overwritten_parts_are_noticed(tmp_path, name):
    whole = make_with_sound(tmp_path / name, *FORMATS[name])
    assert len(frames(whole)) == (39 if name == "a.ogv" else 50)  # repeated ones are empty
    data, broken = whole.read_bytes(), tmp_path / f"broken-{name}"
    for part in (5, 9, 14):
        broken.write_bytes(data[: len(data) * part // 16 // 188 * 188 + 101])
        refused(broken)
        middle = slice(len(data) * part // 16, len(data) * (part + 2) // 16)
        zeroed = bytearray(data)
        zeroed[middle] = bytes(middle.stop - middle.start)
        broken.write_bytes(zeroed)
        refused(broken)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("start", [0.5, 3])
def test_a_whole_file_is_whole_wherever_its_times_begin(tmp_path, name, start):
    path = make_with_sound(tmp_path / name, *FORMATS[name], "-output_ts_offset", start)
    info, found = probe_in_process(path), frames(path)
    assert len(found) == (39 if name == "a.ogv" else 50)
    assert found[0].time >= start - 0.1 or name == "a.mp4"  # whose fragments begin at 0
    assert info.duration == pytest.approx(2, abs=0.1)
    assert float(found[-1].duration * found[-1].time_base) == pytest.approx(0.04, abs=0.05)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2 // 188 * 188 + 101])
    refused(path)


PACKETS = {  # formats whose end nothing marks, in packets that end whole
    "a.ts": ("-c:v", "mpeg2video", "-b:v", "2M", "-c:a", "mp2"),
    "a.mpg": ("-c:v", "mpeg2video", "-b:v", "2M", "-c:a", "mp2"),
    "a.mjpeg": ("-c:v", "mjpeg", "-an"),
    "a.apng": ("-pix_fmt", "rgb24", "-an"),
}


@pytest.mark.parametrize("name", PACKETS)
def test_an_end_in_the_middle_of_a_picture_is_noticed(tmp_path, name):
    whole = make_with_sound(tmp_path / name, *PACKETS[name])
    assert len(frames(whole)) == 50
    data, broken = whole.read_bytes(), tmp_path / f"broken-{name}"
    if name == "a.ts":  # behind a packet that begins a picture or sound, and does not end it
        begins = [at for at in range(188 * 40, len(data) - 188, 188) if data[at + 1] & 64]
        after = [at + 188 for at in begins]
        ends = [
            at
            for at in after
            if data[at + 1] == data[at - 187] & 63 and data[at + 2] == data[at - 186]
        ]
    else:
        ends = [len(data) * part // 16 for part in range(5, 15)]
    assert len(ends) > 5
    for end in ends[:20]:
        broken.write_bytes(data[:end])
        refused(broken)


ENDS = {  # what ends a file, of formats that know an end; b"": nothing does
    "a.ts": (X264, b""),
    "a.mpg": (("-c:v", "mpeg2video", "-c:a", "mp2"), b"\0\0\1\xb9"),
    "a.m2v": (("-c:v", "mpeg2video", "-an"), b"\0\0\1\xb7"),
    "a.h264": (("-c:v", "libx264", "-an"), b"\0\0\1\x0b"),
    "a.hevc": (("-c:v", "libx265", "-x265-params", "log-level=error", "-an"), b"\0\0\1\x4a\1"),
    "a.mjpeg": (("-c:v", "mjpeg", "-an"), b""),
}


@pytest.mark.parametrize("name", ENDS)
def test_formats_that_do_not_say_where_they_end(tmp_path, name):
    options, end = ENDS[name]
    path = make_with_sound(tmp_path / name, *options, seconds=0.4)
    container = probe_in_process(path).container
    assert is_truncated(path, container) is None
    if end:
        path.write_bytes(path.read_bytes() + end)
        assert is_truncated(path, container) is False


def test_recordings_that_nobody_ended_do_not_say_where_they_end(tmp_path):
    live = {
        "a.mkv": ("-live", 1),
        "a.mp4": ("-movflags", "frag_keyframe+empty_moov+skip_trailer"),
        "a.flv": ("-flvflags", "no_duration_filesize"),
    }
    for name, options in live.items():
        path = make_with_sound(tmp_path / name, *X264[:4], "-c:a", "aac", *options)
        assert is_truncated(path, probe_in_process(path).container) is None, name
    for name in live:
        path = make_with_sound(tmp_path / name, *X264[:4], "-c:a", "aac")
        assert is_truncated(path, probe_in_process(path).container) is False, name
    path = make(tmp_path / "a.avi", "-c:v", "mpeg4")
    assert is_truncated(path, "avi") is False
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes(4) + data[8:])
    assert is_truncated(path, "avi") is None
    path = make(tmp_path / "a.ivf", "-c:v", "libvpx")
    assert is_truncated(path, "ivf") is False
    data = path.read_bytes()
    path.write_bytes(data[:24] + bytes(4) + data[28:])
    assert is_truncated(path, "ivf") is None


def test_a_stream_that_begins_later_is_one_sentence(tmp_path):
    """As in recordings that follow each other: PyAV knows the streams that were there at first."""
    path = make(tmp_path / "a.ts", "-c:v", "mpeg2video", seconds=0.2)
    with (
        Decoder(path, probe_in_process(path)) as decoder,
        pytest.raises(VideoError, match="begins later"),
    ):
        decoder._next(iter(lambda: [][0], None))
    with Decoder(path, probe_in_process(path), salvage=True) as decoder:
        assert decoder._next(iter(lambda: [][0], None)) is None and decoder.losses.damaged == 1


@pytest.mark.parametrize("name", ["a.ts", "a.mpg"])
def test_pictures_that_end_long_before_the_sound_are_missed(tmp_path, name):
    for seconds in (5, 1):
        ffmpeg(
            *("-f", "lavfi", "-i", f"testsrc2=s=64x48:d={seconds}", "-f", "lavfi"),
            *("-i", "sine=d=5", "-c:v", "mpeg2video", "-c:a", "mp2", tmp_path / name),
        )
        if seconds == 5:
            assert len(frames(tmp_path / name)) == 125
    refused(tmp_path / name, "without pictures")
    with Reader(tmp_path / name, salvage=True) as reader:
        assert sum(1 for _ in reader) == 25 and 95 <= reader.lost <= 105 and reader.end_unknown


@pytest.mark.parametrize(("begins", "codec"), [(0, "srt"), (1, "srt"), (1, "webvtt")])
def test_a_subtitle_that_outlasts_the_pictures_is_no_missing_end(
    tmp_path: Path, begins: int, codec: str
) -> None:
    """Matroska's length is that of its longest stream, whatever is in it."""
    text = f"1\n00:00:0{begins},500 --> 00:00:09,000\nThe end\n"
    (tmp_path / "late.srt").write_text(text)
    video = make_with_sound(tmp_path / "video.mkv", "-preset", "ultrafast", "-g", 5)
    path = tmp_path / "a.mkv"
    both = ("-i", video, "-i", tmp_path / "late.srt", "-map", 0, "-map", 1)
    ffmpeg(*both, "-c", "copy", "-c:s", codec, path)
    with Reader(path, salvage=True) as reader:
        assert sum(1 for _ in reader) == 50
        assert (reader.damaged, reader.lost) == (0, 0)
    half = tmp_path / "half.mkv"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(half)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_pictures_that_the_decoder_drops_are_counted(tmp_path, suffix):
    """A slice of HEVC that lost its first bytes makes no picture, and no error either."""
    path, broken = make(tmp_path / f"a{suffix}", *X265), tmp_path / f"broken{suffix}"
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[10:14]:
        at = data.index(packet) + 6
        data[at : at + 6] = bytes(6)
    broken.write_bytes(data)
    refused(broken)
    with Reader(broken, salvage=True) as reader:
        found = sum(1 for _ in reader)
    assert found < 25 and reader.lost == 25 - found


def test_healthy_streams_whose_packets_outnumber_their_pictures(tmp_path):
    """Edit lists, open GOPs that begin with leading pictures, and skipped pictures."""
    whole = make(tmp_path / "x.mp4", *X265, seconds=2)
    ffmpeg("-ss", 0.7, "-i", whole, "-c", "copy", tmp_path / "cut.mp4")
    ffmpeg("-ss", 0.7, "-i", whole, "-c", "copy", tmp_path / "cut.mkv")
    opened = ("-x264-params", "keyint=10:open-gop=1:bframes=3")
    make(tmp_path / "open.mkv", "-preset", "fast", *opened, seconds=2)
    ffmpeg("-ss", 0.7, "-i", tmp_path / "open.mkv", "-c", "copy", tmp_path / "opencut.mkv")
    make(tmp_path / "still.avi", "-c:v", "libxvid", "-bf", 2, "-vf", "select='lt(n,9)',fps=25")
    interlaced = ("-flags", "+ildct+ilme", "-x264-params", "tff=1")
    make(tmp_path / "interlaced.ts", "-preset", "fast", *interlaced)
    capture = make(tmp_path / "capture.ts", "-c:v", "mpeg2video", "-g", 10, "-bf", 2, seconds=2)
    data = capture.read_bytes()
    start = len(data) // 3 // 188 * 188
    capture.write_bytes(data[: 188 * 3] + data[start:])  # as recordings begin
    for path in sorted(tmp_path.iterdir()):
        with Reader(path) as reader:
            assert sum(1 for _ in reader) > 5, path.name
            assert not reader.lost and not reader.damaged, path.name


def test_hidden_reference_pictures_of_vp8_are_not_missed(tmp_path):
    whole, path = make(tmp_path / "a.webm", "-c:v", "libvpx"), tmp_path / "hidden.webm"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size and not packet.is_keyframe:
                hidden = av.Packet(bytes([bytes(packet)[0] & ~0x10]) + bytes(packet)[1:])
                hidden.pts = hidden.dts = packet.pts
                hidden.stream, hidden.time_base = stream, packet.time_base
                out.mux(hidden)
            if packet.size:
                packet.stream, packet.pts, packet.dts = stream, packet.pts + 1, packet.dts + 1
                out.mux(packet)
    with Reader(path) as reader:
        assert sum(1 for _ in reader) == 25 and not reader.damaged
    with av.open(str(path)) as container:
        assert sum(packet.size > 0 for packet in container.demux(video=0)) == 49


def test_hidden_reference_pictures_of_vp8_are_no_frames(tmp_path):
    """Of two passes of libvpx, which writes such pictures into packets of their own."""
    path = tmp_path / "a.webm"
    for number, out in ((1, ("-f", "null", "-")), (2, (path,))):
        source = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=4")
        hidden = ("-auto-alt-ref", 1, "-lag-in-frames", 16, "-arnr-maxframes", 7)
        passes = ("-pass", number, "-passlogfile", tmp_path / "log")
        ffmpeg(*source, "-c:v", "libvpx", "-b:v", "300k", *hidden, *passes, *out)
    with av.open(str(path)) as container:
        sizes = [packet.size for packet in container.demux(video=0) if packet.size]
    assert len(sizes) > 100 and len(frames(path)) == 100
    assert tally_frames_in_process(path) == StreamFrames(100, 0, 0.0)
    packets = list_packets_in_process(path)
    assert len(packets) == 100 and sum(one.bytes for one in packets) == sum(sizes)


def test_small_packets_of_mpeg4_are_frames_where_nothing_moves(tmp_path):
    path = tmp_path / "a.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=96x64:rate=25:duration=1", "-c:v", "mpeg4", path)
    packets = list_packets_in_process(path)
    assert min(one.bytes for one in packets) <= 19
    assert len(packets) == len(frames(path)) == tally_frames_in_process(path).shown == 25


@pytest.mark.parametrize(
    "options", [("mpeg2video", "-flags", "-cgop"), ("libx264", "-x264-params", "open-gop=1")]
)
def test_pictures_before_the_first_keyframe_are_frames_where_a_decoder_gives_them(
    tmp_path, options
):
    """They come behind the keyframe that they are shown before, or a recording begins among them.

    Where an open group of pictures was cut they lack the one before, and no decoder gives them.
    """
    whole, cut = tmp_path / "whole.ts", tmp_path / "cut.ts"
    make(whole, "-c:v", *options, "-bf", 2, "-g", 12, "-sc_threshold", 10**9, seconds=2)
    assert tally_frames_in_process(whole).shown == len(frames(whole)) == 50
    data = whole.read_bytes()
    for part in (data[len(data) // 376 * 188 :], None):
        if part is None:
            ffmpeg("-i", whole, "-ss", 0.5, "-c", "copy", cut)
        else:
            cut.write_bytes(part)
        with av.open(str(cut)) as container:
            packets = sum(packet.size > 0 for packet in container.demux(video=0))
        assert 0 < tally_frames_in_process(cut).shown == len(frames(cut)) <= packets
    assert packets > len(frames(cut)) or options[0] == "libx264"


def grey_jpeg(level: int, *, size: tuple[int, int] = (48, 64)) -> bytes:
    return cv2.imencode(".jpg", np.full((*size, 3), level, np.uint8))[1].tobytes()


def phone_jpeg(tmp_path: Path, more: bytes, *, kind: int | None = None) -> Path:
    """A JPEG that counts two pictures; if nothing follows, one is a map of brightness.

    `kind` is what its directory says of the second one; None: nothing. FFmpeg looks at the first 2
    KB to know a JPEG, and takes several within them for none.
    """
    picture, exif = grey_jpeg(0, size=(480, 640)), b"Exif\0\0" + grey_jpeg(9, size=(8, 8))
    tags = [struct.pack(">HHII", 0xB001, 4, 1, 2)]
    if kind is not None:
        tags.append(struct.pack(">HHII", 0xB002, 7, 32, 38))
    body = b"MPF\0MM\0*" + struct.pack(">IH", 8, len(tags)) + b"".join(tags) + bytes(4)
    body += b"".join(struct.pack(">I12x", one) for one in (0x20030000, kind) if one is not None)
    body += b"hdrgm:" * (not more)
    markers = b"".join(
        struct.pack(">BBH", 0xFF, marker, len(said) + 2) + said
        for marker, said in ((0xE1, exif), (0xE2, body))
    )
    path = tmp_path / "phone.jpg"
    path.write_bytes(picture[:2] + markers + picture[2:] + more * 64 + picture * (more == b"\xff"))
    return path


def test_pictures_behind_the_first_one_never_vanish(tmp_path):
    pages = [np.full((48, 64, 3), level, np.uint8) for level in (40, 200)]
    cv2.imwritemulti(str(tmp_path / "pages.tiff"), pages)
    cv2.imwrite(str(tmp_path / "page.tiff"), pages[0])
    refused(tmp_path / "pages.tiff", "several pictures")
    for behind in (b"\xff", b"\0"):
        refused(phone_jpeg(tmp_path, behind), "several pictures")
    assert probe_in_process(tmp_path / "page.tiff").frames == 1
    assert probe_in_process(phone_jpeg(tmp_path, b"")).frames == 1
    with phone_jpeg(tmp_path, b"").open("ab") as file:  # the map itself
        file.write(grey_jpeg(99))
    assert len(frames(tmp_path / "phone.jpg")) == 1
    (tmp_path / "two.jpg").write_bytes(2 * grey_jpeg(0, size=(480, 640)))
    refused(tmp_path / "two.jpg", "several pictures")
    make(tmp_path / "moving.webp", "-c:v", "libwebp_anim")
    refused(tmp_path / "moving.webp", "no picture")
    make(tmp_path / "moving.png", "-f", "apng", "-pix_fmt", "rgb24")
    assert len(frames(tmp_path / "moving.png")) == 25


@pytest.mark.parametrize("size", [(480, 640), (24, 32)])
def test_the_preview_of_a_camera_is_no_picture_and_is_not_published(tmp_path, size):
    for kind in (0x20003, 0, 0x30000):
        refused(phone_jpeg(tmp_path, b"\0", kind=kind), "several pictures")
    for kind in (0x10001, 0x80010002):
        path = phone_jpeg(tmp_path, b"\0", kind=kind)
        path.write_bytes(path.read_bytes() + (preview := grey_jpeg(200, size=size)))
        assert len(frames(path)) == tally_frames_in_process(path).shown == 1
        rewrite(path, tmp_path / "out.jpg")
        written = (tmp_path / "out.jpg").read_bytes()
        assert written.count(b"\xff\xd8\xff") == 1 and b"MPF" not in written
        assert preview[-50:] not in written


def test_an_image_of_a_folder_that_ends_early_is_noticed(tmp_path):
    """JPEG's decoder fills up what is missing with grey, and says nothing."""
    picture = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture)
    folder, middle = {"rate": Fraction(10)}, tmp_path / "1.jpg"
    assert len(frames(tmp_path, **folder)) == 3
    middle.write_bytes(middle.read_bytes()[:-500])
    with pytest.raises(VideoError, match=r"holds 1\.jpg, which ends early, after 1 frames"):
        frames(tmp_path, **folder)
    with Reader(tmp_path, salvage=True, **folder) as reader:
        assert len(list(reader)) == 3 and reader.damaged == 1

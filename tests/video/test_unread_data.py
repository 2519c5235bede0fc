"""What files hold beside the picture that is looked at."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from contextlib import ExitStack
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import ffmpeg, frames, make, needs_ffmpeg

from masquerade.attack.aligned_frames import check_pair
from masquerade.attack.file_facts import read_streams, read_tags
from masquerade.attack.finding import Finding
from masquerade.attack.paired_frames import read_frames, read_windows
from masquerade.cli import main
from masquerade.video.decoding_process import list_frame_tags
from masquerade.video.frame import Frame
from masquerade.video.probe import StreamFrames, probe_in_process, tally_frames_in_process
from masquerade.video.read import Reader
from masquerade.video.unread_data import MOST_NAMES, list_unread_data

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
    return read_tags(probe_in_process(path))


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


def exif(tag: int, kind: int, value: bytes) -> bytes:
    entry = struct.pack("<HHI", tag, kind, len(value) // (2 if kind == 3 else 1))
    apart = len(value) > 4
    entry += struct.pack("<I", 26) if apart else value.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4) + value * apart


def test_exif_that_ffmpeg_does_not_read_is_told(tmp_path: Path) -> None:
    """It reads the first segment of a JPEG, unless that is broken."""
    path = still(tmp_path / "a.jpg")
    data = path.read_bytes()
    artist, turned = exif(0x13B, 2, b"Jane Doe\0"), exif(0x112, 3, b"\1\0")
    broken = b"II*\0\xff\xff\0\0" + b"Jane Doe" * 4
    for pieces, told in (
        ((artist,), "frame:Artist"),
        ((turned,), ""),
        ((turned, artist), "Exif that is not read"),
        ((artist, artist), "frame:Artist, Exif that is not read"),
        ((broken,), "Exif that is not read"),
    ):
        segments = b"".join(segment(0xE1, b"Exif\0\0" + one) for one in pieces)
        path.write_bytes(data[:2] + segments + data[2:])
        assert tags(path).level == ("recovered" if told else "nothing")
        assert not told or tags(path).says.endswith(f" in {told}.")


@needs_ffmpeg
def test_what_an_animated_png_holds_beside_its_animation_is_told(tmp_path: Path) -> None:
    """Texts after its pictures, and the picture that viewers show who know no animation."""
    path = make(tmp_path / "a.apng", "-pix_fmt", "rgb24", seconds=0.2)
    data = path.read_bytes()
    assert list_unread_data(path) == () and probe_in_process(path).container == "apng"
    end, control = data.index(b"IEND") - 4, data.index(b"fcTL") - 4
    path.write_bytes(data[:end] + chunk(b"tEXt", b"Author\0Jane") + data[end:])
    assert list_unread_data(path) == ("a text called Author",)
    first = still(tmp_path / "b.png").read_bytes()
    first = first[first.index(b"IDAT") - 4 : first.index(b"IEND") - 4]
    path.write_bytes(data[:control] + first + data[control:])
    (told,) = list_unread_data(path)
    assert told.startswith("a picture that is shown instead of the animation")
    path.write_bytes(data[:control] + chunk(b"tEXt", b"no key") + data[control:])
    assert list_unread_data(path) == ("a tEXt chunk",)


def test_what_lies_behind_a_picture_is_told(tmp_path: Path) -> None:
    """As in a motion photo, which is a JPEG with a video behind it."""
    for name in ("a.jpg", "a.png", "a.webp"):
        path = still(tmp_path / name)
        whole = path.read_bytes()
        path.write_bytes(whole + b"\0" * 100)  # filled up
        assert list_unread_data(path) == ()
        path.write_bytes(whole + b"video")
        assert list_unread_data(path) == ("data behind the picture",)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mjpeg", "a.MJPG"])
def test_video_of_jpeg_pictures_is_a_video_with_nothing_behind_it(
    tmp_path: Path, name: str
) -> None:
    """Of two or more FFmpeg takes some for a picture, behind which the others seem to be data."""
    path = tmp_path / name
    make(path, "-f", "mjpeg", "-pix_fmt", "yuvj420p", seconds=0.4)
    info = probe_in_process(path)
    assert (info.kind, tally_frames_in_process(path).shown, len(frames(path))) == ("video", 10, 10)
    assert read_tags(info).level == "nothing"
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 100 + whole)
    assert list_unread_data(path, video=True) == ()
    path.write_bytes(whole + b"a map" + whole)
    assert list_unread_data(path, video=True) == ("data behind the picture",)
    later = whole.index(b"\xff\xd8", 2) + 2
    path.write_bytes(whole[:later] + segment(0xFE, b"12 High Street") + whole[later:])
    assert list_unread_data(path, video=True) == ("a comment",)
    still = path.rename(tmp_path / "a.jpg")
    assert list_unread_data(still) == ("data behind the picture",)


@needs_ffmpeg
def test_a_video_of_jpeg_pictures_is_compared_with_what_was_made_of_it(tmp_path: Path) -> None:
    raw, out = tmp_path / "a.mjpeg", tmp_path / "out.mp4"
    make(raw, "-f", "mjpeg", "-pix_fmt", "yuvj420p", seconds=0.4)
    words = ["anonymize", str(raw), "-o", str(out), "--method", "blacken", "--regions", "frame"]
    assert main(words) == 0
    check_pair(out, raw)


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


@needs_ffmpeg
@pytest.mark.parametrize("box", [b"uuid", b"PICT"])
def test_a_box_before_all_that_a_player_reads_is_told(tmp_path: Path, box: bytes) -> None:
    path = make(tmp_path / "a.mp4", "-movflags", "+empty_moov+default_base_moof+frag_keyframe")
    data = path.read_bytes()
    assert tags(path).level == "nothing"
    path.write_bytes(struct.pack(">I4s", 24, box) + b"a picture, whole" + data)
    found = tags(path)
    assert found.level == "recovered" and f" in a {box.decode()} box." in found.says


@needs_ffmpeg
def test_millions_of_boxes_fill_no_memory(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")
    data = path.read_bytes()

    def peak(boxes: bytes, named: int) -> int:
        path.write_bytes(data + boxes)
        tracemalloc.start()
        try:
            assert len(list_unread_data(path)) == named
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    one = peak(struct.pack(">I4s", 8, b"abcd"), 1)
    assert peak(struct.pack(">I4s", 8, b"abcd") * 20_000, 1) < one + 50_000
    others = [struct.pack(">I4s", 8, f"{number:04d}".encode()) for number in range(5000)]
    assert peak(b"".join(others), MOST_NAMES) < one + 100_000


@needs_ffmpeg
def test_data_in_padding_within_a_box_is_told(tmp_path: Path) -> None:
    """Some programs take tags away by calling them padding, which leaves them in the file."""
    path = make(tmp_path / "a.mp4")
    data = path.read_bytes()
    start = data.index(b"moov") - 4
    size = int.from_bytes(data[start : start + 4], "big")
    assert start + size == len(data)
    for said, told in ((b"a picture, whole", ("data in a free box",)), (bytes(16), ())):
        moov = struct.pack(">I", size + 24) + data[start + 4 :]
        path.write_bytes(data[:start] + moov + struct.pack(">I4s", 24, b"free") + said)
        assert list_unread_data(path) == told


def mp4_box(name: bytes, *said: bytes) -> bytes:
    content = b"".join(said)
    return struct.pack(">I4s", len(content) + 8, name) + content


def put_into(data: bytes, holder: bytes, more: bytes) -> bytes:
    """Put more into a box of an MP4, and into its parents' sizes; the file's index is last."""
    parents = [b"moov", b"trak", b"mdia", b"minf"]
    parents = parents[: parents.index(holder) + 1] if holder in parents else [b"moov", holder]
    changed, start = bytearray(data), 0
    for parent in parents:
        start = data.index(parent, start) - 4
        size = int.from_bytes(data[start : start + 4], "big")
        changed[start : start + 4] = struct.pack(">I", size + len(more))
    return bytes(changed[: start + size] + more + changed[start + size :])


DEVICE = b"<NonRealTimeMeta><Device serialNo='1234567'/></NonRealTimeMeta>"
HANDLER = mp4_box(b"hdlr", bytes(8), b"nrtm", bytes(13))
XML = mp4_box(b"meta", bytes(4), HANDLER, mp4_box(b"xml ", bytes(4), DEVICE))


@needs_ffmpeg
@pytest.mark.parametrize(
    ("more", "named"),
    [
        (XML, "a xml box"),  # as Sony's cameras write
        (mp4_box(b"meta", HANDLER, mp4_box(b"ID32", b"Jane")), "an ID32 box"),  # QuickTime's
        (mp4_box(b"abcd", b"Jane"), "an abcd box"),
        (mp4_box(b"uuid", bytes(16), b"Jane"), "a uuid box"),
        (mp4_box(b"wide", b"Jane"), "data in a wide box"),
    ],
    ids=["xml", "ID32", "abcd", "uuid", "wide"],
)
def test_what_ffmpeg_does_not_read_is_told_in_every_box_of_an_mp4(
    tmp_path: Path, more: bytes, named: str
) -> None:
    path = make(tmp_path / "a.mp4")
    data = path.read_bytes()
    for holder in (b"moov", b"udta", b"trak", b"mdia", b"minf"):
        path.write_bytes(put_into(data, holder, more))
        assert tags(path).level == "recovered", holder
        tag = holder == b"udta" and b"abcd" in more  # FFmpeg reads others there
        assert list_unread_data(path) == (() if tag else (named,)), holder
    path.write_bytes(data + more)
    assert list_unread_data(path) == (named,)


@needs_ffmpeg
def test_boxes_of_another_use_are_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp4")
    data = path.read_bytes()
    for more, named in (
        (mp4_box(b"pdin", b"Jane"), "a pdin box"),
        (mp4_box(b"prft", bytes(24)), "a prft box"),  # the time on the producer's clock
        (mp4_box(b"styp", bytes(range(1, 200))), "data in a styp box"),
        (mp4_box(b"mfra", b"\xff\xd8\xff a picture"), "data in a mfra box"),
        (mp4_box(b"moov"), "a second moov box"),
    ):
        path.write_bytes(data + more)
        assert list_unread_data(path) == (named,)


@needs_ffmpeg
def test_samples_that_no_stream_uses_are_recovered(tmp_path: Path) -> None:
    """As where a stream was taken out of the index: all of its pictures stay in the file."""
    raw, hidden, path = tmp_path / "raw.mp4", tmp_path / "hidden.mp4", tmp_path / "a.mp4"
    make(raw)
    make(hidden, "-vf", "drawbox=t=fill")
    ffmpeg("-i", hidden, "-i", raw, "-map", "0:v", "-map", "1:v", "-c", "copy", path)
    data = bytearray(path.read_bytes())
    assert list_unread_data(path) == ()
    second = data.index(b"trak", data.index(b"trak") + 1)
    data[second : second + 4] = b"free"
    size = int.from_bytes(data[second - 4 : second], "big")
    data[second + 4 : second - 4 + size] = bytes(size - 8)
    path.write_bytes(data)
    assert len(probe_in_process(path).streams) == 1
    assert list_unread_data(path) == ("data that no stream uses",)
    whole = raw.read_bytes()
    for more, told in (
        (b"\xff\xd8\xff a whole picture", ("data that no stream uses",)),
        (b"\0", ()),
    ):
        raw.write_bytes(whole + mp4_box(b"mdat", more))
        assert list_unread_data(raw) == told


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.mp4", "-movflags +faststart"),
        ("a.mp4", "-movflags +frag_keyframe+empty_moov"),
        ("a.mp4", "-movflags +dash+delay_moov+global_sidx -frag_duration 200000"),
        ("a.mp4", "-movflags +frag_every_frame -ss 0.3"),
        ("a.mp4", "-c:a mp3"),
        ("a.mp4", "-moov_size 90000"),
        ("a.mov", "-c:a pcm_s24le -timecode 01:02:03:04"),
        ("a.mov", "-c:a adpcm_ima_qt"),
        ("a.mov", "-c:v mjpeg -pix_fmt yuvj420p"),
    ],
)
def test_ordinary_files_have_all_samples_in_use(tmp_path: Path, name: str, options: str) -> None:
    chapters, path = tmp_path / "chapters.txt", tmp_path / name
    chapters.write_text(";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=one\n")
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"),
        *("-i", chapters, "-map_metadata", 2, "-pix_fmt", "yuv420p", *options.split(), path),
    )
    assert list_unread_data(path) == ()
    ffmpeg("-ss", "0.4", "-i", path, "-t", "0.3", "-c", "copy", tmp_path / f"cut_{name}")
    assert list_unread_data(tmp_path / f"cut_{name}") == ()


@needs_ffmpeg
def test_a_border_that_was_cropped_without_encoding_anew_is_recovered(tmp_path: Path) -> None:
    whole, cropped = make(tmp_path / "a.mp4", size="640x480"), tmp_path / "b.mp4"
    ffmpeg("-i", whole, "-c", "copy", "-bsf:v", "h264_metadata=crop_right=340", cropped)
    assert read_streams(probe_in_process(whole)).level == "nothing"
    found = read_streams(probe_in_process(cropped))
    assert found.level == "recovered" and found.says.startswith(
        "340 pixels of the picture's border"
    )


@needs_ffmpeg
def test_what_names_no_known_encoder_is_left(tmp_path: Path) -> None:
    path, out = make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    assert tags(path).level == "nothing", tags(path).says
    named = "handler_name=maria_lopez_2024-03-05.h264@GPAC0.5.2"
    ffmpeg("-i", path, "-c", "copy", "-metadata:s:v:0", named, out)
    assert tags(out).level == "left" and "in stream0:handler_name:" in tags(out).says
    assert "maria" not in tags(out).says


@needs_ffmpeg
def test_a_message_between_frames_that_no_known_encoder_writes_is_left(tmp_path: Path) -> None:
    path, out = make(tmp_path / "a.mp4"), tmp_path / "b.mp4"
    assert list_frame_tags(path) == (["side:SEI_UNREGISTERED"], False)  # x264's own
    message = "sei_user_data=17ee8c60f84d11d98cd60800200c9a66+N52.51E13.40"
    ffmpeg("-i", path, "-c", "copy", "-bsf:v", f"h264_metadata={message}", out)
    names, other = list_frame_tags(out)
    assert other
    found = read_tags(probe_in_process(out), frame_tags=names, other_messages=other)
    assert found.level == "left" and "a message between its frames" in found.says


@needs_ffmpeg
def test_tags_of_frames_beside_damaged_ones_are_told(tmp_path: Path) -> None:
    path, out = make(tmp_path / "a.mp4", "-g", 5), tmp_path / "b.mp4"
    message = "sei_user_data=17ee8c60f84d11d98cd60800200c9a66+N52.51E13.40"
    ffmpeg("-i", path, "-c", "copy", "-bsf:v", f"h264_metadata={message}", out)
    data = bytearray(out.read_bytes())
    begins, ends = data.index(b"mdat") + 4, data.index(b"moov") - 4
    for place in range((begins + ends) // 2, ends):
        data[place] ^= 0x5A
    out.write_bytes(data)
    assert list_frame_tags(out) == (["side:SEI_UNREGISTERED"], True)


@needs_ffmpeg
def test_tags_of_later_frames_are_told(tmp_path: Path) -> None:
    path, out = tmp_path / "a.avi", tmp_path / "b.avi"
    make(path, "-c:v", "mjpeg", "-pix_fmt", "yuvj420p", "-q:v", 2, seconds=0.4)
    assert list_frame_tags(path) == ([], False)
    more = segment(0xE1, b"Exif\0\0" + exif(0x13B, 2, b"Jane Doe\0"))
    with av.open(str(path)) as source, av.open(str(out), "w") as written:
        stream = written.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                data = bytes(packet)
                marked = av.Packet(data[:2] + more + data[2:] if number == 3 else data)
                marked.pts, marked.dts, marked.time_base = packet.pts, packet.dts, packet.time_base
                marked.stream, marked.is_keyframe = stream, True
                written.mux(marked)
    names, _ = list_frame_tags(out)
    found = read_tags(probe_in_process(out), frame_tags=names)
    assert found.level == "recovered" and "frame:Artist" in found.says


def test_transparent_pixels_are_looked_at(tmp_path: Path) -> None:
    pixels = np.full((48, 64, 4), 255, np.uint8)
    pixels[:, :32] = 100, 100, 100, 0
    assert cv2.imwrite(str(tmp_path / "a.png"), pixels)
    for opaque, shown in ((False, 0), (True, 100)):
        with Reader(tmp_path / "a.png", opaque=opaque) as reader:
            (frame,) = (item.rgb() for item in reader if isinstance(item, Frame))
            assert (frame[:, :32] == shown).all() and (frame[:, 32:] == 255).all()
    with ExitStack() as stack:
        (window,) = read_windows(tmp_path / "a.png", None, [0])
        assert (window.published[:, :32] == 100).all()
        (timed,) = read_frames(stack, tmp_path / "a.png")  # as raw video is compared with
        assert not timed.pixels[:, :32].any()


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
    info = probe_in_process(path)
    assert (
        tally_frames_in_process(path) == StreamFrames(25, 0, 0.0)
        and read_streams(info).level == "nothing"
    )
    data = bytearray(path.read_bytes())
    length = data.index(b"elst") + 12
    data[length : length + 4] = (400).to_bytes(4, "big")  # of a second
    path.write_bytes(data)
    count = tally_frames_in_process(path)
    assert count == StreamFrames(10, 15, 0.0)
    found = read_streams(info, hidden=count.hidden)
    assert found.level == "recovered"
    assert found.says.startswith("15 frames are in the file that an edit list hides from players")


@needs_ffmpeg
def test_all_frames_that_an_edit_list_hides_are_counted(tmp_path: Path) -> None:
    """FFmpeg gives none of those that lie beyond the keyframes around what is shown."""
    path = make(tmp_path / "a.mp4", "-bf", 0, "-g", 10, seconds=8)
    whole = path.read_bytes()
    edit = whole.index(b"elst") + 12
    for start, milliseconds, shown in ((0, 400, 10), (4.8, 3200, 80), (5, 3000, 75)):
        data = bytearray(whole)
        ticks = int(start * probe_in_process(path).time_base.denominator)
        data[edit : edit + 8] = struct.pack(">II", milliseconds, ticks)
        path.write_bytes(data)
        assert tally_frames_in_process(path) == StreamFrames(shown, 200 - shown, 0.0)


@needs_ffmpeg
def test_a_second_video_is_recovered_as_nobody_looked_at_it(tmp_path: Path) -> None:
    path = tmp_path / "two.mp4"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=black:s=64x48:d=0.2", "-f", "lavfi", "-i"),
        *("testsrc=s=64x48:d=0.2", "-map", 0, "-map", 1, "-pix_fmt", "yuv420p", path),
    )
    found = read_streams(probe_in_process(path))
    assert found.level == "recovered" and "No attack looked at the pictures" in found.says

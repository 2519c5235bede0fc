"""Probing: what good files hold, and that all others are refused in one sentence."""

from __future__ import annotations

import os
import socket
import struct
import threading
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from clips import WILD, ffmpeg, make, make_with_sound, needs_ffmpeg, needs_wild
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from masquerade.errors import VideoError
from masquerade.video.probe import images_in, probe_in_process
from masquerade.video.read import Reader

pytestmark = needs_ffmpeg
PNG = cv2.imencode(".png", np.full((20, 30, 3), 90, np.uint8))[1].tobytes()


def refused(path: Path | str, *words: str, **options: object) -> None:
    """One plain sentence, with these words, and no second line."""
    with pytest.raises(VideoError) as caught:
        probe_in_process(path, **options)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    for word in words:
        assert word in message


def test_size_time_codec_and_streams(tmp_path):
    path = make_with_sound(tmp_path / "a.mp4", "-c:v", "libx264", "-c:a", "aac", rate="30000/1001")
    info = probe_in_process(path)
    assert (info.kind, info.width, info.height, info.codec) == ("video", 64, 48, "h264")
    assert (info.rate, info.frames, info.bit_depth) == (Fraction(30000, 1001), 60, 8)
    assert info.duration == pytest.approx(2.002, abs=0.001)
    assert [s.kind for s in info.streams] == ["video", "audio"]
    assert [s.codec for s in info.streams] == ["h264", "aac"]
    assert info.bitrate and not info.interlaced and not info.has_alpha


@pytest.mark.parametrize(
    ("turn", "rotation", "upright"), [(0, 0, (64, 48)), (90, 270, (48, 64)), (270, 90, (48, 64))]
)
def test_size_is_upright(tmp_path, turn, rotation, upright):
    plain = make(tmp_path / "plain.mp4", "-vf", "setsar=4/3")
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", f"rotate={turn}", tmp_path / "turned.mp4")
    info = probe_in_process(tmp_path / "turned.mp4")
    assert (info.rotation, (info.width, info.height)) == (rotation, upright)
    assert info.sample_aspect == (Fraction(3, 4) if rotation else Fraction(4, 3))


def test_tags_are_named_and_their_values_are_nowhere(tmp_path):
    secret = "CANARY-7351"
    tags = ("-metadata", f"title={secret}", "-metadata:s:v", f"handler_name={secret}")
    info = probe_in_process(make(tmp_path / "a.mp4", *tags))
    assert {"title", "stream0:handler_name"} <= set(info.tags)
    assert secret not in repr(info)


def test_a_cover_picture_is_never_the_video(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=red:s=200x200", "-frames:v", 1, tmp_path / "cover.png")
    clip = make(tmp_path / "clip.mp4")
    both = ("-i", tmp_path / "cover.png", "-i", clip, "-map", 0, "-map", 1, "-c", "copy")
    ffmpeg(*both, "-disposition:v:0", "attached_pic", tmp_path / "out.mp4")
    info = probe_in_process(tmp_path / "out.mp4")
    assert (info.width, info.height) == (64, 48)
    assert sorted(s.kind for s in info.streams) == ["picture", "video"]


def test_an_image_folder_is_sorted_as_people_sort(tmp_path):
    for number in (10, 9, 1):
        ffmpeg(
            *("-f", "lavfi", "-i", "color=gray:s=30x20", "-frames:v", 1),
            tmp_path / f"f{number}.png",
        )
    assert [p.name for p in images_in(tmp_path)] == ["f1.png", "f9.png", "f10.png"]
    info = probe_in_process(tmp_path, rate=Fraction(10))
    assert (info.kind, info.frames, info.duration, info.rate) == ("sequence", 3, 0.3, 10)
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=32x20", "-frames:v", 1, tmp_path / "f11.png")
    refused(tmp_path, "f11.png", "one size", rate=Fraction(10))


@pytest.mark.parametrize("options", [("-f", "apng"), ("-f", "mp4")])
def test_a_video_among_the_images_of_a_folder_is_refused(tmp_path, options):
    """Of it the first picture alone would be read."""
    lavfi = ("-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=1")
    ffmpeg(*lavfi, tmp_path / "%d.png")
    ffmpeg("-y", *lavfi, *options, tmp_path / "3.png")
    refused(tmp_path, "3.png is a video", rate=Fraction(5))


@pytest.mark.parametrize("held", [b"", b"text", PNG[:60]], ids=["empty", "text", "cut off"])
def test_an_unreadable_image_of_a_folder_is_refused_with_what_to_do(tmp_path, held):
    """Nothing of it can be salvaged, and its name alone did not tell how to go on without it."""
    for name in ("1.png", "3.png"):
        (tmp_path / name).write_bytes(PNG)
    (tmp_path / "2.png").write_bytes(held)
    refused(tmp_path, "Take 2.png out of the folder", ": 2.png ", rate=Fraction(5))
    (tmp_path / "2.png").unlink()
    assert probe_in_process(tmp_path, rate=Fraction(5)).frames == 2


def test_hidden_files_of_macos_are_no_images(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "color=gray:s=30x20", "-frames:v", 1, tmp_path / "1.png")
    (tmp_path / "._1.png").write_bytes(bytes.fromhex("00051607000200004d6163204f532058"))
    assert [p.name for p in images_in(tmp_path)] == ["1.png"]
    assert probe_in_process(tmp_path, rate=Fraction(10)).frames == 1


@pytest.mark.parametrize("height", [240, 720])  # BT.709 is assumed from 720 lines on
def test_png_and_jpeg_of_one_folder_have_the_same_colours(tmp_path, height):
    picture = np.full((height, 320, 3), (30, 60, 200), np.uint8)
    grey = picture[..., 0]
    shown_by = {"1.png": picture, "2.jpg": picture, "3.png": grey, "5.jpg": grey}
    for name, shown in shown_by.items():
        cv2.imwrite(str(tmp_path / name), shown)
    with Reader(tmp_path, rate=Fraction(10)) as reader:
        colours = [frame.rgb()[9, 9].tolist() for frame in reader]
    assert colours[0] == [200, 60, 30] and colours[2] == [30, 30, 30]
    assert colours[1] == pytest.approx(colours[0], abs=3)
    assert colours[3] == pytest.approx([30, 30, 30], abs=1)
    cv2.imwrite(str(tmp_path / "4.webp"), picture, [cv2.IMWRITE_WEBP_QUALITY, 90])
    refused(tmp_path, "4.webp and 2.jpg", "save all images", rate=Fraction(10))


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile '{}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={}\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "dash": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>{}</BaseURL></MPD>',
    "concat protocol": "concat:{}|{}\n",
    "text": "hello {}\n",
}


def opened_by(action, fifo: Path) -> bool:
    """Whether `action` opens a FIFO for reading, which shows on its other end."""
    over, seen = threading.Event(), threading.Event()

    def watch() -> None:
        while not over.is_set():
            try:
                os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
                seen.set()
            except OSError:
                over.wait(0.001)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        action()
    finally:
        over.set()
        thread.join()
    return seen.is_set()


@pytest.mark.parametrize("suffix", [".mp4", ".txt", ".m3u8", ".sdp", ".ffconcat", ".png"])
@pytest.mark.parametrize("text", PLAYLISTS.values(), ids=PLAYLISTS)
def test_a_playlist_opens_nothing_else(tmp_path, text, suffix):
    os.mkfifo(tmp_path / "other.mp4")
    path = tmp_path / f"list{suffix}"
    path.write_text(text.format("other.mp4", "other.mp4"))
    assert not opened_by(lambda: refused(path, path.name), tmp_path / "other.mp4")


def test_a_format_that_is_not_on_the_list_is_refused(tmp_path):
    for name in ("a.nut", "a.y4m", "a.mxf"):
        refused(make(tmp_path / name), name)


def test_the_proof_above_can_fail(tmp_path):
    os.mkfifo(tmp_path / "other.mp4")
    (tmp_path / "list.mp4").write_text(PLAYLISTS["concat"].format("other.mp4"))

    def careless() -> None:
        with pytest.raises(av.FFmpegError):
            next(av.open(str(tmp_path / "list.mp4")).decode(video=0))

    assert opened_by(careless, tmp_path / "other.mp4")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/a.mp4", "rtsp://h/a", "concat:/a", "data:/a"]
)
def test_addresses_are_refused(address):
    refused(address, "no file is read or written at")


def test_what_is_no_regular_file_is_refused(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "fifo.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "fifo.mp4", "regular file")
    refused(tmp_path / "folder.mp4", "folder")
    refused(tmp_path / "folder.mp4", "no image", rate=Fraction(5))
    refused(tmp_path / "empty.mp4", "empty")
    refused(tmp_path / "missing.mp4", "does not exist")
    refused("/dev/zero", "regular file")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.mp4")
        refused("socket.mp4", "cannot be opened")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(tmp_path):
    path = make(tmp_path / "a.mp4")
    path.chmod(0)
    refused(path, "cannot be opened")


def test_sound_alone_is_no_video(tmp_path):
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", tmp_path / "a.mp4")
    refused(tmp_path / "a.mp4", "no video", "audio")


@pytest.mark.parametrize("size", [(65535, 65535), (0, 0), (65535, 1)])
def test_absurd_sizes(tmp_path, size):
    path = make(tmp_path / "a.avi", "-c:v", "rawvideo")
    data = bytearray(path.read_bytes())
    head = data.index(b"strf") + 12
    data[head : head + 8] = struct.pack("<2i", *size)
    path.write_bytes(data)
    refused(path, "a.avi")


@pytest.mark.parametrize("size", [(16384, 8190), (8193, 8192)])
def test_videos_above_the_ceiling_are_refused_before_decoding(tmp_path, size):
    path = make(tmp_path / "a.avi", "-c:v", "rawvideo")
    data = bytearray(path.read_bytes())
    head = data.index(b"strf") + 12
    data[head : head + 8] = struct.pack("<2i", *size)
    path.write_bytes(data)
    refused(path, f"{size[0]}x{size[1]}", str(2**26))


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=1000))
def test_random_bytes_are_a_plain_error(tmp_path, data):
    path = tmp_path / "random.mp4"
    path.write_bytes(data or b"0")
    refused(path, "random.mp4")


NAMES = [b"%d.mp4", b"a:b.mp4", b"file:x.mp4", b"a|b.mp4", b"-o.mp4", b"a\nb.mp4", b"\xff\xfe.mp4"]


@pytest.mark.parametrize("name", [*NAMES, b"a" * 250 + b".mp4", b"[x]*?.mp4", b"no suffix"])
def test_file_names_are_never_interpreted(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    make(tmp_path / "a.mp4").rename(path)
    assert probe_in_process(path).width == 64


@needs_wild
def test_the_wild_clips():
    import csv

    with (WILD.parent / "wild.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 13
    for row in rows:
        info = probe_in_process(WILD / row["file"])
        upright = (
            (info.height, info.width) if info.rotation in (90, 270) else (info.width, info.height)
        )
        assert f"{upright[0]}x{upright[1]}" == row["size"]
        assert float(info.rate) == pytest.approx(float(row["fps"]), abs=0.01)
        assert info.pix_fmt == row["pix_fmt"]
        assert -info.rotation % 360 == int(row["rotation"]) % 360
        assert any(s.kind == "audio" for s in info.streams) == bool(row["audio"])

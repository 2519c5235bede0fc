"""Reading: orientation, colour, depth, and damage that is never passed over."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import WILD, ffmpeg, frames, make, make_with_sound, needs_ffmpeg, needs_wild

from masquerade.errors import UsageError, VideoError
from masquerade.video.frame import Frame, over_black, upright
from masquerade.video.read import Reader, read_video

pytestmark = needs_ffmpeg
# Four quarters, so that every turn and flip of it is another picture.
QUARTERS = (
    "color=black:s=64x48:d=0.2,drawbox=0:0:32:24:red:t=fill,drawbox=32:0:32:24:lime:t=fill,"
    "drawbox=0:24:32:24:blue:t=fill,drawbox=32:24:32:24:white:t=fill"
)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def quarters(path: Path, *options: object) -> Path:
    """Red and green above, blue and white below."""
    ffmpeg("-f", "lavfi", "-i", QUARTERS, "-pix_fmt", "yuv420p", *options, path)
    return path


def corners(pixels: np.ndarray) -> list[tuple[int, ...]]:
    """The middles of the four quarters, as the nearest of full and no colour."""
    height, width = pixels.shape[:2]
    top = np.iinfo(pixels.dtype).max
    spots = [(y, x) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]
    return [tuple(int(v > top // 2) * 255 for v in pixels[spot]) for spot in spots]


def set_matrix(path: Path, values: tuple[int, ...]) -> None:
    """Write a display matrix into an mp4's track header."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", *values)
    path.write_bytes(data)


ONE, UNIT = 65536, 1073741824
TURNS = {
    "as it is": ((ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT), [RED, GREEN, BLUE, WHITE]),
    "90 clockwise": ((0, ONE, 0, -ONE, 0, 0, 0, 0, UNIT), [BLUE, RED, WHITE, GREEN]),
    "180": ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT), [WHITE, BLUE, GREEN, RED]),
    "270 clockwise": ((0, -ONE, 0, ONE, 0, 0, 0, 0, UNIT), [GREEN, WHITE, RED, BLUE]),
    "mirrored": ((-ONE, 0, 0, 0, ONE, 0, 0, 0, UNIT), [GREEN, RED, WHITE, BLUE]),
    "upside down": ((ONE, 0, 0, 0, -ONE, 0, 0, 0, UNIT), [BLUE, WHITE, RED, GREEN]),
    "transposed": ((0, ONE, 0, ONE, 0, 0, 0, 0, UNIT), [RED, BLUE, GREEN, WHITE]),
    "transverse": ((0, -ONE, 0, -ONE, 0, 0, 0, 0, UNIT), [WHITE, GREEN, BLUE, RED]),
}


@pytest.mark.parametrize(("matrix", "seen"), TURNS.values(), ids=TURNS)
def test_rotation_and_mirroring_are_applied_once(tmp_path, matrix, seen):
    path = quarters(tmp_path / "a.mp4")
    set_matrix(path, matrix)
    frame = frames(path)[0]
    assert frame.rgb().shape == (frame.height, frame.width, 3)
    assert corners(frame.rgb()) == seen
    small = frame.rgb((frame.width // 2, frame.height // 4))
    assert small.shape == (frame.height // 4, frame.width // 2, 3)
    assert corners(small) == seen
    luma = frame.luma((frame.width // 2, frame.height // 4))
    assert luma.shape == small.shape[:2]
    assert corners(np.dstack([luma > 200] * 3) * np.uint8(255)) == [
        WHITE if colour == WHITE else (0, 0, 0) for colour in seen
    ]


@pytest.mark.parametrize("number", range(1, 9))
def test_photos_are_turned_by_their_exif(tmp_path, number):
    path = quarters(tmp_path / "a.jpg", "-frames:v", 1, "-q:v", 2)
    data = path.read_bytes()
    entry = struct.pack(">HHIHH", 0x112, 3, 1, number, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    marker = b"\xff\xe1" + struct.pack(">H", len(body) + 2)
    path.write_bytes(data[:2] + marker + body + data[2:])
    order = [0, 4, 2, 5, 6, 1, 7, 3]
    assert corners(frames(path)[0].rgb()) == list(TURNS.values())[order[number - 1]][1]


MATRICES = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9}


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_tagged_matrix_and_range_are_used(tmp_path, matrix, full):
    scale = f"scale=out_color_matrix={matrix.removesuffix('nc')}:out_range={'pc' if full else 'tv'}"
    scale = scale.replace("smpte170m", "bt601")
    path = tmp_path / "a.mkv"
    ffmpeg(
        *("-f", "lavfi", "-i", "color=0xC04080:s=64x48:d=0.2,format=rgb24", "-vf", scale),
        *("-c:v", "libx264", "-qp", 0, "-pix_fmt", "yuv444p", "-colorspace", matrix),
        *("-color_range", "pc" if full else "tv", path),
    )
    with Reader(path) as reader:
        assert (reader.info.color.matrix, reader.info.color.full_range) == (MATRICES[matrix], full)
        pixels = next(iter(reader)).rgb()
    assert np.abs(pixels.astype(int) - (0xC0, 0x40, 0x80)).max() <= 3


def test_ten_bits_stay_ten_bits(tmp_path):
    path = tmp_path / "a.mkv"
    ramp = "nullsrc=s=256x16:d=0.1,format=gray16,geq=lum='X*257'"
    ffmpeg("-f", "lavfi", "-i", ramp, "-c:v", "ffv1", "-pix_fmt", "gray16le", path)
    deep, flat = frames(path)[0].rgb(), frames(path, force_8bit=True)[0].rgb()
    assert deep.dtype == np.uint16 and flat.dtype == np.uint8
    assert np.abs(deep[8, :, 0] - np.arange(256) * 257.0).max() <= 300
    assert np.abs(flat[8, :, 0] - np.arange(256.0)).max() <= 1
    assert frames(path)[0].rgb((64, 16)).dtype == np.uint8


GREYS = {
    "limited range": ("libx264", "yuv420p", "tv"),
    "full range": ("libx264", "yuvj420p", "pc"),
    "4:2:2": ("libx264", "yuv422p", "tv"),
    "4:4:4, full range": ("libx264", "yuv444p", "pc"),
    "ten bits": ("libx264", "yuv420p10le", "tv"),
    "sixteen bits": ("ffv1", "gray16le", "pc"),
    "RGB": ("ffv1", "bgr0", "pc"),
}


@pytest.mark.parametrize(("codec", "format", "full"), GREYS.values(), ids=GREYS)
def test_luma_of_a_grey_picture_is_its_grey_whatever_stores_it(tmp_path, codec, format, full):
    ramp = "nullsrc=s=258x34:d=0.1,format=gray,geq=lum='min(255,X)'"
    lossless = ("-qp", 0) if codec == "libx264" and "10" not in format else ()
    scale = f"scale=out_range={full}"
    ffmpeg(
        *("-f", "lavfi", "-i", ramp, "-vf", scale, "-c:v", codec, *lossless, "-crf", 1),
        *("-pix_fmt", format, "-color_range", full, tmp_path / "a.mkv"),
    )
    frame = frames(tmp_path / "a.mkv", force_8bit=True)[0]
    for size in ((258, 34), (129, 17)):
        luma = frame.luma(size)
        assert luma.dtype == np.uint8 and luma.shape == size[::-1]
        wanted = np.minimum(255, (np.arange(size[0]) + 0.5) * 258 / size[0] - 0.5)
        assert np.abs(luma[size[1] // 2, 2:-2] - wanted[2:-2]).max() <= 3


def test_transparency_is_blended_over_black(tmp_path):
    path = tmp_path / "a.png"
    picture = av.VideoFrame.from_ndarray(
        np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8), "rgba"
    )
    encoder = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt = 3, 1, "rgba"
    encoder.time_base = 1
    path.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(picture), *encoder.encode(None)]))
    frame = frames(path)[0]
    assert frame.rgb().tolist() == [[[200, 100, 50], [0, 0, 0], [100, 50, 25]]]
    assert frame.luma((3, 1)).tolist() == [[124, 0, 62]]
    grey = "color=white@0.5:s=16x8:d=0.1,format=rgba"
    ffmpeg("-f", "lavfi", "-i", grey, "-frames:v", 1, "-pix_fmt", "ya8", tmp_path / "grey.png")
    assert np.abs(frames(tmp_path / "grey.png")[0].luma((8, 4)).astype(int) - 128).max() <= 2


def test_helpers_keep_the_type():
    deep = np.full((2, 3, 4), 65535, np.uint16)
    assert over_black(deep).dtype == np.uint16 and over_black(deep).max() == 65535
    turned = upright(np.arange(18, dtype=np.uint16).reshape(2, 3, 3), 90, mirrored=True)
    assert turned.dtype == np.uint16 and turned.shape == (3, 2, 3)


def test_a_change_of_size_midway_is_scaled_to_the_first(tmp_path):
    parts = [make(tmp_path / f"{s}.ts", "-c:v", "mpeg2video", size=s) for s in ("64x48", "96x80")]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with Reader(path, salvage=True) as reader:
        shapes = {frame.rgb().shape for frame in reader}
        seen = reader.repaired_timestamps
    assert shapes == {(48, 64, 3)} and seen > 0
    found = frames(path, salvage=True)
    assert {frame.picture.width for frame in found} == {64, 96}
    assert all(a.pts < b.pts for a, b in itertools.pairwise(found))


RECIPES = {
    "moov-first.mp4": ("-c:v", "libx264", "-c:a", "aac", "-movflags", "+faststart"),
    "moov-last.mp4": ("-c:v", "libx264", "-c:a", "aac"),
    "a.mkv": ("-c:v", "libx264", "-c:a", "aac"),
    "a.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-c:a", "libopus"),
    "a.avi": ("-c:v", "mpeg4", "-c:a", "mp3"),
    "a.gif": ("-an", "-pix_fmt", "rgb8"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_truncated_file_is_refused_wherever_it_ends(tmp_path, name):
    whole = make_with_sound(tmp_path / name, *RECIPES[name], "-g", 10)
    data, cut = whole.read_bytes(), tmp_path / f"cut-{name}"
    assert len(frames(whole)) == 50
    rescued = []
    for part in range(1, 16):
        cut.write_bytes(data[: len(data) * part // 16])
        with pytest.raises(VideoError, match=r"^cut-.*\.$"):
            frames(cut)
        try:
            rescued.append(len(frames(cut, salvage=True)))
        except VideoError:
            rescued.append(0)
    assert rescued == sorted(rescued) and rescued[-1] <= 50
    assert (rescued[-1] > 30) != (name == "moov-last.mp4")


def test_a_truncated_photo_is_refused(tmp_path):
    path = make(tmp_path / "a.jpg", "-frames:v", 1, "-update", 1, size="320x240")
    assert len(frames(path)) == 1
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(VideoError, match="ends early"):
        frames(path)
    assert len(frames(path, salvage=True)) == 1


def test_flipped_bits_never_crash_and_never_pass_in_silence(tmp_path):
    path = make(tmp_path / "a.mp4", "-movflags", "+faststart", seconds=2)
    clean = bytearray(path.read_bytes())
    start = clean.index(b"mdat") + 4
    random, noticed = np.random.default_rng(0), 0
    for _ in range(12):
        data = clean.copy()
        for place in random.integers(start + 64, len(data), 8):
            data[place] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        with Reader(path, salvage=True) as reader:
            shapes = {frame.rgb().shape for frame in reader}
            noticed += reader.damaged > 0
        assert shapes == {(48, 64, 3)}
    assert noticed >= 6  # some flips only change a colour


def test_sound_may_be_longer_than_the_pictures(tmp_path):
    path = make_with_sound(tmp_path / "a.mkv", "-c:v", "libx264", "-c:a", "pcm_s16le", seconds=1)
    data = path.read_bytes()
    quiet = tmp_path / "long-sound.mkv"
    long = (
        "-f",
        "lavfi",
        "-i",
        "sine=d=9",
        "-i",
        path,
        "-map",
        "1:v",
        "-map",
        "0:a",
        "-c:v",
        "copy",
    )
    ffmpeg(*long, quiet)
    assert len(frames(quiet)) == 25 and data


def test_a_consumer_may_stop_or_fail_at_any_time(tmp_path):
    path = make(tmp_path / "a.mp4")
    for _ in range(50):
        with Reader(path) as reader:
            next(iter(reader))
    with pytest.raises(RuntimeError, match="mine"), Reader(path) as reader:
        for _ in reader:
            raise RuntimeError("mine")
    open_now = [p for p in Path("/proc/self/fd").iterdir() if p.exists() and p.resolve() == path]
    assert not open_now


def test_packets_of_the_streams_to_copy_come_along(tmp_path):
    path = make_with_sound(tmp_path / "a.mp4", "-c:v", "libx264", "-c:a", "aac")
    with Reader(path, copy=[1]) as reader:
        items = list(reader)
        assert reader.info.streams[1].kind == "audio"
        packets = [item for item in items if not isinstance(item, Frame)]
        assert {packet.index for packet in packets} == {1}
        assert len(packets) == 95 and len(items) == 95 + 50


@pytest.mark.parametrize("stop", [0, -1, float("nan"), "1"])
def test_a_stop_that_leaves_nothing_to_read_is_refused(tmp_path, stop):
    path = make(tmp_path / "a.mp4", rate=10)
    with pytest.raises(UsageError, match="read_video takes a stop above 0 seconds, not"):
        read_video(path, stop=stop)
    for end in (float("inf"), 10**400):  # no float holds that many
        assert read_video(path, stop=end).clip.shape[2] == 10


def test_read_video(tmp_path):
    path = make(tmp_path / "a.mp4", rate=10)
    video = read_video(path)
    assert video.clip.shape == (1, 3, 10, 48, 64) and video.clip.dtype == torch.float32
    assert float(video.clip.min()) >= 0 and float(video.clip.max()) <= 1
    assert video.times.tolist() == pytest.approx([n / 10 for n in range(10)])
    assert read_video(path, stop=0.35).clip.shape[2] == 4
    late = tmp_path / "late.ts"  # as a camera's, whose clock runs already
    ffmpeg("-i", path, "-output_ts_offset", 100, late)
    assert read_video(late, stop=0.35).clip.shape[2] == 4
    assert torch.equal(
        video.clip[0, :, 3], torch.from_numpy(frames(path)[3].rgb()).permute(2, 0, 1) / 255
    )


@needs_wild
def test_the_wild_clips_are_whole():
    import csv

    with (WILD.parent / "wild.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if int(row["bytes"]) < 10**6]
    for row in rows:
        with Reader(WILD / row["file"]) as reader:
            found = [(frame.pts, frame.duration) for frame in reader]
            assert not reader.repaired_timestamps and not reader.damaged
        pts, last = found[-1]
        seconds = float((pts + last) * reader.info.time_base)
        assert seconds == pytest.approx(float(row["duration_s"]), abs=0.12)

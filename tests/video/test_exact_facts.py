"""What is said of files, in numbers that were computed by hand."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.codec.context import Flags
from av.stream import Disposition

import masquerade.video.probe as probing
import masquerade.video.side_data as side
from masquerade.errors import VideoError
from masquerade.video.probe import (
    StreamInfo,
    VideoInfo,
    check_size,
    describe,
    first_frame,
    images_in,
    probe_in_process,
    stream_info,
    video_digest,
)

PATH = Path("a.mp4")


class Streams(list[Any]):
    @property
    def audio(self) -> list[Any]:
        return [stream for stream in self if stream.type == "audio"]


def stream(**given: Any) -> Any:
    codec = SimpleNamespace(canonical_name="h264")
    plain: dict[str, Any] = {
        "index": 0, "type": "video", "disposition": 0, "metadata": {}, "frames": 0,
        "sample_aspect_ratio": None, "average_rate": Fraction(25), "guessed_rate": None,
        "base_rate": None, "start_time": 0, "time_base": Fraction(1, 30), "duration": None,
        "codec_context": SimpleNamespace(
            codec=codec, name="h264", coded_width=64, coded_height=48,
            bit_rate=given.pop("bit_rate", None),
        ),
    }  # fmt: skip
    return SimpleNamespace(**{**plain, **given})


def described(
    *others: Any, name: str = "mov", frame: dict[str, Any] | None = None, **given: Any
) -> VideoInfo:
    about = {key: given.pop(f"of_{key}", None) for key in ("duration", "start_time", "bit_rate")}
    tags, chapters = given.pop("tags", {}), given.pop("chapters", [])
    main = stream(**given)
    container: Any = SimpleNamespace(
        format=SimpleNamespace(name=name), streams=Streams([main, *others]), metadata=tags,
        chapters=lambda: chapters, **about,
    )  # fmt: skip
    plain = {
        "width": 64, "height": 48, "format": av.VideoFormat("yuv420p"), "metadata": {},
        "interlaced_frame": False, "color_primaries": 2, "color_trc": 2, "colorspace": 2,
        "color_range": 1, "side_data": [], "pts": None, "dts": None,
    }  # fmt: skip
    picture: Any = SimpleNamespace(**{**plain, **(frame or {})})
    return describe(container, main, picture, PATH)


def sound(bits: int | None = None, kind: str = "audio") -> Any:
    return stream(index=1, type=kind, bit_rate=bits)


def test_a_rate_is_the_first_that_is_plausible() -> None:
    def rate(*rates: Any) -> Fraction:
        names = ("average_rate", "guessed_rate", "base_rate")
        return described(**dict(zip(names, rates, strict=True))).rate

    assert rate(Fraction(1, 2), 30, 60) == Fraction(1, 2)
    assert rate(1000, 30, 60) == 1000
    assert rate(Fraction(1001), 30, 60) == 30
    assert rate(None, 0, 60) == 60
    assert rate(-1, None, 2000) == rate(None, None, None) == 25


def test_a_start_is_the_stream_s_or_the_file_s() -> None:
    assert described(start_time=90, of_start_time=7 * 10**6).start == 3.0
    assert described(start_time=0, of_start_time=7 * 10**6).start == 0.0
    assert described(start_time=None, of_start_time=2_500_000).start == 2.5
    assert described(start_time=90, time_base=None, of_start_time=2_500_000).start == 2.5
    assert described(start_time=None).start == 0.0


def test_a_duration_is_in_seconds_behind_the_start() -> None:
    half = 2_500_000
    assert described(duration=60, of_duration=half).duration == 2.5
    assert described(sound(kind="subtitle"), duration=60, of_duration=half).duration == 2.5
    assert described(sound(), duration=60, of_duration=half).duration == 2.0
    assert described(duration=60, of_duration=1_500_000).duration == 2.0
    assert described(duration=60).duration == 2.0
    stated = {"DURATION": "01:02:03.500000000"}
    assert described(metadata=stated, start_time=45, of_duration=half).duration == 3722.0
    assert described(metadata={"DURATION": "00:00:01.0"}, start_time=150).duration == 0.0
    assert described(metadata={"DURATION": "soon"}, of_duration=half).duration == 2.5
    whole = described(start_time=15, of_duration=4 * 10**6, of_start_time=10**6)
    assert whole.duration == 4.5
    assert described(start_time=15, of_duration=4 * 10**6).duration == 3.5
    assert described(start_time=150, of_duration=4 * 10**6).duration == 0.0
    for name in ("matroska,webm", "asf"):  # what they state counts from 0
        after = {"name": name, "start_time": 15, "of_start_time": 10**6}
        assert described(of_duration=4 * 10**6, **after).duration == 3.5
    assert described(sound(), duration=60, start_time=15, name="asf").duration == 1.5
    assert described(of_duration=1).duration == 1e-6
    assert described(of_duration=0).duration is described(of_duration=-5).duration is None
    assert described(duration=60, time_base=None, of_duration=half).duration == 2.5


def test_a_bitrate_is_the_stream_s_or_what_its_sound_leaves() -> None:
    assert described(sound(500), bit_rate=1000, of_bit_rate=9000).bitrate == 1000
    assert described(sound(2000), sound(), of_bit_rate=9000).bitrate == 7000
    assert described(sound(2000), sound(2000), of_bit_rate=4001).bitrate == 1
    assert described(sound(2000), of_bit_rate=2000).bitrate is None
    assert described(sound(2000), of_bit_rate=9).bitrate is None
    assert described(of_bit_rate=9000).bitrate == 9000
    assert described().bitrate is None


def test_an_image_has_no_time() -> None:
    about = described(name="png_pipe", duration=60, of_duration=9, bit_rate=7, frames=3)
    assert (about.kind, about.duration, about.bitrate, about.frames) == ("image", None, None, 1)
    video = described(frames=3, duration=60, bit_rate=7)
    assert (video.kind, video.frames, video.container) == ("video", 3, "mov")
    assert described().frames is None and described(frames=1).frames == 1
    assert described(time_base=None, average_rate=Fraction(10)).time_base == Fraction(1, 10)
    assert described().time_base == Fraction(1, 30) and described(index=3).video_index == 3


def test_what_the_first_picture_says(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = Fraction(4, 3)
    plain = described(sample_aspect_ratio=wide)
    assert (plain.width, plain.height, plain.sample_aspect) == (64, 48, wide)
    assert plain.coded_size == (64, 48) and described().sample_aspect == 1
    for turn in (90, 180, 270):
        monkeypatch.setattr(probing, "orientation", lambda _, turn=turn: (turn, turn == 90))
        about = described(sample_aspect_ratio=wide)
        size = (64, 48) if turn == 180 else (48, 64)
        assert (about.width, about.height) == size and about.coded_size == (64, 48)
        assert about.sample_aspect == (wide if turn == 180 else Fraction(3, 4))
        assert (about.rotation, about.mirrored) == (turn, turn == 90)
    for name, bits, alpha in (
        ("yuv420p10le", 10, False), ("rgba", 8, True), ("pal8", 8, True), ("gray16le", 16, False),
        ("yuva444p12le", 12, True), ("rgb565le", 6, False),
    ):  # fmt: skip
        about = described(frame={"format": av.VideoFormat(name), "interlaced_frame": alpha})
        assert (about.bit_depth, about.has_alpha, about.pix_fmt) == (bits, alpha, name)
        assert about.interlaced is alpha and about.codec == "h264"


def test_names_of_tags_are_listed_once_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "side_data", lambda _: [("EXIF", b"x"), ("EXIF", b"y")])
    other = stream(index=1, type="audio", metadata={"language": "x"})
    chapters = [{"metadata": {"title": "x"}}, {"metadata": {"title": "y"}}]
    about = described(
        other, tags={"title": "x", "make": "y"}, metadata={"handler_name": "x"}, chapters=chapters,
        frame={"metadata": {"scene": "1"}},
    )  # fmt: skip
    assert about.tags == (
        "title", "make", "stream0:handler_name", "stream1:language", "chapter0:title",
        "chapter1:title", "frame:scene", "side:EXIF",
    )  # fmt: skip
    assert about.chapters == 2
    assert [one.kind for one in about.streams] == ["video", "audio"]


def test_streams_by_their_kinds() -> None:
    picture = Disposition.attached_pic, Disposition.timed_thumbnails
    for disposition in picture:
        assert stream_info(stream(disposition=disposition)).kind == "picture"
        assert stream_info(stream(disposition=disposition, type="audio")).kind == "audio"
    assert stream_info(stream(disposition=Disposition.default)).kind == "video"
    for kind in ("audio", "subtitle", "attachment", "data"):
        bare = stream(index=4, type=kind, codec_context=None, name="bin_data", metadata={"a": "b"})
        codec = "bin_data" if kind == "data" else "unknown"
        assert stream_info(bare) == StreamInfo(4, kind, codec, ("a",), Fraction(0))  # type: ignore[arg-type]
    nameless = stream(type="unknown", codec_context=None, name=None)
    assert stream_info(nameless) == StreamInfo(0, "data", "unknown", (), Fraction(0))
    late = stream(index=2, start_time=45)
    assert stream_info(late) == StreamInfo(2, "video", "h264", (), Fraction(3, 2))
    for without in ({"start_time": None}, {"time_base": None}):
        assert stream_info(stream(index=2, **without)).start is None
    shown: dict[str, Any] = {"time_base": Fraction(1, 10)}
    for pts, dts, start in ((7, 5, 0.7), (None, 5, 0.5), (None, None, 1.5)):
        first: Any = SimpleNamespace(pts=pts, dts=dts, **shown)
        assert float(stream_info(late, first).start or 0) == start


def test_an_output_begins_where_the_first_of_its_streams_does() -> None:
    def origin(*starts: float | None, others: tuple[int, ...] = ()) -> float:
        exact = [None if start is None else Fraction(start) for start in starts]
        kinds = ("audio", "video", "subtitle")
        found = tuple(StreamInfo(i, kinds[i], "c", (), start) for i, start in enumerate(exact))  # type: ignore[arg-type]
        return float(replace(described(), streams=found, video_index=1).origin(others))

    assert origin(1.0, 5.0) == origin(1.0, 5.0, others=(2,)) == 5
    assert origin(1.0, 5.0, others=(0,)) == origin(5.0, 1.0, others=(0,)) == 1
    assert origin(None, 5.0, others=(0,)) == 5
    assert origin(5.0, 6.0, 4.0, others=(0, 2)) == 4 and origin(5.0, 6.0, 0.0, others=(0,)) == 5
    assert origin(5.0, None, others=(0,)) == origin(5.0, 6.0, -1.0, others=(2,)) == 0
    assert origin(0.0, 5.0) == origin(-1.0, 5.0, others=(0,)) == origin(1, -1) == 0
    picture = {"pts": 60, "time_base": Fraction(1, 30)}
    assert described(start_time=30, frame=picture).origin() == 2
    assert described(start_time=30, frame=picture, name="avi").origin() == 1


def test_sizes_up_to_the_largest() -> None:
    for width, height, most in ((1, 1, 1), (32766, 1, 32766), (1, 32766, 10**9), (30, 40, 1200)):
        check_size(width, height, PATH, most=most)
    for width, height, most in (
        (0, 5, 99), (5, 0, 99), (32767, 1, 10**9), (1, 32767, 10**9), (30, 40, 1199),
    ):  # fmt: skip
        with pytest.raises(VideoError):
            check_size(width, height, PATH, most=most)
    with pytest.raises(VideoError, match="claims 1x40000 pixels and a side may have 32766; make"):
        check_size(1, 40000, PATH, most=10**9)


@pytest.mark.parametrize("error", [av.InvalidDataError(1, "x"), ValueError, RuntimeError])
def test_the_first_picture_may_stand_behind_a_hundred_damaged_packets(error: Any) -> None:
    picture = SimpleNamespace(width=4, height=2, pts=0)

    def decode(broken: bool) -> list[Any]:
        if broken:
            raise error
        return [picture]

    def first(damaged: int, name: str = "mov", whole: int = 1) -> Any:
        packets = [SimpleNamespace(decode=lambda: decode(True)) for _ in range(damaged)]
        packets += [SimpleNamespace(decode=lambda: decode(False))] * whole
        context = SimpleNamespace(options={}, flags=0)
        demux = lambda _: iter(packets)  # noqa: E731
        container: Any = SimpleNamespace(format=SimpleNamespace(name=name), demux=demux)
        found = first_frame(container, SimpleNamespace(codec_context=context), PATH)  # type: ignore[arg-type]
        assert context.options == {"max_pixels": str(2 ** (27 if name == "png_pipe" else 26))}
        assert context.flags == Flags.unaligned
        return found

    assert first(0) is first(100) is first(1, "png_pipe") is picture
    with pytest.raises(VideoError):
        first(101)
    with pytest.raises(VideoError):
        first(3, whole=0)
    picture.width = 40000
    with pytest.raises(VideoError):
        first(0)


def image(path: Path, *, size: tuple[int, int] = (6, 8), deep: bool = False, n: int = 3) -> Path:
    assert cv2.imwrite(str(path), np.full((*size, n), 90, np.uint16 if deep else np.uint8))
    return path


def test_what_was_written_beside_images_is_no_frame(tmp_path: Path) -> None:
    for name in (
        *("1.png", "1_anonymized.png", "2.jpg", "2_anonymized.jpg", "3_anonymized.png"),
        *("1_people_private.png", "ward_people_private.png"),
    ):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in images_in(tmp_path)] == ["1.png", "2.jpg", "3_anonymized.png"]


def test_depth_images_beside_the_picture_are_no_frames(tmp_path: Path) -> None:
    """SBU's takes hold both, and what is not numbered as both are is a picture like others."""
    pictures = ["rgb_000001.png", "rgb_000002.png"]
    for name in (*pictures, "depth_000001.png", "depth_000002.png", "depth_000003.png"):
        image(tmp_path / name, deep="depth" in name, n=1 if "depth" in name else 3)
    assert [path.name for path in images_in(tmp_path)] == pictures
    about, known = probe_in_process(tmp_path, rate=Fraction(25)), video_digest(tmp_path)
    assert (about.frames, about.bit_depth) == (2, 8)
    image(tmp_path / "depth_000001.png", n=3)
    assert video_digest(tmp_path) == known
    (tmp_path / "depth_of_field.png").touch()
    assert [path.name for path in images_in(tmp_path)] == ["depth_of_field.png", *pictures]
    for name in pictures:
        (tmp_path / name).rename(tmp_path / name.replace("rgb", "other"))
    assert len(images_in(tmp_path)) == 6


def test_a_folder_of_images_is_a_video_of_its_rate(tmp_path: Path) -> None:
    names = ("2.png", "10.png", "010.png", "a1.png", "b.PNG")
    for name in names:
        image(tmp_path / name, deep=name == "10.png", n=4 if name == "a1.png" else 3)
    (tmp_path / "3.txt").touch()
    (tmp_path / "4.png").mkdir()
    found = [path.name for path in images_in(tmp_path)]
    assert found == ["2.png", "010.png", "10.png", "a1.png", "b.PNG"]
    about = probe_in_process(tmp_path, rate=Fraction(10, 3))
    assert (about.kind, about.path, about.frames) == ("sequence", tmp_path, 5)
    assert (about.rate, about.time_base) == (Fraction(10, 3), Fraction(3, 10))
    assert (about.duration, about.bit_depth, about.has_alpha) == (1.5, 16, True)
    assert about.bitrate is None and (about.width, about.height) == (8, 6)
    sums = [f"{n} {hashlib.sha256((tmp_path / n).read_bytes()).hexdigest()}" for n in found]
    assert video_digest(tmp_path) == hashlib.sha256("\n".join(sums).encode()).hexdigest()
    for rate in (Fraction(0), Fraction(-1)):
        with pytest.raises(VideoError):
            probe_in_process(tmp_path, rate=rate)
    for size in ((6, 9), (7, 8)):
        image(tmp_path / "11.png", size=size)
        with pytest.raises(VideoError):
            probe_in_process(tmp_path, rate=Fraction(1))


def test_every_kind_of_image_in_a_folder_is_seen(tmp_path: Path) -> None:
    for suffix in ("png", "jpg", "jpeg", "bmp", "webp", "tif", "tiff"):
        (tmp_path / f"a.{suffix}").touch()
    (tmp_path / "a.gif").touch()
    assert len(images_in(tmp_path)) == 7


TURNS = {
    (1, 0, 0, 1): (0, False), (0, 1, -1, 0): (90, False), (-1, 0, 0, -1): (180, False),
    (0, -1, 1, 0): (270, False), (-1, 0, 0, 1): (0, True), (1, 0, 0, -1): (180, True),
    (0, 1, 1, 0): (90, True), (0, -1, -1, 0): (270, True),
    (9, 3, -3, 9): (0, False), (3, 9, -9, 3): (90, False),
}  # fmt: skip


@pytest.mark.parametrize("matrix", TURNS)
def test_the_orientation_of_every_matrix(
    monkeypatch: pytest.MonkeyPatch, matrix: tuple[int, ...]
) -> None:
    a, b, c, d = matrix
    datum = struct.pack("9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    frame: Any = None

    def seen(*data: tuple[str, bytes]) -> tuple[int, bool]:
        monkeypatch.setattr(side, "side_data", lambda _: list(data))
        return side.orientation(frame)

    assert seen(("EXIF", b"x" * 36), ("DISPLAYMATRIX", datum)) == TURNS[matrix]
    assert seen(("DISPLAYMATRIX", datum + b"more")) == TURNS[matrix]
    assert seen(("DISPLAYMATRIX", datum[:35])) == seen(("EXIF", datum)) == (0, False)


@pytest.mark.parametrize(
    ("said", "name"),
    [("28 is not a valid Type", "LCEVC"), ("29", "VIEW_ID"), ("30 ..", "3D_REFERENCE_DISPLAYS"),
     ("31 is 5", "EXIF"), ("40 is not", "TYPE40"), ("no number", "LCEVC")],
)  # fmt: skip
def test_side_data_that_pyav_cannot_name(
    monkeypatch: pytest.MonkeyPatch, said: str, name: str
) -> None:
    class Unnamed:
        @property
        def side_data(self) -> Any:
            raise ValueError(said)

    rest = SimpleNamespace(side_data=[])
    monkeypatch.setattr(side, "_without_unnamed", lambda _: rest)
    assert side.side_data(Unnamed()) == [(name, b"")]  # type: ignore[arg-type]


def test_a_picture_without_unnamed_side_data_is_the_same_picture() -> None:
    pixels = np.arange(16 * 32 * 3, dtype=np.uint8).reshape(16, 32, 3)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
    for base in (None, Fraction(1, 1000)):
        if base is not None:
            frame.time_base = base
        again = side._without_unnamed(frame)
        assert (again.to_ndarray() == pixels).all() and again.format.name == "rgb24"

"""What is made of pictures, encodings and sound, in numbers that were computed by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from masquerade.errors import UsageError
from masquerade.video.audio import PitchShift, check_audio, strip_comments
from masquerade.video.color import UNTAGGED, Color, frame_color, matrix_for
from masquerade.video.encoding import (
    CODECS,
    IMAGES,
    Encoding,
    container_for,
    encoder_for,
    pixel_format,
)
from masquerade.video.frame import over_black, upright
from masquerade.video.metadata import select_metadata
from masquerade.video.pictures import PictureCounter
from masquerade.video.probe import (
    StreamInfo,
    VideoInfo,
    probe_in_process,
)
from masquerade.video.read import Video, read_video
from masquerade.video.rgb_to_yuv import RgbToYuv
from masquerade.video.shared_picture import plane_rows
from masquerade.video.stream_template import StreamTemplate
from masquerade.video.timestamps import TimestampRepair
from masquerade.video.write import Writer, write_video


def test_the_matrix_of_colours() -> None:
    known = {0: 1, 1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
    for matrix in range(16):
        color = Color(2, 2, matrix, full_range=False)
        assert matrix_for(color, 719) == known.get(matrix, 5)
        assert matrix_for(color, 720) == known.get(matrix, 1)

    def seen(name: str, colorspace: int, reach: int) -> Color:
        about: dict[str, Any] = {"color_primaries": 9, "color_trc": 16, "colorspace": colorspace}
        about |= {"color_range": reach, "format": av.VideoFormat(name)}
        return frame_color(SimpleNamespace(**about))  # type: ignore[arg-type]

    assert seen("yuv420p", 6, 1) == Color(9, 16, 6, full_range=False)
    assert seen("yuv420p", 6, 2) == Color(9, 16, 6, full_range=True)
    assert seen("yuv420p", 6, 0) == Color(9, 16, 6, full_range=False)
    assert seen("yuvj420p", 5, 0) == Color(9, 16, 5, full_range=True)
    assert seen("rgb24", 6, 1) == Color(9, 16, 0, full_range=True)
    assert Color(2, 2, 2, full_range=False) == UNTAGGED


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_transparency_is_rounded_to_the_nearest(kind: Any) -> None:
    top = int(np.iinfo(kind).max)
    levels = np.linspace(0, top, 256).astype(kind)
    pixels = np.zeros((256, 256, 4), kind)
    pixels[..., 0], pixels[..., 1], pixels[..., 2] = levels, levels[::-1], top
    pixels[..., 3] = levels[:, None]
    exact = pixels[..., :3].astype(float) * pixels[..., 3:] / top
    assert (over_black(pixels) == np.round(exact)).all()


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_pixels_are_turned_clockwise_and_then_mirrored(rotation: int, mirrored: bool) -> None:
    pixels = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3)
    turned = np.rot90(pixels, -rotation // 90)
    assert (upright(pixels, rotation, mirrored) == (turned[:, ::-1] if mirrored else turned)).all()


def about(**given: Any) -> VideoInfo:
    plain: dict[str, Any] = {
        "path": Path("a.mp4"),
        "kind": "video",
        "container": "mov",
        "width": 32,
    }
    return VideoInfo(**{**plain, "height": 16, **given})


YUV = {  # matrix, full range: Y, U and V of red, by the standards' own formulas
    (6, False): (81, 90, 240), (1, False): (63, 102, 240), (9, False): (74, 97, 240),
    (6, True): (76, 85, 255), (1, True): (54, 99, 255), (2, False): (81, 90, 240),
}  # fmt: skip


@pytest.mark.parametrize("key", YUV)
def test_red_in_every_matrix(key: tuple[int, bool]) -> None:
    matrix, full = key
    info = about(color=Color(9, 16, matrix, full_range=full))
    for kind, scale in ((np.uint8, 1), (np.uint16, 257)):
        pixels: Any = np.zeros((16, 32, 3), kind)
        pixels[..., 0] = 255 * scale
        out = RgbToYuv(info, "yuv444p").convert(pixels)
        found = [int(plane[3, 3]) for plane in out.to_ndarray()]
        assert found == pytest.approx(YUV[key], abs=1)
        assert (out.colorspace, out.color_range) == (matrix, 2 if full else 1)
        assert (out.color_primaries, out.color_trc) == (9, 16)
        deep = RgbToYuv(info, "yuv420p10le").convert(pixels).to_ndarray()
        assert int(deep[3, 3]) == pytest.approx(YUV[key][0] * 4, abs=6)
    rgb = RgbToYuv(info, "rgb24").convert(pixels)
    assert (rgb.to_ndarray()[3, 3] == (255, 0, 0)).all() and rgb.color_trc == 16


def test_colour_is_averaged_over_the_pixels_that_share_it() -> None:
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[::2, ::2] = 255, 0, 0
    planes = RgbToYuv(about(color=Color(2, 2, 6, full_range=False)), "yuv420p").convert(pixels)
    u, v = planes.to_ndarray()[16:20].reshape(8, 16), planes.to_ndarray()[20:].reshape(8, 16)
    assert u.mean() == pytest.approx(128 - 38 / 4, abs=1)
    assert v.mean() == pytest.approx(128 + 112 / 4, abs=1)


@pytest.mark.parametrize("format", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
@pytest.mark.parametrize("size", [(854, 480), (130, 98)])
def test_a_black_area_beside_noise_is_black_in_pictures_of_more_than_8_bits(
    format: str, size: tuple[int, int]
) -> None:
    width, height = size
    drawn = np.random.default_rng(0)
    to_yuv = RgbToYuv(about(width=width, height=height, bit_depth=10), format)
    for _ in range(20):
        pixels = np.zeros((height, width, 3), np.uint16)
        noise = drawn.integers(2**16, size=(height, width - width // 3, 3), dtype=np.uint16)
        pixels[:, width // 3 :] = noise
        picture = to_yuv.convert(pixels)
        for plane in picture.planes:
            rows = plane_rows(plane).view(np.uint16)[:, : plane.width // 3 - 4]
            assert rows.max() - rows.min() <= 4


def test_every_picture_gets_256_colours_of_its_own() -> None:
    palette = RgbToYuv(about(width=16), "pal8")
    for shift in (0, 97):
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels[..., int(shift > 0)] = np.arange(256).reshape(16, 16)
        out = palette.convert(pixels)
        assert out.format.name == "pal8"
        assert np.abs(out.to_ndarray(format="rgb24").astype(int) - pixels).max() <= 1


@pytest.mark.parametrize(
    ("rate", "base", "step"),
    [(25, Fraction(1, 1000), 40), (30, Fraction(1, 1000), 33), (1000, Fraction(1, 25), 1),
     (Fraction(1, 2), Fraction(1, 10), 20)],
)  # fmt: skip
def test_one_frame_in_ticks(rate: Any, base: Fraction, step: int) -> None:
    clock = TimestampRepair(rate=Fraction(rate), time_base=base, start=7)
    assert clock.step == step and clock.next_tick == 7
    assert clock.tick(None, None) == 7 and clock.next_tick == 7 + step
    assert clock.tick(7, 8) == 8 and clock.repaired == 2
    assert TimestampRepair(rate=Fraction(25), time_base=base).next_tick == 0


def packets(*given: tuple[int | None, bool]) -> Iterator[Any]:
    for pts, key in given:
        yield SimpleNamespace(size=30, is_discard=False, is_keyframe=key, pts=pts)


COUNTS = [
    ("mov", [(0, True), (1, False), (2, False)], 3),
    ("mov", [(5, True), (3, False), (4, False), (6, False), (2, False)], 3),
    ("mov", [(5, True), (5, False)], 2),
    ("mov,mp4", [(-2, True), (-1, False), (0, False), (1, False)], 2),
    ("mkv", [(-2, True), (-1, False), (0, False), (1, False)], 4),
    ("mov", [(0, False), (1, False), (2, True), (3, False)], 4),
    ("mpegts", [(0, False), (1, False), (2, True), (3, False)], 2),
    ("mpeg", [(0, False), (2, True)], 1),
    ("h264", [(None, False), (None, True), (None, False)], 2),
    ("hevc", [(None, False), (4, True), (None, False), (3, False), (6, False)], 2),
    ("mpegvideo", [(1, False), (2, True), (3, True)], 2),
    ("mov", [(5, True), (9, True), (7, False)], 3),
    ("mov", [(None, True), (1, False)], 2),
]


@pytest.mark.parametrize(("container", "given", "count"), COUNTS)
def test_pictures_are_counted_from_the_first_keyframe(
    container: str, given: list[tuple[int | None, bool]], count: int
) -> None:
    counter = PictureCounter(about(container=container, codec="h264"))
    for packet in packets(*given):
        counter.add(packet)
    assert counter.missing(0, interlaced=False) == count
    assert counter.missing(count, interlaced=False) == 0
    for nothing in ({"size": 0}, {"is_discard": True}):
        (packet,) = packets((99, False))
        counter.add(SimpleNamespace(**{**vars(packet), **nothing}))  # type: ignore[arg-type]
    assert counter.missing(0, interlaced=True) == count // 2


@pytest.mark.parametrize(
    ("codec", "data", "shown"),
    [
        ("vp8", "10", True),
        ("vp8", "00", False),
        ("vp8", "ef", False),
        ("vp9", "82", True),  # show_frame
        ("vp9", "88", True),  # show_existing_frame
        ("vp9", "80", False),
        ("vp9", "85", False),  # neither, whatever else is set
        ("vp9", "b1", True),  # both lie a bit further in profile 3
        ("vp9", "b4", True),
        ("vp9", "b2", False),
        ("vp9", "8500c0", True),  # a superframe holds one that is shown
        ("vp9", "8500df", True),
        ("vp9", "8500e0", False),
        ("h264", "00", True),
    ],
)
def test_packets_whose_picture_is_not_shown_are_no_pictures(
    codec: str, data: str, shown: bool
) -> None:
    counter = PictureCounter(about(container="matroska,webm", codec=codec))
    for content in ("10" if codec == "vp8" else "82", data):
        packet = av.Packet(bytes.fromhex(content))
        packet.pts, packet.is_keyframe = 0, True
        counter.add(packet)
    assert counter.missing(0, interlaced=False) == 1 + shown


ENCODERS = {
    "h264": (
        "libx264", {"crf": "20", "preset": "veryfast", "x264-params": "cpu-independent=1"},
        "h264_nvenc", "yuv444p10le",
    ),
    "h265": (
        "libx265", {"crf": "23", "x265-params": "log-level=none:info=0"}, "hevc_nvenc",
        "yuv444p10le",
    ),
    "vp9": ("libvpx-vp9", {"crf": "31", "row-mt": "1", "cpu-used": "4"}, None, None),
    "av1": ("libsvtav1", {"crf": "32", "preset": "8"}, "av1_nvenc", "yuv420p10le"),
    "ffv1": ("ffv1", {"level": "3", "slices": "4", "slicecrc": "1"}, None, "gbrp16le"),
    "mjpeg": ("mjpeg", {"qmin": "2", "qmax": "4"}, None, None),
    "prores": ("prores_ks", {"vendor": "apl0"}, None, "yuv444p10le"),
}  # fmt: skip
LOSSLESS = {
    "h264": ("libx264rgb", "rgb24", None, {"qp": "0"}),
    "h265": ("libx265", "gbrp", None, {"x265-params": "log-level=none:info=0:lossless=1"}),
    "vp9": ("libvpx-vp9", "gbrp", None, {"lossless": "1", "row-mt": "1", "cpu-used": "4"}),
    "ffv1": ("ffv1", "bgr0", "gbrp16le", {}),
}


@pytest.mark.parametrize("codec", ENCODERS)
def test_every_codec_gets_its_encoder_and_options(codec: Any) -> None:
    name, options, cuda, odd = ENCODERS[codec]
    assert encoder_for(Encoding(codec=codec), bitrate=None) == (name, options)
    plain = {key: value for key, value in options.items() if key != "crf"}
    assert encoder_for(Encoding(codec=codec), bitrate=5) == (name, plain)
    size = {"width": 63, "height": 48}
    if odd is not None:
        assert pixel_format(Encoding(codec=codec), "mov", **size, deep=True) == odd
    assert CODECS[codec].cuda == cuda
    if cuda is None:
        with pytest.raises(UsageError):
            encoder_for(Encoding(codec=codec, hwaccel="cuda"), bitrate=None)
    else:
        on_gpu = Encoding(codec=codec, hwaccel="cuda", preset="p4")
        expected = (cuda, {"cq": options["crf"], "preset": "p4"})
        assert encoder_for(on_gpu, bitrate=None) == expected
        for deep, wanted in ((False, "yuv420p"), (True, "p010le")):
            assert pixel_format(on_gpu, "mp4", width=64, height=48, deep=deep) == wanted
        if codec != "av1":
            assert pixel_format(on_gpu, "mp4", **size, deep=True) == "yuv444p16le"
    if codec not in LOSSLESS:
        with pytest.raises(UsageError):
            Encoding(codec=codec, lossless=True)
        return
    encoder, flat, deep_format, given = LOSSLESS[codec]
    exact = Encoding(codec=codec, lossless=True)
    assert encoder_for(exact, bitrate=None) == (encoder, given)
    assert pixel_format(exact, "mov", **size, deep=False) == flat
    if deep_format is not None:
        assert pixel_format(exact, "mov", **size, deep=True) == deep_format
    else:
        with pytest.raises(UsageError):
            pixel_format(exact, "mov", **size, deep=True)


def test_what_an_encoding_may_be() -> None:
    for codec, last in (("h264", 51), ("h265", 51), ("vp9", 63), ("av1", 63)):
        for crf in (0, last):
            fine = Encoding(codec=codec, crf=crf)  # type: ignore[arg-type]
            assert encoder_for(fine, bitrate=None)[1]["crf"] == str(crf)
        for crf in (-1, last + 1):
            with pytest.raises(UsageError):
                Encoding(codec=codec, crf=crf)  # type: ignore[arg-type]
    assert encoder_for(Encoding(crf=1, hwaccel="cuda"), bitrate=None)[1]["cq"] == "1"
    with pytest.raises(UsageError, match="crf 0 lets a GPU choose; give 1 or more"):
        Encoding(crf=0, hwaccel="cuda")  # where cq=0 is automatic
    for codec in ("ffv1", "mjpeg", "prores"):
        for wrong in ({"crf": 5}, {"preset": "fast"}):
            with pytest.raises(UsageError):
                Encoding(codec=codec, **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Encoding(codec="vp9", preset="fast")
    for codec in ("h264", "h265", "av1"):
        fast = Encoding(codec=codec, preset="5")  # type: ignore[arg-type]
        assert encoder_for(fast, bitrate=None)[1]["preset"] == "5"
    for bitrate in (1000, 2_000_000_000, "source"):
        Encoding(bitrate=bitrate)  # type: ignore[arg-type]
        for other in ({"crf": 3}, {"lossless": True}):
            with pytest.raises(UsageError):
                Encoding(bitrate=bitrate, **other)  # type: ignore[arg-type]
    for wrong in ({"bitrate": 0}, {"bitrate": -1}, {"threads": -1}, {"codec": "x"}):
        with pytest.raises(UsageError):
            Encoding(**wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        Encoding(lossless=True, hwaccel="cuda")
    plain = Encoding(threads=1)
    assert (plain.codec, plain.crf, plain.preset, plain.lossless) == ("h264", None, None, False)
    assert (plain.bitrate, plain.hwaccel, Encoding().threads) == (None, "none", 0)


def test_images_get_pixels_that_they_hold() -> None:
    kinds = {
        "png": ("rgb24", "rgb48be"), "jpeg": ("yuvj420p", None), "bmp": ("bgr24", None),
        "tiff": ("rgb24", "rgb48le"), "webp": ("bgra", None), "gif": ("pal8", None),
    }  # fmt: skip
    assert set(kinds) == set(IMAGES)
    for kind, formats in kinds.items():
        assert [kind == "gif", *formats] == [IMAGES[kind].moving, *IMAGES[kind].formats]
        assert pixel_format(Encoding(), kind, width=9, height=9, deep=False) == formats[0]
        if formats[1] is None:
            with pytest.raises(UsageError):
                pixel_format(Encoding(), kind, width=9, height=9, deep=True)
    assert container_for(".MP4", Encoding()) == container_for("x.y/a", Encoding()) == "mp4"
    assert container_for("./.webm", Encoding()) == "mp4"


def test_a_clip_is_written_at_25_frames_a_second_from_its_own_start(tmp_path: Path) -> None:
    import torch

    fast = Encoding(codec="ffv1")
    clip = torch.arange(4).reshape(1, 1, 4, 1, 1).expand(1, 3, 4, 16, 32) / 5
    write_video(tmp_path / "a.mkv", clip, encoding=fast)
    back = read_video(tmp_path / "a.mkv")
    assert back.times.tolist() == [0, 0.04, 0.08, 0.12] and back.info is not None
    assert back.info.rate == 25 and back.info.bit_depth == 8
    source = about(
        rate=Fraction(10), time_base=Fraction(1, 1000), sample_aspect=Fraction(4, 3),
        color=Color(1, 1, 1, full_range=False),
    )  # fmt: skip
    timed = Video(clip, torch.tensor([0.5, 0.6, 0.9, 1.0]), source)
    write_video(tmp_path / "b.mkv", timed, rate=50, encoding=fast)
    again = read_video(tmp_path / "b.mkv")
    assert again.times.tolist() == pytest.approx([0.5, 0.6, 0.9, 1.0]) and again.info is not None
    assert again.info.start == 0.5
    assert torch.equal(again.clip, clip.contiguous()) or (again.clip - clip).abs().max() < 1e-6
    assert again.info.color.primaries == again.info.color.transfer == 1
    assert read_video(tmp_path / "b.mkv", stop=0.4).clip.shape[2] == 2
    assert read_video(tmp_path / "b.mkv", stop=0.1).clip.shape[2] == 1


def test_sixteen_bits_stay_unless_eight_are_asked_for(tmp_path: Path) -> None:
    for force, name in ((False, "gbrp16le"), (True, "bgr0")):
        info = about(bit_depth=16)
        path = tmp_path / f"{force}.mkv"
        extra: dict[str, Any] = {"force_8bit": True} if force else {}
        options: dict[str, Any] = {"container": "matroska", "encoding": Encoding(codec="ffv1")}
        with Writer(path, info=info, **options, **extra) as writer:
            time: Any = SimpleNamespace(pts=0, duration=9, time_base=Fraction(1, 100))
            writer.write(np.full((16, 32, 3), 40000, np.uint16), time)
        assert probe_in_process(path).pix_fmt == name
        clip = read_video(path, force_8bit=False).clip
        assert float(clip[0, 0, 0, 3, 3]) == pytest.approx(40000 / 65535, abs=0.003)


def laced(*sizes: int) -> bytes:
    return b"".join(b"\xff" * (size // 255) + bytes([size % 255]) for size in sizes)


@pytest.mark.parametrize("first", [30, 254, 255, 600])
@pytest.mark.parametrize("comment", [20, 255, 700])
def test_comments_of_vorbis_and_flac_are_emptied(first: int, comment: int) -> None:
    one, last = b"\1vorbis".ljust(first, b"1"), b"\5vorbis" + b"5" * 99
    header = b"\2" + laced(first, comment) + one + b"\3vorbis".ljust(comment, b"c") + last
    empty = b"\3vorbis" + bytes(8) + b"\1"
    assert strip_comments("vorbis", header) == b"\2" + laced(first, 16) + one + empty + last
    assert strip_comments("aac", header) == header
    damaged = [b"\1" + header[1:], b"\2" + b"\xff" * 50, b"\2", header.replace(b"\3vorbis", b"3")]
    for each in (*damaged, header[:first], b"\0\x1e", b"\0\x1e" + header):
        with pytest.raises(UsageError, match=r"add --audio pitch or --audio drop\."):
            strip_comments("vorbis", each)
    flac = b"fLaC" + bytes([0, 0, 0, 34]) + bytes(range(34)) + b"comments"
    assert strip_comments("flac", flac) == b"fLaC\x80" + flac[5:42]
    assert strip_comments("flac", flac[8:42]) == flac[8:42]


def test_comments_of_vorbis_go_in_the_layout_with_sizes_of_two_bytes() -> None:
    parts = b"\1vorbis" + bytes(23), b"\3vorbis" + b"CANARY" * 99, b"\5vorbis" + b"5" * 600
    header = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    empty = b"\3vorbis" + bytes(8) + b"\1"
    clean = strip_comments("vorbis", header)
    assert clean == b"\2" + laced(30, 16) + parts[0] + empty + parts[2]
    with pytest.raises(UsageError, match="vorbis"):
        strip_comments("vorbis", header[:-1])


@pytest.mark.parametrize(
    ("container", "rate", "channels", "chosen", "layout"),
    [("mp4", 48000, 1, 48000, "mono"), ("mp4", 44100, 2, 44100, "stereo"),
     ("mp4", 8000, 6, 32000, "stereo"), ("webm", 44100, 1, 48000, "mono"),
     ("avi", 22050, 2, 32000, "stereo"), ("avi", 96000, 2, 48000, "stereo"),
     ("matroska", 4000, 1, 32000, "mono"), ("mp4", 45000, 2, 48000, "stereo")],
)  # fmt: skip
def test_shifted_sound_gets_a_rate_that_is_no_less(
    tmp_path: Path, container: str, rate: int, channels: int, chosen: int, layout: str
) -> None:
    template = StreamTemplate(1, "audio", Fraction(1, rate), rate, channels)
    with av.open(str(tmp_path / "a"), "w", format=container) as out:
        voice = PitchShift(template, out, container)
        context = voice.stream.codec_context
        assert (context.sample_rate, context.layout.name) == (chosen, layout)
        assert context.bit_rate == (96_000 if layout == "mono" else 192_000)
        assert voice.flush() == []
        for wrong in (
            StreamTemplate(1, "audio", None, 3999, 1), StreamTemplate(1, "data", None, 8000, 1)
        ):  # fmt: skip
            with pytest.raises(UsageError):
                PitchShift(wrong, out, container)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, rate * channels), np.int16),
            "s16",
            {1: "mono", 2: "stereo"}.get(channels, "5.1"),
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, rate // 2, Fraction(1, rate)
        found = [
            packet for packet in (*voice.shift([frame]), *voice.flush()) if packet.pts is not None
        ]
        start = min(packet.pts * packet.time_base for packet in found)
        end = max((packet.pts + (packet.duration or 0)) * packet.time_base for packet in found)
        assert float(start) == pytest.approx(0.5, abs=0.06)
        assert float(end) == pytest.approx(1.5, abs=0.06)


def test_sound_that_an_output_cannot_hold_is_refused_before() -> None:
    def check(audio: Any, container: str, *codecs: str, kind: Any = "audio") -> None:
        streams = tuple(StreamInfo(i, kind, codec, ()) for i, codec in enumerate(codecs))
        check_audio(about(streams=streams), audio, container)

    for fine in (
        ("drop", "png", "aac"), ("drop", "mp4", "unknown"), ("keep", "png"), ("keep", "mp4", "aac"),
        ("pitch", "webm", "aac"), ("keep", "matroska", "pcm_s16le", "aac"),
        ("keep", "webm", "opus"),
        ("keep", "mp4", "opus"), ("keep", "mp4", "flac"),
    ):  # fmt: skip
        check(*fine)
    for wrong in (
        ("keep", "png", "aac"), ("pitch", "gif", "aac"), ("keep", "mp4", "unknown"),
        ("pitch", "mp4", "unknown"), ("keep", "webm", "aac"), ("keep", "mov", "opus"),
        ("keep", "mov", "flac"), ("keep", "mp4", "aac", "wmav2"),
    ):  # fmt: skip
        with pytest.raises(UsageError):
            check(*wrong)
    check("keep", "webm", "aac", kind="data")


def test_metadata_is_chosen_by_kind_and_name() -> None:
    kinds = ("video", "audio", "subtitle", "data", "attachment", "picture")
    info = about(
        streams=tuple(StreamInfo(i, kind, "c", ()) for i, kind in enumerate(kinds)),  # type: ignore[arg-type]
        tags=("title", "encoder", "stream0:language", "stream1:language", "chapter0:title", "Mine",
              "side:EXIF", "frame:scene"),
        chapters=2,
    )  # fmt: skip
    bytes_of_it = b""
    font = False  # whether the attachment says that it is one
    reader: Any = SimpleNamespace(
        info=info, tags={"title": "t", "encoder": "e", "Mine": "m"}, chapters=[1, 2],
        stream_tags=lambda index: {0: {"language": "x"}, 1: {"language": "x"}}.get(
            index, {"mimetype": "font/ttf"} if index == 4 and font else {}
        ),
        stream=lambda index: SimpleNamespace(stream=SimpleNamespace(data=bytes_of_it)),
    )  # fmt: skip
    none = select_metadata(reader)
    assert (none.tags, none.streams, none.chapters, none.kept) == ({}, (), (), ())
    assert none.stream_tags == {0: {}}
    assert none.removed == (
        "title", "encoder", "stream0:language", "stream1:language", "chapter0:title", "side:EXIF",
        *(f"stream{i} ({kind}, c)" for i, kind in enumerate(kinds) if i), "2 chapters",
        "2 tags of other names",
    )  # fmt: skip
    assert select_metadata(reader, "keep", audio=[1]).streams == (2, 3)  # what is it?
    font, bytes_of_it = True, b"\xff\xd8\xff\xe0"  # a JPEG's
    assert select_metadata(reader, "keep", audio=[1]).streams == (2, 3)
    bytes_of_it = b"OTTO\0"
    whole = select_metadata(reader, "keep", audio=[1])
    assert whole.tags == {"title": "t", "Mine": "m"} and whole.streams == (2, 3, 4)
    assert whole.chapters == (1, 2)
    assert whole.stream_tags[1] == {"language": "x"} and sorted(whole.stream_tags) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert whole.kept == (
        "title", "stream0:language", "stream1:language", "stream4:mimetype",
        *(f"stream{i} ({kinds[i]}, c)" for i in (1, 2, 3, 4)), "2 chapters",
        "1 tags of other names",
    )  # fmt: skip
    assert whole.removed == (
        "encoder",
        "side:EXIF",
        "stream5 (picture, c)",
        "1 tags of other names",
    )
    some = select_metadata(reader, "keep: TITLE ,Data,Encoder")
    assert some.tags == {"title": "t"} and some.streams == (3,) and some.chapters == ()
    for wrong in ("", "keep:", "drop", "keep:,", "other:title"):
        with pytest.raises(UsageError):
            select_metadata(reader, wrong)


@pytest.mark.parametrize("base", [None, Fraction(1, 8000), Fraction(1, 1000)])
def test_shifted_sound_keeps_its_gaps_in_any_time_base(
    tmp_path: Path, base: Fraction | None
) -> None:
    ticks = int(1 / (base or Fraction(1, 8000)))
    with av.open(str(tmp_path / "a.mkv"), "w") as out:
        voice = PitchShift(StreamTemplate(1, "audio", base, 8000, 1), out, "matroska")
        sounds = []
        for second in (1, 4):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 4000), np.int16), "s16", "mono")
            sound.sample_rate, sound.pts = 8000, second * ticks
            if base is not None:
                sound.time_base = base
            sounds.append(sound)
        found = [*voice.shift(sounds), *voice.flush()]
    times = [packet.pts * packet.time_base for packet in found if packet.pts is not None]
    assert float(min(times)) == pytest.approx(1, abs=0.1)
    assert float(max(times)) == pytest.approx(4.5, abs=0.1)

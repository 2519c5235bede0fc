"""Writing: exact size, colour, depth and aspect, one stream, and no trace of the source."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import (
    QUICK,
    WILD,
    ffmpeg,
    frames,
    length,
    make,
    make_with_sound,
    needs_ffmpeg,
    needs_wild,
    rewrite,
    streams,
    times,
    video,
)
from hypothesis import given
from hypothesis import strategies as st

from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.video.encoding import CODECS, CONTAINERS, Encoding, container_for, pixel_format
from masquerade.video.probe import probe_in_process
from masquerade.video.read import Video, read_video
from masquerade.video.write import write_video

pytestmark = needs_ffmpeg
TRACES = (b"x264", b"x265", b"Lavc", b"Lavf6", b"libav", b"SVT-AV1", b"libvpx", b"Mainconcept")


def smooth(height: int, width: int, count: int = 4) -> torch.Tensor:
    """A clip without sharp edges, which 4:2:0 holds well."""
    y = torch.linspace(0, 3, height)[:, None].expand(height, width)
    x = torch.linspace(0, 2, width)[None].expand(height, width)
    planes = [torch.stack([x + t / 9, y, x + y]).sin() / 2 + 0.5 for t in range(count)]
    return torch.stack(planes, 1)[None]  # (1, 3, T, H, W)


SIZES = [(64, 48), (1920, 1080), (642, 362), (353, 491), (353, 490), (352, 491)]
TINY = [(1, 1), (2, 2), (5, 3), (3, 2)]


@pytest.mark.parametrize(("width", "height"), [*SIZES, *TINY])
def test_h264_keeps_every_size(tmp_path, width, height):
    path, clip = tmp_path / "a.mp4", smooth(height, width)
    write_video(path, clip, encoding=Encoding(crf=12))
    stream = video(path)
    assert (stream["width"], stream["height"]) == (width, height)
    assert stream["pix_fmt"] == ("yuv444p" if width % 2 or height % 2 else "yuv420p")
    back = read_video(path).clip
    assert back.shape == clip.shape
    if min(width, height) > 40:  # a few pixels of any colour are too sharp for 4:2:0
        assert float((back - clip).abs().mean()) < 3 / 255


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("h265", ".mp4"), ("vp9", ".webm"), ("av1", ".mkv"), ("ffv1", ".mkv"), ("mjpeg", ".mov"),
     ("prores", ".mov"), ("h264", ".avi"), ("h264", ".mov")],
)  # fmt: skip
def test_every_codec_keeps_an_odd_size_and_names_nobody(tmp_path, codec, suffix):
    path, clip = tmp_path / f"a{suffix}", smooth(51, 65)
    write_video(path, clip, encoding=Encoding(codec=codec))
    back = read_video(path)
    assert (back.info.codec, back.clip.shape) == ({"h265": "hevc"}.get(codec, codec), clip.shape)
    assert float((back.clip - clip).abs().mean()) < 4 / 255
    assert back.times.tolist() == pytest.approx([n / 25 for n in range(4)], abs=0.001)
    assert not [trace for trace in TRACES if trace in path.read_bytes()]


@pytest.mark.parametrize(
    ("codec", "suffix"), [("h264", ".mp4"), ("h265", ".mkv"), ("vp9", ".webm"), ("ffv1", ".mkv")]
)
def test_lossless_is_exact(tmp_path, codec, suffix):
    clip = torch.rand(1, 3, 3, 33, 47).mul(255).round() / 255
    write_video(tmp_path / f"a{suffix}", clip, encoding=Encoding(codec=codec, lossless=True))
    assert torch.equal(read_video(tmp_path / f"a{suffix}").clip, clip)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff", ".jpg", ".webp", ".gif"])
def test_images(tmp_path, suffix):
    path, clip = tmp_path / f"a{suffix}", smooth(48, 64, 1)
    write_video(path, clip)
    back = read_video(path).clip
    exact = suffix in (".png", ".bmp", ".tiff")
    assert float((back - clip).abs().max()) <= (0.51 / 255 if exact else 0.2)
    assert not [trace for trace in TRACES if trace in path.read_bytes()]


def test_an_image_holds_one_frame_and_a_gif_holds_many(tmp_path):
    with pytest.raises(UsageError, match="one frame"):
        write_video(tmp_path / "a.png", smooth(8, 8, 2))
    write_video(tmp_path / "a.gif", smooth(8, 8, 5), rate=10)
    back = read_video(tmp_path / "a.gif")
    assert back.times.tolist() == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("times", [[n / 120 for n in range(6)], [0, 0.1, 0.104]])
def test_a_gif_of_times_within_a_hundredth_of_a_second_is_refused(tmp_path, times):
    """It holds no others, and said that it cannot be written: invalid argument."""
    clip = Video(smooth(8, 8, len(times)), torch.tensor(times, dtype=torch.float64))
    with pytest.raises(UsageError, match=r"gif cannot keep times this close; name .* \.mkv"):
        write_video(tmp_path / "a.gif", clip)
    write_video(tmp_path / "a.mkv", clip)
    write_video(tmp_path / "b.gif", smooth(8, 8, 7), rate=60)
    found = read_video(tmp_path / "b.gif").times.tolist()
    assert found == pytest.approx([n / 60 for n in range(7)], abs=0.0051)


COLORS = [
    ("bt709", "bt709", "bt709", "tv"),
    ("smpte170m", "smpte170m", "smpte170m", "tv"),
    ("bt470bg", "smpte170m", "bt470bg", "pc"),
    ("bt2020", "smpte2084", "bt2020nc", "tv"),
    ("bt709", "bt709", "bt709", "pc"),
]


@pytest.mark.parametrize(("primaries", "transfer", "matrix", "range"), COLORS)
def test_colour_tags_and_pixels_stay(tmp_path, primaries, transfer, matrix, range):
    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    make(source, "-color_primaries", primaries, "-color_trc", transfer, "-colorspace", matrix,
         "-color_range", range, "-vf", "gblur=3", "-qp", 4, seconds=0.3)  # fmt: skip
    rewrite(source, target, encoding=Encoding(crf=4))
    for name in ("color_primaries", "color_transfer", "color_space", "color_range"):
        assert video(target)[name] == video(source)[name]
    one, two = frames(source)[3].picture.to_ndarray(), frames(target)[3].picture.to_ndarray()
    assert np.abs(one.astype(int) - two).mean() < 1.2


def test_untagged_stays_untagged(tmp_path):
    rewrite(make(tmp_path / "in.mp4"), tmp_path / "out.mp4")
    assert {"color_space", "color_primaries", "color_transfer"}.isdisjoint(
        video(tmp_path / "out.mp4")
    )


def test_pixel_aspect_stays_and_turns(tmp_path):
    source = make(tmp_path / "in.mp4", "-vf", "setsar=75/94")
    rewrite(source, tmp_path / "out.mp4")
    assert video(tmp_path / "out.mp4")["sample_aspect_ratio"] == "75:94"
    ffmpeg("-i", source, "-c", "copy", "-metadata:s:v", "rotate=90", tmp_path / "turned.mp4")
    rewrite(tmp_path / "turned.mp4", tmp_path / "out2.mp4")
    stream = video(tmp_path / "out2.mp4")
    assert (stream["width"], stream["height"], stream["sample_aspect_ratio"]) == (48, 64, "94:75")
    assert "side_data_list" not in stream


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_ten_bits_and_hdr_tags_stay(tmp_path, codec):
    source = tmp_path / "in.mkv"
    tags = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"
    params = {"libx264": "-x264-params", "libx265": "-x265-params"}[codec]
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:d=0.4", "-c:v", codec, "-preset", "ultrafast",
           "-pix_fmt", "yuv420p10le", params, tags, source)  # fmt: skip
    for encoding in (QUICK, Encoding(codec="h265", preset="ultrafast")):
        rewrite(source, tmp_path / "out.mp4", encoding=encoding)
        stream = video(tmp_path / "out.mp4")
        assert stream["pix_fmt"] == "yuv420p10le"
        assert (stream["color_transfer"], stream["color_space"]) == ("smpte2084", "bt2020nc")
    rewrite(source, tmp_path / "flat.mp4", force_8bit=True)
    assert video(tmp_path / "flat.mp4")["pix_fmt"] == "yuv420p"
    with pytest.raises(UsageError, match="--force-8bit"):
        rewrite(source, tmp_path / "no.webm", encoding=Encoding(codec="vp9"))
    assert not (tmp_path / "no.webm").exists()


def test_ten_bits_are_really_used(tmp_path):
    source, target = tmp_path / "in.mkv", tmp_path / "out.mkv"
    ramp = "nullsrc=s=1024x16:d=0.2,format=gray10,geq=lum='X'"
    ffmpeg(
        "-f", "lavfi", "-i", ramp, "-c:v", "libx264", "-qp", 1, "-pix_fmt", "yuv420p10le", source
    )
    rewrite(source, target, encoding=Encoding(crf=1))
    levels = frames(target)[1].picture.to_ndarray()[:16]
    assert len(np.unique(levels[8, 100:900])) > 600  # 8 bits hold 220


def test_one_stream_faststart_and_no_tag(tmp_path):
    source = make_with_sound(tmp_path / "in.mp4", "-metadata", "title=CANARY-1", "-c:a", "aac")
    kept = rewrite(source, tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert [s["codec_type"] for s in streams(tmp_path / "out.mp4")] == ["video"]
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"CANARY" not in data and not [trace for trace in TRACES if trace in data]
    assert "title" in kept.removed and "stream1 (audio, aac)" in kept.removed


def test_the_same_input_gives_the_same_bytes(tmp_path):
    source = make(tmp_path / "in.mp4")
    rewrite(source, tmp_path / "one.mp4")
    rewrite(source, tmp_path / "two.mp4")
    assert (tmp_path / "one.mp4").read_bytes() == (tmp_path / "two.mp4").read_bytes()


def test_bitrate_of_the_source(tmp_path):
    source = make(tmp_path / "in.mp4", "-b:v", "300k", size="320x240", seconds=4)
    near = Encoding(bitrate="source", preset="ultrafast")
    rewrite(source, tmp_path / "out.mp4", encoding=near)
    assert probe_in_process(tmp_path / "out.mp4").bitrate == pytest.approx(
        probe_in_process(source).bitrate, rel=0.35
    )


@pytest.mark.parametrize(
    "wrong",
    [{"codec": "divx"}, {"crf": 20, "lossless": True}, {"crf": 20, "bitrate": 10}, {"crf": 99},
     {"codec": "ffv1", "crf": 3}, {"codec": "av1", "lossless": True}, {"bitrate": 0},
     {"codec": "mjpeg", "preset": "fast"}, {"threads": -1}, {"lossless": True, "hwaccel": "cuda"}],
)  # fmt: skip
def test_contradictions(wrong):
    with pytest.raises(UsageError, match=r"\.$"):
        Encoding(**wrong)


def test_unknown_presets_and_missing_gpus_are_refused(tmp_path):
    source = make(tmp_path / "in.mp4")
    with pytest.raises(UsageError, match="preset"):
        rewrite(source, tmp_path / "out.mp4", encoding=Encoding(preset="warp9"))
    if not Path("/dev/nvidia0").exists():
        with pytest.raises(MissingError, match="hwaccel"):
            rewrite(source, tmp_path / "out.mp4", encoding=Encoding(hwaccel="cuda"))
    assert not (tmp_path / "out.mp4").exists()


def test_containers_follow_the_name():
    assert container_for("a.b/c.MKV", Encoding()) == "matroska"
    assert container_for("noname", Encoding()) == "mp4"
    assert container_for(".webm", Encoding(codec="vp9")) == "webm"
    with pytest.raises(UsageError, match=r"\.mp4.*vp9"):
        container_for("a.webm", Encoding())
    with pytest.raises(UsageError, match=r"\.mpg"):
        container_for("a.mpg", Encoding())


@given(st.sampled_from(sorted(CODECS)), st.sampled_from(sorted(CONTAINERS)))
def test_every_pair_is_held_or_refused_with_one_that_works(codec, container):
    suffix = {"matroska": ".mkv"}.get(container, f".{container}")
    if codec in CONTAINERS[container]:
        assert container_for(suffix, Encoding(codec=codec)) == container
    else:
        with pytest.raises(UsageError) as caught:
            container_for(suffix, Encoding(codec=codec))
        better = str(caught.value).split("file ")[1].split(",")[0]
        assert container_for(better, Encoding(codec=codec))


@given(st.sampled_from(sorted(CODECS)), st.sampled_from(sorted(CONTAINERS)), st.booleans())
def test_a_deep_video_is_held_or_refused_with_a_codec_that_holds_it(codec, container, lossless):
    if codec not in CONTAINERS[container] or (lossless and CODECS[codec].lossless is None):
        return
    size = {"width": 64, "height": 48, "deep": True}
    try:
        held = pixel_format(Encoding(codec=codec, lossless=lossless), container, **size)
        assert av.VideoFormat(held).components[0].bits > 8
    except UsageError as error:
        named = str(error).split("--codec ")[1].rstrip(".")
        container = "matroska" if ".mkv" in named else container
        for better in named.removesuffix(" and a .mkv file").split(" or "):
            assert better in CONTAINERS[container]
            assert pixel_format(Encoding(codec=better, lossless=lossless), container, **size)


@pytest.mark.parametrize(
    "name", [b"%03d.mp4", b"a:b.mp4", b"-o.mp4", b"a\nb.mp4", b"\xff\xfe.mp4", b"a" * 250 + b".mp4"]
)
def test_file_names_are_never_interpreted(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    write_video(path, smooth(8, 8))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert read_video(path).clip.shape == (1, 3, 4, 8, 8)


def test_write_video_overwrites_only_when_asked(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"mine")
    with pytest.raises(UsageError, match="overwrite"):
        write_video(path, smooth(8, 8))
    assert path.read_bytes() == b"mine"
    write_video(path, smooth(8, 8), overwrite=True)
    assert probe_in_process(path).frames == 4
    with pytest.raises(UsageError, match="shape"):
        write_video(tmp_path / "b.mp4", torch.zeros(3, 4, 8, 8))
    for wrong in ([0.0, 0.1, 0.2], [0.0, 0.1, 0.2, float("nan")]):
        with pytest.raises(UsageError, match="a finite number"):
            write_video(tmp_path / "b.mp4", Video(smooth(8, 8), torch.tensor(wrong)))


@pytest.mark.parametrize("name", ["a.webm", "b.mkv", "c.avi", "d.mov", "e"])
def test_a_clip_is_written_in_a_codec_that_its_file_can_hold(tmp_path, name):
    write_video(tmp_path / name, smooth(32, 32))
    assert read_video(tmp_path / name).clip.shape == (1, 3, 4, 32, 32)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (smooth(8, 8).numpy(), "a Video or a torch tensor, not ndarray"),
        (Video(smooth(8, 8).numpy(), torch.arange(4)), "torch tensors, not ndarray"),
        (Video(smooth(8, 8), [0.0, 0.1, 0.2, 0.3]), "a torch tensor .*, not list"),
        (Video(smooth(8, 8), torch.tensor([0.0, 0.1, 0.2, 1e30])), "times of up to"),
        (Video(smooth(8, 8), torch.tensor([-1e30, 0.1, 0.2, 0.3])), "times of up to"),
    ],
)
def test_what_is_no_clip_is_refused_in_one_sentence(tmp_path, wrong, told):
    with pytest.raises(UsageError, match=f"^write_video takes .*{told}"):
        write_video(tmp_path / "a.mp4", wrong)
    assert not list(tmp_path.iterdir())


def test_a_name_that_no_folder_holds_is_refused_in_one_sentence(tmp_path):
    for overwrite in (False, True):
        with pytest.raises(MasqueradeError, match="cannot be a file's name: File name too long"):
            write_video(tmp_path / f"{'a' * 300}.mp4", smooth(8, 8), overwrite=overwrite)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "count"), [("a.png", 2), ("a.mkv", 4)])
def test_a_clip_that_cannot_be_written_leaves_the_older_file(tmp_path, monkeypatch, name, count):
    def full(*_):
        raise OSError(28, "No space left on device")

    path = tmp_path / name
    path.write_bytes(b"mine")
    if name == "a.mkv":
        monkeypatch.setattr("masquerade.video.write.Writer._put", full)
    with pytest.raises(MasqueradeError, match=r"holds one frame|a\.mkv cannot be"):
        write_video(path, smooth(8, 8, count), overwrite=True)
    assert path.read_bytes() == b"mine" and [one.name for one in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1.5, -0.5, 200])
def test_a_clip_of_other_numbers_is_refused(tmp_path, wrong):
    """Bytes wrapped around, NaN became black, and all else was cut."""
    clip = smooth(8, 8)
    clip[0, 0, 1] = wrong
    for one in (clip, clip.double(), clip.byte()) if wrong == 200 else (clip,):
        with pytest.raises(UsageError, match=r"^write_video takes clips of finite .* in \[0, 1\]"):
            write_video(tmp_path / "a.mp4", one)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [0, -25, 1e-9, float("nan"), float("inf"), "25", None])
def test_a_rate_that_is_none_is_refused(tmp_path, rate):
    with pytest.raises(UsageError, match="write_video takes a rate from"):
        write_video(tmp_path / "a.mp4", smooth(8, 8), rate=rate)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("rate", [np.float32(12.5), np.int64(12), Fraction(25, 2), 12.5])
def test_a_rate_may_be_any_real_number(tmp_path, rate):
    write_video(tmp_path / "a.mp4", smooth(8, 8, 3), rate=rate)
    assert probe_in_process(tmp_path / "a.mp4").rate == Fraction(float(rate))


def test_write_video_keeps_the_times_of_what_was_read(tmp_path):
    source = make(tmp_path / "in.mkv", "-vf", "select='not(eq(n,3))'", "-fps_mode", "vfr")
    write_video(tmp_path / "out.mp4", read_video(source))
    assert times(tmp_path / "out.mp4") == pytest.approx(times(source), abs=0.0006)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("rate", [10, 30, 30000 / 1001, 60])
def test_times_that_no_file_gave_are_kept(tmp_path, suffix, rate):
    """They were rounded to 1 / 25 s, and 30 a second refused as too close."""
    path, at = tmp_path / f"a{suffix}", torch.arange(6, dtype=torch.float64) / rate
    write_video(path, Video(smooth(8, 8, 6), at))
    assert times(path) == pytest.approx(at.tolist(), abs=0.001)
    assert length(path) == pytest.approx(6 / rate, abs=0.004)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error(tmp_path):
    source = make(tmp_path / "in.mp4")
    (tmp_path / "out.mkv").symlink_to("/dev/full")
    with pytest.raises(MasqueradeError, match="No space left"):
        rewrite(source, tmp_path / "out.mkv")


@needs_wild
@pytest.mark.parametrize(
    "name",
    ["face_car_176x144.mp4", "makeup_xvid_mp3.avi", "asl_fullrange_yuvj420p.mkv",
     "rotation_meta_90.mov", "golf_odd_mjpeg.mov", "pancake_h264_opus.mkv", "juggle_av1.mp4"],
)  # fmt: skip
def test_the_wild_clips_keep_length_count_and_size(tmp_path, name):
    source, target = WILD / name, tmp_path / "out.mp4"
    rewrite(source, target)
    info, out = probe_in_process(source), video(target)
    assert (out["width"], out["height"]) == (info.width, info.height)
    assert int(out["nb_frames"]) == len(frames(source))
    assert length(target) == pytest.approx(info.duration, abs=0.5 / float(info.rate))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="this system has no such call")
def test_encoding_av1_takes_no_priority_over_other_processes(command):
    """As root, SVT-AV1 makes itself and the thread that opens it real-time: all others wait."""
    code = """
import os, sys, torch
os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # whatever the tests' process has
from masquerade.video.encoding import CODECS, Encoding, check_encoder
from masquerade.video.write import Writer, write_video

class Opened(Writer):
    def write(self, *given):
        threads = os.listdir("/proc/self/task")
        print(len(threads), {os.sched_getscheduler(int(thread)) for thread in threads})
        super().write(*given)

import masquerade.video.write
masquerade.video.write.Writer = Opened
write_video("a.mkv", torch.zeros(1, 3, 1, 48, 64), encoding=Encoding(codec="av1"))
print({os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")})
"""
    done = command(code=code)
    assert done.returncode == 0, done.stderr
    *during, after = done.stdout.splitlines()
    assert during and all(line.endswith(f" {{{os.SCHED_OTHER}}}") for line in during), during
    assert int(during[0].split()[0]) > 3 and after == f"{{{os.SCHED_OTHER}}}"

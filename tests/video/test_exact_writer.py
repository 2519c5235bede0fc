"""What an encoder is asked for, in numbers, and what of it stands in the file."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from masquerade.errors import UsageError
from masquerade.video.color import Color
from masquerade.video.container import most_pixels, printable
from masquerade.video.encoding import Encoding
from masquerade.video.probe import VideoInfo, probe_in_process
from masquerade.video.read import Reader
from masquerade.video.timestamps import FrameTime
from masquerade.video.write import Writer

TICK = Fraction(1, 1000)


def about(**given: Any) -> VideoInfo:
    plain: dict[str, Any] = {"path": Path("a.mp4"), "kind": "video", "container": "mov"}
    plain |= {"width": 64, "height": 48, "rate": Fraction(10), "time_base": TICK}
    return VideoInfo(**{**plain, **given})


def written(
    path: Path, container: str, encoding: Encoding, *stamps: int, info: VideoInfo | None = None
) -> Any:
    """Writes pictures at these times, and gives the encoder's context."""
    with Writer(path, info=info or about(), container=container, encoding=encoding) as writer:
        for number, stamp in enumerate(stamps):
            pixels = np.full((48, 64, 3), 40 * number % 256, np.uint8)
            writer.write(pixels, FrameTime(stamp, 100, TICK))
        context = writer._video.codec_context
        flags = context.flags, context.global_quality if hasattr(context, "global_quality") else 0
        return (context.bit_rate, context.thread_count, context.time_base, context.codec_tag, flags)


def test_an_encoder_gets_its_bits_threads_and_ticks(tmp_path: Path) -> None:
    path = tmp_path / "a"
    fast: dict[str, Any] = {"preset": "ultrafast", "threads": 1}
    bits, threads, base, _, flags = written(path, "mp4", Encoding(bitrate=90_000, **fast), 0)
    assert (bits, threads, base) == (90_000, 1, TICK) and flags[0] & 1 << 23
    source = Encoding(bitrate="source", **fast)
    assert written(path, "mp4", source, 0, info=about(bitrate=70_000))[0] == 70_000
    assert not written(path, "mp4", Encoding(**fast), 0, info=about(bitrate=70_000))[0]
    assert written(path, "avi", Encoding(**fast), 0)[2] == Fraction(1, 10)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_pictures_keep_their_times_and_lengths(tmp_path: Path, container: str) -> None:
    path, stamps = tmp_path / "a", (0, 100, 250, 300)
    info = about(sample_aspect=Fraction(4, 3), color=Color(1, 13, 6, full_range=True))
    written(path, container, Encoding(preset="ultrafast"), *stamps, info=info)
    with Reader(path, trusted=True) as reader:
        found = [(frame.time, frame.duration) for frame in reader]  # type: ignore[union-attr]
        assert reader.info.color == info.color and reader.info.sample_aspect == Fraction(4, 3)
        base = reader.info.time_base
    assert [time for time, _ in found] == pytest.approx([s / 1000 for s in stamps])
    lengths = [float(duration * base) for _, duration in found]
    assert lengths == pytest.approx([0.1, 0.15, 0.05, 0.1])
    for late in ((0, 0), (5, 4)):
        with pytest.raises(UsageError):
            written(tmp_path / "b", container, Encoding(preset="ultrafast"), *late)


def test_avi_has_one_picture_a_tick_and_all_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    written(path, "avi", Encoding(), *range(0, 800, 100))
    with Reader(path, trusted=True) as reader:
        assert [frame.time for frame in reader] == pytest.approx(  # type: ignore[union-attr]
            [number / 10 for number in range(8)]
        )
    assert probe_in_process(path).rate == 10
    with pytest.raises(UsageError):
        written(path, "avi", Encoding(), 0, 40)


def test_an_image_holds_one_picture_of_the_best_quality(tmp_path: Path) -> None:
    flags = written(tmp_path / "a.jpg", "jpeg", Encoding(), 0)[4]
    assert flags[0] & 2
    for kind in ("png", "jpeg", "bmp", "tiff", "webp"):
        with pytest.raises(UsageError):
            written(tmp_path / "b", kind, Encoding(), 0, 100)
    written(tmp_path / "c.gif", "gif", Encoding(), 0, 100)
    assert probe_in_process(tmp_path / "c.gif").kind == "video"


def test_a_video_that_began_before_zero_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    written(path, "mp4", Encoding(preset="ultrafast"), -200, -100, 0, info=about(start=-0.2))
    with Reader(path, trusted=True) as reader:
        assert len(list(reader)) == 3


def test_names_are_printable() -> None:
    assert printable("a/b.mp4") == printable(Path("x/b.mp4")) == printable("b.mp4/") == "b.mp4"
    assert printable("X/FOX/") == "FOX" and printable(os.fsdecode(b"a\xff")) == "a\\xff"
    assert printable("/") == "/" and printable("a\nb").isprintable()
    for name, most in (("png_pipe", 2**27), ("mjpeg", 2**26), ("mov", 2**26), ("tiff_pipe", 2**27)):
        container: Any = type("Container", (), {"format": type("Format", (), {"name": name})})
        assert most_pixels(container) == most

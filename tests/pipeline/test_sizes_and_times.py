"""What a run holds, how long a preview is, sizes and constant rates, by exact numbers."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from av import Packet

from masquerade.errors import UsageError, VideoError
from masquerade.pipeline import memory, pictures, single_file
from masquerade.pipeline.constant_frame_rate import exact_rate, to_constant_rate
from masquerade.pipeline.memory import held_pictures, most_bytes
from masquerade.pipeline.source_warnings import source_warnings
from masquerade.pipeline.stream import (
    AnonymizedFrame,
)
from masquerade.regions.region import Region
from masquerade.video.decoding import StreamPacket
from masquerade.video.probe import VideoInfo


def info(width: int, height: int, pix_fmt: str = "gray", bit_depth: int = 8) -> VideoInfo:
    own: dict[str, Any] = {"pix_fmt": pix_fmt, "bit_depth": bit_depth, "frames": 7}
    return VideoInfo(path=Path("a"), kind="video", container="", width=width, height=height, **own)


@pytest.mark.parametrize(
    ("picture", "look_ahead", "window", "held"),
    [
        (1, 0, 0, 32),  # five queues of four and two more, and two windows of one
        (1, 7, 1, 39),
        (1, 7, 4, 45),
        (0, 0, 3, 36),
        (2**28, 0, 1, 22),  # two fit into a queue
        (3 * 2**27, 0, 1, 17),  # one does
        (2**31, 0, 1, 17),  # none does, and one passes alone
    ],
)
def test_pictures_that_are_held(picture: int, look_ahead: int, window: int, held: int) -> None:
    assert held_pictures(picture, look_ahead, window) == held


SEVEN = SimpleNamespace(look_ahead=7)


def test_the_most_bytes_of_a_run() -> None:
    base, pixels = memory.BASE_BYTES, 1000 * 500
    expected = base + 39 * pixels + 32 * 3 * pixels + 60 * pixels + 300 * pixels
    assert (
        most_bytes(info(1000, 500), SEVEN, 1) == most_bytes(info(1000, 500), SEVEN, 0) == expected
    )
    expected = base + 45 * pixels * 2 + 38 * 6 * pixels + 240 * pixels + 300 * pixels
    assert most_bytes(info(1000, 500, "gray16le", 16), SEVEN, 4) == expected
    expected = base + 39 * pixels * 8 + 32 * 3 * pixels + 60 * pixels + 300 * pixels
    assert most_bytes(info(1000, 500, "unknown"), SEVEN, 1) == expected
    nine = most_bytes(info(1000, 500, "gray9le", 9), SEVEN, 4)
    assert nine == most_bytes(info(1000, 500, "gray16le", 16), SEVEN, 4)
    odd = info(3, 3, "yuv420p")  # 13.5 bytes a picture
    assert most_bytes(odd, SEVEN, 1) == base + 39 * 13 + 32 * 3 * 9 + 60 * 9 + 300 * 9


def test_a_preview_ends_after_so_many_seconds_of_the_first_frame() -> None:
    class Shown:
        def __init__(self, time: float) -> None:
            self.time = time

    def sound(time: float) -> StreamPacket:
        packet = Packet(4)
        packet.pts, packet.time_base = round(time * 1000), Fraction(1, 1000)
        return StreamPacket(1, packet)

    unknown = StreamPacket(1, None)
    items = [unknown, Shown(5.0), sound(5.05), Shown(5.4), Shown(5.5), Shown(6.0), sound(6.1)]
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(single_file, "Frame", Shown)
        within_preview: Any = single_file.within_preview
        assert list(within_preview(items, None)) == items
        assert list(within_preview(items, 0.5)) == items[:4]
        assert list(within_preview(items, 0.6)) == items[:5]
        assert list(within_preview(items, 0.1)) == items[:3]
        assert list(within_preview(items, 9)) == items
        later = [Shown((n + 1) / 25) for n in range(9)]  # 0.24 - 0.04 is below 0.2
        assert list(within_preview(later, 0.2)) == later[:5]
        ahead = [sound(4.9), Shown(5.0), sound(5.3), sound(5.5), Shown(5.4), sound(9.0)]
        assert list(within_preview(ahead, 0.5)) == [*ahead[:3], ahead[4]]
        early = [sound(5.7), sound(5.3), Shown(5.0), sound(5.4), Shown(5.4)]
        assert list(within_preview(early, 0.5)) == early[1:]
        assert list(within_preview(early, None)) == early


def test_the_image_of_where_to_hide_is_read_in_grey(tmp_path: Path) -> None:
    colours = np.zeros((6, 8, 3), np.uint8)
    colours[2, 3] = 255
    cv2.imwrite(str(tmp_path / "m.png"), colours)
    mask = single_file._load_region_image(tmp_path / "m.png", info(8, 6))
    assert mask.shape == (6, 8) and mask[2, 3] == 255 and mask.sum() == 255
    with pytest.raises(UsageError, match=r"m\.png is 8x6, but the video is 6x8"):
        single_file._load_region_image(tmp_path / "m.png", info(6, 8))
    (tmp_path / "n.png").write_text("no image")
    with pytest.raises(UsageError, match="no image"):
        single_file._load_region_image(tmp_path / "n.png", info(8, 6))


def test_an_image_whose_name_is_no_text_is_read_and_one_too_large_is_refused(
    tmp_path: Path,
) -> None:
    written = cv2.imencode(".png", np.full((6, 8), 255, np.uint8))[1].tobytes()
    named = tmp_path / "m\udcff.png"
    named.write_bytes(written)
    assert single_file._load_region_image(named, info(8, 6)).all()
    huge = struct.pack(">II", 60000, 60000)
    crc = struct.pack(">I", zlib.crc32(b"IHDR" + huge + written[24:29]))
    (tmp_path / "h.png").write_bytes(written[:16] + huge + written[24:29] + crc + written[33:])
    with pytest.raises(UsageError, match="no image"):
        single_file._load_region_image(tmp_path / "h.png", info(8, 6))


@pytest.mark.parametrize("interlaced", [False, True])
def test_of_two_fields_it_is_said_that_the_output_is_marked_progressive(interlaced: bool) -> None:
    read = dict.fromkeys(("lost", "damaged", "repaired_timestamps", "end_unknown"), 0)
    reader: Any = SimpleNamespace(info=info(8, 6), on_gpu=False, interlaced=int(interlaced), **read)
    said = list(source_warnings(reader, frames=9, gpu=False, repaired=reader.repaired_timestamps))
    assert len(said) == interlaced and all("marked progressive: deint" in one for one in said)


def test_pixels_are_made_smaller_only_where_they_must_be() -> None:
    pixels = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert pictures._resize(pixels, info(8, 6)) is pixels
    small = pictures._resize(pixels, info(4, 3))
    assert small.shape == (3, 4, 3)
    mean = pixels.astype(float).reshape(3, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(small - mean).max() <= 0.5
    mask = np.arange(48, dtype=np.uint8).reshape(6, 8)
    frame = AnonymizedFrame(None, pixels, Region(), mask)
    assert np.array_equal(pictures.mask_picture(frame), np.stack([mask] * 3, 2))
    everything = pictures.mask_picture(frame._replace(mask=None))
    assert everything.shape == (6, 8, 3) and everything.dtype == np.uint8
    assert (everything == 255).all()


def frame_at(pts: int, duration: int = 1, base: Fraction = Fraction(1, 10)) -> AnonymizedFrame:
    time = SimpleNamespace(pts=pts, duration=duration, time_base=base, index=pts)
    return AnonymizedFrame(time, np.zeros((1, 1, 3), np.uint8), Region(), None)


@pytest.mark.parametrize(
    ("times", "rate", "shown"),
    [
        ([0, 1, 2, 3], 10, [0, 1, 2, 3]),
        ([0, 1, 2, 3], 20, [0, 0, 1, 1, 2, 2, 3, 3]),
        ([0, 1, 2, 3], 5, [0, 2]),
        ([0, 4, 5], 10, [0, 0, 0, 0, 4, 5]),
        ([7, 8], 10, [7, 8]),
        ([0, 1, 2, 3, 4, 5], 4, [0, 3, 5]),
        ([2_000_000, 2_000_001], 10, [2_000_000, 2_000_001]),  # it begins two days late
        ([], 4, []),
    ],
)
def test_a_constant_rate_shows_what_was_there_at_each_tick(
    times: list[int], rate: int, shown: list[int]
) -> None:
    sound = object()
    items = [sound, *(item for t in times for item in (frame_at(t), sound))]
    found = list(to_constant_rate(items, Fraction(rate)))
    every = [item.frame for item in found if item is not sound]
    frames = [frame for frame in every if frame.duration]  # the others are dropped, and counted
    assert [frame.index for frame in frames] == shown and found.count(sound) == len(times) + 1
    assert list(dict.fromkeys(frame.index for frame in every)) == times
    first = times[0] * rate // 10 if times else 0
    assert [frame.pts for frame in frames] == [first + i for i in range(len(shown))]
    assert all((f.duration, f.time_base) == (1, Fraction(1, rate)) for f in frames)


@pytest.mark.parametrize("start", [Fraction(0), Fraction(7, 1000), Fraction(1, 60), Fraction(74)])
@pytest.mark.parametrize(
    "rate", [Fraction(30000, 1001), Fraction(30), Fraction(60000, 1001), Fraction(60)]
)
def test_times_rounded_to_milliseconds_drop_and_double_nothing(
    rate: Fraction, start: Fraction
) -> None:
    """As Matroska has them: a third of the frames came twice, or not at all."""
    milli = Fraction(1, 1000)
    times = [round((start + n / rate) / milli) for n in range(301)]
    frames = [frame_at(a, b - a, milli) for a, b in pairwise(times)]
    shown = [one.frame for one in to_constant_rate(frames, rate) if one.frame.duration]
    assert [frame.index for frame in shown] == times[:-1]
    assert all(b.pts - a.pts == 1 for a, b in pairwise(shown))
    assert abs(shown[0].pts / rate - start) <= 1 / rate / 2 + milli
    for fewer in (2, 3):
        every = to_constant_rate(frames, rate / fewer)
        kept = [times.index(one.frame.index) for one in every if one.frame.duration]
        assert {b - a for a, b in pairwise(kept)} == {fewer} and len(kept) == 300 // fewer


def test_one_picture_is_repeated_a_hundred_thousand_times_at_most() -> None:
    found = to_constant_rate([frame_at(0, 10**6)], Fraction(1))
    assert sum(1 for _ in found) == 100_000
    with pytest.raises(VideoError, match="100000 are the most"):
        list(to_constant_rate([frame_at(0, 10**6 + 10)], Fraction(1)))


@pytest.mark.parametrize(
    ("rate", "exact"),
    [
        (25.0, Fraction(25)),
        (30.0, Fraction(30)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(30000, 1001)),
        (29.966, Fraction(30000, 1001)),
        (29.964, Fraction(29.964).limit_denominator(1001)),
        (23.976, Fraction(24000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (0.1, Fraction(1, 10)),
        (1.003, Fraction(1.003).limit_denominator(1001)),
    ],
)
def test_a_rate_of_television_is_an_exact_fraction(rate: float, exact: Fraction) -> None:
    assert exact_rate(rate) == exact and exact_rate(None) is None

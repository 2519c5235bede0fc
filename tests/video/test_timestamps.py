"""Timestamps: every frame keeps its time, as ffprobe reads source and output."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import pytest
from clips import (
    ffmpeg,
    ffprobe,
    frames,
    length,
    make,
    make_with_sound,
    needs_ffmpeg,
    rewrite,
    streams,
    times,
    video,
)
from hypothesis import given
from hypothesis import strategies as st

from masquerade.video.encoding import Encoding
from masquerade.video.read import Reader
from masquerade.video.timestamps import TimestampRepair

pytestmark = needs_ffmpeg
HALF_TICK = 0.5 / 10000 + 1e-6  # ffprobe prints microseconds


def vfr(path: Path, *options: object) -> Path:
    """A phone's clip: 33 frames at 30 a second, then 22 at 5: 55 frames in 5.5 seconds."""
    parts = [path.with_name("fast.mp4"), path.with_name("slow.mp4")]
    for part, rate, seconds in zip(parts, (30, 5), (1.1, 4.4), strict=True):
        make(part, *options, "-video_track_timescale", 30000, rate=rate, seconds=seconds)
    listed = path.with_suffix(".txt")
    listed.write_text("".join(f"file {part.name}\n" for part in parts))
    ffmpeg("-f", "concat", "-i", listed, "-c", "copy", path)
    return path


@pytest.mark.parametrize("codec", [("-bf", 0), ("-bf", 3, "-preset", "medium")])
def test_variable_frame_rate_keeps_its_times_and_its_length(tmp_path, codec):
    source, target = vfr(tmp_path / "vfr.mp4", *codec), tmp_path / "out.mp4"
    rewrite(source, target, encoding=Encoding(preset="fast"))  # with B-frames of its own
    assert len(times(target)) == 55
    assert times(target) == pytest.approx(times(source), abs=HALF_TICK)
    assert length(target) == pytest.approx(5.5, abs=0.001)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("rate", ["24000/1001", "30000/1001", "25", "120", "12.5"])
def test_constant_rates_are_exact(tmp_path, suffix, rate):
    source, target = make(tmp_path / "in.mp4", rate=rate), tmp_path / f"out{suffix}"
    rewrite(source, target)
    slack = 0.00051 if suffix == ".mkv" else HALF_TICK
    assert times(target) == pytest.approx(times(source), abs=slack)
    assert length(target) == pytest.approx(length(source), abs=slack * 2 + 0.0006)
    if suffix != ".mkv":
        assert Fraction(video(target)["avg_frame_rate"]) == Fraction(rate)


@pytest.mark.parametrize("offset", [1.4, 0.02, 100])
def test_a_start_offset_stays_between_pictures_and_sound(tmp_path, offset):
    source = make_with_sound(tmp_path / "in.mp4", "-c:v", "libx264", "-c:a", "aac")
    late, target = tmp_path / "late.mkv", tmp_path / "out.mp4"
    sound = ("-i", source, "-map", "0:v", "-map", "1:a", "-c", "copy")
    ffmpeg("-itsoffset", offset, "-i", source, *sound, late)
    rewrite(late, target, audio="keep")
    assert times(target) == pytest.approx(times(late), abs=0.0006)
    starts = [float(s["start_time"]) for s in ffprobe(target, "-show_streams")["streams"]]
    assert starts == pytest.approx([offset, 0], abs=0.03)


def test_transport_stream_keeps_its_b_frames_and_begins_with_its_first_stream(tmp_path):
    source = make_with_sound(tmp_path / "in.ts", "-c:v", "libx264", "-bf", 2, "-c:a", "aac")
    target = tmp_path / "out.mp4"
    rewrite(source, target, audio="keep")
    first = min(float(stream["start_time"]) for stream in streams(source))
    assert times(source)[0] > first > 1
    assert times(target) == pytest.approx([time - first for time in times(source)], abs=0.0005)


def test_an_edit_list_cuts_as_players_cut(tmp_path):
    whole = make(tmp_path / "in.mp4", "-g", 25, "-bf", 2, seconds=3)
    cut, target = tmp_path / "cut.mp4", tmp_path / "out.mp4"
    ffmpeg("-ss", 1.5, "-i", whole, "-c", "copy", cut)
    rewrite(cut, target)
    assert times(target) == pytest.approx(times(cut), abs=HALF_TICK)
    assert length(target) == pytest.approx(1.5, abs=0.05)


def test_avi_with_b_frames_starts_at_zero_and_is_even(tmp_path):
    source = make(tmp_path / "in.avi", "-c:v", "mpeg4", "-bf", 2, seconds=2)
    with Reader(source) as reader:
        shown = [frame.time for frame in reader]
        assert reader.repaired == 0
    assert shown == pytest.approx([n / 25 for n in range(50)])


def test_durations_reach_to_the_next_frame(tmp_path):
    found = frames(vfr(tmp_path / "vfr.mkv"))
    for one, two in itertools.pairwise(found):
        assert one.pts + one.duration == two.pts
    assert float(found[-1].duration * found[-1].time_base) == pytest.approx(0.2)


def test_the_writer_refuses_times_that_avi_cannot_hold(tmp_path):
    from masquerade.errors import UsageError

    with pytest.raises(UsageError, match=r"\.mkv"):
        rewrite(vfr(tmp_path / "vfr.mp4"), tmp_path / "out.avi")


stamps = st.lists(st.tuples(*[st.none() | st.integers(-(10**6), 10**6)] * 2), max_size=40)


@given(stamps, st.integers(-100, 100))
def test_repaired_timestamps_only_rise(pairs, start):
    clock = TimestampRepair(rate=Fraction(25), time_base=Fraction(1, 1000), start=start)
    ticks = [clock.tick(*pair) for pair in pairs]
    assert all(a < b for a, b in itertools.pairwise(ticks))
    assert clock.repaired == sum(tick != pts for tick, (pts, _) in zip(ticks, pairs, strict=True))


def test_good_timestamps_stay_and_others_follow_by_one_frame():
    clock = TimestampRepair(rate=Fraction(25), time_base=Fraction(1, 1000))
    given = [(0, 0), (40, 40), (None, 80), (None, None), (100, None), (200, None)]
    assert [clock.tick(*pair) for pair in given] == [0, 40, 80, 120, 160, 200]
    assert clock.repaired == 3

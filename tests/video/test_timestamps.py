"""Timestamps: every frame keeps its time, as ffprobe reads source and output."""

from __future__ import annotations

import itertools
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
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

import masquerade
from masquerade.video.encoding import Encoding
from masquerade.video.read import Reader
from masquerade.video.timestamps import SoundClock, TimestampRepair

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


@pytest.mark.parametrize(
    ("rate", "suffix"),
    [(rate, ".mp4") for rate in ("24000/1001", "30000/1001", "25", "120", "12.5")]
    + [(rate, suffix) for rate in ("24000/1001", "120") for suffix in (".mov", ".mkv")],
)
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
        assert reader.repaired_timestamps == 0
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


def test_a_fragmented_file_becomes_an_avi_of_its_own_rate(tmp_path):
    """Its last frame seems long, so that its average is below the rate of all others."""
    quick = ("-c:v", "libx264", "-preset", "ultrafast", "-g", 25, "-c:a", "aac")
    fragments = ("-movflags", "frag_keyframe+empty_moov", *quick)
    source, out = make_with_sound(tmp_path / "in.mp4", *fragments, seconds=4), tmp_path / "out.avi"
    with Reader(source) as reader:
        assert reader.info.rate < 25 == reader.info.even_rate
    rewrite(source, out)
    assert video(out)["avg_frame_rate"] == "25/1"
    assert np.diff(times(out))[1:] == pytest.approx([0.04] * 98, abs=1e-3)


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


def repaired(times: list[int | None]) -> list[int]:
    """What a decoder, which holds one picture back, makes of times in milliseconds."""
    clock = TimestampRepair(rate=Fraction(25), time_base=Fraction(1, 1000))
    given: list[int] = []
    for time in times:
        before = clock.last_before(time)
        if given:
            given[-1] = before
        given.append(clock.tick(time, None))
    assert clock.repaired == sum(a != b for a, b in zip(given, times, strict=True))
    return given


def test_one_time_ahead_of_both_its_neighbours_is_repaired():
    assert repaired([0, 40, 186_000, 120, 160]) == [0, 40, 80, 120, 160]
    assert repaired([9_000, 40, 80]) == [19, 40, 80]
    assert repaired([0, 90_000, 50, 80]) == [0, 25, 50, 80]
    assert repaired([0, 40, 80, 0, 40, 80]) == [0, 40, 80, 120, 160, 200]  # the clock starts again
    assert repaired([0, 40, 5_000, 5_040]) == [0, 40, 5_000, 5_040]


@given(st.lists(st.none() | st.integers(0, 10**6), max_size=40))
def test_repaired_times_only_rise(times):
    assert all(a < b for a, b in itertools.pairwise(repaired(times)))


def test_sound_goes_on_where_its_clock_starts_again():
    clock, second = SoundClock(), Fraction(1)
    begins = [Fraction(n) for n in (5, 6, 0, 1, 2, 60, 11, 20)]
    following = {60: Fraction(11)}
    shifts = [clock.shift(one, second, following.get(int(one))) for one in begins]
    assert [a + b for a, b in zip(begins, shifts, strict=True)] == [5, 6, 7, 8, 9, 10, 11, 20]
    assert clock.repaired == 4 and clock.doubts(Fraction(22)) and not clock.doubts(Fraction(21))
    tick = Fraction(1, 90_000)
    assert clock.shift(Fraction(20), second, tick=tick) == tick  # muxers refuse times twice
    assert clock.shift(Fraction(21), second, tick=tick) == 0


def test_times_that_a_container_rounds_are_no_faults(tmp_path: Path) -> None:
    """TrueHD has packets of .83 ms, and Matroska milliseconds."""
    src, out = tmp_path / "in.mkv", tmp_path / "out.mkv"
    sound = ("-f", "lavfi", "-i", "sine=d=1", "-c:a", "truehd", "-strict", "-2")
    words = ("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=d=1:s=96x64", *sound, src)
    subprocess.run(words, check=True)
    receipt = masquerade.anonymize_file(
        src, out, masquerade.build("blacken"), regions="frame", audio="keep"
    )
    assert receipt.mended_timestamps == 0 and not receipt.warnings


def test_pictures_without_a_container_are_not_said_to_lack_times(tmp_path: Path) -> None:
    src = tmp_path / "in.h264"
    make(src, "-c:v", "libx264")
    method = masquerade.build("blacken")
    receipt = masquerade.anonymize_file(src, tmp_path / "out.mp4", method, regions="frame")
    assert receipt.mended_timestamps and not any("times of" in one for one in receipt.warnings)


@pytest.mark.parametrize("audio", ["keep", "pitch"])
def test_recordings_behind_each_other_keep_all_their_sound(tmp_path, audio):
    part, source = tmp_path / "part.mpg", tmp_path / "in.mpg"
    make_with_sound(part, "-c:v", "mpeg2video", "-c:a", "ac3")
    source.write_bytes(part.read_bytes() * 2)
    receipt = masquerade.anonymize_file(
        source, tmp_path / "o.mp4", masquerade.build("blacken"), regions="frame", audio=audio
    )
    assert receipt.source.frames == 100
    assert receipt.mended_timestamps > 50 and "were replaced" in receipt.warnings[0]
    found = {one["codec_type"]: float(one["duration"]) for one in streams(tmp_path / "o.mp4")}
    assert found == {"video": pytest.approx(4, abs=0.05), "audio": pytest.approx(4, abs=0.05)}


def flip(path: Path, number: int, *, pid: int) -> None:
    """Flip bit 24 of the time of a stream's packet in an MPEG-TS: 186 seconds."""
    data, seen = bytearray(path.read_bytes()), 0
    for at in range(0, len(data), 188):
        if (data[at + 1] & 31) << 8 | data[at + 2] != pid or not data[at + 1] & 64:
            continue
        at += 4 + (1 + data[at + 4] if data[at + 3] & 32 else 0)
        seen += 1
        if seen == number:
            data[at + 10] ^= 1 << 2
    path.write_bytes(data)


def test_one_flipped_bit_delays_nothing(tmp_path):
    source = make(tmp_path / "in.ts", "-bf", 0, seconds=2)
    before = times(source)
    flip(source, 26, pid=0x100)
    with Reader(source) as reader:
        found = [item.time for item in reader]
        assert reader.repaired_timestamps == 1
    assert found == pytest.approx(before, abs=1e-3)

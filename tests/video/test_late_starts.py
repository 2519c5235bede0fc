"""Sources that count from anywhere, as recorders do: an output begins at 0, and stays in sync."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import ffmpeg, ffprobe, length, needs_ffmpeg, streams, times

import masquerade
from masquerade.errors import UsageError

pytestmark = needs_ffmpeg
LATE = 40_000  # seconds


def recorded(path: Path, *options: object, sound: float = 0, late: float = LATE) -> Path:
    """Two seconds that count from `late`, whose sound begins `sound` seconds after the pictures.

    A click and a bright picture come together, a second after both have begun.
    """
    at = 1 + max(sound, 0)
    flash = f"color=black:s=64x48:r=25:d={at + 1},drawbox=t=fill:c=white:enable='gte(t,{at})'"
    click = f"aevalsrc='if(lt(t,{at - sound}),0,sin(2764*t))':s=48000:d={at - sound + 1}"
    moved = ("-itsoffset", sound) if sound > 0 else ()
    first = ("-itsoffset", -sound) if sound < 0 else ()
    codecs = ("-c:v", "libx264", "-bf", 2, "-c:a", "aac")
    ffmpeg(
        *(*first, "-f", "lavfi", "-i", flash, *moved, "-f", "lavfi", "-i", click),
        *("-pix_fmt", "yuv420p", *codecs, *options, "-output_ts_offset", late, path),
    )
    return path


def flash_and_click(path: Path) -> tuple[float, float]:
    """When the pictures become bright, and the sound loud, by what a decoder says."""
    with av.open(str(path)) as held:
        shown = {f.time: f.to_ndarray(format="gray").mean() for f in held.decode(video=0)}
    with av.open(str(path)) as held:
        heard = [
            (
                f.time + np.abs(f.to_ndarray()[0]).argmax() / f.sample_rate,
                np.abs(f.to_ndarray()).max(),
            )
            for f in held.decode(audio=0)
        ]
    top = max(level for _, level in heard)
    return min(t for t, level in shown.items() if level > 128), next(
        t for t, level in heard if level > top / 2
    )


def anonymize(source: Path, target: Path, **settings: Any) -> masquerade.Receipt:
    """Keep the pictures, but for a corner."""
    region = source.with_name("nothing.png")
    if not region.exists():
        ffmpeg("-f", "lavfi", "-i", "color=black:s=64x48,drawbox=w=2:h=2:t=fill:c=white",
               "-frames:v", 1, region)  # fmt: skip
    blacken = masquerade.build("blacken")
    return masquerade.anonymize_file(
        source, target, blacken, regions="frame", region=region, **settings
    )


@pytest.mark.parametrize(
    ("suffix", "audio"),
    [(suffix, "keep") for suffix in (".mp4", ".mov", ".mkv", ".avi", ".webm")]
    + [(suffix, "drop") for suffix in (".mp4", ".avi")]
    + [(suffix, "pitch") for suffix in (".mp4", ".mkv", ".avi")],
)
def test_an_output_begins_at_0_in_sync(tmp_path: Path, suffix: str, audio: str) -> None:
    sound = {".webm": "libopus", ".avi": "mp3"}.get(suffix, "aac")
    source, out = recorded(tmp_path / "a.ts", "-c:a", sound), tmp_path / f"b{suffix}"
    assert times(source)[0] > LATE
    receipt = anonymize(source, out, audio=audio)
    assert receipt.output is not None and receipt.output.frames == 50
    assert length(out) == pytest.approx(2, abs=0.15)
    assert 0 <= times(out)[0] < 0.1
    gap = suffix == ".avi"  # whose first picture stays where sound begins before it
    assert np.diff(times(out))[gap:] == pytest.approx(np.diff(times(source))[gap:], abs=0.002)
    if audio != "drop":
        flash, click = flash_and_click(out)
        before, heard = flash_and_click(source)
        # shifted sound is moved by up to a window of the tempo filter; AVI holds no such times
        assert click - flash == pytest.approx(
            heard - before, abs=0.1 if audio == "pitch" or gap else 0.045
        )


@pytest.mark.parametrize("audio", ["keep", "pitch"])
def test_avi_is_refused_where_sound_begins_late(tmp_path: Path, audio: str) -> None:
    """It would be heard from the first picture on, out of sync."""
    source = recorded(tmp_path / "a.ts", "-c:a", "mp3", sound=0.5)
    with pytest.raises(UsageError, match=r"begins 0\.5 seconds late; name the output \.mkv\.$"):
        anonymize(source, tmp_path / "b.avi", audio=audio)
    anonymize(source, tmp_path / "b.mkv", audio=audio)


@pytest.mark.parametrize(
    ("audio", "sound", "suffix"),
    [("keep", sound, suffix) for sound in (-1.5, 1.5) for suffix in (".mp4", ".mkv")]
    + [("pitch", -1.5, ".mkv"), ("pitch", 1.5, ".mp4")],
)
def test_the_stream_that_begins_first_begins_at_0(
    tmp_path: Path, suffix: str, sound: float, audio: str
) -> None:
    source, out = recorded(tmp_path / "a.ts", sound=sound), tmp_path / f"b{suffix}"
    anonymize(source, out, audio=audio)
    starts = [float(stream["start_time"]) for stream in streams(out)]
    assert starts == pytest.approx([max(-sound, 0), max(sound, 0)], abs=0.05)
    flash, click = flash_and_click(out)
    assert flash == pytest.approx(1 + abs(sound), abs=0.05)
    assert click == pytest.approx(flash, abs=0.1)
    anonymize(source, tmp_path / f"c{suffix}")
    assert times(tmp_path / f"c{suffix}")[0] == pytest.approx(0, abs=0.001)


def test_a_source_that_begins_at_0_keeps_its_times(tmp_path: Path) -> None:
    for sound in (0.0, 1.5):
        source = recorded(tmp_path / "a.mkv", sound=sound, late=0)
        for audio in ("drop", "keep"):
            anonymize(source, tmp_path / "b.mkv", audio=audio, overwrite=True)
            assert times(tmp_path / "b.mkv") == pytest.approx(times(source), abs=0.0015)
    early = recorded(tmp_path / "e.mkv", sound=-1.5, late=0)
    anonymize(early, tmp_path / "b.mkv", audio="keep", overwrite=True)
    assert times(tmp_path / "b.mkv") == pytest.approx(times(early), abs=0.0015)


def words(path: Path) -> list[tuple[float, str]]:
    """When each line of subtitles is shown."""
    with av.open(str(path)) as held:
        packets = [p for p in held.demux(subtitles=0) if p.size]
    return [(float(p.pts * p.time_base), bytes(p).decode()) for p in packets]


def test_subtitles_and_chapters_stay_beside_the_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nwords\n")
    (tmp_path / "a.txt").write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=1000\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=1000\nEND=2000\ntitle=two\n"
    )
    plain, source, out = (
        recorded(tmp_path / "p.mkv", late=0),
        tmp_path / "a.mkv",
        tmp_path / "b.mkv",
    )
    beside = ("-i", tmp_path / "a.srt", "-i", tmp_path / "a.txt", "-map", "0:v", "-map", "1")
    kept = ("-map_chapters", 2, "-c", "copy", "-output_ts_offset", 5)
    ffmpeg("-i", plain, *beside, *kept, source)
    assert words(source) == [(6.0, "words")]
    anonymize(source, out, metadata="keep:subtitle,chapter")
    found = ffprobe(out, "-show_chapters")["chapters"]
    given = ffprobe(source, "-show_chapters")["chapters"]
    first = times(source)[0]
    assert times(out)[0] == 0 and words(out) == [(pytest.approx(6 - first, abs=0.002), "words")]
    for chapter, before in zip(found, given, strict=True):
        for key in ("start_time", "end_time"):
            moved = max(0, float(before[key]) - first)
            assert float(chapter[key]) == pytest.approx(moved, abs=0.002)


def packets(path: Path) -> list[tuple[int, Any, Any, bytes]]:
    """Every packet of a file, with its stream and its times."""
    with av.open(str(path)) as held:
        found = [(p.stream_index, p.pts, p.dts, bytes(p)) for p in held.demux() if p.size]
    return sorted(found, key=lambda one: (one[0], one[2]))


def test_parts_and_masks_and_previews_begin_there_too(tmp_path: Path) -> None:
    source = recorded(tmp_path / "a.ts", "-vf", "tpad=stop_mode=clone:stop_duration=1")
    whole, parted = tmp_path / "whole.mp4", tmp_path / "parted.mp4"
    anonymize(source, whole, audio="keep", export_masks=tmp_path / "masks.mkv")
    anonymize(source, parted, audio="keep", parts=2)
    assert times(parted) == times(whole) and times(whole)[0] < 0.1
    sounds = [[one for one in packets(path) if one[0] == 1] for path in (whole, parted)]
    assert sounds[0] == sounds[1] and len(sounds[0]) > 80
    assert times(tmp_path / "masks.mkv") == pytest.approx(times(whole), abs=0.001)
    anonymize(source, tmp_path / "c.mp4", audio="keep", preview=0.4)
    assert times(tmp_path / "c.mp4") == times(whole)[:10]
    assert length(tmp_path / "c.mp4") == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize(
    ("rate", "late"),
    [
        *((25, late) for late in (LATE + 0.02, LATE + 0.5, 1.4, 0.02)),
        *((12.5, LATE + 0.02), (30, LATE + 0.5), (30, 0.02)),
    ],
)
def test_a_constant_rate_begins_at_0(tmp_path: Path, late: float, rate: float) -> None:
    source, out = recorded(tmp_path / "a.ts", late=late), tmp_path / "b.avi"
    anonymize(source, out, cfr=rate)
    assert times(out) == pytest.approx([n / rate for n in range(len(times(out)))], abs=0.001)
    assert len(times(out)) == pytest.approx(2 * rate, abs=1)


def test_even_times_between_two_ticks_of_an_avi_stay_even(tmp_path: Path) -> None:
    """It was refused, as if two pictures came at one time."""
    source, out = recorded(tmp_path / "a.ts", late=LATE + 0.02), tmp_path / "b.avi"
    assert times(source)[0] * 25 % 1 == pytest.approx(0.5, abs=1e-4)
    anonymize(source, out)
    assert times(out) == pytest.approx([n / 25 for n in range(50)], abs=0.001)

"""Files that are whole and unusual, and what is asked of them that cannot be: read, or refused."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import ffmpeg, frames, make, make_with_sound, needs_ffmpeg, rewrite, streams

import masquerade
from masquerade.errors import MissingError, UsageError, VideoError
from masquerade.video import container, encoding
from masquerade.video.audio import strip_comments
from masquerade.video.encoding import CODECS, Encoding, check_encoder, pixel_format
from masquerade.video.probe import images_in, probe_in_process
from masquerade.video.read import Reader, read_video

pytestmark = needs_ffmpeg
X264 = ("-c:v", "libx264", "-g", 10)
PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # of an ASF file: their mark


def test_a_video_codec_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.avi", "-c:v", "mpeg4", "-vtag", "XVID")
    path.write_bytes(path.read_bytes().replace(b"XVID", b"QQQQ"))
    with pytest.raises(VideoError, match=r"a\.avi uses a video codec that cannot be decoded here"):
        probe_in_process(path)


def test_a_folder_of_images_that_is_gone_or_without_rate_is_refused(tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:r=5:d=1", tmp_path / "%d.png")
    assert len(frames(tmp_path, info=probe_in_process(tmp_path, rate=Fraction(5)))) == 5
    with pytest.raises(VideoError, match="give a positive one"):
        probe_in_process(tmp_path, rate=Fraction(0))
    with pytest.raises(VideoError, match="gone cannot be listed: No such file"):
        images_in(tmp_path / "gone")


def test_a_reader_that_is_not_open_says_how_to_open_it(tmp_path: Path) -> None:
    reader = Reader(make(tmp_path / "a.mp4", *X264))
    with pytest.raises(VideoError, match="in a with block"):
        list(reader)


def test_a_disk_that_fails_while_it_is_read_is_no_short_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "a.mkv", *X264, size="640x480", seconds=3)
    info, plain = probe_in_process(path), os.fdopen

    class Failing:
        """A file whose second half cannot be read."""

        def __init__(self, file: Any) -> None:
            self.file, self.seek, self.tell = file, file.seek, file.tell

        def __enter__(self) -> Failing:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def read(self, size: int) -> bytes:
            if self.file.tell() > path.stat().st_size // 2:
                raise OSError(5, "Input/output error")
            return self.file.read(size)

    monkeypatch.setattr(container.os, "fdopen", lambda *a, **more: Failing(plain(*a, **more)))
    with pytest.raises(VideoError, match=r"a\.mkv .* after \d+ frames; .*--salvage"):
        frames(path, info=info, trusted=True)
    with Reader(path, info=info, salvage=True, trusted=True) as reader:
        found = len(list(reader))
    assert 0 < found < 75 and reader.damaged


def test_a_box_with_a_long_size_hides_no_missing_end(tmp_path: Path) -> None:
    """MP4 writes sizes above 4 GB in eight bytes, and any size may be written so."""
    path = make(tmp_path / "a.mp4", *X264, "-movflags", "frag_keyframe+empty_moov")
    path.write_bytes(path.read_bytes() + b"\0\0\0\1free" + (32).to_bytes(8, "big") + bytes(16))
    assert len(frames(path)) == 25
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(VideoError, match="ends early"):
        frames(path)


@pytest.mark.parametrize("index", ["last", "first"])
def test_an_mp4_that_was_copied_in_part_is_said_to_be_cut_short(tmp_path: Path, index: str) -> None:
    """Its index stands behind the frames, or before them as web servers have it."""
    flags = ("-movflags", "+faststart") if index == "first" else ()
    path = make(tmp_path / "a.mp4", *X264, *flags)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    says = r"a\.mp4 is cut short or was never finished.* copy it again"
    if index == "first":
        says = r"a\.mp4 ends early after \d+ frames; copy it again .*--salvage"
    with pytest.raises(VideoError, match=says):
        frames(path)
    (tmp_path / "no.mp4").write_bytes(b"hello, this is no video")
    with pytest.raises(VideoError, match="is not a video that can be read"):
        frames(tmp_path / "no.mp4")


def test_transport_streams_of_cameras_are_whole_or_refused(tmp_path: Path) -> None:
    """Blu-ray and AVCHD put four bytes before each packet."""
    path = make(tmp_path / "a.m2ts", *X264, "-mpegts_m2ts_mode", 1, "-f", "mpegts")
    assert path.stat().st_size % 192 == 0 and len(frames(path)) == 25
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(VideoError, match="ends early"):
        frames(path)


def test_a_broadcast_says_no_size_and_is_read(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wmv", "-c:v", "wmv2")
    data = bytearray(path.read_bytes())
    about = data.index(PROPERTIES)
    data[about + 40 : about + 48] = bytes(8)  # the size, which a recorder does not know yet
    path.write_bytes(data)
    assert len(frames(path)) == 25
    data[about + 40 : about + 48] = (len(data) + 1000).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(VideoError, match="ends early"):
        frames(path)
    data[about + 88] |= 1  # a broadcast
    path.write_bytes(data)
    assert len(frames(path)) == 25


def test_an_asf_file_without_properties_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wmv", "-c:v", "wmv2")
    path.write_bytes(path.read_bytes().replace(PROPERTIES, bytes(16)))
    with pytest.raises(VideoError):
        frames(path)


def test_a_long_comment_of_vorbis_goes_and_the_sound_stays(tmp_path: Path) -> None:
    source = make_with_sound(
        *(tmp_path / "a.mkv", *X264, "-c:a", "libvorbis"),
        *("-metadata:s:a", "CANARY=" + "CANARY" * 200),
    )
    assert source.read_bytes().count(b"CANARY") > 200
    rewrite(source, tmp_path / "b.mkv", audio="keep")
    assert b"CANARY" not in (tmp_path / "b.mkv").read_bytes()
    heard = [np.concatenate(samples(path)) for path in (source, tmp_path / "b.mkv")]
    assert np.array_equal(*heard)


def samples(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as held:
        return [frame.to_ndarray()[0] for frame in held.decode(audio=0)]


def test_a_comment_in_the_header_of_vorbis_goes(tmp_path: Path) -> None:
    """FFmpeg's own muxer writes none there; other tools do, longer than one byte of lacing."""

    first, comment, setup = (
        b"\1vorbis" + bytes(23),
        b"\3vorbis" + b"CANARY" * 200,
        b"\5vorbis" + b"s",
    )
    laced = bytes([2, len(first)]) + b"\xff" * (len(comment) // 255) + bytes([len(comment) % 255])
    clean = strip_comments("vorbis", laced + first + comment + setup)
    assert b"CANARY" not in clean and clean.endswith(setup)
    sizes, place = [clean[1], clean[2]], 3
    assert clean[place : place + sizes[0]] == first
    assert clean[place + sum(sizes) :] == setup


@pytest.mark.parametrize("audio", ["keep", "pitch"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_that_starts_after_the_preview_is_no_failure(
    tmp_path: Path, audio: str, suffix: str
) -> None:
    """MP4 leaves tracks without a packet out, Matroska does not."""
    sound = ("-f", "lavfi", "-itsoffset", 5, "-i", "sine=d=0.2")
    source, out = tmp_path / "a.mkv", tmp_path / f"b{suffix}"
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48:d=1", *sound, *X264, "-c:a", "aac", source)
    blacken = masquerade.build("blacken")
    receipt = masquerade.anonymize_file(
        source, out, blacken, regions="frame", audio=audio, preview=0.4
    )
    assert receipt.output is not None and receipt.output.frames == 10


def without_sound_in(path: Path, damaged: slice) -> int:
    """Overwrite some packets of a file's sound; gives how many."""
    with av.open(str(path)) as held:
        packets = [bytes(packet) for packet in held.demux(audio=0) if packet.size]
    data = path.read_bytes()
    for packet in packets[damaged]:
        assert data.count(packet) == 1
        data = data.replace(packet, b"\xff" * len(packet))
    path.write_bytes(data)
    return len(packets[damaged])


@pytest.mark.parametrize("codec", ["aac", "mp3", "flac"])
@pytest.mark.parametrize("damaged", [slice(10, 20), slice(12), slice(None)])
def test_sound_that_cannot_be_decoded_is_damage_where_its_pitch_is_shifted(
    tmp_path: Path, codec: str, damaged: slice
) -> None:
    source, out = tmp_path / "a.mkv", tmp_path / "b.mp4"
    make_with_sound(source, *X264, "-c:a", codec, "-af", "tremolo", seconds=2)
    count = without_sound_in(source, damaged)
    settings: dict[str, Any] = {"regions": "frame", "audio": "pitch"}
    blacken = masquerade.build("blacken")
    with pytest.raises(VideoError, match=r"^a\.mkv holds sound that cannot be decoded .*--salvage"):
        masquerade.anonymize_file(source, out, blacken, **settings)
    assert not out.exists()
    masquerade.anonymize_file(source, tmp_path / "c.mkv", blacken, regions="frame")
    receipt = masquerade.anonymize_file(source, out, blacken, salvage=True, **settings)
    assert 1 <= receipt.damaged_frames <= count and receipt.lost_frames == 0
    assert any("the source is damaged" in says for says in receipt.warnings)
    kinds = [stream["codec_type"] for stream in streams(out)]
    assert kinds == (["video"] if damaged == slice(None) else ["video", "audio"])


@pytest.mark.parametrize("damaged", [1, 3])
def test_the_first_packets_of_sound_may_lack_what_stood_before_them(
    tmp_path: Path, damaged: int
) -> None:
    source = make_with_sound(tmp_path / "a.mkv", *X264, "-c:a", "aac", "-af", "tremolo")
    without_sound_in(source, slice(damaged))
    rewrite(source, tmp_path / "b.mp4", audio="pitch")
    (stream,) = [s for s in streams(tmp_path / "b.mp4") if s["codec_type"] == "audio"]
    assert abs(float(stream["duration"]) - 2) < 0.1


def test_sound_of_so_few_packets_that_none_can_be_decoded_is_damage(tmp_path: Path) -> None:
    source = make_with_sound(tmp_path / "a.mkv", *X264, "-c:a", "aac", seconds=0.04)
    assert 0 < without_sound_in(source, slice(None)) <= 3
    with pytest.raises(VideoError, match="sound that cannot be decoded"):
        rewrite(source, tmp_path / "b.mp4", audio="pitch")


def test_sound_too_low_to_shift_is_refused(tmp_path: Path) -> None:
    source = make_with_sound(tmp_path / "a.mkv", *X264, "-c:a", "pcm_s16le", "-ar", 2000)
    with pytest.raises(UsageError, match="2000 Hz cannot be shifted; add --audio drop"):
        rewrite(source, tmp_path / "b.mp4", audio="pitch")


def test_subtitles_that_the_container_cannot_hold_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nwords\n")
    source = make(tmp_path / "a.mkv", *X264)
    both = tmp_path / "both.mkv"
    ffmpeg("-i", source, "-i", tmp_path / "a.srt", "-c:v", "copy", "-c:s", "srt", both)
    rewrite(both, tmp_path / "b.mkv", metadata="keep:subtitle")
    assert [s["codec_type"] for s in streams(tmp_path / "b.mkv")] == ["video", "subtitle"]
    with pytest.raises(UsageError, match=r"cannot hold .*name the output \.mkv"):
        rewrite(both, tmp_path / "b.avi", metadata="keep:subtitle")


def test_what_an_encoder_cannot_do_is_said_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="add --force-8bit"):
        pixel_format(Encoding(), "jpeg", width=64, height=48, deep=True)
    with pytest.raises(UsageError, match="No GPU encodes prores"):
        check_encoder(Encoding(codec="prores", hwaccel="cuda"), width=64, height=48, deep=False)
    if "h264_nvenc" in av.codecs_available:

        def fail(*_: Any) -> None:
            raise OSError("10 bit encode not supported")

        monkeypatch.setattr(encoding, "open_encoder", fail)
        with pytest.raises(MissingError, match="with more than 8 bits; choose h265, or leave --hw"):
            check_encoder(Encoding(hwaccel="cuda"), width=64, height=48, deep=True)
        with pytest.raises(MissingError, match="does not work on this machine; leave --hwaccel"):
            check_encoder(Encoding(hwaccel="cuda"), width=64, height=48, deep=False)
    monkeypatch.setitem(CODECS, "av1", replace(CODECS["av1"], encoder="libnothing"))
    with pytest.raises(MissingError, match="no libnothing encoder; choose h264"):
        check_encoder(Encoding(codec="av1"), width=64, height=48, deep=False)


def test_reading_stops_at_a_time(tmp_path: Path) -> None:
    video = read_video(make(tmp_path / "a.mp4", *X264), stop=0.4)
    assert video.clip.shape[2] == len(video.times) == 10

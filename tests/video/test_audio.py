"""Audio: dropped, copied in sync, or shifted in pitch; found by type, never by index."""

from __future__ import annotations

import hashlib
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ffmpeg, frames, make, make_with_sound, needs_ffmpeg, rewrite, streams, times

import masquerade
from masquerade.attack.file_facts import read_streams
from masquerade.errors import UsageError
from masquerade.video.audio import PitchShift, audio_streams, check_audio, strip_comments
from masquerade.video.encoding import Encoding
from masquerade.video.probe import probe_in_process, tally_frames_in_process
from masquerade.video.stream_template import StreamTemplate

pytestmark = needs_ffmpeg


def tones(path: Path, *options: object, sounds: int = 1, first: bool = False) -> Path:
    """A clip of two seconds with one tone a sound stream: 440 Hz, 880 Hz, ..."""
    inputs: list[object] = ["-f", "lavfi", "-i", "testsrc2=s=64x48:d=2"]
    for number in range(sounds):
        inputs += ["-f", "lavfi", "-i", f"sine={440 * (number + 1)}:r=48000:d=2"]
    maps = [n for number in range(1, sounds + 1) for n in ("-map", number)]
    picture = ["-map", 0, "-pix_fmt", "yuv420p"]
    ffmpeg(*inputs, *(maps + picture if first else picture + maps), *options, path)
    return path


def wave(path: Path, index: int = 0) -> tuple[np.ndarray, int, float]:
    """A sound stream's mono samples, their rate and its start in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[index]
        parts, start = [], None
        for frame in container.decode(stream):
            start = frame.time if start is None else start
            parts.append(frame.to_ndarray().reshape(-1, frame.samples).mean(0)
                         if frame.format.is_planar else frame.to_ndarray()[0])  # fmt: skip
        return np.concatenate(parts), stream.rate, start


def loudest(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency in Hz."""
    middle = samples[len(samples) // 4 : len(samples) * 3 // 4]
    power = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    return float(np.argmax(power) * rate / len(middle))


def hashes(path: Path) -> set[str]:
    """Every frame that any video stream of a file decodes to."""
    found = set()
    with av.open(str(path)) as container:
        for stream in container.streams.video:
            container.seek(0)
            for frame in container.decode(stream):
                found.add(hashlib.md5(frame.to_ndarray().tobytes()).hexdigest())
    return found


@pytest.mark.parametrize("audio", ["drop", "keep", "pitch"])
@pytest.mark.parametrize("first", [False, True])
def test_no_output_stream_decodes_to_an_input_frame(tmp_path, first, audio):
    """Where sound comes first, a tool that maps by index copies the pictures as they were."""
    source = tones(tmp_path / "in.mp4", "-c:a", "aac", "-qp", 20, first=first, sounds=2)
    rewrite(source, tmp_path / "out.mp4", audio=audio, encoding=Encoding(crf=40))
    kinds = [s["codec_type"] for s in streams(tmp_path / "out.mp4")]
    assert kinds == ["video"] + ["audio"] * (0 if audio == "drop" else 2)
    assert not hashes(source) & hashes(tmp_path / "out.mp4")


def test_the_proof_above_can_fail(tmp_path):
    source = tones(tmp_path / "in.mp4", "-c:a", "aac")
    ffmpeg("-i", source, "-c", "copy", tmp_path / "out.mp4")
    assert hashes(source) & hashes(tmp_path / "out.mp4")


def test_dropped_audio_is_not_in_the_file(tmp_path):
    mark = np.frombuffer(b"CANARY-SOUND-91", np.uint8).astype(np.int16)
    with av.open(str(tmp_path / "s.wav"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.tile(mark, 800)[None], "s16", "mono")
        sound.sample_rate = 8000
        out.mux(stream.encode(sound))
    clip = make(tmp_path / "clip.mkv")
    ffmpeg("-i", clip, "-i", tmp_path / "s.wav", "-c", "copy", tmp_path / "in.mkv")
    needle = mark.tobytes()
    assert needle in (tmp_path / "in.mkv").read_bytes()
    rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv")
    assert needle not in (tmp_path / "out.mkv").read_bytes()


@pytest.mark.parametrize("threads", [1, 16])  # that many read on before the first picture
@pytest.mark.parametrize("audio", ["keep", "pitch"])
def test_a_preview_has_no_sound_beyond_its_pictures(
    tmp_path: Path, audio: str, threads: int
) -> None:
    source = tones(tmp_path / "in.mp4", "-c:a", "aac")
    settings = {"regions": "frame", "audio": audio, "preview": 0.4, "threads": threads}
    masquerade.anonymize_file(source, tmp_path / "o.mp4", masquerade.build("blacken"), **settings)
    samples, rate, start = wave(tmp_path / "o.mp4")
    assert 0.3 < start + len(samples) / rate < 0.4 + 0.05  # but for the packet that it ends in


@pytest.mark.parametrize(
    ("codec", "source", "target"),
    [("aac", "a.mp4", "o.mp4"), ("aac", "a.ts", "o.mp4"), ("libopus", "a.mkv", "o.mkv"),
     ("ac3", "a.mkv", "o.mp4"), ("mp3", "a.avi", "o.mp4"), ("pcm_s16le", "a.mov", "o.mkv"),
     ("flac", "a.mkv", "o.mkv"), ("libvorbis", "a.mkv", "o.mkv"), ("aac", "a.mov", "o.mov")],
)  # fmt: skip
def test_kept_sound_is_the_same_sound_at_the_same_time(tmp_path, codec, source, target):
    one = tones(tmp_path / source, "-c:a", codec)
    rewrite(one, tmp_path / target, audio="keep")
    (before, rate, start), (after, rate2, start2) = wave(one), wave(tmp_path / target)
    assert rate == rate2 and abs(len(before) - len(after)) <= 2048
    size = min(len(before), len(after))
    assert np.abs(before[:size].astype(float) - after[:size]).max() < 1e-3
    offset = times(one)[0] if source != "a.avi" else 0
    assert start2 - times(tmp_path / target)[0] == pytest.approx(start - offset, abs=0.03)


def test_sound_that_cannot_be_copied_is_not_sent_to_the_container_that_it_is_in(tmp_path):
    source, method = tones(tmp_path / "in.mkv", "-c:a", "tta"), masquerade.build("blacken")
    with pytest.raises(UsageError, match=r"^tta sound cannot be copied .* add --audio pitch or"):
        masquerade.anonymize_file(source, tmp_path / "o.mkv", method, regions="frame", audio="keep")
    masquerade.anonymize_file(source, tmp_path / "o.mkv", method, regions="frame", audio="pitch")


def test_every_track_and_channel_is_kept(tmp_path):
    source = tones(tmp_path / "in.mp4", "-c:a", "aac", "-ac:a:1", 6, sounds=2)
    rewrite(source, tmp_path / "out.mkv", audio="keep")
    sound = [s for s in streams(tmp_path / "out.mkv") if s["codec_type"] == "audio"]
    assert [s["channels"] for s in sound] == [1, 6]
    assert loudest(*wave(tmp_path / "out.mkv", 0)[:2]) == pytest.approx(440, abs=3)
    assert loudest(*wave(tmp_path / "out.mkv", 1)[:2]) == pytest.approx(880, abs=3)


def test_no_sound_is_no_error(tmp_path):
    source = make(tmp_path / "in.mp4")
    assert audio_streams(probe_in_process(source)) == ()
    for audio in ("keep", "pitch"):
        rewrite(source, tmp_path / f"{audio}.mp4", audio=audio)
        check_audio(probe_in_process(source), audio, "gif")
        assert len(streams(tmp_path / f"{audio}.mp4")) == 1


def test_a_codec_that_the_container_cannot_hold(tmp_path):
    info = probe_in_process(make_with_sound(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", "ac3"))
    check_audio(info, "keep", "matroska")
    check_audio(info, "drop", "webm")
    with pytest.raises(UsageError, match=r"webm cannot hold ac3 sound; .*\.mp4"):
        check_audio(info, "keep", "webm")
    odd = probe_in_process(make_with_sound(tmp_path / "odd.wmv", "-c:a", "wmav2"))
    with pytest.raises(UsageError, match=r"webm cannot hold wmav2 sound; .*--audio pitch"):
        check_audio(odd, "keep", "webm")
    with pytest.raises(UsageError, match="--audio drop"):
        check_audio(info, "keep", "gif")


@pytest.mark.parametrize("codec", ["opus", "flac"])
def test_what_quicktime_refuses_in_spite_of_its_table_is_refused_before(tmp_path, codec):
    encoder = "libopus" if codec == "opus" else codec
    info = probe_in_process(
        make_with_sound(tmp_path / "in.mkv", "-c:v", "libx264", "-c:a", encoder)
    )
    with pytest.raises(UsageError, match=rf"mov cannot hold {codec} sound; .*\.mp4"):
        check_audio(info, "keep", "mov")
    check_audio(info, "keep", "mp4")
    check_audio(info, "pitch", "mov")


@pytest.mark.parametrize("target", ["out.mp4", "out.mkv", "out.webm", "out.avi"])
def test_pitch_moves_by_3_to_6_half_tones_and_time_stays(tmp_path, target):
    source = tones(tmp_path / "in.mp4", "-c:a", "aac")
    codec = "vp9" if target == "out.webm" else "h264"
    rewrite(source, tmp_path / target, audio="pitch", encoding=Encoding(codec=codec))
    samples, rate, start = wave(tmp_path / target)
    moved = abs(np.log2(loudest(samples, rate) / 440) * 12)
    assert 2.8 < moved < 6.2
    assert start == pytest.approx(0, abs=0.03)
    assert len(samples) / rate == pytest.approx(2, abs=0.06)


def test_pitch_differs_from_file_to_file(tmp_path):
    source = tones(tmp_path / "in.mp4", "-c:a", "aac")
    found = set()
    for number in range(3):
        rewrite(source, tmp_path / f"{number}.mp4", audio="pitch")
        found.add(round(loudest(*wave(tmp_path / f"{number}.mp4")[:2]), 1))
    assert len(found) > 1


@pytest.mark.parametrize("delay", [0.5, 2.0])
def test_pitched_sound_starts_where_the_source_does(tmp_path, delay):
    plain, source = tones(tmp_path / "plain.mp4", "-c:a", "aac"), tmp_path / "in.mkv"
    late = ("-itsoffset", delay, "-i", plain, "-map", "0:v", "-map", "1:a", "-c", "copy")
    ffmpeg("-i", plain, *late, source)
    rewrite(source, tmp_path / "out.mp4", audio="pitch")
    assert wave(tmp_path / "out.mp4")[2] == pytest.approx(wave(source)[2], abs=0.03)
    assert wave(source)[2] == pytest.approx(delay, abs=0.03)
    assert times(tmp_path / "out.mp4")[0] == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize("way", [-1, 1])
@pytest.mark.parametrize("tones", [3, 6])
def test_a_click_stays_in_its_place_under_pitch(tmp_path, monkeypatch, way, tones):
    monkeypatch.setattr("secrets.choice", lambda ways: way)
    monkeypatch.setattr("secrets.randbelow", lambda end: (end - 1) * (tones - 3) // 3)
    clip = make(tmp_path / "clip.mp4", seconds=3)
    noise = "anoisesrc=r=48000:d=3:seed=1,volume='between(t,2,2.1)':eval=frame"
    ffmpeg(
        "-i", clip, "-f", "lavfi", "-i", noise, "-c:v", "copy", "-c:a", "aac", tmp_path / "in.mp4"
    )
    rewrite(tmp_path / "in.mp4", tmp_path / "out.mp4", audio="pitch")
    samples, rate, _ = wave(tmp_path / "out.mp4")
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 5) / rate
    window = 0.06  # the tempo filter's longest: sound is moved by up to one of them
    found = loud.min(), loud.max()
    assert found == pytest.approx((2, 2.1), abs=window)


@pytest.mark.parametrize("way", [-1, 1])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_pitched_sound_is_not_early(tmp_path, monkeypatch, way, rate):
    """By half a window of the tempo filter, 20 to 55 ms, all of it was."""
    monkeypatch.setattr("secrets.choice", lambda ways: way)
    monkeypatch.setattr("secrets.randbelow", lambda end: end - 1)
    clip = make(tmp_path / "clip.mp4", seconds=6)
    noise = f"anoisesrc=r={rate}:d=6:seed=1,volume='lt(mod(t,1),.1)':eval=frame"
    sound = ("-f", "lavfi", "-i", noise, "-c:v", "copy", "-c:a", "pcm_s16le")
    ffmpeg("-i", clip, *sound, tmp_path / "in.mkv")
    rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", audio="pitch")
    source, found = (_begins(tmp_path / name) for name in ("in.mkv", "out.mkv"))
    assert len(source) == len(found) and abs(np.mean(found - source)) < 0.012


def _begins(path: Path) -> np.ndarray:
    """The seconds at which it becomes loud."""
    samples, rate, _ = wave(path)
    loud = np.flatnonzero(np.abs(samples) > np.abs(samples).max() / 5) / rate
    return loud[1:][np.diff(loud) > 0.3]


def test_sound_that_changes_its_channels_is_shifted_to_its_end(tmp_path):
    """As broadcasts do, from stereo to 5.1 and back."""
    parts = [tmp_path / "one.mpg", tmp_path / "two.mpg"]
    for part, channels in zip(parts, (1, 2), strict=True):
        tones(part, "-c:v", "mpeg2video", "-c:a", "ac3", "-ac", channels)
    source = tmp_path / "in.mpg"
    source.write_bytes(b"".join(part.read_bytes() for part in parts))
    rewrite(source, tmp_path / "out.mp4", audio="pitch")
    samples, rate, _ = wave(tmp_path / "out.mp4")
    assert len(samples) / rate == pytest.approx(4, abs=0.1)
    first, second = (loudest(half, rate) for half in np.array_split(samples, 2))
    assert first == pytest.approx(second, abs=3) and abs(first - 440) > 60  # one factor for both


def test_sound_that_would_be_lost_is_refused(tmp_path):
    """A filter that drops sound, as it does where times go back, shortens no file in silence."""
    clip = tones(tmp_path / "in.mp4", "-c:a", "aac")
    with av.open(str(clip)) as file, av.open(str(tmp_path / "o.mp4"), "w") as out:
        voice = PitchShift(StreamTemplate.of(file.streams.audio[0]), out, "mp4")
        for frame in file.decode(audio=0):
            frame.pts %= 24_000
            voice.shift([frame])
        with pytest.raises(UsageError, match=r"seconds of the sound cannot be shifted.*drop\.$"):
            voice.flush()


INNER = [("libvorbis", ".ogg"), ("flac", ".flac"), ("libopus", ".opus")]


@pytest.mark.parametrize(("codec", "suffix"), INNER)
def test_tags_inside_a_kept_codec_go(tmp_path, codec, suffix):
    """Vorbis and FLAC carry a comment header of their own within the stream."""
    tagged = tmp_path / f"tagged{suffix}"
    ffmpeg("-f", "lavfi", "-i", "sine=d=1", "-c:a", codec, "-metadata", "artist=CANARY-55", tagged)
    clip, source, target = make(tmp_path / "c.mkv"), tmp_path / "in.mkv", tmp_path / "out.mkv"
    ffmpeg("-i", clip, "-i", tagged, "-c", "copy", "-map", 0, "-map", 1, source)
    if codec == "libvorbis":  # plant one where ffmpeg cannot: in the name of the maker
        data = bytearray(source.read_bytes())
        place = data.index(b"\3vorbis") + 7
        size = int.from_bytes(data[place : place + 4], "little")
        data[place + 4 : place + 4 + size] = (b"CANARY-55" * 9)[:size]
        source.write_bytes(data)
    rewrite(source, target, audio="keep")
    assert b"CANARY-55" not in target.read_bytes()
    assert loudest(*wave(target)[:2]) == pytest.approx(440, abs=4)
    assert len(frames(target)) == 25


def test_flac_headers_lose_all_but_the_first_block():
    info, comment = bytes(34), b"artist=CANARY"
    block = bytes([0x84]) + struct.pack(">I", len(comment))[1:] + comment
    header = b"fLaC" + bytes([0, 0, 0, 34]) + info + block
    assert strip_comments("flac", header) == b"fLaC" + bytes([0x80, 0, 0, 34]) + info
    assert strip_comments("aac", b"\x12\x10") == b"\x12\x10"


def with_a_hidden_start(path: Path) -> Path:
    """A clip of a second whose edit list cuts the second of a tone before it; silence follows."""
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        sound = out.add_stream("aac", rate=48000, layout="mono")
        for number in range(25):
            shown = np.full((48, 64, 3), 9 * number, np.uint8)
            out.mux(picture.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        out.mux(picture.encode(None))
        samples = np.sin(np.arange(96000) * 2 * np.pi / 48).astype(np.float32)
        samples[46000:] = 0
        given = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        given.sample_rate, given.pts, given.time_base = 48000, -48000, Fraction(1, 48000)
        out.mux([*sound.encode(given), *sound.encode(None)])
    return path


@pytest.mark.parametrize("audio", ["keep", "pitch"])
@pytest.mark.parametrize("target", ["o.mp4", "o.mov", "o.mkv"])
def test_sound_that_an_edit_list_cuts_is_not_published(tmp_path, audio, target):
    source = with_a_hidden_start(tmp_path / "in.mp4")
    with av.open(str(source)) as held:
        assert sum(packet.is_discard for packet in held.demux(audio=0)) > 40
    settings = {"regions": "frame", "audio": audio}
    masquerade.anonymize_file(source, tmp_path / target, masquerade.build("blacken"), **settings)
    with av.open(str(tmp_path / target)) as held:
        packets = [packet for packet in held.demux(audio=0) if packet.size]
        assert sum(packet.is_discard for packet in packets) <= 1  # of the encoder's own start
        assert len(packets) < 60  # of 95
    samples, rate, start = wave(tmp_path / target)
    assert np.abs(samples).max() < 0.01
    assert start - times(tmp_path / target)[0] == pytest.approx(0, abs=0.03)
    assert len(samples) / rate == pytest.approx(1, abs=0.05)


def test_an_attack_tells_of_sound_that_an_edit_list_hides(tmp_path: Path) -> None:
    cut, plain = with_a_hidden_start(tmp_path / "a.mp4"), tones(tmp_path / "b.mp4", "-c:a", "aac")
    says = {}
    for path in (cut, plain):
        count = tally_frames_in_process(path)
        assert count.hidden == 0
        says[path] = read_streams(probe_in_process(path), hidden_sound=count.hidden_sound).says
    assert "1.0 seconds of sound are in the file that an edit list hides" in says[cut]
    assert says[plain] == "Beside the picture the file holds audio. Voices identify people."

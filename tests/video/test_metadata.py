"""Metadata: nothing is kept unless it is named, and all that is removed is listed."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import ffmpeg, ffprobe, make_with_sound, needs_ffmpeg, rewrite, streams

import masquerade
from masquerade.errors import OutputError, UsageError
from masquerade.pipeline.verify import verify_output
from masquerade.video.audio import add_copied_stream
from masquerade.video.encoding import Encoding
from masquerade.video.metadata import select_metadata
from masquerade.video.probe import probe_in_process
from masquerade.video.read import Reader
from masquerade.video.stream_template import StreamTemplate

pytestmark = needs_ffmpeg
CANARY = b"CANARY-8842"
FONT = b"\0\1\0\0"  # how a TrueType font begins


@pytest.fixture(params=["in.mkv", "in.mp4", "in.mov"])
def laden(request, tmp_path) -> Path:
    """A file with a canary at every place that ffmpeg can plant one."""
    text = CANARY.decode()
    clip = make_with_sound(tmp_path / "clip.mkv", "-c:v", "libx264", "-c:a", "aac")
    (tmp_path / "s.srt").write_text(f"1\n00:00:00,000 --> 00:00:01,000\n{text}\n")
    chapters = f"[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=900\ntitle={text}\n"
    (tmp_path / "meta.txt").write_text(f";FFMETADATA1\ntitle={text}\ncomment={text}\n{chapters}")
    (tmp_path / "font.ttf").write_bytes(FONT + CANARY * 9)
    matroska = request.param.endswith("mkv")
    extra: tuple[object, ...] = (
        ("-attach", tmp_path / "font.ttf", "-metadata:s:t", "mimetype=application/x-truetype-font")
        if matroska
        else ("-timecode", "01:02:03:04", "-movflags", "use_metadata_tags")
    )
    ffmpeg(
        *("-i", clip, "-i", tmp_path / "s.srt", "-f", "ffmetadata", "-i", tmp_path / "meta.txt"),
        *("-map", 0, "-map", 1, "-map_metadata", 2, "-c", "copy"),
        *("-c:s", "srt" if matroska else "mov_text", *extra),
        *("-metadata", f"artist={text}", "-metadata", "location=+48.8584+002.2945/"),
        *("-metadata", f"make={text}", "-metadata", "creation_time=2021-03-04T05:06:07"),
        *("-metadata:s:v", f"title={text}", "-metadata:s:a", f"title={text}"),
        *("-metadata:s:a", "language=fra"),
        *("-bsf:v", f"h264_metadata=sei_user_data=086f3693-b7b3-4f2c-9653-21492feee5b8+{text}"),
        tmp_path / request.param,
    )
    return tmp_path / request.param


@pytest.mark.parametrize("audio", ["drop", "keep", "pitch"])
def test_strip_leaves_no_canary_in_any_byte(laden, tmp_path, audio):
    source = laden.read_bytes()
    assert source.count(CANARY) >= 6 and b"+48.8584" in source
    for name in ("out.mp4", "out.mkv", "out.mov"):
        kept = rewrite(laden, tmp_path / name, audio=audio)
        data = (tmp_path / name).read_bytes()
        for mark in (CANARY, b"48.85", b"2021", b"01:02:03", b"fra\0", b"x264"):
            assert mark not in data, (name, mark)
        kinds = [s["codec_type"] for s in streams(tmp_path / name)]
        assert kinds == ["video"] + (["audio"] if audio != "drop" else [])
        assert not ffprobe(tmp_path / name, "-show_chapters")["chapters"]
        assert not kept.tags and not kept.chapters and not kept.streams


def test_all_that_is_removed_is_listed_by_name_and_never_by_value(laden):
    with Reader(laden) as reader:
        removed = select_metadata(reader).removed
    listed = {name.lower() for name in removed}
    assert {"title", "artist", "location", "side:sei_unregistered"} <= listed
    assert any(name.startswith("stream2 (subtitle") for name in removed)
    assert "1 chapters" in removed
    assert CANARY.decode() not in " ".join(removed)


def test_named_keys_are_kept_and_nothing_else(laden, tmp_path):
    target = tmp_path / f"out{laden.suffix}"
    kept = rewrite(laden, target, metadata="keep:artist,chapter,Subtitle")
    data = target.read_bytes()
    assert b"48.8584" not in data and {k.lower() for k in kept.tags} == {"artist"}
    found = ffprobe(target, "-show_format", "-show_chapters", "-show_streams")
    tags = {key.lower(): value for key, value in found["format"]["tags"].items()}
    assert tags["artist"] == CANARY.decode() and "title" not in tags
    kinds = [s["codec_type"] for s in found["streams"]]
    assert kinds[:2] == ["video", "subtitle"]
    assert kinds[2:] == ([] if laden.suffix == ".mkv" else ["data"])  # mp4's form of chapters
    assert len(found["chapters"]) == 1
    assert "title" in {name.lower() for name in kept.removed}


def test_keep_keeps_tags_but_never_a_sei_message(laden, tmp_path):
    rewrite(
        laden, tmp_path / "out.mp4", metadata="keep:title,artist,location,language", audio="keep"
    )
    found = ffprobe(tmp_path / "out.mp4", "-show_format", "-show_streams")
    tags = {key.lower(): value for key, value in found["format"]["tags"].items()}
    assert tags["title"] == tags["artist"] == CANARY.decode()
    assert tags["location"].startswith("+48.8584")
    assert found["streams"][1]["tags"]["language"] == "fra"
    assert b"086f3693" not in (tmp_path / "out.mp4").read_bytes()


def test_what_the_output_has_no_place_for_is_removed(laden, tmp_path):
    chosen = rewrite(laden, tmp_path / "out.gif", metadata="keep:title,chapter,language")
    assert {"title", "1 chapters"} <= {one.lower() for one in chosen.kept}
    held = chosen.held_by(tmp_path / "out.gif", [0])
    assert held.kept == () and {*held.removed} == {*chosen.kept, *chosen.removed}
    chosen = rewrite(laden, tmp_path / "out.mkv", metadata="keep:title,chapter", audio="keep")
    assert chosen.held_by(tmp_path / "out.mkv", [0, 1]).kept == chosen.kept
    without = chosen.held_by(tmp_path / "out.mkv", [0])  # as if that stream had been left out
    assert {*chosen.kept} - {*without.kept} == {"stream1 (audio, aac)"}


@pytest.mark.parametrize(("name", "codec"), [("out.mkv", "subrip"), ("out.webm", "webvtt")])
def test_subtitles_that_only_mp4_holds_are_kept_as_text(tmp_path, name, codec):
    cues = "1\n00:00:00,100 --> 00:00:00,300\nH\u00e9llo\n\n2\n00:00:00,600 --> 00:00:00,900\ntwo\n"
    (tmp_path / "s.srt").write_text(cues, "utf-8")
    source = ("-f", "lavfi", "-i", "testsrc=s=64x64:d=1", "-i", tmp_path / "s.srt")
    ffmpeg(*source, "-c:v", "libx264", "-c:s", "mov_text", tmp_path / "in.mp4")
    encoding = Encoding(codec="vp9" if name == "out.webm" else "h264")
    rewrite(tmp_path / "in.mp4", tmp_path / name, metadata="keep:subtitle", encoding=encoding)
    assert [s["codec_name"] for s in streams(tmp_path / name)][1:] == [codec]
    ffmpeg("-i", tmp_path / name, "-map", "0:s", tmp_path / "back.srt")
    assert (tmp_path / "back.srt").read_text("utf-8").strip() == cues.strip()


def test_an_attachment_is_kept_only_when_named(laden, tmp_path):
    if laden.suffix != ".mkv":
        pytest.skip("only Matroska holds attachments")
    rewrite(laden, tmp_path / "out.mkv", metadata="keep:attachment")
    assert [s["codec_type"] for s in streams(tmp_path / "out.mkv")] == ["video", "attachment"]


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".webp", "image/webp"),  # FFmpeg shows the first ones' like as attachments
        (".jpg", "image/jpg"),
        (".jpg", "application/octet-stream"),
        (".jpg", "image/jpeg"),
        (".jpg", "font/ttf"),
    ],
)
@pytest.mark.parametrize("choice", ["keep", "keep:attachment"])
def test_of_attachments_fonts_alone_are_kept(tmp_path, suffix, kind, choice):
    """A picture of the source may be one, whatever it says that it is."""
    clip = make_with_sound(tmp_path / "clip.mkv", "-c:v", "libx264", "-c:a", "aac")
    picture, font, source = tmp_path / f"p{suffix}", tmp_path / "f.ttf", tmp_path / "in.mkv"
    ffmpeg(
        "-f",
        "lavfi",
        "-i",
        "testsrc=s=64x64",
        "-frames:v",
        1,
        "-c:v",
        "mjpeg",
        "-f",
        "image2",
        picture,
    )
    font.write_bytes(FONT + CANARY)
    words = ["-attach", picture, "-metadata:s:t:0", f"mimetype={kind}"]
    words += ["-attach", font, "-metadata:s:t:1", "mimetype=font/ttf"]
    ffmpeg("-i", clip, "-c", "copy", *words, source)
    held = picture.read_bytes()[-64:]
    assert held in source.read_bytes()
    out = tmp_path / "out.mkv"
    rewrite(source, out, metadata=choice)
    written = out.read_bytes()
    assert held not in written and CANARY in written


def test_a_cover_picture_is_never_kept(tmp_path):
    clip = make_with_sound(tmp_path / "c.mp4", "-c:a", "aac")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=200x200", "-frames:v", 1, tmp_path / "cover.png")
    both = ("-i", clip, "-i", tmp_path / "cover.png", "-map", 0, "-map", 1, "-c", "copy")
    ffmpeg(*both, "-disposition:v:1", "attached_pic", tmp_path / "in.mp4")
    assert [s.kind for s in probe_in_process(tmp_path / "in.mp4").streams][-1] == "picture"
    kept = rewrite(tmp_path / "in.mp4", tmp_path / "out.mp4", metadata="keep", audio="keep")
    assert [s["codec_type"] for s in streams(tmp_path / "out.mp4")] == ["video", "audio"]
    assert "stream2 (picture, png)" in kept.removed
    assert b"\x89PNG" not in (tmp_path / "out.mp4").read_bytes()


def test_a_second_video_stream_is_never_kept(tmp_path):
    ffmpeg(
        *("-f", "lavfi", "-i", "testsrc2=s=64x48:d=1", "-f", "lavfi", "-i", "testsrc=s=96x64:d=1"),
        *("-map", 0, "-map", 1, tmp_path / "in.mkv"),
    )
    kept = rewrite(tmp_path / "in.mkv", tmp_path / "out.mkv", metadata="keep")
    (stream,) = streams(tmp_path / "out.mkv")
    assert (stream["width"], stream["height"]) == (64, 48)
    assert "stream1 (video, h264)" in kept.removed


@pytest.mark.parametrize("wrong", ["", "keep:", "drop", "keep:,", "strip:title"])
def test_unknown_metadata_policies_are_refused(tmp_path, wrong):
    source = make_with_sound(tmp_path / "in.mp4", "-c:a", "aac")
    with Reader(source) as reader, pytest.raises(UsageError, match="keep:KEY"):
        select_metadata(reader, wrong)


def with_chapters(path: Path) -> Path:
    """A clip with chapters of two titles, and one without."""
    tick = {"time_base": Fraction(1, 1000)}
    titles = ({"title": "Anf\u00e4nge"}, {"title": "two"}, {})
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
        out.set_chapters(
            [
                {"id": n, "start": 300 * n, "end": 300 * n + 300, "metadata": named, **tick}
                for n, named in enumerate(titles)
            ]
        )
        for level in range(25):
            shown = np.full((48, 64, 3), 9 * level, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(shown, "rgb24")))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("source", ["in.mp4", "in.mkv"])
@pytest.mark.parametrize("target", ["o.mp4", "o.mov", "o.mkv"])
@pytest.mark.parametrize("metadata", ["keep", "keep:chapter", "strip"])
def test_chapters_are_kept_where_they_are_asked_for(tmp_path, source, target, metadata):
    """In MP4 they are a stream of text, which is copied from no source."""
    settings = {"regions": "frame", "metadata": metadata}
    clip, out = with_chapters(tmp_path / source), tmp_path / target
    receipt = masquerade.anonymize_file(clip, out, masquerade.build("blacken"), **settings)
    asked = probe_in_process(clip).chapters if metadata != "strip" else 0
    listed = receipt.kept if asked else receipt.removed
    assert f"{probe_in_process(clip).chapters} chapters" in listed
    with av.open(str(out)) as made:
        titles = [chapter["metadata"].get("title") for chapter in made.chapters()]
    assert titles[:2] == (["Anf\u00e4nge", "two"] if asked else [])
    kinds = [stream.kind for stream in probe_in_process(out).streams]
    assert kinds == ["video"] + ["data"] * (asked > 0 and target != "o.mkv")
    assert any("bin_data" in name for name in receipt.removed) == (
        metadata == "strip" and source == "in.mp4"
    )


def test_a_text_stream_of_anything_but_the_chapters_asked_for_is_refused(tmp_path):
    out = with_chapters(tmp_path / "out.mp4")
    verify_output(out, out, others=0, titles=["Anf\u00e4nge", "two"])
    for titles in ([], ["Anf\u00e4nge"], ["two", "Anf\u00e4nge"], ["Anf\u00e4nge", "two", ""]):
        with pytest.raises(OutputError, match=r"out.mp4 held streams \['video', 'data'\]"):
            verify_output(out, out, others=0, titles=titles)
    data = out.read_bytes()
    assert data.count(b"\x00\x03two") == 1
    out.write_bytes(data.replace(b"\x00\x03two", b"\x00\x03owt"))
    with pytest.raises(OutputError, match="held streams"):
        verify_output(out, out, others=0, titles=["Anf\u00e4nge", "two"])


@pytest.mark.parametrize(
    ("container", "says"),
    [("mp4", "name the output .mkv, or leave"), ("matroska", "; leave that stream out")],
)
def test_the_advice_for_a_stream_that_cannot_be_held_is_no_name_that_it_has(container, says):
    template = StreamTemplate(2, "data", Fraction(1, 1000), 0, 0)
    with av.open(io.BytesIO(), "w", format=container) as out, pytest.raises(UsageError, match=says):
        add_copied_stream(out, template, container, "bin_data")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_preview_has_no_chapters_of_what_it_leaves_out(tmp_path, suffix):
    source, out = tmp_path / f"in{suffix}", tmp_path / f"out{suffix}"
    clip = make_with_sound(tmp_path / "clip.mkv", "-c:v", "libx264", "-c:a", "aac", seconds=3)
    parts = "".join(
        f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={a + 1000}\ntitle={a}\n"
        for a in (0, 1000, 2000)
    )
    (tmp_path / "meta.txt").write_text(f";FFMETADATA1\n{parts}")
    listed = ("-f", "ffmetadata", "-i", tmp_path / "meta.txt", "-map_metadata", 1)
    ffmpeg("-i", clip, *listed, "-c", "copy", source)
    receipt = masquerade.anonymize_file(
        source, out, masquerade.build("blacken"), regions="frame", metadata="keep", preview=1.4
    )
    found = ffprobe(out, "-show_chapters")["chapters"]
    shown = [(float(one["start_time"]), float(one["end_time"])) for one in found]
    assert [one["tags"]["title"] for one in found] == ["0", "1000"]
    assert shown == [pytest.approx((0, 1), abs=0.05), pytest.approx((1, 1.4), abs=0.05)]
    assert "2 of 3 chapters" in receipt.kept and "1 of 3 chapters" in receipt.removed


@pytest.mark.parametrize("source", ["in.mp4", "in.mov"])
@pytest.mark.parametrize("target", ["out.mp4", "out.mov", "out.mkv"])
def test_a_file_with_a_timecode_keeps_all_but_its_track(tmp_path, source, target):
    """FFmpeg makes one more track of the tag in MP4, and knows no codec of the source's."""
    clip, out = tmp_path / source, tmp_path / target
    codecs = ("-c:v", "libx264", "-c:a", "aac", "-metadata", "title=a ward")
    make_with_sound(clip, *codecs, "-timecode", "01:02:03:04")
    method, settings = masquerade.build("blacken"), {"regions": "frame", "audio": "keep"}
    receipt = masquerade.anonymize_file(clip, out, method, metadata="keep", **settings)
    assert [s["codec_type"] for s in streams(out)] == ["video", "audio"]
    assert "title" in receipt.kept and "stream2 (data, unknown)" in receipt.removed
    where = receipt.kept if target == "out.mkv" else receipt.removed
    assert "stream0:timecode" in where
    with pytest.raises(UsageError, match="data of a kind that is unknown"):
        masquerade.anonymize_file(
            clip, tmp_path / f"no_{target}", method, metadata="keep:data", **settings
        )

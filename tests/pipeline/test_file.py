"""Anonymizing one file: what the output holds, what it lacks, and what a failure leaves."""

from __future__ import annotations

import copy
import io
import json
import os
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from box_files import read_boxes

import masquerade
from masquerade.errors import MissingError, OutputError, UsageError, VideoError
from masquerade.pipeline.source_warnings import source_warnings
from masquerade.pipeline.verify import verify_output
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.storage import MARK, atomic_write, remove_stale_files
from masquerade.video.probe import VideoInfo
from masquerade.video.read import Reader
from masquerade.video.write import Writer


def run(src: Path, dst: Path, method: str = "blacken", **settings) -> masquerade.Receipt:
    return masquerade.anonymize_file(src, dst, masquerade.build(method), **settings)


def pixels(path: Path) -> np.ndarray:
    with Reader(path) as reader:
        return np.stack([frame.rgb() for frame in reader]).astype(int)


def times(path: Path) -> list[float]:
    with Reader(path) as reader:
        return [frame.time for frame in reader]


def leftovers(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_the_face_is_gone_and_the_rest_is_there(short_clip: Path, tmp_path: Path) -> None:
    exported = tmp_path / "boxes.json"
    receipt = run(short_clip, tmp_path / "out.mp4", regions="faces", export_boxes=exported)
    before, after = pixels(short_clip), pixels(tmp_path / "out.mp4")
    boxes = read_boxes(tmp_path / "boxes.json")
    assert before.shape == after.shape and len(boxes) == len(before)
    outside = np.ones(before.shape[:3], bool)
    for t, found in boxes.items():
        for box in found:
            x0, y0, x1, y1 = (round(v) for v in (box.x0, box.y0, box.x1, box.y1))
            assert after[t, y0:y1, x0:x1].mean() < 3  # black
            assert before[t, y0:y1, x0:x1].mean() > 60
            mx, my = x1 - x0, y1 - y0
            outside[t, max(0, y0 - my) : y1 + my, max(0, x0 - mx) : x1 + mx] = False
    assert np.abs(before - after)[outside].mean() < 3  # two encodings apart
    assert np.allclose(times(short_clip), times(tmp_path / "out.mp4"), atol=1e-6)
    assert receipt.coverage.empty == 0
    assert receipt.source.frames == receipt.output.frames == len(before)


def test_the_receipt_lacks_only_what_undoes_the_output(short_clip: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="undo"):
        run(short_clip, tmp_path / "out.mp4", "selective", seed=246813579)
    text = (tmp_path / "out.mp4.receipt.json").read_text()
    receipt = json.loads(text)
    assert (
        "246813579" not in text and str(short_clip.parent) not in text and str(tmp_path) not in text
    )
    assert any("undo" in warning for warning in receipt["warnings"])
    assert "title" in receipt["removed"] and "location" in receipt["removed"]
    assert any("audio" in item for item in receipt["removed"])
    assert receipt["regions"][0]["model_sha256"] and receipt["source"]["sha256"]
    assert len(receipt["coverage"]["share"]) == receipt["output"]["frames"]
    assert {"decode", "regions", "anonymize", "convert", "encode"} <= set(receipt["stage_seconds"])


def test_the_source_is_probed_once_and_read_once(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts how often FFmpeg opens each file, and how often a file is described, in one run."""
    import av

    import masquerade.pipeline.config as config
    import masquerade.video.probe as probing
    from masquerade.cli import main
    from masquerade.video.decoding_process import DecoderSession

    asked: list[tuple[str, str]] = []
    opened: list[int] = []
    described: list[str] = []
    built: list[str] = []
    av_open, describe, build = av.open, probing.describe, config.build_region_source
    ask = DecoderSession.open

    def counting_ask(self, what, **more):
        asked.append((self._path.name, what))
        return ask(self, what, **more)

    def counting_open(file, mode="r", *args, **kwargs):
        if mode == "r" and hasattr(file, "seek") and not isinstance(file, io.BytesIO):
            opened.append(os.fstat(file.read.__self__.fileno()).st_ino)
        return av_open(file, mode, *args, **kwargs)

    def counting_describe(container, stream, frame, path):
        described.append(path.name)
        return describe(container, stream, frame, path)

    def counting_build(config, anonymizer):
        built.append(config.regions)
        return build(config, anonymizer)

    monkeypatch.setattr(DecoderSession, "open", counting_ask)
    monkeypatch.setattr(av, "open", counting_open)
    monkeypatch.setattr(probing, "describe", counting_describe)
    monkeypatch.setattr(config, "build_region_source", counting_build)
    out = tmp_path / "out.mp4"
    words = ["anonymize", clip, "-o", out, "--audio", "keep", "--metadata", "keep"]
    words += ["--regions", "faces", "--preview", "0.2", "-q"]
    assert main([str(word) for word in words]) == 0
    assert asked == [(clip.name, what) for what in ("probe", "read")]
    assert clip.stat().st_ino not in opened  # by this process
    # to probe it, to read its packets, and to see which of the tags that are kept it holds
    assert opened.count(out.stat().st_ino) == 3
    assert clip.name not in described and len(described) == 1
    assert built == ["faces"]


def test_a_public_receipt_does_not_name_the_source(short_clip: Path, tmp_path: Path) -> None:
    run(short_clip, tmp_path / "out.mp4", public_receipt=True)
    text = (tmp_path / "out.mp4.receipt.json").read_text()
    assert short_clip.name not in text and json.loads(text)["source"]["sha256"] is None
    assert masquerade.video.probe.video_digest(short_clip) not in text


def test_no_tag_and_no_sound_of_the_source_is_in_the_output(
    short_clip: Path, tmp_path: Path
) -> None:
    run(short_clip, tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    for canary in (b"masquerade demo", b"+40.7128", b"made by nobody", b"Lavf", b"x264", b"mp4a"):
        assert canary not in data
    assert b"masquerade demo" in short_clip.read_bytes()


def test_boxes_out_and_in_give_the_same_pixels(short_clip: Path, tmp_path: Path) -> None:
    run(short_clip, tmp_path / "a.mp4", regions="faces", export_boxes=tmp_path / "b.json")
    run(short_clip, tmp_path / "c.mp4", regions=f"boxes:{tmp_path / 'b.json'}")
    assert np.array_equal(pixels(tmp_path / "a.mp4"), pixels(tmp_path / "c.mp4"))


@pytest.mark.parametrize("given", [{"regions": "templates", "at": ("0:310,200",)}, {}])
def test_boxes_out_and_in_hide_what_templates_and_whole_frames_hid(
    short_clip: Path, tmp_path: Path, given: dict[str, Any]
) -> None:
    """They have no boxes of their own, and nothing of them was in the file."""
    given = {"regions": "frame"} | given
    masks = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    boxes = tmp_path / "b.json"
    run(short_clip, tmp_path / "a.mp4", export_boxes=boxes, export_masks=masks[0], **given)
    run(short_clip, tmp_path / "c.mp4", regions=f"boxes:{boxes}", export_masks=masks[1])
    first, again = map(pixels, masks)
    assert (first >= 128).any() and (again[first >= 128] == 255).all()


def test_several_sources_hide_what_any_of_them_finds(clip: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "in.json"
    with BoxWriter(boxes, width=640, height=480) as writer:
        for t in range(25):
            writer.add(t, [Box(5, 5, 45, 45, 1.0, track=0)])
    receipt = run(clip, tmp_path / "a.mp4", regions=f"faces+boxes:{boxes}", preview=0.3)
    assert [record.name for record in receipt.regions] == ["faces", "boxes"]
    assert set(receipt.coverage.regions) == {2} and receipt.coverage.tracks == 2
    after = pixels(tmp_path / "a.mp4")
    assert after[:, 8:42, 8:42].mean() < 3  # the box
    assert after[:, 180:220, 300:330].mean() < 60  # and the face


def test_masks_are_exported_as_they_were_used(short_clip: Path, tmp_path: Path) -> None:
    run(short_clip, tmp_path / "a.mp4", "blacken", export_masks=tmp_path / "m.mkv")
    masks = pixels(tmp_path / "m.mkv")
    assert set(np.unique(masks)) == {0, 255}
    assert pixels(tmp_path / "a.mp4")[masks == 255].mean() < 3


def test_only_where_the_users_mask_is_not_black(short_clip: Path, tmp_path: Path) -> None:
    import cv2

    mask = np.zeros((480, 640), np.uint8)
    mask[:, :100] = 255  # the face is elsewhere
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    receipt = run(short_clip, tmp_path / "a.mp4", region=tmp_path / "mask.png", allow_empty=True)
    assert max(receipt.coverage.share) == 0


def test_preview_cfr_and_size(clip: Path, tmp_path: Path) -> None:
    run(clip, tmp_path / "a.mp4", "downsample", regions="frame", preview=0.4, size="model")
    assert pixels(tmp_path / "a.mp4").shape == (10, 30, 40, 3)
    run(clip, tmp_path / "b.mp4", "blacken", regions="frame", cfr=10)
    assert np.allclose(np.diff(times(tmp_path / "b.mp4")), 0.1)
    assert len(times(tmp_path / "b.mp4")) == 10


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "avi"])
@pytest.mark.parametrize("rate", [30, 24, 12, 0.5])
def test_a_constant_rate_is_constant_whatever_ticks_the_source_has(
    tmp_path: Path, suffix: str, rate: float
) -> None:
    """AVI counts frames, so that its ticks are as long as one."""
    source, out, masks = (tmp_path / name for name in ("in.avi", f"o.{suffix}", "masks.mkv"))
    masquerade.write_video(source, torch.rand(1, 3, 25, 48, 64), rate=25)
    run(source, out, regions="frame", cfr=rate, export_masks=masks)
    for path in (out, masks):
        shown = times(path)
        assert len(shown) == ceil(rate)
        assert np.abs(np.diff(shown) - 1 / rate).max(initial=0) <= 0.0011  # Matroska's ticks
    with av.open(str(out)) as made:
        assert made.streams.video[0].average_rate == pytest.approx(rate, rel=1e-3)


@pytest.mark.parametrize("rate", [30, 10])
def test_masks_without_an_output_have_the_constant_rate_too(tmp_path: Path, rate: float) -> None:
    source, masks = tmp_path / "in.mp4", tmp_path / "masks.mkv"
    masquerade.write_video(source, torch.rand(1, 3, 25, 48, 64), rate=25)
    settings = {"regions": "frame", "cfr": rate, "export_masks": masks}
    receipt = run(source, tmp_path / "o.mp4", shadow=True, **settings)
    assert np.abs(np.diff(times(masks)) - 1 / rate).max() <= 0.0011
    assert receipt.source.frames == 25 and len(times(masks)) == rate


def test_a_picture_among_videos_at_a_constant_rate_stays_one(tmp_path: Path) -> None:
    import cv2

    for suffix in ("jpg", "png"):
        cv2.imwrite(str(tmp_path / f"in.{suffix}"), np.full((48, 64, 3), 90, np.uint8))
        run(tmp_path / f"in.{suffix}", tmp_path / f"o.{suffix}", regions="frame", cfr=30)
        assert cv2.imread(str(tmp_path / f"o.{suffix}")).shape == (48, 64, 3)
    run(tmp_path / "in.jpg", tmp_path / "o.mp4", regions="frame", cfr=30)
    assert len(times(tmp_path / "o.mp4")) == 1  # it lasts a 25th of a second


def test_frames_of_an_output_at_a_constant_rate_are_counted_as_those_of_the_source(
    tmp_path: Path,
) -> None:
    """Many frames are dropped first, and each of the others is repeated then."""
    clip = torch.rand(1, 3, 25, 48, 64)
    starts = [n / 60 if n < 20 else 1 / 3 + (n - 20) / 5 for n in range(25)]
    source = tmp_path / "in.mkv"
    about: Any = {"path": source, "kind": "video", "container": "", "width": 64, "height": 48}
    info = VideoInfo(**about, time_base=Fraction(1, 600))
    masquerade.write_video(source, masquerade.Video(clip, torch.tensor(starts), info))
    with BoxWriter(tmp_path / "in.json", width=64, height=48) as writer:
        for number in range(25):
            writer.add(number, [Box(number, 5, number + 20, 30, score=1)])
    told: list[tuple[int, int | None]] = []
    receipt = run(
        source,
        tmp_path / "a.mp4",
        regions=f"boxes:{tmp_path / 'in.json'}",
        cfr=24,
        export_boxes=tmp_path / "out.json",
        progress=lambda done, of: told.append((done, of)),
    )
    assert receipt.source.frames == len(receipt.coverage.share) == 25
    assert receipt.output.frames == len(times(tmp_path / "a.mp4"))
    assert [done for done, _ in told] == list(range(26))
    again = read_boxes(tmp_path / "out.json")
    assert {n: [b.x0 for b in found] for n, found in again.items()} == {n: [n] for n in range(25)}


def test_shadow_writes_a_receipt_and_no_video(short_clip: Path, tmp_path: Path) -> None:
    receipt = run(short_clip, tmp_path / "a.mp4", shadow=True)
    assert receipt.output is None and receipt.coverage.empty == 0
    assert leftovers(tmp_path) == ["a.mp4.shadow.json"]
    assert run(short_clip, tmp_path / "a.mp4").output is not None  # which it is not in the way of


def test_an_existing_output_is_kept(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"mine")
    with pytest.raises(UsageError, match="exists already"):
        run(clip, tmp_path / "a.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == b"mine"
    assert leftovers(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_the_source_is_never_the_output(clip: Path, tmp_path: Path, link) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(clip.read_bytes())
    link(source, tmp_path / "alias.mp4")
    for name in ("in.mp4", "alias.mp4"):
        with pytest.raises(UsageError, match=r"would replace .*in\.mp4, which is read"):
            run(source, tmp_path / name, overwrite=True)
    assert source.read_bytes() == clip.read_bytes()


def test_a_failure_while_frames_run_leaves_nothing(clip: Path, tmp_path: Path) -> None:
    """Boxes made for another video are noticed at its first frame."""
    boxes = tmp_path / "in" / "boxes.json"
    boxes.parent.mkdir()
    with BoxWriter(boxes, width=320, height=240) as writer:
        writer.add(3, [Box(1, 1, 5, 5, 1.0)])
    with pytest.raises(UsageError, match="320x240"):
        run(clip, tmp_path / "a.mp4", regions=f"boxes:{boxes}", export_masks=tmp_path / "m.mkv")
    assert leftovers(tmp_path) == ["in"]


def test_a_source_that_does_not_say_where_it_ends_is_named(clip: Path, tmp_path: Path) -> None:
    import av

    receipts = {}
    for name, muxer in (("a.ts", "mpegts"), ("a.mkv", "matroska")):
        source = tmp_path / name
        with av.open(str(clip)) as read, av.open(str(source), "w", format=muxer) as out:
            stream = out.add_stream_from_template(read.streams.video[0])
            for packet in read.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    out.mux(packet)
        receipts[name] = run(source, tmp_path / f"{name}.mp4", regions="frame")
    assert receipts["a.ts"].end_unknown and "where it ends" in receipts["a.ts"].warnings[-1]
    assert not receipts["a.mkv"].end_unknown and not receipts["a.mkv"].warnings


def test_a_truncated_source_is_refused_and_salvaged_when_asked(clip: Path, tmp_path: Path) -> None:
    import av

    cut = tmp_path / "in" / "cut.mkv"
    cut.parent.mkdir()
    with av.open(str(clip)) as source, av.open(str(cut), "w", format="matroska") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * 0.6)])
    with pytest.raises(VideoError, match=r"salvage"):
        run(cut, tmp_path / "a.mp4", regions="frame")
    assert leftovers(tmp_path) == ["in"]
    receipt = run(cut, tmp_path / "a.mp4", regions="frame", salvage=True)
    assert 0 < receipt.output.frames < 25
    assert receipt.lost_frames == 25 - receipt.output.frames
    assert f"{receipt.lost_frames} of its frames are lost" in receipt.warnings[0]


@pytest.mark.parametrize(
    ("lost", "says"),
    [(0, "nothing in it says how many of its frames are lost"), (3, "at least 3 of its frames")],
)
def test_no_warning_says_that_all_frames_are_there_of_a_damaged_file(lost: int, says: str) -> None:
    """A hole in a Matroska or MPEG-TS file takes frames that nothing else in it counts."""
    given: dict[str, Any] = {
        "damaged": 1,
        "lost": lost,
        "repaired_timestamps": 0,
        "end_unknown": False,
        "on_gpu": 0,
        "interlaced": 0,
    }
    (warning,) = source_warnings(
        SimpleNamespace(**given), frames=124, gpu=False, repaired=given["repaired_timestamps"]
    )
    assert says in warning and warning.endswith("lost, and 124 were salvaged.")


def test_an_output_that_fails_its_check_is_an_error(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="streams"):
        verify_output(clip, tmp_path / "out.mp4", others=0)  # it has sound
    (tmp_path / "no.mp4").write_bytes(b"no video")
    with pytest.raises(OutputError, match="read back"):
        verify_output(tmp_path / "no.mp4", tmp_path / "out.mp4", others=0)


@pytest.mark.parametrize(("times", "says"), [(0, "fewer frames"), (2, "more frames")])
def test_an_output_that_holds_another_number_of_frames_is_an_error(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int, says: str
) -> None:
    write = Writer.write

    def wrong(writer: Writer, picture: Any, frame: Any) -> None:
        for number in range(times if frame.index == 7 else 1):
            shown = copy.copy(frame)
            shown.pts += number
            write(writer, picture, shown)

    monkeypatch.setattr(Writer, "write", wrong)
    with pytest.raises(OutputError, match=says):
        run(clip, tmp_path / "a.mp4", regions="frame")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"regions": "noses"}, UsageError, "no regions 'noses'"),
        ({"regions": "boxes"}, UsageError, "boxes:FILE"),
        ({"regions": "frame", "threshold": 0.4}, UsageError, "--threshold"),
        ({"scale": "big"}, UsageError, "WxH"),
        ({"device": "cuda:7"}, MissingError, "not on this machine"),
        ({"device": "tpu9"}, UsageError, "no device"),
        ({"hwaccel": "cuda"}, MissingError, "nvenc"),
        ({"bitrate": "fast"}, UsageError, "bitrate"),
        ({"crf": 20, "lossless": True}, UsageError, "exclude"),
        ({"colour": 3}, UsageError, "colour"),
        ({"cfr": -1.0}, UsageError, "--cfr"),
        ({"metadata": "keeep"}, UsageError, "metadata"),
        ({"region": Path("none.png")}, UsageError, "no image"),
        ({"detector": "eyes"}, UsageError, "eyes"),
        ({"export_boxes": Path("out.mp4")}, UsageError, "its own name"),
    ],
)
def test_wrong_settings_are_refused_and_leave_no_file(
    clip: Path, tmp_path: Path, monkeypatch, settings, error, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as caught:
        run(clip, Path("out.mp4"), **settings)
    assert says in str(caught.value)
    assert str(caught.value).count("\n") == 0
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.mp4", b""),
        ("text.mp4", b"hello, I am no video\n" * 9),
        ("list.mp4", b"ffconcat version 1.0\nfile person.mp4\n"),
        ("none.mp4", None),
    ],
)
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(VideoError):
        run(folder / name, tmp_path / "out.mp4")
    assert leftovers(tmp_path) == ["in"]


def test_images_in_images_out(tmp_path: Path) -> None:
    import cv2

    from masquerade.cli.demo_clip import portrait

    (tmp_path / "in").mkdir()
    for suffix in ("png", "jpg"):
        src, dst = tmp_path / "in" / f"a.{suffix}", tmp_path / f"b.{suffix}"
        cv2.imwrite(str(src), cv2.cvtColor(portrait(), cv2.COLOR_RGB2BGR))
        receipt = run(src, dst, regions="faces")
        assert receipt.coverage.regions == (1,)
        assert cv2.imread(str(dst)).shape == (600, 512, 3)
        assert cv2.imread(str(dst))[170:250, 220:300].mean() < 10


def test_a_folder_of_images_is_one_video_when_asked(tmp_path: Path) -> None:
    import cv2

    (tmp_path / "in").mkdir()
    for number in range(12):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), np.full((48, 64, 3), number * 20, "u1"))
    receipt = run(tmp_path / "in", tmp_path / "out.mp4", "pixelate", regions="frame", sequence=8.0)
    sizes = [file.stat().st_size for file in (tmp_path / "in").iterdir()]
    assert receipt.source.bytes == sum(sizes)
    means = pixels(tmp_path / "out.mp4").mean((1, 2, 3))
    assert np.allclose(means, np.arange(12) * 20, atol=4)
    assert np.allclose(times(tmp_path / "out.mp4"), np.arange(12) / 8)


def test_sound_is_kept_in_sync_only_when_asked(clip: Path, tmp_path: Path) -> None:
    import av

    def sound_after_picture(path: Path) -> float:
        with av.open(str(path)) as file:
            sound, picture = file.streams.audio[0], file.streams.video[0]
            starts = (float(s.start_time * s.time_base) for s in (sound, picture))
            return next(starts) - next(starts)

    for audio, streams in (("drop", 0), ("keep", 1), ("pitch", 1)):
        run(clip, tmp_path / f"{audio}.mp4", regions="frame", audio=audio)
        with av.open(str(tmp_path / f"{audio}.mp4")) as made:
            assert len(made.streams.audio) == streams
            assert len(made.streams) == 1 + streams
            for stream in made.streams.audio:
                assert float(stream.duration * stream.time_base) == pytest.approx(1, abs=0.06)
        if streams:
            late = sound_after_picture(tmp_path / f"{audio}.mp4")
            assert late == pytest.approx(sound_after_picture(clip), abs=0.03), audio


@pytest.mark.parametrize("codec", ["h264", "h265"])
@pytest.mark.parametrize("threads", [17, 1024])
def test_every_number_of_threads_that_is_accepted_works(
    half_size: Path, tmp_path: Path, codec: str, threads: int
) -> None:
    out = tmp_path / "out.mp4"
    receipt = run(half_size, out, regions="frame", preview=0.2, codec=codec, threads=threads)
    assert receipt.output is not None and receipt.output.frames == len(times(out))


def test_parts_are_private_and_swept_when_their_writer_is_gone(tmp_path: Path) -> None:
    stale = tmp_path / f".0123456789abcdef{MARK}.mp4"
    stale.write_bytes(b"half")
    with atomic_write(tmp_path / "a.mp4") as part:
        assert not stale.exists()
        assert part.stat().st_mode & 0o777 == 0o600
        part.write_bytes(b"whole")
        remove_stale_files(tmp_path)  # another run starts: this one's part is locked and stays
        assert part.exists()
    assert leftovers(tmp_path) == ["a.mp4"]
    os.umask(mask := os.umask(0))
    assert (tmp_path / "a.mp4").stat().st_mode & 0o777 == 0o666 & ~mask


def test_an_output_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="meanwhile"), atomic_write(tmp_path / "a.mp4") as part:
        part.write_bytes(b"ours")
        (tmp_path / "a.mp4").write_bytes(b"theirs")
    assert (tmp_path / "a.mp4").read_bytes() == b"theirs"

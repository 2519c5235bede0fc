"""Frames of a published video are compared with the raw ones of their times."""

from __future__ import annotations

import json
import subprocess
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

import masquerade
from masquerade.attack import AttackConfig, attack_files, paired_frames
from masquerade.attack.aligned_frames import ORIENTATIONS, check_pair, orient_raw
from masquerade.attack.paired_frames import extra_raw_seconds, read_windows, spread_numbers
from masquerade.cli import main
from masquerade.errors import VideoError
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.single_file import run_file
from masquerade.storage import file_digest
from masquerade.video.decoding_process import count_frames, probe

LEVELS = (20, 80, 140, 200)


def slides(path: Path, *, last: float) -> Path:
    """Four grey pictures a tenth of a second apart, of which the last is shown for longer."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=10, options={"tune": "zerolatency", "bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for number, level in enumerate(LEVELS):
            picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))
            for packet in video.encode(picture):
                seconds = last if number == len(LEVELS) - 1 else 0.1
                packet.duration = round(seconds / packet.time_base)
                out.mux(packet)
    return path


@pytest.mark.parametrize("rate", [7, 30])
def test_every_frame_at_a_constant_rate_has_its_raw_one(tmp_path: Path, rate: int) -> None:
    source, out = slides(tmp_path / "in.mp4", last=1), tmp_path / "out.mp4"
    seen = []

    def look(part: Path, raw: Path | None, name: str) -> None:
        with av.open(str(part)) as file:
            count = sum(packet.size > 0 for packet in file.demux(video=0))
        seen.extend(read_windows(part, raw, range(count)))

    config = PipelineConfig(regions="frame", cfr=rate)
    pipeline = build_pipeline(masquerade.build("blur"), config)
    receipt = run_file(source, out, pipeline._replace(check_output=look))
    assert receipt.verified and len(seen) == receipt.output.frames > rate
    for window in seen:  # the nearest in time, or a neighbour, as the attack looks at them
        shown = int(window.published.mean())
        assert min(abs(shown - int(raw.mean())) for raw in window.raw) < 8


def counted(path: Path, rate: int, seconds: float) -> Path:
    """A lossless clip whose every frame is one level brighter than the one before."""
    given = f"nullsrc=s=64x48:r={rate}:d={seconds},geq=lum='16+mod(N,200)':cb=128:cr=128"
    words = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", given, "-c:v", "ffv1", path]
    subprocess.run(words, check=True)
    return path


def republished(raw: Path, *words: str) -> Path:
    out = raw.with_name("published.mkv")
    subprocess.run(["ffmpeg", "-v", "error", "-i", raw, *words, "-c:v", "ffv1", out], check=True)
    return out


@pytest.mark.parametrize(
    ("raw_rate", "rate"), [(240, 30), (60, 30), (50, 25), (30, 10), (25, 15), (10, 25)]
)
def test_a_frame_that_another_rate_shows_late_is_beside_the_raw_one_that_it_shows(
    tmp_path: Path, raw_rate: int, rate: int
) -> None:
    """FFmpeg's -r shows a raw frame up to one and a half published frames after its time."""
    raw = counted(tmp_path / "raw.mkv", raw_rate, 0.8)
    published = republished(raw, "-r", str(rate))
    windows = list(read_windows(published, raw, range(count_frames(published))))
    assert len(windows) > 5
    for window in windows:
        assert np.array_equal(window.raw[0], window.published), window.number
        assert len(window.raw) <= 4


@pytest.mark.parametrize("rate", [30, 20])
def test_frames_at_other_times_are_beside_the_raw_ones_of_their_numbers(
    tmp_path: Path, rate: int
) -> None:
    """As a video that is read without its times, and written at another or an average rate."""
    raw = counted(tmp_path / "raw.mkv", 25, 2)
    published = republished(raw, "-vf", f"setpts=N/({rate}*TB)", "-r", str(rate))
    windows = list(read_windows(published, raw, range(50)))
    assert len(windows) == count_frames(published)
    assert all(np.array_equal(one.raw[0], one.published) for one in windows)


def test_large_raw_frames_are_not_all_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a still that is shown for long many raw frames pass by until the next one."""
    raw = counted(tmp_path / "raw.mkv", 100, 2)
    published = republished(raw, "-vf", "fps=1")
    held = []
    monkeypatch.setattr(paired_frames, "MOST_HELD", 10 * 64 * 48 * 3)
    monkeypatch.setattr(
        paired_frames, "orient_raw", lambda _, raw: (held.append(len(raw)), (raw, False))[1]
    )
    list(read_windows(published, raw, range(2)))
    assert max(held) == 10


def test_a_receipt_tells_that_a_folder_of_images_was_not_compared(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number, level in enumerate(LEVELS):
        cv2.imwrite(str(tmp_path / "in" / f"{number}.png"), np.full((48, 64), level, np.uint8))
    given = []
    pipeline = build_pipeline(
        masquerade.build("blacken"), PipelineConfig(regions="frame", sequence=10.0)
    )
    pipeline = pipeline._replace(check_output=lambda *args: given.append(args[1]))
    receipt = run_file(tmp_path / "in", tmp_path / "out.mp4", pipeline)
    assert given == [None] and receipt.verified
    assert "--verify looked at the output alone" in receipt.warnings[0]


def transparent(folder: Path, pixels: np.ndarray) -> tuple[Path, Path]:
    """Two files of one picture, all of whose pixels are transparent."""
    whole = np.dstack([pixels, np.zeros(pixels.shape[:2], np.uint8)])
    paths = folder / "published.png", folder / "raw.png"
    for packing, path in enumerate(paths):
        cv2.imwrite(str(path), whole, [cv2.IMWRITE_PNG_COMPRESSION, packing])
    return paths


def test_transparent_raw_pixels_are_compared_as_they_are_and_over_black(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    published, raw = transparent(tmp_path, pixels)
    (copied,) = read_windows(published, raw, [0])
    assert copied.opaque and np.array_equal(copied.raw[0], copied.published)
    assert any(not one.any() for one in copied.raw)
    cv2.imwrite(str(published), np.zeros_like(pixels))  # as `anonymize` makes its output of it
    (over_black,) = read_windows(published, raw, [0])
    assert not over_black.opaque and np.array_equal(over_black.raw[0], over_black.published)
    assert any(one.any() for one in over_black.raw)


def test_a_transparent_picture_that_was_not_changed_is_recovered(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    published, raw = transparent(tmp_path, pixels)
    words = ["attack", str(published), "--raw", str(raw), "--hidden", "frame", "--quick"]
    assert main(words) == 4


@pytest.mark.parametrize("count", [61, 590, 600, 100_000])
def test_the_first_and_the_last_frame_are_looked_at_and_those_spread_between(count: int) -> None:
    chosen = spread_numbers(count, 60)
    steps = [after - before for before, after in pairwise(chosen)]
    assert len(chosen) == 60 and chosen[0] == 0 and chosen[-1] == count - 1
    assert min(steps) > 0 and max(steps) - min(steps) <= 1
    assert spread_numbers(60, 60) == list(range(60)) and spread_numbers(9, 1) == [4]
    assert spread_numbers(9, 2) == [0, 8]


def test_what_recurs_in_every_ten_frames_of_twenty_seconds_is_looked_at() -> None:
    for first in range(10):
        assert any(first <= number % 10 < first + 4 for number in spread_numbers(600, 60))


def detailed(*shape: int, seed: int = 0) -> np.ndarray:
    """A picture with detail of many sizes."""
    draw = np.random.default_rng(seed)
    parts = [cv2.resize(draw.integers(0, 256, (n, n, 3), np.uint8), shape[::-1]) for n in (9, 30)]
    return np.asarray((parts[0] // 2 + parts[1] // 2), np.uint8)


@pytest.mark.parametrize("shape", [(96, 128), (120, 120)], ids=["a rectangle", "a square"])
def test_raw_frames_are_turned_as_published_ones_are(shape: tuple[int, int]) -> None:
    raw = detailed(*shape)
    for mirrored, quarters in ORIENTATIONS:
        published = np.rot90(raw[:, ::-1] if mirrored else raw, quarters).copy()
        if published.shape != raw.shape:
            continue  # which is refused
        published[20:60, 30:70] = 0  # somebody is hidden
        for shown in (published, 255 - published):
            (found, _), turned = orient_raw(shown, [raw, raw])
            assert turned is ((mirrored, quarters) != ORIENTATIONS[0])
            assert np.array_equal(found[60:], published[60:])


def test_frames_that_are_hidden_wholly_are_compared_as_they_are() -> None:
    raw = detailed(96, 128)
    noise = np.random.default_rng(1).integers(0, 256, raw.shape, np.uint8)
    soft = cv2.GaussianBlur(raw, (0, 0), 8)
    for published in (np.zeros_like(raw), noise, soft, 255 - raw, detailed(96, 128, seed=1)):
        assert orient_raw(published, [raw]) == ([raw], False)


def test_what_is_left_in_a_mirrored_video_is_recovered(tmp_path: Path) -> None:
    raw = detailed(144, 192)
    for name, picture in (("raw", raw), ("published", raw[:, ::-1]), ("black", raw * 0)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    words = ["--raw", str(tmp_path / "raw.png"), "--hidden", "frame", "--quick"]
    assert main(["attack", str(tmp_path / "published.png"), *words]) == 4
    assert main(["attack", str(tmp_path / "black.png"), *words]) == 0


def still(path: Path, width: int, height: int) -> Path:
    cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("size", "refused"),
    [
        *(((640, 360), False), ((854, 480), False), ((426, 240), False), ((120, 67), False)),
        *(((1920, 1140), True), ((1920, 1064), True), ((1080, 1920), True), ((1440, 1080), True)),
    ],
)
def test_files_of_another_shape_are_not_compared(
    tmp_path: Path, size: tuple[int, int], refused: bool
) -> None:
    published = still(tmp_path / "published.png", *size)
    raw = still(tmp_path / "raw.png", 1920, 1080)
    if not refused:
        check_pair(published, raw)
        return
    with pytest.raises(VideoError, match=r"1920x1080, which is another shape: compare the pub"):
        check_pair(published, raw)


def test_a_padded_picture_is_attacked_without_its_raw_one(tmp_path: Path) -> None:
    raw, published = still(tmp_path / "raw.png", 64, 48), still(tmp_path / "padded.png", 64, 60)
    report = attack_files([published], AttackConfig(quick=True), raw=raw)
    (video,) = report.videos
    assert "padded.png shows 64x60 and raw.png 64x48, which is" in str(video.without_raw)
    assert report.exit_code == 1 and {one.attack for one in video.findings} >= {"faces", "tags"}


def test_wide_pixels_and_what_masquerade_made_of_a_strip_are_compared(tmp_path: Path) -> None:
    for name, words in (("dv", "720x576,setsar=16/15"), ("flat", "720x576"), ("wide", "768x576")):
        path = tmp_path / f"{name}.mp4"
        size, *aspect = words.split(",")
        given = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"color=gray:size={size}:d=0.1"]
        subprocess.run([*given, *(["-vf", aspect[0]] if aspect else []), path], check=True)
    for name in ("flat", "wide"):
        check_pair(tmp_path / f"{name}.mp4", tmp_path / "dv.mp4")
    raw, published = still(tmp_path / "raw.png", 900, 90), still(tmp_path / "small.png", 360, 90)
    with pytest.raises(VideoError, match="another shape"):
        check_pair(published, raw)
    names = {"source": file_digest(raw), "output": file_digest(published)}
    receipt = {name: {"sha256": digest} for name, digest in names.items()}
    (tmp_path / "small.png.receipt.json").write_text(json.dumps(receipt))
    check_pair(published, raw)


def test_a_still_picture_is_not_compared_with_the_first_frame_of_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("published", "raw"):
        (tmp_path / folder).mkdir()
    slides(tmp_path / "raw" / "s.mp4", last=0.1)
    still(tmp_path / "published" / "s.png", 64, 48)
    words = ["attack", str(tmp_path / "published"), "--raw", str(tmp_path / "raw"), "--quick"]
    assert main(words) == 1
    assert "s.png is a still picture and s.mp4 is a video" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["mkv", "h264"])
def test_the_rest_of_a_raw_video_that_does_not_say_its_length_is_told(
    tmp_path: Path, ending: str
) -> None:
    """As one that was recorded through a pipe does not."""
    raw, published = tmp_path / f"raw.{ending}", tmp_path / "published.mp4"
    kind = {"mkv": "matroska", "h264": "h264"}[ending]
    given = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=gray:size=64x48:rate=25:d=2"]
    with raw.open("wb") as out:
        subprocess.run([*given, "-c:v", "libx264", "-f", kind, "pipe:"], check=True, stdout=out)
    subprocess.run([*given, "-t", "0.8", published], check=True)
    assert probe(raw).duration is None
    assert abs(extra_raw_seconds(published, raw) - 1.2) < 0.1

"""What one run tells while it goes on, and what its receipt says of settings, sound and damage."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch

import masquerade
from masquerade.cli import main
from masquerade.errors import MasqueradeError, MissingError, UsageError, VideoError
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.single_file import SEED_WARNING, run_file
from masquerade.video.probe import probe_in_process, video_digest


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight frames of noise with a tone, 64 x 48, 10 a second."""
    path = tmp_path_factory.mktemp("film") / "in.mkv"
    noise = np.random.default_rng(0).integers(0, 255, (8, 48, 64, 3), np.uint8)
    with av.open(str(path), "w") as out:
        video = out.add_stream("ffv1", rate=10, width=64, height=48, pix_fmt="yuv420p")
        sound: Any = out.add_stream("pcm_s16le", rate=8000, layout="mono")
        for t, pixels in enumerate(noise):
            picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            picture.pts, picture.time_base = t, Fraction(1, 10)
            out.mux(video.encode(picture))
        tone = (9000 * np.sin(np.arange(6400) * 0.4)).astype(np.int16)
        samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
        samples.sample_rate, samples.pts = 8000, 0
        out.mux(sound.encode(samples))
        for stream in (video, sound):
            out.mux(stream.encode(None))
    return path


def run(src: Path, dst: Path, **settings: Any) -> Any:
    return masquerade.anonymize_file(
        src, dst, masquerade.build("blacken"), regions="frame", device="cpu", **settings
    )


def test_progress_counts_the_frames_of_the_source(film: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    for name, settings, count in (
        ("a.mp4", {}, 8),
        ("b.mp4", {"cfr": 30.0}, 8),
        ("c.mp4", {"preview": 0.4}, 4),
        ("d.mp4", {"shadow": True}, 8),
    ):
        receipt = run(
            film, tmp_path / name, progress=lambda done, of: heard.append((done, of)), **settings
        )
        assert heard == [(done, count) for done in range(count + 1)]  # from the start
        assert receipt.source.frames == count == len(receipt.coverage.share)
        assert receipt.end_unknown is False
        heard.clear()
    made = json.loads((tmp_path / "b.mp4.receipt.json").read_text())
    assert made["output"]["frames"] == 24 and made["source"]["frames"] == 8


def test_the_receipt_says_what_became_of_the_sound(film: Path, tmp_path: Path) -> None:
    for name, choice, kinds in (
        ("a.mkv", "drop", ["video"]),
        ("b.mkv", "keep", ["video", "audio"]),
        ("c.mkv", "pitch", ["video", "audio"]),
    ):
        receipt = run(film, tmp_path / name, audio=choice)
        assert receipt.audio == choice
        sound = "stream1 (audio, pcm_s16le)"
        assert (sound in receipt.kept) == (choice != "drop")
        assert (sound in receipt.removed) == (choice == "drop")
        with av.open(str(tmp_path / name)) as out:
            assert [stream.type for stream in out.streams] == kinds
    silent = torch.rand(1, 3, 2, 48, 64)
    masquerade.write_video(tmp_path / "silent.mp4", silent)
    assert run(tmp_path / "silent.mp4", tmp_path / "d.mp4", audio="keep").audio not in (
        "keep",
        "drop",
    )


def test_a_seed_is_warned_of_and_never_written(film: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="undo the output"):
        receipt = run(film, tmp_path / "a.mp4", seed=77123)
    assert SEED_WARNING in receipt.warnings and "undoes" in receipt.noise
    assert "77123" not in (tmp_path / "a.mp4.receipt.json").read_text()
    plain = run(film, tmp_path / "b.mp4")
    assert plain.warnings == () and "operating system" in plain.noise
    assert (plain.damaged_frames, plain.lost_frames, plain.mended_timestamps) == (0, 0, 0)
    assert plain.device == "cpu" and plain.end_unknown is False and "seed" not in plain.settings
    assert set(plain.stage_seconds) == {
        "decode",
        "regions",
        "anonymize",
        "convert",
        "encode",
        "check",
    }
    assert all(0 <= s < 1000 for s in plain.stage_seconds.values())


def test_settings_that_cannot_be_are_refused_before_any_work(film: Path, tmp_path: Path) -> None:
    dst = tmp_path / "a.mp4"
    for settings in ({"seed": -1}, {"nothing": 1}):
        with pytest.raises(UsageError):
            run(film, dst, **settings)
    with pytest.raises((UsageError, MissingError)):
        masquerade.anonymize_file(film, dst, masquerade.build("blacken"), device="cuda:99")
    with pytest.raises(VideoError, match="does not exist"):
        run(tmp_path / "none.mp4", dst)
    assert not list(tmp_path.iterdir())


def test_files_named_by_text_are_read_and_written(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("region.png", np.full((48, 64), 255, np.uint8))
    beside = {"report": "r.json", "export_boxes": "boxes.json", "export_masks": "masks.mkv"}
    receipt = run(film, tmp_path / "a.mp4", region="region.png", **beside)
    assert receipt.settings["region"] == "region.png"
    assert {path.name for path in tmp_path.iterdir()} == {"region.png", "a.mp4", *beside.values()}


def test_what_is_written_beside_appears_with_the_output_or_not_at_all(
    film: Path, tmp_path: Path
) -> None:
    config = PipelineConfig(regions="frame", public_receipt=True)
    pipeline = build_pipeline(masquerade.build("blacken"), config)

    def failing(receipt: Any, appear: Any) -> None:
        appear(tmp_path / "more.txt").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(MasqueradeError, match=r"^a\.mp4: No space left on device\.$"):
        run_file(film, tmp_path / "a.mp4", pipeline, also=failing)
    assert not list(tmp_path.iterdir())
    receipt = run_file(
        film,
        tmp_path / "a.mp4",
        pipeline,
        also=lambda receipt, appear: appear(tmp_path / "more.txt").write_text(receipt.noise),
    )
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "a.mp4.receipt.json", "more.txt"}
    assert (tmp_path / "more.txt").read_text() == receipt.noise
    public = json.loads((tmp_path / "a.mp4.receipt.json").read_text())
    assert receipt.source.sha256 == video_digest(film) and public["source"]["sha256"] is None


@pytest.mark.parametrize(
    ("name", "audio", "kept"),
    [
        ("out.gif", "drop", set()),
        ("out.avi", "keep", {"title", "comment", "stream1 (audio, aac)"}),
        ("out.mkv", "pitch", {"title", "comment", "location", "stream1 (audio, aac)"}),
    ],
)
def test_kept_is_what_the_output_holds(
    short_clip: Path, tmp_path: Path, name: str, audio: str, kept: set[str]
) -> None:
    receipt = run(short_clip, tmp_path / name, metadata="keep", audio=audio)
    listed = {"title", "comment", "location", "stream1 (audio, aac)"}
    assert {one.lower() for one in receipt.kept} & listed == kept
    assert {one.lower() for one in receipt.removed} & listed == listed - kept
    held = {tag.lower() for tag in probe_in_process(tmp_path / name).tags}
    tags = {one for one in kept if not one.startswith("stream")}
    assert tags == held & listed


def test_what_is_written_beside_one_video_may_be_put_into_a_folder(
    film: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    run(film, tmp_path / "a.mp4", report=tmp_path / "there")
    words = ["anonymize", str(film), "-o", str(tmp_path / "b.mp4"), "--method", "blacken", "-q"]
    words += ["--regions", "frame", "--report", f"{tmp_path}/new/"]
    assert main([*words, f"--export-boxes={tmp_path}/there/"]) == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == [
        "a.mp4.receipt.json",
        "b.mp4.boxes.json",
    ]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["b.mp4.receipt.json"]


def test_a_place_for_the_receipt_is_made_sure_of_before_the_work(
    film: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    heard: list[Any] = []
    with pytest.raises(MasqueradeError, match="file cannot be written"):
        run(
            *(film, tmp_path / "a.mp4"),
            report=tmp_path / "file" / "r.json",
            progress=lambda *counts: heard.append(counts),
        )
    assert heard == [(0, 8)] and [path.name for path in tmp_path.iterdir()] == ["file"]

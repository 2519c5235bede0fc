"""Where in the code an error arose that is not foreseen is kept, and printed where asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import masquerade
from masquerade.attack import restore, run
from masquerade.attack.across_videos import VideoDescriber
from masquerade.attack.config import AttackConfig
from masquerade.attack.known_noise import KnownNoise
from masquerade.attack.own_output import check_own_output
from masquerade.attack.published_detection import PublishedDetection
from masquerade.attack.run import attack_files
from masquerade.cli import main
from masquerade.errors import MasqueradeError, VideoError
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.file_outcome import run_task
from masquerade.pipeline.outputs import FileTask
from masquerade.regions.boxes import MOST_DETECTIONS, check_detection_count


@pytest.mark.usefixtures("nothing_undone")
@pytest.mark.parametrize(
    "place",
    ["attack.run.meant_to_hide", "attack.run.cut_patches", "attack.run.VideoDescriber.describe"],
    ids=["a file", "what learns", "all together"],
)
def test_where_an_error_arose_that_is_not_foreseen_is_printed_where_it_is_asked_for(
    videos: Path,
    raw_videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: str,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise RuntimeError("odd\x1b[31m")

    monkeypatch.setattr(KnownNoise, "compare", lambda *_: None)
    monkeypatch.setattr(VideoDescriber, "describe", lambda *_: {})
    monkeypatch.setattr(restore, "STEPS", 1)
    monkeypatch.setattr(run, "PATCHES", 32)
    monkeypatch.setattr(f"masquerade.{place}", failing)
    page = tmp_path / "page.html"
    words = ["attack", str(videos), "--raw", str(raw_videos), "--frames", "1", "-o", str(page)]
    code = main([*words, "--json"])
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out and "in failing" not in page.read_text()
    assert "report it with what --verbose prints." in said.err + said.out
    assert main([*words, "--json", "--verbose", "--overwrite"]) == code
    asked = capsys.readouterr()
    assert "Traceback" not in asked.out and "in failing" not in page.read_text()
    lines = asked.err.splitlines()
    assert any(one.endswith("in failing") for one in lines)
    assert lines.count("RuntimeError: odd\\x1b[31m") >= 2


def test_an_error_of_the_check_of_an_output_keeps_where_it_arose(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError("odd")

    monkeypatch.setattr("masquerade.attack.run.meant_to_hide", failing)
    pipeline = build_pipeline(masquerade.build("blacken"), PipelineConfig(regions="frame"))
    task = FileTask(videos / "fine.mp4", tmp_path / "o.mp4")
    outcome = run_task(task, pipeline._replace(check_output=check_own_output))
    assert outcome.exit_code == 4 and "Traceback" not in outcome.error
    assert outcome.traceback.startswith("Traceback") and "in failing" in outcome.traceback
    assert not task.dst.exists()


def test_a_file_whose_frames_end_early_is_read_for_what_lies_beside_them(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tags, streams and receipt name somebody all the same."""

    def ending(*_: object, **__: object) -> None:
        raise VideoError("fine.mp4 gives fewer frames than it says.")

    monkeypatch.setattr("masquerade.attack.run.read_windows", ending)
    config = AttackConfig(frames=1, quick=True)
    (one,) = attack_files([videos / "fine.mp4"], config).videos
    assert one.error == "fine.mp4 gives fewer frames than it says."
    assert [found.attack for found in one.findings] == ["tags", "streams", "receipt"]


@pytest.mark.usefixtures("nothing_undone")
def test_a_frame_with_too_many_detections_stops_its_own_file_alone(
    tmp_path: Path, clip: Path, videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def detect(_: object, number: int, frames: Sequence[Any], at: int, *__: Any, **___: Any) -> Any:
        if frames[at].shape[1] != 64:
            check_detection_count(MOST_DETECTIONS + 1)

    monkeypatch.setattr(PublishedDetection, "detect", detect)
    config = AttackConfig(frames=1, quick=True)
    report = attack_files([clip, videos / "fine.mp4"], config)
    assert [video.path for video in report.not_attacked] == [clip]
    many, fine = report.videos
    assert many.error is not None and "finds more than 5,000 things" in many.error
    assert "--threshold" not in many.error and not many.traceback
    assert fine.error is None and len(fine.attacked) == 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MasqueradeError("The process that decodes cannot be started."), "cannot be started."),
        (MemoryError(), "there was not enough memory; close other programs, or ask for less"),
    ],
    ids=["of this program", "memory"],
)
def test_an_error_that_is_foreseen_is_not_asked_to_be_reported(
    videos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str
) -> None:
    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr("masquerade.attack.run.tally_frames", failing)
    config = AttackConfig(frames=1, quick=True)
    (video,) = attack_files([videos / "fine.mp4"], config).videos
    assert video.error is not None and sentence in video.error
    assert "report it" not in video.error and not video.traceback


@pytest.mark.usefixtures("nothing_undone")
def test_a_network_that_cannot_be_trained_takes_back_no_other_attack(
    videos: Path, raw_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> None:
        raise MasqueradeError("The loss is no number.")

    monkeypatch.setattr(KnownNoise, "compare", lambda *_: None)
    monkeypatch.setattr(VideoDescriber, "describe", lambda *_: {})
    monkeypatch.setattr("masquerade.attack.run.fit_on_patches", failing)
    monkeypatch.setattr("masquerade.attack.run.cut_patches", lambda *_: torch.zeros(1, 9, 64, 64))
    report = attack_files([videos], AttackConfig(frames=1), raw=raw_videos)
    assert len(report.videos) == 2 and not report.not_attacked
    for video in report.videos:
        (restored,) = (finding for finding in video.findings if finding.attack == "restore")
        assert "could not be trained: The loss is no number." in restored.says

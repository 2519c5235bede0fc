"""Where in the code an error arose that is not foreseen is kept, and printed where asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import masquerade
from masquerade.attack.across_videos import VideoDescriber
from masquerade.attack.config import AttackConfig
from masquerade.attack.known_noise import KnownNoise
from masquerade.attack.own_output import check_own_output
from masquerade.attack.run import attack_files
from masquerade.cli import main
from masquerade.errors import VideoError
from masquerade.pipeline.config import PipelineConfig, build_pipeline
from masquerade.pipeline.file_outcome import run_task
from masquerade.pipeline.outputs import FileTask


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

    monkeypatch.setattr(KnownNoise, "look", lambda *_: None)
    monkeypatch.setattr(VideoDescriber, "describe", lambda *_: {})
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

"""What a run is of, and what a page is told, is of one moment, though others decide meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from masquerade.pipeline.edits import Edits
from masquerade.studio import studio as studio_module
from masquerade.studio import video_routes
from masquerade.studio.studio import Studio
from masquerade.studio.video_session import VideoSession

ALLOWED = {"allow_empty": False, "allow_gaps": False}


@pytest.fixture
def video(studio: Studio) -> VideoSession:
    video = studio.open("night/one.mp4")
    video.set({"feather": 2})
    return video


@pytest.fixture
def runs(studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Edits]:
    """The edits of what was put in the queue; nothing runs."""
    queued: list[Edits] = []

    def add(*, arguments: Callable[[Path], list[str]], **given: Any) -> Any:
        queued.append(Edits.read(Path(arguments(tmp_path)[0])))
        return SimpleNamespace(id=str(len(queued)))

    monkeypatch.setattr(studio.jobs, "add", add)
    return queued


def deciding(video: VideoSession, real: Callable[..., Any]) -> Callable[..., Any]:
    """A step of the studio's during which another tab decides something, once."""
    decided: list[bool] = []

    def step(*given: Any, **named: Any) -> Any:
        if not decided:
            decided.append(True)
            video.set({"feather": 3})
        return real(*given, **named)

    return step


def test_a_run_is_of_the_decisions_that_it_was_asked_for(
    studio: Studio, video: VideoSession, runs: list[Edits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio_module, "_free", deciding(video, studio_module._free))
    studio.anonymize(video.id, **ALLOWED, seen=video.history.revision)
    assert video.edits.settings["feather"] == 3  # it was decided meanwhile
    assert [edits.settings["feather"] for edits in runs] == [2]


def test_both_sides_of_a_comparison_are_of_the_same_decisions(
    studio: Studio, video: VideoSession, runs: list[Edits], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "with_setting", deciding(video, video.with_setting))
    sides: list[dict[str, str]] = [{}, {"method": "blur"}]
    studio.compare(video.id, sides, **ALLOWED, seen=video.history.revision)
    assert video.edits.settings["feather"] == 3
    assert [edits.settings["feather"] for edits in runs] == [2, 2]


def test_a_page_is_told_the_revision_of_what_it_is_told(
    video: VideoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = video.history.revision
    monkeypatch.setattr(
        video_routes, "template_kinds", deciding(video, video_routes.template_kinds)
    )
    told = video_routes.shown(video)
    assert video.history.revision == before + 1
    assert (told["decisions"], told["settings"]["feather"]) == (before, 2)
    assert told["log"][-1]["what"] == "set feather 2"

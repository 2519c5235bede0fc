"""Decisions by number are about whom the page showed, never about somebody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from masquerade.studio.scans import SeenTrack
from masquerade.studio.studio import Studio
from masquerade.studio.video_session import VideoSession

STRANGER, PERSON = 2, 5
PLACE = (10.0, 10.0, 60.0, 60.0)


class StubChild:
    """A search that finds nobody: when it is told to, it says what numbers are of, and ends."""

    last: StubChild
    says_at_once = True

    def __init__(self, module: str, *words: str, on_line: Any, on_end: Any) -> None:
        self.speak, self._stopped = threading.Event(), threading.Event()

        def run() -> None:
            self.speak.wait()
            on_line({"numbered_by": "here"})
            self._stopped.wait()
            on_end(130, "")

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        StubChild.last = self
        if self.says_at_once:
            self.speak.set()

    def stop(self) -> None:
        self.speak.set()  # a line that it said just before it was interrupted
        self._stopped.set()
        self.thread.join(20)  # longer than any test waits; then a test that failed can end

    def nudge(self) -> None:
        """Nothing waits."""


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> type[StubChild]:
    monkeypatch.setattr("masquerade.studio.scans.Child", StubChild)
    return StubChild


def with_people(video: VideoSession, wait: Callable[..., Any]) -> VideoSession:
    """A video whose people have the numbers of this version."""
    wait(lambda: video.pictures.done and video.scan().numbered_by, bool)
    for track in (STRANGER, PERSON):
        box = (2.0 + track, 2.0, 9.0 + track, 9.0)
        video.scan().tracks[track] = SeenTrack(track, "person", [0, 1], 0, box, 49.0)
    return video


@pytest.fixture
def video(stub: type[StubChild], studio: Studio, wait: Callable[..., Any]) -> VideoSession:
    return with_people(studio.open("night/one.mp4"), wait)


def test_choices_of_an_imported_file_by_other_numbers_are_forgotten(video: VideoSession) -> None:
    video.set({"feather": 2})
    video.take(replace(video.edits, visible=(STRANGER,), numbered_by="an older version"))
    assert not video.edits.visible and "other numbers" in str(video.notice)
    video.choose(PERSON, "visible", False)
    assert video.edits.visible == (PERSON,) and video.edits.numbered_by == "here"
    for _ in range(2):
        video.undo()
    assert video.edits.settings["feather"] == 2 and not video.edits.visible
    video.redo()
    assert not video.edits.visible
    video.undo()
    video.undo()  # what was forgotten is no step that would hold Undo up
    assert "feather" not in video.edits.settings


@pytest.mark.parametrize("way", ["undo", "redo"])
def test_undo_and_redo_bring_no_choices_by_other_numbers_back(
    video: VideoSession, way: str
) -> None:
    stale = replace(video.edits, visible=(STRANGER,), numbered_by="an older version")
    # As by another studio while this one did not see that numbers had changed.
    video.history.decide("leave person 2 visible", lambda edits: replace(stale, log=edits.log))
    if way == "undo":
        video.history.decide("soften", lambda e: replace(e, settings={**e.settings, "feather": 2}))
        video.undo()
    else:
        video.history.undo()
        video.redo()
    assert not video.edits.visible and "other numbers" in str(video.notice)


@pytest.mark.parametrize("chosen", ["visible", "only"])
def test_all_are_hidden_again_before_anybody_was_found(
    unnumbered: VideoSession, chosen: str
) -> None:
    """As in a video that is opened again, whose search has not come to anybody."""
    video = unnumbered
    video.history.decide("choose", lambda edits: replace(edits, **{chosen: (PERSON,)}))
    assert [one.label for one in video.tracks()] == ["drawn"]
    video.hide_all()
    assert not video.edits.visible and not video.edits.only and video.edits.drawn
    video.undo()
    assert getattr(video.edits, chosen) == (PERSON,)


def test_a_choice_never_gives_its_numbers_to_older_ones(video: VideoSession) -> None:
    def older(edits: Any) -> Any:
        return replace(edits, visible=(STRANGER,), numbered_by="an older version")

    video.history.decide("leave person 2 visible", older)
    video.choose(PERSON, "visible", False)
    assert video.edits.visible == (PERSON,)
    video.history.decide("leave person 2 visible", older)
    video.join((STRANGER, PERSON))
    assert not video.edits.visible and video.edits.numbered_by == "here"


@pytest.fixture
def unnumbered(
    stub: type[StubChild], studio: Studio, wait: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> VideoSession:
    """A video with a drawn region, whose people have no numbers yet."""
    monkeypatch.setattr(stub, "says_at_once", False)
    video = studio.open("night/one.mp4")
    wait(lambda: video.pictures.done, bool)
    video.draw(0, PLACE)
    return video


def test_older_choices_keep_their_numbers_until_the_present_ones_are_known(
    stub: type[StubChild], unnumbered: VideoSession, wait: Callable[..., Any]
) -> None:
    """Else a drawn region's method would make them choices by whatever numbers come."""
    video = unnumbered
    stale = replace(video.edits, visible=(STRANGER,), numbered_by="an older version")
    video.take(stale)
    video.choose(video.edits.drawn[0].track, None, "blur")
    assert video.edits.visible and video.edits.numbered_by == "an older version"
    stub.last.speak.set()
    wait(lambda: video.notice, bool)
    assert not video.edits.visible


def test_a_choice_and_a_setting_at_once_do_not_wait_for_each_other(
    unnumbered: VideoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A choice held the decisions and waited for a search that ended, which waited for them."""
    video = unnumbered
    (region,) = video.edits.drawn
    looked, decided = threading.Event(), threading.Event()
    known, scan_anew = video._known, video.scan_anew

    def slow_known(track: int) -> None:
        known(track)
        looked.set()
        decided.wait(20)

    def slowscan_anew() -> None:
        decided.set()
        threading.Event().wait(0.3)  # the choice goes on first
        scan_anew()

    monkeypatch.setattr(video, "_known", slow_known)
    monkeypatch.setattr(video, "scan_anew", slowscan_anew)
    one = threading.Thread(target=video.choose, args=(region.track, None, "blur"), daemon=True)
    two = threading.Thread(target=video.set, args=({"level": "face"},), daemon=True)
    one.start()
    assert looked.wait(20)
    two.start()
    for thread in (one, two):
        thread.join(10)
        assert not thread.is_alive()
    assert video.edits.methods == {region.track: "blur"}


def test_a_search_that_is_slow_to_stop_holds_nobody_up(
    stub: type[StubChild], video: VideoSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping, go_on = threading.Event(), threading.Event()
    stop = stub.stop

    def slow_stop(self: StubChild) -> None:
        stopping.set()
        go_on.wait(20)
        stop(self)

    monkeypatch.setattr(stub, "stop", slow_stop)
    setting = threading.Thread(target=video.set, args=({"level": "face"},), daemon=True)
    setting.start()
    assert stopping.wait(20)
    asking = threading.Thread(target=video.tracks, daemon=True)  # as for another tab
    asking.start()
    asking.join(5)
    held_up = asking.is_alive()
    go_on.set()
    setting.join(10)
    assert not held_up and not setting.is_alive()
    assert video.scan().state == "running"


def test_what_a_search_found_that_was_given_up_is_removed(
    video: VideoSession, studio: Studio
) -> None:
    for regions in ("faces", "people", "faces"):
        video.set({"regions": regions, "method": "blacken"})
    assert len(list((studio.folder / video.id).glob("scan-*"))) == 1

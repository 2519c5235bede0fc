"""Files of decisions that cannot be used, or that another studio writes too: nothing is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")
from starlette.testclient import TestClient

from masquerade.errors import UsageError
from masquerade.pipeline.edits import EditedSource, Edits
from masquerade.studio.history import ChangedError, History
from masquerade.studio.kept_edits import KeptEdits
from masquerade.studio.studio import Studio

SOURCE = EditedSource(name="a.mp4", sha256="5" * 64, width=64, height=48)
START = Edits(source=SOURCE, settings={"level": "person"})


def feathered(width: float) -> Callable[[Edits], Edits]:
    return lambda edits: replace(edits, settings={**edits.settings, "feather": width})


def nothing(edits: Edits) -> None:
    """No check."""


@pytest.mark.parametrize("text", ["{", '{"edits": 2}', '{"edits": 1, "source": 3}'])
def test_what_cannot_be_used_holds_runs_back_until_it_is_acknowledged(
    tmp_path: Path, text: str
) -> None:
    folder, sha256 = tmp_path / "edits", SOURCE.sha256
    kept = KeptEdits(folder)
    kept.history(START).decide("soften", feathered(2.0))
    (folder / f"{sha256}.json").write_text(text)
    assert KeptEdits(folder).history(START).edits == START
    again = KeptEdits(folder)  # a restart; what was begun anew is there now, and the old one too
    again.history(START).decide("soften", feathered(3.0))
    held = KeptEdits(folder).held_back(sha256)
    assert held is not None and held.file == f"{sha256}.unreadable.json" and held.reason
    assert (folder / f"{sha256}.unreadable.json").read_text() == text
    again.acknowledge(sha256)
    assert KeptEdits(folder).held_back(sha256) is None
    assert (folder / f"{sha256}.acknowledged.json").read_text() == text
    (folder / f"{sha256}.json").write_text("{")  # it happens again, and is held back again
    KeptEdits(folder).history(START)
    assert kept.held_back(sha256) is not None and kept.held_back("6" * 64) is None
    kept.acknowledge(sha256)
    assert len(list(folder.iterdir())) == 2


def test_a_file_that_another_wrote_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "edits.json"
    one, two = History(START, file), History(START, file)
    one.decide("soften", feathered(1.0))
    assert two.changed_elsewhere and not one.changed_elsewhere
    written = file.read_text()
    for change in (lambda: two.decide("soften", feathered(9.0)), two.check_file):
        with pytest.raises(ChangedError, match="another studio"):
            change()
    assert file.read_text() == written and two.edits == START
    two.reload(nothing)
    assert two.edits == one.edits and not two.changed_elsewhere
    two.decide("soften more", feathered(9.0))
    with pytest.raises(ChangedError):
        one.undo()
    one.reload(nothing)
    assert [line.what for line in one.edits.log] == ["soften", "soften more"]
    one.undo()  # this one's own state comes back, and the other's is one step away
    assert one.edits.settings["feather"] == 1.0
    one.redo()
    assert one.edits.settings["feather"] == 9.0


def test_a_touched_or_removed_file_is_no_other(tmp_path: Path) -> None:
    file = tmp_path / "edits.json"
    history = History(START, file)
    history.decide("soften", feathered(1.0))
    file.write_text(file.read_text())
    assert not history.changed_elsewhere
    file.unlink()
    assert not history.changed_elsewhere
    history.decide("soften", feathered(2.0))
    assert Edits.read(file).settings["feather"] == 2.0


def test_a_file_that_cannot_be_taken_over_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "edits.json"
    history = History(START, file)
    history.decide("soften", feathered(1.0))
    file.write_text("{")
    for _ in range(2):
        with pytest.raises(UsageError, match="not a file of edits"):
            history.reload(nothing)
        assert history.edits.settings["feather"] == 1.0 and history.changed_elsewhere
    assert history.undo_name == "soften"


@pytest.fixture
def other(page: TestClient, tmp_path: Path) -> Iterator[Studio]:
    """A second studio with the same decisions, as another process has it."""
    found = Studio(root=tmp_path / "ward", state=tmp_path / "state")
    yield found
    found.close()


@pytest.mark.slow
def test_two_studios_do_not_decide_for_each_other(
    page: TestClient, opened: Callable[..., dict[str, Any]], other: Studio
) -> None:
    video = opened(scanned=False, level="face")
    own = f"/api/videos/{video['id']}"
    theirs = other.open("night/one.mp4")
    assert theirs.edits.settings["level"] == "face"
    theirs.set({"level": "figure"})
    assert page.get(own).json()["changed_elsewhere"] is True
    for answer in (
        page.put(f"{own}/settings", json={"feather": 3}),
        page.post(f"{own}/undo"),
        page.post(f"{own}/jobs", json={"kind": "anonymize"}),
    ):
        assert answer.status_code == 409 and "nother studio" in answer.json()["error"]
    assert page.get("/api/jobs").json() == []
    after = page.post(f"{own}/reload").json()
    assert after["settings"]["level"] == "figure" and after["changed_elsewhere"] is False
    assert page.put(f"{own}/settings", json={"feather": 3}).status_code == 200
    with pytest.raises(ChangedError):
        other.anonymize(theirs.id, allow_empty=False, allow_gaps=False)


@pytest.mark.slow
def test_no_run_begins_before_lost_decisions_are_acknowledged(
    page: TestClient, opened: Callable[..., dict[str, Any]], root: Path, tmp_path: Path
) -> None:
    video = opened(scanned=False, level="face")
    (kept,) = (tmp_path / "state" / "edits").iterdir()
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "edits": 2}))
    studio = Studio(root=root, state=tmp_path / "state")
    again = studio.open("night/one.mp4")
    assert again.edits.settings["level"] == "person" and again.held_back
    with pytest.raises(UsageError, match="then let runs begin"):
        studio.anonymize(again.id, allow_empty=True, allow_gaps=True)
    studio.close()
    own = f"/api/videos/{video['id']}"  # the other process is told, too
    assert "unreadable" in page.get(own).json()["held_back"]["file"]
    assert page.post(f"{own}/acknowledge").json()["held_back"] is None
    studio = Studio(root=root, state=tmp_path / "state")
    assert studio.open("night/one.mp4").held_back is None
    studio.close()

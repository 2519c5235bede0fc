"""Text of the raw video that was to be hidden is recovered where it is still there."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from test_attack import Change, found, write

from masquerade.attack import AttackConfig, attack_files
from masquerade.attack.finders import Finders, Kind
from masquerade.attack.own_output import check_own_output
from masquerade.attack.raw_text import RawText
from masquerade.cli import main
from masquerade.errors import OutputError, UsageError
from masquerade.regions.boxes import Box
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.text import TextDetector

LINES = ((40, 120, "Ward 7 Mrs Example", 1.1, 255), (300, 300, "B-XY 1234", 0.8, 10))


def scene(frame: np.ndarray, number: int = 0) -> np.ndarray:
    """Two lines of text on a soft ground, without anybody."""
    draw = np.random.default_rng(0).integers(60, 200, (12, 16, 3), np.uint8)
    out = cv2.resize(draw, (640, 480), interpolation=cv2.INTER_CUBIC)
    for x, y, text, size, grey in LINES:
        cv2.putText(out, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, (grey,) * 3, 3)
    return np.asarray(out, np.uint8)


def blurred(frame: np.ndarray, number: int = 0) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(scene(frame), (0, 0), 8), np.uint8)


def half_hidden(frame: np.ndarray, number: int = 0) -> np.ndarray:
    out = scene(frame)
    out[80:140] = 0
    return out


BLANK = np.zeros((480, 640, 3), np.uint8)
text_finders = cache(lambda: Finders(kinds=("face", "text")))  # one set of networks for all tests


@pytest.mark.parametrize(
    ("change", "there"), [(scene, 2), (half_hidden, 1), (blurred, 0)], ids=["all", "one", "none"]
)
def test_lines_that_are_there_are_counted(change: Change, there: int) -> None:
    text = RawText(text_finders())
    raw, published = scene(BLANK), change(BLANK, 0)
    text.compare(3, published, [np.zeros_like(raw), raw])  # it may be any frame of its time
    assert text.lines == {3: 0}  # lines are looked for in the nearest frame
    text.compare(4, published, [raw, np.zeros_like(raw)])
    assert text.lines[4] == 2 and len(text.proofs) == there
    assert text.finding().level == ("recovered" if there else "nothing")


def sign(contrast: int, scale: float, thickness: int) -> np.ndarray:
    out = np.full((240, 800, 3), 120, np.uint8)
    grey = (120 - contrast,) * 3
    return cv2.putText(out, "AB 12 CDE", (20, 150), cv2.FONT_HERSHEY_DUPLEX, scale, grey, thickness)


@pytest.mark.parametrize("look", [(25, 3, 5), (15, 1.5, 3)], ids=["large", "faint"])
def test_letters_of_little_detail_are_there_where_text_is_seen_in_their_place(
    look: tuple[int, float, int],
) -> None:
    """The strokes of large letters are broader than what detail is measured by."""
    raw, text = sign(*look), RawText(text_finders())
    text.compare(0, raw, [raw])
    shown = text.finding()
    assert shown.level == "recovered" and "Of 1 lines of text in 1 raw frames" in shown.says
    text.compare(1, np.full_like(raw, 120), [raw])
    both = text.finding()
    assert both.frames == (0,)
    assert "Of 2 lines of text in 2 raw frames" in both.says and " 1 are there" in both.says
    assert "1 have too little detail to be compared, and no text is seen" in both.says
    none = RawText(text.finders)
    none.compare(1, np.full_like(raw, 120), [np.full_like(raw, 120)])
    assert none.finding().says.startswith("No text is seen in 1 raw frames")


def test_a_caption_on_a_face_is_text_and_the_face_itself_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As `anonymize` hides them; what is unsurely a face hides no text."""
    boxes = np.array([[0.0, 30.0, 100.0, 75.0], [0.0, 0.0, 100.0, 90.0]]), np.full(2, 0.9)
    monkeypatch.setattr(TextDetector, "__call__", lambda *_, **__: boxes)
    faces = [Box(0, 0, 100, 100, score=0.9)]
    monkeypatch.setattr(CenterFace, "__call__", lambda *_: faces)
    finders = text_finders()
    assert [box.y0 for box in finders.find("text", BLANK, any_shape=True)] == [30]
    assert finders.find("text", BLANK, faces=faces, any_shape=True) == []
    faces[0] = Box(0, 0, 100, 100, score=0.4)
    assert [box.y0 for box in finders.find("text", BLANK, any_shape=True)] == [30, 0]


class OneSquare:
    """Finds one thing as wide as high, no line, in some frames."""

    def __init__(self, *frames: np.ndarray) -> None:
        self.frames = frames

    def find(self, kind: Kind, frame: np.ndarray, *, any_shape: bool = False) -> list[Box]:
        known = any(frame is one for one in self.frames)
        return [Box(40, 100, 80, 140, score=0.9, label="text")] if any_shape and known else []


def test_short_or_diagonal_text_of_the_raw_video_is_compared_too() -> None:
    raw = scene(BLANK)
    text = RawText(cast(Finders, OneSquare(raw)))
    text.compare(0, raw, [raw])
    text.compare(1, half_hidden(raw), [raw])
    assert text.finding().frames == (0,) and text.finding().level == "recovered"


def test_large_faint_text_is_there_where_it_is_seen_in_its_place() -> None:
    raw, hidden = np.full_like(BLANK, 120), np.full_like(BLANK, 120)
    published = raw.copy()
    text = RawText(cast(Finders, OneSquare(raw, published)))
    text.compare(0, published, [raw])
    text.compare(1, hidden, [raw])
    assert text.finding().frames == (0,) and text.finding().level == "recovered"


def test_finders_give_text_of_any_shape_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = np.array([[10.0, 10.0, 50.0, 50.0], [100.0, 10.0, 200.0, 50.0]]), np.full(2, 0.9)
    monkeypatch.setattr(TextDetector, "__call__", lambda *_, **__: boxes)
    finders = text_finders()
    assert len(finders.find("text", BLANK, faces=())) == 1
    assert len(finders.find("text", BLANK, faces=(), any_shape=True)) == 2


@pytest.mark.parametrize(
    ("change", "regions", "level", "code"),
    [
        (scene, "text", "recovered", 4),
        pytest.param(half_hidden, "text", "recovered", 4, marks=pytest.mark.slow),
        (blurred, "text", "nothing", 0),
        pytest.param(scene, "faces", None, 0, marks=pytest.mark.slow),  # it was not to be hidden
    ],
    ids=["there", "one line", "hidden", "not meant"],
)
def test_text_is_recovered_where_it_was_to_be_hidden_and_can_be_read(
    tmp_path: Path, change: Change, regions: str, level: str | None, code: int
) -> None:
    raw = write(tmp_path / "raw.mp4", scene, count=1)
    published = write(tmp_path / "published.mp4", change, count=1)
    receipt = published.with_name("published.mp4.receipt.json")
    receipt.write_text(json.dumps({"regions": [{"name": regions}]}))
    report = attack_files([published], AttackConfig(frames=1, quick=True), raw=raw)
    levels = {one.attack: one.level for one in report.videos[0].findings}
    assert levels.get("raw text") == level and report.exit_code == code
    if code == 0 and change is scene:
        assert levels["text"] == "left"


def test_text_that_is_seen_without_a_raw_video_is_said_to_be_to_be_compared(
    tmp_path: Path,
) -> None:
    published = write(tmp_path / "published.mp4", scene, count=1)
    for hidden, asked in (("text", True), ("faces", False)):
        config = AttackConfig(frames=1, quick=True, hidden=hidden)  # type: ignore[arg-type]
        (video,) = attack_files([published], config).videos
        assert ("text was to be hidden" in found(video, "text").says) == asked


@pytest.mark.slow
def test_an_output_in_which_text_is_left_does_not_pass_where_it_was_to_be_hidden(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, output = write(tmp_path / "clip.mp4", scene, count=1), tmp_path / "part.mp4"
    write(output, half_hidden, count=1)
    check_own_output(output, source, "out.mp4")
    with pytest.raises(OutputError, match=r"did not pass --verify.*Of 2 lines of text .* 1 are"):
        check_own_output(output, source, "out.mp4", text=True)
    words = ["anonymize", str(source), "-o", str(tmp_path / "out.mp4"), "--verify", "-q"]
    words += ["--regions", "faces+text", "--allow-empty"]
    assert main([*words, "--method", "blacken"]) == 0
    assert main([*words, "--method", "blacken", "--threshold", "1", "-y"]) == 4
    assert "lines of text" in capsys.readouterr().err


@pytest.mark.slow
def test_several_kinds_are_said_to_be_hidden(tmp_path: Path) -> None:
    output = write(tmp_path / "out.mp4", scene, count=1)
    raw = write(tmp_path / "raw.mp4", scene, count=1)
    for hidden, level in (("people+text", "recovered"), ("people", None)):
        config = AttackConfig(quick=True, hidden=hidden)
        (video,) = attack_files([output], config, raw=raw).videos
        assert {one.attack: one.level for one in video.findings}.get("raw text") == level
    with pytest.raises(UsageError, match=r"--hidden takes auto, or of faces, .* not 'eyes'"):
        AttackConfig(hidden="eyes")

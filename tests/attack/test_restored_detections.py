"""What counts as seen again in restored frames, and what is a false alarm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
from test_attack import faceless

from masquerade.attack import published_detection
from masquerade.attack.file_facts import find_receipt, hides_whole_frames, meant_to_hide
from masquerade.attack.finders import Finders, Kind
from masquerade.attack.finding import Finding
from masquerade.attack.published_detection import PublishedDetection
from masquerade.attack.restored_detections import FrameComparison, RestoredDetections
from masquerade.cli.demo_clip import frames
from masquerade.regions.boxes import Box
from masquerade.regions.region import ArrayFrame

MEDIAN = "the median of neighbouring frames"
PUBLISHED, RESTORED, RAW = (np.full((90, 200, 3), level, np.uint8) for level in (100, 150, 200))
RAW[30:40] += 9  # a band, which is in the restored picture, too; the first pixel tells which it is
RESTORED[30:40] += 5
MIRRORED = 7  # level of the first pixel of a mirrored picture
PUBLISHED[0, -1] = RESTORED[0, -1] = MIRRORED
HERE, THERE = Box(20, 20, 60, 50, score=0.9), Box(150, 20, 190, 50, score=0.9)
ALL: frozenset[Kind] = frozenset(("face", "person", "pose", "text"))


class Scripted:
    """Finds what a test says, by the grey level of the picture; none in any other."""

    kinds: tuple[Kind, ...] = ("face", "person", "pose", "text")

    def __init__(
        self, kind: Kind, boxes: Mapping[int, Sequence[Box]], mirrored: bool = True
    ) -> None:
        self.kind, self.boxes, self.mirrored = kind, boxes, mirrored

    def find(self, kind: Kind, frame: np.ndarray, *, faces: object = None) -> list[Box]:
        level, last = int(frame[0, 0, 0]), int(frame[0, -1, 0])
        if kind != self.kind:
            return []
        if level != MIRRORED:
            return list(self.boxes.get(level, ()))
        mirrored = [replace(b, x0=200 - b.x1, x1=200 - b.x0) for b in self.boxes.get(last, ())]
        return mirrored if self.mirrored else []


def again(
    kind: Kind,
    boxes: Mapping[int, Sequence[Box]],
    *,
    raw: np.ndarray | None = None,
    hidden: frozenset[Kind] = ALL,
    count: int = 2,
    mirrored: bool = True,
) -> RestoredDetections:
    """What of one kind is seen again in so many frames that are alike."""
    seen = RestoredDetections(hidden=hidden)
    for number in range(count):
        finders = cast(Finders, Scripted(kind, boxes, mirrored))
        seen.detect(FrameComparison(number, PUBLISHED, finders, raw=raw), "a way", RESTORED, [kind])
    return seen


@pytest.mark.parametrize("kind", ["face", "person", "pose", "text"])
def test_a_find_counts_where_published_frames_show_none_and_it_holds(kind: Kind) -> None:
    assert again(kind, {150: [HERE]}).level() == "recovered"
    assert again(kind, {150: [HERE], 200: [HERE]}, raw=RAW).level() == "recovered"
    for boxes, raw, count, mirrored in (
        ({150: [HERE]}, None, 2, False),  # a false alarm
        ({150: [HERE]}, RAW, 2, True),  # raw frames have nothing
        ({150: [HERE], 200: [THERE]}, RAW, 2, True),  # or have it elsewhere
        ({150: [HERE], 200: [replace(HERE, score=0.2)]}, RAW, 2, True),  # or hardly
        ({150: [replace(HERE, score=0.38)]}, None, 2, True),  # unsure
        ({150: [HERE], 100: [replace(HERE, score=0.5)]}, None, 2, True),  # seen as published
        ({150: [HERE], 100: [Box(22, 22, 58, 32, score=0.5)]}, None, 2, True),  # or a part of it
    ):
        seen = again(kind, boxes, raw=raw, count=count, mirrored=mirrored)
        assert seen.level() == "nothing" and not seen.proofs() and not seen.frames()
    assert again(kind, {150: [HERE], 100: [THERE]}).level() == "recovered"


@pytest.mark.parametrize(
    ("kind", "raw", "needed"),
    [
        ("person", None, 3),
        ("pose", None, 3),
        ("face", None, 2),
        ("person", RAW, 3),
        ("text", RAW, 2),
    ],
)
def test_a_body_must_be_seen_in_three_of_many_frames(
    kind: Kind, raw: np.ndarray | None, needed: int
) -> None:
    """The outline of what hides people may look like one in two."""
    for count in (needed - 1, needed):
        seen = RestoredDetections(hidden=ALL)
        for number in range(12):
            boxes = {150: [HERE], 200: [HERE]} if number < count else {}
            finders = cast(Finders, Scripted(kind, boxes))
            comparison = FrameComparison(number, PUBLISHED, finders, raw=raw)
            seen.detect(comparison, "a way", RESTORED, [kind])
        assert seen.level() == ("recovered" if count == needed else "nothing")
    if kind in ("person", "pose"):
        assert "(people and poses 3)" in seen.rule()


@pytest.mark.parametrize("kind", ["face", "person", "pose", "text"])
def test_one_frame_is_enough_where_one_was_looked_at(kind: Kind) -> None:
    """As of an image; of two frames one is too few, which is said."""
    seen = again(kind, {150: [HERE]}, count=1)
    assert seen.level() == "recovered" and "2 frames" not in seen.rule()
    finders = cast(Finders, Scripted(kind, {}))
    seen.detect(FrameComparison(1, PUBLISHED, finders), "a way", RESTORED, [kind])
    assert seen.level() == "nothing" and "in 2 frames or more" in seen.rule()
    assert seen.meaning().endswith("; detections in too few frames to be counted: 1")


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_published_face_that_the_mirror_does_not_show_makes_no_undone_one_known(
    monkeypatch: pytest.MonkeyPatch, mirrored: bool, large: bool
) -> None:
    """Else neither would count. In a large frame undone ones are compared with a smaller copy."""
    published, restored = PUBLISHED.copy(), RESTORED.copy()

    class Both(Scripted):
        def find(self, kind: Kind, frame: np.ndarray, *, faces: object = None) -> list[Box]:
            of_published = 100 in (frame[0, 0, 0], frame[0, -1, 0])
            self.mirrored = mirrored or not of_published
            return super().find(kind, frame)

        def face(self, picture: ArrayFrame) -> list[Box]:
            pixels = np.asarray(picture.rgb(None))
            upright = len(pixels) == 90 and MIRRORED in (pixels[0, 0, 0], pixels[0, -1, 0])
            return self.find("face", pixels) if upright else []

        small_face = face

    finders = cast(Finders, Both("face", {100: [replace(HERE, score=0.55)], 150: [HERE]}))
    monkeypatch.setitem(published_detection.UNDO, MEDIAN, lambda frames, at: restored)
    ratio = 0.99 if large else 1.0
    monkeypatch.setattr(published_detection, "shrink", lambda frames: (frames, ratio))
    detection = PublishedDetection(undo=(MEDIAN,), finders=finders, kinds=("face",))
    for number in range(2):
        detection.detect(number, [published], 0)
    levels = {one.attack: one.level for one in detection.findings()}
    assert levels["faces"] == ("recovered" if mirrored else "nothing")
    assert levels["undo"] == ("nothing" if mirrored else "recovered")


@pytest.mark.parametrize(
    ("kind", "counts"), [("person", False), ("pose", False), ("face", True), ("text", True)]
)
def test_the_raw_frame_alone_confirms_no_body(kind: Kind, counts: bool) -> None:
    """It has somebody wherever a mask is, and the mask's own outline may look like one."""
    boxes: Mapping[int, Sequence[Box]] = {150: [HERE], 200: [HERE]}
    seen = again(kind, boxes, raw=RAW, mirrored=False)
    assert seen.level() == ("recovered" if counts else "nothing")
    if not counts:
        assert "in the raw frames, or, of people, in the mirrored picture: 2" in seen.meaning()


@pytest.mark.parametrize("kind", ["person", "pose"])
def test_a_body_that_is_not_that_of_the_raw_frame_does_not_count(kind: Kind) -> None:
    """Not even one that the mirrored picture shows as surely, as noise in a person's outline."""
    raw = RAW.copy()
    raw[30:40] -= 9
    raw[20:25] += 9
    assert again(kind, {150: [HERE], 200: [HERE]}, raw=raw).level() == "nothing"
    assert again(kind, {150: [HERE], 200: [HERE]}, raw=RAW).level() == "recovered"


def test_what_did_not_hold_is_said() -> None:
    says = again("text", {150: [HERE]}, raw=RAW).meaning()
    assert says.endswith("not counted, as nothing like them is seen in the raw frames: 2")


def test_what_was_not_to_be_hidden_is_left_unless_the_raw_frame_shows_that_it_was() -> None:
    faces: frozenset[Kind] = frozenset(("face",))
    alone = again("person", {150: [HERE]}, hidden=faces)
    assert alone.level() == "left" and "whether it was to be hidden is not known" in alone.meaning()
    boxes: Mapping[int, Sequence[Box]] = {150: [HERE], 200: [HERE]}
    assert again("person", boxes, hidden=faces, raw=RAW).level() == "recovered"
    near: Mapping[int, Sequence[Box]] = {150: [HERE], 105: [HERE]}
    hardly = again("person", near, hidden=faces, raw=np.full_like(RAW, 105))
    assert hardly.level() == "left" and "hardly changed there" in hardly.meaning()


def test_a_proof_shows_the_place_as_published_restored_and_raw() -> None:
    (proof, _) = again("text", {150: [HERE], 200: [HERE]}, raw=RAW).proofs()
    levels = [int(np.median(part)) for part in np.split(proof.picture, proof.parts, axis=1)]
    assert levels == [100, 150, 200]
    assert proof.says == "text, 40 x 30 pixels, published, restored and raw"


def undone(
    shown: np.ndarray, raw: np.ndarray | None, hidden: frozenset[Kind]
) -> tuple[Finding, Finding]:
    """What is seen as published, and in the median of 33 frames that drown a picture in noise."""
    rng = np.random.default_rng(0)
    noisy = [
        (shown + rng.normal(0, 500, shown.shape)).clip(0, 255).astype(np.uint8) for _ in range(33)
    ]
    detection = PublishedDetection(undo=(MEDIAN,), hidden=hidden)
    for number in range(2):
        detection.detect(number, noisy, 16, raw)
    found = {one.attack: one for one in detection.findings()}
    assert found["people"].level == found["text"].level == "nothing"
    return found["text"], found["undo"]


@pytest.fixture(scope="module")
def scene() -> np.ndarray:
    """Somebody without a face beside a sign."""
    out = faceless(next(iter(frames())), 0)
    out[20:90, 300:630] = 255
    black = (0, 0, 0)
    return cv2.putText(out, "MAIN STREET", (310, 70), cv2.FONT_HERSHEY_DUPLEX, 1.5, black, 3)


def test_people_and_text_are_seen_again_behind_noise(scene: np.ndarray) -> None:
    _, seen = undone(scene, scene, frozenset(("face",)))
    assert seen.level == "recovered" and seen.frames == (0, 1)
    assert f"text in {MEDIAN} (2 frames)" in seen.says and "names and plates" in seen.says
    assert f"people in {MEDIAN} (2 frames)" in seen.says
    assert {one.says.partition(",")[0] for one in seen.proofs} >= {"text", "person"}
    assert "text in 2 of them" in seen.work and "the raw frame has there" in seen.work


@pytest.mark.slow
def test_what_raw_frames_do_not_have_is_not_counted(scene: np.ndarray) -> None:
    _, seen = undone(scene, np.zeros_like(scene), ALL)
    assert seen.level == "nothing" and not seen.proofs
    assert "not counted, as nothing like them is seen in the raw frames" in seen.says


def test_what_is_hidden_is_read_from_the_option_or_the_receipt(tmp_path: Path) -> None:
    video = tmp_path / "published.mp4"
    receipt = tmp_path / "published.mp4.receipt.json"
    people = frozenset(("face", "person", "pose"))
    assert meant_to_hide(video, "auto") == meant_to_hide(video, "faces") == {"face"}
    assert meant_to_hide(video, "people") == people and meant_to_hide(video, "frame") == ALL
    for names, expected in (
        (["faces"], {"face"}),
        (["faces", "people"], people),
        (["text"], {"face", "text"}),
    ):
        receipt.write_text(json.dumps({"regions": [{"name": name} for name in names]}))
        assert meant_to_hide(video, "auto") == expected
    receipt.write_text("[]")
    assert meant_to_hide(video, "auto") == {"face"}
    assert meant_to_hide(video, "faces") == {"face"}


def test_a_receipt_of_another_file_says_nothing_of_what_is_hidden(tmp_path: Path) -> None:
    """As one that stayed when a run without a receipt replaced the video."""
    video, receipt = tmp_path / "published.mp4", tmp_path / "published.mp4.receipt.json"
    video.write_bytes(b"new")
    said = {"regions": [{"name": "frame"}], "left_visible": {"0": 45}}
    for content, own in ((b"new", True), (b"old", False)):
        output = {"sha256": hashlib.sha256(content).hexdigest()}
        receipt.write_text(json.dumps({**said, "output": output}))
        assert meant_to_hide(video, "auto") == (ALL if own else {"face"})
        assert hides_whole_frames(video, "auto") is own
        says = find_receipt(video).says
        assert ("1 of the people were left visible" in says) is own
        assert ("It is of another file" in says) is not own


@pytest.mark.parametrize("mirrored", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("turn", [0, 1, 2])
def test_a_face_counts_where_the_mirrored_frame_shows_it_in_some_turn(
    turn: int, mirrored: float
) -> None:
    """It stands at a red corner with green to the right; mirrored, it has another score."""
    frame = np.zeros((100, 100, 3), np.uint8)
    frame[:10, :10], frame[:10, 10:30] = (255, 0, 0), (0, 255, 0)

    def face(picture: ArrayFrame) -> list[Box]:
        pixels = np.asarray(picture.rgb(None))
        if pixels[0, 0, 0] == pixels[0, 20, 1] == 255:
            return [Box(2, 2, 30, 30, score=0.51)]
        looks = {0: pixels[0, -1], 1: pixels[-1, -1], 2: pixels[-1, 0]}
        turned = {0: (70, 2, 98, 30), 1: (70, 70, 98, 98), 2: (2, 70, 30, 98)}
        there = mirrored >= 0.2 and looks[turn][0] == 255
        return [Box(*turned[turn], score=mirrored)] if there else []

    finders = cast(Finders, Scripted("face", {}))
    finders.face = finders.small_face = face  # type: ignore[assignment]
    detection = PublishedDetection(undo=(), finders=finders, kinds=("face",))
    detection.detect(7, [frame], 0)
    (found,) = detection.findings()
    assert found.level == ("recovered" if mirrored >= 0.2 else "nothing")
    assert found.frames == ((7,) if mirrored >= 0.2 else ())
    said = "Faces are seen in 1 of 1 frames: 7."
    perhaps = "No face is surely seen in 1 frames; in 1 of them may be one, by scores below 0.5 or"
    assert found.says.startswith(said if mirrored >= 0.2 else perhaps)
    assert len(found.proofs) == 1


@pytest.mark.parametrize("kind", ["face", "person"])
def test_a_find_outside_of_the_frame_was_not_changed_and_is_no_recovery(kind: Kind) -> None:
    outside = Box(-40, -40, -1, -1, score=0.9)
    assert not FrameComparison(0, PUBLISHED, cast(Finders, None), raw=RAW).is_changed(outside)
    found = again(kind, {150: [outside], 200: [outside]}, raw=RAW, hidden=frozenset())
    assert found.level() != "recovered"

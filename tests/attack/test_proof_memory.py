"""Attacks keep the pictures that a report shows, whatever the number of finds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import cast

import numpy as np
import pytest

from masquerade.attack.finders import Finders, Kind, crop
from masquerade.attack.finding import MOST_PROOFS, Finding
from masquerade.attack.published_detection import PublishedDetection
from masquerade.attack.raw_comparison import RawComparison
from masquerade.attack.raw_text import RawText
from masquerade.attack.restored_detections import FrameComparison, RestoredDetections
from masquerade.attack.whole_frames import WholeFrames
from masquerade.regions.boxes import Box
from masquerade.regions.face_detectors import CenterFace
from masquerade.regions.ssd_people import SsdPeople

FRAMES, MOST = 12, 8e6  # bytes; all crops of all frames would be 50 MB and more
FRAME = np.random.default_rng(0).integers(0, 256, (1080, 1920, 3), np.uint8)
PLACE = (400, 50, 1400, 1060)


class Everywhere:
    """Finds one large thing of each kind, the surer the later, in the mirrored picture too."""

    kinds: tuple[Kind, ...] = ("face", "person", "pose")
    number = 0

    def box(self) -> Box:
        return Box(*PLACE, score=0.8 + self.number / 1000, label="person")

    def find(self, kind: Kind, frame: np.ndarray, **_: object) -> list[Box]:
        return [] if kind == "face" else [self.box()]

    def face(self, picture: object) -> list[Box]:
        return []

    small_face = face


def published(finders: Everywhere) -> tuple[Callable[[int], None], Callable[[], list[Finding]]]:
    detection = PublishedDetection(undo=(), finders=cast(Finders, finders), kinds=finders.kinds)
    return lambda number: detection.detect(number, [FRAME.copy()], 0), detection.findings


def raw_people(finders: Everywhere) -> tuple[Callable[[int], None], Callable[[], list[Finding]]]:
    comparison = RawComparison(people="recovered", full_frame=True)

    def one(number: int) -> None:
        frame = FRAME.copy()
        comparison.compare(number, frame, [frame])

    return one, lambda: comparison.findings()[1:]  # nobody's face is seen


def raw_text(finders: Everywhere) -> tuple[Callable[[int], None], Callable[[], list[Finding]]]:
    look = RawText(cast(Finders, finders))
    return lambda number: look.compare(number, FRAME.copy(), [FRAME]), lambda: [look.finding()]


def whole_frames(finders: Everywhere) -> tuple[Callable[[int], None], Callable[[], list[Finding]]]:
    look = WholeFrames()
    return lambda number: look.compare(number, FRAME.copy(), [FRAME]), lambda: [look.finding()]


def restored(finders: Everywhere) -> tuple[Callable[[int], None], Callable[[], list[Finding]]]:
    detections, plain = RestoredDetections(), np.zeros_like(FRAME)

    def one(number: int) -> None:
        known = {"person": (), "pose": ()}
        comparison = FrameComparison(number, plain, cast(Finders, finders), known, FRAME)
        detections.detect(comparison, "a way", FRAME.copy(), finders.kinds)

    def findings() -> list[Finding]:
        about = {"level": detections.level(), "frames": detections.frames()}
        return [Finding(attack="", says="", work="", proofs=detections.proofs(), **about)]

    return one, findings


def test_a_picture_of_a_find_is_small_and_holds_a_pixel_at_least() -> None:
    whole = crop(FRAME, Box(0, 0, 1920, 1080, score=1))
    assert whole.shape == (158, 280, 3)
    assert crop(FRAME, Box(100, 100, 200, 200, score=1)).shape == (181, 181, 3)
    assert crop(FRAME, Box(2000, 1200, 2100, 1300, score=1)).shape == (1, 1, 3)


@pytest.mark.parametrize("attack", [published, raw_people, raw_text, whole_frames, restored])
def test_pictures_are_kept_of_the_surest_finds_alone(
    attack: Callable[..., tuple[Callable[[int], None], Callable[[], list[Finding]]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finders = Everywhere()
    monkeypatch.setattr(CenterFace, "__call__", lambda self, picture: [])
    monkeypatch.setattr(
        SsdPeople,
        "__call__",
        lambda self, *_, **__: (np.array([PLACE], float), np.array([finders.box().score])),
    )
    look, findings = attack(finders)
    tracemalloc.start()
    try:
        for finders.number in range(FRAMES):
            look(finders.number)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    for found in findings():
        if found.level != "nothing":
            assert found.frames == tuple(range(FRAMES)) and len(found.proofs) == MOST_PROOFS
            assert all(min(one.picture.shape[:2]) > 50 for one in found.proofs)
    assert any(found.level != "nothing" for found in findings())
    assert held < MOST, held

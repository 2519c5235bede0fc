"""Faces that lie or hang in the picture: found by turning it, at a bounded cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, noise, portrait

from masquerade.regions import Faces
from masquerade.regions.boxes import Box, corners, iou
from masquerade.regions.masks import rasterize
from masquerade.regions.rotated_faces import (
    ANGLES,
    STAYS,
    WAIT,
    WAIT_UNKNOWN,
    RotatedFaces,
    RotatedFrame,
)

W, H = 160, 120
LEFT, TOP = 60, 40  # of a portrait, which is 48 pixels wide


def turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """An image turned clockwise."""
    return np.ascontiguousarray(np.rot90(pixels, -turn // 90))


def picture(turn: int, *, high: int = 200) -> np.ndarray:
    """A picture with a face, turned."""
    upright = noise(W, H, 1, low=high // 5, high=high)
    upright[TOP : TOP + 56, LEFT : LEFT + 48] = cv2.resize(
        portrait(), (48, 56), interpolation=cv2.INTER_AREA
    )
    return turned(upright, turn)


def covered(boxes: Sequence[Box], turn: int) -> bool:
    """Whether the face is hidden in a picture that was turned."""
    wide, high = (W, H) if turn in (0, 180) else (H, W)
    mask = turned(rasterize(boxes, width=wide, height=high, scale=1.3), 360 - turn)
    return bool(mask[TOP + 13 : TOP + 30, LEFT + 18 : LEFT + 32].min() == 255)


@pytest.mark.parametrize("turn", ANGLES)
def test_a_turned_face_is_covered_from_the_first_frame_on(turn: int) -> None:
    clip = [ArrayFrame(picture(turn))] * 8
    assert not any(covered(region.boxes, turn) for region in Faces(turned=False)(clip))
    assert all(covered(region.boxes, turn) for region in Faces()(clip))


def test_an_upright_clip_gives_the_boxes_that_it_gave() -> None:
    clip = [ArrayFrame(picture(0))] * 8
    one, other = ([r.boxes for r in Faces(turned=t)(clip)] for t in (True, False))
    assert one == other and all(covered(boxes, 0) for boxes in one)


def test_after_a_cut_turned_faces_are_looked_for_at_once() -> None:
    clip = [ArrayFrame(picture(0))] * 4 + [ArrayFrame(picture(180, high=60))] * 10
    regions = list(Faces()(clip))
    assert [t for t, region in enumerate(regions) if region.cut] == [4]
    assert all(covered(region.boxes, 180 * (t >= 4)) for t, region in enumerate(regions))


def test_one_source_gives_a_second_video_what_it_gives_a_first() -> None:
    clip, source = [ArrayFrame(picture(270))] * 4, Faces()
    assert [r.boxes for r in source(clip)] == [r.boxes for r in source(clip)]


@pytest.mark.parametrize("turn", ANGLES)
def test_a_turned_frame_has_the_pixels_and_the_boxes_of_the_frame(turn: int) -> None:
    pixels = noise(50, 30)
    pixels[4:9, 20:40] = 255
    one = RotatedFrame(ArrayFrame(pixels), turn)
    assert np.array_equal(one.rgb(), turned(pixels, turn))
    assert (one.height, one.width) == one.rgb().shape[:2]
    small = one.width // 2, one.height // 2
    assert one.rgb(small).shape == (*small[::-1], 3)
    rows, columns = np.nonzero((one.rgb() == 255).all(axis=2))
    box = Box(columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.7, label="face")
    assert one.in_frame(box) == Box(20, 4, 40, 9, 0.7, label="face")


class Scripted:
    """A detector that finds what it is told to, and notes in what it looked."""

    def __init__(self, find: Callable[[int], list[Box]]) -> None:
        self.find, self.seen = find, []

    def __call__(self, frame: ArrayFrame | RotatedFrame) -> list[Box]:
        self.seen.append(frame.angle if isinstance(frame, RotatedFrame) else 0)
        return self.find(self.seen[-1])


FRAME = ArrayFrame(np.full((40, 40, 3), 90, np.uint8))
FACE = Box(2, 2, 12, 14, 0.9)


def run(keyframes: int, find: Callable[[int], list[Box]]) -> tuple[Scripted, Scripted, list]:
    """Both detectors after so many keyframes, and what was found in each."""
    detector, search = Scripted(find), Scripted(find)
    detect = RotatedFaces(detector, search)  # type: ignore[arg-type]
    return detector, search, [detect(FRAME)[0] for _ in range(keyframes)]


def test_searches_are_few_and_more_while_no_face_is_known() -> None:
    for found, wait in (([FACE], WAIT), ([], WAIT_UNKNOWN)):
        detector, search, _ = run(2 * wait + 1, lambda turn, f=found: [] if turn else f)
        assert detector.seen == [0] * (2 * wait + 1)
        assert search.seen == [*ANGLES] * 3


@pytest.mark.parametrize(("every", "wait"), [(1, WAIT), (3, WAIT), (10, 3), (100, 1)])
def test_searches_are_a_second_apart_however_far_keyframes_are(every: int, wait: int) -> None:
    """A face lies down beside an upright one right after a search."""
    there: list[Box] = []
    scripted = Scripted(lambda turn: [FACE] if turn == 0 else there if turn == 90 else [])
    detect = RotatedFaces(scripted, scripted, every=every)  # type: ignore[arg-type]
    assert len(detect(FRAME)[0]) == 1
    there.append(Box(20, 25, 30, 33, 0.7))
    assert [len(detect(FRAME)[0]) for _ in range(wait)] == [1] * (wait - 1) + [2]


def test_a_turn_is_looked_at_while_it_shows_faces_and_a_while_longer() -> None:
    there = [FACE]
    detector, search = (Scripted(lambda turn: there if turn == 90 else []) for _ in range(2))
    detect = RotatedFaces(detector, search)  # type: ignore[arg-type]
    for _ in range(3):
        assert detect(FRAME)[0] == [RotatedFrame(FRAME, 90).in_frame(FACE)]
    assert detector.seen == [0, 90] * 3
    there.clear()
    while detector.seen[-1] == 90:
        assert detect(FRAME)[0] == []
    assert len(search.seen) == 3 * (1 + STAYS)


def test_several_faint_faces_show_a_turn_and_one_does_not() -> None:
    faint = [Box(x, 2, x + 6, 9, 0.4) for x in (2, 14)]
    for count, looks in ((1, [0]), (2, [0, 270])):
        detector, _, _ = run(1, lambda turn, n=count: faint[:n] if turn == 270 else [])
        assert detector.seen == looks


def test_what_the_upright_frame_shows_better_opens_no_turn() -> None:
    weaker = RotatedFrame(FRAME, 180).in_frame(replace(FACE, score=0.8))  # half a turn undoes one
    detector, search, _ = run(1, lambda turn: [FACE] if turn == 0 else [weaker] * (turn == 180))
    assert search.seen == [*ANGLES] and detector.seen == [0]


def test_a_lying_face_beside_an_upright_one_is_found() -> None:
    lying = Box(20, 25, 30, 33, 0.7)
    _, _, found = run(2, lambda turn: [FACE] if turn == 0 else [lying] if turn == 90 else [])
    for boxes in found:
        assert FACE in boxes and len(boxes) == 2
        assert iou(corners(boxes), corners([RotatedFrame(FRAME, 90).in_frame(lying)])).max() == 1

"""A face detector looks at what changed, misses no face that comes, and keeps its other finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from frames import ArrayFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.regions.boxes import Box
from masquerade.regions.changed_areas import (
    LARGEST,
    STEP,
    Area,
    CroppedFrame,
    DetectInChangedAreas,
    changed_areas,
)
from masquerade.regions.region import Frame
from masquerade.regions.unchanged_frames import MAX_SKIPPED

SIZE = (640, 480)
FACE = (255, 0, 0)


def picture(*faces: Area, size: tuple[int, int] = SIZE) -> ArrayFrame:
    """A grey wall with red faces before it."""
    pixels = np.full((size[1], size[0], 3), 90, np.uint8)
    for x0, y0, x1, y1 in faces:
        pixels[y0:y1, x0:x1] = FACE
    return ArrayFrame(pixels)


class Finder:
    """Finds each red rectangle, and counts the pixels it saw."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def __call__(self, frame: Frame) -> list[Box]:
        pixels = frame.rgb()
        assert pixels.shape == (frame.height, frame.width, 3)
        self.seen.append(frame.width * frame.height)
        red = (pixels[..., 0] > 200).astype(np.uint8)
        _, _, found, _ = cv2.connectedComponentsWithStats(red, connectivity=8)
        return [Box(x, y, x + w, y + h, 0.9) for x, y, w, h, _ in found[1:].tolist()]


def places(boxes: list[Box]) -> set[Area]:
    return {Area(*(round(x) for x in (b.x0, b.y0, b.x1, b.y1))) for b in boxes}


LEFT, RIGHT, MOVED = Area(60, 100, 100, 150), Area(500, 300, 540, 350), Area(66, 104, 106, 154)


def test_only_what_changed_is_looked_at_and_the_other_face_stays() -> None:
    find = Finder()
    detect = DetectInChangedAreas(find)
    assert places(detect(picture(LEFT, RIGHT))) == {LEFT, RIGHT}
    assert places(detect(picture(MOVED, RIGHT))) == {MOVED, RIGHT}
    assert find.seen[1] < find.seen[0] / 4
    assert places(detect(picture(MOVED, RIGHT))) == {MOVED, RIGHT}
    assert len(find.seen) == 2, "nothing changed"


def test_a_face_that_comes_is_found_at_once_and_one_that_goes_is_gone() -> None:
    find = Finder()
    detect = DetectInChangedAreas(find)
    detect(picture(LEFT))
    assert places(detect(picture(LEFT, RIGHT))) == {LEFT, RIGHT}
    assert places(detect(picture(RIGHT))) == {RIGHT}
    assert all(seen < find.seen[0] / 4 for seen in find.seen[1:])


def test_a_find_that_reaches_into_the_next_area_is_kept() -> None:
    """Whoever looks there sees half a face and finds nothing, and dropped the first area's find."""
    before = picture(Area(232, 100, 260, 140))
    after = picture(Area(230, 100, 260, 140))
    pixels = after.rgb()
    pixels[100:140, 125:138] = pixels[100:140, 300:320] = 200  # changes on both sides
    detect = DetectInChangedAreas(Finder())
    assert len(detect(before)) == 1
    assert places(detect(ArrayFrame(pixels))) == {Area(230, 100, 260, 140)}


def test_all_of_the_frame_is_looked_at_now_and_then_and_when_most_of_it_changed() -> None:
    find = Finder()
    detect = DetectInChangedAreas(find)
    for t in range(2 * (MAX_SKIPPED + 1)):
        detect(picture(Area(60 + 6 * t, 100, 100 + 6 * t, 150)))
    whole = [t for t, seen in enumerate(find.seen) if seen == SIZE[0] * SIZE[1]]
    assert whole == [0, MAX_SKIPPED + 1]
    brighter = picture()
    brighter.pixels[:] = 120
    detect(brighter)
    assert find.seen[-1] == SIZE[0] * SIZE[1]


def test_slow_movement_adds_up_until_it_is_seen() -> None:
    find = Finder()
    detect = DetectInChangedAreas(find)
    detect(picture())
    dim = picture()
    for step in range(1, 6):
        dim.pixels[200:240, 200:240] = 90 + 2 * step
        detect(dim)
    assert len(find.seen) == 2


@pytest.mark.parametrize("scale", [320, (320, 320)])
def test_a_part_of_a_scaled_copy_gives_boxes_of_the_frame(scale: int | tuple[int, int]) -> None:
    find = Finder()
    detect = DetectInChangedAreas(find, scale)
    detect(picture())
    (found,) = detect(picture(Area(400, 200, 440, 260)))
    assert places([found]) == {Area(400, 200, 440, 260)}
    assert find.seen[1] < 320 * 240


def test_an_area_is_given_as_the_pixels_that_the_copy_has_there() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    part = CroppedFrame(ArrayFrame(noise), noise, Area(32, 64, 96, 160))
    assert np.array_equal(part.rgb(), noise[64:160, 32:96])
    assert part.rgb((32, 48)).shape == (48, 32, 3)


class Asked(ArrayFrame):
    """A frame that counts how often its pixels are asked for."""

    times = 0

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        self.times += 1
        return super().rgb(size)


def test_a_frame_is_scaled_once_for_all_of_its_areas() -> None:
    times = []
    for faces in ([LEFT], [LEFT, RIGHT]):
        find, frame = Finder(), Asked(picture(*faces).pixels)
        detect = DetectInChangedAreas(find, 320)
        detect(picture())
        assert places(detect(frame)) == set(faces) and len(find.seen) == 1 + len(faces)
        times.append(frame.times)
    assert times[0] == times[1]


AREAS = st.builds(
    lambda x, y, w, h: Area(x, y, min(SIZE[0], x + w), min(SIZE[1], y + h)),
    st.integers(0, SIZE[0] - 20),
    st.integers(0, SIZE[1] - 20),
    st.integers(12, 200),
    st.integers(12, 200),
)


@settings(max_examples=60)
@given(st.lists(AREAS, max_size=4), st.lists(AREAS, max_size=4))
def test_areas_hold_all_changes_cut_no_find_and_lie_apart(
    changes: list[Area], faces: list[Area]
) -> None:
    cells = np.zeros((240, 320), bool)
    for x0, y0, x1, y1 in changes:
        cells[y0 // 2 : y1 // 2, x0 // 2 : x1 // 2] = True
    boxes = [Box(*face, 0.9) for face in faces]
    areas = changed_areas(cells, picture(), SIZE, boxes)
    if areas is None:
        assert changes
        return
    held = np.zeros((480, 640), int)
    for area in areas:
        assert area.x0 % STEP == area.y0 % STEP == 0
        held[area.y0 : area.y1, area.x0 : area.x1] += 1
    assert held.max(initial=0) <= 1, "no two of them touch"
    assert held.mean() <= LARGEST
    assert held[::2, ::2][cells].all()
    for x0, y0, x1, y1 in faces:
        inside = held[y0:y1, x0:x1]
        assert inside.all() or not inside.any()

"""A detector is left out where nothing changes, and never where something does."""

from __future__ import annotations

import numpy as np
import pytest
from frames import ArrayFrame

from masquerade.regions.unchanged_frames import MAX_SKIPPED, SkipUnchangedFrames, most_left_out

SIZE = (240, 320)


def room(noise: float = 0.0, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A wall with a gradient, as a camera with that much noise sees it."""
    wall = np.linspace(60, 180, size[1])[None, :, None] * np.ones((size[0], 1, 3))
    wall += np.random.default_rng(seed).normal(0, noise, wall.shape)
    return wall.clip(0, 255).astype(np.uint8)


def looks(pictures: list[np.ndarray]) -> list[int]:
    """The numbers of the pictures that a detector was run on."""
    seen: list[int] = []
    detect = SkipUnchangedFrames(lambda frame: seen.append(int(frame.number)) or [frame.number])
    for number, pixels in enumerate(pictures):
        frame = ArrayFrame(pixels)
        frame.number = number
        assert detect(frame) == [seen[-1]]
    return seen


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_a_still_room_is_looked_at_now_and_then(noise: float) -> None:
    still = [room(noise, seed) for seed in range(3 * (MAX_SKIPPED + 1))]
    assert looks(still) == [0, MAX_SKIPPED + 1, 2 * (MAX_SKIPPED + 1)]


@pytest.mark.parametrize("size", [(48, 64), SIZE, (720, 1280)])
def test_a_small_face_is_a_change_also_before_noise(size: tuple[int, int]) -> None:
    side = max(8, size[1] // 40)
    with_face = room(4.0, 7, size)
    with_face[20 : 20 + side, 30 : 30 + side] = (150, 110, 90)
    pictures = [room(4.0, 1, size), room(4.0, 2, size), with_face, with_face, room(4.0, 3, size)]
    assert looks(pictures) == [0, 2, 4]


@pytest.mark.parametrize(("scale", "seen"), [(None, [0, 1]), (640, [0])])
def test_what_a_detector_finds_in_a_large_frame_is_a_change(
    scale: int | None, seen: list[int]
) -> None:
    """A face of 16 of 1,920 pixels: a copy of 320 has cells of 30 pixels."""
    before, after = (np.full((1080, 1920, 3), 120, np.uint8) for _ in range(2))
    after[400:416, 600:616] = 140
    found: list[int] = []
    detect = SkipUnchangedFrames(lambda frame: found.append(int(frame.number)), scale)
    for number, pixels in enumerate((before, after)):
        frame = ArrayFrame(pixels)
        frame.number = number
        detect(frame)
    assert found == seen


@pytest.mark.parametrize(
    ("every", "most"), [(1, 8), (3, 8), (4, 5), (5, 4), (10, 1), (20, 0), (90, 0)]
)
def test_finds_are_repeated_for_about_a_second_however_far_apart_keyframes_are(
    every: int, most: int
) -> None:
    assert most_left_out(every) == most
    still, seen = ArrayFrame(room()), list[int]()
    detect = SkipUnchangedFrames(lambda _: seen.append(1), most=most)
    for _ in range(most + 2):
        detect(still)
    assert len(seen) == 2


def test_slow_changes_add_up() -> None:
    brighter = [room() + np.uint8(t) for t in range(8)]
    assert looks(brighter) == [0, 6]


def test_another_size_is_a_change() -> None:
    assert looks([room(), room(size=(120, 160)), room(size=(120, 160))]) == [0, 1]


def test_turned_frames_are_remembered_apart() -> None:
    seen: list[int] = []
    detect = SkipUnchangedFrames(lambda frame: seen.append(frame.angle))
    for turn in (0, 90, 0, 90):
        frame = ArrayFrame(np.full((64, 64, 3), turn, np.uint8))
        frame.angle = turn
        detect(frame)
    assert seen == [0, 90]

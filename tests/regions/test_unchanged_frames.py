"""A detector is left out where nothing changes, and never where something does."""

from __future__ import annotations

import numpy as np
import pytest
from frames import ArrayFrame

from masquerade.regions.unchanged_frames import MOST, DetectOnChange

SIZE = (240, 320)


def room(noise: float = 0.0, seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A wall with a gradient, as a camera with that much noise sees it."""
    wall = np.linspace(60, 180, size[1])[None, :, None] * np.ones((size[0], 1, 3))
    wall += np.random.default_rng(seed).normal(0, noise, wall.shape)
    return wall.clip(0, 255).astype(np.uint8)


def looks(pictures: list[np.ndarray]) -> list[int]:
    """The numbers of the pictures that a detector was run on."""
    seen: list[int] = []
    detect = DetectOnChange(lambda frame: seen.append(int(frame.number)) or [frame.number])
    for number, pixels in enumerate(pictures):
        frame = ArrayFrame(pixels)
        frame.number = number
        assert detect(frame) == [seen[-1]]
    return seen


@pytest.mark.parametrize("noise", [0.0, 4.0])
def test_a_still_room_is_looked_at_now_and_then(noise: float) -> None:
    still = [room(noise, seed) for seed in range(3 * (MOST + 1))]
    assert looks(still) == [0, MOST + 1, 2 * (MOST + 1)]


@pytest.mark.parametrize("size", [(48, 64), SIZE, (720, 1280)])
def test_a_small_face_is_a_change_also_before_noise(size: tuple[int, int]) -> None:
    side = max(8, size[1] // 40)
    with_face = room(4.0, 7, size)
    with_face[20 : 20 + side, 30 : 30 + side] = (150, 110, 90)
    pictures = [room(4.0, 1, size), room(4.0, 2, size), with_face, with_face, room(4.0, 3, size)]
    assert looks(pictures) == [0, 2, 4]


def test_slow_changes_add_up() -> None:
    brighter = [room() + np.uint8(t) for t in range(8)]
    assert looks(brighter) == [0, 6]


def test_another_size_is_a_change() -> None:
    assert looks([room(), room(size=(120, 160)), room(size=(120, 160))]) == [0, 1]


def test_turned_frames_are_remembered_apart() -> None:
    seen: list[int] = []
    detect = DetectOnChange(lambda frame: seen.append(frame.turn))
    for turn in (0, 90, 0, 90):
        frame = ArrayFrame(np.full((64, 64, 3), turn, np.uint8))
        frame.turn = turn
        detect(frame)
    assert seen == [0, 90]

"""Hands: the square of a palm, what the networks' answers become, and hands of real people."""

from __future__ import annotations

import os
import threading
from math import pi
from typing import Any

import numpy as np
import pytest
from frames import ArrayFrame, clip, noise

from masquerade.errors import MasqueradeError
from masquerade.regions import Hands
from masquerade.regions.anchor_detection import Found
from masquerade.regions.hands import HandNetworks, palm_square
from masquerade.regions.litert import LiteRtNetwork, _quiet_libraries


def _palm(up: tuple[float, float], *, score: float = 1.0) -> Found:
    """A palm of 20 pixels around (60, 50) with the fingers in a direction."""
    middle = np.array([60.0, 50.0])
    points = np.stack([middle - 8 * np.array(up), middle, middle + 8 * np.array(up)])
    return Found(np.array([50.0, 40, 70, 60]), points, score)


@pytest.mark.parametrize(
    ("up", "angle"), [((0, -1), 0.0), ((1, 0), pi / 2), ((0, 1), pi), ((-1, 0), -pi / 2)]
)
def test_the_square_of_a_hand_lies_toward_the_fingers(
    up: tuple[float, float], angle: float
) -> None:
    square = palm_square(_palm(up))
    assert (square.x, square.y) == pytest.approx((60 + 10 * up[0], 50 + 10 * up[1]))
    assert square.half == pytest.approx(1.3 * 20)
    assert square.angle == pytest.approx(angle)


def test_a_palm_without_a_direction_is_a_square_all_the_same() -> None:
    square = palm_square(_palm((0, 0)))
    assert np.isfinite([square.x, square.y, square.half, square.angle]).all()


def _networks(monkeypatch: pytest.MonkeyPatch, *answer: Any) -> HandNetworks:
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **more: None)
    networks = HandNetworks()
    networks._palms = lambda pixels: [_palm((0, -1))]  # type: ignore[assignment]
    networks._hands = _Answers(answer)  # type: ignore[assignment]
    return networks


class _Answers:
    side = 224

    def __init__(self, outputs: Any) -> None:
        self.outputs = outputs

    def __call__(self, pixels: Any) -> Any:
        assert pixels.shape == (224, 224, 3)
        return self.outputs


def test_landmarks_are_given_in_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    points = np.zeros((21, 3))
    points[:, :2] = 112  # the middle of the square
    points[8, :2] = 112, 0  # of its upper edge
    ((landmarks, score),) = _networks(monkeypatch, points.ravel(), np.array([0.8]))(
        noise(99, 99, 0)
    )
    assert score == pytest.approx(0.8)
    assert landmarks[0] == pytest.approx([60, 40])
    assert landmarks[8] == pytest.approx([60, 40 - 26])


def test_where_the_hand_network_sees_none_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not _networks(monkeypatch, np.zeros(63), np.array([0.3]))(noise(99, 99, 0))


@pytest.mark.parametrize("values", [np.zeros(60), np.full(63, np.nan)])
def test_wrong_values_of_the_hand_network_end_the_run(
    monkeypatch: pytest.MonkeyPatch, values: Any
) -> None:
    with pytest.raises(MasqueradeError, match="hand network"):
        _networks(monkeypatch, values, np.array([0.9]))(noise(99, 99, 0))


def test_a_hand_is_hidden_between_runs_of_the_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(every=3)
    seen: list[int] = []

    def look(pixels: Any) -> list[Any]:
        seen.append(1)
        return [(np.array([[70.0, 40], [90, 60]]), 0.97)]

    monkeypatch.setattr(hands, "_networks", look)
    frames = [ArrayFrame(np.full((120, 160, 3), 90, np.uint8)) for _ in range(10)]
    regions = list(hands(frames))
    assert len(regions) == 10
    for region in regions:
        assert region.mask is not None
        assert region.mask[50, 80] == 255
        assert not region.mask[:, :40].any()
        assert {box.label for box in region.boxes} == {"hand"}
    assert len(seen) < 10


def test_the_square_of_a_real_hand_is_hidden() -> None:
    regions = list(Hands()(clip("wild/makeup_xvid_mp3.avi", 12)))
    assert len(regions) == 12
    for region in regions:
        hands = [box for box in region.boxes if box.label == "hand"]
        assert hands
        assert region.mask is not None
        height, width = region.mask.shape
        assert region.mask[round(0.45 * height), round(0.67 * width)] == 255
        assert not region.mask[: round(0.2 * height), : round(0.4 * width)].any()


def test_two_threads_that_keep_libraries_quiet_leave_the_standard_error_as_it_was() -> None:
    """The second one took what the first had put there for what was to be put back."""
    before, inside, go_on = os.fstat(2), threading.Event(), threading.Event()

    def first() -> None:
        with _quiet_libraries():
            inside.set()
            go_on.wait(10)

    def second() -> None:
        with _quiet_libraries():
            one.join(1)  # ends before this one does, where it can

    one, two = threading.Thread(target=first), threading.Thread(target=second)
    saved = os.dup(2)
    try:
        one.start()
        assert inside.wait(10)
        two.start()
        two.join(0.2)
        go_on.set()
        one.join(10)
        two.join(10)
        assert os.path.samestat(os.fstat(2), before)
    finally:
        os.dup2(saved, 2)
        os.close(saved)

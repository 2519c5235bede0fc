"""Where a track is between and beyond its detections, to the pixel."""

from __future__ import annotations

import pytest

from masquerade.regions.boxes import Box
from masquerade.regions.tracking import (
    Tracking,
    extrapolate,
    interpolate,
    predict,
    select_keyframes,
    track_boxes,
)


def box(x: float, y: float = 50.0, side: float = 20.0, score: float = 0.9) -> Box:
    return Box(x, y, x + side, y + side, score)


def edges(found: Box) -> tuple[float, ...]:
    return found.x0, found.y0, found.x1, found.y1


def test_a_box_that_stands_still_grows_by_three_in_a_hundred_a_frame() -> None:
    here = [(4, box(10))]
    for age in (1, 4, 10, 11, 30):
        grown = 20 * (min(1.3, 1 + 0.03 * age) - 1) / 2
        wanted = (10 - grown, 50 - grown, 30 + grown, 70 + grown)
        assert edges(extrapolate(here, 4 + age)) == pytest.approx(wanted)
        assert extrapolate(here, 4 + age).source == "extrapolated"
        middle = interpolate(here, [(4 + 2 * age, box(10))], 4 + age)
        assert edges(middle) == pytest.approx(wanted) and middle.source == "interpolated"


def test_a_moving_box_slows_down_by_a_tenth_a_frame_and_keeps_its_size() -> None:
    moving = [(0, box(10)), (1, box(14)), (2, box(18, side=24))]
    # the centre moves by 4 and 6 pixels, by least squares 5 a frame across and 1 down
    for age in (1, 2, 5):
        way = sum(0.9**k for k in range(1, age + 1))
        x0, y0, x1, y1 = predict(moving, 2 + age)
        assert (x0, y0) == pytest.approx((18 + 5 * way, 50 + way))
        assert (x1 - x0, y1 - y0) == pytest.approx((24, 24))
    assert predict(moving[:1], 9).tolist() == [10, 50, 30, 70]


def test_a_velocity_is_of_the_last_five_detections_within_six_frames() -> None:
    steady = [(t, box(3.0 * t)) for t in range(10, 16)]
    jump = [(0, box(900)), *steady[-3:]]
    for detections in (steady, jump, [(0, box(900)), *steady]):
        assert predict(detections, 16)[0] == pytest.approx(45 + 3 * 0.9)
    far = [(0, box(0)), (40, box(80))]  # the last two count whatever lies between them
    assert predict(far, 41)[0] == pytest.approx(80 + 2 * 0.9)


def test_a_straight_way_is_interpolated_straight() -> None:
    before, after = [(0, box(0)), (1, box(4))], [(9, box(36)), (10, box(40))]
    for t in range(2, 9):
        found = interpolate(before, after, t, skipped=20)  # no growth: the detector skips these
        assert edges(found) == pytest.approx((4 * t, 50, 4 * t + 20, 70))
    aged = interpolate(before, after, 4, skipped=1)
    assert aged.width == pytest.approx(20 * (1 + 0.03 * 2))


def test_a_curve_covers_the_straight_and_the_bent_way() -> None:
    """It comes from the left and goes back there: the cubic leaves the line to the right."""
    before, after = [(0, box(0)), (1, box(4))], [(5, box(4)), (6, box(0))]
    found = interpolate(before, after, 3, skipped=9)
    # Hermite with velocities 4 and -4 over 4 frames: 4 * 4 * (1/8 + 1/8) = 4 beyond the line
    assert edges(found) == pytest.approx((4, 50, 28, 70))
    wild = interpolate([(0, box(0)), (1, box(90))], [(5, box(90)), (6, box(0))], 3, skipped=9)
    assert edges(wild) == pytest.approx((90, 50, 90 + 30, 70))  # by no more than half its size


def test_the_weaker_score_is_taken_between_two_detections() -> None:
    weak, strong = box(0, score=0.4), box(0, score=0.9)
    assert interpolate([(0, weak)], [(4, strong)], 2).score == 0.4
    assert interpolate([(0, strong)], [(4, weak)], 2).score == 0.4


def shown(looks: list[list[Box] | None], **rules: float) -> list[int]:
    """How many boxes each frame has."""
    tracking = Tracking(**rules)  # type: ignore[arg-type]
    return [len(boxes) for boxes in track_boxes([(boxes, False) for boxes in looks], tracking)]


@pytest.mark.parametrize("gap", [1, 3, 12])
def test_a_gap_is_bridged_to_its_last_frame_and_no_longer_one(gap: int) -> None:
    here = [box(10)]
    bridged = [here, here, *[[]] * gap, here, here]
    assert shown(bridged, gap=gap, carry=0, lookback=0) == [1] * (gap + 4)
    longer = [here, here, *[[]] * (gap + 1), here, here]
    assert shown(longer, gap=gap, carry=0, lookback=0) == [1, 1, *[0] * (gap + 1), 1, 1]


def test_carry_and_lookback_reach_so_many_frames() -> None:
    looks = [*[[]] * 6, [box(10)], [box(10)], *[[]] * 6]
    assert shown(looks, carry=2, lookback=3) == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0]
    assert Tracking(gap=4, every=3, lookback=2).longest_gap == 8
    assert Tracking(gap=4, every=3, lookback=2).look_ahead == 8
    assert Tracking(gap=1, every=2, lookback=9).look_ahead == 10


@pytest.mark.parametrize(
    ("then", "tracks"),
    [
        (box(29), 1),  # nearer than its own size, which grows by a tenth a frame
        (box(33), 2),
        (box(10, side=43), 1),  # 2.2 times as large at most
        (box(10 - 12, 50 - 12, side=45), 2),
    ],
)
def test_what_is_too_far_or_of_another_size_is_another_track(then: Box, tracks: int) -> None:
    found = list(track_boxes([([box(10)], False), ([then], False)], Tracking()))
    assert len({one.track for boxes in found for one in boxes}) == tracks


def test_of_two_the_nearer_one_continues_the_track() -> None:
    looks = [[box(0), box(40)], [box(38), box(3)], [box(6), box(36)]]
    found = [
        {one.track: one.x0 for one in boxes if one.source == "detected"}
        for boxes in track_boxes([(boxes, False) for boxes in looks], Tracking())
    ]
    assert found == [{0: 0, 1: 40}, {0: 3, 1: 38}, {0: 6, 1: 36}]


def test_the_detector_runs_first_last_after_cuts_and_on_every_nth() -> None:
    cuts = [False, False, False, True, False, False, False, False]
    frames = [(str(t), cut) for t, cut in enumerate(cuts)]
    chosen = [int(t) for t, _, detect in select_keyframes(frames, 3) if detect]  # type: ignore
    assert chosen == [0, 3, 6, 7]
    assert list(select_keyframes([], 3)) == []

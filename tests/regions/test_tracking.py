"""TrackingRules: missed frames stay covered, in both directions of time, and not across cuts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from masquerade.regions.boxes import Box
from masquerade.regions.masks import rasterize
from masquerade.regions.tracking import TrackingRules, track_boxes

Detections = list[tuple[list[Box] | None, bool]]
W, H = 640, 480


def _covers(boxes: list[Box], true: Box, scale: float = 1.3) -> bool:
    """Whether one box, at a scale of 1.3, covers the visible part of the true one."""
    inside = true.clip(W, H)
    assert inside is not None
    for box in boxes:
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        w, h = scale * box.width / 2, scale * box.height / 2
        if x - w <= inside.x0 and inside.x1 <= x + w and y - h <= inside.y0 and inside.y1 <= y + h:
            return True
    return False


def _path(
    x: float, y: float, size: float, speed: tuple[float, float], bend: float, zoom: float, n: int
) -> list[Box]:
    """A head's path: its speed in sizes per frame, a nod (`bend`) and a zoom."""
    found = []
    for t in range(n):
        s = size * zoom**t
        cx = x + size * (speed[0] * t + bend * np.sin(2 * np.pi * t / 40))
        cy = y + size * (speed[1] * t + bend * np.cos(2 * np.pi * t / 40))
        found.append(
            Box(float(cx - s / 2), float(cy - s * 0.6), float(cx + s / 2), float(cy + s * 0.6), 0.8)
        )
    return found


paths = st.builds(
    _path,
    st.floats(100, 540),
    st.floats(100, 380),
    st.floats(15, 90),
    st.tuples(st.floats(-0.15, 0.15), st.floats(-0.15, 0.15)),
    st.floats(0, 0.5),
    st.floats(0.99, 1.01),
    st.just(40),
)


def _look(boxes: list[Box], t: int, missed: range, every: int) -> list[Box] | None:
    if t % every and t != 39:
        return None
    return [] if t in missed else boxes


@settings(max_examples=150)
@given(
    path=paths,
    start=st.integers(0, 39),
    length=st.integers(1, 10),
    every=st.sampled_from([1, 2, 3]),
)
def test_gap_of_one_to_ten_frames_stays_covered(
    path: list[Box], start: int, length: int, every: int
) -> None:
    inside = [box.clip(W, H) for box in path]
    assume(all(inside))
    assume(start >= 5 and start + length <= 35)  # detections on both sides: it was a dropout
    missed = range(start, start + length)
    detections = [(_look([box], t, missed, every), False) for t, box in enumerate(path)]
    found = list(track_boxes(detections, TrackingRules(every=every)))
    assert [t for t, box in enumerate(path) if not _covers(found[t], box)] == []


@settings(max_examples=60)
@given(path=paths, lost=st.integers(1, 6))
def test_track_is_extrapolated_at_both_ends(path: list[Box], lost: int) -> None:
    assume(all(box.clip(W, H) for box in path))
    seen = range(lost, 40 - lost)
    detections: Detections = [([b] if t in seen else [], False) for t, b in enumerate(path)]
    found = list(track_boxes(detections, TrackingRules()))
    assert all(found)
    assert {b.source for b in found[0]} == {b.source for b in found[-1]} == {"extrapolated"}
    # nothing was seen on the far side, so that a bend cannot be known: the nearest must be covered
    assert _covers(found[lost - 1], path[lost - 1])
    assert _covers(found[40 - lost], path[40 - lost])


@settings(max_examples=50)
@given(
    looks=st.lists(
        st.tuples(
            st.none()
            | st.lists(
                st.builds(
                    lambda x, y, w, s: Box(x, y, x + w, y + w, s),
                    st.floats(0, 600),
                    st.floats(0, 400),
                    st.floats(1, 200),
                    st.floats(0, 1),
                ),
                max_size=4,
            ),
            st.booleans(),
        ),
        max_size=40,
    ),
    every=st.integers(1, 4),
)
def test_all_detections_in_order_with_bounded_look_ahead(looks: Detections, every: int) -> None:
    taken = 0

    def counted() -> Iterator[tuple[list[Box] | None, bool]]:
        nonlocal taken
        for look in looks:
            taken += 1
            yield look

    late = TrackingRules(every=every).look_ahead
    found = []
    for t, boxes in enumerate(track_boxes(counted(), TrackingRules(every=every))):
        assert taken <= t + late + 1
        found.append(boxes)
    assert len(found) == len(looks)
    for boxes, (seen, _) in zip(found, looks, strict=True):
        edges = {(b.x0, b.y0, b.x1, b.y1) for b in boxes if b.source == "detected"}
        assert edges == {(b.x0, b.y0, b.x1, b.y1) for b in seen or []}
        tracks = [b.track for b in boxes]
        assert None not in tracks
        assert len(set(tracks)) == len(tracks)


def test_no_box_crosses_a_cut() -> None:
    here, there = Box(10, 10, 50, 50, 0.9), Box(400, 300, 440, 340, 0.9)
    detections: Detections = [([here], t == 0) for t in range(10)]
    detections += [([], t == 0) for t in range(4)] + [([there], False) for _ in range(10)]
    detections += [([], True), *[([], False)] * 5]
    found = list(track_boxes(detections, TrackingRules()))
    assert all(b.x0 < 100 for boxes in found[:10] for b in boxes)
    assert all(b.x0 > 300 for boxes in found[10:24] for b in boxes)
    assert all(found[10:24])  # lookback reaches back to the cut, not past it
    assert not any(found[24:])


def test_cut_is_respected_after_its_tracks_are_dropped() -> None:
    seen = Box(400, 300, 440, 340, 0.9)
    detections: Detections = [([], False)] * 40 + [([], True), ([], False), ([seen], False)]
    found = list(track_boxes(detections, TrackingRules()))
    assert [bool(boxes) for boxes in found[38:]] == [False, False, True, True, True]


def test_weak_detection_is_not_extrapolated_and_a_strong_one_is() -> None:
    weak, strong = Box(10, 10, 50, 50, 0.25), Box(300, 200, 340, 240, 0.9)
    frames: Detections = [([], False)] * 20
    found = list(track_boxes([*frames, ([weak], False), *frames], TrackingRules()))
    assert [t for t, boxes in enumerate(found) if boxes] == [20]
    found = list(track_boxes([([strong], False), *frames], TrackingRules()))
    assert [t for t, boxes in enumerate(found) if boxes] == list(range(7))


def test_weak_detection_covers_the_nearest_skipped_frames() -> None:
    weak = Box(10, 10, 50, 50, 0.25)
    looks = [[], None, None, [weak], None, None, []]
    found = list(track_boxes([(boxes, False) for boxes in looks], TrackingRules(every=3)))
    assert [bool(boxes) for boxes in found] == [False, False, True, True, True, False, False]


def test_many_weak_detections_confirm_a_track() -> None:
    weak = Box(10, 10, 50, 50, 0.25)
    looks = [*[[weak]] * 8, [], [], *[[weak]] * 4, []]
    assert all(track_boxes([(boxes, False) for boxes in looks], TrackingRules()))


@pytest.mark.parametrize("period", [2, 3, 5])
def test_live_a_face_that_is_found_now_and_then_stays_covered(period: int) -> None:
    """Each find began a track of its own there, none of which was sure enough to be carried."""
    rules = TrackingRules(gap=0, lookback=0, online=True, min_best_score=0.5)
    face = Box(100, 100, 150, 160, 0.7)
    looks: Detections = [([face] if t % period == 0 else [], False) for t in range(60)]
    bare = [t for t, boxes in enumerate(track_boxes(looks, rules)) if not boxes]
    assert rules.look_ahead == 0 and all(t < period for t in bare)


@pytest.mark.parametrize("hidden", [range(0), range(17, 23), range(14, 26)])
def test_crossing_people_both_stay_covered(hidden: range) -> None:
    """The occluded person is missed for a while; both keep their speed."""
    left = _path(150, 240, 40, (0.2, 0), 0, 1, 41)
    right = _path(470, 250, 44, (-0.18, 0), 0, 1, 41)
    detections: Detections = [
        ([a] if t in hidden else [a, b], False)
        for t, (a, b) in enumerate(zip(left, right, strict=True))
    ]
    found = track_boxes(detections, TrackingRules())
    for boxes, one, other in zip(found, left, right, strict=True):
        assert _covers(boxes, one)
        assert _covers(boxes, other)


def test_longer_gap_stays_open_except_its_ends() -> None:
    box = Box(10, 10, 50, 50, 0.9)
    detections: Detections = [([box], False)] * 5 + [([], False)] * 30 + [([box], False)] * 5
    found = list(track_boxes(detections, TrackingRules(gap=12, carry=3, lookback=4)))
    assert [t for t, boxes in enumerate(found) if not boxes] == list(range(8, 31))


def test_mask_of_an_interpolated_box_covers_the_true_box() -> None:
    """To the pixel, at a scale of 1.3."""
    path = _path(200, 200, 40, (0.1, 0.05), 0.2, 1, 40)
    detections: Detections = [([] if 12 <= t < 22 else [b], False) for t, b in enumerate(path)]
    for boxes, box in zip(track_boxes(detections, TrackingRules()), path, strict=True):
        true, hidden = (
            rasterize(b, width=W, height=H, scale=m, shape=s)
            for b, m, s in [([box], 1, "box"), (boxes, 1.3, "ellipse")]
        )
        assert (hidden[true > 0] == 255).all()


@pytest.mark.parametrize("middle", [10, 20, 30])
def test_head_that_turns_back_within_the_gap_stays_covered(middle: int) -> None:
    """It swings by its own size: linear interpolation would uncover it."""
    path = _path(320, 240, 40, (0, 0), 1, 1, 40)
    missed = range(middle - 5, middle + 5)
    found = track_boxes(
        [(_look([box], t, missed, 1), False) for t, box in enumerate(path)], TrackingRules()
    )
    assert all(_covers(boxes, box) for boxes, box in zip(found, path, strict=True))


def test_track_without_a_high_score_is_not_confirmed() -> None:
    """Such as a pattern in the background: hidden where detected, not filled or extrapolated."""
    weak = Box(10, 10, 50, 50, 0.3)
    looks = [[], [], *[[weak]] * 20, [], [], [], *[[weak]] * 5, [], []]
    found = [
        bool(boxes)
        for boxes in track_boxes(
            [(boxes, False) for boxes in looks], TrackingRules(min_best_score=0.5)
        )
    ]
    assert found == [bool(boxes) for boxes in looks]
    looks[5] = [Box(10, 10, 50, 50, 0.6)]  # once it was clear
    assert all(track_boxes([(boxes, False) for boxes in looks], TrackingRules(min_best_score=0.5)))

"""Where a track is between and beyond its detections, to the pixel."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from masquerade.errors import MasqueradeError
from masquerade.regions.boxes import Array, Box, corners
from masquerade.regions.tracking import (
    TrackingRules,
    _boxes,
    _match,
    _Track,
    _velocity,
    extrapolate,
    interpolate,
    predict,
    select_keyframes,
    track_boxes,
    track_regions,
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
    tracking = TrackingRules(**rules)  # type: ignore[arg-type]
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
    assert TrackingRules(gap=4, every=3, lookback=2).longest_gap == 8
    assert TrackingRules(gap=4, every=3, lookback=2).look_ahead == 8
    assert TrackingRules(gap=1, every=2, lookback=9).look_ahead == 10


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
    found = list(track_boxes([([box(10)], False), ([then], False)], TrackingRules()))
    assert len({one.track for boxes in found for one in boxes}) == tracks


def test_of_two_the_nearer_one_continues_the_track() -> None:
    looks = [[box(0), box(40)], [box(38), box(3)], [box(6), box(36)]]
    found = [
        {one.track: one.x0 for one in boxes if one.source == "detected"}
        for boxes in track_boxes([(boxes, False) for boxes in looks], TrackingRules())
    ]
    assert found == [{0: 0, 1: 40}, {0: 3, 1: 38}, {0: 6, 1: 36}]


def test_the_detector_runs_first_last_after_cuts_and_on_every_nth() -> None:
    cuts = [False, False, False, True, False, False, False, False]
    frames = [(str(t), cut) for t, cut in enumerate(cuts)]
    chosen = [int(t) for t, _, detect in select_keyframes(frames, 3) if detect]  # type: ignore
    assert chosen == [0, 2, 3, 6, 7]
    assert list(select_keyframes([], 3)) == []


RULES = [
    TrackingRules(),
    TrackingRules(gap=2, carry=1, lookback=3),
    TrackingRules(gap=0, carry=0, lookback=0, every=3),
    TrackingRules(gap=3, carry=2, lookback=0, every=2, min_best_score=0.5),
    TrackingRules(gap=1, carry=0, lookback=2, every=4, min_best_score=0.75),
    TrackingRules(gap=5, carry=0, lookback=1, every=5),
    TrackingRules(gap=0, carry=3, lookback=0),
]
Look = tuple[list[Box] | None, bool]


def one_face(seed: int, every: int) -> list[Look]:
    """A face that drifts a little; the detector runs on every N-th frame, and often misses it."""
    rng = np.random.default_rng(seed)
    looks: list[Look] = []
    misses = rng.choice([0.1, 0.5, 0.85])
    for t in range(60):
        cut = bool(t and rng.random() < 0.03)
        x, y = 50 + t / 4 + rng.uniform(-1, 1), 60 + rng.uniform(-1, 1)
        score = float(rng.choice([0.25, 0.5, 0.75]))
        found = [] if rng.random() < misses else [Box(x, y, x + 30, y + 24, score)]
        looks.append((found if t % every == 0 or cut else None, cut))
    return looks


def wanted_boxes(looks: list[Look], rules: TrackingRules) -> list[tuple[Box, ...]]:
    """What one face's tracks should show, from all of its detections at once."""
    late, skipped, start = rules.look_ahead, rules.every - 1, 0
    tracks: list[tuple[int, list[tuple[int, Box]]]] = []  # first frame of the shot; detections
    ends: dict[int, int] = {}
    for t, (boxes, cut) in enumerate(looks):
        if cut:
            ends[start], start = t, t
        if boxes:
            far = not tracks or tracks[-1][0] != start
            if far or t - tracks[-1][1][-1][0] > rules.gap + 2 * skipped + 1:
                tracks.append((start, []))
            tracks[-1][1].append((t, replace(boxes[0], track=len(tracks) - 1)))
    shown: list[tuple[Box, ...]] = []
    for t in range(len(looks)):
        now: list[Box] = []
        for first, every in tracks:
            known = [one for one in every if one[0] <= t + late]
            if not known or not first <= t < ends.get(first, len(looks)):
                continue
            sure = sum(box.score**2 for _, box in known) >= 0.6
            sure &= max(box.score for _, box in known) >= rules.min_best_score
            before, after = ([o for o in known if o[0] <= t], [o for o in known if o[0] >= t])
            if before and before[-1][0] == t:
                now.append(before[-1][1])
                continue
            since = t - before[-1][0] if before else 999
            until = after[0][0] - t if after else 999
            if since + until <= (900 if sure else rules.every):
                now.append(interpolate(before, after, t, skipped=skipped))
            elif since <= (skipped + rules.carry if sure else rules.every // 2):
                now.append(extrapolate(before, t))
            elif until <= (skipped + rules.lookback if sure else skipped // 2):
                back = extrapolate([(-s, box) for s, box in after[::-1]], -t)
                now.append(back)
        shown.append(tuple(now))
    return shown


@pytest.mark.parametrize("rules", RULES)
def test_every_frame_shows_what_the_rules_say(rules: TrackingRules) -> None:
    for seed in range(6):
        looks = one_face(seed, rules.every)
        found = [tuple(boxes) for boxes in track_boxes(looks, rules)]
        assert found == wanted_boxes(looks, rules), seed


def test_a_track_is_sure_from_six_tenths_of_evidence() -> None:
    for scores, sure in (
        ((0.77,), False),
        ((0.78,), True),
        ((0.5, 0.5), False),
        ((0.5, 0.5, 0.32), True),
        ((0.1, 0.3, 0.5, 0.5), True),  # six tenths to the last bit
        ((0.3,) * 6, False),
        ((0.3,) * 7, True),
    ):
        looks = [[box(10, score=score)] for score in scores]
        assert shown([*looks, []], carry=1) == [1] * len(scores) + [int(sure)]
    for least, sure in ((0.8, True), (0.81, False)):
        assert shown([[box(10, score=0.8)], []], carry=1, min_best_score=least) == [1, int(sure)]


def test_no_frames_have_no_boxes() -> None:
    for rules in RULES:
        assert list(track_boxes([], rules)) == []
        assert list(track_boxes([([box(1)], True)], rules)) == [[replace(box(1), track=0)]]


def test_the_defaults_bridge_half_a_second() -> None:
    rules = TrackingRules()
    assert (rules.gap, rules.carry, rules.lookback, rules.every) == (12, 6, 6, 1)
    assert rules.min_best_score == 0 and rules.longest_gap == rules.look_ahead == 12
    looks = [*[[]] * 9, [box(10)], *[[]] * 9]
    assert shown(looks) == [0] * 3 + [1] * 13 + [0] * 3


def test_tracks_are_dropped_as_soon_as_they_can_reach_no_frame() -> None:
    rules = TrackingRules(gap=4, carry=3, lookback=2, every=2)
    reach = 4 + 2 + 3 + 1
    track = _Track(0, 0)
    track.add(10, box(10))
    for t, kept in ((10, True), (10 + reach, True), (11 + reach, False)):
        tracks = [track]
        _boxes(tracks, t, rules)
        assert bool(tracks) is kept
    track.end = 13
    for t, kept in ((11, True), (12, False)):
        tracks = [track]
        assert len(_boxes(tracks, t, rules)) == 1
        assert bool(tracks) is kept


def test_old_detections_are_forgotten_but_for_five() -> None:
    track = _Track(3, 0)
    for t in range(20):
        track.add(t, box(t, score=0.5))
    assert track.evidence == 5 and track.best_score == 0.5
    track.prune(12)
    assert [t for t, _ in track.detections] == list(range(7, 20))
    track.prune(3)
    assert len(track.detections) == 13 and track.evidence == 5
    assert {one.track for _, one in track.detections} == {3}


def history(rng: np.random.Generator, count: int) -> list[tuple[int, Box]]:
    """Detections in some frames before the twentieth."""
    times = np.sort(rng.choice(20, count, replace=False)).tolist()
    found = []
    for t in times:
        x, y, w, h = *rng.uniform(0, 60, 2), *rng.uniform(12, 40, 2)
        found.append((t, Box(x, y, x + w, y + h, float(rng.uniform(0.1, 1)))))
    return found


def slope(detections: list[tuple[int, Box]]) -> Array | None:
    """The line through the last two detections and up to three more within six frames."""
    if len(detections) < 2:
        return None
    last = detections[-1][0]
    used = [one for one in detections[-5:] if last - one[0] <= 6]
    used = detections[-2:] if len(used) < 2 else used
    times = [float(t) for t, _ in used]
    return np.array([np.polyfit(times, column, 1)[0] for column in corners([b for _, b in used]).T])


def expected(detections: list[tuple[int, Box]], t: int) -> Array:
    """Where the last box is by then, slower by a tenth each frame."""
    last, found = detections[-1]
    speed = slope(detections)
    if speed is None:
        speed = np.zeros(4)
    way = sum(0.9**k for k in range(1, t - last + 1))
    x, y = (speed[0] + speed[2]) / 2 * way, (speed[1] + speed[3]) / 2 * way
    return np.array([found.x0 + x, found.y0 + y, found.x1 + x, found.y1 + y])


@pytest.mark.parametrize("seed", range(8))
def test_a_prediction_is_a_line_through_the_last_detections(seed: int) -> None:
    rng = np.random.default_rng(seed)
    detections = history(rng, int(rng.integers(1, 9)))
    speed, found = slope(detections), _velocity(detections)
    assert (found is None) is (speed is None)
    if speed is not None:
        assert found == pytest.approx(speed, abs=1e-6)
    for t in (20, 21, 27):
        assert predict(detections, t) == pytest.approx(expected(detections, t), abs=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_an_interpolation_covers_the_line_and_the_cubic(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = history(rng, int(rng.integers(1, 6)))
    after = [(50 - t, found) for t, found in reversed(history(rng, int(rng.integers(1, 6))))]
    (start, a), (end, b) = before[-1], after[0]
    p, q, span = corners([a])[0], corners([b])[0], end - start
    u, v = slope(before), slope([(-t, found) for t, found in reversed(after)])
    u, v = (q - p) / span if u is None else u, (q - p) / span if v is None else -v
    skipped = int(rng.integers(0, 4))
    for t in range(start + 1, end):
        s = (t - start) / span
        line = p + (q - p) * s
        cubic = (2 * s**3 - 3 * s**2 + 1) * p + (3 * s**2 - 2 * s**3) * q
        cubic += span * ((s**3 - 2 * s**2 + s) * u + (s**3 - s**2) * v)
        away = cubic - line
        size = line[2:] - line[:2]
        x, y = np.clip([(away[0] + away[2]) / 2, (away[1] + away[3]) / 2], -size / 2, size / 2)
        wide = [line[0] + min(x, 0), line[1] + min(y, 0), line[2] + max(x, 0), line[3] + max(y, 0)]
        age = max(0, min(t - start, end - t) - skipped)
        more = (min(1.3, 1 + 0.03 * age) - 1) / 2
        w, h = (wide[2] - wide[0]) * more, (wide[3] - wide[1]) * more
        found = interpolate(before, after, t, skipped=skipped)
        wanted = (wide[0] - w, wide[1] - h, wide[2] + w, wide[3] + h)
        assert edges(found) == pytest.approx(wanted, abs=1e-6)
        assert (found.score, found.source) == (min(a.score, b.score), "interpolated")


@pytest.mark.parametrize("seed", range(20))
def test_boxes_go_to_tracks_by_the_lowest_cost_first(seed: int) -> None:
    """Distance of the centres in mean sizes, and half the ratio of sizes, less the overlap."""
    rng = np.random.default_rng(seed)
    tracks = []
    for number in range(int(rng.integers(1, 5))):
        track = _Track(number, 0)
        for t, found in history(rng, int(rng.integers(1, 4))):
            track.add(t, found)
        tracks.append(track)
    boxes = [found for _, found in history(rng, int(rng.integers(1, 6)))]
    costs = []
    for i, track in enumerate(tracks):
        last, guess = corners([track.detections[-1][1]])[0], expected(track.detections, 20)
        age = 20 - track.detections[-1][0]
        for j, found in enumerate(boxes):
            edge = corners([found])[0]
            away = min(apart(last, edge), apart(guess, edge))
            sizes = [(one[2] - one[0]) * (one[3] - one[1]) for one in (last, edge)]
            ratio = abs(math.log(sizes[0] / sizes[1])) / 2
            width, height = (
                max(0.0, min(guess[k + 2], edge[k + 2]) - max(guess[k], edge[k])) for k in (0, 1)
            )
            shared = width * height
            cost = away + ratio / 2 - shared / (sizes[0] + sizes[1] - shared)
            if away <= 1 + 0.1 * age and ratio <= math.log(2.2):
                costs.append((cost, i, j))
    wanted: dict[int, int] = {}
    for _, i, j in sorted(costs):
        if j not in wanted and i not in wanted.values():
            wanted[j] = i
    assert _match(tracks, boxes, 20) == wanted
    assert _match([], boxes, 20) == _match(tracks, [], 20) == {}


def apart(a: Array, b: Array) -> float:
    x, y = ((a[k] + a[k + 2] - b[k] - b[k + 2]) / 2 for k in (0, 1))
    w, h = ((a[k + 2] - a[k] + b[k + 2] - b[k]) / 2 for k in (0, 1))
    return math.hypot(x / w, y / h)


class Frame:
    """A frame of 100 x 80 pixels with a number."""

    width, height = 100, 80

    def __init__(self, number: int) -> None:
        self.number = number


OUTLINE = np.zeros((80, 100), np.uint8)


def test_a_detector_is_asked_in_keyframes_and_its_boxes_are_clipped() -> None:
    asked = []

    def detect(frame: Frame) -> tuple[list[Box], Any]:
        asked.append(frame.number)
        found = [box(-8), box(500)] if frame.number == 0 else [box(-8)]
        return found, OUTLINE if frame.number == 2 else None

    frames = [(Frame(t), t == 3, t % 2 == 0) for t in range(5)]
    alone = list(track_regions(frames, detect, None))
    assert asked == [0, 2, 4]
    assert [frame.number for frame, _ in alone] == list(range(5))
    assert [region.detected for _, region in alone] == [True, False, True, False, True]
    assert [region.cut for _, region in alone] == [False, False, False, True, False]
    assert [len(region.boxes) for _, region in alone] == [1, 0, 1, 0, 1]
    assert edges(alone[0][1].boxes[0]) == (0, 50, 12, 70)
    assert [region.mask is OUTLINE for _, region in alone] == [False, False, True, False, False]
    tracked = list(track_regions(frames, detect, TrackingRules(every=2, carry=0, lookback=0)))
    assert [frame.number for frame, _ in tracked] == list(range(5))
    assert [len(region.boxes) for _, region in tracked] == [1, 1, 1, 1, 1]
    for (_, one), (_, other) in zip(alone, tracked, strict=True):
        assert (one.detected, one.cut, one.mask) == (other.detected, other.cut, other.mask)
    assert [b.source for _, region in tracked for b in region.boxes] == [
        "detected",
        "interpolated",
        "detected",
        "extrapolated",
        "detected",
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        (None, None),
        (["box"], None),
        ([box(10), replace(box(10), x0=math.nan)], None),
        ([], OUTLINE[1:]),
        ([], OUTLINE.astype(bool)),
    ],
)
@pytest.mark.parametrize("rules", [None, TrackingRules()])
def test_what_is_no_detection_is_refused(wrong: Any, rules: TrackingRules | None) -> None:
    with pytest.raises(MasqueradeError):
        list(track_regions([(Frame(0), False, True)], lambda _: wrong, rules))

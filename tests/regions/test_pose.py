"""Poses: squares, the networks' outputs, and people who are followed through time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import pi
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, clip, noise

from masquerade.errors import MissingError
from masquerade.regions import People
from masquerade.regions.anchor_detection import anchors
from masquerade.regions.boxes import Box
from masquerade.regions.chosen_people import ChosenPeople
from masquerade.regions.frame_people import FramePeople
from masquerade.regions.litert import LiteRtNetwork
from masquerade.regions.model_files import MODEL_FILES, model_file
from masquerade.regions.people import frame_region
from masquerade.regions.pose_detection import STRIDES, PoseDetector, Square, crop
from masquerade.regions.pose_landmarks import Pose
from masquerade.regions.pose_tracking import PoseTracker, PoseTrackingRules, warp_silhouette

W, H = 160, 120
SIZE = 24  # of the drawn person, in pixels


def test_an_upright_square_copies_its_pixels() -> None:
    picture = noise(W, H, 0)
    assert (crop(picture, Square(60, 50, 32, 0.0), 64) == picture[18:82, 28:92]).all()


def test_a_person_who_lies_is_upright_in_the_crop() -> None:
    picture = np.zeros((H, W, 3), np.uint8)
    picture[47:54, 82:89] = 255  # the head, to the right of the middle
    lying = crop(picture, Square(60, 50, 32, pi / 2), 64)
    ys, xs = np.nonzero(lying[..., 0])
    assert (ys.mean(), xs.mean()) == pytest.approx((32 - 25, 32), abs=0.6)


def test_outside_of_a_picture_a_crop_is_black() -> None:
    picture = np.full((H, W, 3), 200, np.uint8)
    out = crop(picture, Square(0, 0, 32, 0.0), 64)
    assert not out[:31].any()
    assert (out[33:, 33:] == 200).all()


def test_the_square_of_a_person_looks_up_from_the_hips() -> None:
    square = Square.around(np.array([50.0, 60.0]), np.array([50.0, 20.0]))
    assert (square.x, square.y, square.half, square.angle) == (50, 60, 50, 0)
    lying = Square.around(np.array([50.0, 60.0]), np.array([90.0, 60.0]))
    assert lying.angle == pytest.approx(pi / 2)
    top = lying.matrix(64) @ np.array([32, 0, 1])  # the middle of its upper edge
    assert top == pytest.approx([100, 60])


def test_anchors_are_the_centres_of_cells() -> None:
    found = anchors(224, STRIDES)
    assert len(found) == 2254
    assert found[0] == pytest.approx([0.5 / 28, 0.5 / 28])
    assert (found[0] == found[1]).all()
    assert found[-1] == pytest.approx([6.5 / 7, 6.5 / 7])


class _Answers:
    """A network that gives the same answer to everything."""

    side = 224

    def __init__(self, *outputs: Any) -> None:
        self.outputs, self.given = list(outputs), []

    def __call__(self, pixels: Any) -> list[Any]:
        self.given.append(pixels)
        return self.outputs


def _detector(monkeypatch: pytest.MonkeyPatch, at: int, logit: float) -> PoseDetector:
    values, logits = np.zeros((2254, 12)), np.full((2254, 1), -20.0)
    values[at, 2:4] = 20
    values[at, 6:8] = 0, -22.4  # the rim is a tenth of the picture's side above the hips
    logits[at] = logit
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **more: None)
    detector = PoseDetector()
    detector._network._network = _Answers(values, logits)  # type: ignore[assignment]
    return detector


def test_a_detection_is_given_in_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = _detector(monkeypatch, 2 * (14 * 28 + 7), 0.0)
    ((square, score),) = detector(noise(448, 224, 0))  # letterboxed: a half, 56 rows above
    assert score == 0.5
    assert (square.x, square.y) == pytest.approx((2 * 7.5 * 8, 2 * (14.5 * 8 - 56)))
    assert square.half == pytest.approx(2 * 1.25 * 22.4)
    assert square.angle == 0
    (given,) = detector._network._network.given  # type: ignore[attr-defined]
    assert given.min() >= -1
    assert given.max() <= 1
    assert not given[:56].any()


def test_squares_of_one_place_and_size_are_one_person() -> None:
    square = Square(50, 50, 40, 0.0)
    assert square.same_person(Square(60, 50, 50, 1.0))
    assert not square.same_person(Square(75, 50, 40, 0.0))
    assert not square.same_person(Square(50, 50, 70, 0.0))


@pytest.mark.parametrize("name", MODEL_FILES)
def test_a_missing_or_changed_network_is_named_with_what_adds_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingError, match=MODEL_FILES[name].name):
        model_file(name, tmp_path)
    (tmp_path / MODEL_FILES[name].name).write_bytes(b"another")
    with pytest.raises(MissingError, match="not the one that masquerade was tested with"):
        model_file(name, tmp_path)


def test_people_without_their_networks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingError, match="pose detection") as caught:
        People(models=tmp_path)
    assert caught.value.exit_code == 3
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(MissingError, match="pip install ai-edge-litert"):
        People()


# A drawn person is a bright square; what "sees" it looks for bright pixels.


class _DrawnPeople(PoseTracker):
    """A tracker whose networks see bright squares; it counts how often they are asked."""

    def __init__(self, blind: tuple[int, ...] = (), **rules: Any) -> None:
        chosen = {"threshold": 0.5, "every": 4, "gap": 6, "carry": 3, "lookback": 5, "tiles": False}
        self.rules = PoseTrackingRules(**chosen | rules)
        self.scale, self.threads, self.blind = None, 1, blind
        self.boxes: list[Box] = []
        self.asked: list[int] = []
        self.tiled: list[int] = []  # frames that were looked at in tiles, too
        self.turned: list[int] = []  # frames that were looked at in turned copies, too
        self.looked: list[int] = []  # frames in which landmarks were looked for

    def detect(self, pixels: Any) -> list[tuple[Square, float]]:
        self.asked.append(int(pixels[0, 0, 0]))
        square = _where(pixels)
        return [] if square is None or self._is_blind(pixels) else [(square, 0.9)]

    def find_boxes(self, people: FramePeople, *, in_tiles: bool, turned: bool) -> list[Box]:
        self.tiled += [int(people.pixels[0, 0, 0])] * in_tiles
        self.turned += [int(people.pixels[0, 0, 0])] * turned
        return self.boxes

    def segment(self, people: FramePeople) -> Any:
        return np.zeros(people.canvas[::-1], np.uint8)

    def landmarks(self, pixels: Any, square: Square) -> Pose:
        self.looked.append(int(pixels[0, 0, 0]))
        found = None if self._is_blind(pixels) else _where(pixels)
        near = found is not None and square.same_person(found)
        own = found if found and near else square
        points = np.tile([own.x, own.y, 0, 1, 1], (33, 1)).astype(float)
        return Pose(
            square=own,
            next_square=own,
            score=0.95 if near else 0.05,
            landmarks=points,
            world=np.zeros((33, 3)),
            inside=np.pad(np.full((64, 64), 255, np.uint8), 96),
        )

    def _is_blind(self, pixels: Any) -> bool:
        return int(pixels[0, 0, 0]) in self.blind


def _where(pixels: Any) -> Square | None:
    ys, xs = np.nonzero(pixels[1:, :, 0] > 240)
    return Square(xs.mean() + 0.5, ys.mean() + 1.5, 2 * SIZE, 0.0) if len(xs) > SIZE else None


def _frames(
    count: int, *, first: int = 0, last: int = 10**6, step: int = 2, rate: float | None = None
) -> list[ArrayFrame]:
    """A person who walks from frame `first` to `last`; a corner pixel tells the frame's number."""
    ground = noise(W, H, 1) // 2
    frames = []
    for t in range(count):
        pixels = ground.copy()
        if first <= t <= last:
            pixels[40 : 40 + SIZE, 20 + step * t : 20 + step * t + SIZE] = 250
        pixels[0, 0] = t
        frames.append(ArrayFrame(pixels, t / rate if rate else None))
    return frames


def _track(tracker: PoseTracker, frames: list[ArrayFrame], cut: int = -1) -> list[FramePeople]:
    found = list(tracker((frame, t in (0, cut)) for t, frame in enumerate(frames)))
    assert [f.frame for f in found] == frames
    return found


def _covered(people: FramePeople, t: int) -> float:
    """The share of the drawn person that the mask covers."""
    return float((people.mask()[42 : 38 + SIZE, 22 + 2 * t : 18 + 2 * t + SIZE] > 0).mean())


def test_a_person_is_followed_between_runs_of_the_detector() -> None:
    tracker = _DrawnPeople()
    found = _track(tracker, _frames(30))
    assert all(list(people.poses) == [0] for people in found)
    assert all(_covered(people, t) == 1 for t, people in enumerate(found))
    assert tracker.asked == [*range(0, 30, 4), 29]
    assert [people.detected for people in found] == [t % 4 == 0 or t == 29 for t in range(30)]


@pytest.mark.parametrize("first", [1, 2, 3])
def test_who_enters_between_runs_of_the_detector_is_looked_for_before(first: int) -> None:
    found = _track(_DrawnPeople(), _frames(16, first=first))
    assert [bool(people.poses) for people in found] == [t >= first for t in range(16)]


@pytest.mark.parametrize("count", range(9, 14))
def test_who_enters_in_the_last_frames_of_a_shot_is_looked_for(count: int) -> None:
    for first in range(count - 3, count):
        alone = _frames(count, first=first)
        before_a_cut = [*alone, *_frames(20, first=99)[count:]]
        for found in (_track(_DrawnPeople(), alone), _track(_DrawnPeople(), before_a_cut, count)):
            assert all(_covered(found[t], t) == 1 for t in range(first, count))


@pytest.mark.parametrize("blind", [(9,), (9, 10, 11), (7, 8, 9, 10, 11, 12)])
def test_a_person_who_is_lost_for_a_while_stays_hidden(blind: tuple[int, ...]) -> None:
    found = _track(_DrawnPeople(blind), _frames(30))
    for t, people in enumerate(found):
        assert bool(people.poses) is (t not in blind)
        assert _covered(people, t) > 0.9
        assert bool(people.between) is (t in blind)
        ((number, posed),) = (people.poses | people.between).items()
        assert number == (t >= blind[0])  # who it is then, nobody knows
        assert posed.landmarks[0, 0] == pytest.approx(20.5 + 2 * t + (SIZE - 1) / 2, abs=0.1)


def test_a_silhouette_is_carried_over_frames_of_a_banner() -> None:
    """The copies on which flow is searched are 32 pixels high at least: else there is none."""
    ground, patch, step = noise(640, 60, 1) // 2, noise(80, 40, 2), 6
    pair = []
    for x in (200, 200 + step):
        pixels = ground.copy()
        pixels[10:50, x : x + 80] = patch
        pair.append(FramePeople(ArrayFrame(pixels), False, pixels))
    before, now = pair
    silhouette = np.zeros(before.canvas[::-1], np.uint8)
    scale = before.canvas[0] / 640
    rows, columns = slice(round(10 * scale), round(50 * scale)), [200, 280]
    silhouette[rows, round(columns[0] * scale) : round(columns[1] * scale)] = 255
    moved = np.nonzero(warp_silhouette(silhouette, before, now))[1].mean()
    assert moved - np.nonzero(silhouette)[1].mean() == pytest.approx(step * scale, abs=2)


class _WithoutSilhouette(_DrawnPeople):
    """Sees the person in all frames, and in blurred ones next to no pixel of theirs."""

    def _is_blind(self, pixels: Any) -> bool:
        return False

    def landmarks(self, pixels: Any, square: Square) -> Pose:
        pose = super().landmarks(pixels, square)
        if int(pixels[0, 0, 0]) in self.blind:
            inside = np.zeros_like(pose.inside)
            inside[100, 100:120] = 255
            return replace(pose, inside=inside)
        return pose


def test_a_person_without_a_silhouette_is_lost_and_stays_hidden() -> None:
    found = _track(_WithoutSilhouette((9, 10, 11)), _frames(30))
    assert all(_covered(people, t) > 0.9 for t, people in enumerate(found))


@pytest.mark.parametrize("look", [1, 2], ids=["the first look", "the second look"])
def test_who_has_a_silhouette_at_one_look_alone_is_hidden_by_it(look: int) -> None:
    class Once(_WithoutSilhouette):
        def landmarks(self, pixels: Any, square: Square) -> Pose:
            self.blind = () if len(self.looked) == look - 1 else (0,)
            return super().landmarks(pixels, square)

    tracker = Once()
    (found,) = _track(tracker, _frames(1))
    assert tracker.looked == [0, 0] and _covered(found, 0) > 0.9


def test_a_silhouette_is_carried_as_long_as_was_asked_for() -> None:
    found = _track(_DrawnPeople(carry=20), _frames(60, last=10))  # beyond gap and every, 6 and 4
    shown = [t for t, people in enumerate(found) if people.silhouettes()]
    assert shown == [*range(31)]


class _TwoPeople(_DrawnPeople):
    """Sees each bright square by itself; two that overlap are one."""

    def _all(self, pixels: Any) -> list[Square]:
        if self._is_blind(pixels):
            return []
        bright = (pixels[..., 0] > 240).astype(np.uint8)
        bright[0] = 0
        _, _, stats, middles = cv2.connectedComponentsWithStats(bright)
        large = [i for i in range(1, len(stats)) if stats[i][4] > SIZE]
        return [Square(middles[i][0] + 0.5, middles[i][1] + 0.5, 2 * SIZE, 0.0) for i in large]

    def detect(self, pixels: Any) -> list[tuple[Square, float]]:
        return [(square, 0.9) for square in self._all(pixels)]

    def landmarks(self, pixels: Any, square: Square) -> Pose:
        seen = sorted(self._all(pixels), key=lambda one: abs(one.x - square.x))
        near = bool(seen) and square.same_person(seen[0])
        own = seen[0] if near else square
        points = np.tile([own.x, own.y, 0, 1, 1], (33, 1)).astype(float)
        inside = np.pad(np.full((64, 64), 255, np.uint8), 96)
        return Pose(own, own, 0.95 if near else 0.05, points, np.zeros((33, 3)), inside)


def _passing(
    count: int, *, at: int = 100, starts: tuple[int, ...] = (16,), on: int = 0
) -> list[ArrayFrame]:
    """Somebody stands, and others come in front of them, and go so many pixels on."""
    ground, frames = noise(W, H, 1) // 2, []
    for t in range(count):
        pixels = ground.copy()
        for start in (at, *starts):
            way = min(4 * t, abs(at - start) + on) if start != at else 0
            x = start + way * (1 if at > start else -1)
            pixels[40 : 40 + SIZE, x : x + SIZE] = 250
        pixels[0, 0] = t
        frames.append(ArrayFrame(pixels))
    return frames


@pytest.mark.parametrize("case", ["lost", "passed"])
def test_who_may_be_somebody_else_is_not_visible_and_stays_hidden(case: str) -> None:
    """A number that goes on behind whoever came in front would show them."""
    if case == "lost":
        found = _track(_DrawnPeople((9, 10, 11)), _frames(30))
    else:
        found = _track(_TwoPeople(), _passing(40))
    (known,) = (number for number in found[0].poses if number == 0)
    last = found[-1]
    ((number, _),) = last.poses.items()
    assert number != known and known in last.earlier[number]
    kept, alone = ChosenPeople.of([known], []), ChosenPeople.of([], [known])
    assert not kept.hides(known, found[0].earlier) and alone.hides(known, found[0].earlier)
    assert kept.hides(number, last.earlier) and alone.hides(number, last.earlier)
    if case == "passed":
        (other,) = set(found[2].poses) - {known}  # who came
        assert {known, other} <= last.earlier[number]


@pytest.mark.parametrize("blind", [(), (13, 14)])
def test_of_two_who_met_both_stay_hidden_as_either_may_be_who_is_named(
    blind: tuple[int, ...],
) -> None:
    found = _track(_TwoPeople(blind), _passing(40, at=60, starts=(8,), on=60))
    seen, last = list(found[2].poses), found[-1]
    assert len(seen) == len(last.poses) == 2 and not set(seen) & set(last.poses)
    for known in seen:
        alone = ChosenPeople.of([], [known])
        assert all(alone.hides(number, last.earlier) for number in last.poses)


def test_of_three_who_met_one_after_another_whoever_is_left_may_be_each() -> None:
    found = _track(_TwoPeople(), _passing(40, at=76, starts=(8, 130)))
    before = {number for people in found[:7] for number in people.poses}
    ((number, _),) = found[-1].poses.items()
    assert len(before) == 3 and number not in before
    for known in before:
        assert ChosenPeople.of([], [known]).hides(number, found[-1].earlier)


def test_who_comes_after_a_cut_is_none_of_those_who_met_before() -> None:
    frames = _passing(24)
    found = _track(_TwoPeople(), [*frames, *_frames(34)[24:]], cut=24)
    assert len(found[2].poses) == 2 and len(found[23].poses) == 1
    for known in (*found[2].poses, *found[23].poses):
        alone = ChosenPeople.of([], [known])
        assert not any(alone.hides(number, found[-1].earlier) for number in found[-1].poses)


def test_a_silhouette_is_carried_after_the_last_find_and_before_the_first() -> None:
    blind = (*range(5), *range(20, 30))
    found = _track(_DrawnPeople(blind), _frames(30))
    hidden = [_covered(people, t) > 0.8 for t, people in enumerate(found)]
    assert hidden == [t < 23 for t in range(30)]  # 5 frames before and 3 after


@pytest.mark.parametrize(("rate", "share"), [(30, 0.6), (15, 1.0), (None, 1.0)])
def test_calm_people_are_looked_for_in_every_other_frame(rate: float | None, share: float) -> None:
    tracker = _DrawnPeople()
    found = _track(tracker, _frames(30, rate=rate))
    assert len(set(tracker.looked)) <= 30 * share
    assert all(list(people.poses) == [0] for people in found)
    assert all(_covered(people, t) == 1 for t, people in enumerate(found))
    xs = [people.poses[0].landmarks[0, 0] for people in found]
    assert np.diff(xs) == pytest.approx([2] * 29)
    sources = [frame_region(people).boxes[0].source for people in found]
    assert [t for t, one in enumerate(sources) if one == "detected"] == sorted({*tracker.looked})
    assert set(sources) <= {"detected", "interpolated"}


def test_who_moves_fast_is_looked_for_in_every_frame() -> None:
    tracker = _DrawnPeople()
    found = _track(tracker, _frames(20, step=5, rate=30))
    assert set(tracker.looked) == set(range(20))
    assert all(list(people.poses) == [0] for people in found)


@pytest.mark.parametrize("blind", [(9,), (10,), (9, 10), (8, 9, 10, 11)])
def test_who_is_lost_around_a_skipped_frame_stays_hidden(blind: tuple[int, ...]) -> None:
    found = _track(_DrawnPeople(blind), _frames(30, rate=30))
    assert all(len(people.poses) <= 1 for people in found)
    assert all(_covered(people, t) > 0.9 for t, people in enumerate(found))


@pytest.mark.parametrize("count", range(2, 8))
def test_a_last_frame_that_was_skipped_is_looked_at(count: int) -> None:
    found = _track(_DrawnPeople(), _frames(count, rate=30))
    assert all(_covered(people, t) == 1 for t, people in enumerate(found))
    frames = [*_frames(count, rate=30), *_frames(10, first=99, rate=30)[count:]]
    found = _track(_DrawnPeople(), frames, cut=count)
    assert all(_covered(people, t) == 1 for t, people in enumerate(found[:count]))
    assert not any(people.mask().any() for people in found[count:])


def test_detectors_run_more_often_on_slow_videos() -> None:
    tracker = _DrawnPeople()
    _track(tracker, _frames(12, rate=12.5))
    assert tracker.asked == [*range(0, 12, 2), 11]


def test_turned_copies_are_rare_while_everybody_has_landmarks() -> None:
    tracker = _DrawnPeople()
    _track(tracker, _frames(62, step=1))
    assert tracker.turned == [0, 32]
    tracker = _DrawnPeople()
    tracker.boxes = [Box(100, 60, 150, 110, 0.3, label="person")]  # somebody else, without any
    _track(tracker, _frames(20))
    assert tracker.turned == tracker.asked == [*range(0, 20, 4), 19]
    tracker = _DrawnPeople()
    _track(tracker, _frames(20, first=99))
    assert tracker.turned == [*range(0, 20, 4), 19]


def test_tiles_and_turned_copies_are_as_rare_as_is_asked_for_from_a_cut_on() -> None:
    tracker = _DrawnPeople(tiles=True, thorough_every=3)
    _track(tracker, _frames(40, first=99), cut=20)
    assert tracker.asked == [*range(0, 20, 4), 19, *range(20, 40, 4), 39]
    assert tracker.turned == tracker.tiled == [0, 12, 20, 32]


def test_nobody_is_followed_across_a_cut() -> None:
    frames = [*_frames(10), *_frames(20, first=99)[10:]]
    found = _track(_DrawnPeople(), frames, cut=10)
    assert all(people.poses for people in found[:10])
    assert not any(people.mask().any() for people in found[10:])


def test_output_is_late_by_the_look_ahead_at_most() -> None:
    tracker, read = _DrawnPeople(), []

    def frames() -> Any:
        for t, frame in enumerate(_frames(40)):
            read.append(t)
            yield frame, t == 0

    for t, _ in enumerate(tracker(frames())):
        assert len(read) <= t + 1 + tracker.rules.look_ahead


def test_networks_of_landmarks_are_kept_for_the_next_video(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Landmarks:
        def __init__(self, **folder: Any) -> None:
            made.append(self)

        def __call__(self, pixels: Any, square: Square) -> Any:
            return square

    monkeypatch.setattr("masquerade.regions.pose_tracking.PoseLandmarks", Landmarks)
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **more: None)
    tracker = PoseTracker(_DrawnPeople().rules, scale=None)
    square = Square(1, 2, 3, 0.0)
    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            assert (
                list(pool.map(tracker.landmarks, [noise(8, 8, 0)] * 4, [square] * 4))
                == [square] * 4
            )
    assert 1 <= len(made) <= 2


def test_networks_say_nothing_on_the_terminal_and_leave_it_open() -> None:
    code = """if True:
        import sys
        from masquerade.regions.litert import LiteRtNetwork
        LiteRtNetwork("palm detection")
        print("open", file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "open\n")


def test_real_people_are_found_in_every_frame() -> None:
    frames = clip("uti/handshake/set1_4_1_0.mp4", 12, step=3)
    regions = list(People()(frames))
    assert len(regions) == 12
    for region in regions:
        people = [box for box in region.boxes if box.label == "person"]
        assert len(people) == 2
        assert region.mask is not None
        assert 0.05 < (region.mask > 0).mean() < 0.35
        assert not region.full_frame


def test_poses_alone_are_those_of_people_without_faces_and_what_moves() -> None:
    frames = clip("uti/handshake/set1_4_1_0.mp4", 5, step=3)
    both = list(zip(People()(frames), People(poses_only=True)(frames), strict=True))
    assert len(both) == 5
    for whole, alone in both:
        assert [one.track for one in alone.people] == [one.track for one in whole.people]
        assert {box.label for box in alone.boxes} == {"person"}
        assert alone.mask is not None and whole.mask is not None
        assert not (alone.mask > whole.mask).any()


def test_a_scene_without_people_stays_as_it_is() -> None:
    regions = list(People()(clip("wild/corridor_139s_10fps.mp4", 30)))
    assert len(regions) == 30
    for region in regions:
        assert not region.boxes
        assert region.mask is not None
        assert not region.mask.any()

"""People: detectors, background subtraction, and whole frames where the camera moves."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frames import ArrayFrame, clip, noise

from masquerade.errors import MissingError, UsageError
from masquerade.pipeline.config import PipelineConfig, region_arguments
from masquerade.regions import REGIONS, People, people
from masquerade.regions.background_subtraction import BackgroundSubtraction, Foreground
from masquerade.regions.boxes import Box
from masquerade.regions.hog_people import (
    MovingPeople,
    UprightPeople,
    _whole_frame,
    _without_upright,
)
from masquerade.regions.masks import rasterize
from masquerade.regions.people import _PosePeople, _TorchvisionPeople
from masquerade.regions.person_detectors import HogPeople, TorchvisionPeople
from masquerade.regions.region import Region
from masquerade.regions.tracking import TrackingRules

W, H = 192, 144


def _walker(
    count: int, *, still_from: int = 10**9, pan: float = 0, start: int = 0, wait: int = 0
) -> list[ArrayFrame]:
    """A striped figure that walks across a textured scene, with sensor noise."""
    wide, rng = noise(W * 3, H, 5), np.random.default_rng(0)
    frames = []
    for t in range(count):
        left = int(pan * t)
        frame = wide[:, left : left + W].astype(int) + rng.integers(-3, 4, (H, W, 1))
        x = _place(max(0, min(t, still_from) - wait))
        if t >= start:
            frame[30:130, x : x + 30] = 250
            frame[50:70, x : x + 30] = 5
        frames.append(ArrayFrame(frame.clip(0, 255).astype(np.uint8)))
    return frames


def _place(t: int) -> int:
    return 4 * t


def _foregrounds(frames: list[ArrayFrame], cut: int = -1) -> list[Foreground]:
    return list(BackgroundSubtraction()((p, Region(cut=t == cut)) for t, p in enumerate(frames)))


def test_walker_is_covered_and_the_scene_is_not() -> None:
    foregrounds = _foregrounds(_walker(40))
    for t, foreground in enumerate(foregrounds):
        x = _place(t)
        assert not foreground.background_unknown
        assert (foreground.mask[32:128, x + 2 : x + 28] == 255).mean() > 0.95
        assert (foreground.mask > 0).mean() < 0.6
    (box,) = (b for b in foregrounds[35].boxes if b.x0 <= _place(35) + 15 <= b.x1)
    assert box.y0 <= 31
    assert box.y1 >= 129


def test_walker_who_stops_stays_covered() -> None:
    foregrounds = _foregrounds(_walker(120, still_from=30, start=26))
    assert (foregrounds[119].mask[32:128, _place(30) + 2 : _place(30) + 28] == 255).mean() > 0.95


def test_detected_person_does_not_become_background_or_leave_a_ghost() -> None:
    frames = _walker(90, wait=40)
    at = [_place(max(0, t - 40)) for t in range(90)]
    boxes = [Box(x - 25.0, 10.0, x + 55.0, 150.0, 0.9) for x in at]  # as wide as a detector's
    pairs = zip(frames, boxes, strict=True)
    foregrounds = list(BackgroundSubtraction()((p, Region(boxes=(box,))) for p, box in pairs))
    for t in range(45, 84):  # by its motion, though it filled the background's first frames
        own = slice(at[t] + 8, at[t] + 22)
        left = slice(0, max(0, at[t] - 12))
        assert t < 60 or (foregrounds[t].mask[40:120, own] == 255).mean() > 0.9
        assert t < 65 or not foregrounds[t].mask[:, left].any()
    unseen = _foregrounds(frames)[80].mask
    assert unseen[40:120, :30].mean() > 200  # nobody having been seen there, a ghost is left


def test_static_scene_has_no_foreground() -> None:
    foregrounds = _foregrounds(_walker(50, start=10**9))
    assert not any(m.background_unknown or m.boxes or m.mask.any() for m in foregrounds)


@pytest.mark.parametrize("pan", [0.3, 1, 3, 6])
def test_moving_camera_hides_the_whole_frame(pan: int) -> None:
    frames = _walker(40, pan=pan)
    assert all(m.background_unknown for m in _foregrounds(frames))
    for region in People(detector="motion")(frames):
        assert region.full_frame
        assert (rasterize(region.boxes, width=W, height=H, scale=1.3) == 255).all()


def test_change_of_light_hides_the_whole_frame() -> None:
    frames = _walker(40)
    frames[30] = ArrayFrame((frames[30].pixels * 0.4).astype(np.uint8))
    assert [t for t, m in enumerate(_foregrounds(frames)) if m.background_unknown] == [30]


def test_short_shot_is_hidden_whole() -> None:
    frames = [*_walker(40), *(ArrayFrame(noise(W, H, 8)) for _ in range(5))]
    assert [t for t, m in enumerate(_foregrounds(frames, cut=40)) if m.background_unknown] == [
        40,
        41,
        42,
        43,
        44,
    ]


def test_tracks_of_both_detectors_are_distinct() -> None:
    regions = list(People(detector="hog")(_walker(40)))
    for t, region in enumerate(regions):
        mask = rasterize(region.boxes, width=W, height=H, shape="box", scale=1.1)
        assert mask[40:120, _place(t) + 15].all()
        tracks = [box.track for box in region.boxes]
        assert len(set(tracks)) == len(tracks)


def test_hog_finds_standing_people_in_a_real_clip() -> None:
    found = [HogPeople()(p) for p in clip("uti/push/set1_5_1_5.mp4", 4, step=10)]
    assert all(found)
    assert {box.label for boxes in found for box in boxes} == {"person"}
    assert HogPeople()(ArrayFrame(np.zeros((80, 20, 3), np.uint8))) == []


@pytest.mark.parametrize(
    ("given", "seen"),
    [({}, 480), ({"scale": 320}, 320), ({"scale": 960}, 960), ({"scale": None}, None)],
)
def test_hog_sees_the_size_that_is_asked_for(given: dict[str, Any], seen: int | None) -> None:
    source = People(detector="hog", **given)._source
    assert isinstance(source, UprightPeople)
    assert source._detector.scale == seen


def test_hog_finds_people_who_fill_the_frame() -> None:
    for picture in clip("uti/punch/set1_0_1_4.mp4", 3, step=10):
        middles = sorted((box.x0 + box.x1) / 2 for box in HogPeople()(picture) if box.score > 0.5)
        assert len(middles) == 2
        assert middles == pytest.approx([115, 360], abs=25)


def test_real_static_and_moving_cameras() -> None:
    still = _foregrounds(clip("wild/corridor_139s_10fps.mp4", 90))
    assert not any(m.background_unknown for m in still)
    assert not any(m.boxes for m in still[:40])  # an empty room
    assert (still[84].mask > 0).mean() > 0.05  # a woman at the table
    shaken = _foregrounds(clip("wild/crowd_mp4_named_avi.avi", 40))
    assert sum(m.background_unknown for m in shaken) > 30


def test_missing_torchvision_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--detector-weights"):
        People(detector="torchvision")
    with pytest.raises(UsageError, match="--detector torchvision"):
        People(detector_weights=tmp_path / "weights.pth")
    if importlib.util.find_spec("torchvision") is not None:
        pytest.skip("torchvision is here")
    with pytest.raises(MissingError, match=r"pip install -e .*\[zoo\]"):
        TorchvisionPeople(weights=tmp_path / "weights.pth")


class _TwoPeople:
    """Finds two people who overlap, with their outlines, and misses the left one in frame 8."""

    model_sha256 = None

    def segment(self, frame: Any) -> Any:
        left, right = (
            Box(60, 40, 120, 180, 0.9, label="person"),
            Box(100, 40, 160, 180, 0.9, label="person"),
        )
        mask = np.zeros((200, 200), np.uint8)
        mask[45:175, 102:158] = 255
        if int(frame.rgb()[0, 0, 0]) == 8:
            return [right], mask
        mask[45:175, 65:118] = 255
        return [left, right], mask


def test_whom_a_network_misses_is_hidden_though_another_outline_lies_in_their_box() -> None:
    source = _TorchvisionPeople(_TwoPeople(), every=4, tracking=TrackingRules(every=4))  # type: ignore[arg-type]
    frames = ((ArrayFrame(np.full((200, 200, 3), t, np.uint8)), False) for t in range(17))
    for number, region in enumerate(source(frames)):
        mask = rasterize(
            region.boxes, width=200, height=200, shape="silhouette", scale=1.6, mask=region.mask
        )
        assert (mask[50:170, 70:110] == 255).all(), number


class _OneOutline(_TwoPeople):
    """Finds both people in every frame, and of the left one a box without an outline."""

    def segment(self, frame: Any) -> Any:
        left = Box(60, 40, 120, 180, 0.9, label="person", always_drawn=True)
        return [left, Box(100, 40, 160, 180, 0.9, label="person")], super().segment(frame)[1]


@pytest.mark.parametrize("tracking", [TrackingRules(every=4), None])
def test_who_has_no_outline_is_hidden_in_frames_of_the_detector(
    tracking: TrackingRules | None,
) -> None:
    source = _TorchvisionPeople(_OneOutline(), every=4, tracking=tracking)  # type: ignore[arg-type]
    black = ArrayFrame(np.full((200, 200, 3), 8, np.uint8))
    for number, region in enumerate(source((black, False) for _ in range(9))):
        mask = rasterize(
            region.boxes, width=200, height=200, shape="silhouette", scale=1.6, mask=region.mask
        )
        if region.detected or tracking:
            assert (mask[50:170, 70:110] == 255).all(), number


def test_torchvisions_weights_and_device_come_from_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    class Network:
        model_sha256 = None

        def __init__(self, **arguments: Any) -> None:
            given.update(arguments)

    monkeypatch.setattr(people, "TorchvisionPeople", Network)
    file = tmp_path / "maskrcnn.pth"
    file.write_bytes(b"weights")
    config = PipelineConfig(
        regions="people", detector="torchvision", detector_weights=file, device="cpu"
    )
    (made,) = region_arguments(config)
    REGIONS["people"](**made[1])
    assert (given["weights"], given["device"]) == (file, "cpu")
    assert config.as_dict()["detector_weights"] == file.name  # a receipt has no folder


def test_faces_beside_people_stay_hidden_for_as_long_as_these() -> None:
    """A head without an outline has its face alone, of which --carry said nothing."""
    source = People(gap=40, carry=30, lookback=20)._source
    assert isinstance(source, _PosePeople)
    assert (source._faces.gap, source._faces.carry, source._faces.lookback) == (40, 30, 20)


@pytest.mark.parametrize(("every", "faces"), [(4, 10), (20, 10), (3, 3), (1, 1)])
def test_faces_beside_people_are_looked_for_as_often_as_was_asked_for(
    every: int, faces: int
) -> None:
    source = People(every=every)._source
    assert isinstance(source, _PosePeople)
    assert source._faces.every == faces


def test_boxes_are_people() -> None:
    assert all(
        isinstance(b, Box) and b.label == "person"
        for m in _foregrounds(_walker(30))
        for b in m.boxes
    )


def test_the_box_of_a_frame_hidden_whole_stays_behind_a_large_person() -> None:
    """Whoever keeps only boxes, such as a file of them, would see the rest of the frame."""
    foreground = Foreground([], np.zeros((H, W), np.uint8), True)
    person = (Box(0, 0, W - 10, H, 1.0),)
    found = _without_upright(_whole_frame(foreground, False), person)
    assert [(box.x1, box.y1) for box in found.boxes] == [(W, H)] and found.full_frame
    moving = Region(boxes=(Box(10, 10, 40, 40, 1.0),))
    assert not _without_upright(moving, person).boxes


@pytest.mark.parametrize(("asked", "used"), [(0, 25), (60, 60)])
def test_motion_is_hidden_as_long_before_as_was_asked_for_and_25_frames_at_least(
    asked: int, used: int
) -> None:
    source = MovingPeople(TrackingRules(gap=6, carry=3, lookback=asked, every=1))
    assert source._tracking is not None and source._tracking.lookback == used

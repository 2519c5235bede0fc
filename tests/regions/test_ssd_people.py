"""People found as boxes, and what is hidden of those whose pose is not known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from frames import ArrayFrame, clip, noise

from masquerade.regions import Parts, People
from masquerade.regions.boxes import Box
from masquerade.regions.frame_people import MIN_OUTLINE_SHARE, FramePeople
from masquerade.regions.litert import LiteRtNetwork
from masquerade.regions.masks import rasterize
from masquerade.regions.people import frame_region
from masquerade.regions.people_segmentation import PeopleSegmentation
from masquerade.regions.pose_tracking import FIRST_BOX, PoseTracker, PoseTrackingRules
from masquerade.regions.ssd_people import SsdPeople, ssd_anchors

PERSON = 4
W, H = 96, 64


class _Answers:
    """A network that gives the same answer to everything."""

    side = 300

    def __init__(self, *outputs: Any) -> None:
        self.outputs, self.given = list(outputs), []

    def __call__(self, pixels: Any) -> list[Any]:
        self.given.append(pixels)
        return self.outputs


def _detector(monkeypatch: pytest.MonkeyPatch, at: int, logit: float = 3.0, **more: Any) -> Any:
    offsets, logits = np.zeros((1917, 4)), np.full((1917, 24), -20.0)
    logits[at, PERSON] = logit
    logits[:, 5] = 20.0  # chairs everywhere
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **kept: None)
    detector = SsdPeople(**more)
    detector._network = _Answers(offsets, logits)  # type: ignore[assignment]
    return detector


def test_anchors_are_those_of_the_published_graph() -> None:
    found = ssd_anchors()
    assert found.shape == (1917, 4)  # 19 * 19 * 3 + (100 + 25 + 9 + 4 + 1) * 6
    assert found[0] == pytest.approx([0.5 / 19, 0.5 / 19, 0.1, 0.1])
    assert found[1] == pytest.approx([0.5 / 19, 0.5 / 19, 0.2 * 2**0.5, 0.2 / 2**0.5])
    assert found[-1] == pytest.approx([0.5, 0.5, 0.95**0.5, 0.95**0.5])
    assert found[-2] == pytest.approx([0.5, 0.5, 0.95 * 0.3333**0.5, 0.95 / 0.3333**0.5])


def test_a_box_is_given_in_pixels_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = _detector(monkeypatch, 1917 - 4)  # in the middle, half as wide as high, .95 large
    rows, scores = detector(noise(300, 600, 0))  # (h, w): letterboxed to 150 columns
    assert scores == pytest.approx([1 / (1 + np.exp(-3.0))])
    assert rows == pytest.approx(np.array([[0, 0, 300, 600]]), abs=1e-6)
    (given,) = detector._network.given
    assert given.min() >= -1
    assert given.max() <= 1
    assert (given[:, :75] == -1).all()


@pytest.mark.parametrize(("at", "looks"), [(1917 - 4, 1), (540, 5), (0, 8)])
def test_tiles_are_looked_at_where_somebody_is_small(
    monkeypatch: pytest.MonkeyPatch, at: int, looks: int
) -> None:
    detector = _detector(monkeypatch, at, -20.0 if at == 0 else 3.0)
    detector(noise(300, 300, 0), in_tiles=True)
    assert len(detector._network.given) == looks
    detector._network.given.clear()
    detector(noise(300, 300, 0))
    assert len(detector._network.given) == (4 if at == 0 else 1)  # and turned, if nobody is sure


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_who_lies_is_found_in_the_turned_picture(
    monkeypatch: pytest.MonkeyPatch, quarters: int
) -> None:
    detector = _detector(monkeypatch, 0, -20.0)
    picture = noise(300, 200, 0)  # (h, w) is 200, 300
    turned = np.rot90(picture, quarters)

    def detect(pixels: Any, threshold: float) -> Any:
        nobody = np.zeros((0, 4)), np.zeros(0)
        if not np.array_equal(pixels, turned):
            return nobody
        return np.array([[10.0, 20.0, 40.0, 90.0]]), np.array([0.6])

    monkeypatch.setattr(detector, "_detect", detect)
    (row,), scores = detector(picture)
    inside = np.zeros(turned.shape[:2], np.bool_)
    inside[20:90, 10:40] = True
    ys, xs = np.nonzero(np.rot90(inside, -quarters))
    assert row.tolist() == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
    assert scores == [0.6]


class _BoxesAlone(PoseTracker):
    """A tracker in which nobody has a pose; boxes are found where `at` says."""

    def __init__(self, at: Any, outlines: Any = None, **rules: Any) -> None:
        chosen = {"threshold": 0.5, "every": 4, "gap": 6, "carry": 3, "lookback": 5, "tiles": False}
        self.rules = PoseTrackingRules(**chosen | rules)
        self.scale, self.threads, self.at, self.outlines = None, 1, at, outlines
        self.tried = 0

    def detect(self, pixels: Any) -> list[Any]:
        return []

    def landmarks(self, pixels: Any, square: Any) -> Any:
        self.tried += 1
        return _nobody(square)

    def find_boxes(self, people: FramePeople, *, in_tiles: bool, turned: bool) -> list[Box]:
        return self.at(int(people.pixels[0, 0, 0]))

    def segment(self, people: FramePeople) -> Any:
        width, height = people.canvas
        nothing = np.zeros((height, width), np.uint8)
        return nothing if self.outlines is None else self.outlines


def _nobody(square: Any) -> Any:
    from masquerade.regions.pose_landmarks import Pose

    return Pose(
        square=square,
        next_square=square,
        score=0.0,
        landmarks=np.zeros((33, 5)),
        world=np.zeros((33, 3)),
        inside=np.zeros((256, 256), np.uint8),
    )


def _walks(t: int) -> list[Box]:
    return [Box(10 + 2 * t, 10, 30 + 2 * t, 50, 0.9, label="person")]


def _run(tracker: PoseTracker, count: int = 16) -> list[FramePeople]:
    frames = []
    for t in range(count):
        pixels = noise(W, H, 1)
        pixels[0, 0] = t
        frames.append(ArrayFrame(pixels))
    return list(tracker((frame, t == 0) for t, frame in enumerate(frames)))


def test_who_has_no_pose_is_followed_as_a_box_in_every_frame() -> None:
    found = _run(_BoxesAlone(_walks))
    for t, people in enumerate(found[:13]):
        region = frame_region(people)
        (box,) = region.boxes
        assert box.track == FIRST_BOX
        assert abs(box.x0 - (10 + 2 * t)) < 3
        inside = region.mask[14:46, 14 + 2 * t : 26 + 2 * t]
        assert (inside > 0).all()
        assert not region.mask[:, 40 + 2 * t :].any()
    assert not any(people.people for people in map(frame_region, found))


def test_landmarks_are_looked_for_again_only_after_a_while() -> None:
    tracker = _BoxesAlone(lambda t: [Box(10, 10, 30, 50, 0.9, label="person")])
    _run(tracker, 28)
    assert tracker.tried == 1
    tracker = _BoxesAlone(lambda t: [Box(10, 10, 30, 50, 0.4, label="person")])
    _run(tracker, 28)
    assert tracker.tried == 0  # of an unsure box the box alone is hidden


@pytest.mark.parametrize("filled", [MIN_OUTLINE_SHARE + 0.2, MIN_OUTLINE_SHARE - 0.2])
def test_an_outline_that_fills_a_box_replaces_it(filled: float) -> None:
    outlines = np.zeros((H, W), np.uint8)
    outlines[10:50, 10 : 10 + round(20 * filled)] = 255
    tracker = _BoxesAlone(lambda t: [Box(10, 10, 30, 50, 0.9, label="person")], outlines)
    mask = frame_region(_run(tracker, 2)[0]).mask
    assert (mask[12:48, 11:12] > 0).all()
    assert bool(mask[30, 27]) is (filled < MIN_OUTLINE_SHARE)


def test_an_outline_of_somebody_in_front_does_not_replace_the_box_behind() -> None:
    """The segmentation marks the one who has a pose, over half of the other's box."""
    frame = ArrayFrame(noise(160, 120, 0))
    front = np.zeros((120, 160), np.uint8)
    front[15:118, 82:130] = 255
    behind = Box(60, 20, 104, 110, 0.8, FIRST_BOX, label="person")
    seen = FramePeople(
        frame, False, frame.rgb(), carried={0: front}, outlines=front, unposed=[behind]
    )
    mask = frame_region(seen).mask
    assert mask is not None and (mask[20:110, 60:82] == 255).all()


def test_parts_hide_all_of_somebody_who_is_a_box_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **kept: None)
    source = Parts(parts=("hands",))
    source._tracker = _BoxesAlone(_walks)
    regions = list(source([ArrayFrame(np.zeros((H, W, 3), np.uint8))]))
    assert (regions[0].mask[10:50, 10:30] > 0).all()


def test_parts_hide_all_of_somebody_of_whom_the_box_is_unsure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **kept: None)
    source = Parts(parts=("hands",))
    source._tracker = _BoxesAlone(lambda t: [Box(10, 10, 30, 50, 0.3, label="person")])
    regions = list(source([ArrayFrame(np.zeros((H, W, 3), np.uint8))]))
    assert (regions[0].mask[10:50, 10:30] > 0).all()


@pytest.mark.parametrize("scale", [1.0, 1.6])
def test_a_close_person_who_is_a_box_alone_is_hidden_to_its_edges(scale: float) -> None:
    """Higher than most of the frame: what is grown is a share of the frame's height."""
    tracker = _BoxesAlone(lambda t: [Box(20, 0, 76, 64, 0.9, label="person")])
    region = frame_region(_run(tracker, 2)[0])
    mask = rasterize(
        region.boxes, width=W, height=H, shape="silhouette", scale=scale, mask=region.mask
    )
    assert (mask[:, 20:76] == 255).all()


@pytest.mark.parametrize(
    ("path", "number"),
    [("ucf11/biking/v_biking_22_05.mp4", 2), ("ucf11/horse_riding/v_riding_24_01.mp4", 2)],
)
def test_riders_are_hidden_whom_the_pose_networks_do_not_see(path: str, number: int) -> None:
    frames = clip(path, number + 1)[number:]
    (region,) = People()(frames)
    assert 0.005 < (region.mask > 0).mean() < 0.3


def test_a_segmentation_is_as_large_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LiteRtNetwork, "__init__", lambda self, *args, **kept: None)
    segmentation = PeopleSegmentation()
    left = np.zeros((256, 256, 1))
    left[:, :128] = 0.9
    segmentation._network = _Answers(left)  # type: ignore[assignment]
    segmentation._network.side = 256
    found = segmentation(noise(80, 60, 0), 40, 30)
    assert found.shape == (30, 40)
    assert (found[:, :19] == 255).all()
    assert not found[:, 21:].any()

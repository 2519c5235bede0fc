"""What region sources of faces, files and frames hand on to detectors and tracks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frames import ArrayFrame, Counted

from masquerade.errors import UsageError
from masquerade.pipeline.config import PipelineConfig, region_arguments
from masquerade.pipeline.receipt import region_records
from masquerade.regions import Boxes, Faces, People, WholeFrame, region_sources
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.regions.region import Region
from masquerade.regions.region_sources import TrackedSource
from masquerade.regions.rotated_faces import RotatedFrame
from masquerade.regions.tracking import TrackingRules


class Detector:
    """Finds one box in upright frames that are not black, and notes its arguments and frames."""

    model_sha256 = "digest"

    def __init__(self, **given: Any) -> None:
        self.given, self.seen = given, list[int]()

    def __call__(self, frame: ArrayFrame | RotatedFrame) -> list[Box]:
        if isinstance(frame, RotatedFrame):
            return []
        self.seen.append(int(frame.pixels[0, 0, 0]))
        return [Box(4, 4, 20, 20, 0.9)] if frame.pixels.any() else []

    def release(self) -> None:
        """It keeps no memory."""


@pytest.fixture(autouse=True)
def detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_sources, "CenterFace", Detector)


def pictures(count: int, *, empty: range = range(0)) -> list[ArrayFrame]:
    """Frames that flicker, so that each is looked at, and black ones, in which nothing is found."""
    plain = [np.full((48, 64, 3), grey, np.uint8) for grey in (90, 100)]
    return [ArrayFrame(plain[t % 2] * (t not in empty)) for t in range(count)]


def test_the_defaults_of_faces_are_those_of_the_documentation() -> None:
    faces = Faces()
    assert isinstance(faces._detector, Detector)
    assert faces._detector.given == {
        "threshold": 0.2,
        "scale": None,
        "min_size": 0,
        "max_size": None,
    }
    assert faces._tracking == TrackingRules(
        gap=12, carry=6, lookback=6, every=3, min_best_score=0.5
    )
    assert (faces.name, faces.model_sha256) == ("faces", "digest")
    assert faces.look_ahead == 1 + 12 + 2 * 2
    assert TrackedSource.min_best_score == 0.0


@pytest.mark.parametrize(
    ("scale", "side"), [(None, 960), (320, 320), (4000, 960), ((400, 300), 400), ((2000, 9), 960)]
)
def test_turned_faces_are_searched_in_copies_no_larger_than_asked_for(
    scale: Any, side: int
) -> None:
    search = Faces(scale=scale, threshold=0.7, min_size=40)._search
    assert isinstance(search, Detector) and search.given == {"threshold": 0.2, "scale": side}
    assert Faces(turned=False)._search is None


def test_arguments_reach_the_detector_and_the_tracks() -> None:
    given = {"threshold": 0.7, "scale": (320, 200), "min_size": 12, "max_size": 90.5}
    faces = Faces(detector="centerface", every=4, gap=1, carry=2, lookback=30, **given)
    assert isinstance(faces._detector, Detector) and faces.model_sha256 == "digest"
    assert faces._detector.given == given
    assert faces._tracking == TrackingRules(
        gap=1, carry=2, lookback=30, every=4, min_best_score=0.5
    )
    assert faces.look_ahead == 1 + 30 + 3


def test_without_tracks_every_frame_is_looked_at() -> None:
    faces = Faces(track=False, every=5, gap=99)
    assert faces.every == 1 and faces._tracking is None and faces.look_ahead == 1
    regions = list(faces(pictures(4)))
    assert len(faces._detector.seen) == 4
    assert [region.detected for region in regions] == [True] * 4
    assert {box.track for region in regions for box in region.boxes} == {None}


def test_what_is_found_in_keyframes_is_shown_in_all() -> None:
    faces = Faces(every=3)
    regions = list(faces(pictures(8)))
    assert len(faces._detector.seen) == 4  # 0, 3, 6 and the last
    assert [region.detected for region in regions] == [t in (0, 3, 6, 7) for t in range(8)]
    assert [[box.source for box in region.boxes] for region in regions] == [
        ["detected" if t in (0, 3, 6, 7) else "interpolated"] for t in range(8)
    ]
    assert {region.mask is None and region.full_frame for region in regions} == {False}


def test_tracks_end_where_the_rules_say() -> None:
    """The picture that is empty is a cut, and none is carried across it."""
    regions = list(Faces(every=1, carry=4)(pictures(12, empty=range(5, 12))))
    assert [t for t, region in enumerate(regions) if region.cut] == [5]
    assert [len(region.boxes) for region in regions] == [1] * 5 + [0] * 7


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": -0.01},
        {"threshold": 1.01},
        {"every": 0},
        {"every": 1001},
        {"gap": -1},
        {"carry": -1},
        {"lookback": -1},
        {"scale": 0},
        {"scale": (0, 9)},
        {"min_size": -1},
        {"max_size": 0},
        {"detector": "hog"},
    ],
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Faces(**wrong)


@pytest.mark.parametrize(
    "fits",
    [
        {"threshold": 0},
        {"threshold": 1},
        {"every": 1},
        {"every": 1000},
        {"gap": 0, "carry": 0, "lookback": 0},
        {"scale": 1},
        {"scale": (1, 1)},
        {"min_size": 0, "max_size": 0.5},
    ],
)
def test_arguments_at_the_ends_of_their_ranges_are_taken(fits: dict[str, Any]) -> None:
    faces = Faces(**fits)
    assert {name: getattr(faces, name) for name in fits} == fits


@pytest.mark.parametrize(
    ("given", "poses", "boxes", "faces"),
    [(None, 0.5, 0.23, 0.2), (0.01, 0.01, 0.01, 0.01), (0.9, 0.9, 0.23, 0.2)],
)
@pytest.mark.parametrize("online", [False, True])
def test_a_low_threshold_of_people_is_of_their_boxes_and_faces_too(
    given: float | None, poses: float, boxes: float, faces: float, online: bool
) -> None:
    source: Any = People(threshold=given, online=online)._source
    assert source._tracker.rules.threshold == poses
    assert source._tracker._boxes.threshold == source._tracker.rules.box_threshold == boxes
    assert source._faces.threshold == faces


def test_what_moves_has_no_threshold() -> None:
    with pytest.raises(UsageError, match="motion gives no scores; leave --threshold out"):
        People(detector="motion", threshold=0.5)
    config = PipelineConfig(regions="people", detector="motion", threshold=0.5)
    with pytest.raises(UsageError, match="does not take --threshold; leave it out"):
        region_arguments(config)
    beside = replace(config, regions="text+people")
    assert [arguments.get("threshold") for _, arguments in region_arguments(beside)] == [0.5, None]


def test_the_scale_of_hog_is_recorded_as_it_is_used() -> None:
    (given,) = region_arguments(PipelineConfig(regions="people", detector="hog"))
    source: Any = People(detector="hog")
    assert region_records([given], source)[0].arguments["scale"] == 480
    assert source._source._detector.scale == 480


def test_a_source_reads_no_further_than_it_says() -> None:
    for faces in (Faces(every=2, gap=1, lookback=0), Faces(track=False), Faces(lookback=20)):
        frames, most = Counted(pictures(60)), 0
        for given, _ in enumerate(faces(frames), start=1):
            most = max(most, frames.taken - given)
        assert most == faces.look_ahead


def test_whole_frames_are_hidden_without_a_look_ahead() -> None:
    source = WholeFrame()
    assert list(source(pictures(3))) == [Region(full_frame=True)] * 3
    assert (source.name, source.look_ahead, source.model_sha256) == ("frame", 0, None)


def test_boxes_of_a_file_are_by_number_and_no_detections(tmp_path: Path) -> None:
    file, box = tmp_path / "b.json", Box(1, 2, 9, 9, 0.5)
    with BoxWriter(file, width=64, height=48) as writer:
        writer.add(1, [box, box])
        writer.add(9, [box])
    source = Boxes(file=file)
    found = [(region.boxes, region.detected) for region in source(pictures(3))]
    assert found == [((), False), ((box, box), False), ((), False)]
    assert (source.name, source.look_ahead, source.file) == ("boxes", 0, file)
    assert list(source([])) == []
    for width, height in ((48, 64), (63, 48), (64, 49)):
        with pytest.raises(UsageError):
            list(source([ArrayFrame(np.zeros((height, width, 3), np.uint8))]))

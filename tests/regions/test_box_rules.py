"""Boxes, their file and regions at their limits, by exact numbers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_files import read_boxes
from frames import ArrayFrame

from masquerade.anonymizer import Person
from masquerade.errors import MasqueradeError, UsageError
from masquerade.regions.boxes import (
    Box,
    BoxWriter,
    area,
    check_array,
    check_boxes_size,
    corners,
    intersection,
    iou,
    nms,
    scaled_boxes,
    to_boxes,
)
from masquerade.regions.region import Region, check_region

BOX = Box(1, 2, 30, 40, 0.5, 7, "interpolated", "person")
FRAME = ArrayFrame(np.zeros((48, 64, 3), np.uint8))
FAR = 1_000_000


def test_a_box_knows_its_sides_and_keeps_its_words_when_it_is_clipped() -> None:
    assert (BOX.width, BOX.height) == (29, 38)
    assert BOX.clip(20, 30) == replace(BOX, x1=20, y1=30)
    assert replace(BOX, x0=-3, y0=-1).clip(99, 99) == replace(BOX, x0=0, y0=0)
    assert BOX.clip(1.5, 2.5) == replace(BOX, x1=1.5, y1=2.5)
    assert BOX.clip(1, 99) is None and BOX.clip(99, 2) is None
    assert Box(-9, -9, 0, 5, 1).clip(9, 9) is None and Box(-9, -9, 5, 0, 1).clip(9, 9) is None
    assert Box(0, 0, 1, 1, 0.3) == Box(0, 0, 1, 1, 0.3, None, "detected", "face")


def test_areas_are_never_below_nothing() -> None:
    a = np.array([[0, 0, 10, 5], [3, 4, 2, 1], [2, 2, 2, 9], [4, 1, 6, 11]], float)
    b = np.array([[5, 1, 20, 3], [-5, -5, -1, -1], [0, 0, 100, 100]], float)
    assert area(a).tolist() == [50, 0, 0, 20]
    shared = [
        [
            max(0, min(p[2], q[2]) - max(p[0], q[0])) * max(0, min(p[3], q[3]) - max(p[1], q[1]))
            for q in b.tolist()
        ]
        for p in a.tolist()
    ]
    assert intersection(a, b).tolist() == shared
    assert iou(a, b)[0].tolist() == pytest.approx([10 / 70, 0, 50 / 10_000])
    assert iou(a[2:3], a[2:3]).tolist() == [[0]]  # nothing over nothing
    assert iou(a[:1] / 40, a[:1] / 40).tolist() == [[1]]  # less than a pixel is not nothing


def test_the_better_of_two_is_kept_up_to_the_threshold() -> None:
    rows = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [50, 0, 54, 4], [0, 0, 4, 1.9]], float)
    scores = np.array([0.5, 0.4, 0.9, 0.1])
    assert nms(rows, scores, 0.5).tolist() == [2, 0, 3]  # half is shared, and that is enough
    assert nms(rows, scores, 0.51).tolist() == [2, 0, 1]
    assert nms(rows[[0, 0]], np.array([0.5, 0.5]), 0.5).tolist() == [0]  # the first of equals
    assert rows[nms(rows[:0], scores[:0], 0.5)].shape == (0, 4)
    apart = np.arange(60)[:, None] * 10.0 + np.array([0, 0, 4, 4])
    assert nms(apart, np.full(60, 0.5), 0.5).tolist() == list(range(60))


def test_rows_become_boxes_of_a_larger_frame() -> None:
    rows, scores = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], float), np.array([0.25, 0.5])
    assert to_boxes(rows, scores) == [Box(1, 2, 3, 4, 0.25), Box(5, 6, 7, 8, 0.5)]
    assert to_boxes(rows[:1], scores[:1], "person") == [Box(1, 2, 3, 4, 0.25, label="person")]
    wide = scaled_boxes(rows, scores, (10, 20), (30, 100), "person")
    assert wide == [
        Box(3, 10, 9, 20, 0.25, label="person"),
        Box(15, 30, 21, 40, 0.5, label="person"),
    ]
    assert scaled_boxes(rows, scores, (1, 1), (1, 1)) == to_boxes(rows, scores)
    assert np.array_equal(corners(to_boxes(rows, scores)), rows)
    assert corners([]).shape == (0, 4) and corners([BOX]).dtype == np.float64


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, np.uint8, bool])
def test_numbers_of_the_right_shape_pass(kind: Any) -> None:
    values = np.ones((3, 4), kind)
    for shape in ((3, 4), (None, 4), (3, None), (None, None)):
        assert check_array("it", values, shape) is values


@pytest.mark.parametrize(
    "values",
    [
        None,
        [[1.0] * 4] * 3,
        np.ones((3, 5)),
        np.ones((2, 4)),
        np.ones((3, 4, 1)),
        np.ones(12),
        np.where(np.eye(3, 4), np.nan, 1),
        np.where(np.eye(3, 4), np.inf, 1),
        np.full((3, 4), "1"),
        np.full((3, 4), 1j),
        np.full((3, 4), None),
    ],
)
def test_anything_else_is_refused(values: Any) -> None:
    with pytest.raises(MasqueradeError) as caught:
        check_array("the detector of this test", values, (3, 4))
    assert str(caught.value).startswith("the detector of this test")


def written(path: Path, entry: Any = None, **changes: Any) -> Path:
    whole = {
        "version": 1,
        "width": 8,
        "height": 6,
        "frames": {"3": [entry or {"box": [0, 0, 1, 1]}]},
    }
    path.write_text(json.dumps({**whole, **changes}))
    return path


@pytest.mark.parametrize(
    ("entry", "box"),
    [
        ({"box": [1, 2, 3.5, 4]}, Box(1, 2, 3.5, 4, 1.0)),
        ({"box": [-FAR, 0, FAR, 1]}, Box(-FAR, 0, FAR, 1, 1.0)),
        ({"box": [0, -FAR, 1, FAR], "score": 0}, Box(0, -FAR, 1, FAR, 0.0)),
        ({"box": [0, 0, 1, 1], "track": None}, Box(0, 0, 1, 1, 1.0)),
        ({"box": [0, 0, 1, 1], "track": 0}, Box(0, 0, 1, 1, 1.0, 0)),
        (
            {"box": [0, 0, 1, 1], "track": -4, "label": "frame"},
            Box(0, 0, 1, 1, 1, -4, label="frame"),
        ),
        ({"box": [0, 0, 1, 1], "source": "detected"}, Box(0, 0, 1, 1, 1.0)),
        ({"box": [0, 0, 1, 1], "source": "interpolated"}, Box(0, 0, 1, 1, 1, None, "interpolated")),
        ({"box": [0, 0, 1, 1], "source": "extrapolated"}, Box(0, 0, 1, 1, 1, None, "extrapolated")),
        ({"box": [0, 0, 1, 1], "label": 5}, Box(0, 0, 1, 1, 1.0, label="5")),
    ],
)
def test_an_entry_is_read_as_it_is_written(tmp_path: Path, entry: Any, box: Box) -> None:
    found = read_boxes(written(tmp_path / "b.json", entry))
    assert found == {3: [box]} and type(found[3][0].x0) is float


@pytest.mark.parametrize(
    "entry",
    [
        *({"box": [-FAR * (k == 0) - 1, -FAR * (k == 1) - 1, 1, 1]} for k in (0, 1)),
        *({"box": [0, 0, FAR * (k == 0) + 1, FAR * (k == 1) + 1]} for k in (0, 1)),
        {"box": [1, 0, 1, 1]},
        {"box": [0, 1, 1, 1]},
        {"box": [2, 0, 1, 1]},
        {"box": [0, 0, True, 1]},
        {"box": [0, 0, 1, 1, 1]},
        {"box": {"x0": 0}},
        {"score": 1},
        {"box": [0, 0, 1, 1], "score": "1"},
        {"box": [0, 0, 1, 1], "score": None},
        {"box": [0, 0, 1, 1], "score": True},
        {"box": [0, 0, 1, 1], "track": True},
        {"box": [0, 0, 1, 1], "track": "1"},
        {"box": [0, 0, 1, 1], "track": 1.0},
        {"box": [0, 0, 1, 1], "source": None},
        {"box": [0, 0, 1, 1], "sources": "detected"},
    ],
)
def test_another_entry_is_refused_with_its_frame(tmp_path: Path, entry: Any) -> None:
    with pytest.raises(UsageError, match=r"frame 3: ") as caught:
        read_boxes(written(tmp_path / "b.json", entry))
    assert caught.value.__suppress_context__ and str(caught.value).startswith("b.json ")


@pytest.mark.parametrize(
    "changes",
    [
        {"version": None},
        {"version": "1"},
        {"width": -1},
        {"height": 0},
        {"width": 8.0},
        {"height": None},
        {"width": True},
        {"frames": None},
        {"frames": {"": []}},
        {"frames": {"1.0": []}},
        {"frames": {"1": {}}},
        {"frames": {"1": None}},
        {"frames": {"1": [[]]}},
    ],
)
def test_another_head_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^b\.json is not a file of boxes: .+\.$"):
        read_boxes(written(tmp_path / "b.json", **changes))


def test_a_key_that_is_there_twice_is_named_and_a_missing_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    path.write_text(
        '{"version": 1, "width": 8, "height": 6, "frames": {"0": [], "7": [], "7": []}}'
    )
    with pytest.raises(UsageError, match="'7'"):
        read_boxes(path)
    with pytest.raises(UsageError, match="No such file") as caught:
        read_boxes(tmp_path / "no.json")
    assert "Errno" not in str(caught.value)


@pytest.mark.parametrize("size", [(8, 6), (6, 8), (9, 6), (8, 5)])
def test_boxes_are_for_frames_of_one_size(size: tuple[int, int]) -> None:
    width, height = size
    if size == (8, 6):
        check_boxes_size((8, 6), "b.json", width=width, height=height)
        return
    with pytest.raises(UsageError, match=rf"b\.json .*8x6.*{width}x{height}"):
        check_boxes_size((8, 6), "b.json", width=width, height=height)


def test_a_file_is_json_line_by_line_without_empty_frames(tmp_path: Path) -> None:
    path = tmp_path / "b.json"
    with BoxWriter(path, width=640, height=480) as writer:
        for frame, boxes in ((0, [BOX, Box(0, 0, 1, 1, 1)]), (1, []), (12, [BOX])):
            writer.add(frame, boxes)
    first = {"box": [1, 2, 30, 40], "score": 0.5, "track": 7}
    first |= {"source": "interpolated", "label": "person"}
    second = {"box": [0, 0, 1, 1], "score": 1, "track": None}
    second |= {"source": "detected", "label": "face"}
    text = path.read_text()
    assert json.loads(text) == {
        "version": 1,
        "width": 640,
        "height": 480,
        "frames": {"0": [first, second], "12": [first]},
    }
    assert [len(json.loads(f"[{line.strip(' ,]')}]")) for line in text.splitlines()[2:4]] == [1, 1]
    assert len(text.splitlines()) == 7 and text.endswith("}}\n")


def region(**changes: Any) -> Region:
    return Region(**{"boxes": (BOX,), **changes})


@pytest.mark.parametrize(
    "fits",
    [
        Region(),
        region(boxes=[BOX, BOX]),
        region(boxes=(replace(BOX, x0=-1e6, y0=-1e6, x1=1e6, y1=1e6),)),
        region(boxes=(replace(BOX, x0=np.float32(1), score=1, track=None),)),
        region(mask=np.zeros((48, 64), np.uint8), strength=np.ones((48, 64), np.uint8)),
        region(full_frame=True, cut=True, detected=False),
    ],
)
def test_a_region_of_the_frame_passes_unchanged(fits: Region) -> None:
    checked = check_region(fits, FRAME)
    assert checked.boxes == tuple(fits.boxes) and checked.visible == tuple(fits.visible)
    assert checked == replace(fits, boxes=checked.boxes, visible=checked.visible)
    assert Region() == Region((), None, None, False, False, True)


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        (),
        region(boxes={BOX}),
        region(boxes=None),
        region(boxes=(BOX, (1, 2, 3, 4))),
        *(
            region(boxes=(replace(BOX, **{edge: value}),))
            for edge in ("x0", "y0", "x1", "y1", "score")
            for value in (np.nan, np.inf, "1", None, 1j)
        ),
        *(region(boxes=(replace(BOX, **{edge: -1e6 - 1}),)) for edge in ("x0", "y0")),
        *(region(boxes=(replace(BOX, **{edge: 1e6 + 1}),)) for edge in ("x1", "y1")),
        region(boxes=(replace(BOX, x0=30),)),
        region(boxes=(replace(BOX, y1=2),)),
        region(boxes=(replace(BOX, x0=31),)),
        region(boxes=(replace(BOX, y1=1),)),
        *(
            region(**{name: mask})
            for name in ("mask", "strength")
            for mask in (
                np.zeros((64, 48), np.uint8),
                np.zeros((48, 64, 1), np.uint8),
                np.zeros((48, 64), bool),
                np.zeros((48, 64), np.float32),
                [[0] * 64] * 48,
            )
        ),
        *(region(**{name: 1}) for name in ("full_frame", "cut", "detected")),
        *(region(**{name: None}) for name in ("full_frame", "cut", "detected")),
    ],
)
def test_anything_else_is_no_region(wrong: Any) -> None:
    with pytest.raises(MasqueradeError) as caught:
        check_region(wrong, FRAME, of="what this test made")
    assert str(caught.value).startswith("what this test made ")


POSED = Person(1, 0.9, (1, 2, 30, 40), np.zeros((33, 5)), np.zeros((33, 3)))


@pytest.mark.parametrize(
    "people",
    [
        None,
        POSED._asdict(),
        (POSED, None),
        ((1, 0.9, (1, 2, 30, 40), np.zeros((33, 5)), np.zeros((33, 3))),),
        (POSED._replace(landmarks=None),),  # type: ignore[arg-type]
        (POSED._replace(landmarks=np.zeros((33, 4))),),
        (POSED._replace(landmarks=np.zeros((32, 5))),),
        (POSED._replace(landmarks=np.full((33, 5), np.nan)),),
        (POSED._replace(world=np.zeros((33, 3)).tolist()),),  # type: ignore[arg-type]
        (POSED._replace(world=np.zeros((33, 2))),),
        (POSED, POSED._replace(world=np.full((33, 3), np.inf))),
    ],
)
def test_people_of_a_region_have_finite_landmarks(people: Any) -> None:
    good = Region(people=(POSED, POSED))
    assert check_region(good, FRAME).people is good.people
    with pytest.raises(MasqueradeError, match="people without finite landmarks"):
        check_region(Region(people=people), FRAME)

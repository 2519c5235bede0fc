"""Boxes: geometry against plain loops, and a lossless file format."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from box_files import read_boxes
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.errors import UsageError
from masquerade.regions.boxes import (
    Box,
    BoxWriter,
    box_pixels,
    check_boxes_size,
    iou,
    mirrored_box,
    nms,
    parse_boxes,
    read_box_file,
)

edge = st.floats(-1e4, 1e4, allow_nan=False)
side = st.floats(0.01, 1e4, allow_nan=False)
boxes = st.builds(
    lambda x, y, w, h, score, track, source, label: Box(
        x, y, x + w, y + h, score, track, source, label
    ),
    edge,
    edge,
    side,
    side,
    st.floats(0, 1),
    st.none() | st.integers(0, 10**6),
    st.sampled_from(["detected", "interpolated", "extrapolated"]),
    st.sampled_from(["face", "person", "frame"]),
)


def test_iou_is_shared_area_over_joint_area() -> None:
    a = np.array([[0.0, 0, 10, 10], [20, 20, 30, 30]])
    b = np.array([[5.0, 0, 15, 10], [0, 0, 10, 10], [100, 100, 100, 100]])
    assert np.allclose(iou(a, b), [[1 / 3, 1, 0], [0, 0, 0]])


near = st.floats(-12, 24, allow_nan=False)


@settings(max_examples=200)
@given(near, near, st.floats(0.01, 20), st.floats(0.01, 20))
def test_pixels_of_a_box_are_those_that_it_touches(x: float, y: float, w: float, h: float) -> None:
    box, touched, selected = Box(x, y, x + w, y + h, score=1), *np.zeros((2, 9, 12), bool)
    for row, column in np.ndindex(touched.shape):
        beside = box.x1 <= column or column + 1 <= box.x0
        touched[row, column] = not (beside or box.y1 <= row or row + 1 <= box.y0)
    selected[box_pixels(box)] = True
    assert np.array_equal(selected, touched)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1)), max_size=12))
def test_nms_equals_a_plain_loop(found: list[tuple[int, int, float]]) -> None:
    rows = np.array([(x, y, x + 20, y + 20) for x, y, _ in found], float).reshape(-1, 4)
    scores = np.array([score for *_, score in found])
    stays: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if all(iou(rows[i : i + 1], rows[j : j + 1])[0, 0] < 0.3 for j in stays):
            stays.append(int(i))
    assert nms(rows, scores, 0.3).tolist() == stays


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        (Box(-5, -5, 5, 5, 1), (0, 0, 5, 5)),
        (Box(95, 10, 120, 20, 1), (95, 10, 100, 20)),
        (Box(100, 0, 110, 10, 1), None),
        (Box(0, -10, 10, 0, 1), None),
    ],
)
def test_clipped(box: Box, inside: tuple[float, ...] | None) -> None:
    got = box.clip(100, 50)
    assert (got and (got.x0, got.y0, got.x1, got.y1)) == inside


@settings(max_examples=50)
@given(frames=st.dictionaries(st.integers(0, 999), st.lists(boxes, min_size=1, max_size=3)))
def test_file_of_boxes_is_lossless(
    frames: dict[int, list[Box]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    with BoxWriter(path, width=640, height=480) as writer:
        for t, found in frames.items():
            writer.add(t, found)
    assert parse_boxes(read_box_file(path), "") == ((640, 480), frames)


def test_minimal_file_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(
        '{"version": 1, "width": 8, "height": 6, "frames": {"3": [{"box": [1, 2, 3, 4]}]}}'
    )
    assert read_boxes(path) == {3: [Box(1, 2, 3, 4, 1.0)]}


def _document(**changes: object) -> str:
    whole = {"version": 1, "width": 8, "height": 6, "frames": {"0": [{"box": [0, 0, 1, 1]}]}}
    return json.dumps({**whole, **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        _document(version=2),
        _document(width=0),
        _document(width="8"),
        _document(height=True),
        _document(frames=[]),
        _document(frames={"first": []}),
        _document(frames={"-1": []}),
        _document(frames={"1000000000": []}),
        _document(frames={"9" * 5000: []}),
        _document(frames={"0": [[0, 0, 1, 1]]}),
        _document(frames={"0": [{"box": [0, 0, 1]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, math.nan]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, math.inf]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 10**400]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "score": 10**400}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 9]}]}).replace("9", "9" * 5000),
        _document(frames={"0": [{"box": [0, 0, 1, "1"]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, None]}]}),
        _document(frames={"0": [{"box": [5, 0, 1, 1]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 0]}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "score": math.nan}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "track": 1.5}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "track": -(10**9)}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "track": 10**9}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "track": True}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "source": "guessed"}]}),
        _document(frames={"0": [{"box": [0, 0, 1, 1], "boxx": 1}]}),
        _document()[:-1] + ', "frames": {}}',
        '{"version": 1, "width": 8, "height": 6, "frames": {"0": [{"box": [0,0,1,1]}], "0": []}}',
    ],
)
def test_invalid_files_are_refused_in_a_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"boxes\.json is not a file of boxes: .*\.$") as caught:
        read_boxes(path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


@pytest.mark.parametrize("keys", [("3", "3"), ("3", "03"), ("03", "3"), ("0", "00")])
def test_a_frame_that_is_there_twice_is_refused(tmp_path: Path, keys: tuple[str, str]) -> None:
    """Else the boxes of one of both would be lost, and what they hide be seen."""
    path = tmp_path / "boxes.json"
    frames = ", ".join(f'"{key}": [{{"box": [0, 0, 1, 1]}}]' for key in keys)
    path.write_text(f'{{"version": 1, "width": 8, "height": 6, "frames": {{{frames}}}}}')
    with pytest.raises(UsageError, match="is there twice"):
        read_boxes(path)


@pytest.mark.parametrize("key", ["\u0663", "\uff13", "\u00b3", "+3", " 3", "1_0"])
def test_a_frame_is_numbered_by_plain_digits(tmp_path: Path, key: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(_document(frames={key: [{"box": [0, 0, 1, 1]}]}))
    with pytest.raises(UsageError, match="is no frame's number"):
        read_boxes(path)


def test_a_box_is_mirrored_with_its_frame_and_mirrored_twice_is_itself() -> None:
    box = Box(2, 5, 10, 9, 0.5, track=3)
    assert mirrored_box(box, 64) == Box(54, 5, 62, 9, 0.5, track=3)
    assert mirrored_box(mirrored_box(box, 64), 64) == box


def test_boxes_for_another_frame_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    with BoxWriter(path, width=640, height=480):
        pass
    size, _ = parse_boxes(read_box_file(path), path.name)
    with pytest.raises(UsageError, match=r"640x480.*480x640"):
        check_boxes_size(size, path.name, width=480, height=640)
    with pytest.raises(UsageError):
        read_boxes(tmp_path / "none.json")
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UsageError):
        read_boxes(path)


def test_incomplete_file_cannot_be_read(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="JSON"),
        BoxWriter(tmp_path / "a.json", width=8, height=6) as writer,
    ):
        writer.add(0, [Box(0, 0, math.nan, 1, 1)])
    with pytest.raises(UsageError):
        read_boxes(tmp_path / "a.json")
    with (
        pytest.raises(RuntimeError),
        BoxWriter(tmp_path / "b.json", width=8, height=6) as writer,
    ):
        writer.add(0, [Box(0, 0, 1, 1, 1)])
        raise RuntimeError("the video broke off")
    with pytest.raises(UsageError):
        read_boxes(tmp_path / "b.json")

"""Parts of people: where they are drawn, from landmarks that are known."""

from __future__ import annotations

from typing import get_args

import cv2
import numpy as np
import pytest
from frames import ArrayFrame, clip

from masquerade.errors import UsageError
from masquerade.pipeline.config import PipelineConfig, region_arguments
from masquerade.pipeline.stream import Cover, region_mask
from masquerade.regions import Parts
from masquerade.regions.boxes import Box
from masquerade.regions.face_mesh import face_square
from masquerade.regions.frame_people import FramePeople
from masquerade.regions.parts import Part, _boxes, draw_part
from masquerade.regions.people import frame_region
from masquerade.regions.pose_detection import Square
from masquerade.regions.pose_landmarks import Pose

H, W = 400, 200
SCALE = 1.12  # of the pose below: half a side of 224 pixels is two metres of 100 pixels
JOINTS = {  # of a person of 180 pixels who stands upright and faces the camera
    **{0: (100, 60), 2: (106, 52), 5: (94, 52), 7: (114, 55), 8: (86, 55), 9: (105, 70)},
    **{10: (95, 70), 11: (120, 95), 12: (80, 95), 13: (135, 130), 14: (65, 130)},
    **{15: (145, 165), 16: (55, 165), 17: (147, 175), 18: (53, 175), 19: (147, 178)},
    **{20: (53, 178), 21: (144, 172), 22: (56, 172), 23: (112, 165), 24: (88, 165)},
    **{25: (113, 210), 26: (87, 210), 27: (114, 255), 28: (86, 255), 29: (112, 262)},
    **{30: (88, 262), 31: (118, 266), 32: (82, 266)},
}


def _pose() -> Pose:
    landmarks = np.ones((33, 5))
    for joint, at in JOINTS.items():
        landmarks[joint, :2] = at
    square = Square(100, 165, 112, 0.0)
    inside = np.full((256, 256), 255, np.uint8)
    return Pose(square, square, 0.9, landmarks, np.zeros((33, 3)), inside)


@pytest.mark.parametrize(
    ("part", "on", "off"),
    [
        ("head", (0, 7, 8), (11, 15, 23)),
        ("face", (0, 2, 5, 9), (11, 23)),
        ("eyes", (2, 5), (0, 9, 11)),
        ("lips", (9, 10), (2, 5, 0)),
        ("neck", (), (2, 5, 23, 15)),
        ("torso", (11, 12, 23, 24), (0, 15, 25)),
        ("arms", (11, 13, 15, 12, 14, 16), (0, 23, 25)),
        ("hands", (15, 17, 19, 16, 20), (13, 14, 25, 0)),
        ("legs", (23, 25, 27, 24, 26, 28), (11, 13, 0)),
        ("feet", (29, 31, 30, 32), (25, 26, 23, 15)),
    ],
)
def test_a_part_covers_its_landmarks_and_no_other(
    part: str, on: tuple[int, ...], off: tuple[int, ...]
) -> None:
    mask = draw_part(part, _pose(), None, (H, W), 1.0)
    for joint in on:
        x, y = JOINTS[joint]
        assert mask[y, x] == 255, joint
    for joint in off:
        x, y = JOINTS[joint]
        assert mask[y, x] == 0, joint


def test_the_forehead_is_above_the_eyes_and_hair_is_around_the_face() -> None:
    pose = _pose()
    ys, xs = np.nonzero(draw_part("forehead", pose, None, (H, W), 1.0))
    assert ys.max() < 52
    assert xs.mean() == pytest.approx(100, abs=1)
    hair = draw_part("hair", pose, None, (H, W), 1.0)
    assert not hair[60, 100]
    assert hair[42, 100]
    face, head = (draw_part(name, pose, None, (H, W), 1.0) for name in ("face", "head"))
    assert np.array_equal(np.maximum(hair, face) >= head, np.ones((H, W), bool))


def test_parts_of_a_face_follow_its_mesh() -> None:
    mesh = np.zeros((468, 2))
    mesh[[33, 133, 159, 145]] = (50, 50), (70, 50), (60, 45), (60, 55)
    for point in (7, 163, 144, 153, 154, 155, 246, 161, 160, 158, 157, 173):
        mesh[point] = (60, 50)
    eyes = draw_part("eyes", _pose(), mesh, (H, W), 1.0)
    assert eyes[50, 60] and eyes[46, 60]
    assert not eyes[40, 60]


def test_the_face_is_looked_for_where_the_pose_says() -> None:
    square = face_square(_pose())
    assert (square.x, square.y) == (100, 61)
    assert square.half == pytest.approx(2.2 * 18)
    assert square.angle == 0


@pytest.mark.parametrize("parts", [(), ("nose",), ("eyes", "tail")])
def test_unknown_parts_are_refused(parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="parts"):
        Parts(parts=parts)


def test_parts_are_named_on_the_command_line() -> None:
    ((name, given),) = region_arguments(PipelineConfig(regions="parts:eyes,lips"))
    assert (name, given["parts"]) == ("parts", ("eyes", "lips"))


@pytest.mark.parametrize(("row", "hidden_whole"), [(250, False), (330, True)])
def test_of_a_lost_person_all_is_hidden_unless_another_is_there(
    row: int, hidden_whole: bool
) -> None:
    pixels = np.zeros((H, W, 3), np.uint8)
    people = FramePeople(ArrayFrame(pixels), False, pixels, poses={1: _pose()})
    width, height = people.canvas
    silhouette = np.zeros((height, width), np.uint8)
    top = row * height // H
    silhouette[top - 20 : top + 20, width // 2 - 20 : width // 2 + 20] = 255
    people.carried[2] = silhouette
    on_person = cv2.resize(people.silhouettes()[1], (W, H))[row, 100] > 0
    assert on_person != hidden_whole
    mask = Parts(parts=("head",))._region(people).mask
    assert mask is not None
    assert mask[55, 100] == 255  # the head
    assert (mask[row, 100] == 255) == hidden_whole


def test_the_box_of_a_part_is_around_what_is_hidden_of_that_person() -> None:
    mask = np.zeros((H, W), np.uint8)
    mask[50:60, 40:48] = mask[55, 150] = 255
    people = [(30.4, 40.2, 100.6, 300.0), (-20.0, 52.0, 44.0, 56.0), (0.0, 100.0, 200.0, 390.0)]
    outside = [(-40.0, -30.0, -20.0, -10.0), (210.0, 0.0, 260.0, 90.0), (0.0, 410.0, 90.0, 450.0)]
    boxes = tuple(Box(*edges, 0.5, track) for track, edges in enumerate([*people, *outside]))
    found = {box.track: (box.x0, box.y0, box.x1, box.y1) for box in _boxes(mask, boxes)}
    assert found == {0: (40, 50, 48, 60), 1: (40, 52, 44, 56)}


def test_a_region_of_people_hides_what_it_is_told_to_and_else_all_of_them() -> None:
    pixels = np.zeros((H, W, 3), np.uint8)
    people = FramePeople(ArrayFrame(pixels), False, pixels, poses={1: _pose()})
    whole, part = frame_region(people), np.zeros((H, W), np.uint8)
    assert whole.mask is not None and whole.mask[165, 100] == 255
    some = frame_region(people, part)
    assert some.mask is part and some.boxes == whole.boxes and len(some.people) == 1


def test_parts_of_real_people_lie_on_them_and_are_small() -> None:
    frames = clip("uti/handshake/set1_4_1_0.mp4", 4, step=3)
    cover = Cover("silhouette", 1.2)
    whole = [region.mask for region in Parts(parts=get_args(Part), tiles=False)(frames)]
    for part in ("head", "torso", "hands", "feet"):
        for region, frame, all_parts in zip(
            Parts(parts=(part,), tiles=False)(frames), frames, whole, strict=True
        ):
            assert region.mask is not None and all_parts is not None
            assert 0.001 < (region.mask > 0).mean() < 0.12
            assert not ((region.mask > 0) & (all_parts == 0)).any()
            assert {box.label for box in region.boxes} == {"part"}
            mask = region_mask(region, cover, width=frame.width, height=frame.height)
            grown = cv2.dilate(region.mask, np.ones((31, 31), np.uint8))
            assert mask is not None
            assert not mask[grown == 0].any()

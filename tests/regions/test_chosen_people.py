"""People left visible on purpose: they alone, and nobody who touches them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from frames import ArrayFrame, noise

from masquerade.errors import UsageError
from masquerade.regions import Faces
from masquerade.regions.box_people import BoxPoseLinks
from masquerade.regions.boxes import Box
from masquerade.regions.chosen_people import ChosenPeople, Earlier, near
from masquerade.regions.frame_people import FramePeople
from masquerade.regions.people import _PosePeople, frame_region
from masquerade.regions.pose_tracking import FIRST_BOX
from masquerade.regions.region import Region

W, H = 160, 120


def drawn(x0: int, x1: int) -> Any:
    """A mask (H, W) of a person from column x0 to x1."""
    mask = np.zeros((H, W), np.uint8)
    mask[30:90, x0:x1] = 255
    return mask


def face(x: float, track: int | None = None) -> Box:
    return Box(x - 4, 32, x + 4, 40, 0.9, track)


@pytest.mark.parametrize(
    ("chosen", "hidden"),
    [
        (ChosenPeople.of([], []), [0, 1, 2, None]),
        (ChosenPeople.of([1], []), [0, 2, None]),
        (ChosenPeople.of([], [1]), [1]),
    ],
)
def test_only_who_is_named_is_seen_or_hidden(chosen: ChosenPeople, hidden: list[Any]) -> None:
    boxes = tuple(face(20 * i + 10, track) for i, track in enumerate([0, 1, 2, None]))
    region = chosen.divide(Region(boxes=boxes))
    assert [box.track for box in region.boxes] == hidden
    assert sorted(map(id, region.boxes + region.visible)) == sorted(map(id, boxes))


def test_both_choices_at_once_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        ChosenPeople.of([1], [2])


def divided(
    chosen: ChosenPeople,
    *,
    moving: Any = None,
    faces: tuple[Box, ...] = (),
    unposed: tuple[Box, ...] = (),
) -> Region:
    """Two people who overlap in columns 70 to 80; 0 is the left one."""
    frame = ArrayFrame(noise(W, H, 0))
    silhouettes = {0: drawn(40, 80), 1: drawn(70, 110)}
    seen = FramePeople(frame, False, frame.rgb(), carried=silhouettes, unposed=list(unposed))
    still: Any = SimpleNamespace(rules=SimpleNamespace(look_ahead=0))
    source = _PosePeople(still, SimpleNamespace(look_ahead=0, every=1), chosen)  # type: ignore[arg-type]
    return source._divide(seen, frame_region(seen), moving, faces)


def test_where_silhouettes_touch_hidden_wins() -> None:
    region = divided(ChosenPeople.of([1], []))
    assert region.mask is not None
    assert (region.mask == drawn(40, 80)).all()  # all of 0, where 1 is too
    assert [box.track for box in region.boxes] == [0]
    assert [box.track for box in region.visible] == [1]
    only = divided(ChosenPeople.of([], [1]))
    assert (only.mask == drawn(70, 110)).all() and [box.track for box in only.visible] == [0]


def test_what_moves_near_somebody_visible_is_left_and_else_hidden() -> None:
    moving = np.maximum(drawn(86, 108), drawn(140, 150))
    mask = divided(ChosenPeople.of([1], []), moving=moving).mask
    assert mask is not None
    assert (mask[:, 40:80] == drawn(40, 80)[:, 40:80]).all()  # also where both are
    assert not mask[60, 90:108].any()  # of the one who is visible
    assert mask[60, 140:150].all()  # of nobody: somebody whom the networks missed
    mask = divided(ChosenPeople.of([], [0]), moving=moving).mask
    assert mask is not None and (mask == np.maximum(drawn(40, 80), 0)).all()


def test_a_face_belongs_to_the_person_in_whom_it_is() -> None:
    faces = (face(100), face(50), face(75), face(150))  # of 1, of 0, of both, of nobody
    kept = divided(ChosenPeople.of([1], []), faces=faces)
    assert [box for box in kept.boxes if box in faces] == [faces[1], faces[2], faces[3]]
    only = divided(ChosenPeople.of([], [0]), faces=faces)
    assert [box for box in only.boxes if box in faces] == [faces[1], faces[2]]


def test_a_face_beside_somebody_visible_may_be_another_ones() -> None:
    """As over a shoulder, of somebody whose body no network found."""
    visible, hidden = np.zeros((1080, 1920), np.uint8), np.zeros((1080, 1920), np.uint8)
    visible[300:1000, 800:1000] = 255
    chosen = ChosenPeople.of([1], [])
    for middle, hides in ((900, False), (1010, True), (1050, True)):
        found = Box(middle - 25, 320, middle + 25, 380, 0.9)
        assert chosen.hides_face(found, hidden, visible) is hides


def test_what_moves_in_the_box_of_somebody_visible_and_their_face_are_left() -> None:
    alone, own = box(105, 150, 3), face(140)
    kept = divided(
        ChosenPeople.of([FIRST_BOX + 3], []),
        moving=drawn(100, 148),
        faces=(own, face(107)),
        unposed=(alone,),
    )
    assert kept.mask is not None and kept.visible[-1].track == alone.track
    assert not kept.mask[:, 112:].any() and own not in kept.boxes
    assert (kept.mask[:, 70:110] == drawn(70, 110)[:, 70:110]).all()  # hidden wins
    assert face(107) in kept.boxes


def box(x0: float, x1: float, number: int) -> Box:
    return Box(x0, 30, x1, 90, 0.8, FIRST_BOX + number, label="person")


def hidden_boxes(steps: list[tuple[dict[int, Any], list[Box]]], *, only: int) -> list[list[Any]]:
    """The numbers that `--hide-only` hides in each frame, of its poses and its boxes alone."""
    earlier: Earlier = {}
    people, found, chosen = BoxPoseLinks(earlier), [], ChosenPeople.of([], [only])
    for silhouettes, boxes in steps:
        frame = ArrayFrame(noise(W, H, 0))
        seen = FramePeople(frame, False, frame.rgb(), carried=silhouettes, earlier=earlier)
        left = [one.track for one in people.link_boxes(seen, boxes)]
        found.append([n for n in (*silhouettes, *left) if chosen.hides(n, earlier)])
    return found


def test_who_is_hidden_alone_stays_hidden_where_the_pose_is_lost() -> None:
    """In the box that was around the pose, and in one that begins there."""
    posed = {3: drawn(40, 80), 5: drawn(110, 150)}
    other = box(108, 152, 9)
    followed = hidden_boxes(
        [(posed, [box(38, 82, 0), other]), ({}, [box(38, 82, 0), other])], only=3
    )
    assert followed == [[3], [FIRST_BOX]]
    begun = hidden_boxes([(posed, []), ({}, [box(42, 84, 1), other])], only=3)
    assert begun == [[3], [FIRST_BOX + 1]]


def test_who_stands_in_front_of_somebody_with_a_pose_stays_a_box_alone() -> None:
    """As a child before an adult, whose silhouette has a hole there; an upper body has none."""
    adult = np.zeros((H, W), np.uint8)
    adult[20:110, 40:80] = 255
    adult[40:90, 50:70] = 0
    child = Box(46, 38, 74, 92, 0.8, FIRST_BOX + 1, label="person")
    own = [Box(39, 18, 81, 112, 0.8, FIRST_BOX, label="person")]
    frame = ArrayFrame(noise(W, H, 0))
    seen = FramePeople(frame, False, frame.rgb(), carried={3: adult})
    assert seen.without_silhouette([*own, child]) == [child]
    assert BoxPoseLinks({}).link_boxes(seen, [*own, child]) == [child]
    adult[40:90, 50:70] = 255
    upper = Box(42, 18, 78, 60, 0.8, FIRST_BOX + 2, label="person")
    assert not BoxPoseLinks({}).link_boxes(seen, [*own, upper])


def test_a_pose_that_begins_in_the_box_of_somebody_hidden_is_hidden() -> None:
    own = [box(38, 82, 0)]
    steps: list[Any] = [({3: drawn(40, 80)}, own), *[({}, own)] * 40, ({7: drawn(40, 80)}, own)]
    assert hidden_boxes(steps, only=3)[-1] == [7]
    assert hidden_boxes([*steps, ({7: drawn(40, 80), 8: drawn(110, 150)}, own)], only=3)[-1] == [7]


def test_a_pose_that_begins_beside_the_box_of_somebody_hidden_and_comes_in_is_hidden() -> None:
    """As one does whose first silhouette is carried from where it was found."""
    own = [box(38, 82, 0)]
    steps: list[Any] = [({3: drawn(40, 80)}, own), *[({}, own)] * 40, ({7: drawn(70, 110)}, own)]
    assert hidden_boxes(steps, only=3)[-1] == [FIRST_BOX]
    assert hidden_boxes([*steps, ({7: drawn(40, 80)}, own)], only=3)[-1] == [7]
    late = [*steps, *[({7: drawn(70, 110)}, own)] * 30, ({7: drawn(40, 80)}, own)]
    assert hidden_boxes(late, only=3)[-1] == []


def test_a_box_that_begins_elsewhere_or_much_later_is_nobody_who_is_hidden() -> None:
    steps: list[Any] = [({3: drawn(40, 80)}, []), ({}, [box(110, 150, 0)])]
    assert hidden_boxes(steps, only=3)[-1] == []
    late = [({3: drawn(40, 80)}, []), *[({}, [])] * 31, ({}, [box(38, 82, 0)])]
    assert hidden_boxes(late, only=3)[-1] == []  # type: ignore[arg-type]


def test_a_number_may_go_on_with_all_before_it() -> None:
    earlier = {2: frozenset({1}), 3: frozenset({2})}
    chosen = ChosenPeople.of([], [1])
    assert chosen.hides(3, earlier) and not chosen.hides(4, earlier)


def test_the_margin_is_a_share_of_the_frame() -> None:
    assert near(drawn(60, 70))[60, 56] and not near(drawn(60, 70))[60, 50]


def test_faces_have_the_same_numbers_whoever_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(self: Faces, frame: Any) -> Any:
        return [face(30.0 + number(frame)), face(110.0 - number(frame))], None

    def number(frame: Any) -> int:
        return int(frame.rgb()[0, 0, 0]) // 10

    frames = [ArrayFrame(np.full((H, W, 3), t, np.uint8)) for t in range(0, 120, 10)]
    monkeypatch.setattr(Faces, "_detect", found)
    monkeypatch.setattr("masquerade.regions.region_sources.CenterFace", _NoNetwork)
    whole = list(Faces(turned=False)(frames))
    left = list(Faces(turned=False, keep_visible=(1,))(frames))
    assert len(whole) == len(left) == 12
    for one, other in zip(whole, left, strict=True):
        assert {box.track for box in one.boxes} == {0, 1}
        assert [b for b in one.boxes if b.track == 0] == list(other.boxes)
        assert [b for b in one.boxes if b.track == 1] == list(other.visible)


class _NoNetwork:
    model_sha256 = None

    def __init__(self, **_: object) -> None:
        pass

    def release(self) -> None:
        pass


def test_a_face_is_hidden_wherever_the_margin_of_a_hidden_person_is() -> None:
    rng = np.random.default_rng(0)
    hidden = np.zeros((H, W), np.uint8)
    hidden[20:40, 30:60], hidden[H - 1, W - 1] = 255, 1
    chosen, around = ChosenPeople.of([], [1]), near(hidden) > 0
    for x, y in [(0, 0), (W, H), (-50, H / 2), (W + 50, -9), *rng.uniform(0, (W, H), (400, 2))]:
        found = Box(x - 2, y - 2, x + 2, y + 2, 0.9)
        column, row = int(np.clip(x, 0, W - 1)), int(np.clip(y, 0, H - 1))
        assert chosen.hides_face(found, hidden, hidden) is bool(around[row, column])

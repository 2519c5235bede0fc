"""Decisions as edits made of edits: who was chosen is never somebody else afterwards."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from masquerade.errors import UsageError
from masquerade.pipeline.edits import EditedSource, Edits
from masquerade.regions.drawn import DRAWN_TRACKS, DrawnRegion
from masquerade.studio import decisions

SOURCE = EditedSource(name="a.mp4", sha256="0", width=640, height=480)
PERSON = Edits(source=SOURCE, settings={"level": "person"})
CHOSEN = replace(
    PERSON,
    visible=(3,),
    joined=((3, 7),),
    methods={4: "blur", DRAWN_TRACKS: "pixelate"},
    drawn=(DrawnRegion(DRAWN_TRACKS, {0: (0.0, 0.0, 9.0, 9.0)}, (0,)),),
)


@pytest.mark.parametrize(
    "given", [{"level": "face"}, {"regions": "faces"}, {"threshold": 0.1}, {"regions": "hands"}]
)
def test_choices_are_forgotten_where_people_get_other_numbers(given: dict[str, Any]) -> None:
    after = decisions.settled(CHOSEN, given)
    assert (after.visible, after.joined) == ((), ())
    assert after.methods == {DRAWN_TRACKS: "pixelate"} and after.drawn == CHOSEN.drawn


@pytest.mark.parametrize("given", [{"method": "blur"}, {"feather": 3.0}, {"audio": "keep"}])
def test_choices_stay_where_the_numbers_do(given: dict[str, Any]) -> None:
    after = decisions.settled(CHOSEN, given)
    assert (after.visible, after.joined) == (CHOSEN.visible, CHOSEN.joined)
    assert after.methods == CHOSEN.methods


def test_a_figure_shows_nobody_as_they_are() -> None:
    after = decisions.settled(CHOSEN, {"level": "figure"})
    assert not after.visible and not after.methods and after.settings["level"] == "figure"
    decisions.check(after)


def test_a_level_is_left_for_its_parts() -> None:
    after = decisions.settled(PERSON, {"method": "blur"})
    assert after.settings == {"regions": "people"} and after.method == "blur"
    back = decisions.settled(after, {"level": "person"})
    assert back.settings == {"level": "person"} and back.method == "selective"
    whole = decisions.settled(after, {"method": "mannequin"})
    assert "regions" not in whole.settings


def test_hide_only_and_back() -> None:
    only = decisions.choose(PERSON, 1, "only")
    assert only.only == (1,)
    two = decisions.choose(only, 2, "hidden", everybody=(1, 2, 3))
    assert two.only == (1, 2)
    assert decisions.choose(two, 3, "hidden", everybody=(1, 2, 3)).only == ()
    assert decisions.choose(two, 1, "visible").only == (2,)
    with pytest.raises(UsageError, match="nobody would be hidden"):
        decisions.choose(only, 1, "visible")
    assert decisions.hide_all(two) == PERSON


def test_people_are_joined_and_split() -> None:
    one = decisions.join(PERSON, (1, 2))
    assert decisions.join(one, (2, 5)).joined == ((1, 2, 5),)
    assert decisions.join(one, (4, 5)).joined == ((1, 2), (4, 5))
    assert decisions.split(one, 2) == PERSON
    with pytest.raises(UsageError, match="two different"):
        decisions.join(PERSON, (1, 1))
    chosen = decisions.hide_by(decisions.join(PERSON, (1, 2)), 2, "blur")
    assert decisions.hide_by(chosen, 1, None).methods == {}


def test_who_is_hidden_stays_hidden_when_people_are_joined_or_split() -> None:
    shown = decisions.choose(PERSON, 0, "visible")
    assert decisions.join(shown, (0, 1)).visible == ()
    both = decisions.choose(shown, 1, "visible")
    assert decisions.join(both, (0, 1)).visible == (0, 1)
    only = decisions.join(decisions.choose(PERSON, 0, "only"), (0, 1))
    assert set(only.only) == {0, 1} == set(decisions.split(only, 1).only)


def test_a_level_keeps_its_method_when_it_is_left() -> None:
    figure = Edits(source=SOURCE, settings={"level": "figure"})
    assert decisions.with_templates(figure, ["badge"]).method == "mannequin"
    assert decisions.settled(figure, {"regions": "people"}).method == "mannequin"


def test_where_a_correction_is_lost_the_older_boxes_stay() -> None:
    box = (0.0, 0.0, 9.0, 9.0)
    old = DrawnRegion(DRAWN_TRACKS, {t: box for t in range(40)}, (5,))
    new = DrawnRegion(DRAWN_TRACKS, {t: (9.0, 0.0, 18.0, 9.0) for t in range(18, 23)}, (20,))
    assert sorted(decisions.corrected(old, new).boxes) == list(range(40))


def test_a_correction_counts_nearest_to_its_frame() -> None:
    def boxes(frames: range, x: float) -> dict[int, tuple[float, float, float, float]]:
        return {t: (x, 0.0, x + 9, 9.0) for t in frames}

    old = DrawnRegion(DRAWN_TRACKS, boxes(range(5, 25), 0.0), (10, 20))
    new = DrawnRegion(DRAWN_TRACKS, boxes(range(30), 50.0), (14,))
    after = decisions.corrected(old, new)
    assert after.keys == (10, 14, 20)
    left = [t for t in range(30) if after.boxes[t][0] == 0.0]
    assert left == [*range(5, 13), *range(17, 25)]  # frames that none knew are the new one's


def test_templates_stand_beside_other_regions() -> None:
    both = decisions.with_templates(PERSON, ["badge"])
    assert both.settings == {"regions": "people+templates:badge"}
    assert decisions.template_names(both) == ["badge"]
    assert decisions.with_templates(both, []).settings == {"regions": "people"}
    with pytest.raises(UsageError, match="file of boxes"):
        decisions.check(replace(PERSON, settings={"regions": "boxes:x.json"}))

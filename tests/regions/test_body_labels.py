"""The files of body labels: their form, and that their frames are those that the seed draws."""

from __future__ import annotations

import json
import runpy
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
DATA = Path(__file__).parents[3] / "shared" / "data"
SCRIPT = runpy.run_path(str(BENCHMARKS / "body_labels.py"))
MEASURING, CHOOSING = "body_labels.json", "body_labels_dev.json"
DOCUMENTS = {
    name: json.loads((BENCHMARKS / name).read_text("utf-8")) for name in (MEASURING, CHOOSING)
}
FRAMES: list[dict[str, Any]] = [frame for one in DOCUMENTS.values() for frame in one["frames"]]
PEOPLE = [person for frame in FRAMES for person in frame["people"]]
APART = 0.039  # of the frame, between a background point and a body point


def test_there_are_enough_frames_of_every_kind_and_none_twice() -> None:
    assert len({(frame["path"], frame["frame"]) for frame in FRAMES}) == len(FRAMES)
    for document, least in zip(DOCUMENTS.values(), ((48, 48, 48), (12, 52, 0)), strict=True):
        for folder, count in zip(("uti", "ucf11", "wild"), least, strict=True):
            paths = [frame["path"] for frame in document["frames"]]
            assert sum(path.startswith(folder + "/") for path in paths) >= count
        assert any(not frame["people"] and not frame["more_people"] for frame in document["frames"])


def test_every_point_lies_in_the_frame_and_is_rounded() -> None:
    points = [point[1:] for person in PEOPLE for point in person["points"]]
    points += [point for frame in FRAMES for point in frame["background"]]
    values = np.array(points)  # (points, 2)
    assert values.shape[1] == 2
    assert values.min() >= 0 and values.max() <= 1
    assert np.array_equal(values, values.round(3))


def test_every_name_is_known() -> None:
    for frame in FRAMES:
        assert set(frame) == {"path", "frame", "more_people", "people", "background"}
    for person in PEOPLE:
        assert set(person) == {"height", "pose", "view", "skin", "contrast", "flags", "points"}
        assert person["pose"] in SCRIPT["POSES"] and person["view"] in SCRIPT["VIEWS"]
        assert person["skin"] in SCRIPT["SKINS"] and person["contrast"] in SCRIPT["CONTRASTS"]
        assert set(person["flags"]) <= set(SCRIPT["FLAGS"])
        assert len(set(person["flags"])) == len(person["flags"])
        assert person["points"] and {point[0] for point in person["points"]} <= set(SCRIPT["PARTS"])


def test_people_are_as_high_as_their_points_ask_for() -> None:
    for person in PEOPLE:
        ys = [point[2] for point in person["points"]]
        assert max(ys) - min(ys) <= person["height"] + 0.01 <= 1.01


def test_background_points_keep_off_people() -> None:
    for frame in FRAMES:
        assert 8 <= len(frame["background"]) <= 13
        bodies = [point[1:] for person in frame["people"] for point in person["points"]]
        for (x, y), (u, v) in product(frame["background"], bodies):
            assert max(abs(x - u), abs(y - v)) > APART, (frame["path"], frame["frame"], x, y)


def test_no_two_body_points_of_a_person_are_one() -> None:
    for person in PEOPLE:
        places = [tuple(point[1:]) for point in person["points"]]
        assert len(set(places)) == len(places)


@pytest.mark.parametrize(("name", "about"), [(MEASURING, "ABOUT"), (CHOOSING, "DEV_ABOUT")])
def test_the_file_is_as_the_command_writes_it(name: str, about: str) -> None:
    assert SCRIPT["written"](DOCUMENTS[name]) == (BENCHMARKS / name).read_text("utf-8")
    assert DOCUMENTS[name]["about"] == SCRIPT[about]


def test_no_setting_is_chosen_on_a_clip_or_a_group_that_is_measured() -> None:
    clips, groups = (
        [{get(frame["path"]) for frame in one["frames"]} for one in DOCUMENTS.values()]
        for get in (str, lambda path: path.rsplit("_", 1)[0])
    )
    assert not clips[0] & clips[1]
    assert not {group for group in groups[0] & groups[1] if group.startswith("ucf11/")}


def test_frames_to_choose_on_are_those_that_the_seed_draws() -> None:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here")
    seed, without = DOCUMENTS[CHOOSING]["seed"], DOCUMENTS[MEASURING]["frames"]
    drawn = SCRIPT["draw_others"](DATA, seed, without)
    at = [[(f["path"], f["frame"]) for f in fs] for fs in (drawn, DOCUMENTS[CHOOSING]["frames"])]
    assert at[0] == at[1]


def test_the_frames_are_those_that_the_seed_draws() -> None:
    if not DATA.is_dir():
        pytest.skip("../shared/data is not here")
    seed, ucf11 = DOCUMENTS[MEASURING]["seed"], SCRIPT["rows"](DATA / "ucf11.csv")
    drawn = SCRIPT["of_datasets"](DATA, np.random.default_rng(seed))
    drawn += SCRIPT["of_turned"](ucf11, drawn, SCRIPT["OF_TURNED"], seed)
    found = [(frame["path"], frame["frame"]) for frame in DOCUMENTS[MEASURING]["frames"]]
    assert [at for at in found if not at[0].startswith("wild/")] == drawn
    assert {path for path, _ in found} - {path for path, _ in drawn} == {
        f"wild/{row['file']}" for row in SCRIPT["rows"](DATA / "wild.csv")
    }


def test_clips_are_dealt_evenly_and_apart() -> None:
    clips = [
        {"path": f"{a}{b}{k}", "action": a, "who": b, "frames": "5"}
        for a, b, k in product("xyz", "pqrs", "01")
    ]
    drawn = list(SCRIPT["dealt"](clips, "action", "who", 12, np.random.default_rng(0)))
    assert sorted(path[:2] for path, _ in drawn) == [a + b for a, b in product("xyz", "pqrs")]
    assert all(0 <= frame < 5 for _, frame in drawn)
    rest = list(SCRIPT["dealt"](clips, "action", "who", 99, np.random.default_rng(0)))
    assert len({path for path, _ in rest}) == len(rest) == 24


def test_frames_are_spread_over_a_clip() -> None:
    frames = SCRIPT["spread"](100, np.random.default_rng(0))
    assert [frame // 25 for frame in frames] == [0, 1, 2, 3]
    assert SCRIPT["spread"](3, np.random.default_rng(0)) == [0, 1, 2]
    assert len(SCRIPT["spread"](1394, np.random.default_rng(0))) == 8


def test_labels_are_drawn_where_they_lie() -> None:
    grey = np.full((50, 100, 3), 128, np.uint8)
    person = {"points": [["hand", 0.25, 0.5]]}
    out = SCRIPT["under_labels"](grey, {"people": [person], "background": [[0.75, 0.5]]})
    assert out.shape == (500, 1000, 3)
    assert tuple(out[250, 250]) == SCRIPT["PARTS"]["hand"]
    assert tuple(out[250, 750]) == (0, 0, 0)
    assert SCRIPT["under_grid"](grey).shape == (536, 1046, 3)

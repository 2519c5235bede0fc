"""Skeleton and mannequin: what is drawn, on which ground, and what of a person is left."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from standing_people import person

from masquerade import build
from masquerade.errors import UsageError
from masquerade.methods.body import SEGMENTS, STATURE, pose_figure, scale_of
from masquerade.methods.ground import drawn_floor, paint_out
from masquerade.methods.pose_filter import FilterState, filter_poses
from masquerade.pipeline.config import PipelineConfig, with_default_regions

H, W = 96, 128
BOTH = pytest.mark.parametrize("name", ["skeleton", "mannequin"])


def test_the_scale_of_a_person_is_pixels_of_a_metre() -> None:
    assert scale_of(person(scale=37)) == pytest.approx(37)


def test_a_figure_has_standard_lengths_and_the_persons_directions() -> None:
    joints = pose_figure(person(scale=100)).joints
    unit = STATURE * 100
    elbow, shoulder = joints["left elbow"], joints["left shoulder"]
    assert elbow - shoulder == pytest.approx([SEGMENTS["upper arm"] * unit, 0, 0])
    knee, ankle = joints["right knee"], joints["right ankle"]
    assert ankle - knee == pytest.approx([0, SEGMENTS["shank"] * unit, 0])
    middle = (joints["pelvis"] + joints["chest"]) / 2
    assert middle[:2] == pytest.approx([64, 48 - 0.225 * 100])


@settings(max_examples=25)
@given(longer=st.lists(st.floats(0.6, 1.6), min_size=3, max_size=3))
def test_who_has_other_proportions_becomes_the_same_figure(longer: list[float]) -> None:
    someone = person()
    world = someone.world.copy()
    for side in (0, 1):  # longer arms and legs in the same directions
        for chain, factor in (((11, 13, 15, 19), longer[0]), ((23, 25, 27), longer[1])):
            step = np.zeros(3)
            for a, b in pairwise(chain):
                step = step + (factor - 1) * (someone.world[b + side] - someone.world[a + side])
                world[b + side] += step
        world[31 + side] += world[27 + side] - someone.world[27 + side]
    other = someone._replace(world=world)
    a, b = (pose_figure(one, scale=40).joints for one in (someone, other))
    assert all(a[name] == pytest.approx(b[name]) for name in a)


@BOTH
@pytest.mark.parametrize("ground", ["floor", "black", "scene"])
def test_nothing_of_what_is_covered_is_in_the_output(name: str, ground: str) -> None:
    rng = torch.Generator().manual_seed(0)
    clip = torch.rand(1, 3, 6, H, W, generator=rng)
    clip[:] = clip[:, :, :1]  # a static camera
    mask = torch.zeros(1, 1, 6, H, W)
    for t in range(6):
        mask[..., t, 20:80, 40 + 4 * t : 70 + 4 * t] = 1
    other = torch.where(mask > 0, 1 - clip, clip)
    method = build(name, ground=ground)
    people = [[[person()]] * 6]
    outs = [
        method(x, mask=mask, people=people, state=method.init_state(seed=1)).clip
        for x in (clip, other)
    ]
    assert torch.equal(*outs)


@BOTH
def test_figures_are_drawn_where_people_are(name: str) -> None:
    method = build(name, ground="black")
    clip = torch.rand(1, 3, 1, H, W)
    out = method(clip, people=[[[person(x=30, scale=30), person(x=100, scale=30, track=1)]]]).clip[
        0, :, 0
    ]
    drawn = (out > 0).any(dim=0)
    assert drawn[:, 20:40].any() and drawn[:, 90:110].any()
    assert not drawn[:, 62:68].any()
    assert 0.01 < drawn.float().mean() < 0.4
    assert not method(clip, people=[[[]]]).clip.any()


@BOTH
def test_window_by_window_equals_one_pass_with_people(name: str) -> None:
    given = {"gait_jitter": 5} if name == "mannequin" else {}
    method = build(name, ground="scene", **given)
    clip = torch.rand(1, 3, 9, H, W)
    mask = torch.zeros(1, 1, 9, H, W)
    mask[..., 20:80, 50:80] = 1
    people = [[person(x=50 + 2 * t)] for t in range(9)]
    whole = method(clip, mask=mask, people=[people], state=method.init_state(seed=3)).clip
    state, parts = method.init_state(seed=3), []
    for at in (slice(0, 1), slice(1, 5), slice(5, 9)):
        out = method(clip[:, :, at], mask=mask[:, :, at], people=[people[at]], state=state)
        parts.append(out.clip)
        state = out.state
    assert torch.equal(torch.cat(parts, 2), whole)


@BOTH
@pytest.mark.parametrize("ground", ["floor", "black", "scene"])
def test_bytes_become_what_forward_makes_of_them(name: str, ground: str) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, H, W, 3), np.uint8)
    mask = np.zeros((4, H, W), np.uint8)
    mask[:, 20:80, 40:80], mask[:, 10:20] = 255, 90
    people = [[person(x=50 + 2 * t)] for t in range(4)]
    method = build(name, ground=ground)
    given = {"mask": mask, "people": people, "state": method.init_state(seed=1)}
    assert np.array_equal(
        method.on_pixels(frames, **given)[0], method.forward_on_pixels(frames, **given)[0]
    )


def test_the_floor_depends_on_the_size_alone() -> None:
    for size in ((1, 1), (3, 200), (480, 640)):
        floor = drawn_floor(*size)
        assert floor.shape == (*size, 3)
        assert np.array_equal(floor, drawn_floor(*size))


def _scene(at: int, *, pan: int = 0) -> tuple[Any, Any]:
    """A frame of a scene with a white person in it, and the mask of the person."""
    ground = np.random.default_rng(4).integers(0, 200, (H, W + 60, 3), np.uint8)
    frame, mask = ground[:, pan : pan + W].copy(), np.zeros((H, W), np.uint8)
    mask[30:70, at : at + 20] = 255
    frame[mask > 0] = 255
    return frame, mask


def test_behind_who_walks_the_background_is_shown_where_it_was_seen() -> None:
    known = None
    for t in range(75):
        frame, mask = _scene(max(0, 3 * (t - 60)))
        if t < 55:
            frame, mask = _scene(100)
        out, known = paint_out(frame, mask, known)
        assert np.array_equal(out[mask == 0], frame[mask == 0])
        assert out[mask > 0].max() < 255
    empty, _ = _scene(10**3)
    early = slice(0, 60)  # where the person was first, and was gone from since
    assert np.array_equal(out[:, early], empty[:, early])


@pytest.mark.parametrize("before", [0, 7, 60, 75, 90])
@pytest.mark.parametrize("missed", [1, 4, 25])
def test_who_was_missed_for_a_while_is_no_background_once_they_are_found(
    missed: int, before: int
) -> None:
    """However long the place was seen without them: a share of their picture is one too much."""
    known = None
    (empty, none), (frame, mask) = _scene(10**3), _scene(40)
    for _ in range(before):
        _, known = paint_out(empty, none, known)
    for _ in range(missed):
        _, known = paint_out(frame, none, known)
    behind = mask > 0
    for _ in range(60):
        out, known = paint_out(frame, mask, known)
        assert out[behind].max() < 255
        if before >= 60:
            assert np.abs(out[behind].astype(int) - empty[behind]).max() <= 1


@pytest.mark.parametrize("away", [*range(48, 53), 75])
@pytest.mark.parametrize("there", [24, 25, 26])
def test_who_was_hidden_from_the_first_frame_on_is_no_background(there: int, away: int) -> None:
    """Whenever they went, and whenever somebody comes to the place where they were."""
    known = None
    (empty, none), (frame, mask) = _scene(10**3), _scene(40)
    for t in range(there + away + 30):
        hidden = t < there or t >= there + away
        out, known = paint_out(*((frame, mask) if hidden else (empty, none)), known)
        assert out[mask > 0].max() < 255


def test_who_is_missed_again_and_again_is_no_background() -> None:
    known = None
    (empty, none), (frame, mask) = _scene(10**3), _scene(40)
    for _ in range(60):
        _, known = paint_out(empty, none, known)
    for t in range(200):
        out, known = paint_out(frame, mask if t % 20 == 19 else none, known)
        assert t % 20 < 19 or np.array_equal(out[mask > 0], empty[mask > 0])


def test_a_camera_that_moves_shows_no_background_of_another_place() -> None:
    known = None
    for t in range(12):
        frame, mask = _scene(40, pan=5 * t)
        out, known = paint_out(frame, mask, known)
        inside = out[32:68, 42:58].astype(int)
        assert np.abs(np.diff(inside, axis=1)).max() < 30  # smooth: the mean of what is around


def test_a_frame_that_is_covered_whole_is_flat() -> None:
    frame, _ = _scene(0)
    out, _ = paint_out(frame, np.full((H, W), 255, np.uint8), None)
    assert (out == out[0, 0]).all()


def test_poses_that_stand_still_are_not_changed() -> None:
    state = FilterState(key=1)
    for _ in range(8):
        (posed,), state = filter_poses([person()], state, jitter=4)
        assert posed.person.world == pytest.approx(person().world)
        assert posed.scale == pytest.approx(40)


def test_poses_that_are_never_late_draw_no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np.random, "default_rng")
    (posed,), _ = filter_poses([person()], FilterState(key=1))
    assert posed.person.world == pytest.approx(person().world)


def test_a_limb_that_is_not_seen_keeps_its_pose_and_then_hangs() -> None:
    hidden = person()
    hidden.landmarks[[13, 15, 19], 3] = 0.02  # the left arm, which the network guesses
    hidden.world[[13, 15, 19]] = [[0.2, -0.9, 0.1], [0.3, -1.2, 0.2], [0.3, -1.3, 0.2]]
    (_,), state = filter_poses([person()], FilterState(key=0))
    down = []
    for _ in range(60):
        (posed,), state = filter_poses([hidden], state)
        arm = posed.person.world[15] - posed.person.world[11]
        down.append(arm[1] / np.linalg.norm(arm))
    assert abs(down[0]) < 0.2  # still held out to the side, as it was last seen
    assert down[-1] > 0.97
    assert np.all(np.diff(down) > -1e-6)
    assert posed.person.world[16] == pytest.approx(person().world[16])  # the other arm was seen


def test_a_limb_that_is_not_seen_hangs_down_from_who_leans_forward() -> None:
    leaning = person()
    leaning.landmarks[[13, 15, 19], 3] = 0.02
    leaning.world[[11, 12], :2] += [0.45, 0.25]  # the trunk is level, nearly
    (posed,), _ = filter_poses([leaning], FilterState(key=0))
    arm = posed.person.world[15] - posed.person.world[11]
    assert arm[1] / np.linalg.norm(arm) > 0.7


def test_left_and_right_stay_what_they_were() -> None:
    (_,), state = filter_poses([person()], FilterState(key=0))
    turned = person()
    for joint in range(11, 33, 2):
        turned.world[[joint, joint + 1]] = turned.world[[joint + 1, joint]]
        turned.landmarks[[joint, joint + 1]] = turned.landmarks[[joint + 1, joint]]
    for _ in range(4):
        (posed,), state = filter_poses([turned], state)
        assert posed.person.world[11:] == pytest.approx(person().world[11:])
        assert posed.person.landmarks[11:] == pytest.approx(person().landmarks[11:])


def test_who_trembles_is_steadied_and_who_moves_is_not_late() -> None:
    rng = np.random.default_rng(0)
    (_,), state = filter_poses([person()], FilterState(key=0))
    errors = []
    for _ in range(60):
        shaken = person()._replace(world=person().world + rng.normal(0, 0.005, (33, 3)))
        (posed,), state = filter_poses([shaken], state)
        errors.append(np.abs(posed.person.world[11:13] - person().world[11:13]).mean())
    assert np.mean(errors[10:]) < 0.7 * 0.005 * np.sqrt(2 / np.pi)
    for t in range(20):
        quick = person()
        quick.world[15, 0] += 0.15 * t
        (posed,), state = filter_poses([quick], state)
    assert quick.world[15, 0] - posed.person.world[15, 0] < 0.03


def test_figures_appear_and_vanish_by_and_by() -> None:
    state = FilterState(key=0, frame=9)
    seen = []
    for t in range(16):
        posed, state = filter_poses([person()] if t < 6 else [], state)
        seen.append(posed[0].opacity if posed else 0.0)
    assert seen[:6] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert np.all(np.diff(seen[5:]) <= 0) and seen[8] > 0 and seen[-1] == 0
    (first,), _ = filter_poses([person()], FilterState(key=0))
    assert first.opacity == 1  # whoever is in a video's first frame was there before


def test_a_chest_whose_hips_are_not_seen_is_where_the_shoulders_are() -> None:
    cut = person(scale=100)
    cut.landmarks[[23, 24], :4] = [500, 300, 0, 0.01]  # guessed far away
    joints = pose_figure(cut, scale=100).joints
    assert joints["chest"][:2] == pytest.approx(cut.landmarks[[11, 12], :2].mean(axis=0))


def test_no_bone_of_a_limb_is_drawn_beyond_one_that_is_not_seen() -> None:
    arm = person()
    arm.landmarks[13, 3] = 0.02  # the left elbow; the hand behind it is seen
    method = build("skeleton")
    drawn = method(torch.zeros(1, 3, 1, H, W), people=[[[arm]]]).clip[0, :, 0]
    whole = method(torch.zeros(1, 3, 1, H, W), people=[[[person()]]]).clip[0, :, 0]
    assert not drawn[:, :, 75:].any() and whole[:, :, 75:].any()


def test_feet_cast_shadows_on_the_floor_alone() -> None:
    clip, people = torch.zeros(1, 3, 1, 200, W), [[[person(y=80)]]]
    beside = slice(115, 118), slice(62, 67)  # between the feet
    floor = build("mannequin")
    dark = floor(clip, people=people).clip[0, :, 0, *beside]
    plain = floor(clip, people=[[[]]]).clip[0, :, 0, *beside]
    assert dark.mean() < 0.95 * plain.mean()
    black = build("mannequin", ground="black")(clip, people=people).clip
    assert not black[..., 115:118, 62:67].any()


def test_jitter_delays_by_no_more_than_it_may() -> None:
    state, shown = FilterState(key=2), []
    for t in range(200):
        moved = person()
        moved.world[15] = [t, 0, 0]
        (posed,), state = filter_poses([moved], state, jitter=10)
        shown.append(t - posed.person.world[15, 0])
    late = np.array(shown[30:])
    assert late.min() >= 0
    assert late.max() <= 11  # the smoothing takes part of a frame
    assert late.max() - late.min() > 3  # the delay changes


def test_people_who_are_gone_are_forgotten() -> None:
    state = FilterState(key=0)
    _, state = filter_poses([person()], state)
    for _ in range(40):
        _, state = filter_poses([], state)
    assert not state.tracks


@BOTH
def test_regions_without_poses_are_refused(name: str) -> None:
    assert with_default_regions(PipelineConfig(), build(name)).regions == "people"
    with pytest.raises(UsageError, match="by their poses"):
        with_default_regions(PipelineConfig(regions="faces"), build(name))

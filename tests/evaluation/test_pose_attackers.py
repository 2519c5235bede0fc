"""Attackers that see poses only: they read a gait and limbs, and say where there are no poses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scenes import CONFIG
from walkers import SIZE, walker

from masquerade import build
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.errors import MissingError, UsageError
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate, from_json
from masquerade.evaluation.pose_attackers import (
    MEASURED_BONES,
    bone_ratios,
    landmark_sequences,
)
from masquerade.evaluation.presets import POSES, PRESETS, STILL_KERNELS, Preset
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import ClipDataset, TensorClips, from_tensor
from masquerade.extraction.poses import VISIBILITY, drawn_people, pose_sequence
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.report.table import markdown

FRAMES = 36  # of 25 a second
GAIT = Preset(
    frames=2,
    pose_frames=12,
    size=(16, 16),
    attackers={
        "kernel on the picture": STILL_KERNELS["kernel on the picture"],
        **{name: one for name, one in POSES.items() if one.network is None},
    },
    epochs=1,
    finetune_epochs=1,
)
"""What learns in milliseconds."""
STEPS = {"stroll": 1.0, "march": 2.0}
PEOPLE = 6


def sequence(method: DrawnPeople | None, person: int, action: str, take: int) -> np.ndarray:
    """The poses of a walker, as the networks would find them or as a method draws them."""
    thigh, steps = 0.3 + 0.04 * person, STEPS[action]
    phase = np.random.default_rng([person, take]).uniform(0, 2 * np.pi)
    found = [
        (t, [walker(t, thigh=thigh, steps=steps, phase=phase, x=60 + 10 * take)])
        for t in range(FRAMES)
    ]
    people = dict(found) if method is None else dict(drawn_people(found, method, seed=take))
    return pose_sequence(people, np.arange(0, FRAMES, 3), size=SIZE)


@pytest.fixture(scope="module")
def clips() -> list[tuple[int, str, int]]:
    return [(p, action, take) for p in range(PEOPLE) for action in STEPS for take in range(3)]


@pytest.fixture(scope="module")
def manifest(
    tmp_path_factory: pytest.TempPathFactory, clips: list[tuple[int, str, int]]
) -> Manifest:
    path = tmp_path_factory.mktemp("walkers") / "clips.csv"
    rows = [f"{p}{a}{t}.mp4,{a},p{p},160,120,{FRAMES}" for p, a, t in clips]
    path.write_text("\n".join(["path,action,identity,width,height,frames", *rows]))
    return read_manifest(path)


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch, clips: list[tuple[int, str, int]]) -> list[str]:
    """Walkers instead of videos; the networks see raw ones, and nobody in what is drawn."""
    asked: list[str] = []

    def extract(manifest: Manifest, config: ExtractionConfig, **rest: Any) -> ClipDataset:
        asked.append(config.content)
        rows = np.arange(len(manifest))
        if config.content == "frames":
            rng = torch.Generator().manual_seed(0)
            return from_tensor(torch.rand(len(clips), *config.shape, generator=rng))
        method = config.method if config.content == "joints" else None
        assert method is None or isinstance(method, DrawnPeople)
        poses = np.zeros((len(manifest), *config.shape), np.float32)
        if method is config.method:
            poses = np.stack([sequence(method, *clip) for clip in clips])
        return ClipDataset(source=TensorClips(torch.from_numpy(poses)), places=rows, rows=rows)

    monkeypatch.setattr("masquerade.evaluation.evaluated_clips.extract_clips", extract)
    monkeypatch.setattr("masquerade.evaluation.evaluator.pose_tracker", lambda: None)
    monkeypatch.setitem(PRESETS, "gait", GAIT)
    return asked


def run(manifest: Manifest, **options: Any) -> Evaluation:
    lines = [
        EvaluatedMethod(name="skeleton", anonymizer=build("skeleton"), regions="people"),
        EvaluatedMethod(name="blur", anonymizer=build("blur")),
    ]
    plan = replace(CONFIG, preset="gait", folds=3, **options)
    return evaluate(manifest, lines, plan, data="walkers")


@pytest.mark.slow
def test_a_gait_and_limbs_are_read_from_the_joints_that_a_skeleton_draws(
    manifest: Manifest, given: list[str]
) -> None:
    result = run(manifest)
    assert from_json(result.to_json()) == result
    raw, skeleton, blur = result.rows
    for row in (raw, skeleton):
        for label in ("action", "identity"):
            finding = row.finding(label)
            best = None if finding is None else finding.best("pose")
            assert best is not None and best.test.value is not None and best.test.value > 0.6
    found, drawn = skeleton.poses
    assert (found.content, found.seen, drawn.content) == ("poses", 0, "joints")
    assert found.left_out is not None and drawn.left_out is None
    assert blur.poses[0].left_out is not None
    unread = blur.finding("identity")
    assert unread is not None and unread.best("pose") is None
    page = markdown(result)
    assert "as drawn, in 432 of 432 frames" in page
    assert "n/a: the pose networks see somebody in 0 of 432 frames only" in page
    assert given.count("joints") == 1  # blur draws nobody
    controls = {(one.kind, one.label): one.passed for one in result.controls}
    assert controls["poses", "action"] is True
    assert controls["poses", "identity"] is True


@pytest.mark.slow
def test_where_nobody_is_seen_in_a_sample_no_more_poses_are_looked_for(
    manifest: Manifest, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = given.count
    run(manifest)
    assert asked("poses") == 3  # raw, skeleton and blur
    monkeypatch.setattr("masquerade.evaluation.evaluated_clips.SAMPLED", 9)
    given.clear()
    result = run(manifest)
    assert asked("poses") == 3 and asked("joints") == 1  # raw video whole, of the others samples
    raw, skeleton, blur = result.rows
    assert raw.poses[0].left_out is None and raw.poses[0].frames == 432
    told = "the pose networks see somebody in 0 of 108 frames only, of 9 clips drawn evenly"
    assert [row.poses[0].left_out for row in (skeleton, blur)] == [told, told]
    assert skeleton.poses[1].left_out is None


def test_where_the_networks_are_missing_poses_are_left_out_in_words(
    manifest: Manifest, given: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise MissingError("The network for poses is not there; add it.")

    monkeypatch.setattr("masquerade.evaluation.evaluator.pose_tracker", missing)
    result = run(manifest)
    assert "pose" not in result.attackers and "poses" not in given
    assert any("poses only are left out: The network for poses" in one for one in result.limits)
    with pytest.raises(MissingError) as refused:
        run(manifest, attackers=("scratch", "pose"))
    assert refused.value.exit_code == 3


def test_a_preset_without_attackers_of_a_family_is_refused(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="has no attackers of pose"):
        evaluate(manifest, [], replace(CONFIG, preset="bags", attackers=("pose",)), data="x")


def test_bones_are_compared_by_their_share_whoever_stands_where() -> None:
    pair = {t: [walker(t, x=50, thigh=0.3), walker(t, x=110, thigh=0.5, track=1)] for t in range(9)}
    poses = torch.from_numpy(pose_sequence(pair, np.arange(9), size=SIZE))[None]
    nearer = poses.clone()
    nearer[:, :2] *= 1.7
    nearer[:, 3:] *= 1.2
    assert torch.allclose(bone_ratios(poses), bone_ratios(nearer), atol=1e-5)
    assert torch.allclose(bone_ratios(poses), bone_ratios(poses.flip(-1)), atol=1e-6)
    same = {t: [walker(t, x=50, thigh=0.4), walker(t, x=110, thigh=0.4, track=1)] for t in range(9)}
    other = torch.from_numpy(pose_sequence(same, np.arange(9), size=SIZE))[None]
    assert not torch.allclose(bone_ratios(poses), bone_ratios(other), atol=1e-2)


def test_a_bone_that_is_never_seen_takes_nothing_from_the_others() -> None:
    people = {t: [walker(t, x=50), walker(t, x=110, track=1)] for t in range(9)}
    whole = torch.from_numpy(pose_sequence(people, np.arange(9), size=SIZE))[None]
    without = whole.clone()
    without[:, :, :, 15] = 0  # one wrist, as a drawing leaves it out
    a, b = bone_ratios(whole)[0], bone_ratios(without)[0]
    gone = MEASURED_BONES.index((13, 15))
    bones = torch.arange(len(a)) % len(MEASURED_BONES)
    assert torch.allclose(a[bones != gone], b[bones != gone])
    assert a[gone] > 0.1 and b[gone] == 0


def test_landmark_sequences_are_places_and_speeds_of_13_joints() -> None:
    poses = torch.zeros(1, 6, 4, 33, 2)
    poses[:, VISIBILITY] = 1
    poses[0, 0, :, 15, 1] = torch.tensor([0.0, 0.1, 0.3, 0.3])
    found = landmark_sequences(poses)
    assert found.shape == (1, 2 * 13 * 2 * (4 + 3))
    assert found[found != 0].tolist() == pytest.approx([0.1, 0.3, 0.3, 0.4, 0.8])


def test_a_joint_that_is_not_drawn_stands_among_the_others_and_does_not_leap() -> None:
    poses = torch.zeros(1, 6, 3, 33, 1)
    poses[:, VISIBILITY, :, 11:17] = 1  # shoulders and arms only
    poses[0, 0, :, 11:17] = 0.4  # far from the middle of the frame
    poses[:, VISIBILITY, 1, 15] = 0  # a hand, in one frame
    poses[:, :2, 1, 15] = 0
    found = landmark_sequences(poses)
    places, speed = found[0, : 2 * 3 * 13], found[0, 2 * 3 * 13 :]
    assert places[: 3 * 13].tolist() == pytest.approx([0.4] * 3 * 13)
    assert not speed.any()

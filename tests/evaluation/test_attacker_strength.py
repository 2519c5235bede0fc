"""Each family of attackers succeeds where it must, so that a low score elsewhere says something.

STRENGTH names the test of each family in ATTACKERS, CHANNEL_STRENGTH that of those who see one
channel alone, and ATTACK_STRENGTH that of each attack of `masquerade attack`; the page on attackers
has a card of each.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import scenes
import torch
from scenes import CONFIG

from masquerade.attack import ATTACKS
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.evaluation import EvaluatedMethod, Evaluation, evaluate
from masquerade.evaluation.attacker_choice import ScoringInput
from masquerade.evaluation.attackers import ATTACKERS, AttackOutputs
from masquerade.evaluation.controls import (
    OF_PICTURES,
    CheckedControls,
    attacked_channels,
    unread_channels,
)
from masquerade.evaluation.evaluated_clips import AttackedMethod
from masquerade.evaluation.ground_truth import SplitTruth
from masquerade.evaluation.kernel_ridge import FEATURES, KernelRidge, extract_features
from masquerade.evaluation.presets import (
    CONTRAST,
    PRESETS,
    SIDE_CHANNEL,
    STACKED,
    STILL_KERNELS,
    AttackerModel,
    Channel,
)
from masquerade.evaluation.results import Control
from masquerade.evaluation.table_rows import why_undecided
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.dataset import ClipDataset, from_tensor
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.packet_clip import CHANNELS, POSITIONS
from masquerade.extraction.stacked_clip import WINDOW, stacked_clip
from masquerade.methods import build
from masquerade.metrics.intervals import Score

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "docs" / "attackers.md"
HERE = "tests/evaluation/test_attacker_strength.py::"
PLANTED = HERE + "test_a_planted_leak_is_read_by_each_family"
LOOKED = "tests/attack/test_attack.py::"
STRENGTH = {
    "scratch": PLANTED,
    "finetuned": PLANTED,
    "motion": PLANTED,
    "raw": PLANTED,
    "background": PLANTED,
    "pose": "tests/evaluation/test_pose_attackers.py::"
    "test_a_gait_and_limbs_are_read_from_the_joints_that_a_skeleton_draws",
    "gait": "tests/evaluation/test_gait_attackers.py::"
    "test_the_spectrum_of_flow_names_people_whom_pixels_do_not",
    "side channel": HERE + "test_who_moves_is_read_from_the_sizes_of_packets_alone",
    "published": "tests/evaluation/test_published_start.py::"
    "test_weights_that_know_the_label_read_it_from_eight_clips",
    "reconstruction": "tests/evaluation/test_restoration_attack.py::"
    "test_weak_blur_is_restored_on_people_who_were_not_seen",
    "prior": PLANTED,
}
CHANNEL_STRENGTH = {
    "appearance": HERE + "test_remains_of_three_grey_levels_are_read_like_raw_video",
    "motion": STRENGTH["gait"],
    "outline": "tests/evaluation/test_gait_attackers.py::"
    "test_outlines_name_people_who_differ_in_build_alone",
    "place": PLANTED,
    "side channel": STRENGTH["side channel"],
}
ATTACK_STRENGTH = {
    "faces": LOOKED + "test_everything_is_recovered_from_a_video_that_was_not_anonymized",
    "undo": LOOKED + "test_what_is_undone_is_named",
    "noise": "tests/attack/test_known_noise.py::"
    "test_a_face_behind_known_noise_is_recovered_where_it_is_not_covered_wholly",
    "people": LOOKED + "test_people_text_and_a_receipt_are_seen_where_they_are",
    "poses": LOOKED + "test_people_text_and_a_receipt_are_seen_where_they_are",
    "text": LOOKED + "test_people_text_and_a_receipt_are_seen_where_they_are",
    "tags": LOOKED + "test_everything_is_recovered_from_a_video_that_was_not_anonymized",
    "streams": LOOKED + "test_everything_is_recovered_from_a_video_that_was_not_anonymized",
    "receipt": LOOKED + "test_people_text_and_a_receipt_are_seen_where_they_are",
    "raw": LOOKED + "test_raw_video_tells_which_faces_were_left",
    "raw people": LOOKED + "test_raw_video_tells_which_faces_were_left",
    "raw frame": "tests/attack/test_whole_frames.py::"
    "test_frames_that_were_to_be_hidden_and_are_as_they_were_are_recovered",
    "raw text": "tests/attack/test_raw_text.py::"
    "test_text_is_recovered_where_it_was_to_be_hidden_and_can_be_read",
    "sizes": "tests/attack/test_packet_sizes.py::"
    "test_packets_follow_what_moves_behind_a_strong_blur",
    "restore": "tests/attack/test_restore.py::"
    "test_weak_blur_is_recovered_by_a_network_that_did_not_see_the_video",
    "across": "tests/attack/test_across_videos.py::"
    "test_two_videos_of_one_scene_are_said_to_show_a_scene_and_nobody",
    "source": "tests/attack/test_across_videos.py::"
    "test_published_videos_lead_to_their_raw_sources_or_do_not",
}


def headings() -> set[str]:
    """Names in code marks in the headings of the page on attackers."""
    found = re.findall(r"^##+ .*$", CARDS.read_text("utf-8"), re.M)
    return {name for line in found for name in re.findall(r"`([^`]+)`", line)}


@pytest.mark.parametrize("name", [*ATTACKERS, *(f"attack: {name}" for name in ATTACKS)])
def test_every_attacker_has_a_card_and_a_test_of_its_strength(name: str) -> None:
    assert name in headings(), f"docs/attackers.md has no heading with `{name}`"
    table = ATTACK_STRENGTH if name.startswith("attack: ") else STRENGTH
    look_up(table[name.removeprefix("attack: ")])


def look_up(strength: str) -> None:
    """A test that is there, and that the page on attackers names."""
    path, _, test = strength.partition("::")
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert test in {one.name for one in tree.body if isinstance(one, ast.FunctionDef)}
    assert test in CARDS.read_text("utf-8"), f"no card names {test}"


def test_each_channel_has_attackers_who_succeed_by_it_alone() -> None:
    assert tuple(CHANNEL_STRENGTH) == get_args(Channel)
    for channel, test in CHANNEL_STRENGTH.items():
        look_up(test)
        row = re.search(rf"^\| {channel} \|.*$", CARDS.read_text("utf-8"), re.M)
        assert row and test.partition("::")[2] in row[0], f"the table lacks the test of {channel}"


def test_no_test_is_of_an_attacker_that_is_not_there() -> None:
    assert set(STRENGTH) == set(ATTACKERS) and set(ATTACK_STRENGTH) == set(ATTACKS)
    kernels = {m.features for one in PRESETS.values() for m in one.attackers.values()}
    assert kernels <= set(FEATURES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "label", "least"),
    [
        ("scratch", "red", 0.95),
        ("finetuned", "red", 0.95),
        ("motion", "action", 0.95),
        ("raw", "red", 0.95),
        ("background", "red", 0.95),
        ("prior", "red", 0.95),
    ],
)
def test_a_planted_leak_is_read_by_each_family(
    evaluation: Evaluation, family: str, label: str, least: float
) -> None:
    """A copy shows all; black frames tell the same attackers nothing."""
    rows = {row.name: row.finding(label) for row in evaluation.rows}
    copy, black = rows["copy"], rows["black"]
    assert copy is not None and black is not None
    best, none = copy.best(family), black.best(family)
    assert best is not None and best.test.value is not None and best.test.value >= least
    assert none is not None and none.test.low is not None and none.test.low <= 0.5


WHO = np.arange(80) % 4
TRAIN = np.arange(80) % 10 < 6


def read(model: AttackerModel, clips: ClipDataset) -> float:
    """The share of test clips whose person an attacker names that learned from the others."""
    who, train = WHO[: len(clips)], TRAIN[: len(clips)]
    features = extract_features(clips, model)
    machine = KernelRidge(features[train], {"who": np.eye(4)[who[train]]})
    return float((machine.predict(features[~train])["who"].argmax(1) == who[~train]).mean())


def cloths(size: int) -> np.ndarray:
    """(4, size, size, 3) in -1 to 1: what four people wear, alike in colour on the whole."""
    coarse = np.random.default_rng(7).choice([-1.0, 1.0], (4, 4, 4, 3))
    coarse -= coarse.mean(axis=(1, 2), keepdims=True)
    return coarse.repeat(size // 4, axis=1).repeat(size // 4, axis=2).clip(-1, 1)


def faint(levels: float, clutter: float) -> ClipDataset:
    """Clips (3, 4, 48, 64) of people who are so many grey levels off, among other things."""
    rng, clips = np.random.default_rng(2), []
    for who in WHO:
        things = rng.normal(0, clutter, (6, 8, 3)).repeat(8, axis=0).repeat(8, axis=1)
        things[8:40, 16:48] = 0  # nothing stands before the person
        things[8:40, 16:48] += levels * cloths(32)[who]
        frame = (128 + things).round().clip(0, 255).astype(np.uint8)
        clips.append(torch.from_numpy(frame).permute(2, 0, 1)[:, None].expand(-1, 4, -1, -1))
    return from_tensor(torch.stack(clips))


def test_remains_of_three_grey_levels_are_read_like_raw_video() -> None:
    """Among things of full contrast, whose differences drown faint ones for all others."""
    contrast, picture = CONTRAST["kernel on contrast"], STILL_KERNELS["kernel on the picture"]
    raw, remains = faint(60, 60), faint(1.5, 60)
    assert read(contrast, raw) > 0.95 and read(contrast, remains) > read(contrast, raw) - 0.1
    assert read(picture, remains) < read(contrast, remains) - 0.3
    assert read(contrast, faint(1.5, 0)) > 0.95  # the whole clip has three grey levels
    assert read(contrast, faint(0, 60)) < 0.5  # nothing remains


@pytest.mark.slow
def test_who_is_seen_through_noise_is_read_from_stacked_frames() -> None:
    rng, stacks, ones = np.random.default_rng(3), [], []
    for who in WHO:
        still = np.full((48, 48, 3), 128.0)
        still[8:40, 8:40] += 6 * cloths(32)[who]
        drawn = still + rng.normal(0, 110, (WINDOW, *still.shape))
        frames = list(drawn.clip(0, 255).astype(np.uint8))
        stacks.append(torch.from_numpy(stacked_clip(frames)))
        ones.append(torch.from_numpy(stacked_clip([frames[0]] * WINDOW)))
    model = STACKED["kernel on stacked frames"]
    stacked, one = (from_tensor(torch.stack(clips)) for clips in (stacks, ones))
    assert read(model, stacked) > 0.8
    assert read(model, stacked) > read(model, one) + 0.15


def textured(path: Path) -> Manifest:
    """Videos of a patch that moves; people differ in how fine its texture is and how it moves."""
    rows = []
    for number, who in enumerate(WHO[:40]):
        rng = np.random.default_rng(number)
        cell = (2, 4, 8, 16)[who]
        cloth = rng.integers(60, 200, (32 // cell, 32 // cell, 3)).astype(np.uint8)
        cloth = cloth.repeat(cell, axis=0).repeat(cell, axis=1)
        frames = np.full((24, 64, 64, 3), 90, np.uint8)
        x, y = rng.integers(4, 12, 2)
        for t, frame in enumerate(frames):
            right = x + 2 * (t % (3 + 2 * who))
            frame[y : y + 32, right : right + 32] = cloth
        scenes.write(path / f"{number}.mkv", frames)
        rows.append((f"{number}.mkv", "walk", f"p{who}", 0))
    return read_manifest(scenes.save(path / "clips.csv", rows))


@pytest.mark.slow
def test_who_moves_is_read_from_the_sizes_of_packets_alone(tmp_path: Path) -> None:
    """Behind a coarse copy too; black frames cost everybody the same bytes."""
    manifest = textured(tmp_path)

    def who(name: str, **method: object) -> float:
        config = ExtractionConfig(content="packets", **method)
        clips = extract_clips(manifest, config, cache=tmp_path / "cache")
        return read(SIDE_CHANNEL[f"kernel on {name}"], clips)

    coarse = {"method": build("downsample", factor=2)}
    assert who("packet sizes") > 0.9 and who("packet sizes", **coarse) > 0.9
    assert who("file facts") > 0.6  # a guess has .25
    for attacker in ("packet sizes", "file facts"):
        assert who(attacker, method=build("blacken")) < 0.4


def test_who_is_hidden_is_read_from_a_receipt() -> None:
    """By how large somebody is and how that changes, however the picture was hidden."""
    rng = np.random.default_rng(4)
    clips = torch.zeros(len(WHO), CHANNELS, POSITIONS, 1, 1)
    time = np.arange(POSITIONS)
    for clip, who in zip(clips, WHO, strict=True):
        share = 0.1 + 0.01 * who + 0.02 * np.sin(time / (2 + who) + rng.uniform(0, 6))
        clip[3, :, 0, 0] = torch.from_numpy(share + rng.normal(0, 0.005, POSITIONS))
        clip[4] = 1
    packets = replace(from_tensor(torch.zeros(1, 1, 1, 1, 1)), source=Packets(clips))
    packets = replace(packets, places=np.arange(len(clips)), rows=np.arange(len(clips)))
    assert read(SIDE_CHANNEL["kernel on receipt"], packets) > 0.8
    assert read(SIDE_CHANNEL["kernel on packet sizes"], packets) < 0.4  # all files are alike


class Packets:
    """Packet clips in memory, as floats."""

    def __init__(self, clips: torch.Tensor) -> None:
        self.clips, self.shape = clips, tuple(clips.shape[1:])

    def read(self, places: np.ndarray) -> torch.Tensor:
        return self.clips[torch.from_numpy(places)]


@pytest.mark.slow
def test_an_evaluation_has_a_line_and_a_control_of_the_new_attackers(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {**STILL_KERNELS, **CONTRAST, **STACKED, **SIDE_CHANNEL}
    monkeypatch.setitem(PRESETS, "quick", replace(scenes.QUICK, attackers=models))
    few = manifest.take(range(0, len(manifest), 2))
    methods = [
        EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2)),
        EvaluatedMethod(name="black", anonymizer=build("blacken")),
    ]
    plan = replace(CONFIG, folds=2, seeds=1)
    found = evaluate(few, methods, plan, data="scenes", folder=tmp_path)
    raw, copy, black = found.rows
    for row in (raw, copy):
        names = {one.name: one for one in row.finding("red").attacks}  # type: ignore[union-attr]
        for family in ("scratch",) if row is raw else ("scratch", "finetuned", "raw"):
            stacked = names[f"{family} kernel on stacked colours"]
            assert stacked.test.value is not None and stacked.test.value > 0.9
            assert f"{family} kernel on contrast" in names
        assert "side channel ensemble" in names
    assert any(one.kind == "only side channel" for one in found.controls)
    told = black.finding("identity").best("side channel")  # type: ignore[union-attr]
    assert told is not None and told.test.low is not None and told.test.low <= 0.15


def test_a_file_that_tells_nothing_on_raw_video_leaves_nothing_undecided() -> None:
    score = Score(value=0.5, low=0.4, high=0.6, n=20, clusters=10)
    failed = [
        Control(kind=f"only {channel}", label="red", score=score, floor=0.5, passed=False)
        for channel in ("side channel", "outline")
    ]
    why = unread_channels(failed, None)["red"]
    assert why.startswith("no attacker succeeds by outline alone")
    assert "side" not in why


def test_a_channel_that_a_row_has_no_attackers_of_is_not_read_in_it(manifest: Manifest) -> None:
    """Those of poses may be left out of one row and succeed in the others of a table."""
    score = Score(value=0.9, low=0.8, high=1.0, n=20, clusters=10)
    passed = [
        Control(kind=f"only {channel}", label="red", score=score, floor=0.5, passed=True)
        for channel in OF_PICTURES
    ]
    assert unread_channels(passed, None) == {}
    single = AttackOutputs(
        family="scratch", name="eyes", validation={}, test=(), channels=frozenset({"appearance"})
    )
    made = partial(replace, single)
    outputs = (
        single,
        made(family="background", channels=frozenset({"place"})),
        made(family="motion", channels=frozenset({"motion"})),
        # an ensemble, one that learned raw video alone, and one that may not be chosen
        made(channels=frozenset({"appearance", "outline"})),
        made(family="raw", channels=frozenset({"outline"})),
        made(family="gait", channels=frozenset({"outline"}), eligible=False),
    )
    none = np.zeros(0, np.int64)
    sheet = SplitTruth(
        clips=none, fold=none, people=none, groups=none, labels={}, actions=none, fold_priors={}
    )
    row = ScoringInput(validation=sheet, test=sheet, outputs=outputs, prior=False, clips=none)
    channels = attacked_channels({"x": row})
    assert channels == {"appearance", "motion", "place"}
    copy = EvaluatedMethod(name="copy", anonymizer=build("downsample", factor=2))
    checked = CheckedControls(specs={}, controls=tuple(passed), notes=())
    attacked = AttackedMethod(method=copy, inputs={"x": row})
    why = why_undecided(attacked, checked, manifest)
    assert why["red"] == "no attacker of outline alone was used"

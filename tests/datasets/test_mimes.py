"""mimes: clips are reproducible, their ground truth is correct, and their floors are exact."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from interruptions import KNOWN, interrupted_at

from masquerade.arrays import F64
from masquerade.cli import data
from masquerade.datasets.check import check_manifest
from masquerade.datasets.manifest import read_manifest
from masquerade.datasets.mimes import (
    ACTION_SETS,
    ACTIONS,
    ATTRIBUTE_SETS,
    KEYPOINTS,
    PARTS,
    RATES,
    Mime,
    Mimes,
    write,
    write_mimes,
)
from masquerade.datasets.mimes.motion import (
    PERIODS,
    Gait,
    channel_phases,
    draw_gait,
    draw_staging,
    walk_path,
)
from masquerade.errors import UsageError
from masquerade.metrics.classification import auroc, average_precision
from masquerade.metrics.floors import expected_binary_floors
from masquerade.models.optical_flow import warp
from masquerade.video.read import read_video

NAMES = list(ACTIONS)


@pytest.fixture(scope="module")
def whole() -> Mimes:
    return Mimes()


def mime(index: int, **given: int) -> Mime:
    return Mimes(clips=index + 1, **given).clip(index)


def test_a_clip_depends_on_its_number_and_the_seed_alone(whole: Mimes) -> None:
    again = mime(70)
    assert np.array_equal(whole.clip(70).clip, again.clip)
    assert np.array_equal(whole.pixels([70])[0], again.clip)
    assert whole.clip(70).labels == again.labels
    assert not np.array_equal(mime(70, seed=1).clip, again.clip)
    assert not np.array_equal(mime(71).clip, again.clip)


@pytest.mark.parametrize(("size", "frames"), [(32, 8), (64, 16), (128, 32), (48, 1)])
def test_every_size_has_the_shapes_it_says(size: int, frames: int) -> None:
    drawn = mime(3, size=size, frames=frames)
    assert drawn.clip.shape == (3, frames, size, size)
    assert drawn.parts.shape == drawn.person.shape == drawn.limbs.shape == (frames, size, size)
    assert drawn.flow.shape == (frames, size, size, 2)
    assert drawn.keypoints.shape == (frames, len(KEYPOINTS), 2)
    assert 0.05 < drawn.person.mean() < 0.5
    assert drawn.parts.max() < len(PARTS)


def test_the_previous_frame_warped_by_the_flow_is_the_frame(whole: Mimes) -> None:
    moved, still, wrong, exact = [], [], [], []
    for i in range(20):
        drawn = whole.clip(i)
        frames = drawn.clip.transpose(1, 2, 3, 0).astype(np.float32)
        for t in range(1, 16):
            past = warp(drawn.limbs[t - 1].astype(np.float32), drawn.flow[t], nearest=True)
            seen = (past == drawn.limbs[t]) & drawn.person[t]  # the same piece was to be seen
            fast = seen & (np.abs(drawn.flow[t]).max(-1) > 0.7)
            for flow, errors in (
                (drawn.flow[t], moved),
                (0 * drawn.flow[t], still),
                (-drawn.flow[t], wrong),
            ):
                errors.append(np.abs(warp(frames[t - 1], flow) - frames[t]).mean(-1)[fast])
            exact.append(seen.sum() / drawn.person[t].sum())
    moved, still, wrong = (np.concatenate(each).mean() for each in (moved, still, wrong))
    assert moved < 10
    assert moved < 0.45 * still < 0.45 * wrong
    assert np.mean(exact) > 0.85


def test_flow_is_zero_where_nothing_moves(whole: Mimes) -> None:
    drawn = whole.clip(0)
    assert not drawn.flow[~drawn.person].any()
    assert not drawn.flow[0].any()
    assert drawn.flow[1:].any()


def test_keypoints_lie_on_their_parts(whole: Mimes) -> None:
    wanted = {
        "head": {"face", "forehead", "hair", "hat"},
        "near_hand": {"hands"},
        "near_elbow": {"arms"},
        "near_knee": {"legs"},
        "near_foot": {"feet"},
    }
    hits: dict[str, list[bool]] = {name: [] for name in wanted}
    covered: list[bool] = []
    for i in range(40):
        drawn = whole.clip(i)
        for name, parts in wanted.items():
            x, y = np.rint(drawn.keypoints[:, KEYPOINTS.index(name)]).astype(int).T
            inside = (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
            shown = drawn.parts[np.arange(16)[inside], y[inside], x[inside]]
            hits[name] += [PARTS[n] in parts for n in shown]
            covered += (shown > 0).tolist()
    # what lies in front of the near knee or foot is an arm at times, never the near hand
    floor = {"near_hand": 0.97, "near_elbow": 0.9, "head": 0.6, "near_knee": 0.6, "near_foot": 0.8}
    assert np.mean(covered) > 0.99
    for name, least in floor.items():
        assert np.mean(hits[name]) > least, name


def test_every_part_is_visible_somewhere(whole: Mimes) -> None:
    seen = set(np.unique(np.stack([whole.clip(i).parts for i in range(16)])))
    assert seen == set(range(len(PARTS)))


def seen_in_one_frame(name: str, number: int | None) -> F64:
    """Of 3,000 clips of an action the phases, the place, and how far forwards of the middle it is.

    They are those of frame `number` of 16, or of one at random.
    """
    rng = np.random.default_rng([NAMES.index(name), 5])
    rows = []
    for _ in range(3000):
        gait, staging = draw_gait(rng), draw_staging(rng)
        t = int(rng.integers(16)) if number is None else number
        phases = channel_phases(ACTIONS[name], staging, gait, 16)
        place = walk_path(ACTIONS[name], staging, gait, 16)[t]
        rows.append([*(phases[c][t] % 1 for c in PERIODS), place, (place - 0.5) * staging.facing])
    return np.array(rows)


def gap(a: F64, b: F64) -> float:
    """The largest distance of two samples' distribution functions, of the column that has it."""
    gaps = []
    for one, other in zip(a.T, b.T, strict=True):
        both = np.concatenate((one, other))
        shares = [np.searchsorted(np.sort(x), both, "right") / len(x) for x in (one, other)]
        gaps.append(np.abs(shares[0] - shares[1]).max())
    return float(max(gaps))


def test_a_frame_of_unknown_time_does_not_reveal_the_action() -> None:
    """Phases, place and direction have one distribution there, whatever runs."""
    seen = {name: seen_in_one_frame(name, None) for name in ACTIONS}
    gaps = [gap(seen[a], seen[b]) for a, b in combinations(ACTIONS, 2)]
    assert max(gaps) < 0.06  # sampling noise of 3,000 draws, and of 28 pairs by 8 columns


def test_the_first_frame_tells_a_walk_from_a_retreat() -> None:
    """As docs/attackers.md says: walkers are at the back of their path, retreaters at its front."""
    walk, retreat, march = (seen_in_one_frame(n, 0) for n in ("walk", "retreat", "march"))
    assert gap(walk[:, 7:], retreat[:, 7:]) > 0.99
    assert gap(walk[:, 7:], march[:, 7:]) > 0.2
    assert gap(walk[:, :7], retreat[:, :7]) < 0.06  # neither a pose nor the place alone does
    middle = (seen_in_one_frame(n, 7) for n in ("walk", "retreat"))
    assert gap(*middle) < 0.25


def test_actions_differ_in_motion() -> None:
    staging = draw_staging(np.random.default_rng(0))
    ways = {}
    for name, action in ACTIONS.items():
        phases = channel_phases(action, staging, Gait(), 16)
        turned = tuple(int(np.sign(np.round(p[-1] - p[0], 9))) for p in phases.values())
        ways[name] = (turned, bool(np.ptp(walk_path(action, staging, Gait(), 16))))
    assert len(set(ways.values())) == len(ACTIONS) >= 8


def test_labels_are_balanced_and_the_hat_is_rare(whole: Mimes) -> None:
    for part, rows in whole.splits["split"].items():
        for name, rate in RATES.items():
            tolerance = 0.07 if part != "val" else 0.15  # val has thirteen people
            assert abs(whole.targets(name)[rows].mean() - rate) < tolerance, (part, name)
    actions = Counter(whole.manifest.cells("action"))
    assert set(actions) == set(NAMES)
    assert min(actions.values()) > 0.8 * max(actions.values())


@pytest.mark.parametrize("knob", [0.0, 0.6])
def test_counts_meet_the_floors_in_closed_form(knob: float) -> None:
    mimes = Mimes(clips=4000, people=200, correlation=knob, correlated=("warm", "hat"))
    odd = np.array([NAMES.index(a) % 2 for a in mimes.manifest.cells("action")])
    for name in RATES:
        floor, bits = mimes.floors[name], mimes.targets(name)
        counted = [bits[odd == side].mean() for side in (0, 1)]
        assert np.allclose(counted, floor.given, atol=0.04), name
        scores = np.array(floor.given)[odd]
        assert abs(average_precision(bits, scores).value - floor.prior_ap) < 0.04
        assert abs(auroc(bits, scores).value - floor.prior_auroc) < 0.04
        guess = (scores > 0.5) == bits
        assert abs(guess.mean() - floor.prior_accuracy) < 0.04
    assert mimes.floors["warm"].prior_accuracy == pytest.approx(0.8 if knob else 0.5)


def test_only_the_attributes_that_were_named_follow_the_action() -> None:
    floors = Mimes(correlation=0.6, correlated=("warm",)).floors
    assert floors["warm"].given == pytest.approx((0.8, 0.2))
    assert floors["hat"].given == pytest.approx((0.2, 0.2))
    assert floors["warm"].prior_ap == pytest.approx(0.8 * 0.8 + 0.2 * 0.5)


def test_a_bit_that_the_action_decides_has_perfect_floors() -> None:
    sure = expected_binary_floors(1.0, 0.0)
    assert sure.prior_ap == sure.prior_auroc == sure.prior_accuracy == 1.0
    assert sure.constant_accuracy == 0.5


def test_the_split_for_utility_shares_no_person(whole: Mimes, tmp_path: Path) -> None:
    people = np.array(whole.manifest.cells("identity"))
    parts = {part: set(people[rows]) for part, rows in whole.splits["split"].items()}
    assert not parts["train"] & parts["test"]
    assert not parts["train"] & parts["val"]
    assert not parts["val"] & parts["test"]
    again = {part: set(people[rows]) for part, rows in whole.splits["split_identity"].items()}
    assert again["train"] == again["test"] == again["val"]
    assert check_manifest(whole.manifest, files=False).ok


def test_a_person_looks_the_same_in_all_clips(whole: Mimes) -> None:
    for name in (*RATES, "split"):
        cells = whole.manifest.cells(name)
        assert all(cells[i] == cells[i % 128] for i in range(len(whole)))
    gaits = {person.gait for person in whole.people}
    assert len(gaits) == 128
    assert {person.gait for person in Mimes(gait=False).people} == {Gait()}


def test_shuffled_looks_tell_nobody_and_gait_stays() -> None:
    own, shuffled = (
        Mimes(clips=40, people=8, frames=2, shuffle_looks=shuffle) for shuffle in (False, True)
    )
    names = set(own.labels(0)) - set(shuffled.labels(0))
    assert names == set(RATES) and "identity" in shuffled.floors and "hat" not in shuffled.floors
    for i in range(8):  # clips of one person, in other looks each time, by that person's gait
        takes = [shuffled._shown(i + 8 * turn) for turn in range(5)]
        assert len({one.top for one in takes}) > 1
        assert {one.gait for one in takes} == {own.people[i].gait}
        assert {one.name for one in takes} == {f"p{i:03d}"}
    assert np.array_equal(shuffled.clip(3).clip, shuffled.clip(3).clip)
    with pytest.raises(UsageError, match="cannot be shuffled"):
        Mimes(looks=False, shuffle_looks=True)


def test_without_looks_people_differ_in_gait_only() -> None:
    plain = Mimes(looks=False)
    attributes = [column.name for column in plain.manifest.of_role("attribute")]
    assert attributes == ["scene", "object", "identity"]
    first, *others = plain.people
    assert all(p.build == first.build and p.top == first.top for p in others)
    assert len({p.gait for p in plain.people}) == 128


def test_people_of_one_look_and_gait_may_differ_in_build_alone() -> None:
    drawn = Mimes(clips=2, people=8, frames=2, looks=False, gait=False, builds=True)
    first, *others = drawn.people
    assert len({p.build for p in drawn.people}) == 8
    assert all(replace(p, number=0, part=first.part, build=first.build) == first for p in others)
    assert not np.array_equal(
        drawn.clip(0).parts > 0,
        Mimes(clips=2, people=8, frames=2, looks=False, gait=False).clip(0).parts > 0,
    )
    with pytest.raises(UsageError, match="builds already"):
        Mimes(builds=True)


def test_sets_of_actions_and_attributes_are_disjoint(whole: Mimes) -> None:
    assert not set(ACTION_SETS[0]) & set(ACTION_SETS[1])
    assert set(ACTION_SETS[0]) | set(ACTION_SETS[1]) == set(ACTIONS)
    assert not set(ATTRIBUTE_SETS["person"]) & set(ATTRIBUTE_SETS["place"])
    some = Mimes(actions=ACTION_SETS[0], clips=128)
    assert set(some.manifest.cells("action")) == set(ACTION_SETS[0])


def test_a_folder_is_as_open_as_any_new_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_mimes(tmp_path / "m", Mimes(clips=2, people=4, size=32, frames=4))
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("name", [".", "e", "link"])
def test_an_empty_folder_is_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Some cannot be replaced, such as `.` or a mounted volume: all was drawn, and then refused."""
    empty = tmp_path / "e"
    empty.mkdir(mode=0o750)
    (tmp_path / "link").symlink_to("e")
    monkeypatch.chdir(empty if name == "." else tmp_path)
    before = empty.stat()
    path = write_mimes(Path(name), Mimes(size=32, frames=2, clips=2, people=4), truth=True)
    assert check_manifest(read_manifest(path)).ok
    assert sorted(os.listdir(empty)) == ["clips", "manifest.csv", "truth"]
    after = empty.stat()
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert sorted(os.listdir(tmp_path)) == ["e", "link"]


@pytest.mark.parametrize("name", ["file", "link", "full"])
def test_what_is_no_empty_folder_is_refused_before_anything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "full" / "clips").mkdir(parents=True)
    monkeypatch.setattr(write, "_fill", lambda *_, **__: pytest.fail("it is drawn"))
    with pytest.raises(UsageError, match=f"{name} is there already and is no empty folder"):
        write_mimes(tmp_path / name, Mimes(clips=2, people=4))
    assert os.listdir(tmp_path / "full") == ["clips"]


@KNOWN
def test_an_interruption_anywhere_leaves_an_empty_folder_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(folder: Path, *_: object, **__: object) -> None:
        for name in ("clips", "truth"):
            (folder / name).mkdir()
            (folder / name / "0").write_text("drawn")
        (folder / "manifest.csv").write_text("path")

    monkeypatch.setattr(write, "_fill", fill)
    reached, point, complete = True, 0, ["clips", "manifest.csv", "truth"]
    while reached:
        point += 1
        folder = tmp_path / str(point)
        folder.mkdir()
        work = partial(write_mimes, folder, Mimes(clips=2, people=4))
        reached = interrupted_at(point, work, write)
        assert sorted(os.listdir(folder)) in ([], complete), point
    assert sorted(os.listdir(folder)) == complete and point > 20


def test_files_hold_what_was_drawn(tmp_path: Path) -> None:
    mimes = Mimes(clips=3, people=4)
    path = write_mimes(tmp_path / "m", mimes, truth=True)
    manifest = read_manifest(path)
    assert manifest.cells("action") == mimes.manifest.cells("action")
    kinds = {c.name: (c.role, c.kind) for c in manifest.columns}
    assert kinds["identity"] == ("attribute", "identity")
    assert kinds["split"][0] == "split"
    for i, clip in enumerate(manifest.clips):
        drawn = mimes.clip(i)
        read = read_video(manifest.path(clip)).clip[0].numpy() * 255
        assert read.shape == drawn.clip.shape
        assert np.abs(read - drawn.clip).mean() < 4
        truth = np.load(path.parent / "truth" / f"{i:06d}.npz")
        assert np.array_equal(truth["parts"], drawn.parts)
        assert np.allclose(truth["flow"], drawn.flow, atol=0.01)


def test_the_command_writes_a_dataset_that_passes_its_checks(tmp_path: Path) -> None:
    words = [str(tmp_path / "m"), "--clips", "8", "--people", "4", "--size", "32", "--frames", "8"]
    assert data.main(["mimes", *words]) == 0
    assert check_manifest(read_manifest(tmp_path / "m" / "manifest.csv")).ok
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == ["clips", "manifest.csv"]
    with pytest.raises(UsageError, match="no empty folder"):
        data.main(["mimes", *words])
    with pytest.raises(UsageError, match="give one above 0"):
        data.main(["mimes", str(tmp_path / "n"), "--correlated", "hat"])


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"size": 16}, "32 to 256"),
        ({"people": 3}, "at least 4"),
        ({"correlation": 1.5}, "between 0 and 1"),
        ({"correlated": ("nose",)}, "nose"),
        ({"actions": ("fly", "walk")}, "fly"),
        ({"actions": ("walk", "bow", "kick"), "correlation": 0.5}, "even number"),
        ({"looks": False, "correlation": 0.5}, "own looks"),
        ({"shuffle_looks": True, "correlation": 0.5}, "own looks"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        Mimes(**arguments)  # type: ignore[arg-type]


def test_there_is_no_clip_past_the_last() -> None:
    with pytest.raises(UsageError, match="from 0 to 4"):
        Mimes(clips=5).clip(5)


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path, there: bool) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from masquerade.datasets import mimes\nfrom masquerade.datasets.mimes import write\n"
        "write._fill = lambda *a, **k: os.kill(os.getpid(), 9)\n"
        "write.write_mimes(Path(sys.argv[1]), mimes.Mimes(clips=2, people=4))\n"
    )
    if there:
        (tmp_path / "m").mkdir()
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "m"])
    assert done.returncode == -9
    assert len(list((tmp_path / "m" if there else tmp_path).iterdir())) == 1
    drawn = Mimes(size=32, frames=2, clips=2, people=4)
    write_mimes(tmp_path / "m", drawn)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    assert sorted(os.listdir(tmp_path / "m")) == ["clips", "manifest.csv"]


def test_an_action_is_named_once() -> None:
    with pytest.raises(UsageError, match="named twice"):
        Mimes(actions=("walk", "walk"))

"""Sequences of poses: whose they are, what is kept of them, and that they lie on what is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from walkers import SIZE, walker

from masquerade import build
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.errors import UsageError
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
from masquerade.extraction.poses import drawn_people, find_people, pose_sequence
from masquerade.extraction.store import ClipCache
from masquerade.methods.drawn_people import DrawnPeople
from masquerade.regions.region import Region
from masquerade.video.frame import Frame
from masquerade.video.read import Reader
from masquerade.video.write import write_video

DATA = Path(__file__).parents[3] / "shared" / "data"
NUMBERS = np.arange(0, 20, 2)


def test_place_and_size_are_kept_in_heights_of_the_frame_from_its_middle() -> None:
    one = walker(4, x=100)
    poses = pose_sequence({4: [one]}, np.array([4]), size=SIZE)
    assert poses.shape == (6, 1, 33, 2) and poses.dtype == np.float32
    assert poses[0, 0, :, 0] * 120 + 80 == pytest.approx(one.landmarks[:, 0], abs=1e-4)
    assert poses[1, 0, :, 0] * 120 + 60 == pytest.approx(one.landmarks[:, 1], abs=1e-4)
    assert (poses[2, 0, :, 0] == 1).all()
    assert pytest.approx(one.world, abs=1e-6) == poses[3:, 0, :, 0].T
    assert not poses[..., 1].any()


def test_the_most_visible_two_are_taken_from_left_to_right() -> None:
    people = {
        t: [
            walker(t, x=130, track=5),
            *([walker(t, x=80, track=1)] if t < 6 else []),
            walker(t, x=30, track=7),
        ]
        for t in range(20)
    }
    poses = pose_sequence(people, NUMBERS, size=SIZE)
    assert poses[0, :, 23:25].mean(axis=(0, 1)) * 120 + 80 == pytest.approx([30, 130], abs=1)


def test_who_is_lost_and_found_again_stays_one_person() -> None:
    people = {
        t: [walker(t, x=30, track=0), *([walker(t, x=120, track=1 + (t > 9))] if t != 9 else [])]
        for t in range(20)
    }
    poses = pose_sequence(people, np.arange(20), size=SIZE)
    seen = (poses[2] > 0).any(axis=1)  # (T, M)
    assert seen[:, 0].all() and seen[:, 1].tolist() == [t != 9 for t in range(20)]
    alone = {t: [walker(t, x=80, track=t > 9)] for t in range(20)}
    assert not pose_sequence(alone, NUMBERS, size=SIZE)[..., 1].any()


def test_where_nobody_is_all_is_0() -> None:
    assert not pose_sequence({}, NUMBERS, size=SIZE).any()


@pytest.mark.parametrize(
    ("name", "given"), [("skeleton", {}), ("mannequin", {"gait_jitter": 8, "ground": "black"})]
)
def test_drawn_joints_lie_where_the_method_draws_them(name: str, given: dict[str, Any]) -> None:
    method = build(name, **given)
    assert isinstance(method, DrawnPeople)
    people = [[walker(t, steps=2)] for t in range(20)]
    clip = torch.zeros(1, 3, 20, 120, 160)
    shown = method(clip, people=[people], state=method.init_state(seed=7)).clip[0]
    joints = [who for _, who in drawn_people(enumerate(people), method, seed=7)]
    for t in range(20):
        (one,) = joints[t]
        drawn = one.landmarks[one.landmarks[:, 3] > 0]
        assert 13 <= len(drawn) <= 33
        x, y = np.rint(drawn[:, :2]).astype(int).T
        near = torch.nn.functional.max_pool2d(shown[:, t], 3, 1, 1).amax(dim=0)
        hit = near[y, x] > 0.2
        assert hit[1:].all()  # but for a skeleton's head, which is a ring
    late = [who for _, who in drawn_people(enumerate(people), method, seed=8)]
    moved = max(
        float(np.abs(a.landmarks - b.landmarks).max())
        for (a,), (b,) in zip(joints, late, strict=True)
    )
    assert moved > 1 if given else moved == 0


def test_a_mannequins_joints_are_a_standard_bodys() -> None:
    method = build("mannequin")
    assert isinstance(method, DrawnPeople)
    state = method.init_state(seed=0)
    a, b = (method.drawn_joints([walker(3, thigh=thigh)], state)[0][0] for thigh in (0.3, 0.5))
    assert a.world == pytest.approx(b.world)


class Walking:
    """A region source that finds one walker in every frame."""

    look_ahead = 1

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        for t, frame in enumerate(frames):
            mask = np.full((frame.height, frame.width), 255, np.uint8)
            yield Region(mask=mask, people=(walker(t),))


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    write_video(tmp_path / "a.mp4", torch.full((1, 3, 20, 120, 160), 0.5))
    (tmp_path / "clips.csv").write_text("path,action\na.mp4,walk\n")
    return read_manifest(tmp_path / "clips.csv")


def found_by(frames: Iterable[np.ndarray]) -> Iterator[list[Any]]:
    """A stand-in for the networks, which sees somebody in what is grey."""
    for t, pixels in enumerate(frames):
        yield [walker(t)] if abs(float(pixels.mean()) - 127.5) < 3 else []


def test_poses_are_looked_for_in_what_is_published_and_stored(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("masquerade.extraction.extract_video.find_people", found_by)

    def extract(**config: Any) -> tuple[np.ndarray, int]:
        cache = ClipCache(folder=tmp_path / "cache")
        config |= {"frames": 10, "allow_empty": True}
        found = extract_clips(data, ExtractionConfig(**config), cache=cache)
        return found[0].numpy(), found.passes

    raw, passes = extract(content="poses")
    numbers = ExtractionConfig(frames=10).indices(0, 19)
    assert numbers.tolist() == list(range(1, 20, 2))
    expected = {t: [walker(t // 2)] for t in range(1, 20, 2)}  # who is read at these alone
    assert raw.dtype == np.float32 and passes == 1
    assert np.array_equal(raw, pose_sequence(expected, numbers, size=SIZE))
    again, passes = extract(content="poses")
    assert np.array_equal(raw, again) and passes == 0  # from the store
    copy, _ = extract(content="poses", method=build("downsample", factor=2), through_file=True)
    assert np.array_equal(copy, raw)
    black, _ = extract(content="poses", method=build("blacken"))
    assert not black.any()
    known, _ = extract(content="poses", regions=Walking)
    expected = {t: [walker(t)] for t in range(20)}
    assert np.array_equal(known, pose_sequence(expected, numbers, size=SIZE))
    drawn, _ = extract(content="joints", method=build("mannequin"), regions=Walking, seed=0)
    unseen, _ = extract(content="poses", method=build("mannequin"), regions=Walking, seed=0)
    assert not unseen.any()  # and not the joints from the store
    assert (drawn[2] > 0).any() and not np.array_equal(drawn, raw)
    pixels, _ = extract(size=(12, 16))
    assert pixels.shape == (3, 10, 12, 16) and pixels.dtype == np.uint8


def test_people_are_looked_for_in_a_clips_frames_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def nobody(frames: Iterable[np.ndarray]) -> Iterator[list[Any]]:
        for pixels in frames:
            read.append(round(float(pixels.mean())))
            yield []

    monkeypatch.setattr("masquerade.extraction.extract_video.find_people", nobody)
    grey = torch.arange(60).view(1, 1, 60, 1, 1).expand(1, 3, 60, 48, 64) * 4 / 255
    write_video(tmp_path / "a.mp4", grey)
    (tmp_path / "clips.csv").write_text("path,action\na.mp4,walk\n")
    config = ExtractionConfig(content="poses", frames=5, allow_empty=True)
    extract_clips(read_manifest(tmp_path / "clips.csv"), config)
    assert config.indices(0, 59).tolist() == [6, 18, 30, 42, 54]
    assert read == pytest.approx([4 * t for t in range(6, 55, 12)], abs=2)


def test_a_clips_poses_do_not_depend_on_other_clips_of_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what a sample of clips kept would differ from what all of them together give."""
    monkeypatch.setattr("masquerade.extraction.extract_video.find_people", found_by)
    write_video(tmp_path / "a.mp4", torch.full((1, 3, 60, 120, 160), 0.5))
    rows = [f"a.mp4,walk,{first},{last}" for first, last in ((0, 59), (10, 29), (20, 59))]
    (tmp_path / "clips.csv").write_text("\n".join(["path,action,first,last", *rows]) + "\n")
    manifest = read_manifest(tmp_path / "clips.csv")
    config = ExtractionConfig(content="poses", frames=5, allow_empty=True)
    together = extract_clips(manifest, config)
    for row, clip in enumerate(manifest.clips):
        alone = extract_clips(manifest.take([row]), config)[0]
        assert alone.any() and torch.equal(alone, together[row]), clip


def test_methods_that_draw_nobody_have_no_drawn_joints() -> None:
    with pytest.raises(UsageError, match="Only methods that draw people"):
        ExtractionConfig(content="joints", method=build("blur"))


def test_the_networks_find_the_poses_of_real_people() -> None:
    if not (DATA / "uti").is_dir():
        pytest.skip("../shared/data is not here")
    with Reader(min((DATA / "uti").rglob("set1_12_3_4.mp4"))) as reader:
        frames = [item.rgb() for item in islice(reader, 12) if isinstance(item, Frame)]
    found = dict(enumerate(find_people(frames)))
    height, width = frames[0].shape[:2]
    poses = pose_sequence(found, np.arange(len(frames)), size=(width, height))
    assert (poses[2] > 0).any(axis=1).all()  # two people in every frame
    heads, feet = poses[1, :, 0].mean(axis=0), poses[1, :, 27:33].mean(axis=(0, 1))
    assert (feet - heads > 0.4).all() and (np.abs(poses[:2]) < 1).all()
    left, right = poses[0].mean(axis=(0, 1))
    assert left < right

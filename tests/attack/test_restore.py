"""A network that learned from pairs restores what was hidden too little, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import pytest
import torch

from masquerade.attack import AttackConfig, VideoAttack, attack_files, restore, run
from masquerade.attack.finders import Finders
from masquerade.attack.finding import Finding
from masquerade.attack.restore import FramePair, Restoration, cut_patches
from masquerade.cli.demo_clip import frames
from masquerade.errors import VideoError
from masquerade.models.restoration_net import RestorationNet
from masquerade.regions.boxes import Box

pytestmark = pytest.mark.usefixtures("nothing_undone")
COUNT = 12
Change = Callable[[np.ndarray], np.ndarray]


def write(path: Path, change: Change, *, count: int = COUNT, flip: bool = False) -> Path:
    """The demo's frames at half their size, changed; mirrored, so that it is another video."""
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "8", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for number, frame in zip(range(count), frames(), strict=False):
            small = cv2.resize(frame, (320, 240), interpolation=cv2.INTER_AREA)
            shown = change(np.ascontiguousarray(small[:, ::-1]) if flip else small)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path


def same(frame: np.ndarray) -> np.ndarray:
    return frame


def weak_blur(frame: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.GaussianBlur(frame, (0, 0), 2.5))


def black(frame: np.ndarray) -> np.ndarray:
    return np.zeros_like(frame)


def attacked(folder: Path, change: Change) -> tuple[VideoAttack, ...]:
    """Two videos, each restored by what learned from the other."""
    raw, published = folder / "raw", folder / "published"
    for name, made in ((raw, same), (published, change)):
        name.mkdir()
        for flip in (False, True):
            write(name / f"clip{int(flip)}.mp4", made, flip=flip)
    report = attack_files([published], AttackConfig(frames=2), raw=raw)
    assert all(one.error is None for one in report.videos)
    return report.videos


def learn_from(monkeypatch: pytest.MonkeyPatch, *, steps: int) -> None:
    """Let networks take so many steps, of patches of a fourth of the pixels."""
    monkeypatch.setattr(restore, "STEPS", steps)
    monkeypatch.setattr(restore, "SIDE", 32)


def found(video: VideoAttack) -> Finding:
    return next(one for one in video.findings if one.attack == "restore")


@pytest.mark.slow
def test_weak_blur_is_recovered_by_a_network_that_did_not_see_the_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even by one that learned for two thirds of its steps, and of smaller patches."""
    learn_from(monkeypatch, steps=200)
    for video in attacked(tmp_path, weak_blur):
        finding = found(video)
        assert finding.level == "recovered" and video.recovered, finding.says
        assert "learned from 1 other pairs" in finding.work
        proof = finding.proofs[0]
        height, width = proof.picture.shape[:2]
        # one place as published, restored and raw, or the last two
        assert proof.parts in (2, 3) and width % proof.parts == 0 and height > 10


@pytest.mark.slow
def test_black_frames_are_not_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learn_from(monkeypatch, steps=60)
    for video in attacked(tmp_path, black):
        finding = found(video)
        assert finding.level == "nothing" and not finding.proofs
        assert "frames is anything seen again that is looked for" in finding.says


def test_the_quick_part_trains_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(patches: torch.Tensor) -> RestorationNet:
        raise AssertionError("a network is trained")

    monkeypatch.setattr(run, "fit_on_patches", refuse)
    raw = write(tmp_path / "raw.mp4", same, count=2)
    published = write(tmp_path / "published.mp4", black, count=2)
    (video,) = attack_files([published], AttackConfig(frames=2, quick=True), raw=raw).videos
    assert video.error is None and len(video.attacked) == 2
    assert not any(one.attack == "restore" for one in video.findings)


def nearest(levels: tuple[int, ...], patches: torch.Tensor) -> set[int]:
    """The levels of grey of the raw parts of patches."""
    greys = patches[:, 6:].float().mean(dim=(1, 2, 3)).tolist()
    return {min(levels, key=lambda level: abs(level - grey)) for grey in greys}


def test_no_network_learns_from_the_video_that_it_restores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each video is one grey level; the network says by its bias which ones it learned from."""
    monkeypatch.setattr(run, "PATCHES", 60)  # which show every video
    levels = (40, 80, 120, 160, 200)
    for name in ("raw", "published"):
        (tmp_path / name).mkdir()
    beside = {}
    for level in levels:
        paths = [tmp_path / name / f"{level}.mp4" for name in ("raw", "published")]
        for path in paths:
            write(path, lambda frame, level=level: np.full_like(frame, level), count=3)
        beside[paths[1]] = paths[0]
    seen: list[set[int]] = []

    def spy(patches: torch.Tensor) -> RestorationNet:
        seen.append(nearest(levels, patches))
        net = RestorationNet()
        net.group = len(seen) - 1  # type: ignore[assignment]
        return net

    monkeypatch.setattr(run, "fit_on_patches", spy)
    restorations = run._cross_fit_restorers(beside, None, [])
    assert len(restorations) == len(levels) and len(seen) == restore.NETWORKS
    for path, one in restorations.items():
        assert one.net is not None
        learned = seen[int(one.net.group)]  # type: ignore[arg-type]
        assert int(path.stem) not in learned and len(learned) >= 3


@pytest.mark.parametrize("copied", [False, True], ids=["one file", "copies"])
def test_published_videos_of_one_raw_video_are_restored_by_what_saw_none_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copied: bool
) -> None:
    """Each raw video is one grey level, and published twice."""
    monkeypatch.setattr(run, "PATCHES", 60)  # which show every video
    levels = (40, 120, 200)
    beside: dict[Path, Path | None] = {}
    for kind in ("face", "person"):
        (tmp_path / kind).mkdir()
        for level in levels:
            raw = tmp_path / f"{level}.mp4"
            write(raw, lambda frame, level=level: np.full_like(frame, level), count=3)
            if copied:  # as for outputs in two folders, whose raw videos must have their names
                (tmp_path / f"{kind}s").mkdir(exist_ok=True)
                raw = Path(shutil.copy(raw, tmp_path / f"{kind}s"))
            beside[write(tmp_path / kind / raw.name, black, count=2)] = raw
    nets: dict[int, set[int]] = {}

    def spy(patches: torch.Tensor) -> RestorationNet:
        net = RestorationNet()
        nets[id(net)] = nearest(levels, patches)
        return net

    monkeypatch.setattr(run, "fit_on_patches", spy)
    restorations = run._cross_fit_restorers(beside, None, [])
    assert len(restorations) == len(beside) and len(nets) == restore.NETWORKS
    for path, one in restorations.items():
        assert one.learned.startswith("learned from 4 other pairs")
        assert nets[id(one.net)] == {*levels} - {int(path.stem)}
    halves = run._cross_fit_restorers(
        dict(list(beside.items())[::3]), None, []
    )  # both of one raw video
    assert len(halves) == 2
    for one in halves.values():
        assert one.first == 1 and one.learned.startswith("learned from the first half")


@pytest.mark.slow
def test_of_one_pair_the_second_half_is_restored_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn_from(monkeypatch, steps=2)
    raw, published = (
        write(tmp_path / f"{name}.mp4", change) for name, change in (("a", same), ("b", weak_blur))
    )
    (video,) = attack_files([published], AttackConfig(frames=6), raw=raw).videos
    finding = found(video)
    assert finding.level == "nothing"  # after two steps
    assert "3 frames restored" in finding.work and "first half of the video" in finding.work


def test_patches_show_what_is_hidden() -> None:
    rng = np.random.default_rng(0)
    raw = cv2.GaussianBlur(rng.integers(0, 256, (200, 300, 3)).astype(np.uint8), (0, 0), 1)
    published = raw.copy()
    published[90:110, 140:160] = 0
    pair = FramePair(published=published, around=published, raw=raw)
    hidden = pair.hidden
    assert hidden[95:105, 145:155].all() and hidden.mean() < 0.03
    patches = cut_patches([pair], 40)
    assert patches.shape == (40, 9, 64, 64)
    shows = (patches[:, :3] != patches[:, 6:]).flatten(1).any(dim=1)
    assert shows.float().mean() > 0.7
    small = FramePair(published=raw[:40], around=raw[:40], raw=raw[:40])
    assert cut_patches([small], 40).shape == (0, 9, 64, 64)


class Blind:
    kinds = ("face",)

    def find(self, kind: str, frame: np.ndarray, **_: object) -> list[Box]:
        return []


def test_a_small_part_of_a_large_frame_is_restored_and_a_tiny_one_said_to_be_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restore, "restore_frames", lambda net, inputs: inputs[:, :3])
    raw = np.full((1080, 1920, 3), 128, np.uint8)
    raw[::2] += 9

    def hide(side: int) -> FramePair:
        published = raw.copy()
        published[300 : 300 + side, 600 : 600 + side] = 0
        return FramePair(published=published, around=published, raw=raw)

    restoration = Restoration(net=RestorationNet(), learned="learned from others", first=1)
    finders = cast(Finders, Blind())
    restoration.restore_frame(0, hide(48), finders)
    assert "no frame that it may restore was looked at" in restoration.finding().says
    restoration.restore_frame(1, hide(3), finders)
    assert "fewer than 200 pixels of these frames are hidden" in restoration.finding().says
    restoration.restore_frame(2, hide(48), finders)
    found = restoration.finding()
    assert "in none of 1 frames" in found.says
    assert "1 frames restored" in found.work and "1 left out" in found.work


def test_a_pair_beside_pairs_that_cannot_be_read_is_said_to_be_alone(tmp_path: Path) -> None:
    published, raw = write(tmp_path / "a.mp4", black, count=2), write(tmp_path / "b.mp4", same)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    found = run._cross_fit_restorers({published: raw, bad: bad}, None, [])
    assert found[published].net is None
    assert "no other pair of published and raw video can be read" in found[published].learned


def test_a_pair_that_cannot_be_learned_from_has_a_line_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object) -> None:
        raise VideoError("frame 3 is damaged.")

    monkeypatch.setattr(run, "cut_patches", damaged)
    published, raw = write(tmp_path / "a.mp4", black, count=2), write(tmp_path / "b.mp4", same)
    for pairs in ({published: raw}, {published: raw, raw: published}):
        found = run._cross_fit_restorers(pairs, None, [])
        assert found.keys() == pairs.keys()
        says = found[published].finding().says
        assert says.endswith("this pair could not be read to learn from: frame 3 is damaged.")


@pytest.mark.slow
def test_many_videos_give_as_many_patches_as_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget is of all videos together, whatever a folder holds."""
    seen: list[int] = []

    def fit(patches: torch.Tensor) -> None:
        seen.append(len(patches))

    monkeypatch.setattr(run, "fit_on_patches", fit)
    raw = write(tmp_path / "raw.mp4", same)
    pairs = {}
    for number in range(6):
        path = tmp_path / f"{number}.mp4"
        source = tmp_path / f"raw{number}.mp4"
        for one in (path, source):  # of one content they would be one video
            one.write_bytes(raw.read_bytes() + number * b"\0\0\0\x08free")
        pairs[path] = source
    for most in (6, 12):
        monkeypatch.setattr(run, "PATCHES", most)
        run._cross_fit_restorers(pairs, None, [])
        assert seen == [most * 4 // 6] * 3  # each of three networks learns from four of the six
        seen.clear()

"""Extraction: the right frames, anonymized whole, and bad videos reported."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from counting_videos import (
    STEP,
    Mark,
    boxes,
    counting,
    extract_clips,
    manifest_of,
    numbers,
    pixels,
)
from torch import Tensor

import masquerade
from masquerade.datasets.manifest import Manifest
from masquerade.datasets.published import READERS
from masquerade.errors import MasqueradeError, OutputError, UsageError
from masquerade.extraction.config import (
    UnionFactory,
    region_names,
)
from masquerade.extraction.store import ClipCache
from masquerade.pipeline.coverage import FrameCounts
from masquerade.pipeline.stream import Cover
from masquerade.process_pool import worker_pool
from masquerade.regions import Boxes, WholeFrame
from masquerade.regions.boxes import Box
from masquerade.regions.region import Region
from masquerade.storage import HELD
from masquerade.video.encoding import Encoding
from masquerade.video.write import write_video


def test_frames_are_spread_over_the_video_or_its_range(data: Manifest) -> None:
    store = extract_clips(data, frames=4, size=16)
    assert len(store) == 3 and store.shape == (3, 4, 16, 16) and store[0].dtype == torch.uint8
    assert store.rows.tolist() == [0, 1, 2] and not store.skipped
    assert numbers(store[0]) == [5, 15, 25, 35]
    assert numbers(store[2]) == [12, 17, 22, 27]
    assert store.passes == 2  # one a file, not one a row


def test_a_stride_starts_at_the_first_frame_and_repeats_the_last(data: Manifest) -> None:
    store = extract_clips(data, frames=4, size=(12, 16), stride=9)
    assert store.shape[2:] == (12, 16)
    assert numbers(store[0]) == [0, 9, 18, 27]
    assert numbers(store[1]) == [0, 9, 18, 19]
    assert numbers(store[2]) == [10, 19, 28, 29]


def test_the_whole_video_is_anonymized_and_then_sampled(data: Manifest) -> None:
    """What a frame carries depends on all the frames before it, also those not sampled."""
    raw, Mark.seen = extract_clips(data, frames=4, size=16), 0
    marked = extract_clips(data, frames=4, size=16, method=Mark())
    assert Mark.seen == 60 and Mark.size == (48, 64)  # every frame once, at its own size
    added = (pixels(marked) - pixels(raw)).float().mean(dim=(1, 3, 4)).round().int()
    assert added[0].tolist() == [5, 15, 25, 35]
    assert added[2].tolist() == [12, 17, 22, 27]


def test_the_papers_protocol_samples_first(data: Manifest) -> None:
    raw, Mark.seen = extract_clips(data.take([1]), frames=4, size=16), 0
    marked = extract_clips(data.take([1]), frames=4, size=16, method=Mark(), sample_first=True)
    added = (pixels(marked) - pixels(raw)).float().mean(dim=(1, 3, 4)).round().int()
    assert Mark.seen == 4 and added[0].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["pixelate", "mask-mean"])
def test_through_a_file_is_nearly_the_same(data: Manifest, name: str) -> None:
    method = masquerade.build(name)
    for first in (False, True):
        given = {"frames": 4, "size": 16, "method": method, "sample_first": first}
        plain = extract_clips(data, **given)
        coded = extract_clips(data, **given, through_file=True)
        off = (pixels(plain) - pixels(coded)).abs().float()
        assert numbers(coded[0]) == [5, 15, 25, 35]
        assert off.mean() < 2
        assert off.any() == (name == "mask-mean")  # whose RGB is darker in a file; planes are kept


def test_shrinking_averages_areas(tmp_path: Path) -> None:
    grain = torch.zeros(1, 3, 2, 64, 64)
    grain[..., ::2] = 0.8
    write_video(tmp_path / "grain.mp4", grain, encoding=Encoding(lossless=True))
    store = extract_clips(manifest_of(tmp_path, [("grain.mp4", "x", "", "")]), frames=1, size=8)
    assert (pixels(store) / 255 - 0.4).abs().max() < 0.02


def test_bad_clips_are_reported_and_left_out(data: Manifest) -> None:
    (data.root / "b.mp4").write_bytes((data.root / "a.mp4").read_bytes()[:900])
    rows = [("a.mp4", "x", "", ""), ("b.mp4", "y", "", ""), ("gone.mp4", "x", "", "")]
    rows += [("a.mp4", "y", 30, 45)]
    broken = manifest_of(data.root, rows)
    store = extract_clips(broken.take([0, 1, 2]), frames=4, size=16)
    assert store.rows.tolist() == [0] and len(store) == 1
    assert set(store.skipped) == {1, 2}
    assert "b.mp4" in store.skipped[1] and "does not exist" in store.skipped[2]
    assert str(data.root) not in store.skipped[2]  # results, which are shared, have the reason
    store = extract_clips(broken.take([3, 1, 0]), frames=4, size=16)
    assert "40 frames" in store.skipped[0]
    assert store.of_rows([0, 1, 2]).rows.tolist() == [2]
    with pytest.raises(MasqueradeError, match="Not one clip"):
        extract_clips(broken.take([1, 2]), frames=4, size=16)


def test_a_range_outside_the_video_spoils_its_own_row_only(data: Manifest) -> None:
    ranged = manifest_of(data.root, [("a.mp4", "x", 0, 9), ("a.mp4", "y", 30, 45)])
    store = extract_clips(ranged, frames=2, size=16)
    assert store.rows.tolist() == [0] and set(store.skipped) == {1}


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    for i in range(6):
        counting(tmp_path / f"{i}.mp4", 6 + i)
    (tmp_path / "3.mp4").write_bytes(b"no video")
    data = manifest_of(tmp_path, [(f"{i}.mp4", "x", "", "") for i in range(6)])
    calls: list[tuple[int, int]] = []
    method = masquerade.build("selective")
    one = extract_clips(data, frames=3, size=16, method=method, seed=1)
    two = extract_clips(
        data,
        frames=3,
        size=16,
        method=method,
        seed=1,
        workers=2,
        progress=lambda *at: calls.append(at),
    )
    assert torch.equal(pixels(one), pixels(two))
    assert one.skipped == two.skipped and set(one.skipped) == {3}
    assert calls == [(i, 6) for i in range(7)]


def test_a_pool_that_is_given_stays_open_without_work_or_files(tmp_path: Path) -> None:
    for i in range(16):
        counting(tmp_path / f"{i}.mp4", 6)
    data = manifest_of(tmp_path, [(f"{i}.mp4", "x", "", "") for i in range(16)])

    def interrupt(done: int, of: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with worker_pool(2) as pool:
        asked, submit = list[Future[Any]](), pool.submit

        def noted(*task: Any) -> Future[Any]:
            asked.append(submit(*task))
            return asked[-1]

        pool.submit = noted  # type: ignore[method-assign]
        given: Any = {"workers": 2, "open_executor": partial(nullcontext, pool), "frames": 3}
        with pytest.raises(KeyboardInterrupt):
            extract_clips(data, **given, through_file=True, progress=interrupt)
        stopped = len(asked)
        assert stopped == 8 and all(one.done() or one.running() for one in asked)  # none waits
        found = extract_clips(data, **given, through_file=True)
        assert not found.skipped and len(asked) == stopped + 16
        scratch = pool.scratch
        assert [path.name for path in scratch.iterdir()] == [HELD]
    assert not scratch.exists()


@pytest.mark.usefixtures("few_more_files")
def test_a_network_of_many_weights_takes_no_open_files_for_each_video(tmp_path: Path) -> None:
    for i in range(6):
        counting(tmp_path / f"{i}.mp4", 6)
    data = manifest_of(tmp_path, [(f"{i}.mp4", "x", "", "") for i in range(6)])
    method = masquerade.build("mask-mean")
    method.weights = torch.nn.ParameterList(torch.zeros(1) for _ in range(150))
    assert not extract_clips(data, frames=3, size=16, method=method, workers=2).skipped


def end_process(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_is_killed_ends_the_extraction_with_one_sentence(tmp_path: Path) -> None:
    for i in range(6):
        counting(tmp_path / f"{i}.mp4", 6)
    data = manifest_of(tmp_path, [(f"{i}.mp4", "x", "", "") for i in range(6)])
    method = masquerade.build("mask-mean")
    method.on_bytes = end_process
    said = r"^a worker process died, .* fewer --workers and run the command again"
    with pytest.raises(MasqueradeError, match=said):
        extract_clips(data, frames=3, size=16, method=method, workers=2)


def test_the_noise_of_two_videos_differs_under_one_seed(tmp_path: Path) -> None:
    counting(tmp_path / "a.mp4", 3)
    counting(tmp_path / "b.mp4", 4)
    data = manifest_of(tmp_path, [("a.mp4", "x", "", ""), ("b.mp4", "x", "", "")])
    store = extract_clips(
        data, frames=1, size=(48, 64), method=masquerade.build("selective"), seed=1
    )
    off = (store[0].int() - store[1].int()).abs()
    assert (off > 10).float().mean() > 0.5


def test_finished_region_sources_are_refused(data: Manifest) -> None:
    with pytest.raises(UsageError, match="partial"):
        extract_clips(
            data, frames=2, size=16, regions=WholeFrame(), method=masquerade.build("blur")
        )
    with pytest.raises(UsageError, match="no regions"):
        extract_clips(data, frames=2, size=16, regions="feet", method=masquerade.build("blur"))


@pytest.mark.parametrize("through_file", [False, True])
def test_a_folder_of_frames_is_a_video(tmp_path: Path, through_file: bool) -> None:
    (tmp_path / "v").mkdir()
    for i in range(12):  # numbered without zeros: 10 comes after 9
        cv2.imwrite(str(tmp_path / "v" / f"{i}.png"), np.full((48, 64, 3), STEP * i, np.uint8))
    data = manifest_of(tmp_path, [("v", "x", "", ""), ("v", "x", 4, 11), ("v", "x", 4, 12)])
    given = {"frames": 4, "size": 16, "through_file": through_file, "cache": tmp_path / "cache"}
    store = extract_clips(data, **given)
    assert [numbers(clip) for clip in store] == [[1, 4, 7, 10], [5, 7, 9, 11]]
    assert "12 frames" in store.skipped[2]
    whole = data.take([0, 1])
    assert extract_clips(whole, **given).passes == 0
    cv2.imwrite(str(tmp_path / "v" / "4.png"), np.zeros((48, 64, 3), np.uint8))
    assert extract_clips(whole, **given).passes == 1


def test_a_take_of_sbu_is_its_colour_frames(tmp_path: Path) -> None:
    take = tmp_path / "s01s02" / "01" / "001"
    take.mkdir(parents=True)
    for i in range(1, 13):
        cv2.imwrite(str(take / f"rgb_{i:06d}.png"), np.full((48, 64, 3), STEP * (i - 1), np.uint8))
        cv2.imwrite(str(take / f"depth_{i:06d}.png"), np.full((48, 64), 65535, np.uint16))
    (take / "skeleton_pos.txt").write_text("1,0.5")
    store = extract_clips(READERS["sbu"](tmp_path), frames=12, size=16)
    assert numbers(store[0]) == list(range(12))


def test_several_regions_hide_together(data: Manifest, tmp_path: Path) -> None:
    left, right = (boxes(tmp_path / f"{x}.json", x) for x in (0, 48))
    both = UnionFactory((partial(Boxes, file=left), partial(Boxes, file=right)))
    assert region_names(both) == ["boxes", "boxes"]
    given = {"frames": 2, "size": (48, 64), "cache": tmp_path / "cache"}
    cover = Cover(shape="box", scale=1.0)
    method = masquerade.build("blacken")
    light = extract_clips(data.take([1]), frames=2, size=(48, 64))[0][:, 1].float().mean()
    for _ in range(2):
        store = extract_clips(
            data.take([1]), method=method, regions=pickle.loads(pickle.dumps(both)),
            cover=cover, **given,
        )  # fmt: skip
        columns = store[0][:, 1].float().mean(dim=(0, 1))  # (W,)
        assert columns[[8, 56]].max() < light / 2 < columns[32]
    assert store.passes == 0
    boxes(right, 24)  # a hand changed the file
    again = extract_clips(data.take([1]), method=method, regions=both, cover=cover, **given)
    assert again.passes == 1 and again[0][:, 1, :, 32].float().mean() < light / 2


def test_clips_through_files_are_not_made_on_the_fly(data: Manifest) -> None:
    """An encoder does not give the same file each time."""
    with pytest.raises(UsageError, match="give a larger --store-limit"):
        extract_clips(data, frames=2, size=16, through_file=True, cache=ClipCache(limit=0))


class Sees:
    """A region source that finds a box in dark frames alone, and is unsure of the brightest."""

    name, look_ahead, model_sha256 = "people", 0, None

    def __init__(self, *, below: int = 256, above: int = 255) -> None:
        self.below, self.above = below, above

    def __call__(self, pictures: Iterable[Any]) -> Iterator[Region]:
        for picture in pictures:
            level = picture.rgb().mean()
            found = (Box(8, 8, 40, 40, 1.0),) if level < self.below else ()
            yield Region(boxes=found, full_frame=bool(level > self.above))


def test_videos_that_would_not_be_published_are_not_measured(
    data: Manifest, tmp_path: Path
) -> None:
    """a.mp4 has the levels 0 to 234, b.mp4 2 to 116."""
    given = {"frames": 2, "size": 16, "method": masquerade.build("blacken")}
    given["cache"] = tmp_path / "cache"
    with pytest.raises(OutputError, match=r"found in 2 of 2 videos \(a\.mp4, b\.mp4\)") as caught:
        extract_clips(data, regions=partial(Sees, below=-1), **given)
    assert caught.value.exit_code == 4 and "--allow-empty" in str(caught.value)
    found = extract_clips(data, regions=partial(Sees, below=-1), allow_empty=True, **given)
    assert found.passes == 0  # clips and counts were kept
    assert found.coverage is not None and found.coverage.counts.empty == 60
    assert found.coverage.unpublished == dict.fromkeys(
        ("a.mp4", "b.mp4"), "nothing to hide was found"
    )
    unsure = partial(Sees, above=200)
    with pytest.raises(OutputError, match=r"hidden whole .* in 1 of 2 videos \(a\.mp4\)") as caught:
        extract_clips(data, regions=unsure, workers=2, **given)
    assert "--allow-gaps" in str(caught.value)
    found = extract_clips(data, regions=unsure, allow_gaps=True, **given)
    assert found.coverage is not None and found.coverage.counts.filled_whole == 6
    assert list(found.coverage.unpublished) == ["a.mp4"]
    fine = extract_clips(data.take([1]), regions=unsure, **given).coverage
    assert fine is not None and not fine.unpublished
    assert fine.counts == FrameCounts(frames=20, span=20)
    assert extract_clips(data, frames=2, size=16).coverage is None  # of raw video nothing is hidden


def test_what_is_asked_to_be_whole_is_certain(data: Manifest) -> None:
    given = {"frames": 2, "size": 16, "method": masquerade.build("blacken")}
    for regions in (None, "frame", UnionFactory((Sees, WholeFrame))):
        assert not extract_clips(data, regions=regions, **given).coverage.unpublished


class Outlined:
    """Finds one box whose outline is its left half."""

    name, shape, look_ahead = "outlined", "silhouette", 0

    def __call__(self, frames: Iterable[Any]) -> Iterator[Region]:
        for frame in frames:
            mask = np.zeros((frame.height, frame.width), np.uint8)
            mask[16:32, 16:32] = 255
            yield Region(boxes=(Box(16, 16, 48, 32, 1.0, label="person"),), mask=mask)


def test_regions_that_are_kept_hide_what_found_ones_hide(data: Manifest, tmp_path: Path) -> None:
    """An outline stays an outline, as `anonymize` hides it, with a cache too."""

    def hidden(cache: Path | None, **more: Any) -> Tensor:
        given = {"frames": 2, "size": (48, 64), "method": masquerade.build("blacken")}
        return pixels(extract_clips(data, cache=cache, regions=Outlined, **given, **more))

    found = hidden(None)
    assert torch.equal(hidden(tmp_path), found)
    assert not torch.equal(hidden(tmp_path, cover=Cover(shape="box")), found)
    assert not torch.equal(hidden(tmp_path, cover=Cover(shape="silhouette", scale=3)), found)

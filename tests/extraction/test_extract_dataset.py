"""Extraction: the right frames, anonymized whole, bad videos reported, clips stored by content."""

from __future__ import annotations

import csv
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

import masquerade
from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.errors import MasqueradeError, OutputError, UsageError
from masquerade.extraction import extract_dataset
from masquerade.extraction.config import (
    FOUND_BY,
    HIDDEN_BY,
    READ_BY,
    WRITTEN_BY,
    ExtractionConfig,
    JoinedRegions,
    config_digest,
    region_names,
)
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.extraction.region_cache import _read
from masquerade.extraction.store import ClipCache
from masquerade.pipeline.config import FileConfig
from masquerade.pipeline.coverage import FrameCounts
from masquerade.pipeline.stream import Cover
from masquerade.regions import Boxes, WholeFrame
from masquerade.regions.boxes import Box
from masquerade.regions.key_extractors import build_key_extractor
from masquerade.regions.region import Region
from masquerade.regions.template import make_template
from masquerade.regions.template_library import Library
from masquerade.regions.template_regions import Templates
from masquerade.storage import code_digest
from masquerade.video.encoding import Encoding
from masquerade.video.write import write_video

STEP = 6  # grey levels from a frame to the next: more than the encoder moves them
QUICK = Encoding(preset="ultrafast", crf=5)


class Mark(Anonymizer):
    """Adds one level for each frame that it has seen of the video, and counts them all."""

    seen = 0

    def __init__(self, *, depth: float = 1 / 255) -> None:
        super().__init__()
        self.depth = depth
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def init_state(self, *, seed: int | None = None) -> int:
        return 0

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state=0) -> Anonymized:
        assert not self.training and not self.weight.requires_grad
        Mark.seen += clip.shape[2]
        Mark.size = clip.shape[3:]
        number = torch.arange(state, state + clip.shape[2])[:, None, None]
        return Anonymized((clip + number * self.depth).clamp(0, 1), None, state + clip.shape[2])


def counting(path: Path, frames: int, *, offset: int = 0) -> None:
    """A video whose frame i is of level STEP * i."""
    levels = (offset + STEP * torch.arange(frames)).float() / 255
    write_video(
        path,
        levels[None, None, :, None, None].expand(1, 3, -1, 48, 64),
        encoding=QUICK,
        overwrite=True,
    )


def manifest_of(folder: Path, rows: list[tuple]) -> Manifest:
    with (folder / "data.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["path", "action", "first", "last"])
        out.writerows(rows)
    return read_manifest(folder / "data.csv")


@pytest.fixture
def data(tmp_path: Path) -> Manifest:
    """Two videos of 40 and 20 frames, and the first one's frames 10 to 29."""
    counting(tmp_path / "a.mp4", 40)
    counting(tmp_path / "b.mp4", 20, offset=2)
    return manifest_of(
        tmp_path, [("a.mp4", "x", "", ""), ("b.mp4", "y", "", ""), ("a.mp4", "z", 10, 29)]
    )


def extract_clips(data: Manifest, *, cache=None, workers=1, progress=None, **config) -> ClipDataset:
    return extract_dataset.extract_clips(
        data, ExtractionConfig(**config), cache=cache, workers=workers, progress=progress
    )


def pixels(store: ClipDataset) -> Tensor:
    """(N, 3, T, H, W) int."""
    return torch.stack([*store]).int()


def numbers(clip: Tensor) -> list[int]:
    """Which frames of a counting video a clip holds."""
    return [round(float(level) / STEP) for level in clip.float().mean(dim=(0, 2, 3))]


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
    store = extract_clips(broken.take([3, 1, 0]), frames=4, size=16)
    assert "40 frames" in store.skipped[0]
    assert store.of_rows([0, 1, 2]).rows.tolist() == [2]
    with pytest.raises(UsageError, match="Not one clip"):
        extract_clips(broken.take([1, 2]), frames=4, size=16)


def test_a_range_outside_the_video_spoils_its_own_row_only(data: Manifest) -> None:
    ranged = manifest_of(data.root, [("a.mp4", "x", 0, 9), ("a.mp4", "y", 30, 45)])
    store = extract_clips(ranged, frames=2, size=16)
    assert store.rows.tolist() == [0] and set(store.skipped) == {1}


def test_a_second_extraction_reads_the_store(data: Manifest, tmp_path: Path) -> None:
    given = {"frames": 4, "size": 16, "method": masquerade.build("selective"), "seed": 1}
    first = extract_clips(data, cache=tmp_path / "cache", **given)
    second = extract_clips(data, cache=tmp_path / "cache", **given)
    assert (first.passes, second.passes) == (2, 0)
    assert torch.equal(pixels(first), pixels(second))
    assert second.rows.tolist() == [0, 1, 2]


SEARCHED: list[int] = []


class Left:
    """The left half, and how often it was searched for."""

    look_ahead = 0

    def __init__(self, *, width: int = 16) -> None:
        self.width = width

    def __call__(self, pictures: Iterable[Any]) -> Iterator[Region]:
        SEARCHED.append(self.width)
        for t, picture in enumerate(pictures):
            mask = np.zeros((picture.height, picture.width), np.uint8)
            mask[:, : self.width] = 255
            yield Region(boxes=(Box(0, 0, 1, 1, 0.5, track=t),), mask=mask, strength=mask // 2)


def test_regions_are_searched_once_for_all_methods(data: Manifest, tmp_path: Path) -> None:
    def clips(method: str, cache: Path | None, **given) -> torch.Tensor:
        regions = partial(Left, **given)
        how = {"frames": 4, "size": 16, "method": masquerade.build(method), "regions": regions}
        return pixels(extract_clips(data, cache=cache, seed=1, **how))

    cache = tmp_path / "cache"
    SEARCHED.clear()
    first, second = clips("blacken", cache), clips("pixelate", cache)
    assert SEARCHED == [16, 16]  # two files, once each
    assert torch.equal(first, clips("blacken", None))
    assert torch.equal(second, clips("pixelate", None))
    clips("blacken", cache, width=8)
    assert SEARCHED == [16] * 6 + [8] * 2
    for file in cache.glob("regions-*/*"):
        file.write_bytes(file.read_bytes()[:50])
    assert torch.equal(clips("mask-mean", cache), clips("mask-mean", None))


FILES = [
    {"codec": "ffv1"}, {"crf": 40}, {"encoder_preset": "fast"}, {"lossless": True},
    {"bitrate": "80k"}, {"noise_qoffset": 0.5}, {"size": "model"},
]  # fmt: skip
"""One setting each that changes a file, or might."""


def test_all_that_changes_clips_is_in_the_key(data: Manifest, tmp_path: Path) -> None:
    def passes(**given) -> int:
        args = {"frames": 2, "size": 16, "method": masquerade.build("blur"), "seed": 1, **given}
        return extract_clips(data.take([0]), cache=tmp_path / "cache", **args).passes

    heavier = Mark()
    heavier.weight.data += 1
    kinds = [
        {},
        {"frames": 3},
        {"size": 12},
        {"stride": 2},
        {"seed": 2},
        {"method": None},
        {"method": masquerade.build("blur", sigma=3.0)},
        {"method": masquerade.build("pixelate")},
        {"method": Mark()},
        {"method": Mark(depth=2 / 255)},
        {"method": heavier},
        {"regions": partial(WholeFrame)},
        {"outside": "black"},
        {"through_file": True},
        *({"through_file": True, "file": FileConfig(**one)} for one in FILES),
        {"content": "packets"},
        {"content": "packets", "file": FileConfig(crf=40)},
        {"sample_first": True},
    ]
    assert [passes(**kind) for kind in kinds] == [1] * len(kinds)
    assert [passes(**kind) for kind in kinds] == [0] * len(kinds)
    counting(data.root / "a.mp4", 39)
    assert passes() == 1


def test_a_damaged_store_is_made_anew(data: Manifest, tmp_path: Path) -> None:
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}
    first = extract_clips(data, **given)
    for file in (tmp_path / "cache").glob("clips-*/*"):
        file.write_bytes(file.read_bytes()[:50])
    second = extract_clips(data, **given)
    assert second.passes == 2 and torch.equal(pixels(first), pixels(second))


def test_bad_clips_are_not_cached_as_good(data: Manifest, tmp_path: Path) -> None:
    rows = [("a.mp4", "x", "", ""), ("gone.mp4", "y", "", ""), ("x" * 300, "y", "", "")]
    broken = manifest_of(data.root, rows)
    for _ in range(2):
        assert set(extract_clips(broken, frames=2, size=16, cache=tmp_path / "c").skipped) == {1, 2}
    counting(data.root / "gone.mp4", 10)
    assert set(extract_clips(broken, frames=2, size=16, cache=tmp_path / "c").skipped) == {2}


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


def test_several_regions_hide_together(data: Manifest, tmp_path: Path) -> None:
    left, right = (boxes(tmp_path / f"{x}.json", x) for x in (0, 48))
    both = JoinedRegions((partial(Boxes, file=left), partial(Boxes, file=right)))
    assert region_names(both) == ["boxes", "boxes"]
    given = {"frames": 2, "size": (48, 64), "cache": tmp_path / "cache"}
    cover = Cover(shape="box", margin=1.0)
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


def boxes(path: Path, x: int) -> Path:
    """A file of one box 16 pixels wide and as tall as the frame, in every frame."""
    box = {"box": [x, 0, x + 16, 48]}
    frames = {str(i): [box] for i in range(40)}
    path.write_text(json.dumps({"version": 1, "width": 64, "height": 48, "frames": frames}))
    return path


def test_a_cache_that_cannot_be_written_is_refused(data: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MasqueradeError, match="cannot be written"):
        extract_clips(data, frames=2, size=16, cache=tmp_path / "file" / "cache")


def test_large_arguments_are_in_the_key(data: Manifest, tmp_path: Path) -> None:
    """The text of a large array leaves most of it out."""

    class Table(Mark):
        def __init__(self, *, table: np.ndarray) -> None:
            super().__init__()
            self.table = table

    one, other = np.zeros(4000), np.zeros(4000)
    other[2000] = 1
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}
    for table in (one, other, one.reshape(2, 2000)):
        assert extract_clips(data.take([0]), method=Table(table=table), **given).passes == 1
    assert extract_clips(data.take([0]), method=Table(table=other), **given).passes == 0


def test_nameless_makers_of_regions_are_not_cached(data: Manifest, tmp_path: Path) -> None:
    """Two of them bear one name."""
    given = {"frames": 2, "size": 16, "method": masquerade.build("blur")}
    for regions in (lambda: WholeFrame(), JoinedRegions((WholeFrame, lambda: WholeFrame()))):
        with pytest.raises(UsageError, match="clips could not be told from others"):
            extract_clips(data, regions=regions, cache=tmp_path / "cache", **given)
        assert len(extract_clips(data.take([0]), regions=regions, **given)) == 1


def test_the_key_has_the_text_of_networks_and_shared_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(path.name), plain(path))[1])
    code_digest.__wrapped__(*HIDDEN_BY)
    assert {"optical_flow.py", "key_vit.py", "unet.py", "blend.py", "noise.py", "boxes.py"} <= set(
        read
    )
    read.clear()
    code_digest.__wrapped__(*FOUND_BY)
    assert "boxes.py" in read and "blend.py" not in read
    read.clear()
    code_digest.__wrapped__(*READ_BY)
    assert {"read.py", "color.py", "extract_video.py", "stacked_clip.py", "optical_flow.py"} <= set(
        read
    )


def test_clips_of_other_code_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Raw video's too, which nothing was hidden in."""
    given = [ExtractionConfig(content=content) for content in ("frames", "stacked", "packets")]
    known = [config_digest(one) for one in given]
    assert [config_digest(one) for one in given] == known
    monkeypatch.setattr("masquerade.extraction.config.code_digest", lambda *patterns: "changed")
    assert not set(known) & {config_digest(one) for one in given}


def test_a_method_that_hides_its_arguments_is_not_cached(data: Manifest, tmp_path: Path) -> None:
    class Secret(Mark):
        def __init__(self, *, amount: float = 1.0) -> None:
            super().__init__()

    with pytest.raises(MasqueradeError, match="amount"):
        extract_clips(data, frames=2, size=16, method=Secret(), cache=tmp_path / "cache")
    assert len(extract_clips(data, frames=2, size=16, method=Secret())) == 3


def test_a_template_that_was_picked_anew_is_another_cache_entry(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    looks, held = build_key_extractor("colour-hog"), Library(folder=tmp_path)
    regions = partial(Templates, templates=("spot",), library=tmp_path)
    how = ExtractionConfig(
        frames=4, size=16, method=masquerade.build("blacken"), regions=regions, seed=0
    )
    found = []
    for at in ((20, 20), (70, 40)):
        held.add(make_template("spot", pixels, [at], looks, image="a.png"))
        found.append(config_digest(how))
    assert found[0] != found[1]


def grains(folder: Path, count: int) -> Manifest:
    """Videos that method noise and every frame make different."""
    for i in range(count):
        counting(folder / f"{i}.mp4", 8 + i)
    return manifest_of(folder, [(f"{i}.mp4", "x", "", "") for i in range(count)])


def test_another_manifest_over_the_same_videos_reuses_their_clips(
    data: Manifest, tmp_path: Path
) -> None:
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}
    extract_clips(data.take([0, 1]), **given)
    other = manifest_of(data.root, [("b.mp4", "y", 0, 9), ("a.mp4", "x", "", "")])
    found = extract_clips(other, **given)
    assert found.passes == 1 and found.rows.tolist() == [0, 1]  # the new range alone
    assert torch.equal(pixels(found), pixels(extract_clips(other, frames=2, size=16)))
    assert extract_clips(data.take([1, 0]), **given).passes == 0


def test_with_frames_sampled_first_a_clip_depends_on_the_other_rows(
    data: Manifest, tmp_path: Path
) -> None:
    """A method with a state sees the frames of all of a video's rows."""
    given = {"frames": 3, "size": 16, "method": Mark(), "sample_first": True}
    rows = [("a.mp4", "x", 20, 29), ("a.mp4", "x", 0, 9)]
    one, two = manifest_of(data.root, rows[:1]), manifest_of(data.root, rows)
    for part in (one, two, one):
        stored = extract_clips(part, cache=tmp_path / "cache", **given)
        assert torch.equal(pixels(stored), pixels(extract_clips(part, **given)))
    assert stored.passes == 0


def test_the_size_is_reported_before_anything_is_written(data: Manifest, tmp_path: Path) -> None:
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        assert not list((tmp_path / "cache").glob("*/*")) or len(lines) > 1

    cache = ClipCache(folder=tmp_path / "cache", report=report)
    given = {"frames": 4, "size": (12, 16), "cache": cache}
    extract_clips(data.take([0]), **given)
    extract_clips(data, **given)
    extract_clips(data, **given)  # nothing is written
    assert lines == [
        f"clips: 1 x 4 x 12 x 16, 0.0 MB in {tmp_path}/cache",
        f"clips: 3 x 4 x 12 x 16, 0.0 MB in {tmp_path}/cache, 0.0 MB of it new",
    ]


def test_clips_that_do_not_fit_on_the_disk_are_refused(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(MasqueradeError, match=r"clips take 0.0 MB .* has 0.0 MB left: free some"):
        extract_clips(data, frames=4, size=16, cache=tmp_path / "cache")
    assert not list(tmp_path.glob("cache/*/*"))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("seed", [1, None])
def test_above_the_limit_the_same_clips_are_made_on_the_fly(
    tmp_path: Path, seed: int | None, workers: int
) -> None:
    data = grains(tmp_path, 7)
    (tmp_path / "3.mp4").write_bytes(b"no video")
    given = {"frames": 3, "size": 16, "method": masquerade.build("selective"), "workers": workers}
    lines: list[str] = []
    given |= {"seed": seed}
    small = ClipCache(folder=tmp_path / "cache", limit=1e4, report=lines.append)
    fly = extract_clips(data, cache=small, **given)
    assert "on the fly" in lines[0] and not list(tmp_path.glob("cache/*/clips.bin"))
    assert set(fly.skipped) == {3} and fly.rows.tolist() == [0, 1, 2, 4, 5, 6]
    assert fly.workers == (workers if workers > 1 else 0)
    batches = torch.split(torch.tensor([5, 0, 2, 2, 1]), 2)
    found = torch.cat(list(clip_loader(fly, batches)))
    assert torch.equal(found, fly.batch(torch.cat(batches)))  # however often they are made
    if seed is not None:
        given["workers"] = 1
        again = extract_clips(data, cache=small, **given)
        stored = extract_clips(data, cache=tmp_path / "cache", **given)
        assert again.passes == 1 and stored.passes == 7  # digests alone are kept, but for 3.mp4
        assert torch.equal(pixels(fly), pixels(stored)) and fly.digest == stored.digest
        assert torch.equal(pixels(again), pixels(stored)) and again.digest == stored.digest


@pytest.mark.parametrize("workers", [0, 1])
def test_a_video_that_changes_is_noticed_on_the_fly(tmp_path: Path, workers: int) -> None:
    fly = extract_clips(grains(tmp_path, 2), frames=2, size=16, cache=ClipCache(limit=0))
    counting(tmp_path / "1.mp4", 30)
    assert len(fly[0])
    with pytest.raises(MasqueradeError, match=r"^A video .* has changed.*again\.$"):
        list(clip_loader(replace(fly, workers=workers), [torch.tensor([1])]))


def test_without_a_cache_nothing_is_left(
    data: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    found = extract_clips(data, frames=2, size=16)
    view = found.take([1])
    assert list((tmp_path / "tmp").glob("*/clips/clips.bin"))
    del found
    assert len(view[0])
    del view
    assert not list((tmp_path / "tmp").iterdir())


KILLED = """
import sys, os, signal, tempfile
from pathlib import Path
from masquerade.storage import TemporaryFolder
tempfile.tempdir = sys.argv[1]
folder = TemporaryFolder()
(folder.path / "clips.bin").write_text("x")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_clips_of_a_process_that_was_killed_are_removed_by_the_next(
    data: Manifest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    alive = extract_clips(data, frames=2, size=16)
    subprocess.run([sys.executable, "-c", KILLED, folder], check=False)
    (left,) = set(folder.iterdir()) - {alive.source.path.parent.parent}  # type: ignore[attr-defined]
    assert left.stat().st_mode & 0o777 == 0o700
    second = extract_clips(data, frames=2, size=16)
    assert not left.exists() and len(list(folder.iterdir())) == 2
    assert torch.equal(pixels(alive), pixels(second))


THROUGH_FILE = """
import sys, signal, tempfile
from pathlib import Path
from masquerade.datasets.manifest import read_manifest
from masquerade.extraction.config import ExtractionConfig
from masquerade.extraction.extract_dataset import extract_clips
tempfile.tempdir = sys.argv[2]
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    data = read_manifest(Path(sys.argv[1]))
    extract_clips(data, ExtractionConfig(frames=2, size=16, through_file=True), workers=2)
"""


@pytest.mark.slow
def test_videos_written_by_interrupted_processes_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    for i in range(6):
        counting(tmp_path / f"{i}.mp4", 2000)
    (tmp_path / "clips.csv").write_text("path,action\n" + "".join(f"{i}.mp4,x\n" for i in range(6)))
    (tmp_path / "work.py").write_text(THROUGH_FILE)
    environment = {**os.environ, "TMPDIR": str(folder)}  # of its processes too
    run = subprocess.Popen(
        [sys.executable, tmp_path / "work.py", tmp_path / "clips.csv", folder],
        env=environment,
        stderr=subprocess.PIPE,
    )
    while not list(folder.glob("**/*anonymized*")) and run.poll() is None:
        time.sleep(0.02)
    run.send_signal(signal.SIGINT)
    _, error = run.communicate(timeout=100)
    assert b"KeyboardInterrupt" in error
    assert not list(folder.glob("**/*.mp4"))


def test_regions_that_cannot_be_kept_cost_no_clip(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("masquerade.extraction.region_cache.np.savez_compressed", full)
    given = {"frames": 2, "size": 16, "method": masquerade.build("blur"), "regions": "people"}
    given["allow_empty"] = True
    assert not extract_clips(data, cache=tmp_path / "cache", **given).skipped


def test_damaged_regions_are_found_anew(data: Manifest, tmp_path: Path) -> None:
    def clips(method: str) -> ClipDataset:
        given = {"frames": 2, "size": 16, "method": masquerade.build(method), "regions": "people"}
        given["allow_empty"] = True
        return extract_clips(data.take([0]), cache=tmp_path / "cache", **given)

    clips("blur")
    (path,) = (tmp_path / "cache").glob("regions-*/*.npz")
    good = path.read_bytes()
    path.write_bytes(b"")
    clips("pixelate")
    assert path.read_bytes() == good
    for at in range(0, len(good), 11):
        path.write_bytes(good[:at] + bytes([good[at] ^ 0x55]) + good[at + 1 :])
        _read(path)  # raises nothing


def test_an_interrupted_extraction_goes_on(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"frames": 2, "size": 16, "cache": tmp_path / "cache"}

    def interrupt(done: int, of: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract_clips(data, progress=interrupt, **given)
    found = extract_clips(data, **given)
    assert found.passes == 1
    assert torch.equal(pixels(found), pixels(extract_clips(data, frames=2, size=16)))


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
    for regions in (None, "frame", JoinedRegions((Sees, WholeFrame))):
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
    assert not torch.equal(hidden(tmp_path, cover=Cover(shape="silhouette", margin=3)), found)


def test_the_code_that_clips_are_kept_under_is_all_that_makes_them() -> None:
    """What it takes from other folders is listed as well, but for what changes no pixel."""
    package = Path(masquerade.__file__).parent
    taken = set()
    for path in (package / "extraction").glob("*.py"):
        for line in path.read_text("utf-8").splitlines():
            if found := re.match(r"(?:from|import) masquerade\.([\w.]+)", line):
                name = found[1].replace(".", "/")
                taken.add(f"{name}/__init__.py" if (package / name).is_dir() else f"{name}.py")
    patterns = [each.replace("**/", "") for each in (*READ_BY, *HIDDEN_BY, *WRITTEN_BY)]
    listed = {one for one in taken if any(fnmatch(one, each) for each in patterns)}
    no_pixels = {
        *("checkpoint.py", "datasets/manifest.py", "errors.py", "pipeline/coverage.py"),
        *("process_pool.py", "storage.py"),
    }
    assert taken - listed == no_pixels

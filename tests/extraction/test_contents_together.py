"""Clips of several contents that are made together are those that each is made of alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from masquerade.datasets.manifest import Manifest, read_manifest
from masquerade.datasets.mimes import Mimes, write_mimes
from masquerade.extraction.config import Content, ExtractionConfig
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.extract_dataset import extract_clips, store_contents
from masquerade.extraction.store import ClipCache
from masquerade.methods import build

CONTENTS: tuple[Content, ...] = ("frames", "flow", "stacked", "packets", "poses")
COUNT = 24


def nobody(frames: Iterable[np.ndarray]) -> Iterator[list[Any]]:
    """A stand-in for the networks, which would not see drawn people."""
    return ([] for _ in frames)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    monkeypatch.setattr("masquerade.extraction.extract_video.find_people", nobody)
    write_mimes(tmp_path / "mimes", Mimes(clips=2, frames=COUNT, size=48))
    path = tmp_path / "mimes" / "manifest.csv"
    lines = path.read_text("utf-8").splitlines()
    (tmp_path / "mimes" / "more.csv").write_text(
        "\n".join([lines[0] + ",first,last", f"{lines[1]},,", f"{lines[1]},4,20", f"{lines[2]},,"])
    )
    return read_manifest(tmp_path / "mimes" / "more.csv")


def configs(**given: Any) -> list[ExtractionConfig]:
    return [
        ExtractionConfig(content=content, frames=6, size=32, seed=5, **given)
        for content in CONTENTS
    ]


def arrays(clips: ClipDataset) -> np.ndarray:
    return np.asarray(clips.batch(torch.arange(len(clips))))


@pytest.mark.slow
@pytest.mark.parametrize("through_file", [False, True])
def test_one_pass_makes_the_same_clips(data: Manifest, tmp_path: Path, through_file: bool) -> None:
    noisy = build("selective")
    both = configs(method=noisy, regions="frame", through_file=through_file)
    cache = ClipCache(folder=tmp_path / "together")
    done: list[tuple[int, int]] = []
    store_contents(data, both, cache=cache, progress=lambda *numbers: done.append(numbers))
    assert done == [(0, 2), (1, 2), (2, 2)], "each video is anonymized once"
    for number, config in enumerate(both):
        found = extract_clips(data, config, cache=cache)
        assert found.passes == 0 and len(found) == 3
        alone = extract_clips(data, config, cache=tmp_path / f"alone {number}")
        assert alone.passes == 2
        assert np.array_equal(arrays(found), arrays(alone)), config.content
        assert found.coverage == alone.coverage


def test_what_is_there_is_not_made_again(data: Manifest, tmp_path: Path) -> None:
    both = configs(method=build("blur"))
    cache = ClipCache(folder=tmp_path)
    first = arrays(extract_clips(data, both[0], cache=cache))
    store_contents(data, both, cache=cache)
    assert np.array_equal(arrays(extract_clips(data, both[0], cache=cache)), first)
    done: list[tuple[int, int]] = []
    store_contents(data, both, cache=cache, progress=lambda *numbers: done.append(numbers))
    assert done == [(2, 2)]


def test_poses_that_are_there_are_not_looked_for_again(
    data: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = configs(method=build("blur"))
    cache = ClipCache(folder=tmp_path)
    store_contents(data, both[-1:], cache=cache)
    monkeypatch.delattr("masquerade.extraction.extract_video.find_people")
    store_contents(data, both, cache=cache)
    assert all(extract_clips(data, config, cache=cache).passes == 0 for config in both)


@pytest.mark.parametrize(
    ("limit", "given"), [(1.0, {}), (1e9, {"sample_first": True}), (1e9, {"method": None})]
)
def test_nothing_is_stored_where_it_would_not_help(
    data: Manifest, tmp_path: Path, limit: float, given: dict[str, Any]
) -> None:
    both = configs(**{"method": build("blur"), **given})
    store_contents(data, both, cache=ClipCache(folder=tmp_path / "cache", limit=limit))
    assert [one for one in (tmp_path / "cache").rglob("*") if one.is_file()] == []


def test_a_video_that_cannot_be_read_leaves_the_others(data: Manifest, tmp_path: Path) -> None:
    data.path(data.clips[2]).write_bytes(b"no video")
    both = configs(method=build("blur"))
    cache = ClipCache(folder=tmp_path / "cache")
    store_contents(data, both, cache=cache)
    for config in both:
        found = extract_clips(data, config, cache=cache)
        assert found.rows.tolist() == [0, 1] and list(found.skipped) == [2]

"""Views of stored clips, and the loader that reads them."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from masquerade.extraction.dataset import (
    ClipDataset,
    MappedClips,
    clip_loader,
    digests_of,
    from_tensor,
)

SHAPE = (3, 2, 4, 6)


def random_clips(count: int, *, seed: int = 0) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, *SHAPE), generator=draw, dtype=torch.uint8)


def mapped(path: Path, clips: Tensor) -> ClipDataset:
    """The same clips in a file."""
    path.write_bytes(clips.numpy().tobytes())
    places = np.arange(len(clips))
    source = MappedClips(path, SHAPE, digests_of(clips))
    return ClipDataset(source=source, places=places, rows=places)


@pytest.fixture(params=["memory", "mapped"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> ClipDataset:
    clips = random_clips(7)
    return from_tensor(clips) if request.param == "memory" else mapped(tmp_path / "a.bin", clips)


def test_views_are_by_place_and_by_row(dataset: ClipDataset) -> None:
    clips = random_clips(7)
    view = dataset.take([4, 2, 0])
    assert view.source is dataset.source and view.shape == SHAPE and len(view) == 3
    assert view.rows.tolist() == [4, 2, 0]
    assert torch.equal(view.batch(torch.tensor([1, 0])), clips[[2, 4]])
    again = view.of_rows(np.array([0, 1, 4]))
    assert again.rows.tolist() == [0, 4] and torch.equal(again[1], clips[4])
    assert torch.equal(torch.stack([*dataset]), clips)
    assert len(dataset.take([])) == 0


def test_the_digest_is_of_the_content(dataset: ClipDataset, tmp_path: Path) -> None:
    clips = random_clips(7)
    assert dataset.digest == mapped(tmp_path / "b.bin", clips).digest == from_tensor(clips).digest
    assert dataset.take([0, 1]).digest == from_tensor(clips[:2]).digest
    others = [dataset.take([1, 0]), dataset.take([0]), dataset.resize(2), from_tensor(clips + 1)]
    assert len({one.digest for one in (dataset, *others)}) == 5


def test_it_travels_by_path_and_places(tmp_path: Path) -> None:
    dataset = mapped(tmp_path / "a.bin", random_clips(50)).take([3, 5])
    assert torch.equal(dataset[0], random_clips(50)[3])
    sent = pickle.dumps(dataset)
    assert len(sent) < 50 * 3 * 2 * 4 * 6
    assert torch.equal(torch.stack([*pickle.loads(sent)]), random_clips(50)[[3, 5]])


def test_resized_clips_are_means_of_areas(dataset: ClipDataset) -> None:
    wanted = torch.nn.functional.adaptive_avg_pool3d(random_clips(7).float(), (2, 2, 2))
    small = dataset.resize(2)
    assert small.shape == (3, 2, 2, 2)
    assert torch.equal(torch.stack([*small]), wanted.round().byte())


@pytest.mark.parametrize("workers", [0, 2])
def test_the_loader_gives_the_callers_batches_and_draws_nothing(
    dataset: ClipDataset, workers: int
) -> None:
    batches = torch.split(torch.tensor([6, 0, 3, 3, 1]), 2)
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    found = list(clip_loader(replace(dataset, workers=workers), batches))
    assert torch.equal(torch.rand(2), wanted)
    for batch, clips in zip(batches, found, strict=True):
        assert torch.equal(clips, random_clips(7)[batch])


def test_windows_are_the_same_frames_of_whole_clips(dataset: ClipDataset) -> None:
    view, clips = dataset.take([5, 3, 1]), random_clips(7)
    found = view.windows(torch.tensor([2, 0]), torch.tensor([1, 0]), 1)
    assert torch.equal(found, torch.stack([clips[1][:, 1:], clips[5][:, :1]]))

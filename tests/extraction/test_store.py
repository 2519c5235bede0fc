"""The store of clips: what counts after an interruption, and several writers at once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from masquerade.errors import MasqueradeError
from masquerade.extraction.dataset import ClipDataset
from masquerade.extraction.store import ENTRY, ClipStore, clip_key
from masquerade.pipeline.coverage import FrameCounts

SHAPE = (3, 2, 4, 6)


def key(number: int) -> bytes:
    return clip_key(hashlib.sha256(str(number).encode()).digest(), None, None)


def clip(number: int) -> Tensor:
    draw = torch.Generator().manual_seed(number)
    return torch.randint(256, SHAPE, generator=draw, dtype=torch.uint8)


def clips(*numbers: int) -> dict[bytes, Tensor]:
    return {key(number): clip(number) for number in numbers}


def check(store: ClipStore, *numbers: int) -> None:
    """These clips are in the store, whole."""
    places = np.array([store.place(key(number)) for number in numbers], dtype=np.int64)
    found = ClipDataset(source=store.mapped(), places=places, rows=places)
    assert torch.equal(torch.stack([*found]), torch.stack([clip(number) for number in numbers]))


def test_clips_are_appended_and_found_again(tmp_path: Path) -> None:
    store = ClipStore(tmp_path / "store", SHAPE)
    assert store.place(key(0)) is None and not (tmp_path / "store").exists()
    store.append(clips(0, 1))
    store.append(clips(1, 2))
    assert [store.place(key(number)) for number in (0, 1, 2, 3)] == [0, 1, 2, None]
    check(ClipStore(tmp_path / "store", SHAPE), 2, 0, 1)


def test_the_counts_of_a_video_stay_with_its_clips(tmp_path: Path) -> None:
    store, counts = ClipStore(tmp_path, SHAPE), FrameCounts(frames=9, empty=2, missed=1, span=8)
    store.append(clips(0, 1), {key(1): counts})
    again = ClipStore(tmp_path, SHAPE)
    assert [again.counts(again.place(key(i))) for i in (0, 1)] == [FrameCounts(), counts]


def test_ranges_of_frames_are_clips_of_their_own() -> None:
    video = bytes(32)
    ranges = [(None, None), (0, 9), (1, 9), (0, 8), (1, None)]
    assert len({clip_key(video, *each) for each in ranges}) == 5
    assert clip_key(video, None, None) == clip_key(video, 0, None)


@pytest.mark.parametrize("index", [0, 30, ENTRY, ENTRY + 30])
@pytest.mark.parametrize("data", [0, 10, 3 * 2 * 4 * 6, 3 * 2 * 4 * 6 + 10])
def test_only_whole_clips_that_the_index_names_count(tmp_path: Path, index: int, data: int) -> None:
    """Whatever an interruption leaves, the store goes on after the last whole clip."""
    store = ClipStore(tmp_path, SHAPE)
    store.append(clips(0, 1))
    for name, size in (("clips.index", index), ("clips.bin", data)):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:size])
    again = ClipStore(tmp_path, SHAPE)
    whole = min(index // ENTRY, data // (3 * 2 * 4 * 6))
    assert [again.place(key(0)), again.place(key(1))] == [0 if whole else None, None]
    again.append(clips(2, 1, 0))
    check(again, 0, 1, 2)
    check(ClipStore(tmp_path, SHAPE), 0, 1, 2)


def test_several_processes_may_write_at_once(tmp_path: Path) -> None:
    given = {number: clips(number, number // 2) for number in range(60)}
    children = []
    for first in (0, 1):
        child = os.fork()
        if not child:
            try:
                store = ClipStore(tmp_path, SHAPE)
                for number in range(first, 60, 2):
                    store.append(given[number])
                os._exit(0)
            finally:
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]
    check(ClipStore(tmp_path, SHAPE), *range(60))
    assert (tmp_path / "clips.index").stat().st_size == 60 * ENTRY


def test_a_store_that_may_only_be_read_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ClipStore(tmp_path, SHAPE).append(clips(0, 1))
    opened = os.open

    def read_only(path: Path, flags: int, *mode: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    store = ClipStore(tmp_path, SHAPE)
    check(store, 1, 0)
    with pytest.raises(MasqueradeError, match="cannot be written: Permission denied"):
        store.append(clips(2))


def test_an_index_with_zeros_counts_up_to_them(tmp_path: Path) -> None:
    """A loss of power may leave zeros at the end of a file."""
    ClipStore(tmp_path, SHAPE).append(clips(0, 1, 2, 3))
    path = tmp_path / "clips.index"
    path.write_bytes(path.read_bytes()[:ENTRY] + bytes(3 * ENTRY))
    store = ClipStore(tmp_path, SHAPE)
    store.append(clips(3, 5))
    for each in (store, ClipStore(tmp_path, SHAPE)):
        check(each, 0, 3, 5)
        for number in (0, 3, 5):
            place = each.place(key(number))
            assert place is not None
            assert bytes(each.digests[place]) == hashlib.sha256(clip(number).numpy()).digest()


def test_a_store_of_digests_keeps_no_pixels(tmp_path: Path) -> None:
    ClipStore(tmp_path, SHAPE, pixels=False).append(clips(0, 1))
    held, stored = ClipStore(tmp_path, SHAPE, pixels=False), ClipStore(tmp_path, SHAPE)
    stored.append(clips(0, 1))
    assert (held.digests == stored.digests).all() and held.place(key(1)) == 1


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MasqueradeError, match="cannot be written"):
        ClipStore(tmp_path / "file" / "store", SHAPE).append(clips(0))

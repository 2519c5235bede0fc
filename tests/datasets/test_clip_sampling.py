"""Sampling of frames and crops: values computed by hand, and properties of every video."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masquerade.datasets.clip_sampling import (
    aspect_crops,
    evenly_spaced,
    middle_crop,
    pad_indices,
    segment_middles,
    strided,
    window_indices,
)
from masquerade.errors import UsageError

counts, lengths = st.integers(1, 300), st.integers(1, 40)
strides = st.integers(1, 8)


def test_indices_computed_by_hand() -> None:
    assert segment_middles(100, 4).tolist() == [12, 37, 62, 87]
    assert segment_middles(3, 6).tolist() == [0, 0, 1, 1, 2, 2]
    assert strided(100, 4, stride=3, start=5).tolist() == [5, 8, 11, 14]
    assert strided(4, 6).tolist() == [0, 1, 2, 3, 3, 3]
    assert strided(4, 9, padding="palindrome").tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert strided(1, 3, padding="palindrome").tolist() == [0, 0, 0]


def test_five_views_start_as_videomae_starts_them() -> None:
    """Every second frame of 80 leaves 40; starts are int(i (40 - 16) / 4) of those."""
    found = window_indices(80, 16, stride=2)
    assert found.shape == (5, 16)
    assert found[:, 0].tolist() == [0, 12, 24, 36, 48]
    assert found[:, -1].tolist() == [30, 42, 54, 66, 78]
    assert window_indices(80, 16, stride=2, number=1)[0, 0] == 24


def test_a_crop_lies_in_the_middle() -> None:
    assert middle_crop(112, 200, 112) == (0, 44)
    assert middle_crop(200, 112, 112) == (44, 0)
    assert middle_crop(64, 64, 56) == (4, 4)
    with pytest.raises(UsageError, match="does not fit"):
        middle_crop(64, 48, 56)


def test_five_times_three_views_are_fifteen_clips() -> None:
    crops = aspect_crops(112, 149, (112, 112), number=3)
    assert len(window_indices(80, 16, stride=2)) * len(crops) == 15


@given(count=counts, frames=lengths, stride=strides)
def test_every_index_lies_in_the_video_and_increases(count: int, frames: int, stride: int) -> None:
    for indices in (
        segment_middles(count, frames),
        strided(count, frames, stride=stride),
        *window_indices(count, frames, stride=stride),
    ):
        assert indices.shape == (frames,) and indices.dtype == np.int64
        assert indices.min() >= 0 and indices.max() < count
        assert (np.diff(indices) >= 0).all()


@given(count=counts, frames=lengths, stride=strides)
def test_a_clip_that_fits_is_never_padded(count: int, frames: int, stride: int) -> None:
    if count < (frames - 1) * stride + 1:
        return
    for indices in window_indices(count, frames, stride=stride):
        assert (np.diff(indices) == stride).all()


@given(count=st.integers(2, 50), frames=lengths)
def test_a_palindrome_never_jumps(count: int, frames: int) -> None:
    indices = pad_indices(np.arange(frames), count, padding="palindrome")
    assert (np.abs(np.diff(indices)) == 1).all()
    assert indices.min() >= 0 and indices.max() < count


def test_evenly_spaced_reaches_both_ends() -> None:
    assert evenly_spaced(10, 3).tolist() == [0, 5, 10]
    assert evenly_spaced(0, 5).tolist() == [0] * 5


@pytest.mark.parametrize(("count", "frames", "stride"), [(0, 4, 1), (4, 0, 1), (4, 4, 0)])
def test_empty_videos_and_clips_are_refused(count: int, frames: int, stride: int) -> None:
    with pytest.raises(UsageError, match="strides, sides and views of clips must be 1 or more"):
        strided(count, frames, stride=stride)


def test_crops_of_an_aspect_computed_by_hand() -> None:
    wide = aspect_crops(240, 320, (112, 112), number=3)
    assert wide == [(0, 0, 240, 240), (0, 40, 240, 240), (0, 80, 240, 240)]
    assert aspect_crops(320, 240, (112, 112)) == [(40, 0, 240, 240)]
    assert aspect_crops(90, 90, (48, 64)) == [(11, 0, 68, 90)]
    assert aspect_crops(48, 64, (48, 64), number=2) == [(0, 0, 48, 64)] * 2


@given(lengths, lengths, lengths, lengths, st.integers(1, 5))
def test_crops_of_an_aspect_are_the_largest_that_fit(
    height: int, width: int, tall: int, wide: int, number: int
) -> None:
    parts = aspect_crops(height, width, (tall, wide), number=number)
    assert len(parts) == number
    for top, left, h, w in parts:
        assert 0 <= top <= height - h and 0 <= left <= width - w
        assert h == height or w == width
        assert abs(h * wide - w * tall) <= max(tall, wide)

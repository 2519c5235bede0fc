"""Pixelate and downsample: block means, positions, and agreement with OpenCV."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.methods import PRESETS
from masquerade.methods.area_resizing import area_resize
from masquerade.methods.downsample import Downsample
from masquerade.methods.pixelate import Pixelate

FINE, COARSE = (PRESETS["pixelate"][name]() for name in ("fine", "coarse"))


@settings(max_examples=30)
@given(h=st.integers(1, 50), w=st.integers(1, 50), block=st.integers(2, 12))
def test_block_means_are_kept(h: int, w: int, block: int) -> None:
    clip = torch.rand(1, 3, 1, h, w, generator=torch.Generator().manual_seed(h * w))
    out = Pixelate(block=block, short=0)(clip).clip
    for y in range(0, h, block):
        for x in range(0, w, block):
            part = (..., slice(y, y + block), slice(x, x + block))
            assert torch.allclose(out[part].mean((-2, -1)), clip[part].mean((-2, -1)), atol=1e-5)
            assert out[part].flatten(-2).std(-1, correction=0).max() < 1e-5


@pytest.mark.parametrize("method", [Pixelate(), Downsample(factor=4), FINE, COARSE])
def test_a_constant_image_stays(method) -> None:
    clip = torch.full((1, 3, 2, 60, 80), 0.3)
    assert torch.allclose(method(clip).clip, clip, atol=1e-6)


def test_the_papers_blocks_are_those_of_224() -> None:
    assert [FINE.side(224, 300), COARSE.side(300, 224), COARSE.side(480, 640)] == [4, 16, 34]


def test_pixelate_equals_opencv_where_blocks_fit() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    small = cv2.resize(image, (12, 8), interpolation=cv2.INTER_AREA)
    expected = cv2.resize(small, (96, 64), interpolation=cv2.INTER_NEAREST)
    out, _ = Pixelate(block=8, short=0).on_pixels(image[None])
    assert np.abs(out[0].astype(int) - expected).max() <= 1


@settings(max_examples=40)
@given(h=st.integers(2, 40), w=st.integers(2, 40), k=st.integers(1, 40), m=st.integers(1, 40))
def test_area_resize_equals_opencv(h: int, w: int, k: int, m: int) -> None:
    height, width = min(h, k), min(w, m)
    image = np.random.default_rng(h * w).random((h, w), np.float32)
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    assert (
        np.abs(area_resize(torch.from_numpy(image), height, width).numpy() - expected).max() < 1e-5
    )


@pytest.mark.parametrize(("h", "w"), [(20, 24), (24, 20), (16, 40)])
def test_a_block_beyond_the_frame_is_its_mean_and_takes_no_more_memory(
    h: int, w: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pad, padded = torch.nn.functional.pad, list[int]()

    def noted(x: torch.Tensor, *given: Any) -> torch.Tensor:
        padded.append(pad(x, *given)[0, 0].numel())
        return pad(x, *given)

    monkeypatch.setattr("masquerade.methods.pixelate.F.pad", noted)
    clip = torch.rand(1, 3, 2, h, w)
    out = Pixelate(block=16384, short=0)(clip).clip
    assert torch.allclose(out, clip.mean((3, 4), keepdim=True).expand_as(clip), atol=1e-5)
    Pixelate(block=18, short=0)(clip)
    assert max(padded) <= 4 * h * w  # twice a side


def test_blocks_have_two_pixels_at_least() -> None:
    assert Pixelate(block=2).side(48, 64) == Pixelate(block=4, short=16384).side(480, 640) == 2


def test_downsampling_the_output_gives_the_reduced_frame() -> None:
    method, clip = Downsample(factor=8), torch.rand(1, 3, 1, 64, 96)
    small = area_resize(clip, *method.size(64, 96))
    out = method(clip).clip
    assert method.size(64, 96) == (8, 12)
    assert torch.allclose(area_resize(out, 8, 12), small, atol=1e-6)
    assert method.size(3, 3) == (1, 1)


@pytest.mark.parametrize("side", [16, 49, 103])
def test_blocks_of_bytes_have_equal_pixels_up_to_their_edges(side: int) -> None:
    """OpenCV's plain nearest pixel is the neighbouring block's at the edges of some sizes."""
    frame = np.random.default_rng(0).integers(0, 256, (side, 5 * side + 3, 3), np.uint8)
    for method in (Pixelate(block=side, short=0), Downsample(factor=side)):
        clip = torch.from_numpy(frame).permute(2, 0, 1)[None, :, None].float() / 255
        expected = method(clip).clip[0, :, 0].permute(1, 2, 0).numpy() * 255
        assert np.abs(method.on_bytes(frame[None])[0][0] - expected).max() <= 1

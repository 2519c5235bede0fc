"""Blocks that hold nothing but noise are quantized coarser, and no other ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from masquerade.methods import build
from masquerade.pipeline.single_file import anonymize_file
from masquerade.regions.boxes import Box, BoxWriter
from masquerade.video.coarse_regions import BLOCK, MOST, hidden_rectangles
from masquerade.video.read import Reader


@settings(max_examples=60)
@given(arrays(np.bool_, st.tuples(st.integers(0, 8), st.integers(0, 8))), st.integers(0, BLOCK - 1))
def test_rectangles_cover_whole_hidden_blocks_once_and_nothing_else(
    blocks: np.ndarray, more: int
) -> None:
    mask = np.kron(blocks, np.ones((BLOCK, BLOCK), np.uint8)).astype(np.uint8) * 255
    mask = np.pad(mask, ((0, more), (0, more)), constant_values=255)
    count = np.zeros(mask.shape, int)
    for x, y, width, height in hidden_rectangles(mask):
        assert x % BLOCK == y % BLOCK == width % BLOCK == height % BLOCK == 0
        count[y : y + height, x : x + width] += 1
    whole = count[: len(count) - more, : count.shape[1] - more]
    assert np.array_equal(whole > 0, mask[: whole.shape[0], : whole.shape[1]] > 0)
    assert count.max(initial=0) <= 1


def test_a_block_with_one_visible_pixel_is_not_coarse_and_rectangles_are_bounded() -> None:
    mask = np.full((BLOCK, 2 * BLOCK), 255, np.uint8)
    mask[3, 5] = 249
    assert hidden_rectangles(mask) == [(BLOCK, 0, BLOCK, BLOCK)]
    many = np.zeros((20 * BLOCK, 20 * BLOCK), np.uint8)
    many.reshape(20, BLOCK, 20, BLOCK)[::2, :, ::2] = 255
    assert len(hidden_rectangles(many)) == MOST


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Half of every frame is to be hidden."""
    path = tmp_path / "boxes.json"
    with BoxWriter(path, width=640, height=480) as writer:
        for index in range(25):
            writer.add(index, [Box(0, 0, 320, 480, 1.0)])
    return path


@pytest.mark.parametrize("suffix", [".mp4", pytest.param(".webm", marks=pytest.mark.slow)])
def test_a_file_with_noise_gets_smaller_and_the_rest_stays_as_sharp(
    clip: Path, tmp_path: Path, boxes: Path, suffix: str
) -> None:
    shown = {}
    for offset in (0.0, 0.3):
        out = tmp_path / f"{offset}{suffix}"
        settings = {"regions": f"boxes:{boxes}", "shape": "box", "mask_scale": 1.0, "seed": 0}
        with pytest.warns(UserWarning, match="--seed"):
            anonymize_file(clip, out, build("selective"), noise_qoffset=offset, **settings)
        with Reader(out) as reader:
            frame = next(frame for frame in reader if hasattr(frame, "rgb"))
            shown[offset] = out.stat().st_size, frame.rgb().astype(int)
    (large, fine), (small, coarse) = shown[0.0], shown[0.3]
    if suffix == ".mp4":  # VP9's encoder takes regions in its fastest modes alone
        assert small < 0.8 * large
        assert np.abs(fine - coarse)[:, :304].mean() > 4
    assert np.abs(fine - coarse)[:, 336:].mean() < 2


@pytest.mark.slow
def test_without_loss_every_pixel_is_kept(clip: Path, tmp_path: Path, boxes: Path) -> None:
    sizes = set()
    for offset in (0.0, 0.3):
        out = tmp_path / f"{offset}.mkv"
        settings = {"regions": f"boxes:{boxes}", "seed": 0, "lossless": True}
        with pytest.warns(UserWarning, match="--seed"):
            anonymize_file(clip, out, build("selective"), noise_qoffset=offset, **settings)
        sizes.add(out.stat().st_size)
    assert len(sizes) == 1

"""Blacken and mask-mean: flat colour inside, nothing outside."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masquerade.methods.blacken import Blacken
from masquerade.methods.mask_mean import MaskMean
from masquerade.methods.pixelate import Pixelate
from masquerade.pipeline.stream import anonymize


def region() -> tuple[torch.Tensor, torch.Tensor]:
    clip = torch.rand(1, 3, 4, 30, 40, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 4, 30, 40)
    mask[..., 5:12, 8:30] = 1
    mask[:, :, 3] = 0  # nobody in the last frame
    return clip, mask


def test_blacken_is_black_inside() -> None:
    clip, mask = region()
    out = Blacken()(clip, mask=mask).clip
    inside = (mask == 1).expand_as(clip)
    assert out[inside].abs().max() == 0
    assert torch.equal(out[~inside], clip[~inside])


def test_mask_mean_is_the_regions_mean_of_each_frame() -> None:
    clip, mask = region()
    out = MaskMean()(clip, mask=mask).clip
    for t in range(3):
        expected = clip[0, :, t, 5:12, 8:30].mean((-2, -1))
        assert torch.allclose(out[0, :, t, 5:12, 8:30], expected[:, None, None], atol=1e-5)
    assert torch.equal(out[:, :, 3], clip[:, :, 3])


def test_mask_mean_of_a_large_region_is_exact() -> None:
    """Added up in float32, white comes to a half of itself there, or to more than white."""
    mask = np.full((1, 1080, 1920), 255, np.uint8)
    mask[0, 0, 0] = 0
    for level in (100, 255):
        frames = np.full((1, 1080, 1920, 3), level, np.uint8)
        assert (MaskMean().on_pixels(frames, mask=mask)[0] == level).all()


@pytest.mark.parametrize("method", [MaskMean(), Pixelate(block=300, short=0)])
def test_means_of_halves_are_added_up_in_full_precision(method: MaskMean | Pixelate) -> None:
    clip = torch.full((1, 3, 1, 300, 300), 0.75, dtype=torch.float16)
    assert (anonymize(clip, method) == clip).all()

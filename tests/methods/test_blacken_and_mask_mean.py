"""Blacken and mask-mean: flat colour inside, nothing outside."""

from __future__ import annotations

import torch

from masquerade.methods.blacken import Blacken
from masquerade.methods.mask_mean import MaskMean


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

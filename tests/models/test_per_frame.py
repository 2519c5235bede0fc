"""UNet and ImageTransformNet: published sizes, any frame size in and the same out."""

from __future__ import annotations

import pytest
import torch

from masquerade.models.image_transform_net import ImageTransformNet
from masquerade.models.per_frame import (
    effective_size,
    transform_frames,
    working_size,
)
from masquerade.models.unet import UNet


def count(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(("width", "wanted"), [(64, 17_267_523), (16, 1_082_067), (8, 271_467)])
def test_the_unet_has_the_published_size(width: int, wanted: int) -> None:
    assert count(UNet(width=width)) == wanted


def test_the_image_transform_net_has_the_published_size() -> None:
    assert count(ImageTransformNet()) == 1_677_638


@pytest.mark.parametrize("size", [(16, 16), (37, 50), (112, 112)])
@pytest.mark.parametrize("kind", [UNet(width=4), ImageTransformNet(blocks=1)])
def test_any_size_comes_out_as_it_went_in(kind: torch.nn.Module, size: tuple[int, int]) -> None:
    assert kind.eval()(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_the_working_size_keeps_the_aspect_unless_it_is_a_strip() -> None:
    assert working_size(480, 640, 48) == (48, 64)
    assert working_size(24, 32, 48) == (48, 64)
    assert working_size(10, 1000, 48) == (48, 192)  # a strip is squeezed
    assert effective_size(480, 640, 48) == (48, 64) and effective_size(24, 32, 48) == (24, 32)


def test_frames_one_by_one_equal_the_batch() -> None:
    clip = torch.rand(2, 3, 4, 20, 30, dtype=torch.float64)
    rewrite = lambda frames: 1 - frames  # noqa: E731
    one = transform_frames(rewrite, clip, short=20)
    assert torch.equal(one, transform_frames(rewrite, clip, short=20, batched=True))
    assert torch.allclose(one, 1 - clip, atol=1e-6) and one.dtype == clip.dtype
    assert transform_frames(lambda x: x, clip, short=10).shape == clip.shape

"""Learning to read extreme low resolution: versions of a clip, and what pulls them together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.extraction.dataset import from_tensor
from masquerade.methods import build
from masquerade.models.recognizers import RECOGNIZERS
from masquerade.training.low_resolution import (
    LowResolutionRecognizer,
    MultiSiamese,
    RandomTransforms,
    siamese,
)
from masquerade.training.supervised import fit


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lowered(**changes: float) -> LowResolutionRecognizer:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-2d"](heads={"action": 2})
    return LowResolutionRecognizer(
        net, method=build("elr", factor=4, short=16), transforms=RandomTransforms(**changes)
    )


def test_no_change_is_no_change() -> None:
    clip = torch.rand(2, 3, 2, 12, 20, generator=drawn())
    same = RandomTransforms(shift=0, turn=0, scale=0).apply(clip, drawn())
    assert torch.allclose(same, clip, atol=1e-5)


def test_a_shift_is_of_the_whole_clip_and_within_bounds() -> None:
    ramp = torch.linspace(0, 1, 32).expand(64, 3, 2, 32, 32)
    moved = RandomTransforms(shift=0.125, turn=0, scale=0).apply(ramp, drawn()) - ramp
    middle = moved[:, :, :, 8:24, 8:24]  # away from where the edge is mirrored
    each = middle.mean(dim=(1, 2, 3, 4))
    assert (middle - each[:, None, None, None, None]).abs().max() < 1e-3
    # a ramp rises by 1 over 31 pixels, so four pixels are 4 / 31
    assert each.abs().max() <= 4 / 31 + 1e-4 and each.std() > 0.04


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_a_turn_keeps_a_disc_round(size: tuple[int, int]) -> None:
    y, x = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in size), indexing="ij")
    soft = ((8 - (x**2 + y**2).sqrt()) / 4).clamp(0, 1)  # so that pixels do not matter
    disc = soft.expand(4, 3, 1, *size)
    turned = RandomTransforms(shift=0, turn=45, scale=0).apply(disc, drawn())
    assert (turned - disc).abs().max() < 0.2
    bar = (x.abs() < 2).float().expand(4, 3, 1, *size)
    assert (RandomTransforms(shift=0, turn=45, scale=0).apply(bar, drawn()) - bar).abs().max() > 0.8


def test_it_learns_from_versions_and_answers_from_the_plain_clip() -> None:
    net, clip = lowered(), torch.rand(3, 3, 2, 32, 32, generator=drawn())
    net.train()
    assert not torch.equal(net._reduce(clip), net._reduce(clip))
    net.eval()
    assert torch.equal(net._reduce(clip), net.method(clip).clip)


def test_the_siamese_loss_is_its_equation() -> None:
    points = torch.randn(2, 3, 4, generator=drawn(), dtype=torch.float64)
    flat = [(points[v, b], b) for v in range(2) for b in range(3)]
    total = []
    for i in range(6):
        for j in range(i + 1, 6):
            apart = float((flat[i][0] - flat[j][0]).norm())
            total.append(apart**2 / 2 if flat[i][1] == flat[j][1] else max(0, 2 - apart) ** 2 / 2)
    assert float(siamese(points, margin=2.0)) == pytest.approx(np.mean(total), abs=1e-6)


def test_scenes_at_one_point_still_have_a_gradient() -> None:
    points = torch.ones(2, 2, 3, requires_grad=True)
    siamese(points, margin=1.0).backward()
    assert points.grad is not None and torch.isfinite(points.grad).all()


def test_versions_of_a_scene_come_together() -> None:
    """With labels that say nothing, the MultiSiamese loss alone is what falls."""
    clips = torch.rand(8, 3, 1, 16, 16, generator=drawn())
    store, codes = from_tensor(clips), {"action": np.full(8, -1)}

    def fitted(weight: float) -> Tensor:
        net = lowered(shift=0.2)
        fit(
            net, store, None, targets=codes, epochs=15, batch=8, warmup=0,
            lr=5e-3, weight_decay=0, seed=1, device="cpu", extra_loss=MultiSiamese(weight=weight),
        )  # fmt: skip
        net.train()
        torch.manual_seed(3)
        with torch.no_grad():
            return MultiSiamese()(net, clips, drawn())

    assert fitted(1.0) < 0.8 * fitted(0.0)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(UsageError, match="LowResolutionRecognizer"):
        MultiSiamese()(RECOGNIZERS["tiny-2d"](classes=2), torch.rand(2, 3, 1, 8, 8), drawn())
    with pytest.raises(UsageError, match="recognizer"):
        LowResolutionRecognizer(nn.Identity(), method=build("elr"), transforms=RandomTransforms())

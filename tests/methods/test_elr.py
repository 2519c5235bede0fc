"""Extreme low resolution: as many pixels are left of a large video as of a small one."""

from __future__ import annotations

import pytest
import torch

import masquerade
from masquerade.errors import UsageError
from masquerade.methods import PRESETS
from masquerade.methods.elr import ELR


@pytest.mark.parametrize(("factor", "rows"), [(16, 14), (32, 7), (64, 3)])
@pytest.mark.parametrize("side", [112, 224, 1080])
def test_rows_that_are_left(factor: int, rows: int, side: int) -> None:
    assert ELR(factor=factor).size(side, side) == (rows, rows)


def test_the_papers_frame_is_16_by_12() -> None:
    paper = PRESETS["elr"]["paper"]()
    assert paper.size(240, 320) == paper.size(480, 640) == (12, 16)
    assert paper.size(640, 480) == (16, 12)


def test_pixel_is_the_mean_of_its_block() -> None:
    clip = torch.rand(1, 3, 2, 32, 64, generator=torch.Generator().manual_seed(0))
    shown = ELR(factor=16, short=64)(clip).clip  # 4 rows of 8 columns
    means = clip.reshape(1, 3, 2, 4, 8, 8, 8).mean(dim=(4, 6))
    assert torch.allclose(shown[..., ::8, ::8], means, atol=1e-6)
    assert torch.equal(shown, shown[..., ::8, ::8].repeat_interleave(8, 3).repeat_interleave(8, 4))


def test_small_frames_lose_half_of_their_rows_at_least() -> None:
    assert ELR().size(8, 200) == (4, 100)
    assert ELR(factor=2, short=16384).size(480, 640) == (240, 320)
    assert ELR().size(1, 1) == (1, 1)


def test_presets_are_the_published_strengths() -> None:
    left = {name: make().size(224, 224)[0] for name, make in PRESETS["elr"].items()}
    assert left == {"paper": 12, "s16": 14, "s32": 7, "s64": 3}
    for bad in ({"factor": 0}, {"factor": 32, "short": 16}):
        with pytest.raises(UsageError, match="--factor"):
            masquerade.build("elr", **bad)

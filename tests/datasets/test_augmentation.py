"""Augmentations: seeded, one draw a clip, in range, and each does what it says and no more."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from masquerade.datasets.augmentation import LUMA, NONE, SPACT, Augmentation, augment, mirror
from masquerade.errors import UsageError


def clips_of(batch: int = 4, frames: int = 3, height: int = 24, width: int = 32) -> Tensor:
    draw = torch.Generator().manual_seed(7)
    shape = (batch, 3, frames, height, width)
    return torch.randint(256, shape, generator=draw, dtype=torch.uint8)


def changed(clips: Tensor, seed: int = 0, how: Augmentation | None = None, **given) -> Tensor:
    return augment(clips, how or Augmentation(**given), torch.Generator().manual_seed(seed))


def test_nothing_is_the_default_and_pixels_become_floats() -> None:
    clips = clips_of()
    assert torch.equal(changed(clips, how=NONE), clips.float() / 255)


def test_the_batch_that_came_in_is_not_touched() -> None:
    floats = clips_of().float() / 255
    before = floats.clone()
    changed(floats, how=SPACT)
    changed(floats, erase=1.0)
    changed(floats, brightness=0.5)
    assert torch.equal(floats, before)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), batch=st.integers(1, 3))
def test_shape_range_and_seed(seed: int, batch: int) -> None:
    clips = clips_of(batch)
    out = changed(clips, seed, SPACT)
    assert out.shape == clips.shape and out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1
    assert torch.equal(out, changed(clips, seed, SPACT))


@pytest.mark.parametrize(
    "how",
    [
        {"crop": (0.5, 1.0)},
        {"crop": (0.75, 0.75)},
        {"flip": 0.5},
        {"brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 0.2},
        {"grey": 0.5},
        {"erase": 0.7},
    ],
)
def test_one_draw_a_clip_and_another_for_the_next(how: dict) -> None:
    """All frames of a clip of one repeated frame stay alike; two like clips come out apart."""
    still = clips_of(1, 1).expand(8, -1, 4, -1, -1)
    out = changed(still, 3, **how)
    assert all(torch.equal(out[:, :, 0], out[:, :, t]) for t in range(4))
    assert any(not torch.equal(out[0], out[b]) for b in range(1, 8))


def test_a_cut_is_a_part_of_the_frame() -> None:
    clips = torch.arange(24 * 32, dtype=torch.float32).reshape(1, 1, 1, 24, 32) / 1000
    out = changed(clips.expand(1, 3, 2, -1, -1), crop=(0.5, 0.5))
    assert out.shape[-2:] == (12, 16)
    first = round(float(out[0, 0, 0, 0, 0]) * 1000)
    top, left = divmod(first, 32)
    wanted = clips[0, 0, 0, top : top + 12, left : left + 16]
    assert torch.equal(out[0, 0, 0], wanted)


def test_a_whole_crop_is_the_frame() -> None:
    clips = clips_of()
    out = changed(clips, crop=(0.99999, 1.0))
    assert (out - clips.float() / 255).abs().max() < 1e-2


def test_a_flip_mirrors_columns() -> None:
    clips = clips_of()
    assert torch.equal(changed(clips, flip=1.0), clips.flip(-1).float() / 255)
    assert torch.equal(changed(clips, flip=0.0), clips.float() / 255)


def test_grey_has_no_colour_and_keeps_brightness() -> None:
    clips = clips_of()
    out = changed(clips, grey=1.0)
    luma = torch.einsum("c,bcthw->bthw", torch.tensor(LUMA), clips.float() / 255)
    for channel in range(3):
        assert torch.allclose(out[:, channel], luma, atol=1e-5)


def test_hue_and_saturation_keep_brightness() -> None:
    clips = 0.4 + 0.2 * clips_of().float() / 255  # in the middle, so that nothing is cut off
    luma = torch.tensor(LUMA)
    for how in ({"hue": 0.5}, {"saturation": 0.8}):
        out = changed(clips, 1, **how)
        assert (out - clips).abs().max() > 0.02
        moved = torch.einsum("c,bcthw->bthw", luma, out - clips)
        assert moved.abs().max() < 1e-4


def test_brightness_scales_and_contrast_turns_about_the_mean() -> None:
    clips = 0.3 + 0.2 * clips_of(16).float() / 255
    ratio = changed(clips, brightness=0.3) / clips
    assert (ratio.flatten(1).amax(1) - ratio.flatten(1).amin(1)).max() < 1e-4
    assert ratio.min() >= 0.7 and ratio.max() <= 1.3 and ratio.flatten(1)[:, 0].std() > 0.05
    out = changed(clips, contrast=0.5)
    luma = torch.tensor(LUMA)
    means = [torch.einsum("c,bcthw->b", luma, x) / x[0, 0].numel() for x in (clips, out)]
    assert torch.allclose(*means, atol=1e-4)


def test_an_erased_box_is_black_and_small() -> None:
    bright = torch.full((64, 3, 2, 112, 112), 200, dtype=torch.uint8)
    out = changed(bright, erase=1.0)
    black = (out[:, 0, 0] == 0).flatten(1).sum(1)
    assert black.min() >= 9 * 9 and black.max() < 19 * 19
    assert not (changed(bright, erase=0.0) == 0).any()
    share = (changed(bright, erase=0.25)[:, 0, 0] == 0).flatten(1).any(1).float().mean()
    assert 0.05 < share < 0.5


@pytest.mark.parametrize("crop", [(0.0, 1.0), (0.9, 0.5), (0.5, 1.5)])
def test_impossible_crops_are_refused(crop: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="crop"):
        changed(clips_of(), crop=crop)


@pytest.mark.parametrize("still", [127.5, 0.5], ids=["bytes", "floats"])
def test_flow_is_mirrored_as_the_flow_of_mirrored_clips(still: float) -> None:
    """What moves to the left moves to the right then, as fast, and as far up or down."""
    flow = torch.rand(1, 2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    flow = (255 * flow).to(torch.uint8) if still > 1 else flow
    other, plain = mirror(flow).float(), flow.float()
    assert torch.allclose(other[:, 0] - still, -(plain[:, 0] - still).flip(-1))
    assert torch.equal(other[:, 1], plain[:, 1].flip(-1))
    assert mirror(flow).dtype == flow.dtype and torch.allclose(mirror(mirror(flow)).float(), plain)
    assert changed(flow, flip=1.0).shape == flow.shape

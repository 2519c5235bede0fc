"""BDQ: static pixels disappear, few levels are left, and the limits can be trained."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import masquerade
from masquerade.errors import UsageError
from masquerade.methods import PRESETS
from masquerade.methods.bdq import BDQ
from masquerade.pipeline.config import PipelineConfig, with_default_regions


def clip_of(seed: int = 0, frames: int = 5) -> Tensor:
    return torch.rand(1, 3, frames, 20, 24, generator=torch.Generator().manual_seed(seed))


def test_a_static_clip_is_one_constant() -> None:
    still = clip_of()[:, :, :1].expand(-1, -1, 6, -1, -1)
    out = BDQ()(still).clip
    assert out.unique().numel() == 1
    assert float(out[0, 0, 0, 0, 0]) == pytest.approx(8 / 15)
    noisy = still + 0.02 * (clip_of(7, 6) - 0.5)  # as a camera's
    assert BDQ()(noisy).clip.unique().numel() == 1


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_no_more_levels_than_bits_allow(bits: int) -> None:
    method = BDQ(bits=bits, sigma=0.3, most=1.0)
    out = method(clip_of()).clip
    assert 2 <= out.unique().numel() <= 2**bits
    soft = BDQ(bits=bits, sigma=0.3, soft=True, most=1.0)(clip_of()).clip
    assert soft.unique().numel() > 100


def test_levels_are_counted_as_the_limits_say() -> None:
    """At equal steps the level is the nearest whole number; a limit that moved moves its step."""
    method = BDQ(bits=2)
    steps = torch.tensor([-1.0, -0.7, -0.3, 0.3, 0.7, 1.0])
    x = (steps + 1) / 2 * 3 + 0.25
    assert torch.equal(method._quantise(steps, hard=True) * 3, x.round().clamp(max=3))
    with torch.no_grad():
        method.limits[0] = 1.4  # was .5: what lies between falls to level 0
    assert method._quantise(torch.tensor([-0.3]), hard=True) * 3 == 0


def test_limits_out_of_order_or_range_do_no_harm() -> None:
    method = BDQ(bits=2)
    steps = torch.linspace(-1, 1, 41)
    wanted = method._quantise(steps, hard=True)
    with torch.no_grad():
        method.limits.copy_(method.limits.flip(0))
    assert torch.equal(method._quantise(steps, hard=True), wanted)
    with torch.no_grad():
        method.limits.copy_(torch.tensor([-9.0, 1.5, 99.0]))
    found = method._quantise(steps, hard=True)
    assert found.min() >= 0 and found.max() <= 1 and (found.diff() >= 0).all()


def test_the_soft_quantiser_follows_its_input_closely() -> None:
    """To .077 of a level (docs/papers.md 4): the reason why the default output is hard."""
    top = 15
    steps = torch.linspace(-0.8, 0.8, 400, dtype=torch.float64)
    soft = PRESETS["bdq"]["code"]().double()._quantise(steps, hard=False) * top
    assert ((soft - (steps + 1) / 2 * top).abs().max()) < 0.08
    still = clip_of()[:, :, :1].expand(-1, -1, 3, -1, -1)
    middle = torch.full_like(still, 0.5)  # of the range, as in the paper
    assert torch.allclose(PRESETS["bdq"]["code"]()(still).clip, middle, atol=1e-6)
    assert torch.allclose(PRESETS["bdq"]["code"]().training_output(still).clip, middle, atol=1e-6)


def test_a_limit_that_left_the_range_learns_again() -> None:
    method = BDQ(bits=2, sigma=0.3)
    with torch.no_grad():
        method.limits.copy_(torch.tensor([-0.4, 1.5, 3.3]))
    (method.training_output(clip_of()).clip ** 2).sum().backward()
    assert method.limits.tolist() == pytest.approx([0.0, 1.5, 3.0])
    assert method.limits.grad is not None and (method.limits.grad != 0).all()


def test_limits_get_a_gradient_and_the_hard_output_none() -> None:
    method = BDQ()
    (method.training_output(clip_of()).clip ** 2).sum().backward()
    assert method.limits.grad is not None and method.limits.grad.abs().sum() > 0
    assert not method(clip_of()).clip.requires_grad


def test_networks_that_train_it_see_what_is_published() -> None:
    hard, soft = PRESETS["bdq"]["paper"](), PRESETS["bdq"]["code"]()
    assert torch.equal(hard.training_output(clip_of()).clip, hard(clip_of()).clip)
    assert torch.equal(soft.training_output(clip_of()).clip, soft(clip_of()).clip)
    assert hard(clip_of()).clip.unique().numel() <= 16 < soft(clip_of()).clip.unique().numel()


def test_autocast_changes_no_pixel() -> None:
    """The blur is arithmetic on pixels and no network."""
    method = BDQ()
    with torch.autocast("cpu", torch.bfloat16):
        halved = method.training_output(clip_of()).clip, method(clip_of()).clip
    assert torch.equal(halved[0], method.training_output(clip_of()).clip)
    assert torch.equal(halved[1], method(clip_of()).clip)


def test_what_moves_shows_where_it_moves_and_nothing_else() -> None:
    clip = torch.full((1, 3, 2, 40, 40), 0.5)
    clip[:, :, 1, 10:20, 10:20] = 1.0
    out = BDQ(sigma=1.0)(clip).clip[0, 0, 1]
    assert out[14, 14] > out[35, 35]
    outside = out.clone()
    outside[7:23, 7:23] = out[35, 35]
    assert outside.unique().numel() == 1


@pytest.mark.parametrize("name", ["cut", "flash"])
def test_a_cut_or_a_flash_shows_nothing(name: str) -> None:
    """Its difference is the picture itself."""
    method, (a, b) = BDQ(sigma=0.5), torch.rand(2, 1, 3, 1, 20, 24)
    frames = {"cut": [a, a, b, b], "flash": [a, a * 0.2, a * 0.2 + 0.5, a]}[name]
    out = method(torch.cat(frames, 2)).clip
    assert out.unique().numel() == 1
    assert method.most == 0.5 and PRESETS["bdq"]["paper"]().most == 1
    assert BDQ(sigma=0.5, most=1.0)(torch.cat(frames, 2)).clip.unique().numel() > 5
    parts = [method(torch.cat(frames[:2], 2))]
    parts.append(method(torch.cat(frames[2:], 2), state=parts[0].state))
    assert torch.equal(torch.cat([part.clip for part in parts], 2), out)


def test_a_clip_depends_neither_on_its_batch_nor_on_its_window() -> None:
    method, a, b = BDQ(), clip_of(1, 6), clip_of(2, 6)
    alone = method(a).clip
    assert torch.equal(method(torch.cat([a, b])).clip[:1], alone)
    first = method(a[:, :, :2])
    rest = method(a[:, :, 2:], state=first.state).clip
    assert torch.equal(torch.cat([first.clip, rest], 2), alone)


def test_no_pixel_of_the_scene_is_shown_to_which_changes_could_be_added() -> None:
    """Their sum would be whoever walks over it: what is shown is the same in a lighter room."""
    method, mask = BDQ(sigma=0.5, most=1.0), torch.zeros(1, 1, 5, 20, 24)
    mask[..., 5:15, 6:18] = 1
    dark, light = (method(0.5 * clip_of() + more, mask=mask).clip for more in (0.1, 0.4))
    assert dark.unique().numel() > 2
    assert (dark != light).float().mean() < 1e-3  # by rounding
    method.trained = True
    assert with_default_regions(PipelineConfig(), method).regions == "frame"
    with pytest.raises(UsageError, match="BDQ rewrites whole frames; leave regions out"):
        with_default_regions(PipelineConfig(regions="people"), method)


def test_settings_that_make_no_sense_are_refused() -> None:
    for bad in ({"sigma": 0.0}, {"bits": 0}, {"bits": 9}, {"slope": 0.0}, {"short": 0}):
        with pytest.raises(UsageError, match=f"--{next(iter(bad))} must be"):
            masquerade.build("bdq", **bad)

"""Motion-consistent noise against Ilic et al., eq. 3 to 5, and the presets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masquerade.errors import UsageError
from masquerade.methods import PRESETS
from masquerade.methods.selective import Selective
from masquerade.methods.selective.noise import warp_forward


def scene(frames: int = 6, *, shift: tuple[int, int] = (3, -2)) -> torch.Tensor:
    """A smooth random texture that moves by `shift` (x, y) pixels a frame: (1, 3, T, 96, 128)."""
    noise = torch.rand(1, 3, 200, 260, generator=torch.Generator().manual_seed(0))
    texture = torch.nn.functional.avg_pool2d(noise, 5, 1, 2)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    views = [
        texture[
            :, :, 50 - shift[1] * t : 146 - shift[1] * t, 60 - shift[0] * t : 188 - shift[0] * t
        ]
        for t in range(frames)
    ]
    return torch.stack(views, 2)


def patch(frames: int = 6) -> torch.Tensor:
    mask = torch.zeros(1, 1, frames, 96, 128)
    mask[..., 30:70, 40:90] = 1
    return mask


def test_blend_is_equation_5() -> None:
    """S = 0 gives the image, S = 1 the noise, S between their mix."""
    clip, method = scene(2), Selective(core=1.0)
    masks = [torch.full((1, 1, 2, 96, 128), level) for level in (0.0, 0.25, 1.0)]
    outs = [method(clip, mask=mask, state=method.init_state(seed=1)).clip for mask in masks]
    assert torch.equal(outs[0], clip)
    assert torch.allclose(outs[1], clip + 0.25 * (outs[2] - clip), atol=1e-6)


@pytest.mark.parametrize("spread", ["both", "above"])
def test_noise_is_uniform_over_its_range(spread: str) -> None:
    method = Selective(spread=spread)
    out = method(scene(1), state=method.init_state(seed=1)).clip
    for c in range(3):
        values, mean, std = out[0, c], method.mean[c], method.std[c]
        low, high = (mean - std if spread == "both" else mean), mean + std
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high
        assert values.mean() == pytest.approx((low + high) / 2, abs=0.01)
        assert values.std() == pytest.approx((high - low) / 12**0.5, abs=0.01)


def test_saliency_above_the_core_is_replaced_completely() -> None:
    clip, method = scene(2), Selective(core=0.6)
    outs = [
        method(x, mask=torch.full((1, 1, 2, 96, 128), 0.61), state=method.init_state(seed=1)).clip
        for x in (clip, 1 - clip)
    ]
    assert torch.equal(outs[0][:, :, 0], outs[1][:, :, 0])
    hidden = method(clip, mask=torch.full((1, 1, 2, 96, 128), 0.3), state=method.init_state(seed=1))
    assert hidden.hidden is not None and torch.allclose(hidden.hidden, torch.tensor(0.5))


def test_warp_first_stands_still_under_constant_motion() -> None:
    clip, mask = scene(6), patch()
    for method, still in (
        (Selective(warp="first"), True),
        (Selective(warp="forward"), True),
        (Selective(), False),
    ):
        out = method(clip, mask=mask, state=method.init_state(seed=1)).clip
        inner = out[..., 40:60, 55:75]
        same = (inner[:, :, 3] - inner[:, :, 4]).abs().lt(1e-6).float().mean()
        assert (same > 0.8) if still else (same < 0.3)


def test_cumulative_noise_moves_with_the_content() -> None:
    clip, mask = scene(4, shift=(4, 0)), patch(4)
    out = Selective()(clip, mask=mask, state=Selective().init_state(seed=1)).clip
    a, b = out[0, :, 2, 40:60, 50:76], out[0, :, 3, 40:60, 54:80]
    assert (a - b).abs().lt(1e-6).float().mean() > 0.7


@pytest.mark.parametrize("columns", [slice(0, 12), slice(120, 128)])
def test_noise_of_a_narrow_region_at_the_edge_moves_too(columns: slice) -> None:
    """Its flow is computed on enough of the frame; where it was zero the noise stood still."""
    method, mask = Selective(), np.zeros((4, 96, 128), np.uint8)
    mask[:, 10:86, columns] = 255
    frames = (scene(4, shift=(0, 3))[0].permute(1, 2, 3, 0) * 255).byte().numpy()
    out, _ = method.on_bytes(frames, mask=mask, state=method.init_state(seed=1))
    before, after = out[1, 20:70, columns], out[2, 20:70, columns]
    moved = out[2, 23:73, columns]
    assert (before == after).all(-1).mean() < 0.05
    assert (before == moved).all(-1).mean() > 0.5


def test_iid_noise_is_new_in_every_frame() -> None:
    method = Selective(noise="iid")
    out = method(scene(3, shift=(0, 0)), state=method.init_state(seed=1)).clip
    assert torch.corrcoef(out[0, 0, :2].reshape(2, -1))[0, 1].abs() < 0.05


def test_clips_of_a_batch_have_different_noise() -> None:
    clip = scene(1).repeat(2, 1, 1, 1, 1)
    out = Selective()(clip, state=Selective().init_state(seed=1)).clip
    assert torch.corrcoef(out[:, 0].reshape(2, -1))[0, 1].abs() < 0.05


def test_a_batch_of_hundreds_is_anonymized() -> None:
    clip = torch.rand(258, 3, 1, 8, 8)
    out = Selective()(clip, state=Selective().init_state(seed=1)).clip
    assert len({tuple(one.flatten().tolist()) for one in out}) == 258


def test_cut_draws_new_noise() -> None:
    clip = torch.cat((scene(3, shift=(0, 0)), 1 - scene(3, shift=(0, 0)).flip(-1) * 0.3), 2)
    out = Selective()(clip, mask=patch(), state=Selective().init_state(seed=1)).clip
    inner = out[0, :, :, 40:60, 50:80].flatten(2).transpose(0, 1).flatten(1)  # (T, values)
    same = (inner[1:] == inner[:-1]).float().mean(1)
    assert same[1] > 0.9 and same[2] < 0.1 and same[4] > 0.9


def test_static_region_keeps_its_noise_and_empty_masks_are_allowed() -> None:
    clip, mask = scene(4, shift=(0, 0)), patch(4)
    mask[:, :, 2] = 0
    out = Selective()(clip, mask=mask, state=Selective().init_state(seed=1)).clip
    assert torch.equal(out[:, :, 0], out[:, :, 1])
    assert torch.equal(out[:, :, 2], clip[:, :, 2])
    assert torch.equal(out[:, :, 0], out[:, :, 3])


def test_grid_of_the_code_is_half_a_pixel_off() -> None:
    """docs/papers.md 3.5, items 5 and 6: 0.3 pixels move only the right third of the noise."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 100, 3), np.uint8)
    whole = slice(0, 40), slice(0, 100)
    still = np.zeros((40, 100, 2), np.float32)
    assert np.array_equal(warp_forward(noise, whole, still), noise)
    out = warp_forward(noise, whole, still + np.array([0.3, 0], np.float32))
    assert np.array_equal(out[:-1, :68], noise[:-1, :68])
    assert np.array_equal(out[:-1, 72:-1], noise[:-1, 73:])
    assert np.array_equal(out[:, -1], noise[:, -1])


def test_codes_first_frame_is_not_moved() -> None:
    code = PRESETS["selective"]["code"]()
    clip, state = scene(1), code.init_state(seed=1)
    field = Selective(warp="first", spread="above")(clip, state=state).clip
    assert torch.equal(code(clip, state=state).clip, field)


def test_code_warps_with_the_opposite_sign() -> None:
    """docs/papers.md 3.5, item 4: forward flow, read at the later frame."""
    clip = scene(3, shift=(4, 0))
    still, paper_like = Selective(warp="forward"), Selective(warp="first")
    field = still(clip[:, :, :1], state=still.init_state(seed=1)).clip[..., 0, :, :]
    for method, shift in ((still, -4), (paper_like, 4)):
        out = method(clip, state=method.init_state(seed=1)).clip[..., 2, :, :]
        inner = (..., slice(30, 60), slice(40, 80))
        likeness = [(out[inner] == field.roll(x, -1)[inner]).float().mean() for x in range(-6, 7)]
        assert int(np.argmax(likeness)) - 6 == shift


def test_presets() -> None:
    paper, code = (PRESETS["selective"][name]() for name in ("paper", "code"))
    assert (paper.warp, paper.spread, paper.core) == ("first", "both", 1.0)
    assert (code.warp, code.spread, code.core) == ("forward", "above", 1.0)


def test_invalid_arguments_are_refused() -> None:
    for wrong in ({"core": 0.0}, {"gait_jitter": -1.0}, {"gait_jitter": 1.0, "warp": "first"}):
        with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", ".")):
            Selective(**wrong)

"""Motion-consistent noise: FACTS 3 and its oracles 13 to 15."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from masquerade.errors import UsageError
from masquerade.methods.selective import Noise, Selective, _moved, paper
from masquerade.vision.flow import look_up, positions


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
    where = torch.zeros(1, 1, frames, 96, 128)
    where[..., 30:70, 40:90] = 1
    return where


def test_blend_is_equation_5() -> None:
    """S = 0 gives the image, S = 1 the noise, S between their mix."""
    clip, method = scene(2), Selective(core=1.0)
    masks = [torch.full((1, 1, 2, 96, 128), level) for level in (0.0, 0.25, 1.0)]
    outs = [method(clip, where=mask, carry=method.start(seed=1)).clip for mask in masks]
    assert torch.equal(outs[0], clip)
    assert torch.allclose(outs[1], clip + 0.25 * (outs[2] - clip), atol=1e-6)


def test_noise_is_uniform_over_mean_plus_minus_std() -> None:
    method = Selective()
    out = method(scene(1), carry=method.start(seed=1)).clip
    for c in range(3):
        values = out[0, c]
        low, high = method.mean[c] - method.std[c], method.mean[c] + method.std[c]
        assert low <= values.min() < low + 0.01 and high - 0.01 < values.max() <= high
        assert values.mean() == pytest.approx(method.mean[c], abs=0.01)
        assert values.std() == pytest.approx(method.std[c] / 3**0.5, abs=0.01)


def test_saliency_from_the_core_on_is_replaced_wholly() -> None:
    clip, method = scene(2), Selective(core=0.6)
    outs = [
        method(x, where=torch.full((1, 1, 2, 96, 128), 0.61), carry=method.start(seed=1)).clip
        for x in (clip, 1 - clip)
    ]
    assert torch.equal(outs[0][:, :, 0], outs[1][:, :, 0])
    hidden = method(clip, where=torch.full((1, 1, 2, 96, 128), 0.3), carry=method.start(seed=1))
    assert hidden.hidden is not None and torch.allclose(hidden.hidden, torch.tensor(0.5))


def test_constant_flow_first_stands_still_and_cumulative_travels() -> None:
    """Oracle 13, on the look-up itself: flow (u, v) = (3, -2) at every pixel of every frame."""
    field = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    here = positions(40, 60)
    there = here + np.array([3, -2], np.float32)
    state = Noise(key=b"k" * 32, field=field, source=here, before=np.zeros((40, 60), np.uint8))
    seen = [field]
    for frame in range(3):
        moved = _moved(state._replace(frame=frame), here, there)
        state = state._replace(source=moved)
        seen.append(look_up(field, moved, nearest=True))
    inner = (slice(8, -8), slice(4, -14))
    for before, after in pairwise(seen):
        shifted = np.roll(before, (2, -3), (0, 1))  # out[y, x] = in[y - 2, x + 3]
        assert np.array_equal(after[inner], shifted[inner])


def test_first_repeats_itself_under_constant_motion_and_cumulative_does_not() -> None:
    clip, where = scene(6), patch()
    for method, still in ((Selective(warp="first"), True), (Selective(), False)):
        out = method(clip, where=where, carry=method.start(seed=1)).clip
        inner = out[..., 40:60, 55:75]
        same = (inner[:, :, 3] - inner[:, :, 4]).abs().lt(1e-6).float().mean()
        assert (same > 0.8) if still else (same < 0.3)


def test_cumulative_noise_moves_as_the_content_does() -> None:
    clip, where = scene(4, shift=(4, 0)), patch(4)
    out = Selective()(clip, where=where, carry=Selective().start(seed=1)).clip
    a, b = out[0, :, 2, 40:60, 50:76], out[0, :, 3, 40:60, 54:80]
    assert (a - b).abs().lt(1e-6).float().mean() > 0.7


def test_noise_neither_starves_nor_streaks_when_content_stretches() -> None:
    """A zoom by 5 % a frame: neighbours stay unlike, mean and spread stay."""
    here = positions(80, 80)
    zoom = (here - 40) / 1.05 + 40
    field = np.random.default_rng(0).integers(0, 256, (80, 80, 3), np.uint8)
    state = Noise(key=b"k" * 32, field=field, source=here, before=np.zeros((80, 80), np.uint8))
    for frame in range(120):
        state = state._replace(frame=frame)
        state = state._replace(source=_moved(state, here, zoom.astype(np.float32)))
    seen = look_up(field, state.source, nearest=True).astype(float)
    same = (np.diff(seen, axis=1) == 0).all(-1).mean()
    assert same < 0.03
    assert seen.mean() == pytest.approx(field.mean(), rel=0.05)
    assert seen.std() == pytest.approx(field.std(), rel=0.05)


def test_iid_noise_is_new_in_every_frame() -> None:
    method = Selective(noise="iid")
    out = method(scene(3, shift=(0, 0)), carry=method.start(seed=1)).clip
    assert torch.corrcoef(out[0, 0, :2].reshape(2, -1))[0, 1].abs() < 0.05


def test_without_a_seed_no_two_runs_agree() -> None:
    method, clip = Selective(), scene(1)
    outs = [method(clip, carry=method.start()).clip for _ in range(2)]
    assert torch.corrcoef(torch.stack(outs)[:, 0, 0].reshape(2, -1))[0, 1].abs() < 0.05
    assert len(method.start()) == 32


def test_clips_of_one_batch_have_noise_of_their_own() -> None:
    clip = scene(1).repeat(2, 1, 1, 1, 1)
    out = Selective()(clip, carry=Selective().start(seed=1)).clip
    assert torch.corrcoef(out[:, 0].reshape(2, -1))[0, 1].abs() < 0.05


def test_with_known_noise_the_papers_blend_is_undone_and_the_default_is_not() -> None:
    """Oracle 15: I = (O - S N) / (1 - S) wherever S < 1, also from 8-bit output."""
    clip, where = scene(1), torch.full((1, 1, 1, 96, 128), 0.7)
    for method, undone in ((paper(), True), (Selective(), False)):
        frames = (clip[0].permute(1, 2, 3, 0) * 255).round().byte().numpy()
        mask = (where[0, 0] * 255).round().byte().numpy()
        out, _ = method.in_floats(frames, where=mask, carry=method.start(seed=1))
        noise, _ = method.in_floats(frames, carry=method.start(seed=1))
        strength = mask[..., None] / 255
        guess = (out - strength * noise.astype(float)) / (1 - strength)
        error = np.sqrt(np.mean((guess - frames) ** 2))
        assert (error < 3) if undone else (error > 40)


def test_a_cut_brings_new_noise() -> None:
    clip = torch.cat((scene(3, shift=(0, 0)), 1 - scene(3, shift=(0, 0)).flip(-1) * 0.3), 2)
    out = Selective()(clip, where=patch(), carry=Selective().start(seed=1)).clip
    inner = out[0, :, :, 40:60, 50:80].flatten(2).transpose(0, 1).flatten(1)  # (T, values)
    same = (inner[1:] == inner[:-1]).float().mean(1)
    assert same[1] > 0.9 and same[2] < 0.1 and same[4] > 0.9


def test_core_must_make_sense() -> None:
    with pytest.raises(UsageError, match="core"):
        Selective(core=0.0)

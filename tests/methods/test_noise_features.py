"""Noise features: noise on a frame's code, one draw a video, from nowhere that can be guessed."""

from __future__ import annotations

import pytest
import torch

import masquerade
from masquerade.anonymizer import Anonymizer
from masquerade.errors import UsageError
from masquerade.methods import PRESETS
from masquerade.methods.noise_features import NoiseFeatures
from masquerade.models.unet import AutoEncoder

CLIP = torch.rand(2, 3, 3, 40, 50, generator=torch.Generator().manual_seed(0))


def small(noise: float = 0.5) -> NoiseFeatures:
    torch.manual_seed(0)
    return NoiseFeatures(noise=noise, width=4, short=36).eval()


def shown(method: Anonymizer, clip: torch.Tensor, seed: int | None = 1) -> torch.Tensor:
    return method(clip, state=method.init_state(seed=seed)).clip


@pytest.mark.parametrize("size", [(16, 16), (37, 50), (112, 112)])
def test_any_size_comes_out_as_it_went_in(size: tuple[int, int]) -> None:
    net = AutoEncoder(width=4).eval()
    code = net.encode(torch.rand(1, 3, *size))
    assert code.shape == (1, 32, size[0] // 16, size[1] // 16)
    assert net.decode(code, size).shape == (1, 3, *size)


def test_fewer_halvings_leave_a_wider_code() -> None:
    net = AutoEncoder(width=4, halvings=2).eval()
    code = net.encode(torch.rand(1, 3, 24, 32))
    assert code.shape == (1, 16, 6, 8) and net.decode(code, (24, 32)).shape == (1, 3, 24, 32)
    with pytest.raises(UsageError, match="--halvings must be from 1 to 4"):
        NoiseFeatures(halvings=5)


def test_all_that_is_shown_has_passed_the_code() -> None:
    """No way around the noise: where the code is the same, so is the picture."""
    torch.manual_seed(0)  # some draws of weights leave a place of the code without effect
    net = AutoEncoder(width=4).eval()
    code = torch.rand(1, 32, 2, 2, requires_grad=True)
    net.decode(code, (32, 32)).sum().backward()
    assert code.grad is not None and (code.grad != 0).all()


def test_a_videos_noise_is_one_and_another_videos_another() -> None:
    method, still = small(), CLIP[:1, :, :1].expand(-1, -1, 3, -1, -1)
    out = shown(method, still)
    assert torch.equal(out[:, :, 0], out[:, :, 2])
    assert not torch.equal(out, shown(method, still, seed=2))
    assert not torch.equal(shown(method, still, None), shown(method, still, None))
    both = shown(method, still.expand(2, -1, -1, -1, -1))
    assert not torch.equal(both[0], both[1])


def test_a_clip_depends_on_no_other_of_its_batch() -> None:
    method, other = small(), CLIP.clone()
    other[1] = 0
    assert torch.equal(shown(method, other)[0], shown(method, CLIP)[0])
    assert torch.equal(shown(method, CLIP[:1])[0], shown(method, CLIP)[0])


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_noise_has_the_strength_that_is_asked_for(noise: float) -> None:
    method, code = small(noise), 3 * torch.randn(1, 32, 20, 20)
    drawn = torch.stack([method.add_noise(code, (key, 0)) - code for key in range(20)])
    assert float(drawn.std()) == pytest.approx(3 * noise, rel=0.05)
    assert float(drawn.mean(0).std()) == pytest.approx(3 * noise / 20**0.5, rel=0.05)
    with torch.no_grad():
        fresh = method.add_noise(code.expand(9, -1, -1, -1)) - code
    assert float(fresh.std()) == pytest.approx(3 * noise, rel=0.05)


def test_training_draws_anew_and_every_weight_learns() -> None:
    method = small().train()
    draft = method.training_output(CLIP).clip
    assert not torch.equal(draft, method.training_output(CLIP).clip)
    draft.sum().backward()
    assert all(p.grad is not None for p in method.parameters())
    quiet = small()
    quiet.noise = 0.0
    with torch.no_grad():
        assert torch.allclose(quiet.training_output(CLIP).clip, shown(quiet, CLIP), atol=1e-5)


def test_training_has_one_draw_a_clip_as_what_is_published() -> None:
    """Noise that is new in every frame averages out over a static scene; the output's does not."""
    method, still = small(), CLIP[:, :, :1].expand(-1, -1, 3, -1, -1)
    with torch.no_grad():
        out = method.training_output(still).clip
    assert torch.equal(out[:, :, 0], out[:, :, 1]) and torch.equal(out[:, :, 0], out[:, :, 2])
    with torch.no_grad():
        both = method.training_output(still[:1].expand(2, -1, -1, -1, -1)).clip
    assert not torch.equal(both[0], both[1])


def test_presets_and_what_makes_no_sense() -> None:
    made = {name: make() for name, make in PRESETS["noise-features"].items()}
    assert {name: one.noise for name, one in made.items()} == {"paper": 0.5, "tiny": 0.5}
    for bad in ({"noise": -1.0}, {"width": 0}, {"short": 8}):
        with pytest.raises(UsageError, match=f"--{next(iter(bad))} must be"):
            masquerade.build("noise-features", **bad)

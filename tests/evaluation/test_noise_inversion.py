"""Whoever knows the noise of `selective` computes it away; whoever guesses it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masquerade.evaluation import EvaluatedMethod
from masquerade.evaluation.noise_inversion import MOST_STRENGTH, InvertedNoise, inversions
from masquerade.methods import PRESETS, build
from masquerade.methods.selective import Selective
from masquerade.metrics.picture_quality import psnr

H, W, T = 72, 96, 4


def video() -> np.ndarray:
    """(T, H, W, 3) of a smooth texture that moves to the right."""
    noise = torch.rand(1, 3, H + 8, W + 8, generator=torch.Generator().manual_seed(0))
    texture = torch.nn.functional.avg_pool2d(noise, 9, 1)
    texture = (texture - texture.min()) / (texture.max() - texture.min())
    image = (texture[0].permute(1, 2, 0) * 255).round().byte().numpy()
    return np.stack([np.roll(image, 2 * t, axis=1) for t in range(T)])


def saliency() -> np.ndarray:
    """(T, H, W) of 0 to 255: a peak that fades, like the saliency of a template."""
    y, x = np.mgrid[:H, :W]
    peak = 0.95 * np.exp(-(((y - H / 2) / 20) ** 2 + ((x - W / 2) / 26) ** 2))
    return np.repeat((peak * 255).round().astype(np.uint8)[None], T, axis=0)


def attacked(method: Selective, *, known: bool, seed: int | None) -> tuple[float, float]:
    """PSNR of the published and of the inverted video where S is in between .05 and .9."""
    inverse = InvertedNoise(of=method, known=known)
    state = inverse.init_state(seed=seed)
    published = method.on_bytes(video(), mask=saliency(), state=state[0])[0]
    guessed = inverse.on_bytes(video(), mask=saliency(), state=state)[0]
    strength = np.minimum(saliency() / 255 / method.core, 1)
    part = (strength > 0.05) & (strength < 0.9)
    assert part.mean() > 0.1
    return psnr(published[part], video()[part]), psnr(np.asarray(guessed)[part], video()[part])


@pytest.mark.parametrize("name", ["paper", "code"])
def test_known_noise_is_computed_away_through_bytes(name: str) -> None:
    published, inverted = attacked(PRESETS["selective"][name](), known=True, seed=1)
    assert inverted > 35 and inverted > published + 12


@pytest.mark.parametrize("name", ["code", None])
@pytest.mark.parametrize("seed", [1, None])
def test_noise_that_has_to_be_guessed_is_not(name: str | None, seed: int | None) -> None:
    method = PRESETS["selective"][name]() if name else Selective()
    published, inverted = attacked(method, known=False, seed=seed)
    assert inverted < published


def test_the_core_of_the_default_stays_hidden_even_so() -> None:
    """Where S is 1 nothing of the frame is in the output."""
    inverse = InvertedNoise(of=Selective(), known=True)
    state = inverse.init_state(seed=1)
    published = inverse.of.on_bytes(video(), mask=saliency(), state=state[0])[0]
    inverted = np.asarray(inverse.on_bytes(video(), mask=saliency(), state=state)[0])
    core = saliency() / 255 / inverse.of.core > MOST_STRENGTH
    assert core.any() and np.array_equal(inverted[core], np.asarray(published)[core])


def test_the_strength_of_known_noise_is_that_of_its_bytes() -> None:
    """Half a step of S would be many grey levels where little of the frame is left."""
    inverse = InvertedNoise(of=Selective(core=0.6), known=True)
    ramp = np.tile(np.linspace(0, 255, W).round().astype(np.uint8), (T, H, 1))
    out, _ = inverse.on_bytes(video(), mask=ramp, state=inverse.init_state(seed=1))
    strength = inverse.of.strengths()[ramp] / 255
    part = strength <= MOST_STRENGTH
    error = np.abs(np.asarray(out).astype(float) - video()).max(axis=-1)
    assert np.all(error[part] <= 0.5 / (1 - strength[part]) + 1)


def test_windows_are_inverted_as_the_whole_video_is() -> None:
    inverse = InvertedNoise(of=PRESETS["selective"]["code"]())
    whole, _ = inverse.on_bytes(video(), mask=saliency(), state=inverse.init_state(seed=1))
    state, parts = inverse.init_state(seed=1), []
    for t in range(T):
        out, state = inverse.on_bytes(video()[t : t + 1], mask=saliency()[t : t + 1], state=state)
        parts.append(out)
    assert np.array_equal(np.concatenate(parts), whole)
    clip = torch.from_numpy(video()).permute(3, 0, 1, 2)[None] / 255
    mask = torch.from_numpy(saliency())[None, None] / 255
    again = inverse(clip, mask=mask, state=inverse.init_state(seed=1)).clip
    assert torch.equal((again[0].permute(1, 2, 3, 0) * 255).round().byte(), torch.from_numpy(whole))


def test_only_lines_with_such_noise_are_inverted() -> None:
    names = [name for name, _ in inversions(EvaluatedMethod(name="a", anonymizer=Selective()))]
    assert names == ["noise known", "noise guessed"]
    for method in (build("blur"), Selective(gait_jitter=1.0)):
        assert inversions(EvaluatedMethod(name="a", anonymizer=method)) == []

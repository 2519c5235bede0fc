"""On an NVIDIA GPU a method makes what it makes on the CPU, but for rounding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from masquerade.anonymizer import Anonymizer
from masquerade.methods import METHODS

LEVEL = 1 / 255
FEW = 0.01  # of pixels, where rounding decides between two levels or two tubelets


@pytest.mark.cuda
@pytest.mark.parametrize("name", METHODS)
def test_a_gpu_hides_the_same_pixels_and_makes_the_same_picture(
    name: str, made: Callable[[str], Anonymizer]
) -> None:
    method = made(name)
    frames = method.window or 4
    clip = torch.rand(1, 3, frames, 48, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, frames, 48, 64)
    mask[..., 12:36, 16:48] = 1
    mask[..., 12, :] *= 0.3
    found = {}
    for device in ("cpu", "cuda"):
        method.to(device)
        out = method(clip.to(device), mask=mask.to(device), state=method.init_state(seed=1))
        found[device] = out.clip.cpu(), None if out.hidden is None else out.hidden.cpu()
    (one, hidden), (two, hidden_too) = found["cpu"], found["cuda"]
    assert ((one - two).abs() > 2 * LEVEL).float().mean() <= FEW
    assert (hidden is None) == (hidden_too is None)
    if hidden is not None and hidden_too is not None:
        assert ((hidden - hidden_too).abs() > LEVEL).float().mean() <= FEW

"""Blur against OpenCV and the papers' figures."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from masquerade.errors import UsageError
from masquerade.methods import PRESETS
from masquerade.methods.blur import Blur


@pytest.mark.parametrize(("preset", "std"), [("weak", 3.639), ("strong", 5.623)])
def test_kernel_sums_to_one_and_has_the_papers_width(preset: str, std: float) -> None:
    weights = PRESETS["blur"][preset]().weights().astype(np.float64)
    at = np.arange(len(weights)) - len(weights) // 2
    assert weights.sum() == pytest.approx(1, abs=1e-6)
    assert np.sqrt((weights * at**2).sum()) == pytest.approx(std, abs=1e-3)


@pytest.mark.parametrize("kernel", [3, 13, 21])
def test_blur_at_native_size_equals_opencv(kernel: int) -> None:
    image = np.random.default_rng(0).random((70, 90, 3), np.float32)
    expected = cv2.GaussianBlur(
        image, (kernel, kernel), sigmaX=10, sigmaY=10, borderType=cv2.BORDER_REPLICATE
    )
    clip = torch.from_numpy(image).permute(2, 0, 1)[None, :, None]
    out = Blur(kernel=kernel, sigma=10, short=0)(clip).clip[0, :, 0].permute(1, 2, 0)
    assert np.abs(out.numpy() - expected).max() < 1e-5


def test_blur_is_the_same_share_of_a_larger_frame() -> None:
    """A step's slope, in units of the frame, is the same at 224 and at 896."""
    slopes = []
    for side in (224, 896):
        clip = torch.zeros(1, 3, 1, side, side)
        clip[..., side // 2 :] = 1
        row = PRESETS["blur"]["strong"]()(clip).clip[0, 0, 0, side // 2]
        slopes.append(row.diff().max() * side)
    assert slopes[0] == pytest.approx(float(slopes[1]), rel=0.08)


@pytest.mark.parametrize("wrong", [{"kernel": 4}, {"kernel": 1}, {"sigma": 0.0}, {"short": -1}])
def test_nonsense_is_refused(wrong) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))} must be"):
        Blur(**wrong)

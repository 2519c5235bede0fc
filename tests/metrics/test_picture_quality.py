"""PSNR and SSIM against references that are written out."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from masquerade.metrics.picture_quality import MOST_PSNR, psnr, ssim

RNG = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (24, 30, 3)).astype(np.uint8), (0, 0), 2)


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Every window of 11 x 11 by itself, as Wang et al. (2004) define it."""
    line = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    weights = np.outer(line, line) / np.outer(line, line).sum()
    found = []
    for y in range(a.shape[0] - 10):
        for x in range(a.shape[1] - 10):
            for c in range(3):
                p, q = (one[y : y + 11, x : x + 11, c].astype(float) for one in (a, b))
                mp, mq = (weights * p).sum(), (weights * q).sum()
                vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
                both = (weights * (p - mp) * (q - mq)).sum()
                top = (2 * mp * mq + (0.01 * 255) ** 2) * (2 * both + (0.03 * 255) ** 2)
                bottom = mp**2 + mq**2 + (0.01 * 255) ** 2
                found.append(top / (bottom * (vp + vq + (0.03 * 255) ** 2)))
    return float(np.mean(found))


@pytest.mark.parametrize("spread", [2, 20, 80])
def test_ssim_is_that_of_the_definition(spread: int) -> None:
    noise = RNG.normal(0, spread, PICTURE.shape)
    other = (PICTURE + noise).clip(0, 255).astype(np.uint8)
    assert ssim(PICTURE, other) == pytest.approx(reference_ssim(PICTURE, other), abs=1e-9)
    assert ssim(PICTURE, other) == pytest.approx(ssim(other, PICTURE), abs=1e-12)


def test_psnr_is_that_of_the_definition() -> None:
    other = PICTURE ^ 1  # every value differs by one level
    assert psnr(PICTURE, other) == pytest.approx(20 * math.log10(255), abs=1e-4)
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white) == 0


def test_equal_pictures_have_the_highest_values() -> None:
    assert psnr(PICTURE, PICTURE) == pytest.approx(MOST_PSNR)
    assert ssim(PICTURE, PICTURE) == pytest.approx(1.0)

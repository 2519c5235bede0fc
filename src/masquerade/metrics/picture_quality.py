"""How near one picture is to another: PSNR and SSIM of 8-bit frames.

PSNR is in decibels, SSIM (Wang et al., IEEE Transactions on Image Processing 2004) at most 1, for
equal pictures. A mean colour scores 10 to 15 dB on most pictures, what hardly differs 40 dB.
"""

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.metrics.statistic import Floats

MOST_PSNR = 60.0  # decibels, which equal pictures count as: their PSNR would be infinite
WINDOW, SIGMA = 11, 1.5  # pixels, of SSIM's Gaussian window
K1, K2 = 0.01, 0.03  # of the range of values, which keep SSIM's quotients finite


def psnr(a: U8, b: U8) -> float:
    """The peak signal-to-noise ratio of two arrays of one shape, in decibels, 60 at most."""
    error = float(np.mean((a.astype(np.float32) - b.astype(np.float32)) ** 2))
    least = 255**2 / 10 ** (MOST_PSNR / 10)
    return float(10 * np.log10(255**2 / max(error, least)))


def ssim(a: U8, b: U8) -> float:
    """The structural similarity of two frames (H, W, 3), the mean over colours and places.

    Frames are at least 11 pixels a side; the window lies wholly within them.
    """
    x, y = a.astype(np.float64), b.astype(np.float64)
    mean_x, mean_y = _window(x), _window(y)
    c1, c2 = (K1 * 255) ** 2, (K2 * 255) ** 2
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    both = _window(x * y) - mean_x * mean_y
    like = (2 * mean_x * mean_y + c1) * (2 * both + c2)
    return float(np.mean(like / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def _window(values: Floats) -> Floats:
    """The weighted mean of every window of (H, W, 3) that lies wholly within it."""
    edge = WINDOW // 2
    mean = cv2.GaussianBlur(values, (WINDOW, WINDOW), SIGMA)
    return np.asarray(mean[edge:-edge, edge:-edge], np.float64)

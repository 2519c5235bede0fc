"""Attempts to undo an anonymization without the raw video, frame by frame.

Each maps a published frame and its neighbours to a picture in which more may be seen. They need no
training and know nothing of the method; what a network learns from pairs of own videos is stronger.
"""

from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np

from masquerade.arrays import U8
from masquerade.models.optical_flow import dis_flow, grey, warp

NEIGHBOURS = 8  # frames before and after that are stacked
SMOOTHED = (4.0, 8.0)  # pixels of the Gaussian blurs that take the edges of mosaics away
DEBLURRED = (4.0,)  # pixels of the Gaussian blurs that are deconvolved
NOISE = 0.01  # of a picture's power, that Wiener's filter takes for noise
CLIP, TILES = 4.0, (8, 8)  # of the contrast-limited histogram equalisation


def stretch_contrast(frames: Sequence[U8], at: int) -> U8:
    """One frame with the contrast of each part stretched, which shows faint copies."""
    lab = cv2.cvtColor(frames[at], cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(CLIP, TILES).apply(lab[..., 0])
    return np.asarray(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), np.uint8)


def stack_in_place(frames: Sequence[U8], at: int) -> U8:
    """The median of neighbouring frames: noise that changes from frame to frame averages out."""
    return np.asarray(np.median(np.stack(frames), axis=0), np.uint8)


def stack_along_flow(frames: Sequence[U8], at: int) -> U8:
    """The mean of neighbouring frames, each moved along optical flow to where things are now.

    Coarse pixels that things move through show more together than each alone.
    """
    now, key = frames[at], grey(frames[at])
    moved = [warp(frame, dis_flow(key, grey(frame))) for i, frame in enumerate(frames) if i != at]
    return np.asarray(np.mean([now, *moved], axis=0).round(), np.uint8)


def smooth(sigma: float) -> Callable[[Sequence[U8], int], U8]:
    """A Gaussian blur: the edges of a mosaic's blocks are gone, as for who looks from afar."""

    def restore(frames: Sequence[U8], at: int) -> U8:
        return np.asarray(cv2.GaussianBlur(frames[at], (0, 0), sigma), np.uint8)

    return restore


def deblur(sigma: float) -> Callable[[Sequence[U8], int], U8]:
    """Wiener's filter for a Gaussian blur of `sigma` pixels (Wiener 1949)."""

    def restore(frames: Sequence[U8], at: int) -> U8:
        frame = frames[at].astype(np.float32) / 255
        edge = int(4 * sigma)
        padded = cv2.copyMakeBorder(frame, edge, edge, edge, edge, cv2.BORDER_REFLECT)
        height, width = padded.shape[:2]
        y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        blur = np.exp(-2 * (np.pi * sigma) ** 2 * (x**2 + y**2))
        inverse = blur / (blur**2 + NOISE)
        out = np.fft.irfft2(
            np.fft.rfft2(padded, axes=(0, 1)) * inverse[..., None], axes=(0, 1), s=(height, width)
        )
        out = out[edge:-edge, edge:-edge]
        return np.asarray((out.clip(0, 1) * 255).round(), np.uint8)

    return restore


UNDO: Mapping[str, Callable[[Sequence[U8], int], U8]] = {
    "stretched contrast": stretch_contrast,
    "the median of neighbouring frames": stack_in_place,
    "neighbouring frames stacked along optical flow": stack_along_flow,
    **{f"a mosaic smoothed by {sigma:g} pixels": smooth(sigma) for sigma in SMOOTHED},
    **{f"a blur of {sigma:g} pixels deconvolved": deblur(sigma) for sigma in DEBLURRED},
}
"""By what is said of it: from neighbouring frames (H, W, 3), and which of them is meant, to one."""

"""Look for noise that anybody can draw anew, and subtract it from the first frame.

Ilic et al. (CVPR 2024) mix noise N with the raw picture I by a strength S: O = (1 - S) I + S N.
Who knows N computes I wherever S < 1 (docs/papers.md 3.7). The noise of `selective` follows from a
secret, unless a seed was given: seeds are tried here, with the noise of the paper and that of the
authors' code, whose values lie above the mean alone. Noise moves with the raw video's optical
flow, which an attacker does not have, so that the first frame alone is compared.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from masquerade.arrays import F32, U8
from masquerade.attack.finders import NAMES, SURE_SCORES, UNCHANGED_LEVELS, Finders, Kind
from masquerade.attack.finding import Finding
from masquerade.attack.restored_detections import (
    RESTORED_SCORES,
    FrameComparison,
    RestoredDetections,
)
from masquerade.evaluation.noise_inversion import invert
from masquerade.methods.selective import Selective
from masquerade.metrics.picture_quality import psnr

Spread = Literal["both", "above"]

SPREADS: tuple[Spread, ...] = ("both", "above")  # how `selective` and its preset `code` draw noise
SEEDS = range(32)
BLOCK = 16  # pixels a side of the parts that are compared with noise
# correlation from which a part holds the noise: of other noise, 8 standard deviations
MIN_CORRELATION = 0.4
MIN_BLOCKS = 4  # parts that must hold it
WINDOW = 15  # pixels a side over which the strength of the noise is estimated
MAX_ESTIMATED_STRENGTH = 0.95  # of the noise, beyond which too little of the picture is left
# pixels a side of the means that are taken off first: noise is finer than a picture
FINE_WINDOW = 3
# strength of the noise, beyond which nearness to the raw picture is not measured
MAX_MEASURED_STRENGTH = 0.9
MIN_PSNR = 30.0  # decibels from which a picture is as near to the raw one as a compressed copy


@dataclass(eq=False)
class KnownNoise:
    """Whether a video's first frame holds the noise of a seed, and what is behind it.

    Args:
        finders: of what is looked for behind it.
        hidden: what the publisher means to hide.
    """

    finders: Finders
    hidden: frozenset[Kind] = frozenset(("face",))
    _seed: int | None = None
    _compared: bool = False
    _came: tuple[float, float] | None = None  # dB of the raw picture, published and restored

    def __post_init__(self) -> None:
        self._behind, self._most = self._nothing_seen(), 0.0

    def compare(self, frame: U8, raw: U8 | None = None) -> None:
        """Compare a video's first frame (H, W, 3) with the noise of each seed.

        `raw` is that of the raw video, to measure how near to it one comes.
        """
        if min(frame.shape[:2]) < BLOCK:
            return
        self._compared = True
        noises = (draw_noise(seed, *frame.shape[:2]) for seed in SEEDS)
        for seed, correlation in zip(SEEDS, correlations(frame, noises), strict=True):
            if (correlation >= MIN_CORRELATION).sum() >= MIN_BLOCKS:
                self._seed = seed
                self._subtract(frame, seed, raw)
                return

    def _subtract(self, frame: U8, seed: int, raw: U8 | None) -> None:
        """Subtract noise in each way, and keep what shows the most and comes the nearest."""
        # a face that is seen through noise is seen far better without it, and counts
        comparison = FrameComparison(0, frame, self.finders, {"face": ()}, raw)
        for noise, restored in _ways_back(frame, seed):
            behind = self._nothing_seen()
            scores = behind.detect(comparison, "", restored, self.finders.kinds)
            if scores > self._most or not self._most:
                self._behind, self._most = behind, scores
            if raw is not None and raw.shape == frame.shape:
                came = _nearness(frame, restored, raw, noise)
                if came is not None and (self._came is None or came[1] > self._came[1]):
                    self._came = came

    def _nothing_seen(self) -> RestoredDetections:
        # no other picture has this noise
        sure = {**RESTORED_SCORES, "face": SURE_SCORES["face"]}
        return RestoredDetections(hidden=self.hidden, least=1, sure=sure)

    def finding(self) -> Finding:
        """In words."""
        known, seen = self._seed is not None, self._behind.counted()
        level = self._behind.level()
        near = self._came is not None and self._came[1] >= MIN_PSNR
        says = "The noise of the first frame is that of no seed that was tried."
        if known:
            says = f"The noise of the first frame is that of seed {self._seed}: anybody can draw "
            says += "it and subtract it where it does not cover the picture wholly."
            names = " and ".join(NAMES[kind] for kind in seen)
            says += f" Behind it are {names}{self._behind.meaning()}." if seen else ""
            if self._came is not None:
                before, after = self._came
                says += f" There it comes from {before:.1f} to {after:.1f} dB of the raw picture."
        elif not self._compared:
            says = "The first frame is too small to be compared with noise."
        return Finding(
            attack="noise",
            level="recovered" if near else "left" if known and level == "nothing" else level,
            says=says,
            work=f"the first frame, the noise of {len(SEEDS)} seeds from {SEEDS[0]}; recovered: "
            f"{MIN_PSNR:g} dB of the raw picture, or what is seen behind it; {self._behind.rule()}",
            frames=(0,) if known else (),
            proofs=self._behind.proofs(),
        )


def draw_noise(seed: int, height: int, width: int, *, spread: Spread = "both") -> U8:
    """(H, W, 3), the noise that `selective` has in the first frame of a video under a seed."""
    method = Selective(spread=spread)
    blank = np.zeros((1, height, width, 3), np.uint8)
    noise, _ = method.on_bytes(blank, state=method.init_state(seed=seed))
    return np.asarray(noise[0], np.uint8)


def correlations(frame: U8, noises: Iterable[U8]) -> Iterator[F32]:
    """How far each part of a frame follows each noise, from -1 to 1: (H / 16, W / 16)."""
    own = _centred_parts(frame)
    power = _sum_of_products(own, own)
    for noise in noises:
        noise_parts = _centred_parts(noise)
        sizes = np.sqrt(power * _sum_of_products(noise_parts, noise_parts))
        yield np.asarray(_sum_of_products(own, noise_parts) / np.maximum(sizes, 1e-6), np.float32)


def strength_of(frame: U8, noise: U8, *, fine: bool = False) -> F32:
    """(H, W), how strong known noise is: the slope of the frame against it around each pixel.

    `fine`: of what is left when the mean of the nearest pixels is taken off, which is little of the
    picture and most of the noise, unless an encoder took it.
    """
    own, pattern = (picture.astype(np.float32) for picture in (frame, noise))
    if fine:
        own, pattern = (
            picture - cv2.blur(picture, (FINE_WINDOW, FINE_WINDOW)) for picture in (own, pattern)
        )
    size = (WINDOW, WINDOW)
    mean, centre = cv2.blur(own, size), cv2.blur(pattern, size)
    together = (cv2.blur(own * pattern, size) - mean * centre).mean(axis=2)
    spread = (cv2.blur(pattern * pattern, size) - centre * centre).mean(axis=2)
    return np.asarray(
        (together / np.maximum(spread, 1.0)).clip(0, MAX_ESTIMATED_STRENGTH), np.float32
    )


def subtract(frame: U8, noise: U8, *, fine: bool = False) -> U8:
    """The picture behind known noise, (H, W, 3), as far as it is not covered wholly."""
    return invert(frame, noise, strength_of(frame, noise, fine=fine)[..., None])


def _ways_back(frame: U8, seed: int) -> Iterator[tuple[U8, U8]]:
    """The noise of a seed and the frame without it, in each way that it may have been mixed."""
    for spread in SPREADS:
        noise = draw_noise(seed, *frame.shape[:2], spread=spread)
        for fine in (False, True):
            yield noise, subtract(frame, noise, fine=fine)


def _nearness(frame: U8, restored: U8, raw: U8, noise: U8) -> tuple[float, float] | None:
    """PSNR of a published and a restored frame where noise hides and does not cover wholly."""
    size = (WINDOW, WINDOW)
    differs = cv2.blur(cv2.absdiff(frame, raw), size).astype(np.float32).mean(axis=2)
    part = (differs > UNCHANGED_LEVELS) & (
        strength_of(frame, noise, fine=True) < MAX_MEASURED_STRENGTH
    )
    return (psnr(frame[part], raw[part]), psnr(restored[part], raw[part])) if part.any() else None


def _sum_of_products(a: F32, b: F32) -> F32:
    """(H / 16, W / 16), over the pixels and colours of each part."""
    return np.asarray(np.einsum("yxpc,yxpc->yx", a, b), np.float32)


def _centred_parts(picture: U8) -> F32:
    """(H / 16, W / 16, 256, 3), each colour of each part less its mean."""
    rows, columns = (side // BLOCK for side in picture.shape[:2])
    whole = picture[: rows * BLOCK, : columns * BLOCK].astype(np.float32)
    parts = whole.reshape(rows, BLOCK, columns, BLOCK, 3).swapaxes(1, 2)
    flat = parts.reshape(rows, columns, BLOCK * BLOCK, 3)
    return np.asarray(flat - flat.mean(axis=2, keepdims=True), np.float32)

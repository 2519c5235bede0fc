"""Look for noise that anybody can draw anew, and subtract it from the first frame.

Ilic et al. (CVPR 2024) mix noise N with the raw picture I by a strength S: O = (1 - S) I + S N.
Who knows N computes I wherever S < 1 (docs/papers.md 3.7). The noise of `selective` follows from a
secret, unless a seed was given: seeds are tried here. Noise moves with the raw video's optical
flow, which an attacker does not have, so that the first frame alone is compared.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from masquerade.attack.finding import Finding, Proof
from masquerade.attack.look_again import SURE, crop
from masquerade.extraction.poses import Picture
from masquerade.methods.selective import Selective
from masquerade.regions.face_detectors import CenterFace

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

SEEDS = range(32)
BLOCK = 16  # pixels a side of the parts that are compared with noise
LIKE = 0.4  # correlation from which a part holds the noise: of other noise, 8 standard deviations
LEAST = 4  # parts that must hold it
WINDOW = 15  # pixels a side over which the strength of the noise is estimated
MOST_STRENGTH = 0.95  # of the noise, beyond which too little of the picture is left


@dataclass(eq=False)
class KnownNoise:
    """Whether a video's first frame holds the noise of a seed, and what is behind it.

    Raises:
        MissingError: the network for faces is not installed.
    """

    _seed: int | None = None
    _compared: bool = False
    _proofs: tuple[Proof, ...] = ()

    def __post_init__(self) -> None:
        self._find_faces = CenterFace(threshold=SURE)

    def look(self, frame: U8) -> None:
        """Compare a video's first frame (H, W, 3) with the noise of each seed."""
        if min(frame.shape[:2]) < BLOCK:
            return
        self._compared = True
        for seed in SEEDS:
            noise = draw_noise(seed, *frame.shape[:2])
            if (correlations(frame, noise) >= LIKE).sum() >= LEAST:
                self._seed = seed
                restored = subtract(frame, noise)
                faces = self._find_faces(Picture(restored))
                self._proofs = tuple(
                    Proof(frame=0, score=one.score, says="face", picture=crop(restored, one))
                    for one in faces
                )
                return

    def finding(self) -> Finding:
        """In words."""
        known, faces = self._seed is not None, len(self._proofs)
        says = "The noise of the first frame is that of no seed that was tried."
        if known:
            behind = f"; {faces} faces are seen behind it" if faces else ""
            says = f"The noise of the first frame is that of seed {self._seed}{behind}: anybody "
            says += "can draw it and subtract it where it does not cover the picture wholly."
        elif not self._compared:
            says = "The first frame is too small to be compared with noise."
        return Finding(
            attack="noise",
            level="recovered" if faces else "left" if known else "nothing",
            says=says,
            work=f"the first frame, the noise of {len(SEEDS)} seeds from {SEEDS[0]}",
            frames=(0,) if known else (),
            proofs=self._proofs,
        )


def draw_noise(seed: int, height: int, width: int) -> U8:
    """(H, W, 3), the noise that `selective` has in the first frame of a video under a seed."""
    method = Selective()
    blank = np.zeros((1, height, width, 3), np.uint8)
    noise, _ = method.on_bytes(blank, state=method.init_state(seed=seed))
    return np.asarray(noise[0], np.uint8)


def correlations(frame: U8, noise: U8) -> F32:
    """How far each part of a frame follows noise, from -1 to 1: (H / 16, W / 16)."""
    own, other = (_centred_parts(one) for one in (frame, noise))
    product = (own * other).sum(axis=(2, 3))
    sizes = np.sqrt((own**2).sum(axis=(2, 3)) * (other**2).sum(axis=(2, 3)))
    return np.asarray(product / np.maximum(sizes, 1e-6), np.float32)


def subtract(frame: U8, noise: U8) -> U8:
    """The picture behind known noise, (H, W, 3), as far as it is not covered wholly.

    Its strength is the slope of the frame against the noise around each pixel.
    """
    own, other = (one.astype(np.float32) for one in (frame, noise))
    size = (WINDOW, WINDOW)
    mean, centre = cv2.blur(own, size), cv2.blur(other, size)
    together = (cv2.blur(own * other, size) - mean * centre).mean(axis=2)
    spread = (cv2.blur(other * other, size) - centre * centre).mean(axis=2)
    strength = (together / np.maximum(spread, 1.0)).clip(0, MOST_STRENGTH)[..., None]
    raw = (own - strength * other) / (1 - strength)
    return np.asarray(raw.round().clip(0, 255), np.uint8)


def _centred_parts(picture: U8) -> F32:
    """(H / 16, W / 16, 256, 3), each colour of each part less its mean."""
    rows, columns = (side // BLOCK for side in picture.shape[:2])
    whole = picture[: rows * BLOCK, : columns * BLOCK].astype(np.float32)
    parts = whole.reshape(rows, BLOCK, columns, BLOCK, 3).swapaxes(1, 2)
    flat = parts.reshape(rows, columns, BLOCK * BLOCK, 3)
    return np.asarray(flat - flat.mean(axis=2, keepdims=True), np.float32)

"""Inversion of `selective`: whoever knows its noise computes what the noise was mixed with.

A published pixel is O = I + S (N - I), of the raw pixel I, the noise N and the strength S, so that
I = (O - S N) / (1 - S) wherever S < 1 (docs/papers.md 3.7). Under a fixed seed, as the authors'
code has it, N is public. The attacker here is the strongest of its kind: it knows S, and N as it
was moved by the raw video's own optical flow. Beside it stands one that knows as much but has to
guess the seed. Both are `Anonymizer`s, so that their clips are extracted like those of others, and
are not among `methods`, since they hide nobody.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masquerade.anonymizer import Anonymized, Anonymizer, Pixels
from masquerade.arrays import U8
from masquerade.evaluation.config import EvaluatedMethod
from masquerade.methods.selective import Selective

MOST_STRENGTH = 0.98  # where more of a pixel is noise, its rounding to bytes hides the rest
GUESS = 0x5EED  # added to the seed by who does not know it
NAMES = {True: "noise known", False: "noise guessed"}


class InvertedNoise(Anonymizer):
    """What an attacker makes of the frames that `selective` publishes.

    Args:
        of: the method.
        known: whether the attacker knows the seed of its noise; otherwise they draw their own.
    """

    def __init__(self, *, of: Selective, known: bool = True) -> None:
        super().__init__()
        self.of, self.known = of, known

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
        """The states of the method, and of the same method as the attacker runs it."""
        method_state = self.of.init_state(seed=seed, source=source)
        if self.known:
            return method_state, method_state
        return method_state, self.of.init_state(
            seed=None if seed is None else seed + GUESS, source=source
        )

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        """Invert one clip by way of bytes, since that is what is published."""
        if len(clip) > 1:
            raise NotImplementedError("one video at a time is inverted")
        frames = (clip[0] * 255).round().byte().permute(1, 2, 3, 0).cpu().numpy()
        region = None if mask is None else (mask[0, 0] * 255).round().byte().cpu().numpy()
        out, state = self.on_bytes(frames, mask=region, state=state)
        inverse = torch.from_numpy(np.asarray(out)).permute(3, 0, 1, 2)[None].to(clip) / 255
        return Anonymized(inverse, mask, state)

    def on_bytes(
        self, frames: U8, *, mask: U8 | None = None, state: Any = None
    ) -> tuple[Pixels, Any]:
        method_state, attacker_state = self.init_state() if state is None else state
        published, method_state = self.of.on_bytes(frames, mask=mask, state=method_state)
        hidden = np.full(frames.shape[:3], 255, np.uint8) if mask is None else mask
        # the same region replaced wholly is the noise itself
        whole = np.where(hidden > 0, 255, 0).astype(np.uint8)
        noise, attacker_state = self.of.on_bytes(frames, mask=whole, state=attacker_state)
        strength = self.of.strengths()[hidden][..., None] / 255  # (T, H, W, 1)
        return invert(published, noise, strength), (method_state, attacker_state)


def invert(published: U8, noise: U8, strength: NDArray[np.floating[Any]]) -> U8:
    """(O - S N) / (1 - S) in bytes; a pixel that is noise nearly wholly stays as it is."""
    raw = (published - strength * noise) / np.maximum(1 - strength, 1 - MOST_STRENGTH)
    raw = np.where(strength > MOST_STRENGTH, published, raw)
    return np.asarray(raw.round().clip(0, 255), np.uint8)


def inversions(method: EvaluatedMethod) -> list[tuple[str, EvaluatedMethod]]:
    """The attackers that invert a row's noise, by name; none where it has none.

    Noise that is perturbed with the outline (`gait_jitter`) is not inverted: its strength is not
    that of the mask.
    """
    anonymizer = method.anonymizer
    if not isinstance(anonymizer, Selective) or anonymizer.gait_jitter:
        return []
    return [
        (name, replace(method, anonymizer=InvertedNoise(of=anonymizer, known=known)))
        for known, name in NAMES.items()
    ]

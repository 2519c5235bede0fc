"""Noise features: a frame passes a narrow code, and the code is disturbed.

The "Noisy-Features" row of SPAct and "Collective" of STPrivacy, which name Zhang et al. (ICDM
2019), a method for wearable sensors, and do not say how they took it to video. **So this is our
reading of it** (FACTS 4): an auto-encoder of frames, Gaussian noise on its code of `noise` times
the code's own spread, trained so that the action stays readable and the picture stays close
(`masquerade train noise-features`). Nobody plays against it.

One draw of noise serves a whole video: fresh noise on each frame would average out over a scene
that stands still. It comes from the operating system's entropy and is not kept.
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from masquerade.anonymizer import Anonymized, Card
from masquerade.errors import UsageError
from masquerade.methods.blend import laid_over
from masquerade.methods.rewriter import Rewriter
from masquerade.models.per_frame import transform_frames
from masquerade.models.unet import AutoEncoder

BITS = 128  # of the key that a video's noise follows from


class NoiseFeatures(Rewriter):
    """Encode every frame, add noise to the code, and show what is decoded.

    Args:
        noise: standard deviation of the noise, in standard deviations of the code.
        width: channels of the first stage.
        halvings: how often the size is halved, 1 to 4; after four the code has eight times `width`
            channels at a sixteenth of the size.
        short: the shorter side in pixels at which the network works.
    """

    card = Card(
        hides="fine detail, as any narrow code does, and some of the rest; our own reading",
        undo="partly: nobody played against it in training, and networks learn to read it",
        needs="training: masquerade train noise-features",
        paper="Noisy-Features of SPAct, Collective of STPrivacy, after Zhang et al. ICDM 2019",
    )

    def __init__(
        self, *, noise: float = 0.5, width: int = 16, halvings: int = 4, short: int = 112
    ) -> None:
        super().__init__(short=short)
        if noise < 0 or width < 1 or not 1 <= halvings <= 4 or short < 16:
            raise UsageError(
                "noise-features needs noise of at least 0, a width of at least 1, 1 to 4 halvings "
                "and a short side of at least 16 pixels, "
                f"got {noise}, {width}, {halvings} and {short}."
            )
        self.noise, self.width, self.halvings = noise, width, halvings
        self.net = AutoEncoder(width=width, halvings=halvings)

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> int:
        """The key of a video's noise."""
        return secrets.randbits(BITS) if seed is None else seed % 2**BITS

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        key = self.init_state() if state is None else int(state)
        videos = [
            transform_frames(partial(self._rewritten, key=(key, at)), video, short=self.short)
            for at, video in enumerate(torch.split(clip, 1))
        ]
        return Anonymized(laid_over(clip, torch.cat(videos), mask), mask, key)

    def disturbed(self, code: Tensor, key: tuple[int, int] | None = None) -> Tensor:
        """A code with its noise.

        Args:
            code: (N, C, h, w).
            key: that the noise follows from, the same for all N; None: drawn anew for each, from
                torch's own generator, as in training.
        """
        drawn = torch.randn_like(code) if key is None else _normal(key, code)
        spread = code.std(dim=(1, 2, 3), keepdim=True, correction=0)
        return code + self.noise * spread * drawn

    def _rewritten(self, frames: Tensor, key: tuple[int, int] | None = None) -> Tensor:
        height, width = frames.shape[-2:]
        code = self.disturbed(self.net.encode(frames), key)
        return self.net.decode(code, (height, width)).sigmoid()


def _normal(key: tuple[int, int], like: Tensor) -> Tensor:
    """One frame's noise of a key, for as many frames as there are."""
    draw = np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
    return torch.from_numpy(draw.standard_normal(like.shape[1:])).to(like).expand_as(like)


def paper() -> NoiseFeatures:
    """As wide as SPAct's UNet, at its size; the papers give no network of their own."""
    return NoiseFeatures(noise=0.5, width=64, short=112)


def tiny() -> NoiseFeatures:
    """Trains in minutes on two cores; halved twice, since 24 rows halved four times are one."""
    return NoiseFeatures(noise=0.5, width=8, halvings=2, short=24)

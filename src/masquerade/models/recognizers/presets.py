"""How each recognizer is fed in the papers: frames, their stride and their size.

Ilic et al., CVPR 2024 (the table in its code), STPrivacy and SPAct (112 pixels, 16 frames).
Nothing but X3D-S's 182 pixels differs from the published weights' own sampling (160 there).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """What a clip is for one recognizer."""

    frames: int
    """T of a clip."""
    stride: int
    """Source frames from one frame of the clip to the next."""
    size: int
    """Side of the square crop in pixels."""


STILL = Sampling(frames=1, stride=1, size=224)
TINY = Sampling(frames=8, stride=2, size=64)
KINETICS_8X8 = Sampling(frames=8, stride=8, size=224)
X3D_S = Sampling(frames=13, stride=6, size=182)
X3D_M = Sampling(frames=16, stride=5, size=224)
X3D_L = Sampling(frames=16, stride=5, size=312)
SMALL_CLIP = Sampling(frames=16, stride=2, size=112)

SAMPLINGS: dict[str, Sampling] = {
    "tiny-2d": Sampling(frames=1, stride=1, size=64),
    "tiny-3d": TINY,
    "tiny-flow": TINY,
    "resnet-18": STILL,
    "resnet-50": STILL,
    "resnet-101": STILL,
    "mobilenet-v1": STILL,
    "mobilenet-v2": STILL,
    "vit-b-16": STILL,
    "vit-b-32": STILL,
    "vit-s-video": SMALL_CLIP,
    "vit-ti-video": SMALL_CLIP,
    "r3d-18": SMALL_CLIP,
    "r3d-18-spact": SMALL_CLIP,
    "r2plus1d-18": SMALL_CLIP,
    "c2d-r50": KINETICS_8X8,
    "i3d-r50": KINETICS_8X8,
    "slow-r50": KINETICS_8X8,
    "slowfast-r50": Sampling(frames=32, stride=2, size=224),
    "r2plus1d-r50": Sampling(frames=16, stride=4, size=224),
    "csn-r101": Sampling(frames=32, stride=2, size=224),
    "x3d-s": X3D_S,
    "x3d-m": X3D_M,
    "x3d-l": X3D_L,
    "e2s-x3d-s": X3D_S,
    "e2s-x3d-m": X3D_M,
    "e2s-x3d-l": X3D_L,
    "mvit-b": Sampling(frames=16, stride=4, size=224),
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How long recognizers are fitted and over how many frames a still's answer is averaged."""

    patience: int
    """Epochs without a better validation score before fitting stops."""
    averaged: dict[str, int]
    """Frames of a video whose answers a frame recognizer averages, by dataset."""


ILIC_2024 = Schedule(patience=100, averaged={"ipn": 32, "kth": 32, "sbu": 16})
"""Selective, CVPR 2024: 32, 32 and 16 frames; that SBU, whose clips are shortest, has the 16 is our
reading. Its code does neither (FACTS 3.5: one random frame, fixed epochs)."""

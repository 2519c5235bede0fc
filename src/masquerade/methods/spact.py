"""SPAct: a UNet rewrites each frame so that no self-supervised network knows it again.

Dave, Chen and Shah, CVPR 2022. What hides is learned: the network is trained against an adversary
that tells frames of one video from those of others, without any label of what is private, while an
action network must keep reading (`masquerade train spact`). It keeps what that action network
needs; what the attackers that it never met can still read, only `masquerade evaluate` tells.

Differs from the paper: any frame size comes in and the same goes out, the network working at its
own; `where` limits it to regions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.anonymizer import Anonymized, Anonymizer, Card, Draft
from masquerade.errors import UsageError
from masquerade.methods.blend import laid_over
from masquerade.nets.unet import UNet

LONG = 4  # times the short side that the long one may be inside


class SPAct(Anonymizer):
    """Rewrite every frame by a UNet that was trained to be read for actions only.

    Args:
        width: channels of the first stage; 64 in the paper.
        short: the shorter side in pixels at which the network works; 112 in the paper.
    """

    learned = True

    card = Card(
        hides="what its adversaries read in training; the picture stays a picture",
        undo="partly: what the action needs can be read, and outlines can be guessed",
        needs="training: masquerade train spact",
        paper="SPAct, Dave et al. CVPR 2022",
    )

    def __init__(self, *, width: int = 16, short: int = 112) -> None:
        super().__init__()
        if width < 1 or short < 16:
            raise UsageError(
                f"spact needs a width of at least 1 and a short side of at least 16 pixels, "
                f"got {width} and {short}."
            )
        self.width, self.short = width, short
        self.net = UNet(width=width)

    def size(self, height: int, width: int) -> tuple[int, int]:
        inner = self._inner(height, width)
        return min(height, inner[0]), min(width, inner[1])

    def forward(
        self, clip: Tensor, *, where: Tensor | None = None, carry: None = None
    ) -> Anonymized:
        frames = clip.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
        # One by one: what a frame becomes must not depend on how many come with it.
        done = torch.cat([self._rewritten(frame) for frame in torch.split(frames, 1)])
        rewritten = _clips(done, like=clip)
        return Anonymized(laid_over(clip, rewritten, where), where)

    def draft(self, clip: Tensor) -> Draft:
        frames = clip.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
        return Draft(_clips(self._rewritten(frames), like=clip))

    def _rewritten(self, frames: Tensor) -> Tensor:
        """(N, 3, H, W) to the same, through the network at its own size."""
        height, width = frames.shape[-2:]
        inner = _resized(frames.to(self.net.leave.weight.dtype), self._inner(height, width))
        out = _resized(self.net(inner).sigmoid(), (height, width))
        return out.clamp(0, 1).to(frames.dtype)

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        scale = self.short / min(height, width)
        most = LONG * self.short
        return min(round(height * scale), most), min(round(width * scale), most)


def paper() -> SPAct:
    """The paper's network (17,267,523 parameters), at its size."""
    return SPAct(width=64, short=112)


def tiny() -> SPAct:
    """Trains in minutes on two cores."""
    return SPAct(width=8, short=48)


def _clips(frames: Tensor, *, like: Tensor) -> Tensor:
    """(B * T, 3, H, W) to (B, 3, T, H, W)."""
    return torch.stack(torch.split(frames, like.shape[2])).transpose(1, 2)


def _resized(frames: Tensor, size: tuple[int, int]) -> Tensor:
    if frames.shape[-2:] == size:
        return frames
    return F.interpolate(frames, size=size, mode="bilinear", antialias=True)

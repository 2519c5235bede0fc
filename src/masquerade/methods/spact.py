"""SPAct: a UNet rewrites each frame so that no self-supervised network knows it again.

Dave, Chen and Shah, CVPR 2022. What hides is learned: the network is trained against an adversary
that tells frames of one video from those of others, without any label of what is private, while an
action network must keep reading (`masquerade train spact`). It keeps what that action network
needs; what the attackers that it never met can still read, only `masquerade evaluate` tells.

Differs from the paper: any frame size comes in and the same goes out, the network working at its
own; `mask` limits it to regions.
"""

from __future__ import annotations

from torch import Tensor

from masquerade.anonymizer import Card
from masquerade.errors import UsageError
from masquerade.methods.rewriter import Rewriter
from masquerade.models.unet import UNet


class SPAct(Rewriter):
    """Rewrite every frame by a UNet that was trained to be read for actions only.

    Args:
        width: channels of the first stage; 64 in the paper.
        short: the shorter side in pixels at which the network works; 112 in the paper.
    """

    card = Card(
        hides="what its adversaries read in training; the picture stays a picture",
        undo="partly: what the action needs can be read, and outlines can be guessed",
        needs="training: masquerade train spact",
        paper="SPAct, Dave et al. CVPR 2022",
    )

    def __init__(self, *, width: int = 16, short: int = 112) -> None:
        super().__init__(short=short)
        if width < 1 or short < 16:
            raise UsageError(
                f"spact needs a width of at least 1 and a short side of at least 16 pixels, "
                f"got {width} and {short}."
            )
        self.width = width
        self.net = UNet(width=width)

    def _rewritten(self, frames: Tensor) -> Tensor:
        return self.net(frames).sigmoid()


def paper() -> SPAct:
    """The paper's network (17,267,523 parameters), at its size."""
    return SPAct(width=64, short=112)


def tiny() -> SPAct:
    """Trains in minutes on two cores."""
    return SPAct(width=8, short=24)

"""VITA: a residual network rewrites each frame so that labelled private attributes cannot be read.

Wu, Wang, Wang, Wang, Wang and Jin, ECCV 2018 and TPAMI 2020 (there also ALF); the "supervised" row
of SPAct's tables. It is trained against networks that learn the private labels, an ensemble of them
and restarted ones in the paper (`masquerade train vita`), and hides what is labelled.

Differs from the paper: any frame size comes in and the same goes out. With SPAct's UNet instead of
its own network the method is `spact`, trained with `--objective labels`.
"""

from __future__ import annotations

from torch import Tensor

from masquerade.anonymizer import Card
from masquerade.errors import UsageError
from masquerade.methods.rewriter import Rewriter
from masquerade.models.image_transform_net import ImageTransformNet


class VITA(Rewriter):
    """Rewrite every frame by a network that was trained against named private attributes.

    Args:
        widths: channels at full, half and quarter size; 32, 64 and 128 in the paper.
        blocks: residual ones; 5 in the paper.
        short: the shorter side in pixels at which the network works; 112 in the paper.
        grey: one channel for all three, as the paper's option has it.
    """

    card = Card(
        hides="the attributes that were labelled in training; others may stay",
        undo="partly: what the action needs can be read, and outlines can be guessed",
        needs="training, with private labels: masquerade train vita",
        paper="VITA, Wu et al. ECCV 2018, TPAMI 2020",
    )

    def __init__(
        self,
        *,
        widths: tuple[int, int, int] = (8, 16, 32),
        blocks: int = 2,
        short: int = 112,
        grey: bool = False,
    ) -> None:
        super().__init__(short=short)
        if min(widths) < 1 or blocks < 0 or short < 16:
            raise UsageError("vita needs widths of at least 1 and a short side of at least 16.")
        self.widths, self.blocks, self.grey = widths, blocks, grey
        self.net = ImageTransformNet(widths=widths, blocks=blocks)

    def _rewritten(self, frames: Tensor) -> Tensor:
        out = self.net(frames)
        return out.mean(1, keepdim=True).expand_as(out) if self.grey else out


def paper() -> VITA:
    """The paper's network (1,677,638 parameters), at its size."""
    return VITA(widths=(32, 64, 128), blocks=5, short=112)


def tiny() -> VITA:
    """Trains in minutes on two cores."""
    return VITA(widths=(8, 16, 32), blocks=2, short=24)

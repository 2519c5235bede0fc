"""VITA: a residual network transforms each frame, trained against labelled private attributes.

Wu, Wang, Wang, Wang, Wang and Jin, ECCV 2018 and TPAMI 2020 (also named ALF); the "supervised" row
of SPAct's tables. It is trained for an action recognizer and against networks that predict the
private labels: in the paper an ensemble, restarted from time to time (`masquerade train vita`).
Hides about half of what tells the labelled attributes of synthetic people, keeps the action.

Differs from the paper: frames of any size are resized to the network's input and back. With SPAct's
UNet instead of its own network the method is `spact`, trained with `--objective labels`.
"""

from typing import Annotated, ClassVar

from torch import Tensor

from masquerade.anonymizer import Card, Presets
from masquerade.methods.framewise import FramewiseAnonymizer, Side
from masquerade.models.image_transform_net import ImageTransformNet
from masquerade.ranges import at_least

Width = Annotated[int, at_least(1, 1024)]


class VITA(FramewiseAnonymizer):
    """Transform every frame by a network that was trained against labelled private attributes.

    Args:
        widths: channels at full, half and quarter size; 32, 64 and 128 in the paper.
        blocks: residual blocks; 5 in the paper.
        short: shorter side in pixels of the network's input; 112 in the paper.
        grey: output grey frames, an option of the paper.
    """

    card = Card(
        hides="of synthetic people, about half of what tells the attributes that were labelled in "
        "training; others may stay",
        undo="partly: networks read what the action needs, and outlines can be reconstructed",
        needs="training, with private labels: masquerade train vita",
        paper="VITA, Wu et al. ECCV 2018, TPAMI 2020",
    )

    presets: ClassVar[Presets] = {
        # its network (1,677,638 parameters), at its size
        "paper": {"widths": (32, 64, 128), "blocks": 5, "short": 112},
        # trains in minutes on two cores
        "tiny": {"widths": (8, 16, 32), "blocks": 2, "short": 24},
    }

    def __init__(
        self,
        *,
        widths: tuple[Width, Width, Width] = (8, 16, 32),
        blocks: Annotated[int, at_least(0, 100)] = 2,
        short: Side = 112,
        grey: bool = False,
    ) -> None:
        super().__init__(short=short)
        self.widths, self.blocks, self.grey = widths, blocks, grey
        self.net = ImageTransformNet(widths=widths, blocks=blocks)

    def _transform(self, frames: Tensor) -> Tensor:
        out = self.net(frames)
        return out.mean(1, keepdim=True).expand_as(out) if self.grey else out

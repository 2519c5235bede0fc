"""SPAct: a UNet transforms each frame, trained without labels of what is private.

Dave, Chen and Shah, CVPR 2022. The UNet is trained for an action recognizer and against a
self-supervised adversary that tells frames of one video from those of others (`masquerade train
spact`). Hides what lets the adversary match frames; keeps what the action recognizer needs. What
other attackers can still read is measured by `masquerade evaluate`.

Differs from the paper: frames of any size are resized to the network's input and back, and `mask`
limits it to regions.
"""

from typing import Annotated, ClassVar

from torch import Tensor

from masquerade.anonymizer import Card, Presets
from masquerade.methods.framewise import FramewiseAnonymizer, Side
from masquerade.models.unet import UNet
from masquerade.ranges import at_least


class SPAct(FramewiseAnonymizer):
    """Transform every frame by a UNet that was trained to keep actions readable only.

    Args:
        width: channels of the first stage; 64 in the paper.
        short: shorter side in pixels of the network's input; 112 in the paper.
    """

    card = Card(
        hides="some looks; the scene and objects stay",
        undo="partly: networks read what the action needs, and outlines can be reconstructed",
        needs="training: masquerade train spact",
        paper="SPAct, Dave et al. CVPR 2022",
    )

    presets: ClassVar[Presets] = {
        "paper": {"width": 64, "short": 112},  # its network (17,267,523 parameters), at its size
        "tiny": {"width": 8, "short": 24},  # trains in minutes on two cores
    }

    def __init__(self, *, width: Annotated[int, at_least(1, 1024)] = 16, short: Side = 112) -> None:
        super().__init__(short=short)
        self.width = width
        self.net = UNet(width=width)

    def _transform(self, frames: Tensor) -> Tensor:
        return self.net(frames).sigmoid()

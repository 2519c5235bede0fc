"""What of a clip a network is shown: its frames, how much pixels change, or both."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Look = Literal["frames", "motion", "both"]
CHANNELS: dict[Look, int] = {"frames": 3, "motion": 1, "both": 4}
GAIN = 4.0  # of motion: a change by a quarter of the range is full


class Looking(nn.Module):
    """A recognizer behind a fixed look at the clip.

    A small network that must find out for itself to subtract frames does not do so from a hundred
    clips; one that is given the differences learns the action from them in seconds.

    Args:
        net: reads as many channels as `CHANNELS` says.
        look: what it is shown.
    """

    def __init__(self, net: nn.Module, *, look: Look) -> None:
        super().__init__()
        self.net, self.look = net, look
        self.heads: dict[str, int] | None = getattr(net, "heads", None)

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """(B, 3, T, H, W) in [0, 1] to what the network gives."""
        return self.net(looked(clip, self.look))


def looked(clip: Tensor, look: Look) -> Tensor:
    """A clip as a network is shown it.

    Args:
        clip: (B, 3, T, H, W) in [0, 1].
        look: what is shown; motion is how much each pixel's grey changes from the frame before, so
            that a frame less comes out. A clip of one frame has none anywhere.

    Returns:
        (B, C, T - 1, H, W) in [0, 1], or the clip itself.
    """
    if look == "frames":
        return clip
    grey = clip.mean(dim=1, keepdim=True)
    grey = grey if clip.shape[2] > 1 else grey.expand(-1, -1, 2, -1, -1)
    moved = (GAIN * (grey[:, :, 1:] - grey[:, :, :-1]).abs()).clamp(max=1)
    return moved if look == "motion" else torch.cat([clip[:, :, -moved.shape[2] :], moved], dim=1)

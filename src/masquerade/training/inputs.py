"""What of a clip a network is shown: all of it, stills, how much pixels change, or the place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.recognizers import Recognizer
from masquerade.models.vit import VideoViT

GAIN = 4.0  # of motion: a change by a quarter of the range is full
STRIP = 12  # the place is the top twelfth, above people's heads
STILLS = 5


def frames(clip: Tensor) -> Tensor:
    """Every frame as it is."""
    return clip


def stills(clip: Tensor) -> Tensor:
    """At most five frames, spread over the clip."""
    count = clip.shape[2]
    if count <= STILLS:
        return clip
    # Of twice as many points and one the odd ones: neither end, where clips often stand still.
    return clip[:, :, torch.linspace(0, count - 1, 2 * STILLS + 1).round().long()[1::2]]


def motion(clip: Tensor) -> Tensor:
    """(B, 1, T - 1, H, W): how much each pixel's grey changes from the frame before.

    Colour is gone (FACTS 9, A12). A clip of one frame has no motion anywhere.
    """
    grey = clip.mean(dim=1, keepdim=True)
    grey = grey if clip.shape[2] > 1 else grey.expand(-1, -1, 2, -1, -1)
    return (GAIN * (grey[:, :, 1:] - grey[:, :, :-1]).abs()).clamp(max=1)


def both(clip: Tensor) -> Tensor:
    """(B, 4, T - 1, H, W): the frames, and how they changed."""
    moved = motion(clip)
    return torch.cat([clip[:, :, -moved.shape[2] :], moved], dim=1)


def place(clip: Tensor) -> Tensor:
    """The top twelfth of a few frames, enlarged: scenery, and nobody in it."""
    rows = max(1, round(clip.shape[3] / STRIP))
    top = stills(clip)[:, :, :, :rows]
    b, c, t, _, w = top.shape
    flat = top.transpose(1, 2).flatten(0, 1)  # (B * T, C, rows, W)
    flat = F.interpolate(flat, size=(max(16, rows), w), mode="bilinear")
    return flat.reshape(b, t, c, -1, w).transpose(1, 2)


LOOKS: dict[str, Callable[[Tensor], Tensor]] = {
    "frames": frames,
    "stills": stills,
    "motion": motion,
    "both": both,
    "place": place,
}
"""(B, 3, T, H, W) in [0, 1] to what is shown, in [0, 1] too."""

CHANNELS = {"frames": 3, "stills": 3, "motion": 1, "both": 4, "place": 3}


class Looking(nn.Module):
    """A recognizer behind a fixed look at the clip.

    A small network that must find out for itself to subtract frames does not do so from a hundred
    clips; one that is given the differences learns the action from them in seconds.

    Args:
        net: reads as many channels as `CHANNELS` says.
        look: what it is shown, in LOOKS.
    """

    def __init__(self, net: nn.Module, *, look: str) -> None:
        super().__init__()
        if look not in LOOKS:
            raise UsageError(f"There is no look {look!r}; choose one of {', '.join(LOOKS)}.")
        self.net, self.look = net, look
        self.heads: dict[str, int] | None = getattr(net, "heads", None)

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """(B, 3, T, H, W) in [0, 1] to what the network gives."""
        return self.net(LOOKS[self.look](clip))

    def embed(self, clip: Tensor) -> Tensor:
        """(B, width), what the network's head sees of the same."""
        found: Tensor = self.net.embed(LOOKS[self.look](clip))  # type: ignore[operator]
        return found


class Knowing(nn.Module):
    """A recognizer and which tubelets were dropped of the clips that it is about to read.

    Args:
        net: takes the mask.
        keep: (B, L, N) in [0, 1].
    """

    def __init__(self, net: Recognizer, keep: Tensor) -> None:
        super().__init__()
        self.net, self.keep = net, keep

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """(B, 3, T, H, W) in [0, 1] to what the network gives."""
        return self.net(clip, keep=self.keep)


def knowing(net: nn.Module, keep: Tensor | None) -> nn.Module:
    """A network that is told what was dropped, if it takes that; any other one as it is.

    Args:
        net: a recognizer.
        keep: (B, L, h, w) in [0, 1] over any grid, or over pixels; None: nothing was dropped.
    """
    if keep is None or not isinstance(net, Recognizer) or not net.sees_keep:
        return net
    if not isinstance(net.net, VideoViT):
        return net
    # Of another grid: the share of each of its tubelets that is kept.
    share = F.adaptive_avg_pool3d(keep[:, None], net.net.grid)  # (B, 1, L, h, w)
    return Knowing(net, share[:, 0].flatten(2))

"""What of a clip an attacker looks at, as a layer before its network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.recognizers import Recognizer

View = Callable[[Tensor], Tensor]

BINS = 6  # of each colour
STRIP = 12  # the place-only attacker sees the top twelfth, above people's heads
NOISE, GAIN = 0.04, 12.0  # of motion: what a change must exceed, and how soon it is full


def half(clip: Tensor) -> Tensor:
    """Every second frame: half the cost, and actions here are slow."""
    return clip[:, :, ::2] if clip.shape[2] >= 12 else clip


def whole(clip: Tensor) -> Tensor:
    """Every frame."""
    return clip


def stills(clip: Tensor) -> Tensor:
    """At most five frames, spread over the clip, without regard to their order."""
    frames = clip.shape[2]
    if frames <= 5:
        return clip
    return clip[:, :, torch.linspace(0, frames - 1, 6).round().long()[1::2]]


def motion(clip: Tensor) -> Tensor:
    """Where pixels change from frame to frame, at half the size (FACTS 9, A12): colour is gone."""
    grey = clip.mean(dim=1, keepdim=True)
    changed = (grey[:, :, 1:] - grey[:, :, :-1]).abs()
    return F.avg_pool3d((GAIN * (changed - NOISE)).clamp(0, 1), (1, 2, 2))


def place(clip: Tensor) -> Tensor:
    """The top twelfth of four frames, enlarged: scenery, and nobody in it."""
    rows = max(1, round(clip.shape[3] / STRIP))
    top = stills(clip)[:, :, :, :rows]
    b, c, t, _, w = top.shape
    flat = top.transpose(1, 2).flatten(0, 1)  # (B * T, C, rows, W)
    flat = F.interpolate(flat, size=(max(16, rows), w), mode="bilinear")
    return flat.reshape(b, t, c, -1, w).transpose(1, 2)


def pictures(seen: Tensor) -> Tensor:
    """The mean frame, coarse.

    Args:
        seen: (B, C, T, H, W), of a view.
    """
    return F.adaptive_avg_pool2d(seen.mean(dim=2), (14, 18)).flatten(1)


def frames(seen: Tensor) -> Tensor:
    """Every frame, coarser.

    Args:
        seen: (B, C, T, H, W), of a view.
    """
    return F.adaptive_avg_pool3d(seen, (seen.shape[2], 7, 9)).flatten(1)


def colours(seen: Tensor) -> Tensor:
    """How often each of 6 x 6 x 6 colours occurs, as its square root.

    Args:
        seen: (B, 3, T, H, W), of a view.
    """
    bins = (seen * BINS).long().clamp(max=BINS - 1).flatten(2)  # (B, 3, T * H * W)
    codes = (bins[:, 0] * BINS + bins[:, 1]) * BINS + bins[:, 2]
    counts = torch.zeros(len(seen), BINS**3).scatter_add_(1, codes, torch.ones(codes.shape))
    return (counts / codes.shape[1]).sqrt()


VIEWS: dict[str, View] = {
    "half": half,
    "whole": whole,
    "stills": stills,
    "motion": motion,
    "place": place,
}
CHANNELS = {"motion": 1}
FEATURES: dict[str, View] = {"picture": pictures, "frames": frames, "colours": colours}


class Looking(nn.Module):
    """A recognizer that is shown a view of each clip."""

    def __init__(self, recognizer: Recognizer, *, view: str) -> None:
        """
        Args:
            recognizer: of the view's channels.
            view: in VIEWS.
        """
        super().__init__()
        self.recognizer, self.view = recognizer, view
        self.heads = recognizer.heads

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """Logits of each label.

        Args:
            clip: (B, 3, T, H, W) in [0, 1].
        """
        return self.recognizer(VIEWS[self.view](clip))

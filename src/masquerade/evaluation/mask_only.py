"""What the pattern of kept tubelets tells by itself: an attacker who sees where, and never what.

FACTS 9, A6. Which tubelets stay follows from the whole video, so that the pattern may show where
somebody is and how they move, even where every kept pixel is rewritten. Here it is a video of its
own, white where something is kept, and all attackers of a table are let loose on it. Two controls
go with it: as many tubelets drawn at random, and always the same ones.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.methods.stprivacy import STPrivacy
from masquerade.models.sparse_vit import kept_counts

Drawn = Literal["kept", "random", "fixed"]
NAMES: dict[Drawn, str] = {
    "kept": "kept pattern only",
    "random": "as many at random",
    "fixed": "always the same ones",
}


class KeptPattern(Anonymizer):
    """A white shape on black: the tubelets that another anonymizer keeps of the same video.

    Args:
        of: what drops tubelets.
        drawn: kept: those that it keeps; random: as many of each temporal slot, drawn for each
            video; fixed: the first ones of each slot.
    """

    full_frame = True

    def __init__(self, *, of: STPrivacy, drawn: Drawn = "kept") -> None:
        super().__init__()
        self.of, self.drawn = of, drawn
        self.window = of.window

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
        draw = torch.Generator()
        if seed is None:
            draw.seed()
        return draw if seed is None else draw.manual_seed(seed)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        if self.drawn == "kept":
            hidden = self.of(clip).hidden
            assert hidden is not None
        else:
            hidden = 1 - self._drawn(clip, state or self.init_state())
        return Anonymized((1 - hidden).expand_as(clip), hidden, state)

    def _drawn(self, clip: Tensor, draw: torch.Generator) -> Tensor:
        """(B, 1, T, H, W) of 0 and 1, the same count in each slot as the anonymizer keeps."""
        net, frames = self.of.net, clip.shape[2]
        slots = net.grid[0] * math.ceil(frames / self.of.frames)
        counts = kept_counts(net.slot, self.of.keep, len(self.of.places))
        count = net.slot if self.of.mode == "anonymize-only" else counts[-1]
        order = torch.arange(net.slot).expand(len(clip), slots, -1)
        if self.drawn == "random":
            order = torch.rand(len(clip), slots, net.slot, generator=draw).argsort(dim=-1)
        shown = (order < count).to(clip).reshape(len(clip), slots, *net.grid[1:])
        shown = shown.repeat_interleave(self.of.tubelet[0], dim=1)[:, :frames]
        return F.interpolate(shown, size=clip.shape[3:], mode="nearest-exact")[:, None]

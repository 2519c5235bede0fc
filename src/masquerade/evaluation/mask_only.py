"""Attack a mask alone: attackers see which parts stay or which are hidden, and nothing else.

Of a method that hides regions, such as people, that is a `Silhouette` of the same regions. Of
STPrivacy it is the keep mask, which follows from the whole video, so that it may show where
somebody is and how they move, even where every kept pixel is rewritten. Here it is a video of its
own, white where a tubelet is kept, that all attackers of a table read. Two controls go with it: as
many tubelets drawn at random, and always the same ones. It is an `Anonymizer` so that it is
extracted and attacked like one, and it is not among `methods`, since it hides nobody.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.anonymizer import Anonymized, Anonymizer
from masquerade.methods.stprivacy import STPrivacy
from masquerade.models.sparse_vit import kept_counts

Source = Literal["kept", "random", "fixed"]
NAMES: dict[Source, str] = {
    "kept": "keep mask only",
    "random": "random mask",
    "fixed": "fixed mask",
}

REGION_MASK = "region mask only"
"""How the row is called in which attackers see only where a method hides."""


def shows_mask_alone(row: str) -> bool:
    """Whether attackers see a mask or its control alone in a row of this name, and no video."""
    return row.endswith(tuple(f", {name}" for name in (*NAMES.values(), REGION_MASK)))


class KeepMask(Anonymizer):
    """The keep mask of an anonymizer that drops tubelets, as a video: white where one is kept.

    Its `source` is `kept`, the anonymizer's own mask; `random`, as many tubelets of each temporal
    slot, drawn for each video; or `fixed`, the first ones of each slot.
    """

    full_frame = True

    def __init__(self, *, of: STPrivacy, source: Source = "kept") -> None:
        super().__init__()
        self.of, self.source = of, source
        self.window = of.window

    def init_state(self, *, seed: int | None = None, source: bytes | None = None) -> Any:
        generator = torch.Generator()
        return generator.manual_seed(generator.seed() if seed is None else seed)

    def forward(self, clip: Tensor, *, mask: Tensor | None = None, state: Any = None) -> Anonymized:
        if self.source == "kept":
            hidden = self.of(clip).hidden
            assert hidden is not None
        else:
            hidden = 1 - self._draw(clip, state or self.init_state())
        return Anonymized((1 - hidden).expand_as(clip), hidden, state)

    def _draw(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """(B, 1, T, H, W) of 0 and 1, with as many kept in each slot as the anonymizer keeps."""
        net, frames = self.of.net, clip.shape[2]
        slots = net.grid[0] * math.ceil(frames / self.of.frames)
        counts = kept_counts(net.slot, self.of.keep, len(self.of.places))
        count = net.slot if self.of.mode == "anonymize-only" else counts[-1]
        order = torch.arange(net.slot).expand(len(clip), slots, -1)
        if self.source == "random":
            order = torch.rand(len(clip), slots, net.slot, generator=generator).argsort(dim=-1)
        shown = (order < count).to(clip).reshape(len(clip), slots, *net.grid[1:])
        shown = shown.repeat_interleave(self.of.tubelet[0], dim=1)[:, :frames]
        return F.interpolate(shown, size=clip.shape[3:], mode="nearest-exact")[:, None]

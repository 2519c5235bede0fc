"""A class token by which an anonymizer learns, at first, what matters for the action.

Li et al., STPrivacy (the preprint's eq. 12): while the anonymizer is initialised a class token goes
through its layers, always kept, and must tell the action; so tubelets that tell it are kept. It is
training's own: no published weight, and thrown away when the anonymizer is saved.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class ClassToken(nn.Module):
    """The token, and what turns what it has read into logits by label.

    Args:
        width: of a token.
        heads: outputs by label.
    """

    def __init__(self, *, width: int, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = dict(heads)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, sum(self.heads.values()))

    def forward(self, read: Tensor) -> dict[str, Tensor]:
        """(B, D) to logits by label."""
        parts = self.head(self.norm(read)).split(list(self.heads.values()), dim=1)
        return dict(zip(self.heads, parts, strict=True))

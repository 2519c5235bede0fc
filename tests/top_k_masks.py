"""The masks of inference for a training pass, which must then show the same."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from masquerade.models.sparse_vit import ChooseKeep, log_odds


def top_k_keep(counts: Sequence[int]) -> ChooseKeep:
    """Keep each temporal slot's most probable tokens, `counts[m]` of them after predictor m."""

    def choose(logits: Tensor, keep: Tensor, predictor: int) -> Tensor:
        score = log_odds(logits).masked_fill(keep == 0, -torch.inf)
        first = score.topk(counts[predictor], dim=-1).indices
        return torch.zeros_like(keep).scatter(-1, first, 1)

    return choose

"""Self-attention in which tokens may be dropped: exact zeros, and a gradient for the decision.

STPrivacy, ICCV 2023, eq. 8 to 10 (after DynamicViT, NeurIPS 2021): only columns are masked. A
dropped token still asks, of the kept ones and itself; nobody asks it. The papers' code adds an
epsilon to every weight, so that dropped tokens leak into kept ones; here they weigh nothing, and
the masked forward on the kept rows is the forward of the kept tokens alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

REACH = 30.0
"""How far above the kept scores a dropped one may count in the gradient of its own keep decision.

e^30 keeps that gradient finite in float32, squared and summed too; e^100 would be infinite, and
infinity times the zero of the mask is not a number.
"""

Softmax = Literal["exact", "dynamicvit"]


def masked_softmax(scores: Tensor, keep: Tensor) -> Tensor:
    """Softmax over the kept columns and each row's own, exactly zero elsewhere.

    Args:
        scores: (B, heads, N, N), queries by keys.
        keep: (B, N) in [0, 1], how far each token is kept; it gets its gradient.
    """
    mask = _column_mask(keep)
    scores = _at_least_float32(scores)
    top = scores.detach().masked_fill(mask == 0, -torch.inf).amax(dim=-1, keepdim=True)
    weights = (scores - top).clamp(max=REACH).exp() * mask  # (B, heads, N, N)
    return weights / weights.sum(dim=-1, keepdim=True)


def dynamicvit_softmax(scores: Tensor, keep: Tensor, *, eps: float = 1e-6) -> Tensor:
    """The softmax of the papers' code, for comparison: what is dropped leaks, by `eps` or by more.

    Args:
        scores: (B, heads, N, N), queries by keys.
        keep: (B, N) in [0, 1].
        eps: what is shared over all columns and added to the sum.
    """
    mask = _column_mask(keep)
    scores = _at_least_float32(scores)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp() * mask
    return (weights + eps / scores.shape[-1]) / (weights.sum(dim=-1, keepdim=True) + eps)


def masked_mean(tokens: Tensor, keep: Tensor | None) -> Tensor:
    """The mean over the kept tokens; zeros where none is kept.

    Args:
        tokens: (B, N, D).
        keep: (B, N) in [0, 1]; None: all of them.
    """
    if keep is None:
        return tokens.mean(dim=1)
    weight = keep.to(tokens.dtype)[..., None]  # (B, N, 1)
    return (tokens * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1)


def gather_kept(tokens: Tensor, keep: Tensor) -> Tensor:
    """The kept tokens alone, in their order; every row of the batch must keep equally many.

    Args:
        tokens: (B, N, D).
        keep: (B, N), bool.
    """
    batch, _, width = tokens.shape
    return tokens[keep].reshape(batch, -1, width)  # (B, K, D)


class Attention(nn.Module):
    """Multi-head self-attention with the names of DINO and timm: `qkv`, `proj`."""

    def __init__(
        self, *, width: int, heads: int, qkv_bias: bool = True, softmax: Softmax = "exact"
    ) -> None:
        """
        Args:
            width: of a token.
            heads: must divide `width`.
            qkv_bias: whether queries, keys and values have a bias.
            softmax: `exact` hides dropped tokens entirely; `dynamicvit` is the papers' code.
        """
        super().__init__()
        self.heads = heads
        self.softmax = masked_softmax if softmax == "exact" else dynamicvit_softmax
        self.exact = softmax == "exact"
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def queries_keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each (B, heads, N, D / heads)."""
        batch, count, width = tokens.shape
        parts = self.qkv(tokens).reshape(batch, count, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """
        Args:
            tokens: (B, N, D).
            keep: (B, N), bool or in [0, 1]; only the latter gets a gradient. None: all kept.
        """
        q, k, v = self.queries_keys_values(tokens)
        if keep is None:
            mixed = F.scaled_dot_product_attention(q, k, v)
        elif keep.dtype == torch.bool and self.exact:
            own = torch.eye(keep.shape[1], dtype=torch.bool, device=keep.device)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :] | own)
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, heads, N, N)
            mixed = self.softmax(scores, keep).to(v.dtype) @ v
        return self.proj(mixed.transpose(1, 2).reshape(tokens.shape))


def _column_mask(keep: Tensor) -> Tensor:
    """(B, 1, N, N): one on the diagonal, the column's keep elsewhere."""
    keep = _at_least_float32(keep)
    own = torch.eye(keep.shape[1], dtype=keep.dtype, device=keep.device)
    return keep[:, None, None, :] * (1 - own) + own


def _at_least_float32(values: Tensor) -> Tensor:
    wide = values.dtype in (torch.float32, torch.float64)
    return values if wide else values.float()

"""Self-attention in which tokens may be dropped: exact zeros, and a gradient for the decision.

STPrivacy, ICCV 2023, eq. 8 to 10 (after DynamicViT, NeurIPS 2021): only columns are masked. A
dropped token still asks, of the kept ones and itself; nobody asks it. The papers' code adds an
epsilon to every weight, so that dropped tokens leak into kept ones; here they weigh nothing, and
the masked forward on the kept rows is the forward of the kept tokens alone.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

REACH = 30.0
"""How far above the kept scores a dropped one may count in the gradient of its own keep decision.

e^30 keeps that gradient finite in float32, squared and summed too; e^100 would be infinite, and
infinity times the zero of the mask is not a number.
"""
ROWS = 64
"""Queries whose scores are written out at once for that gradient."""

Softmax = Literal["exact", "dynamicvit"]


def attend(q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
    """Attention over the kept columns and each row's own, fused, with the decision's gradient.

    The fused kernel takes the mask as log(keep), so that what is dropped weighs exactly zero; its
    own gradient of that ends at the dropped tokens. `_HeardByKeep` adds the true one, some rows of
    scores at a time, so that no square matrix of them is ever held.

    Args:
        q: (B, heads, N, d).
        k: as q.
        v: as q.
        keep: (B, N) in [0, 1], how far each token is kept; it gets its gradient.
    """
    logs = _at_least_float32(keep.detach()).log()
    bias = _spread(logs, own=0.0).to(q.dtype)  # (B, 1, N, N), -inf: dropped
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    if not keep.requires_grad:
        return mixed
    out: Tensor = _HeardByKeep.apply(mixed, q.detach(), k.detach(), v.detach(), keep)  # type: ignore[no-untyped-call]
    return out


class _HeardByKeep(torch.autograd.Function):
    """Passes attention's output on unchanged, and its gradient to the keep decision as well.

    With A_ij = e^S_ij M_ij / sum_k e^S_ik M_ik and O = A V, dO_i / dM_ij is
    e^S_ij (v_j - O_i) / sum_k e^S_ik M_ik, for kept and for dropped j alike; keep_j is in all of
    column j but the diagonal.
    """

    @staticmethod
    def forward(ctx: Any, mixed: Tensor, q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(mixed, q, k, v, keep)
        return mixed.view_as(mixed)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        mixed, q, k, v, keep = ctx.saved_tensors
        wide = _at_least_float32(upstream)
        slope = (wide * mixed).sum(-1, keepdim=True)  # dL/dO_i . O_i
        pull, ones = torch.cat([wide, -slope], -1), v.new_ones(*v.shape[:-1], 1)
        told = torch.zeros_like(pull)  # by column j: the sum over i of odds_ij / total_i pull_i
        order = _asking(wide)  # (B, R)
        for first in range(0, order.shape[1], ROWS):
            own = order[:, None, first : first + ROWS, None]  # (B, 1, r, 1)
            scores = _at_least_float32(_rows(q, own) * q.shape[-1] ** -0.5 @ k.mT)
            mask = _at_least_float32(keep)[:, None, None].repeat(1, 1, own.shape[2], 1)
            odds, total = _odds(scores, mask.scatter_(-1, own, 1))  # (B, heads, r, N)
            odds.scatter_(-1, own.expand(*odds.shape[:3], 1), 0)  # its own is one, whatever keep is
            told += odds.mT @ (_rows(pull, own) / total)
        heard = (told * torch.cat([v, ones], -1)).sum((1, 3))  # (B, N)
        return upstream, None, None, None, heard.to(keep.dtype)


def _asking(upstream: Tensor) -> Tensor:
    """(B, R): each clip's rows that have a gradient at all, as many as the most have.

    A dropped token's output is used by nobody, so in training that is only a part of them.
    """
    alive = upstream.abs().amax((1, 3)) > 0  # (B, N)
    most = int(alive.sum(1).max())
    return alive.byte().argsort(dim=1, descending=True)[:, :most]


def _rows(values: Tensor, own: Tensor) -> Tensor:
    """(B, heads, N, d) at the rows of (B, 1, r, 1)."""
    return values.gather(2, own.expand(-1, values.shape[1], -1, values.shape[3]))


def _odds(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """exp(scores), dropped columns' too, and its sum over the kept, less the kept scores' top."""
    top = scores.masked_fill(mask == 0, -torch.inf).amax(dim=-1, keepdim=True)
    odds = scores.sub_(top).clamp_(max=REACH).exp_()
    return odds, (odds * mask).sum(dim=-1, keepdim=True)


def dynamicvit_softmax(scores: Tensor, keep: Tensor, *, eps: float = 1e-6) -> Tensor:
    """The softmax of the papers' code, for comparison: what is dropped leaks, by `eps` or by more.

    Args:
        scores: (B, heads, N, N), queries by keys.
        keep: (B, N) in [0, 1].
        eps: what is shared over all columns and added to the sum.
    """
    mask = _spread(_at_least_float32(keep), own=1.0)
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
        self.exact = softmax == "exact"
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def queries_keys_values(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each (B, heads, N, D / heads)."""
        return self.apart(self.qkv(tokens))

    def apart(self, parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 3 * D) to queries, keys and values, each (B, heads, N, D / heads)."""
        heads = parts.reshape(*parts.shape[:2], 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """
        Args:
            tokens: (B, N, D).
            keep: (B, N), bool or in [0, 1]; only the latter gets a gradient. None: all kept.
        """
        return self.proj(self.mixed(*self.queries_keys_values(tokens), keep))

    def mixed(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> Tensor:
        """Values by their weights, heads side by side, (B, N, D); `keep` as in `forward`."""
        if keep is None:
            out = F.scaled_dot_product_attention(q, k, v)
        elif keep.dtype == torch.bool and self.exact:
            own = torch.eye(keep.shape[1], dtype=torch.bool, device=keep.device)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :] | own)
        elif self.exact:
            out = attend(q, k, v, keep)
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, heads, N, N)
            out = dynamicvit_softmax(scores, keep).to(v.dtype) @ v
        return out.transpose(1, 2).flatten(2)


def _spread(columns: Tensor, *, own: float) -> Tensor:
    """(B, N) to (B, 1, N, N): `own` on the diagonal, the column's value elsewhere."""
    count = columns.shape[1]
    diagonal = torch.eye(count, dtype=torch.bool, device=columns.device)
    return columns[:, None, None, :].expand(-1, 1, count, -1).masked_fill(diagonal, own)


def _at_least_float32(values: Tensor) -> Tensor:
    wide = values.dtype in (torch.float32, torch.float64)
    return values if wide else values.float()

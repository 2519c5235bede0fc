"""Masked self-attention over kept tokens, with a gradient for the keep mask.

Li et al., STPrivacy, ICCV 2023, eq. 8 to 10 (after DynamicViT, NeurIPS 2021). Dropped tokens remain
queries but are masked as keys, except for themselves. The papers' code adds an epsilon to every
weight, so that dropped tokens leak into kept ones; here their weight is exactly zero, so that the
rows of kept tokens equal attention over the kept tokens alone.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

EPSILON = 1e-6  # of the softmax of DynamicViT's and STPrivacy's code
MAX_LOG_ODDS = 30.0
"""Limit of a dropped score above the largest kept one in the gradient of the keep mask.

e^30 keeps that gradient and its square finite in float32; e^100 times the mask's zero is nan.
"""
QUERY_CHUNK = 64
"""Rows of scores that are held at once for that gradient."""
GPU_SCORES = 1 << 28
"""The most scores that a GPU holds at once for that gradient, 1 GiB; with few it is idle."""

Softmax = Literal["exact", "dynamicvit"]


def masked_attention(q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
    """Fused attention of (B, heads, N, d) over the diagonal and kept columns, `keep` (B, N).

    `keep` is in [0, 1] and enters as log(keep), so that dropped columns weigh exactly zero; the
    kernel's gradient of the mask is zero there. `_KeepGradient` gives the true one, some rows of
    scores at a time, so that no N x N matrix is ever held.
    """
    logs = at_least_float32(keep.detach()).log()
    bias = _columns(logs, diagonal=0.0).to(q.dtype)  # (B, 1, N, N), -inf: dropped
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    if not keep.requires_grad:
        return out
    out = _KeepGradient.apply(out, q.detach(), k.detach(), v.detach(), keep)  # type: ignore[no-untyped-call]
    return out


class _KeepGradient(torch.autograd.Function):
    """The identity on attention's output, whose backward pass adds the gradient of the keep mask.

    With A_ij = e^S_ij M_ij / sum_k e^S_ik M_ik and O = A V, dO_i / dM_ij is
    e^S_ij (v_j - O_i) / sum_k e^S_ik M_ik, for kept and for dropped j alike; keep_j is in all of
    column j but the diagonal.
    """

    @staticmethod
    def forward(ctx: Any, out: Tensor, q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
        ctx.save_for_backward(out, q, k, v, keep)
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        out, q, k, v, keep = ctx.saved_tensors
        grad = at_least_float32(upstream)
        inner = (grad * out).sum(-1, keepdim=True)  # dL/dO_i . O_i
        rows, ones = torch.cat([grad, -inner], -1), v.new_ones(*v.shape[:-1], 1)
        by_column = torch.zeros_like(rows)  # of column j: the sum over i of odds_ij / total_i row_i
        order = _rows_with_gradient(grad)  # (B, R)
        rows_at_once = _rows_at_once(q)
        for first in range(0, order.shape[1], rows_at_once):
            own = order[:, None, first : first + rows_at_once, None]  # (B, 1, r, 1)
            scores = at_least_float32(_gather_rows(q, own) * q.shape[-1] ** -0.5 @ k.mT)
            mask = at_least_float32(keep)[:, None, None].repeat(1, 1, own.shape[2], 1)
            mask.scatter_(-1, own, 1)
            top = scores.masked_fill(mask == 0, -torch.inf).amax(-1, keepdim=True)  # of kept ones
            odds = scores.sub_(top).clamp_(max=MAX_LOG_ODDS).exp_()  # (B, heads, r, N)
            total = (odds * mask).sum(dim=-1, keepdim=True)
            odds.scatter_(-1, own.expand(*odds.shape[:3], 1), 0)  # the diagonal is not of `keep`
            by_column += odds.mT @ (_gather_rows(rows, own) / total)
        keep_grad = (by_column * torch.cat([v, ones], -1)).sum((1, 3))  # (B, N)
        return upstream, None, None, None, keep_grad.to(keep.dtype)


def _rows_with_gradient(upstream: Tensor) -> Tensor:
    """(B, R): each clip's rows with a gradient, padded to the clip that has most.

    Dropped tokens' outputs are unused, so in training that is only a part of the rows. On a GPU
    they are all rows: to count the others would wait for it, which costs more than they do.
    """
    if upstream.is_cuda:
        return torch.arange(upstream.shape[2], device=upstream.device).expand(len(upstream), -1)
    alive = upstream.abs().amax((1, 3)) > 0  # (B, N)
    most = int(alive.sum(1).max())
    return alive.byte().argsort(dim=1, descending=True)[:, :most]


def _rows_at_once(q: Tensor) -> int:
    """The number of query rows of (B, heads, N, d) whose scores are held in memory at once."""
    if not q.is_cuda:
        return QUERY_CHUNK
    return max(QUERY_CHUNK, GPU_SCORES // math.prod(q.shape[:3]))


def _gather_rows(values: Tensor, own: Tensor) -> Tensor:
    """(B, heads, N, d) at the rows of (B, 1, r, 1)."""
    return values.gather(2, own.expand(-1, values.shape[1], -1, values.shape[3]))


def dynamicvit_softmax(scores: Tensor, keep: Tensor) -> Tensor:
    """The softmax of the papers' code: dropped columns get a weight of about `EPSILON / N` or more.

    `scores` (B, heads, N, N) are queries by keys, `keep` is (B, N) in [0, 1].
    """
    mask = _columns(at_least_float32(keep), diagonal=1.0)
    scores = at_least_float32(scores)
    weights = (scores - scores.amax(dim=-1, keepdim=True)).exp() * mask
    return (weights + EPSILON / scores.shape[-1]) / (weights.sum(dim=-1, keepdim=True) + EPSILON)


def masked_mean(
    tokens: Tensor, keep: Tensor | None, over: tuple[int, ...] = (1,), *, keepdim: bool = False
) -> Tensor:
    """The mean of (B, ..., D) over kept tokens, `keep` (B, ...) in [0, 1]; of none it is zeros."""
    if keep is None:
        return tokens.mean(over, keepdim)
    weight = keep.to(tokens.dtype)[..., None]  # (B, ..., 1)
    return (tokens * weight).sum(over, keepdim) / weight.sum(over, keepdim).clamp(min=1)


def kept_places(keep: Tensor, count: int) -> Tensor:
    """Where the `count` kept tokens of each row of the bool `keep` (B, N) are, in order: (B, K).

    N stands where a row keeps fewer. Unlike indexing by `keep`, its shape does not depend on
    values, so that it can be exported.
    """
    size = keep.shape[1]
    places = torch.arange(size, device=keep.device)
    return torch.where(keep, places, size).sort(dim=1).values[:, :count]


def gather_kept(tokens: Tensor, keep: Tensor, count: int | None = None) -> Tensor:
    """The kept tokens (B, K, D) of (B, N, D); each row of the bool `keep` (B, N) keeps K.

    `count` is K where the caller knows it, as one who exports must.
    """
    batch, _, width = tokens.shape
    if count is None:
        return tokens[keep].reshape(batch, -1, width)  # (B, K, D)
    return tokens.gather(1, kept_places(keep, count)[..., None].expand(-1, -1, width))


def pack_kept(tokens: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """The kept tokens of (B, N, D) under `keep` (B, N) of 0 and 1, and their places, (B, K).

    K is that of the row that keeps most; the others are filled up with any tokens at place N.
    """
    most = max(1, int(keep.sum(1).max()))
    places = kept_places(keep > 0, most)
    own = places.clamp(max=keep.shape[1] - 1)[..., None]
    return tokens.gather(1, own.expand(-1, -1, tokens.shape[-1])), places


def unpack_kept(packed: Tensor, places: Tensor, count: int) -> Tensor:
    """Packed tokens (B, K, D) at their places among `count`, (B, count, D), and zeros elsewhere."""
    batch, _, width = packed.shape  # not len(packed), which an export would fix as a constant
    padded = packed.new_zeros(batch, count + 1, width)
    return padded.scatter(1, places[..., None].expand_as(packed), packed)[:, :count]


class Attention(nn.Module):
    """Multi-head self-attention in the names of DINO and timm; `heads` divide `width`.

    `exact` softmax gives dropped tokens a weight of zero; `dynamicvit` is that of the papers' code.
    """

    def __init__(self, *, width: int, heads: int, softmax: Softmax = "exact") -> None:
        super().__init__()
        self.heads = heads
        self.exact = softmax == "exact"
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def split_qkv(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, 3 * D) to queries, keys and values, each (B, heads, N, D / heads)."""
        heads = qkv.reshape(*qkv.shape[:2], 3, self.heads, -1)  # (B, N, 3, heads, D / heads)
        q, k, v = heads.permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, N, D) to the same; `keep` (B, N) is bool, or in [0, 1] and then gets a gradient."""
        return self.proj(self.attend(*self.split_qkv(self.qkv(tokens)), keep))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, keep: Tensor | None) -> Tensor:
        """Weighted values, heads concatenated, (B, N, D), before the projection."""
        if keep is None:
            out = F.scaled_dot_product_attention(q, k, v)
        elif keep.dtype == torch.bool and self.exact:
            own = torch.eye(keep.shape[1], dtype=torch.bool, device=keep.device)
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None, :] | own)
        elif self.exact:
            out = masked_attention(q, k, v, keep)
        else:
            scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (B, heads, N, N)
            out = dynamicvit_softmax(scores, keep).to(v.dtype) @ v
        return out.transpose(1, 2).flatten(2)


def _columns(values: Tensor, *, diagonal: float) -> Tensor:
    """(B, N) to (B, 1, N, N): `diagonal` on the diagonal, the column's value elsewhere."""
    count = values.shape[1]
    own = torch.eye(count, dtype=torch.bool, device=values.device)
    return values[:, None, None, :].expand(-1, 1, count, -1).masked_fill(own, diagonal)


def at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype in (torch.float32, torch.float64) else values.float()

"""MViT-B 16 x 4, the multiscale vision transformer, in PyTorchVideo's state-dict names.

Fan et al., ICCV 2021: attention pools its queries, keys and values, so that the grid shrinks and
the tokens widen at layers 1, 3 and 14.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.building_blocks import Triple, init_transformer, named
from masquerade.models.resnet3d import Head
from masquerade.models.vit import check_shape, mlp, to_tokens

WIDEN_AT = (1, 3, 14)
"""Layers before which tokens widen, heads double and the grid halves in space."""


class PooledAttention(nn.Module):
    """Attention with each head's queries, keys and values pooled by a depthwise convolution."""

    def __init__(self, *, width: int, heads: int, strides: tuple[int, int]) -> None:
        super().__init__()
        self.heads, inner = heads, width // heads
        query_stride, key_stride = strides
        self.q, self.k, self.v, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.pool_q = _pool(inner, query_stride) if query_stride > 1 else None
        self.norm_q = nn.LayerNorm(inner, eps=1e-6) if query_stride > 1 else None
        self.pool_k, self.pool_v = _pool(inner, key_stride), _pool(inner, key_stride)
        self.norm_k, self.norm_v = nn.LayerNorm(inner, eps=1e-6), nn.LayerNorm(inner, eps=1e-6)

    def forward(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Triple]:
        parts = (part(tokens) for part in (self.q, self.k, self.v))
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in parts)
        after = grid  # q, k, v: (B, heads, N, D / heads)
        if self.pool_q is not None and self.norm_q is not None:
            q, after = pool_tokens(q, grid, self.pool_q)
            q = self.norm_q(q)
        k, v = pool_tokens(k, grid, self.pool_k)[0], pool_tokens(v, grid, self.pool_v)[0]
        mixed = F.scaled_dot_product_attention(q, self.norm_k(k), self.norm_v(v))
        return self.proj(mixed.transpose(1, 2).flatten(2)), after


class MultiScaleBlock(nn.Module):
    """A pre-norm layer that may shrink the grid and widen the tokens.

    `strides` in space are those of the queries, and of the keys and values.
    """

    def __init__(self, *, width: int, width_out: int, heads: int, strides: tuple[int, int]) -> None:
        super().__init__()
        self.query_stride = strides[0]
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = PooledAttention(width=width, heads=heads, strides=strides)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width=width, hidden=4 * width, out=width_out)
        self.proj = nn.Linear(width, width_out) if width != width_out else None

    def forward(self, tokens: Tensor, grid: Triple) -> tuple[Tensor, Triple]:
        mixed, after = self.attn(self.norm1(tokens), grid)
        if self.query_stride > 1:
            step, side = self.query_stride, self.query_stride + 1
            shrink = nn.MaxPool3d((1, side, side), (1, step, step), (0, side // 2, side // 2))
            tokens = pool_tokens(tokens[:, None], grid, shrink)[0][:, 0]
        tokens = tokens + mixed
        normed = self.norm2(tokens)
        # Where the width changes, the shortcut starts from the normed tokens, as in PyTorchVideo.
        return (tokens if self.proj is None else self.proj(normed)) + self.mlp(normed), after


class PositionalEncoding(nn.Module):
    """The class token, and learned positions that are the sum of space's and time's."""

    def __init__(self, *, width: int, grid: Triple) -> None:
        super().__init__()
        self.repeats = (grid[0], grid[1] * grid[2])
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed_spatial = nn.Parameter(torch.zeros(1, grid[1] * grid[2], width))
        self.pos_embed_temporal = nn.Parameter(torch.zeros(1, grid[0], width))
        self.pos_embed_class = nn.Parameter(torch.zeros(1, 1, width))

    def forward(self, tokens: Tensor) -> Tensor:
        frames, positions = self.repeats
        space = self.pos_embed_spatial.repeat(1, frames, 1)
        time = self.pos_embed_temporal.repeat_interleave(positions, dim=1)
        first = (self.cls_token + self.pos_embed_class).expand(tokens.shape[0], -1, -1)
        return torch.cat([first, tokens + space + time], dim=1)


class MViT(nn.Module):
    """Clips of `frames` (even) and one `size` (a multiple of 32) to logits (B, classes)."""

    head_names = ("head.proj",)

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        frames: int = 16,
        size: int = 224,
        width: int = 96,
        depth: int = 16,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.shape = (frames, size, size)
        self.grid = (frames // 2, size // 4, size // 4)
        # Overlapping tubelets: 3 x 7 x 7 pixels every 2 x 4 x 4.
        tubelets = nn.Conv3d(in_channels, width, (3, 7, 7), (2, 4, 4), (1, 3, 3))
        self.patch_embed = named(patch_model=tubelets)
        self.cls_positional_encoding = PositionalEncoding(width=width, grid=self.grid)
        blocks, heads, key_stride = [], 1, 8
        for at in range(depth):
            shrinks = at in WIDEN_AT
            heads, key_stride = (2 * heads, key_stride // 2) if shrinks else (heads, key_stride)
            out = 2 * width if at + 1 in WIDEN_AT and at + 1 < depth else width
            strides = (2 if shrinks else 1, key_stride)
            blocks.append(MultiScaleBlock(width=width, width_out=out, heads=heads, strides=strides))
            width = out
        self.blocks = nn.ModuleList(blocks)
        self.norm_embed = nn.LayerNorm(width, eps=1e-6)
        self.head = Head(width=width, classes=classes, dropout=dropout)
        self.width = width
        init_transformer(self)

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        check_shape(clip, self.shape)
        tokens, grid = to_tokens(self.patch_embed(clip)), self.grid
        tokens = self.cls_positional_encoding(tokens)
        for block in self.blocks:
            tokens, grid = block(tokens, grid)
        return self.norm_embed(tokens)[:, 0]

    def forward(self, clip: Tensor) -> Tensor:
        return self.head(self.pooled(clip))


def pool_tokens(tokens: Tensor, grid: Triple, pool: nn.Module) -> tuple[Tensor, Triple]:
    """Pool tokens (B, heads, 1 + T * H * W, D) over their grid (T, H, W), but not the class token.

    `pool` maps (B * heads, D, T, H, W) to a smaller grid.
    """
    batch, heads, _, width = tokens.shape
    first, rest = tokens[:, :, :1], tokens[:, :, 1:]
    cube = rest.reshape(batch * heads, *grid, width).permute(0, 4, 1, 2, 3)
    cube = pool(cube.contiguous())  # (B * heads, D, T', H', W')
    after = (cube.shape[2], cube.shape[3], cube.shape[4])
    rest = cube.reshape(batch, heads, width, math.prod(after)).transpose(2, 3)
    return torch.cat([first, rest], dim=2), after


def _pool(width: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(width, width, 3, (1, stride, stride), 1, groups=width, bias=False)

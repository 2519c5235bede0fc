"""STPrivacy's network: tubelets in, private ones dropped step by step, the others written anew.

Li et al., STPrivacy, ICCV 2023, 3.2 and 3.3 (and its preprint). In training every token goes
through every layer and masks decide who is heard; later the dropped ones are removed, and what is
kept comes out the same. Differs from the papers' code where that errs: means over no kept token are
zeros, not 0 / 0, and dropped tokens weigh exactly nothing (see `attention`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.attention import Softmax
from masquerade.models.vit import (
    Block,
    Inflation,
    TubeletEmbed,
    check_shape,
    inflate,
    init_transformer,
)

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""(log-probabilities (B, L, N, 2), kept so far (B, L, N), which predictor) to 0 or 1, (B, L, N)."""


class Predictor(nn.Module):
    """How probable it is that each tubelet is kept (eq. 1 to 5).

    A third of what it reads is of the token itself, a third the mean over the kept tokens of its
    temporal slot, a third the mean over all kept tokens of the clip.
    """

    def __init__(self, *, width: int) -> None:
        """
        Args:
            width: of a token; a multiple of 3.
        """
        super().__init__()
        if width % 3:
            raise UsageError(f"a predictor's width divides by 3; {width} does not.")
        self.norm = nn.LayerNorm(width)  # of the papers' code; the papers do not mention it
        self.read = nn.Linear(width, width)
        self.decide = nn.Sequential(
            nn.Linear(width, width // 2),
            nn.GELU(),
            nn.Linear(width // 2, width // 4),
            nn.GELU(),
            nn.Linear(width // 4, 2),
        )

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """Log-probabilities of keep (0) and drop (1), (B, L, N, 2).

        Args:
            tokens: (B, L, N, D).
            keep: (B, L, N), which of them were kept so far; None: all.
        """
        own, slot, clip = F.gelu(self.read(self.norm(tokens))).chunk(3, dim=-1)
        slot, clip = _mean(slot, keep, (2,)), _mean(clip, keep, (1, 2))
        seen = torch.cat([own, slot.expand_as(own), clip.expand_as(own)], dim=-1)
        return F.log_softmax(self.decide(seen), dim=-1)


def _mean(tokens: Tensor, keep: Tensor | None, over: tuple[int, ...]) -> Tensor:
    """The mean over the kept; zeros, not 0 / 0 as in the papers' code, where none is kept."""
    if keep is None:
        return tokens.mean(dim=over, keepdim=True)
    weight = keep[..., None].to(tokens.dtype)
    return (tokens * weight).sum(over, keepdim=True) / weight.sum(over, keepdim=True).clamp(min=1)


def sampled(log_odds: Tensor, keep: Tensor, which: int = 0) -> Tensor:
    """Draw who is kept: Gumbel-Softmax at temperature 1, hard forward, soft backward (eq. 6).

    A token that was dropped stays dropped.

    Args:
        log_odds: (B, L, N, 2), log-probabilities; probabilities would draw from another law.
        keep: (B, L, N), 0 where dropped before.
        which: predictor; all draw alike.
    """
    soft = F.gumbel_softmax(log_odds, tau=1.0, dim=-1)[..., 0]
    hard = (soft > 0.5).to(soft.dtype)
    return keep * (hard + (soft - soft.detach()))  # exactly 0 or 1


def best(counts: Sequence[int]) -> Choose:
    """Choose the most probable of those kept so far, equally many in each temporal slot.

    Args:
        counts: how many, by predictor.
    """

    def choose(log_odds: Tensor, keep: Tensor, which: int) -> Tensor:
        score = log_odds[..., 0].masked_fill(keep == 0, -torch.inf)
        first = score.topk(counts[which], dim=-1).indices
        return torch.zeros_like(keep).scatter(-1, first, 1)

    return choose


def kept_counts(tokens: int, keep: float, steps: int) -> tuple[int, ...]:
    """How many of a slot's tokens are left after each predictor: floor(N alpha^m), at least one.

    Args:
        tokens: N, of a temporal slot.
        keep: alpha, what a predictor leaves of the tokens before it.
        steps: predictors.
    """
    # the guard is against products such as .7 ** 2 * 100, which is 48.99...
    return tuple(max(1, math.floor(tokens * keep**m + 1e-9)) for m in range(1, steps + 1))


def ratio_loss(masks: Sequence[Tensor], keep: float) -> Tensor:
    """How far each slot's kept share is from alpha^m, squared (preprint eq. 11, ICCV eq. 7).

    Args:
        masks: (B, L, N) after each predictor.
        keep: alpha.
    """
    gaps = [(mask.mean(dim=-1) - keep**m) ** 2 for m, mask in enumerate(masks, 1)]
    return torch.stack(gaps).mean()


def layer(block: nn.Module, tokens: Tensor, keep: Tensor) -> Tensor:
    """A transformer layer of which only kept tokens learn.

    It gives what the layer itself gives. Nobody listens to a dropped token, so that no gradient
    would come to it as long as what becomes of it is not published; its part of the backward pass
    is not even prepared, which is most of what masks cost.

    Args:
        block: the layer, a `Block`.
        tokens: (B, N, D).
        keep: (B, N) of 0 or 1.
    """
    assert isinstance(block, Block)
    attn = block.attn
    if not attn.exact:  # there dropped tokens leak, and so do their gradients
        return block(tokens, keep)
    kept, rest = keep.flatten().nonzero()[:, 0], (keep == 0).flatten().nonzero()[:, 0]

    def each(change: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        flat = values.flatten(0, 1)
        learned = change(flat[kept])
        with torch.no_grad():
            passed = change(flat[rest]).to(learned.dtype)
        both = learned.new_empty(len(flat), learned.shape[-1])
        both = both.index_copy(0, rest, passed).index_copy(0, kept, learned)
        return both.reshape(*values.shape[:2], -1)

    parts = each(lambda some: attn.qkv(block.norm1(some)), tokens)
    tokens = tokens + each(attn.proj, attn.mixed(*attn.apart(parts), keep))
    return tokens + each(lambda some: block.mlp(block.norm2(some)), tokens)


class SparseViT(nn.Module):
    """A ViT over tubelets that drops some between its layers and turns the rest into pixels.

    Names are those of timm; the predictors and the decoder have their own.
    """

    head_names: ClassVar[tuple[str, ...]] = ("norm", "decoder", "predictors")
    """What an image ViT's file does not have."""

    def __init__(
        self,
        *,
        shape: tuple[int, int, int] = (16, 112, 112),
        tubelet: tuple[int, int, int] = (2, 16, 16),
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        places: Sequence[int] = (3, 6, 9),
        softmax: Softmax = "exact",
        inflation: Inflation = "average",
    ) -> None:
        """
        Args:
            shape: frames, rows and columns of a clip, each a multiple of the tubelet's.
            tubelet: frames, rows and columns of one token.
            width: of a token; a multiple of 3 and of `heads`.
            depth: layers.
            heads: of each layer.
            places: layers before which a predictor drops tokens, from the first to the last.
            softmax: as in `Attention`.
            inflation: how an image's patch becomes a tubelet when such weights are loaded.
        """
        super().__init__()
        if any(a % b for a, b in zip(shape, tubelet, strict=True)):
            raise UsageError(f"a clip of {shape} does not divide into tubelets of {tubelet}.")
        if width % heads:
            raise UsageError(f"{heads} heads do not divide a width of {width}.")
        if list(places) != sorted(set(places)) or not all(0 <= at < depth for at in places):
            raise UsageError(f"predictors stand before layers 0 to {depth - 1}, in order.")
        self.shape, self.tubelet, self.inflation = shape, tubelet, inflation
        self.places = tuple(places)
        self.grid = (shape[0] // tubelet[0], shape[1] // tubelet[1], shape[2] // tubelet[2])
        self.slot = self.grid[1] * self.grid[2]  # N
        self.patch_embed = TubeletEmbed(in_channels=3, tubelet=tubelet, width=width)
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.grid), width))
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, softmax=softmax) for _ in range(depth)
        )
        self.predictors = nn.ModuleList(Predictor(width=width) for _ in places)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = nn.Linear(width, 3 * math.prod(tubelet))
        init_transformer(self)

    def embed(self, clip: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, L * N, D), positions added."""
        check_shape(clip, self.shape)
        return self.patch_embed(clip) + self.pos_embed

    def masked(
        self,
        clip: Tensor,
        choose: Choose | None,
        *,
        masks_only: bool = False,
        token: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """All tokens through all layers, those kept heard by all (eq. 8 to 10): what training does.

        Args:
            clip: (B, 3, T, H, W), normalised.
            choose: who is kept; None: all, and no predictor is asked.
            masks_only: stop when the last predictor has spoken; the tokens are then unfinished.
            token: (1, 1, D), a class token that goes along: it is always kept, no predictor reads
                it, and what becomes of it comes first.

        Returns:
            Tokens (B, L * N, D), or one more, and who was kept after each predictor, (B, L, N).
        """
        tokens = self.embed(clip)
        keep = tokens.new_ones(len(clip), self.grid[0], self.slot)
        first = 0 if token is None else 1
        if token is not None:
            tokens = torch.cat([token.expand(len(clip), -1, -1), tokens], dim=1)
        masks: list[Tensor] = []
        for at, block in enumerate(self.blocks):
            if at in self.places and choose is not None:
                apart = tokens[:, first:].reshape(*keep.shape, -1)  # (B, L, N, D)
                keep = choose(self.predictors[len(masks)](apart, keep), keep, len(masks))
                masks.append(keep)
                if masks_only and len(masks) == len(self.places):
                    break
            mask = F.pad(keep.flatten(1), (first, 0), value=1.0)
            tokens = layer(block, tokens, mask) if masks else block(tokens)
        return tokens, masks

    def gathered(
        self, clip: Tensor, counts: Sequence[int], *, masks_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The same with the dropped tokens removed, the most probable of each slot kept.

        Args:
            clip: (B, 3, T, H, W), normalised.
            counts: kept of each slot, by predictor.
            masks_only: as in `masked`.

        Returns:
            Tokens (B, L * K, D) in their order, and the last mask (B, L, N), bool.
        """
        tokens = self.embed(clip)
        batch, slots = len(clip), self.grid[0]
        index = torch.arange(self.slot, device=clip.device).expand(batch, slots, -1)  # (B, L, K)
        step = 0
        for at, block in enumerate(self.blocks):
            if at in self.places:
                apart = tokens.reshape(*index.shape, -1)  # (B, L, K, D)
                score = self.predictors[step](apart)[..., 0]
                first = score.topk(counts[step], dim=-1).indices.sort(dim=-1).values
                index = index.gather(-1, first)
                wide = first[..., None].expand(-1, -1, -1, apart.shape[-1])
                tokens = apart.gather(2, wide).flatten(1, 2)
                step += 1
                if masks_only and step == len(self.places):
                    break
            tokens = block(tokens)
        keep = torch.zeros(batch, slots, self.slot, dtype=torch.bool, device=clip.device)
        return tokens, keep.scatter(-1, index, True)

    def through(self, clip: Tensor, keep: Tensor) -> Tensor:
        """Tokens of the kept tubelets alone, from the first layer on; no predictor is asked.

        Args:
            clip: (B, 3, T, H, W), normalised.
            keep: (B, L, N). As bool, equally many in each clip, only they are computed, and
                (B, K, D) comes back; else (B, L * N, D), where dropped ones are heard by none.
        """
        tokens, mask = self.embed(clip), keep.flatten(1)  # (B, L * N)
        if keep.dtype == torch.bool:
            tokens = tokens[mask].reshape(len(clip), -1, tokens.shape[-1])
        for block in self.blocks:
            tokens = block(tokens) if keep.dtype == torch.bool else layer(block, tokens, mask)
        return tokens

    def pixels(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens to a clip (B, 3, T, H, W); zeros in what was dropped.

        Args:
            tokens: (B, L * N, D), or with `keep` those of the kept alone.
            keep: (B, L, N), bool.
        """
        values = self.decoder(self.norm(tokens))  # (B, K, dT * dH * dW * 3)
        if keep is not None:
            every = values.new_zeros(len(keep), keep[0].numel(), values.shape[-1])
            values = every.masked_scatter(keep.flatten(1)[..., None], values)
        return self.assemble(values)

    def assemble(self, values: Tensor) -> Tensor:
        """(B, L * N, dT * dH * dW * 3), each by time, row, column, colour -> (B, 3, T, H, W)."""
        apart = values.reshape(len(values), *self.grid, *self.tubelet, 3)
        return apart.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(len(values), 3, *self.shape)

    def adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """An image ViT's weights for this network; its own pass unchanged."""
        patch = weights.get("patch_embed.proj.weight")
        return weights if patch is None or patch.ndim == 5 else inflate(weights, self)

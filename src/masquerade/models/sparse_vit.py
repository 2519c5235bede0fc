"""STPrivacy's sparse ViT: predictors drop tubelets between layers, the rest is decoded to pixels.

Li et al., STPrivacy, ICCV 2023, 3.2 and 3.3 (and its preprint). In training all tokens pass all
layers under masks; at inference dropped tokens are removed, with the same output. Differs from the
papers' code: means over no kept token are zeros, not 0 / 0, and dropped tokens have a weight of
exactly zero (see `attention`).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.building_blocks import Triple, init_transformer
from masquerade.models.masked_attention import (
    Softmax,
    at_least_float32,
    gather_kept,
    kept_places,
    masked_mean,
    pack_kept,
    unpack_kept,
)
from masquerade.models.vit import Block, Inflation, TubeletViT

ChooseKeep = Callable[[Tensor, Tensor, int], Tensor]
"""(log-probabilities (B, L, N, 2), keep mask so far (B, L, N), predictor) to a mask of 0 and 1."""


NEVER = 100.0  # below every score of a draw


class Predictor(nn.Module):
    """The probability that each tubelet is kept (eq. 1 to 5); `width` is a multiple of 3.

    A third of its input is the token's own, a third the mean over kept tokens of its temporal
    slot, a third the mean over all kept tokens of the clip.
    """

    def __init__(self, *, width: int) -> None:
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
        """(B, L, N, D) under a mask (B, L, N) to the logits of keep and drop, (..., 2).

        Without eq. 5's softmax, whose probabilities round to equal numbers where they hardly
        differ or come near 1, so that their order would be lost.
        """
        own, slot, clip = F.gelu(self.read(self.norm(tokens))).chunk(3, dim=-1)
        slot = masked_mean(slot, keep, (2,), keepdim=True)
        clip = masked_mean(clip, keep, (1, 2), keepdim=True)
        features = torch.cat([own, slot.expand_as(own), clip.expand_as(own)], dim=-1)
        logits: Tensor = self.decide(features)
        return logits


def log_odds(logits: Tensor) -> Tensor:
    """The log odds that a token is kept, (...), from a predictor's logits (..., 2)."""
    return logits[..., 0] - logits[..., 1]


def sample_keep(logits: Tensor, keep: Tensor, predictor: int = 0) -> Tensor:
    """Draw by Gumbel-Softmax, hard forward, soft backward (eq. 6); dropped tokens stay dropped."""
    # 16-bit logits, as autocast gives them, would give draws with ties
    soft = F.gumbel_softmax(at_least_float32(logits), tau=1.0, dim=-1)[..., 0]
    hard = (soft > 0.5).to(soft.dtype)
    return keep * (hard + (soft - soft.detach()))  # exactly 0 or 1


def draw_top_k(counts: Sequence[int]) -> ChooseKeep:
    """Draw `counts[m]` tokens of each slot after predictor m, probable ones more often.

    As many as inference keeps, so that networks learn from clips like those that they will be
    given: the best by log-odds, standardised in their slot, plus logistic noise. How strong it is
    is drawn for each clip, from 0 (what inference keeps) to 1. Hard forward, soft backward.
    """

    def choose(logits: Tensor, keep: Tensor, predictor: int) -> Tensor:
        count, left = counts[predictor], keep.detach()  # (B, L, N)
        if count >= keep.shape[-1]:
            return keep
        odds = log_odds(at_least_float32(logits))
        centred = odds - _mean_of_kept(odds, left)
        score = centred / (_mean_of_kept(centred.square(), left) + 1e-4).sqrt()
        uniform = torch.rand_like(score).clamp(1e-6, 1 - 1e-6)
        strength = torch.rand(len(score), 1, 1, dtype=score.dtype, device=score.device)
        score = score + strength * torch.logit(uniform)
        best = score.detach().masked_fill(left == 0, -NEVER).topk(count + 1, dim=-1).values
        soft = torch.sigmoid(score - best[..., -2:].mean(dim=-1, keepdim=True))
        hard = (score >= best[..., -2:-1]).to(soft.dtype)
        return keep * (hard + (soft - soft.detach()))  # exactly 0 or 1

    return choose


def _mean_of_kept(values: Tensor, keep: Tensor) -> Tensor:
    """The mean of (B, L, N) over kept tokens of each slot, (B, L, 1)."""
    return masked_mean(values[..., None], keep, (2,), keepdim=True)[..., 0]


def kept_counts(tokens: int, keep: float, steps: int) -> tuple[int, ...]:
    """What `steps` predictors leave of a slot's N `tokens`: floor(N keep^m), at least one."""
    # 1e-9 guards against products such as .7 ** 2 * 100, which is 48.99...
    return tuple(max(1, math.floor(tokens * keep**m + 1e-9)) for m in range(1, steps + 1))


def ratio_loss(masks: Sequence[Tensor], keep: float) -> Tensor:
    """Mean squared gap between each slot's kept share and keep^m (preprint eq. 11, ICCV eq. 7)."""
    gaps = [(mask.mean(dim=-1) - keep**m) ** 2 for m, mask in enumerate(masks, 1)]
    return torch.stack(gaps).mean()


def block_on_kept(block: nn.Module, tokens: Tensor, keep: Tensor) -> Tensor:
    """`block(tokens, keep)` with a backward pass through kept tokens alone; `keep` (B, N) of 0, 1.

    Dropped tokens are masked as keys, so that only the gradient of the mask needs them, and their
    own is zero anyway. Where there is no gradient at all they are left out, and are zeros.
    """
    assert isinstance(block, Block)
    attn = block.attn
    if not attn.exact:  # dropped tokens have weights, and so gradients
        return block(tokens, keep)
    if not torch.is_grad_enabled():
        packed, places = pack_kept(tokens, keep)
        return unpack_kept(block(packed, places < keep.shape[1]), places, keep.shape[1])
    kept, rest = keep.flatten().nonzero()[:, 0], (keep == 0).flatten().nonzero()[:, 0]

    def each(change: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
        flat = values.flatten(0, 1)
        with_grad = change(flat[kept])
        with torch.no_grad():
            without_grad = change(flat[rest]).to(with_grad.dtype)
        both = with_grad.new_empty(len(flat), with_grad.shape[-1])
        both = both.index_copy(0, rest, without_grad).index_copy(0, kept, with_grad)
        return both.reshape(*values.shape[:2], -1)  # (B, N, D)

    qkv = each(lambda some: attn.qkv(block.norm1(some)), tokens)
    tokens = tokens + each(attn.proj, attn.attend(*attn.split_qkv(qkv), keep))
    return tokens + each(lambda some: block.mlp(block.norm2(some)), tokens)


class SparseViT(TubeletViT):
    """A ViT over tubelets that drops some between its layers and decodes the rest to pixels.

    State-dict names are timm's, except for the predictors and the decoder.
    """

    head_names = ("norm", "decoder", "predictors")  # not in ViT files

    def __init__(
        self,
        *,
        shape: Triple = (16, 112, 112),  # of a clip, a multiple of the tubelet's
        tubelet: Triple = (2, 16, 16),  # frames, rows and columns of one token
        width: int = 384,  # a multiple of 3 and of `heads`
        depth: int = 12,
        heads: int = 6,
        places: Sequence[int] = (3, 6, 9),  # layers before which a predictor drops tokens, in order
        softmax: Softmax = "exact",  # as in `Attention`
        inflation: Inflation = "average",
    ) -> None:
        if width % heads:
            raise UsageError(f"{heads} heads do not divide a width of {width}.")
        if list(places) != sorted(set(places)) or not all(0 <= at < depth for at in places):
            raise UsageError(f"predictors stand before layers 0 to {depth - 1}, in order.")
        super().__init__(
            shape=shape,
            tubelet=tubelet,
            width=width,
            depth=depth,
            heads=heads,
            softmax=softmax,
            inflation=inflation,
        )
        self.places = tuple(places)
        self.slot = self.grid[1] * self.grid[2]  # N
        self.predictors = nn.ModuleList(Predictor(width=width) for _ in places)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.decoder = nn.Linear(width, 3 * math.prod(tubelet))
        init_transformer(self)

    def forward_masked(
        self,
        clip: Tensor,
        choose: ChooseKeep | None,
        *,
        masks_only: bool = False,
        token: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The training pass: all tokens through all layers under masks (eq. 8 to 10).

        Of a normalised clip (B, 3, T, H, W): tokens (B, L * N, D), unfinished with `masks_only`,
        which stops after the last predictor, and the keep mask after each predictor, (B, L, N).
        Without `choose` all are kept and no predictor runs. `token` (1, 1, D) is a class token put
        first, always kept and not read by predictors.
        """
        tokens = self.embed(clip)
        keep = tokens.new_ones(len(clip), self.grid[0], self.slot)
        first = 0 if token is None else 1
        if token is not None:
            tokens = torch.cat([token.expand(len(clip), -1, -1), tokens], dim=1)
        masks: list[Tensor] = []
        for at, block in enumerate(self.blocks):
            if at in self.places and choose is not None:
                slots = tokens[:, first:].reshape(*keep.shape, -1)  # (B, L, N, D)
                keep = choose(self.predictors[len(masks)](slots, keep), keep, len(masks))
                masks.append(keep)
                if masks_only and len(masks) == len(self.places):
                    break
            mask = F.pad(keep.flatten(1), (first, 0), value=1.0)
            tokens = block_on_kept(block, tokens, mask) if masks else block(tokens)
        return tokens, masks

    def forward_gathered(
        self, clip: Tensor, counts: Sequence[int], *, masks_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The inference pass: each slot's `counts[m]` most probable tokens, the others removed.

        Gives tokens (B, L * K, D) in their order, and the last keep mask (B, L, N), bool.
        """
        tokens, batch, slots = self.embed(clip), clip.shape[0], self.grid[0]
        index = torch.arange(self.slot, device=clip.device).expand(batch, slots, -1)  # (B, L, K)
        step = 0
        for at, block in enumerate(self.blocks):
            if at in self.places:
                by_slot = tokens.reshape(*index.shape, -1)  # (B, L, K, D)
                score = log_odds(self.predictors[step](by_slot))
                first = score.topk(counts[step], dim=-1).indices.sort(dim=-1).values
                index = index.gather(-1, first)
                wide = first[..., None].expand(-1, -1, -1, by_slot.shape[-1])
                tokens = by_slot.gather(2, wide).flatten(1, 2)
                step += 1
                if masks_only and step == len(self.places):
                    break
            tokens = block(tokens)
        keep = torch.zeros(batch, slots, self.slot, dtype=torch.bool, device=clip.device)
        return tokens, keep.scatter(-1, index, True)

    def forward_kept(self, clip: Tensor, keep: Tensor, count: int | None = None) -> Tensor:
        """Tokens under a given keep mask (B, L, N) from the first layer on, without predictors.

        A bool mask with equally many in each clip computes only the kept ones, (B, K, D); a mask
        of 0 and 1 gives (B, L * N, D). `count` is K, as in `gather_kept`.
        """
        tokens, mask, gathers = self.embed(clip), keep.flatten(1), keep.dtype == torch.bool
        tokens = gather_kept(tokens, mask, count) if gathers else tokens
        for block in self.blocks:
            tokens = block(tokens) if gathers else block_on_kept(block, tokens, mask)
        return tokens

    def decode(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens to a clip (B, 3, T, H, W).

        With a bool `keep` (B, L, N), tokens are those of the kept alone; the rest is zero.
        """
        values = self.decoder(self.norm(tokens))  # (B, K, dT * dH * dW * 3)
        if keep is not None:
            places = kept_places(keep.flatten(1), values.shape[1])
            values = unpack_kept(values, places, keep[0].numel())
        return self.fold(values)

    def fold(self, values: Tensor) -> Tensor:
        """(B, L * N, dT * dH * dW * 3), each by time, row, column, colour -> (B, 3, T, H, W)."""
        tubelets = values.reshape(values.shape[0], *self.grid, *self.tubelet, 3)
        # (B, L, h, w, dT, dH, dW, 3) -> (B, 3, L, dT, h, dH, w, dW)
        return tubelets.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(values.shape[0], 3, *self.shape)

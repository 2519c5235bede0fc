"""The losses that a turn of a game asks for."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from masquerade.anonymizer import Draft
from masquerade.errors import UsageError
from masquerade.models.recognizers import with_keep_mask
from masquerade.training.cast import Cast
from masquerade.training.game import Game, Turn
from masquerade.training.losses import loss_of
from masquerade.training.ranks import ALONE, Ranks
from masquerade.training.reversal import reversed_gradient
from masquerade.training.sides import Batch


def terms_of(
    cast: Cast,
    game: Game,
    turn: Turn,
    batch: Batch,
    draw: torch.Generator,
    ranks: Ranks = ALONE,
) -> tuple[dict[str, Tensor], Mapping[str, float]]:
    """Losses by name, and what the draft says of itself.

    Args:
        cast: the players, acting as the turn wants.
        game: the recipe.
        turn: whose terms are wanted.
        batch: the clips.
        draw: of pairs and turns.
        ranks: processes that share the batch.
    """
    draft = _draft(cast, turn, batch.clips)
    terms, seen = dict(draft.terms), draft
    if "auxiliary" in turn.terms:
        if draft.read is None:
            raise UsageError("A class token reads for who learns: name auxiliary in `learns`.")
        terms["auxiliary"] = utility_loss(cast.auxiliary, draft.read, batch.utility)
    if "reconstruction" in turn.terms:
        terms["reconstruction"] = (draft.clip - batch.clips).abs().mean()
    if "utility" in turn.terms:
        told = with_keep_mask(cast.utility, draft.keep)
        terms["utility"] = utility_loss(told, draft.clip, batch.utility)
    asked = {"adversary", "fooling"} & set(turn.terms)
    if not asked or not game.adversaries:  # an ablation without adversaries owes them nothing
        return terms | {name: draft.clip.new_zeros(()) for name in asked}, draft.facts
    if batch.stills is not None:
        seen = _draft(cast, turn, batch.stills)
    private, keep = seen.clip, seen.keep
    if turn.reverse is not None:
        private = reversed_gradient(private, turn.reverse)
        keep = None if keep is None else reversed_gradient(keep, turn.reverse)
    rivals = [
        (one, with_keep_mask(net, keep if one.objective.labelled else None))
        for one, net in zip(game.adversaries, cast.adversary, strict=True)
    ]
    codes = batch.private
    if "adversary" in asked:
        losses = [
            one.objective.loss(net, private, codes, draw, ranks).mean() for one, net in rivals
        ]
        terms["adversary"] = torch.stack(losses).sum()
    if "fooling" in asked:
        wishes = [one.objective.fooling(net, private, codes, draw, ranks) for one, net in rivals]
        terms["fooling"] = combined(wishes, game.combine)
    return terms, draft.facts


def utility_loss(net: nn.Module, clip: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
    """The mean over the utility's labels of their losses.

    Args:
        net: gives logits by label.
        clip: (B, 3, T, H, W), or whatever else the network reads.
        codes: by label.
    """
    said = net(clip)
    return torch.stack([loss_of(said[name], code) for name, code in codes.items()]).mean()


def combined(wishes: list[Tensor], how: str) -> Tensor:
    """What the anonymizer wants of several adversaries, in one number.

    Args:
        wishes: (n,) of each, what it minimises a sample.
        how: max: of each sample the adversary that is hardest to fool; mean or sum of all.
    """
    if len({len(wish) for wish in wishes}) > 1:  # of different objectives: no common samples
        wishes = [wish.mean(0, keepdim=True) for wish in wishes]
    every = torch.stack(wishes)  # (adversaries, n)
    if how == "max":
        return every.amax(0).mean()
    return every.sum(0).mean() if how == "sum" else every.mean()


def _draft(cast: Cast, turn: Turn, clips: Tensor) -> Draft:
    if turn.raw:
        return Draft(clips)
    if "auxiliary" in turn.terms:
        return cast.draft(clips)
    if "anonymizer" in turn.learns:
        return cast.anonymizer.draft(clips)
    with torch.no_grad():
        return cast.anonymizer.draft(clips)

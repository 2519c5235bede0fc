"""The players of a game: networks, their optimizers, and who moves in a turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from masquerade.anonymizer import Anonymizer, Draft
from masquerade.errors import UsageError
from masquerade.methods import build
from masquerade.methods.stprivacy import STPrivacy
from masquerade.models.published_weights import load_weights
from masquerade.models.recognizers import Recognizer, build_recognizer
from masquerade.models.vit import VideoViT
from masquerade.training.class_token import ClassToken
from masquerade.training.game import PLAYERS, Adversary, Game, Optim, Player
from masquerade.training.objectives import Pairs
from masquerade.training.steps import groups, mixed


class Cast(nn.Module):
    """An anonymizer and the networks that judge it.

    Args:
        anonymizer: what is trained.
        utility: reads the action, as a dict of logits by label.
        adversaries: read what is private; the same.
        auxiliary: a class token that reads the action inside the anonymizer; None: none.
    """

    def __init__(
        self,
        anonymizer: Anonymizer,
        utility: nn.Module,
        adversaries: Sequence[nn.Module],
        auxiliary: ClassToken | None = None,
    ) -> None:
        super().__init__()
        self.anonymizer, self.utility = anonymizer, utility
        self.auxiliary = auxiliary or nn.Identity()
        self.adversary = nn.ModuleList(adversaries)
        # A weight that came frozen (a published trunk) stays so.
        self._learned = {name: _learned(self.player(name)) for name in PLAYERS}

    def player(self, name: Player) -> nn.Module:
        """One of them, by name."""
        return self.get_submodule(name)

    def weights(self, name: Player) -> list[nn.Parameter]:
        """What a player steps."""
        return self._learned[name]

    def draft(self, clips: Tensor) -> Draft:
        """What the anonymizer makes of clips, read by the auxiliary's token where there is one.

        Args:
            clips: (B, 3, T, H, W).
        """
        if not isinstance(self.auxiliary, ClassToken):
            return self.anonymizer.draft(clips)
        assert isinstance(self.anonymizer, STPrivacy)
        return self.anonymizer.draft(clips, token=self.auxiliary.cls_token)

    @contextmanager
    def acting(self, learns: Sequence[Player], *, idle: str) -> Iterator[None]:
        """Only these players learn: the others' weights and statistics stay to the bit.

        Args:
            learns: who.
            idle: as in `Phase`.
        """
        for name in PLAYERS:
            player, learning = self.player(name), name in learns
            player.train(learning)
            for weight in self._learned[name]:
                weight.requires_grad_(learning)
        still = []
        if "anonymizer" not in learns and idle == "batch":
            self.anonymizer.train()
            still = [m for m in self.anonymizer.modules() if isinstance(m, _BatchNorm)]
        tracked = [(norm, norm.track_running_stats) for norm in still]
        for norm in still:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm, was in tracked:
                norm.track_running_stats = was


def cast_of(
    game: Game, *, utility: Mapping[str, int], private: Mapping[str, int], seed: int
) -> Cast:
    """Fresh players of a game.

    Args:
        game: the recipe.
        utility: outputs by label of the action network.
        private: outputs by label of the adversaries that learn labels.
        seed: of their weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed(seed, 0))
        anonymizer = build(game.method, **game.arguments)
        action = _recognizer(game, game.utility, dict(utility), game.utility_look)
        auxiliary = _class_token(anonymizer, utility) if game.aided else None
    begun = [_begun(anonymizer, game), _begun(action, game)]
    rivals = [
        rival_of(game, one, private, seed=mixed(seed, 1, at))
        for at, one in enumerate(game.adversaries)
    ]
    if game.image_weights is not None and not any(begun):
        raise UsageError(
            "--image-weights is of stprivacy and of video ViTs; nobody here is one of them."
        )
    return Cast(anonymizer, action, rivals, auxiliary)


def rival_of(game: Game, one: Adversary, private: Mapping[str, int], *, seed: int) -> nn.Module:
    """A fresh adversary.

    Args:
        game: the recipe.
        one: of its adversaries.
        private: as in `cast_of`.
        seed: of its weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = one.objective.heads(private)
        project = isinstance(one.objective, Pairs)
        net = _recognizer(game, one.network, heads, one.look, project=project)
        _begun(net, game)
        return one.objective.dressed(net)


def optimizer_of(cast: Cast, name: Player, how: Optim) -> torch.optim.Optimizer:
    """A player's optimizer, without memory.

    Args:
        cast: the players.
        name: of one.
        how: it steps.
    """
    player = cast.player(name)
    for weight in cast.weights(name):
        weight.requires_grad_(True)
    parts = groups(player, how.decay)
    if how.kind == "sgd":
        return torch.optim.SGD(parts, lr=how.lr, momentum=how.momentum)
    kind = torch.optim.Adam if how.kind == "adam" else torch.optim.AdamW
    return kind(parts, lr=how.lr)


def _begun(net: nn.Module, game: Game) -> bool:
    """Whether a network began from the recipe's file, as ViTs over tubelets do."""
    if game.image_weights is None:
        return False
    if isinstance(net, STPrivacy):
        net.start_from(game.image_weights)
        return True
    if isinstance(net, Recognizer) and isinstance(net.net, VideoViT):
        load_weights(net.net, game.image_weights)
        return True
    return False


def _class_token(anonymizer: Anonymizer, utility: Mapping[str, int]) -> ClassToken:
    if not isinstance(anonymizer, STPrivacy):
        raise UsageError("Only stprivacy has tokens that an auxiliary could read.")
    return ClassToken(width=anonymizer.width, heads=utility)


def _recognizer(
    game: Game, name: str, heads: Mapping[str, int], modality: str, *, project: bool = False
) -> nn.Module:
    return build_recognizer(
        name,
        heads=heads,
        modality=modality,
        widths=game.widths,
        projection=project,
        group_norm=game.grouped,
    )


def _learned(net: nn.Module) -> list[nn.Parameter]:
    return [weight for weight in net.parameters() if weight.requires_grad]

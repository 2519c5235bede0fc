"""The networks of an adversarial training by role, and how they are built from a recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from masquerade.anonymizer import Anonymizer, TrainingOutput
from masquerade.errors import UsageError
from masquerade.methods import build
from masquerade.models.published_weights import load_weights
from masquerade.models.recognizers import Recognizer, build_recognizer
from masquerade.models.vit import VideoViT
from masquerade.training.objectives import Pairs
from masquerade.training.recipe import ROLES, AdversarialRecipe, Adversary, Role
from masquerade.training.seeds import Stream, derive_seed


class ClassToken(nn.Module):
    """A class token that goes through the anonymizer's layers and must predict the action.

    Li et al., STPrivacy (the preprint's eq. 12): while the anonymizer is initialised, tubelets that
    tell the action are kept. It belongs to training and is not saved.
    """

    def __init__(self, *, width: int, heads: Mapping[str, int]) -> None:
        super().__init__()
        self.heads = dict(heads)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, sum(self.heads.values()))

    def forward(self, token: Tensor) -> dict[str, Tensor]:
        """Return logits by label of the token (B, D) after the last layer."""
        parts = self.head(self.norm(token)).split(list(self.heads.values()), dim=1)
        return dict(zip(self.heads, parts, strict=True))


class AdversarialModels(nn.Module):
    """The networks of an adversarial training, by role."""

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
        self.record_trainable()

    def record_trainable(self) -> None:
        """Record which weights are trained: one that came frozen (a published trunk) stays so."""
        self._trainable = {
            role: [weight for weight in self.of_role(role).parameters() if weight.requires_grad]
            for role in ROLES
        }

    def of_role(self, role: Role) -> nn.Module:
        return self.get_submodule(role)

    def parameters_of(self, role: Role) -> list[nn.Parameter]:
        """What a role's optimizer updates."""
        return self._trainable[role]

    def output_with_class_token(self, clips: Tensor) -> TrainingOutput:
        """Return the anonymizer's training output, through the class token where there is one."""
        token = self.auxiliary.cls_token if isinstance(self.auxiliary, ClassToken) else None
        return self.anonymizer.training_output(clips, class_token=token)

    @contextmanager
    def set_trainable(self, roles: Sequence[Role], *, anonymizer_norms: str) -> Iterator[None]:
        """Let only these roles learn: the others' weights and statistics stay to the bit."""
        for role in ROLES:
            learns = role in roles
            self.of_role(role).train(learns)
            for weight in self._trainable[role]:
                weight.requires_grad_(learns)
        norms = []
        if "anonymizer" not in roles and anonymizer_norms == "batch":
            self.anonymizer.train()
            norms = [m for m in self.anonymizer.modules() if isinstance(m, _BatchNorm)]
            norms = [norm for norm in norms if norm.track_running_stats]
        for norm in norms:
            norm.track_running_stats = False
        try:
            yield
        finally:
            for norm in norms:
                norm.track_running_stats = True


def build_models(
    recipe: AdversarialRecipe, *, utility: Mapping[str, int], private: Mapping[str, int], seed: int
) -> AdversarialModels:
    """Build fresh networks of a recipe, whose outputs are given by label."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(seed, Stream.NETWORKS))
        anonymizer = build(recipe.method, **recipe.arguments)
        action = build_recognizer(
            recipe.utility,
            heads=utility,
            modality=recipe.utility_modality,
            widths=recipe.widths,
            group_norm=recipe.group_norm,
        )
        auxiliary = None
        if recipe.uses_auxiliary:
            if not anonymizer.token_width:
                raise UsageError(f"{recipe.method} has no tokens for an auxiliary class token.")
            auxiliary = ClassToken(width=anonymizer.token_width, heads=utility)
    path = recipe.image_weights
    started = path is not None and anonymizer.init_from_image_weights(path) is not None
    started = _init_video_vit(action, path) or started
    adversaries = [
        build_adversary(recipe, adversary, private, seed=derive_seed(seed, Stream.ADVERSARIES, at))
        for at, adversary in enumerate(recipe.adversaries)
    ]
    if path is not None and not started:
        raise UsageError(
            "--image-weights starts stprivacy and video ViTs alone, and no network of this "
            "training is one: leave it out."
        )
    return AdversarialModels(anonymizer, action, adversaries, auxiliary)


def build_adversary(
    recipe: AdversarialRecipe, adversary: Adversary, private: Mapping[str, int], *, seed: int
) -> nn.Module:
    """Build a fresh network of one adversary; arguments are as of `build_models`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        objective = adversary.objective
        net = build_recognizer(
            adversary.network,
            heads=objective.heads(private),
            modality=adversary.modality,
            projection=isinstance(objective, Pairs),
            widths=recipe.widths,
            group_norm=recipe.group_norm,
        )
        _init_video_vit(net, recipe.image_weights)
        return objective.wrap(net)


def _init_video_vit(net: nn.Module, path: str | None) -> bool:
    """Start a video ViT from an image ViT's file; return whether the network is one."""
    if path is None or not isinstance(net, Recognizer) or not isinstance(net.net, VideoViT):
        return False
    load_weights(net.net, path)
    return True

"""Optimizers, parameter groups and learning rates of a training."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from masquerade.models.building_blocks import is_embedding
from masquerade.training.recipe import OptimizerConfig


def build_optimizer(net: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """Build an optimizer of the weights of `net` that are trainable now."""
    groups = parameter_groups(net, config.weight_decay)
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum)
    kind = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr)


def learning_rate(
    peak: float, at: float, *, epochs: int, warmup: int, step: float, cosine: bool = True
) -> float:
    """Return the rate of a linear warm-up, then a cosine down to 0, or the peak without a cosine.

    All times are in epochs. A cosine has one epoch at least, by which a longer warm-up is cut.
    """
    if cosine:
        warmup = min(warmup, epochs - 1)
    if at < warmup:
        return peak * (at + step) / (warmup + step)
    if not cosine:
        return peak
    share = (at - warmup) / max(epochs - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Let matrices and filters decay, but not biases, norms, position embeddings and class tokens.

    As in STPrivacy and the ViTs before it (docs/papers.md 1.10).
    """
    trainable = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trainable if _decays(name, p)]
    others = [p for name, p in trainable if not _decays(name, p)]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def _decays(name: str, value: Tensor) -> bool:
    return value.ndim > 1 and not is_embedding(name)

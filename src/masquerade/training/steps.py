"""What one step of any loop is made of: its seed, its clips, its rate and who decays."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from masquerade.training.ranks import Ranks

POSITIONS = ("pos_embed", "cls_token")


def mixed(*numbers: int) -> int:
    """One seed of several numbers."""
    entropy = [number % 2**32 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 2)


def batches(count: int, batch: int, *, seed: int, epoch: int, ranks: Ranks) -> Iterator[Tensor]:
    """The clips of each step: this process's share of the same order in every process.

    Args:
        count: clips there are.
        batch: clips a step, over all processes.
        seed: of the fit.
        epoch: counted from 0.
        ranks: the processes.
    """
    draw = torch.Generator().manual_seed(mixed(seed, epoch, -1))
    order = torch.randperm(count, generator=draw)
    for each in torch.split(order, batch):
        share = each[ranks.rank :: ranks.world]
        # Every process must step as often: one without clips of its own takes another's.
        yield share if len(share) else each[:1]


def rate(lr: float, at: float, *, epochs: int, warmup: int, step: float) -> float:
    """A line up over the warm-up, then a cosine down to 0.

    Args:
        lr: the highest.
        at: epochs done.
        epochs: in all.
        warmup: of them rising.
        step: the share of an epoch that one step is.
    """
    warmup = min(warmup, epochs - 1)
    if at < warmup:
        return lr * (at + step) / (warmup + step)
    share = (at - warmup) / max(epochs - warmup, 1)
    return lr * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def groups(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices and filters decay; biases, norms, other vectors, positions and class tokens do not.

    So say STPrivacy and the ViTs before it (FACTS 1.10).
    """
    learned = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    many = [p for name, p in learned if p.ndim > 1 and not name.endswith(POSITIONS)]
    few = [p for name, p in learned if p.ndim <= 1 or name.endswith(POSITIONS)]
    return [{"params": many, "weight_decay": decay}, {"params": few, "weight_decay": 0.0}]

"""Seeds, the order of batches, learning rates and parameter groups of a training."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from masquerade.training.distributed import Processes

NOT_DECAYED = ("pos_embed", "cls_token")


def derive_seed(*numbers: int) -> int:
    """Return one seed of several numbers."""
    entropy = [number % 2**32 for number in numbers]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 2)


def epoch_order(
    count: int, batch: int, *, seed: int, epoch: int, processes: Processes
) -> Iterator[Tensor]:
    """Yield this process's share of each batch; the order is the same in every process."""
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch, -1))
    order = torch.randperm(count, generator=generator)
    for batch_rows in torch.split(order, batch):
        share = batch_rows[processes.rank :: processes.world]
        # Every process must step as often: one without clips of its own takes another's.
        yield share if len(share) else batch_rows[:1]


def learning_rate(peak: float, at: float, *, epochs: int, warmup: int, step: float) -> float:
    """Return the rate of a linear warm-up, then a cosine down to 0; all times are in epochs."""
    warmup = min(warmup, epochs - 1)
    if at < warmup:
        return peak * (at + step) / (warmup + step)
    share = (at - warmup) / max(epochs - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def parameter_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Let matrices and filters decay, but not biases, norms, position embeddings and class tokens.

    As in STPrivacy and the ViTs before it (docs/papers.md 1.10).
    """
    trainable = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    decayed = [p for name, p in trainable if p.ndim > 1 and not name.endswith(NOT_DECAYED)]
    others = [p for name, p in trainable if p.ndim <= 1 or name.endswith(NOT_DECAYED)]
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]

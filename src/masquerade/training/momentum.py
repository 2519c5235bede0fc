"""What MoCo adds to a network: a slow copy of it, and a queue of what that copy has seen.

He, Fan, Wu, Xie and Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning",
CVPR 2020, algorithm 1. Both are part of the network, so that a run that goes on has them again.
"""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Momentum(nn.Module):
    """A network, its slow copy and a queue; called, it is the network alone.

    The copy normalises by running statistics that follow too: with a batch's own, keys would give
    away in whose company they came (the paper shuffles batches among GPUs instead).

    Args:
        net: gives {name: (B, width)}.
        width: of its one answer.
        size: keys that the queue holds; random ones to begin with.
        keep: m, the share of itself that the copy keeps in a step.
    """

    queue: Tensor
    at: Tensor

    def __init__(self, net: nn.Module, *, width: int, size: int, keep: float) -> None:
        super().__init__()
        self.net, self.keep = net, keep
        self.slow = copy.deepcopy(net).requires_grad_(False).eval()
        self.register_buffer("queue", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> Momentum:
        """The copy stays in evaluation mode."""
        super().train(mode)
        self.slow.eval()
        return self

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        return cast(dict[str, Tensor], self.net(clip))

    @torch.no_grad()
    def keys(self, clip: Tensor) -> Tensor:
        """(B, width) of length 1, what the slow copy makes of clips."""
        (key,) = self.slow(clip).values()
        return F.normalize(key.float(), dim=1)

    @torch.no_grad()
    def follow(self) -> None:
        """The copy takes a step towards the network."""
        pairs = zip(self.slow.state_dict().values(), self.net.state_dict().values(), strict=True)
        for slow, quick in pairs:
            if slow.is_floating_point():
                slow.lerp_(quick, 1 - self.keep)
            else:  # how many batches a norm has seen
                slow.copy_(quick)

    @torch.no_grad()
    def remember(self, keys: Tensor) -> None:
        """Keys take the place of the oldest ones.

        Args:
            keys: (B, width), the newest last.
        """
        size = len(self.queue)
        place = (self.at + torch.arange(len(keys), device=keys.device)) % size
        self.queue[place[-size:]] = keys[-size:].to(self.queue.dtype)
        self.at.copy_((self.at + len(keys)) % size)

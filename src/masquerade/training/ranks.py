"""The processes of one fit: one, or as many as torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a fit.

    Args:
        rank: 0 to world - 1.
        world: how many there are.
        device: of this process; None: it may choose.
    """

    rank: int = 0
    world: int = 1
    device: torch.device | None = None

    def parallel(self, net: nn.Module) -> nn.Module:
        """The network as it is trained: gradients are averaged over processes."""
        if self.world == 1:
            return net
        on = [self.device] if self.device and self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(net, device_ids=on)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        if self.world > 1:
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def share_weights(self, net: nn.Module) -> None:
        """Take the first process's weights and buffers."""
        if self.world > 1:
            for value in net.state_dict().values():
                distributed.broadcast(value, 0)

    def share_buffers(self, net: nn.Module) -> None:
        """Take the first process's running statistics, so that all choose the same epoch."""
        if self.world > 1:
            for value in net.buffers():
                distributed.broadcast(value, 0)


@contextmanager
def ranks_here(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, joined for as long as this lasts; else this one alone.

    Args:
        device: as `fit` is given it; with CUDA each process takes the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Ranks()
        return
    cuda = torch.cuda.is_available() and device != "cpu"
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else None
    joined = distributed.is_initialized()
    if not joined:
        distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), own)
    finally:
        if not joined:
            distributed.destroy_process_group()

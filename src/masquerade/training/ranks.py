"""The processes of one fit: one, or as many as torchrun started."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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

    def share_gradients(self, net: nn.Module) -> None:
        """Take the mean of all processes' gradients, after a backward pass.

        One sum over one flat tensor: no hooks, threads or references are left behind, so that the
        processes part cleanly, and a network may be half frozen or stepped in turns.
        """
        if self.world == 1:
            return
        with_any = [value for value in net.parameters() if value.requires_grad]
        # One without a gradient here may have one in another process.
        own = [torch.zeros_like(v) if v.grad is None else v.grad for v in with_any]
        flat = torch.cat([one.flatten() for one in own])
        distributed.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [value.numel() for value in with_any])
        for value, part in zip(with_any, parts, strict=True):
            value.grad = part.view_as(value)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        if self.world > 1:
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def rows(self, own: Tensor) -> Tensor:
        """The rows of all processes, in the order that `batches` dealt them out.

        A loss of all of them has its own rows' gradient in each process, times the number of
        processes: the mean that `share_gradients` takes is then the gradient of that loss.

        Args:
            own: (n, ...), this process's; n may differ by one from the others'. A row that was
                lent to a process without any of its own is there twice.

        Returns:
            (N, ...), the same in every process.
        """
        if self.world == 1:
            return own
        return _Rows.apply(own, self.rank, self.world)  # type: ignore[no-untyped-call]

    def first(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The first process's numbers, by the same names: all decide by one and the same."""
        if self.world == 1:
            return dict(numbers)
        values = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        distributed.broadcast(values, 0)
        return dict(zip(numbers, values.tolist(), strict=True))

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


ALONE = Ranks()


class _Rows(torch.autograd.Function):
    """What `Ranks.rows` gives, whose gradient needs no word from the other processes."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, world: int) -> Tensor:
        count = torch.tensor([len(own)], device=own.device)
        counts = [torch.empty_like(count) for _ in range(world)]
        distributed.all_gather(counts, count)
        most = int(torch.cat(counts).max())
        padded = own.new_zeros(most, *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(world)]
        distributed.all_gather(parts, padded)
        there = torch.arange(most, device=own.device)[:, None] < torch.cat(counts)  # (most, world)
        ctx.world, ctx.mine = world, there.nonzero()[:, 1] == rank
        return torch.stack(parts, 1)[there]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.world * gradient[ctx.mine], None, None


def speaks() -> bool:
    """Whether this process is the one that writes and talks: torchrun's first, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


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
        # This module's default arguments keep whichever group exists when it is first imported
        # (the first optimizer imports it), and with it threads that abort a process at its end.
        importlib.import_module("torch.distributed.nn.functional")
        distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size(), own)
    finally:
        if not joined:
            distributed.destroy_process_group()

"""The processes that share one training: this one alone, or as many as torchrun started."""

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from masquerade.device import choose_device
from masquerade.training.seeds import derive_seed

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among those that share a training, and its device."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    def average_gradients(self, net: nn.Module) -> None:
        """Average the gradients over processes, after a backward pass.

        One all-reduce of one flat tensor, without hooks, so that a network may be half frozen or
        stepped in turns, and no communication thread outlives the training.
        """
        if self.world == 1:
            return
        trainable = [value for value in net.parameters() if value.requires_grad]
        # One without a gradient here may have one in another process.
        own = [torch.zeros_like(v) if v.grad is None else v.grad for v in trainable]
        flat = torch.cat([one.flatten() for one in own])
        distributed.all_reduce(flat)
        flat /= self.world
        parts = torch.split(flat, [value.numel() for value in trainable])
        for value, part in zip(trainable, parts, strict=True):
            value.grad = part.view_as(value)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        if self.world > 1:
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def gather_rows(self, own: Tensor) -> Tensor:
        """The rows of all processes, in the order of `epoch_batches`, with gradients.

        A loss of all rows has its own rows' gradient in each process, times the number of
        processes: the mean of `average_gradients` is then the gradient of that loss. Processes may
        differ by one row; one that was lent to a process without any is there twice.
        """
        if self.world == 1:
            return own
        return _GatherRows.apply(own, self.rank, self.world)  # type: ignore[no-untyped-call]

    def broadcast_numbers(self, numbers: Mapping[str, float]) -> dict[str, float]:
        """The first process's numbers, so that all processes take the same decisions."""
        if self.world == 1:
            return dict(numbers)
        values = torch.tensor(list(numbers.values()), dtype=torch.float64, device=self.device)
        distributed.broadcast(values, 0)
        return dict(zip(numbers, values.tolist(), strict=True))

    def broadcast(self, values: Iterable[Tensor]) -> None:
        """Take the first process's values, such as weights or running statistics."""
        if self.world > 1:
            for value in values:
                distributed.broadcast(value, 0)


SINGLE_PROCESS = Processes()


class _GatherRows(torch.autograd.Function):
    """`Processes.gather_rows`; its backward pass needs no communication."""

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
        valid = torch.arange(most, device=own.device)[:, None] < torch.cat(counts)  # (most, world)
        ctx.world, ctx.mine = world, valid.nonzero()[:, 1] == rank
        return torch.stack(parts, 1)[valid]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.world * gradient[ctx.mine], None, None


def is_main_process() -> bool:
    """Whether this process writes files and prints: torchrun's first, or the only one."""
    return int(os.environ.get("RANK", "0")) == 0


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, until the block ends; without torchrun, none.

    With CUDA each of several processes takes the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield Processes(device=choose_device(device))
        return
    cuda = torch.cuda.is_available() and device != "cpu"
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    own = torch.device("cuda", local_rank) if cuda else choose_device(device)
    joined = distributed.is_initialized()
    if not joined:
        # This module's default arguments keep whichever group exists when it is first imported
        # (the first optimizer imports it), and with it threads that abort a process at its end.
        importlib.import_module("torch.distributed.nn.functional")
        distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), own)
    finally:
        if not joined:
            distributed.destroy_process_group()


def epoch_batches(
    count: int, batch: int, *, seed: int, epoch: int, processes: Processes
) -> Iterator[Tensor]:
    """Yield the rows of this process's share of each shuffled batch of an epoch.

    The order is the same in every process.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch, -1))
    order = torch.randperm(count, generator=generator)
    for batch_rows in torch.split(order, batch):
        share = batch_rows[processes.rank :: processes.world]
        # Every process must step as often: one without clips of its own takes another's.
        yield share if len(share) else batch_rows[:1]

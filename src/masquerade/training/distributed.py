"""The processes that share one training: this one alone, or as many as torchrun started."""

import functools
import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, distributed, nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from masquerade.device import choose_device
from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.training.batch_share import BatchShare
from masquerade.training.seeds import derive_seed

_GROUPS = count()
_ALONE = ContextVar("alone", default=False)  # whether this process trains without the others
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Processes:
    """This process among those that share a training, and its device."""

    rank: int = 0
    world: int = 1
    device: torch.device = CPU

    def average_gradients(self, net: nn.Module) -> None:
        """Average the gradients over processes, after a backward pass.

        One all-reduce of one flat tensor, without the hooks of DistributedDataParallel, so that a
        network may be half frozen, stepped in turns or called by a method other than `forward`, and
        no communication thread outlives the training. A weight without a gradient in all processes
        stays without one: weight decay would move it otherwise.
        """
        if self.world == 1:
            return
        # FSDP has averaged those of a divided network in its backward pass.
        trainable = [
            value
            for value in net.parameters()
            if value.requires_grad and not hasattr(value, "full_tensor")
        ]
        if not trainable:
            return
        # One without a gradient here may have one in another process.
        own = [torch.zeros_like(v) if v.grad is None else v.grad for v in trainable]
        here = own[0].new_tensor([v.grad is not None for v in trainable])
        flat = torch.cat([*(gradient.flatten() for gradient in own), here])
        distributed.all_reduce(flat)
        flat /= self.world
        *parts, anywhere = torch.split(flat, [*(v.numel() for v in trainable), len(trainable)])
        for value, part, has in zip(trainable, parts, anywhere, strict=True):
            if value.grad is not None or has:
                value.grad = part.view_as(value)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over processes."""
        if self.world > 1:
            distributed.all_reduce(value)
            value = value / self.world
        return value

    def share(self, total: int) -> BatchShare:
        """This process's share of a batch of so many rows."""
        return BatchShare(self.rank, self.world, total)

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


def is_main_process() -> bool:
    """Whether this process writes files and prints: torchrun's first, or the only one.

    Some schedulers give a process a rank that shares its work with nobody.
    """
    alone = int(os.environ.get("WORLD_SIZE", "1")) < 2
    return alone or int(os.environ.get("RANK", "0")) == 0


def claim_failure() -> bool:
    """Claim to report why all processes end; returns whether no other process has done so.

    The others fail for the same reason, or since that one has gone.
    """
    if not under_torchrun():
        return True
    try:
        first = torchrun_store().compare_set("masquerade/failed", "", os.environ["RANK"])
    except RuntimeError:  # torchrun itself has ended
        return True
    return first == os.environ["RANK"].encode()


def refuse_torchrun(verb: str) -> None:
    """Raise UsageError where torchrun started several processes of a verb that is one process."""
    if under_torchrun():
        raise UsageError(
            f"`masquerade {verb}` divides its work by itself: start it without torchrun, and give "
            "--workers."
        )


def under_torchrun() -> bool:
    """Whether torchrun started this process and others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@functools.cache
def torchrun_store() -> Store:
    """What torchrun's processes know of one another."""
    return next(rendezvous("env://"))[0]


@contextmanager
def training_alone() -> Iterator[None]:
    """Train in this process alone until the block ends, also under torchrun."""
    token = _ALONE.set(True)
    try:
        yield
    finally:
        _ALONE.reset(token)


def own_device(name: str) -> torch.device:
    """The device of this name in this process; of several processes each has its own CUDA GPU.

    Raises:
        MissingError: this machine has no such device, or fewer GPUs than processes.
        UsageError: the name is not that of a device, or is of one GPU for several processes.
    """
    chosen = choose_device(name)
    if _trains_alone() or chosen.type != "cuda":
        return chosen
    if chosen.index is not None:
        raise UsageError(
            f"torchrun's processes take one GPU each: say --device cuda in place of {name}."
        )
    rank, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    started = int(os.environ.get("LOCAL_WORLD_SIZE", rank + 1))
    if started > gpus:
        raise MissingError(
            f"torchrun started {started} processes on a machine of {gpus} GPUs, which take one "
            f"each: give --nproc-per-node {gpus}, or --device cpu."
        )
    return torch.device("cuda", rank)


def refuse_sharding_alone() -> None:
    """Raise UsageError where a network is to be divided and this process trains alone."""
    if _trains_alone():
        raise UsageError(
            "--shard divides a network among several processes, and there is only one: start "
            "several with torchrun, or leave out --shard."
        )


def _trains_alone() -> bool:
    return _ALONE.get() or int(os.environ.get("WORLD_SIZE", "1")) < 2


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, until the block ends; without torchrun, none.

    With CUDA each of several processes takes the GPU of its local rank.
    """
    own = own_device(device)
    if _trains_alone():
        yield Processes(device=own)
        return
    joined = distributed.is_initialized()
    if not joined:
        # This module's default arguments keep whichever group exists when it is first imported
        # (the first optimizer imports it), and with it threads that abort a process at its end.
        importlib.import_module("torch.distributed.nn.functional")
        # Names of its own, since a store keeps the addresses of groups that were left.
        store = PrefixStore(f"masquerade/{next(_GROUPS)}", torchrun_store())
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        backend = "nccl" if own.type == "cuda" else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), own)
    except BaseException as error:
        claim_failure()  # before the others find their connections closed
        if isinstance(error, RuntimeError) and _is_of_connection(error):
            raise MasqueradeError(
                "Another process of this training has ended; see what torchrun says of it, and run "
                "the same command again to resume."
            ) from error
        raise
    finally:
        if not joined:
            distributed.destroy_process_group()


def _is_of_connection(error: RuntimeError) -> bool:
    """Whether a connection to another process was lost; gloo's errors are known by their text."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def epoch_batches(count: int, batch: int, *, seed: int, epoch: int) -> Iterator[Tensor]:
    """Yield the rows of each shuffled batch of an epoch, the same in every process."""
    generator = torch.Generator().manual_seed(derive_seed(seed, epoch, -1))
    yield from torch.split(torch.randperm(count, generator=generator), batch)

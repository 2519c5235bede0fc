"""Batch norms by the statistics of the whole batch, where several processes share it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from masquerade.training.distributed import Processes


class SharedBatchNorm(_BatchNorm):
    """A batch norm by the values of all processes; torch's own `SyncBatchNorm` is for CUDA alone.

    In a last batch of fewer clips than processes, the clip that is lent to the others counts more.
    """

    def _check_input_dim(self, values: Tensor) -> None:
        pass

    def forward(self, values: Tensor) -> Tensor:
        if not self.training and self.running_mean is not None:
            return super().forward(values)
        x = values.float()
        over, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
        count = x.new_tensor([x.numel() / x.shape[1]])
        sums = _AllReduceSum.apply(torch.cat([x.sum(over), count]))  # type: ignore[no-untyped-call]
        count = sums[-1].detach()
        mean = sums[:-1] / count
        squares = (x - mean.reshape(shape)).square().sum(over)
        squares = _AllReduceSum.apply(squares)  # type: ignore[no-untyped-call]
        variance = squares / count
        if self.training and self.track_running_stats:
            self._update_running_stats(
                mean.detach(), variance.detach() * count / (count - 1).clamp(min=1)
            )
        # As torch's, to the same rounding: x * scale + shift.
        scale = (variance + self.eps).rsqrt()
        scale = scale if self.weight is None else scale * self.weight
        shift = -mean * scale if self.bias is None else self.bias - mean * scale
        return (x * scale.reshape(shape) + shift.reshape(shape)).to(values.dtype)

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics, as torch's batch norm does."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # Without a momentum they are the mean of all batches.
        moved = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), moved)
        self.running_var.lerp_(variance.to(self.running_var), moved)


class _AllReduceSum(torch.autograd.Function):
    """The sum over processes (all-reduce); the backward pass sums their gradients likewise."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        distributed.all_reduce(total)
        return total


@contextmanager
def shared_batch_norms(models: nn.Module, processes: Processes) -> Iterator[None]:
    """Inside the block, batch norms are of the whole batch; their weights and names stay."""
    if processes.world == 1:
        yield
        return
    replaced = []
    for parent in list(models.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, _BatchNorm):
                setattr(parent, name, _shared(child))
                replaced.append((parent, name, child))
    try:
        yield
    finally:
        for parent, name, child in replaced:
            child.train(getattr(parent, name).training)
            setattr(parent, name, child)


def _shared(norm: _BatchNorm) -> nn.Module:
    if norm.running_mean is not None and norm.running_mean.is_cuda:
        shared: _BatchNorm = nn.SyncBatchNorm(1)
    else:
        shared = SharedBatchNorm(1)
    # Its weights, statistics and settings, so that a step changes the norm that comes back.
    vars(shared).update(vars(norm))
    return shared

"""The rows of a batch that one of several processes computes, so that all compute what one would.

Every process draws random numbers for the whole batch and keeps those of its own rows, and every
loss is of the rows of all. Two processes then train as one with the whole batch does, but for
rounding.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class BatchShare:
    """This process's rows of one batch; of one process, all of them."""

    rank: int = 0
    world: int = 1
    total: int = 0  # rows of the whole batch

    @property
    def counts(self) -> list[int]:
        """How many rows each process has of its own."""
        return [len(range(rank, self.total, self.world)) for rank in range(self.world)]

    @property
    def rows(self) -> Tensor:
        """Places in the batch of this process's rows.

        Every process must step as often: one without rows computes the first one, which counts for
        nothing.
        """
        own = torch.arange(self.total)[self.rank :: self.world]
        return own if len(own) else own.new_zeros(1)

    def take(self, whole: Tensor) -> Tensor:
        """This process's rows of a tensor of the whole batch."""
        return whole if self.world == 1 else whole[self.rows.to(whole.device)]

    def gather(self, own: Tensor) -> Tensor:
        """The rows of all processes, in the order of the batch, with gradients.

        A loss of all rows has its own rows' gradient in each process, times the number of
        processes: the mean of `Processes.average_gradients` is then the gradient of that loss.
        """
        if self.world == 1:
            return own
        return _GatherRows.apply(own, self)  # type: ignore[no-untyped-call]

    def weigh(self, mean: Tensor) -> Tensor:
        """Rescale the mean over own rows so that averaging over processes gives the mean of all."""
        return mean if self.world == 1 else mean * (self.world * self._count / self.total)

    def draws(self) -> AbstractContextManager[Any]:
        """Inside the block, random numbers by row are those that one process would draw."""
        return nullcontext() if self.world == 1 else _WholeBatchDraws(self)

    @property
    def _count(self) -> int:
        return self.counts[self.rank]


WHOLE_BATCH = BatchShare()


class _GatherRows(torch.autograd.Function):
    """`BatchShare.gather`; its backward pass needs no communication."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, share: BatchShare) -> Tensor:
        counts = torch.tensor(share.counts, device=own.device)
        padded = own.new_zeros(max(share.counts), *own.shape[1:])
        padded[: len(own)] = own
        parts = [torch.empty_like(padded) for _ in range(share.world)]
        distributed.all_gather(parts, padded)
        valid = torch.arange(len(padded), device=own.device)[:, None] < counts  # (most, world)
        ctx.share, ctx.mine = share, valid.nonzero()[:, 1] == share.rank
        ctx.shape = own.shape
        return torch.stack(parts, 1)[valid]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        own = gradient.new_zeros(ctx.shape)  # of a row that counts for nothing it stays 0
        rows = gradient[ctx.mine]
        own[: len(rows)] = ctx.share.world * rows
        return own, None


class _WholeBatchDraws(TorchFunctionMode):
    """Draw by the row of the whole batch, and keep this process's rows.

    A draw is by row where its first dimension is the number of this process's rows, or a multiple
    of it, as of the frames of each clip. Others are the same in all processes as long as all have
    drawn as much; a draw that is taken for another kind is as random, but not what one process has.
    """

    def __init__(self, share: BatchShare) -> None:
        super().__init__()
        self.share = share

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        arguments = dict(kwargs or {})
        if func in OF_A_SIZE:
            *bounds, size = _split_size(args, OF_A_SIZE[func])
            rows = self._rows(size[0]) if size else None
            if rows is not None:
                return func(*bounds, (self._total(size[0]), *size[1:]), **arguments)[rows]
        elif func in LIKE_A_TENSOR and args[0].ndim:
            first, *rest = args
            rows = self._rows(len(first))
            if rows is not None:
                rows = rows.to(first.device)
                whole = first.new_zeros(self._total(len(first)), *first.shape[1:])
                return func(whole.index_copy(0, rows, first), *rest, **arguments)[rows]
        return func(*args, **arguments)

    def _rows(self, size: int) -> Tensor | None:
        """Places among the draws of the whole batch; None: it is no draw by row."""
        own = self.share.rows
        if not size or size % len(own):
            return None
        times = size // len(own)
        return (own[:, None] * times + torch.arange(times)).flatten()

    def _total(self, size: int) -> int:
        return size // len(self.share.rows) * self.share.total


# Functions that draw, with the number of arguments before the size.
OF_A_SIZE: dict[Callable[..., Any], int] = {torch.rand: 0, torch.randn: 0, torch.randint: 1}
LIKE_A_TENSOR = {torch.rand_like, torch.randn_like, F.dropout, F.gumbel_softmax}


def _split_size(args: tuple[Any, ...], before: int) -> tuple[Any, ...]:
    """The arguments of a drawing function, its size last, as a tuple."""
    if args and isinstance(args[-1], tuple | list):
        return (*args[:-1], tuple(args[-1]))
    return (*args[:before], tuple(args[before:]))

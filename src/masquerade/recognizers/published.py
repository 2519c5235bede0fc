"""Published weights from a file the user has: torchvision, PyTorchVideo, ViT, DeiT, DINO, SPAct."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.nets.weights import read_weights as read_weights
from masquerade.recognizers.recognizer import Recognizer


def load_published(recognizer: nn.Module, path: str | Path) -> tuple[str, ...]:
    """Load weights in the published naming; the head stays fresh where its classes differ.

    Everything else must fit, or nothing is loaded.

    Args:
        recognizer: a `Recognizer`, or the network of one.
        path: .safetensors, or a PyTorch file that holds nothing but tensors.

    Returns:
        The names that stayed as they were; empty if the head was loaded too.
    """
    net = recognizer.net if isinstance(recognizer, Recognizer) else recognizer
    weights = read_weights(path)
    adapt: Callable[[dict[str, Tensor]], dict[str, Tensor]] | None = getattr(net, "adapt", None)
    weights = adapt(weights) if adapt else weights
    own = net.state_dict()
    heads = tuple(f"{name}." for name in getattr(net, "head_names", ()))
    fresh = {n for n in own if n.startswith(heads) and not _same(weights.get(n), own[n])}
    given = {n: _for_channels(v, own.get(n)) for n, v in weights.items() if n not in fresh}
    _check(given, own, fresh, heads, Path(path).name)
    net.load_state_dict(given, strict=False)
    return tuple(sorted(fresh))


def _for_channels(value: Tensor, own: Tensor | None) -> Tensor:
    """RGB's first layer for another number of channels: its mean over them, in each of them."""
    if own is None or value.ndim < 4 or value.shape == own.shape or value.shape[1] != 3:
        return value
    if value.shape[:1] + value.shape[2:] != own.shape[:1] + own.shape[2:]:
        return value
    return value.mean(dim=1, keepdim=True).expand_as(own)


def _check(
    given: dict[str, Tensor],
    own: dict[str, Tensor],
    fresh: set[str],
    heads: tuple[str, ...],
    file: str,
) -> None:
    counters = "num_batches_tracked"  # files from before 2018 have none, and nothing reads it
    missing = [n for n in own if n not in given and n not in fresh and not n.endswith(counters)]
    other = [n for n in given if n not in own and not (heads and n.startswith(heads))]
    shapes = [n for n in given if n in own and given[n].shape != own[n].shape]
    for what, names in (
        ("lacks", missing),
        ("has, but this recognizer has not,", other),
        ("has in another shape", shapes),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise UsageError(
                f"{file} is not for this recognizer, for it {what} {names[0]}{more}; load another."
            )


def _same(value: Tensor | None, own: Tensor) -> bool:
    return value is not None and value.shape == own.shape

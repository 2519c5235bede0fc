"""What a fitted network says of clips, averaged over views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.training.losses import probabilities
from masquerade.training.views import ONE_VIEW, Views, viewed

Float = NDArray[np.float32]


def predict(
    net: nn.Module,
    clips: ClipDataset | Tensor,
    *,
    views: Views = ONE_VIEW,
    frames: int | None = None,
    batch: int = 32,
    many: tuple[str, ...] = (),
    label: str = "label",
) -> dict[str, Float]:
    """Probabilities by label, averaged over views.

    Args:
        net: on any device.
        clips: a store, or (N, 3, T, H, W), uint8 or in [0, 1].
        views: how often each clip is looked at.
        frames: T that the network is given; None: all.
        batch: clips at once.
        many: the heads that tell several labels at once.
        label: what a network without heads tells.

    Returns:
        (N, classes) a label; a binary label has one column, of label 1.
    """
    found: dict[str, list[Tensor]] = {}
    for part in _batches(clips, batch):
        for name, mean in _mean(net, part, views, frames, label, many=many).items():
            found.setdefault(name, []).append(mean.cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def logits_of(
    net: nn.Module,
    clips: ClipDataset | Tensor,
    *,
    views: Views,
    frames: int | None,
    label: str,
    batch: int = 32,
) -> dict[str, Tensor]:
    """Logits by label on the CPU, averaged over views; for losses on validation clips.

    Args:
        net: as in `predict`.
        clips: as in `predict`.
        views: as in `predict`.
        frames: as in `predict`.
        label: as in `predict`.
        batch: clips at once.
    """
    parts = [_mean(net, part, views, frames, label, many=None) for part in _batches(clips, batch)]
    return {name: torch.cat([part[name].cpu() for part in parts]) for name in parts[0]}


def _batches(clips: ClipDataset | Tensor, batch: int) -> Iterable[Tensor]:
    if isinstance(clips, ClipDataset):
        return clip_loader(clips, torch.split(torch.arange(len(clips)), batch))
    return torch.split(clips, batch)


def heads_of(net: nn.Module, targets: Mapping[str, Any]) -> dict[str, int]:
    """Outputs by label of a network; one without heads is of the one label that is given."""
    heads = getattr(net, "heads", None)
    if heads:
        return dict(heads)
    if len(targets) != 1:
        raise UsageError(f"A network without heads fits one label, not {len(targets)}.")
    known = np.asarray(next(iter(targets.values())))
    outputs = known.shape[1] if known.ndim == 2 else None
    return {next(iter(targets)): outputs or 2**31}  # its own layer says how many


def _mean(
    net: nn.Module,
    clips: Tensor,
    views: Views,
    frames: int | None,
    label: str,
    *,
    many: tuple[str, ...] | None,
) -> dict[str, Tensor]:
    """The mean over views, of probabilities, or with many=None of logits."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    sums: dict[str, Tensor] = {}
    count = 0
    net.eval()
    with torch.no_grad():
        for view in viewed(clips, views, frames=frames):
            view = view.to(device)
            view = view.float() / 255 if view.dtype == torch.uint8 else view
            out = net(view)
            for name, logits in (out if isinstance(out, dict) else {label: out}).items():
                said = logits.float()
                if many is not None:
                    said = probabilities(said, many=name in many)
                sums[name] = sums[name] + said if name in sums else said
            count += 1
    return {name: sum_ / count for name, sum_ in sums.items()}

"""Predictions of a fitted network, averaged over views of each clip."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.training.losses import probabilities
from masquerade.training.views import ONE_VIEW, Views, iterate_views

Float = NDArray[np.float32]


def predict(
    net: nn.Module,
    clips: ClipDataset | Tensor,
    *,
    views: Views = ONE_VIEW,
    frames: int | None = None,
    batch: int = 32,
    multi_label: tuple[str, ...] = (),
    label: str = "label",
) -> dict[str, Float]:
    """Probabilities by label, averaged over views.

    Args:
        net: on any device.
        clips: a dataset, or (N, 3, T, H, W), uint8 or in [0, 1].
        views: of each clip.
        frames: T that the network is given; None: all.
        batch: clips at once.
        multi_label: the heads that predict several labels at once.
        label: what a network without heads predicts.

    Returns:
        (N, classes) a label; a binary label has one column, of label 1.
    """
    found: dict[str, list[Tensor]] = {}
    for part in _batches(clips, batch):
        for name, mean in _mean(net, part, views, frames, label, multi_label=multi_label).items():
            found.setdefault(name, []).append(mean.cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def predict_logits(
    net: nn.Module, clips: ClipDataset, *, views: Views, frames: int | None, label: str
) -> dict[str, Tensor]:
    """Logits by label on the CPU, averaged over views; for losses on validation clips."""
    parts = [
        {name: mean.cpu() for name, mean in _mean(net, part, views, frames, label).items()}
        for part in _batches(clips, 32)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def heads_of(net: nn.Module, targets: Mapping[str, Any]) -> dict[str, int]:
    """Outputs by label of a network; one without heads predicts the one label that is given."""
    heads = getattr(net, "heads", None)
    if heads:
        return dict(heads)
    if len(targets) != 1:
        raise UsageError(f"A network without heads fits one label, not {len(targets)}.")
    known = np.asarray(next(iter(targets.values())))
    outputs = known.shape[1] if known.ndim == 2 else None
    return {next(iter(targets)): outputs or 2**31}  # its own layer says how many


def _batches(clips: ClipDataset | Tensor, batch: int) -> Iterable[Tensor]:
    if isinstance(clips, ClipDataset):
        return clip_loader(clips, torch.split(torch.arange(len(clips)), batch))
    return torch.split(clips, batch)


def _mean(
    net: nn.Module,
    clips: Tensor,
    views: Views,
    frames: int | None,
    label: str,
    *,
    multi_label: tuple[str, ...] | None = None,
) -> dict[str, Tensor]:
    """The mean over views, of probabilities, or with multi_label=None of logits."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    sums: dict[str, Tensor] = {}
    count = 0
    net.eval()
    with torch.no_grad():
        for view in iterate_views(clips, views, frames=frames):
            view = view.to(device)
            view = view.float() / 255 if view.dtype == torch.uint8 else view
            out = net(view)
            for name, logits in (out if isinstance(out, dict) else {label: out}).items():
                value = logits.float()
                if multi_label is not None:
                    value = probabilities(value, multi_label=name in multi_label)
                sums[name] = sums[name] + value if name in sums else value
            count += 1
    return {name: total / count for name, total in sums.items()}

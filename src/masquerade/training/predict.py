"""Predictions of a fitted network, averaged over views of each clip."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from masquerade.errors import MasqueradeError, UsageError
from masquerade.extraction.dataset import ClipDataset, clip_loader
from masquerade.training.label_losses import probabilities
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
    """Predict probabilities by label, averaged over views.

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
    predictions = _mean_outputs(net, clips, batch, views, frames, label, multi_label=multi_label)
    return {name: values.numpy() for name, values in predictions.items()}


def predict_logits(
    net: nn.Module, clips: ClipDataset, *, views: Views, frames: int | None, label: str
) -> dict[str, Tensor]:
    """Return logits by label on the CPU, averaged over views; for losses on validation clips."""
    return _mean_outputs(net, clips, 32, views, frames, label, multi_label=None)


def heads_of(net: nn.Module, targets: Mapping[str, Any]) -> dict[str, int]:
    """Return a network's outputs by label; one without heads predicts the one that is given."""
    heads = getattr(net, "heads", None)
    if heads:
        return dict(heads)
    if len(targets) != 1:
        raise UsageError(f"A network without heads fits one label, not {len(targets)}.")
    known = np.asarray(next(iter(targets.values())))
    outputs = known.shape[1] if known.ndim == 2 else None
    return {next(iter(targets)): outputs or 2**31}  # its own layer says how many


def _mean_outputs(
    net: nn.Module,
    clips: ClipDataset | Tensor,
    batch: int,
    views: Views,
    frames: int | None,
    label: str,
    *,
    multi_label: tuple[str, ...] | None,
) -> dict[str, Tensor]:
    """Average probabilities over views, or with multi_label=None logits; (N, outputs) a label."""
    device = next((p.device for p in net.parameters()), torch.device("cpu"))
    batches: Iterable[Tensor]
    if isinstance(clips, ClipDataset):
        batches = clip_loader(clips, torch.split(torch.arange(len(clips)), batch))
    else:
        batches = torch.split(clips, batch)
    outputs: dict[str, list[Tensor]] = {}
    net.eval()
    for part in batches:
        sums: dict[str, Tensor] = {}
        count = 0
        with torch.no_grad():
            for view in iterate_views(part, views, frames=frames):
                view = view.to(device)
                view = view.float() / 255 if view.dtype == torch.uint8 else view
                out = net(view)
                for name, logits in (out if isinstance(out, dict) else {label: out}).items():
                    value = logits.float()
                    if multi_label is not None:
                        value = probabilities(value, multi_label=name in multi_label)
                        if not torch.isfinite(value).all():
                            raise MasqueradeError(
                                f"a network predicts {name} by numbers that are not finite: it did "
                                "not learn; train it again with another seed."
                            )
                    sums[name] = sums[name] + value if name in sums else value
                count += 1
        for name, total in sums.items():
            outputs.setdefault(name, []).append((total / count).cpu())
    return {name: torch.cat(parts) for name, parts in outputs.items()}

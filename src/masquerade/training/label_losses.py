"""Per-head losses, cross entropy or binary cross entropy; unknown labels (-1) are ignored."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError
from masquerade.training.batch_share import WHOLE_BATCH, BatchShare

Targets = Mapping[str, IntArray | NDArray[np.int64] | Tensor]
Codes = Mapping[str, Tensor]
"""Codes by label of a batch, (B,) or (B, classes); -1: unknown."""


def head_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the mean loss of one head over the clips whose label is known; 0 where none is.

    Codes are (B,) classes, or 0 and 1 of a single output, or (B, classes) of 0 and 1.
    """
    logits = logits.float()
    if codes.ndim == 1 and logits.shape[1] > 1:
        total = F.cross_entropy(logits, codes, ignore_index=-1, reduction="sum")
    else:
        total = _binary_losses(logits, codes)[0].sum()
    return total / (codes >= 0).sum().clamp(min=1)


def clip_losses(logits: Tensor, codes: Tensor) -> Tensor:
    """Return the loss (B,) of one head clip by clip; 0 where the label is unknown."""
    logits = logits.float()
    if codes.ndim == 1 and logits.shape[1] > 1:
        return F.cross_entropy(logits, codes, ignore_index=-1, reduction="none")
    losses, known = _binary_losses(logits, codes)
    return losses.sum(1) / known.sum(1).clamp(min=1)


def clips_per_known(codes: Tensor) -> Tensor:
    """Return the number of clips over the number of those whose label is known.

    Times this, a mean of `clip_losses` over all clips is that over those whose label is known, as
    `head_loss` is: else a label counted the less against the action, the fewer clips have it.
    """
    known = codes >= 0 if codes.ndim == 1 else (codes >= 0).any(1)
    return len(codes) / known.sum().clamp(min=1)


def _binary_losses(logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of each output, 0 where its label is unknown, and which are known."""
    codes = codes.reshape(logits.shape)
    known = codes >= 0
    losses = F.binary_cross_entropy_with_logits(
        logits, codes.clamp(min=0).float(), reduction="none"
    )
    return losses * known, known


def label_loss(
    net: nn.Module, clip: Tensor, codes: Codes, share: BatchShare = WHOLE_BATCH
) -> Tensor:
    """Return the mean over labels of the losses of their heads, over all clips of the batch."""
    logits = net(clip)
    losses = [shared_head_loss(logits[name], code, share) for name, code in codes.items()]
    return torch.stack(losses).mean()


def shared_head_loss(logits: Tensor, codes: Tensor, share: BatchShare) -> Tensor:
    """Return `head_loss` over the clips of all processes."""
    return head_loss(share.gather(logits.float()), share.gather(codes))


def probabilities(logits: Tensor, *, multi_label: bool = False) -> Tensor:
    """Return (B, classes) of a head by softmax, or of binary and several labels by sigmoid."""
    logits = logits.float()
    return logits.sigmoid() if multi_label or logits.shape[1] == 1 else logits.softmax(1)


def codes_by_head(targets: Targets, rows: IntArray, heads: Mapping[str, int]) -> dict[str, Tensor]:
    """Return the codes of some clips, by their rows of the manifest, for each head."""
    codes = {}
    for label, outputs in heads.items():
        if label not in targets:
            raise UsageError(f"The network has a head {label!r}, but no targets are given for it.")
        all_codes = np.asarray(targets[label])
        if len(rows) and int(rows.max()) >= len(all_codes):
            raise UsageError(
                f"{len(all_codes)} targets of {label!r} do not reach row {rows.max()}."
            )
        own = torch.as_tensor(all_codes[np.asarray(rows)])
        own = own if own.ndim == 2 else own.long()  # of thousands of labels bytes
        top = 1 if own.ndim == 2 or outputs == 1 else outputs - 1
        if len(own) and (int(own.max()) > top or (own.ndim == 2 and own.shape[1] != outputs)):
            raise UsageError(f"Head {label!r} has {outputs} outputs, which its targets do not fit.")
        codes[label] = own
    return codes


def reverse_gradient(clip: Tensor, weight: float | Tensor) -> Tensor:
    """Return the clip, with a gradient multiplied by -weight (Ganin & Lempitsky, ICML 2015).

    A weight that is a tensor counts as it is in the backward pass.
    """
    same = clip.view_as(clip)
    if same.requires_grad:
        same.register_hook(lambda gradient: -weight * gradient)  # type: ignore[no-untyped-call]
    return same

"""What a head owes its label: cross entropy or binary cross entropy, unknown labels left out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from masquerade.datasets.manifest import IntArray
from masquerade.errors import UsageError

Targets = Mapping[str, IntArray | NDArray[np.int64] | Tensor]


def loss_of(logits: Tensor, codes: Tensor) -> Tensor:
    """The mean loss of one head over the clips whose label is known; 0 where none is.

    Args:
        logits: (B, classes); a single one is a binary label.
        codes: (B,) class, or 0 and 1, or (B, classes) of 0 and 1 for several labels at once;
            -1: unknown.
    """
    logits = logits.float()
    known = codes >= 0
    if codes.ndim == 1 and logits.shape[1] > 1:
        total = F.cross_entropy(logits, codes, ignore_index=-1, reduction="sum")
    else:
        wanted = codes.reshape(logits.shape).clamp(min=0).float()
        each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        total = (each * known.reshape(logits.shape)).sum()
    return total / known.sum().clamp(min=1)


def hits_of(logits: Tensor, codes: Tensor) -> tuple[int, int]:
    """How many known labels of one head are told right, and how many there are.

    Args:
        logits: as in `loss_of`.
        codes: as in `loss_of`.
    """
    known = codes >= 0
    if codes.ndim == 1 and logits.shape[1] > 1:
        told = logits.argmax(1)
    else:
        told = (logits > 0).long().reshape(codes.shape)
    return int(((told == codes) & known).sum()), int(known.sum())


def probabilities(logits: Tensor, *, many: bool = False) -> Tensor:
    """(B, classes) of a head: softmax, or for a binary label and for several at once, sigmoid.

    Args:
        logits: (B, classes).
        many: several labels at once.
    """
    logits = logits.float()
    return logits.sigmoid() if many or logits.shape[1] == 1 else logits.softmax(1)


def as_codes(targets: Targets, rows: IntArray, heads: Mapping[str, int]) -> dict[str, Tensor]:
    """The codes of some clips for each head.

    Args:
        targets: by label, (rows of the manifest,) or (rows, classes).
        rows: (N,) the row of each clip.
        heads: outputs by label.

    Raises:
        UsageError: a head has no label, or too few outputs for it.
    """
    codes = {}
    for label, outputs in heads.items():
        if label not in targets:
            raise UsageError(f"The network has a head {label!r}, but no targets are given for it.")
        given = torch.as_tensor(np.asarray(targets[label]), dtype=torch.long)
        if len(rows) and int(rows.max()) >= len(given):
            raise UsageError(f"{len(given)} targets of {label!r} do not reach row {rows.max()}.")
        mine = given[torch.from_numpy(np.asarray(rows))]
        top = 1 if mine.ndim == 2 or outputs == 1 else outputs - 1
        if len(mine) and (int(mine.max()) > top or (mine.ndim == 2 and mine.shape[1] != outputs)):
            raise UsageError(f"Head {label!r} has {outputs} outputs, too few for its targets.")
        codes[label] = mine
    return codes

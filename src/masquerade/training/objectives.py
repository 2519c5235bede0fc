"""Objectives of adversaries and of the anonymizer against them; OBJECTIVES is their table.

Labels (VITA, STPrivacy, BDQ), pairs of frames (SPAct: NT-Xent, or MoCo's queue) and rotations.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.datasets.clip_sampling import middle_crop
from masquerade.errors import UsageError
from masquerade.training.batch_share import WHOLE_BATCH, BatchShare
from masquerade.training.frame_pairs import frame_pairs, segment_pairs
from masquerade.training.label_losses import Codes, clip_losses, clips_per_known

LabelCounts = Mapping[str, Tensor]  # by private label, from `count_labels`
COUNTED_AT_ONCE = 4096  # clips


class ObjectiveBatch(NamedTuple):
    """What one objective is computed on: anonymized clips, their private labels and a generator.

    With several processes each holds its share of the batch; losses are returned for all n samples.
    """

    clip: Tensor  # (B, 3, T, H, W)
    codes: Codes  # by private label
    generator: torch.Generator  # of pairs and rotations
    share: BatchShare = WHOLE_BATCH
    chance: float = math.inf  # `chance_loss` of all processes' clips
    halves: bool = False  # the two halves of each clip are a pair of runs of frames, cut before


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The loss that one adversary learns by, and the anonymizer's loss against it.

    Unknown labels (-1) are ignored; all draws are of a generator.
    """

    needs_labels: ClassVar[bool] = False  # private ones
    cap: ClassVar[float] = math.inf
    """Where a loss without an upper bound is capped, as a multiple of the chance loss.

    Where the batch's mean loss is above it, the anonymizer gets no gradient of it."""

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        """Return outputs by head of the adversary's network, given those by private label."""
        raise NotImplementedError

    def wrap(self, net: nn.Module) -> nn.Module:
        """Return the adversary's network with whatever else the objective needs."""
        return net

    def loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        """Return what the adversary minimises, (n,) by sample."""
        raise NotImplementedError

    def adversarial_loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        """Return what the anonymizer minimises, (n,) by sample: by default the negative loss.

        Once the mean of that loss is beyond the cap, it stays there and has no gradient.
        """
        loss = self.loss(net, batch)
        held = loss.detach() * (self.cap * batch.chance / loss.detach().mean())
        return -torch.where(self.is_capped(loss, batch.chance), held, loss)

    def is_capped(self, loss: Tensor, chance: float) -> Tensor:
        """Return whether the mean of a loss (n,) exceeds `cap` times chance, as a tensor."""
        return loss.detach().mean() > self.cap * chance

    def chance_loss(self, codes: Codes, count: int, seen: LabelCounts) -> float:
        """Return the loss of a constant prediction on `count` clips: no input can improve it.

        Args:
            codes: of the clips, by label.
            count: how many clips they are.
            seen: how often each class occurs in training, by label; see `count_labels`.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Labels(Objective):
    """Private labels (VITA, STPrivacy): cross entropy, binary where a label is."""

    needs_labels: ClassVar[bool] = True
    cap: ClassVar[float] = 2.0
    anonymizer_loss: Literal["negative", "entropy", "uniform", "ones"] = "negative"
    """Negative: minus the loss (eq. 13 of STPrivacy); entropy: minus that of the predictions (BDQ);
    uniform: the cross entropy to equal predictions; ones: that to "always present" (VITA's code).
    The last three use no label, and count clips without one too."""

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        return dict(private)

    def loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        return self.loss_of(net(batch.clip), batch)

    def loss_of(self, logits: Mapping[str, Tensor], batch: ObjectiveBatch) -> Tensor:
        """Return the loss (n,) of a network that gives these logits by label.

        Its mean is that over labels, and of each over the clips whose label is known.
        """
        parts = [
            clip_losses(logits[name], code) * clips_per_known(batch.share.gather(code))
            for name, code in batch.codes.items()
        ]
        return batch.share.gather(torch.stack(parts).mean(0))

    def adversarial_loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        if self.anonymizer_loss == "negative":
            return super().adversarial_loss(net, batch)
        logits = net(batch.clip)
        parts = [self._anonymizer_loss(logits[name], code) for name, code in batch.codes.items()]
        return batch.share.gather(torch.stack(parts).mean(0))

    def chance_loss(self, codes: Codes, count: int, seen: LabelCounts) -> float:
        losses = [
            prior_loss(code, seen[name]).mean() * clips_per_known(code.cpu())
            for name, code in codes.items()
        ]
        return float(torch.stack(losses).mean())

    def _anonymizer_loss(self, logits: Tensor, codes: Tensor) -> Tensor:
        logits, exclusive = logits.float(), codes.ndim == 1 and logits.shape[1] > 1
        if self.anonymizer_loss == "entropy":  # in nats; of several labels at once their mean
            if exclusive:
                logs = logits.log_softmax(1)
                return (logs.exp() * logs).sum(1)
            return -(F.softplus(logits) - logits * logits.sigmoid()).mean(1)
        if exclusive:  # of several classes none is "always present": equal predictions instead
            return -logits.log_softmax(1).mean(1)
        wanted = torch.full_like(logits, 0.5 if self.anonymizer_loss == "uniform" else 1.0)
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)


@dataclass(frozen=True, kw_only=True)
class Pairs(Objective):
    """Contrastive learning of which frames are of one video (SPAct, 3.2)."""

    temperature: float = 0.1  # of the similarities, as in SPAct's code
    width: int = 128  # of the projection that the network ends in
    segments: bool = False  # pairs of runs of frames, for an adversary that sees motion

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        return {"projection": self.width}

    def pairs(self, batch: ObjectiveBatch) -> tuple[Tensor, Tensor]:
        """Return two views of each clip."""
        if batch.halves:
            half = batch.clip.shape[2] // 2
            return batch.clip[:, :, :half], batch.clip[:, :, half:]
        of = segment_pairs if self.segments else frame_pairs
        return of(batch.clip, batch.generator)


@dataclass(frozen=True, kw_only=True)
class NTXent(Pairs):
    """Contrast with the other clips of the batch (SPAct, eq. 5; SimCLR)."""

    symmetric: bool = True  # both directions, as in SPAct's code; else eq. 5 as it stands

    def loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        both = net(torch.cat(self.pairs(batch)))["projection"]
        # Of every process: a clip is contrasted with the whole batch, not with one process's share.
        a, b = batch.share.gather(torch.stack(both.float().chunk(2), 1)).unbind(1)
        return nt_xent(a, b, temperature=self.temperature, symmetric=self.symmetric)

    def chance_loss(self, codes: Codes, count: int, seen: LabelCounts) -> float:
        return math.log(2 * count - 1)


@dataclass(frozen=True, kw_only=True)
class MoCo(Pairs):
    """Contrast with a queue of earlier frames (He et al., CVPR 2020; an ablation of SPAct).

    The momentum encoder and the queue move only while the adversary learns.
    """

    queue: int = 512  # keys; with more than there are clips, older keys of a clip are its negatives
    momentum: float = 0.999  # of the encoder that makes the keys

    def wrap(self, net: nn.Module) -> nn.Module:
        return MomentumEncoder(net, width=self.width, size=self.queue, momentum=self.momentum)

    def loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        if not isinstance(net, MomentumEncoder):
            raise UsageError("MoCo needs a network with a momentum encoder: wrap it first.")
        query, positive = self.pairs(batch)
        if net.training:
            net.update_encoder()
        keys = net.keys(positive)
        own = net(query)["projection"]
        # The queue as it is now, since it moves on before the backward pass.
        losses = info_nce(own, keys, net.queue.clone(), temperature=self.temperature)
        if net.training:
            net.enqueue(batch.share.gather(keys))  # one queue, of all processes' clips
        return batch.share.gather(losses)

    def chance_loss(self, codes: Codes, count: int, seen: LabelCounts) -> float:
        return math.log(1 + self.queue)


@dataclass(frozen=True, kw_only=True)
class Rotation(Objective):
    """By how many quarters a frame was rotated (RotNet; an ablation of SPAct)."""

    cap: ClassVar[float] = 2.0

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        return {"quarters": 4}

    def loss(self, net: nn.Module, batch: ObjectiveBatch) -> Tensor:
        clip = batch.clip
        at = torch.randint(clip.shape[2], (len(clip),), generator=batch.generator)
        quarters = torch.randint(4, (len(clip),), generator=batch.generator)
        height, width = clip.shape[-2:]
        side = min(height, width)  # of a square, since a rotated frame must keep its shape
        top, left = middle_crop(height, width, side)
        frame = clip[torch.arange(len(clip)), :, at, top : top + side, left : left + side]
        rotated = torch.stack(
            [torch.rot90(still, int(k), (1, 2)) for still, k in zip(frame, quarters, strict=True)]
        )
        logits = net(rotated[:, :, None])["quarters"].float()
        losses = F.cross_entropy(logits, quarters.to(logits.device), reduction="none")
        return batch.share.gather(losses)

    def chance_loss(self, codes: Codes, count: int, seen: LabelCounts) -> float:
        return math.log(4)


OBJECTIVES: dict[str, type[Objective]] = {
    "labels": Labels,
    "nt-xent": NTXent,
    "moco": MoCo,
    "rotation": Rotation,
}


class MomentumEncoder(nn.Module):
    """A network, its momentum encoder and a queue of keys (MoCo, CVPR 2020, algorithm 1).

    Called, it is the network alone. The encoder normalises by running statistics that follow too:
    with those of a batch, keys would tell which clips came together (the paper shuffles batches
    among GPUs instead).
    """

    queue: Tensor
    at: Tensor

    def __init__(self, net: nn.Module, *, width: int, size: int, momentum: float) -> None:
        super().__init__()
        self.net, self.momentum = net, momentum
        self.slow = copy.deepcopy(net).requires_grad_(False).eval()
        self.register_buffer("queue", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("at", torch.zeros((), dtype=torch.long))

    def train(self, mode: bool = True) -> MomentumEncoder:
        """The encoder stays in evaluation mode."""
        super().train(mode)
        self.slow.eval()
        return self

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        return cast(dict[str, Tensor], self.net(clip))

    @torch.no_grad()
    def keys(self, clip: Tensor) -> Tensor:
        """Return the encoder's output, (B, width) of length 1."""
        (key,) = self.slow(clip).values()
        return F.normalize(key.float(), dim=1)

    @torch.no_grad()
    def update_encoder(self) -> None:
        """Move the encoder a step towards the network."""
        pairs = zip(self.slow.state_dict().values(), self.net.state_dict().values(), strict=True)
        for slow, quick in pairs:
            if slow.is_floating_point():
                slow.lerp_(quick, 1 - self.momentum)
            else:  # how many batches a norm has seen
                slow.copy_(quick)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by (B, width) new ones, the newest last."""
        size = len(self.queue)
        place = (self.at + torch.arange(len(keys), device=keys.device)) % size
        self.queue[place[-size:]] = keys[-size:].to(self.queue.dtype)
        self.at.copy_((self.at + len(keys)) % size)


def nt_xent(a: Tensor, b: Tensor, *, temperature: float, symmetric: bool = True) -> Tensor:
    """Return the normalised, temperature-scaled cross entropy of pairs (SPAct, eq. 5; SimCLR).

    It is (2N,) of two views (N, D), each an anchor; not symmetric, the (N,) of anchors in `a`.
    """
    views = F.normalize(torch.cat([a, b]).float(), dim=1)  # (2N, D)
    with torch.autocast(views.device.type, enabled=False):  # bfloat16 is too coarse here
        similarity = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    similarity = similarity.masked_fill(itself, -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(a))
    losses = F.cross_entropy(similarity, partner, reduction="none")
    return losses if symmetric else losses[: len(a)]


def info_nce(query: Tensor, keys: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Return the cross entropy of each query's own key among those of a queue (MoCo, eq. 1).

    It is (N,) of queries (N, D) of any length, and keys (N, D) and queue (K, D) of length 1.
    """
    queries = F.normalize(query.float(), dim=1)
    own = (queries * keys).sum(1, keepdim=True)
    with torch.autocast(queries.device.type, enabled=False):  # as in `nt_xent`
        others = queries @ queue.T
    similarity = torch.cat([own, others], dim=1) / temperature  # (N, 1 + K)
    first = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return F.cross_entropy(similarity, first, reduction="none")


def count_labels(codes: Tensor) -> Tensor:
    """Count how often each class of a label occurs.

    Codes (N,) give counts (C,); codes (N, L) of L binary labels give (2, L), the counts of absence
    and of presence. A negative code is unknown and counts for nothing.
    """
    codes = codes.cpu()
    if codes.ndim == 1:
        return torch.bincount(codes[codes >= 0].long(), minlength=2)
    counts = np.zeros((2, codes.shape[1]), np.int64)
    for first in range(0, len(codes), COUNTED_AT_ONCE):  # all of thousands of labels: gigabytes
        part = codes[first : first + COUNTED_AT_ONCE].numpy()
        for value in (0, 1):
            counts[value] += np.add.reduce(part == value, axis=0, dtype=np.int32)
    return torch.from_numpy(counts)


def prior_loss(codes: Tensor, seen: Tensor) -> Tensor:
    """Return the loss (B,) of predicting the training clips' label rates for every clip.

    Each label counts once more than it occurred, so that none is certain: where held-out clips
    are all alike, predicting their own rates would have no loss.

    Args:
        codes: (B,), or (B, L) of several labels at once, whose mean over those known is given.
        seen: how often each class occurred in training, from `count_labels`.
    """
    codes = codes.cpu().long()
    if codes.ndim == 1 and len(codes):  # a class may occur in no training clip
        seen = F.pad(seen, (0, max(int(codes.max()) + 1 - len(seen), 0)))
    losses = -((seen + 1) / (seen + 1).sum(0)).log()  # (C,) or (2, L)
    if codes.ndim == 1:
        return torch.where(codes >= 0, losses[codes.clamp(min=0)], 0.0)
    known = codes >= 0
    known_losses = torch.where(codes == 1, losses[1], losses[0]) * known  # (B, L)
    return known_losses.sum(1) / known.sum(1).clamp(min=1)

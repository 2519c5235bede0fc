"""What an adversary learns, and what the anonymizer wants of it; OBJECTIVES, one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.training.momentum import Momentum
from masquerade.training.pairs import frame_pairs, segment_pairs
from masquerade.training.ranks import ALONE, Ranks

Codes = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """One way of looking for what is private.

    Labels that are unknown (-1) count for nothing. Everything drawn comes from a generator.
    """

    labelled: ClassVar[bool] = False
    """Whether it needs private labels."""

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        """Outputs by name of its network.

        Args:
            private: classes by private label.
        """
        raise NotImplementedError

    def dressed(self, net: nn.Module) -> nn.Module:
        """The adversary's network with whatever else it needs; as it is by default.

        Args:
            net: with `heads`.
        """
        return net

    def loss(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        """What the adversary minimises, (n,) a sample.

        Args:
            net: the adversary's network.
            clip: (B, 3, T, H, W).
            codes: by private label.
            draw: of pairs and turns, on the CPU.
            ranks: processes that share the batch, where clips are told from one another.
        """
        raise NotImplementedError

    def fooling(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        """What the anonymizer minimises, (n,) a sample: by default the negative loss."""
        return -self.loss(net, clip, codes, draw, ranks)

    def chance(self, codes: Codes, count: int, learned: Codes) -> float:
        """The loss of who sees nothing.

        Args:
            codes: by private label, of a batch.
            count: clips in it.
            learned: codes by private label of the training clips, whose rates are known.
        """
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Labels(Objective):
    """Private labels (VITA, STPrivacy): cross entropy, binary where a label is.

    Args:
        fool: negative: minus the loss (eq. 13 of STPrivacy); entropy: minus the entropy of the
            answers (BDQ); uniform: towards equal answers; ones: towards "always there", as VITA's
            code does. The last three ask for no label, and are wished of clips without one too.
        cap: times its chance value beyond which a negated loss pulls no more, since it has no
            bottom (FACTS 6, #14); None: none.
    """

    labelled: ClassVar[bool] = True
    fool: Literal["negative", "entropy", "uniform", "ones"] = "negative"
    cap: float | None = 2.0

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        return dict(private)

    def loss(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        said = net(clip)
        return torch.stack([each_loss(said[name], code) for name, code in codes.items()]).mean(0)

    def fooling(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        said = net(clip)
        parts = [self._fooled(said[name], code) for name, code in codes.items()]
        return torch.stack(parts).mean(0)

    def chance(self, codes: Codes, count: int, learned: Codes) -> float:
        found = [rate_loss(code, learned[name]).mean() for name, code in codes.items()]
        return float(torch.stack(found).mean())

    def _fooled(self, logits: Tensor, codes: Tensor) -> Tensor:
        logits, one_of = logits.float(), codes.ndim == 1 and logits.shape[1] > 1
        if self.fool == "negative":
            blind = _blind(logits.shape[1], one_of)
            return _negated(each_loss(logits, codes), self.cap, blind)
        if self.fool == "entropy":
            return -_entropy(logits, one_of)
        if one_of:  # of several classes none is "always there": the wish is that all are as likely
            return -logits.log_softmax(1).mean(1)
        wish = 0.5 if self.fool == "uniform" else 1.0
        wanted = torch.full_like(logits, wish)
        return F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1)


@dataclass(frozen=True, kw_only=True)
class Pairs(Objective):
    """Which frames are of one video, by a projection in which they lie close: SPAct's way.

    Args:
        temperature: of the similarities; 0.1 in its code.
        width: of the projection that the network ends in.
        segments: pair runs of frames instead, for an adversary that sees motion.
    """

    temperature: float = 0.1
    width: int = 128
    segments: bool = False

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        return {"projection": self.width}

    def pairs(self, clip: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """Two views of each clip.

        Args:
            clip: (B, 3, T, H, W).
            draw: on the CPU.
        """
        a, b = segment_pairs(clip, draw) if self.segments else frame_pairs(clip, draw)
        return a, b


@dataclass(frozen=True, kw_only=True)
class NTXent(Pairs):
    """Against the other clips of the batch (SPAct's eq. 5).

    Args:
        symmetric: both directions, as in its code; else eq. 5 as it stands.
    """

    symmetric: bool = True

    def loss(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        both = net(torch.cat(self.pairs(clip, draw)))["projection"]
        # Of every process, else each would look for a clip among its own share only.
        a, b = ranks.rows(torch.stack(both.float().chunk(2), 1)).unbind(1)
        return nt_xent(a, b, temperature=self.temperature, symmetric=self.symmetric)

    def chance(self, codes: Codes, count: int, learned: Codes) -> float:
        return math.log(2 * count - 1)


@dataclass(frozen=True, kw_only=True)
class MoCo(Pairs):
    """Against a queue of what came before (He et al., CVPR 2020; an ablation in SPAct's table).

    The slow copy and the queue move while the adversary learns, and only then.

    Args:
        queue: keys that are remembered; more than there are clips brings clips against themselves.
        momentum: of the slow copy that makes the keys.
    """

    queue: int = 512
    momentum: float = 0.999

    def dressed(self, net: nn.Module) -> nn.Module:
        return Momentum(net, width=self.width, size=self.queue, keep=self.momentum)

    def loss(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        if not isinstance(net, Momentum):
            raise UsageError("MoCo needs a network with a slow copy: dress it first.")
        asked, other = self.pairs(clip, draw)
        if net.training:
            net.follow()
        keys = net.keys(other)
        # The queue as it is now, since it moves on before the gradient has come back.
        each = info_nce(
            net(asked)["projection"], keys, net.queue.clone(), temperature=self.temperature
        )
        if net.training:
            net.remember(ranks.rows(keys))  # one queue, of what all processes saw
        return each

    def chance(self, codes: Codes, count: int, learned: Codes) -> float:
        return math.log(1 + self.queue)


@dataclass(frozen=True, kw_only=True)
class Rotation(Objective):
    """By how many quarters a frame was turned (RotNet; the weaker ablation in SPAct's table).

    Args:
        cap: as of `Labels`: this loss has no bottom either once it is negated.
    """

    cap: float | None = 2.0

    def heads(self, private: Mapping[str, int]) -> dict[str, int]:
        return {"quarters": 4}

    def loss(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        at = torch.randint(clip.shape[2], (len(clip),), generator=draw)
        quarters = torch.randint(4, (len(clip),), generator=draw)
        frame = _squared(clip[torch.arange(len(clip)), :, at])  # (B, 3, S, S)
        turned = torch.stack(
            [torch.rot90(one, int(k), (1, 2)) for one, k in zip(frame, quarters, strict=True)]
        )
        said = net(turned[:, :, None])["quarters"].float()
        return F.cross_entropy(said, quarters.to(said.device), reduction="none")

    def fooling(
        self,
        net: nn.Module,
        clip: Tensor,
        codes: Codes,
        draw: torch.Generator,
        ranks: Ranks = ALONE,
    ) -> Tensor:
        return _negated(self.loss(net, clip, codes, draw, ranks), self.cap, math.log(4))

    def chance(self, codes: Codes, count: int, learned: Codes) -> float:
        return math.log(4)


OBJECTIVES: dict[str, type[Objective]] = {
    "labels": Labels,
    "nt-xent": NTXent,
    "moco": MoCo,
    "rotation": Rotation,
}


def nt_xent(a: Tensor, b: Tensor, *, temperature: float, symmetric: bool = True) -> Tensor:
    """The normalised, temperature-scaled cross entropy of pairs (SPAct eq. 5; SimCLR).

    Args:
        a: (N, D) one view of each.
        b: (N, D) the other.
        temperature: of the cosine similarities.
        symmetric: over all 2N anchors; else only those of `a`.

    Returns:
        (2N,), or (N,), one an anchor.
    """
    views = F.normalize(torch.cat([a, b]).float(), dim=1)  # (2N, D)
    with torch.autocast(views.device.type, enabled=False):  # bfloat16 tells too few of them apart
        likeness = views @ views.T / temperature
    itself = torch.eye(len(views), dtype=torch.bool, device=views.device)
    likeness = likeness.masked_fill(itself, -torch.inf)
    partner = torch.arange(len(views), device=views.device).roll(len(a))
    each = F.cross_entropy(likeness, partner, reduction="none")
    return each if symmetric else each[: len(a)]


def info_nce(asked: Tensor, keys: Tensor, queue: Tensor, *, temperature: float) -> Tensor:
    """Which of its own key and a queue of others' a query belongs to (MoCo eq. 1).

    Args:
        asked: (N, D), of any length.
        keys: (N, D) of length 1, one a query.
        queue: (K, D) of length 1.
        temperature: of the cosine similarities.

    Returns:
        (N,).
    """
    queries = F.normalize(asked.float(), dim=1)
    own = (queries * keys).sum(1, keepdim=True)
    with torch.autocast(queries.device.type, enabled=False):  # as in `nt_xent`
        others = queries @ queue.T
    likeness = torch.cat([own, others], dim=1) / temperature  # (N, 1 + K)
    first = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
    return F.cross_entropy(likeness, first, reduction="none")


def each_loss(logits: Tensor, codes: Tensor) -> Tensor:
    """(B,), `loss_of` clip by clip; 0 where the label is unknown."""
    logits = logits.float()
    if codes.ndim == 1 and logits.shape[1] > 1:
        return F.cross_entropy(logits, codes, ignore_index=-1, reduction="none")
    known = (codes >= 0).reshape(logits.shape)
    wanted = codes.reshape(logits.shape).clamp(min=0).float()
    each = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * known
    return each.sum(1) / known.sum(1).clamp(min=1)


def rate_loss(codes: Tensor, learned: Tensor) -> Tensor:
    """(B,), as `each_loss`, of who answers every clip with the training rates, and knows no more.

    Each answer counts once more than it occurred, so that none is certain: where held-out clips
    are all alike, the rates of their own labels would lose nothing.

    Args:
        codes: (B,) or (B, labels); -1: unknown.
        learned: the same of the training clips.
    """
    codes, learned = codes.cpu(), learned.cpu()
    if codes.ndim == 2:
        columns = [rate_loss(*pair) for pair in zip(codes.T, learned.T, strict=True)]
        return torch.stack(columns, 1).sum(1) / (codes >= 0).sum(1).clamp(min=1)
    classes = max(int(codes.max()), int(learned.max()), 1) + 1
    counts = torch.bincount(learned[learned >= 0], minlength=classes) + 1
    lost = -(counts / counts.sum()).log()
    return torch.where(codes >= 0, lost[codes.clamp(min=0)], 0.0)


def _negated(loss: Tensor, cap: float | None, blind: float) -> Tensor:
    """Minus a loss, which pulls no more beyond so many times that of who sees nothing."""
    return -loss.clamp(max=math.inf if cap is None else cap * blind)


def _entropy(logits: Tensor, one_of: bool) -> Tensor:
    """(B,), in nats; of several labels at once their mean."""
    if one_of:
        logs = logits.log_softmax(1)
        return -(logs.exp() * logs).sum(1)
    return (F.softplus(logits) - logits * logits.sigmoid()).mean(1)


def _blind(outputs: int, one_of: bool) -> float:
    return math.log(outputs if one_of else 2)


def _squared(frames: Tensor) -> Tensor:
    """(B, C, S, S), the middle of (B, C, H, W): a turned frame must have the shape it had."""
    height, width = frames.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[..., top : top + side, left : left + side]

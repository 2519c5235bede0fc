"""How networks learn to read extreme low resolution (Ryoo et al., AAAI 2017 and 2018).

A reduced frame is one of many that the same scene could have given: moved by a fraction of a large
pixel, turned or scaled a little, it looks different. In training each clip is therefore reduced
anew from its full size, differently every time (the first paper, which learns from fixed versions),
and versions of one scene may be pulled together and of two apart (the second). Asked later, the
network sees one plainly reduced clip.

    net = Lowered(Recognizer(...), method=ELR(factor=16), variants=Variants())
    fit(net, train, validation, targets=..., beside=Siamese())

Differs from the papers: versions are drawn at random, where the first picks the most useful ones;
one stream of frames, where the second has another of optical flow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.anonymizer import Anonymizer
from masquerade.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Variants:
    """How much versions of one clip differ; all frames of a clip alike.

    Args:
        shift: at most, as a share of the frame's side; 1 / 28 is half a large pixel of fourteen.
        turn: at most, in degrees.
        scale: at most, as a share.
    """

    shift: float = 1 / 28
    turn: float = 5.0
    scale: float = 0.1

    def of(self, clip: Tensor, draw: torch.Generator) -> Tensor:
        """Another version of each clip, at full size.

        Args:
            clip: (B, 3, T, H, W).
            draw: on the CPU.
        """
        batch, _, count, height, width = clip.shape
        by = torch.rand(4, batch, generator=draw) * 2 - 1
        turn, size = by[0] * math.radians(self.turn), 1 + by[1] * self.scale
        cos, sin = torch.cos(turn) * size, torch.sin(turn) * size
        tall = height / width  # places run from -1 to 1 along both sides; a turn must stay a turn
        rows = [cos, -sin * tall, 2 * self.shift * by[2], sin / tall, cos, 2 * self.shift * by[3]]
        theta = torch.stack(rows, 1).reshape(batch, 2, 3).to(clip)
        frames = clip.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
        at = F.affine_grid(
            theta.repeat_interleave(count, 0), list(frames.shape), align_corners=False
        )
        moved = F.grid_sample(frames, at, padding_mode="reflection", align_corners=False)
        return moved.reshape(batch, count, -1, height, width).transpose(1, 2)


class Lowered(nn.Module):
    """A recognizer that sees reduced clips: another version each time while it learns.

    Args:
        net: the recognizer.
        method: reduces; `ELR`, or any other that learns nothing.
        variants: how versions differ.
    """

    def __init__(self, net: nn.Module, *, method: Anonymizer, variants: Variants) -> None:
        super().__init__()
        if method.learned or not callable(getattr(net, "embed", None)):
            raise UsageError("Lowered is of a recognizer, and of a method that is not trained.")
        self.net, self.method, self.variants = net, method, variants
        self.heads: dict[str, int] | None = getattr(net, "heads", None)

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """(B, 3, T, H, W) in [0, 1], of full size, to what the network gives."""
        return self.net(self._lowered(clip))

    def embed(self, clip: Tensor) -> Tensor:
        """(B, width) of the clips reduced."""
        found: Tensor = self.net.embed(self._lowered(clip))  # type: ignore[operator]
        return found

    def _lowered(self, clip: Tensor) -> Tensor:
        if self.training:
            # Seeded from torch's own generator, which `fit` seeds for each epoch.
            seed = int(torch.randint(2**62, ()))
            clip = self.variants.of(clip, torch.Generator().manual_seed(seed))
        return self.method(clip, state=self.method.init_state()).clip


@dataclass(frozen=True, kw_only=True)
class Siamese:
    """The multi-Siamese loss of AAAI 2018, to be added to that of the labels by `fit(beside=...)`.

    Args:
        versions: of each clip.
        margin: beyond which clips of two scenes are apart enough.
        weight: beside the loss of the labels.
    """

    versions: int = 2
    margin: float = 1.0
    weight: float = 1.0

    def __call__(self, net: nn.Module, clip: Tensor, draw: torch.Generator) -> Tensor:
        """The loss of a batch.

        Args:
            net: a `Lowered` one, whose every look at a clip is another version.
            clip: (B, 3, T, H, W).
            draw: not used: versions are drawn by the network.
        """
        if not isinstance(net, Lowered):
            raise UsageError("A Siamese loss compares versions of a clip: fit a Lowered network.")
        seen = torch.stack([net.embed(clip) for _ in range(self.versions)])  # (V, B, D)
        return self.weight * siamese(F.normalize(seen.float(), dim=2), margin=self.margin)


def siamese(points: Tensor, *, margin: float) -> Tensor:
    """The contrastive loss over all pairs: half a squared distance, or half of what is missing.

    Args:
        points: (V, B, D), V versions of B scenes.
        margin: between two scenes.
    """
    versions, scenes = points.shape[:2]
    flat = points.flatten(0, 1)  # (V * B, D)
    of = torch.arange(scenes, device=flat.device).repeat(versions)
    first, second = torch.triu_indices(len(flat), len(flat), 1, device=flat.device)
    squared = (flat[first] - flat[second]).square().sum(1)
    same = of[first] == of[second]
    # A root has no slope at 0, where two scenes may lie together.
    missing = (margin - (squared + 1e-12).sqrt()).clamp(min=0).square()
    return 0.5 * torch.where(same, squared, missing).mean()

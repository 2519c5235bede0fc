"""Recognizers of extreme low resolution (Ryoo et al., AAAI 2017 and 2018).

One scene gives many low-resolution frames: moved by a fraction of a large pixel, rotated or scaled
a little, it looks different. In training each clip is therefore reduced anew from its full size,
under another transform every time (AAAI 2017, with a fixed set of transforms), and a contrastive
loss may pull versions of one scene together (AAAI 2018). Later the network is given one plainly
reduced clip.

    method, transforms = ELR(factor=16), RandomTransforms()
    net = LowResolutionRecognizer(Recognizer(...), method=method, transforms=transforms)
    fit(net, train, validation, targets=..., extra_loss=MultiSiamese())

Differs from the papers: transforms are random, where the first chooses the most useful ones; one
stream of frames, where the second has another of optical flow.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.anonymizer import Anonymizer
from masquerade.checkpoint import arguments
from masquerade.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class RandomTransforms:
    """Random translations, rotations and scalings; one for all frames of a clip."""

    shift: float = 1 / 28  # at most, as a share of the frame's side; half a large pixel of 14
    turn: float = 5.0  # at most, in degrees
    scale: float = 0.1  # at most, as a share

    def apply(self, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Transform each of (B, 3, T, H, W), at full size; the generator is the CPU's."""
        batch, _, count, height, width = clip.shape
        by = torch.rand(4, batch, generator=generator) * 2 - 1
        turn, size = by[0] * math.radians(self.turn), 1 + by[1] * self.scale
        cos, sin = torch.cos(turn) * size, torch.sin(turn) * size
        tall = height / width  # coordinates run from -1 to 1 along both sides
        rows = [cos, -sin * tall, 2 * self.shift * by[2], sin / tall, cos, 2 * self.shift * by[3]]
        theta = torch.stack(rows, 1).reshape(batch, 2, 3).to(clip)
        frames = clip.transpose(1, 2).flatten(0, 1)  # (B * T, 3, H, W)
        at = F.affine_grid(
            theta.repeat_interleave(count, 0), list(frames.shape), align_corners=False
        )
        moved = F.grid_sample(frames, at, padding_mode="reflection", align_corners=False)
        return moved.reshape(batch, count, -1, height, width).transpose(1, 2)


class LowResolutionRecognizer(nn.Module):
    """A recognizer of clips that a method reduces, transformed at random while it is trained.

    Without a method, clips keep their size.
    """

    def __init__(
        self, net: nn.Module, *, method: Anonymizer | None, transforms: RandomTransforms
    ) -> None:
        super().__init__()
        if (method is not None and method.learned) or not callable(getattr(net, "embed", None)):
            raise UsageError(
                "LowResolutionRecognizer needs a recognizer, and no method that is trained."
            )
        self.net, self.method, self.transforms = net, method, transforms
        self.heads: dict[str, int] | None = getattr(net, "heads", None)

    def extra_repr(self) -> str:
        settings = {} if self.method is None else arguments(self.method)
        return f"transforms={self.transforms}, arguments={settings}"

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """Return the network's output for (B, 3, T, H, W) in [0, 1], of full size."""
        return self.net(self._reduce(clip))

    def embed(self, clip: Tensor) -> Tensor:
        """Return (B, width) of the reduced clips."""
        return self.net.embed(self._reduce(clip))  # type: ignore[operator]

    def _reduce(self, clip: Tensor) -> Tensor:
        if self.training:
            # Seeded from torch's own generator, which `fit` seeds for each epoch.
            seed = int(torch.randint(2**62, ()))
            clip = self.transforms.apply(clip, torch.Generator().manual_seed(seed))
        method = self.method
        return clip if method is None else method(clip, state=method.init_state()).clip


@dataclass(frozen=True, kw_only=True)
class MultiSiamese:
    """The multi-Siamese loss of AAAI 2018, to be given to `fit(extra_loss=...)`."""

    versions: int = 2  # of each clip
    margin: float = 1.0  # distance beyond which two scenes have no loss
    weight: float = 1.0  # relative to the loss of the labels

    def __call__(self, net: nn.Module, clip: Tensor, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch of (B, 3, T, H, W); the network draws the versions."""
        if not isinstance(net, LowResolutionRecognizer):
            raise UsageError(
                "A Siamese loss compares versions of a clip: fit a LowResolutionRecognizer network."
            )
        embeddings = torch.stack([net.embed(clip) for _ in range(self.versions)])  # (V, B, D)
        return self.weight * siamese(F.normalize(embeddings.float(), dim=2), margin=self.margin)


def siamese(points: Tensor, *, margin: float) -> Tensor:
    """Return the contrastive loss over all pairs of (V, B, D), V versions of B scenes."""
    versions, scenes = points.shape[:2]
    flat = points.flatten(0, 1)  # (V * B, D)
    scene = torch.arange(scenes, device=flat.device).repeat(versions)
    first, second = torch.triu_indices(len(flat), len(flat), 1, device=flat.device)
    squared = (flat[first] - flat[second]).square().sum(1)
    same = scene[first] == scene[second]
    # A root has no gradient at 0, where two scenes may coincide.
    shortfall = (margin - (squared + 1e-12).sqrt()).clamp(min=0).square()
    return 0.5 * torch.where(same, squared, shortfall).mean()

"""The one contract of everything that reads labels off pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError


@dataclass(frozen=True)
class Scale:
    """What is subtracted from pixels in [0, 1] and what they are then divided by, by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def over(self, channels: int) -> Scale:
        """The same for another number of channels.

        RGB with two more is RGB and flow; any other number but RGB's is centred flow or grey.

        Args:
            channels: of the input.
        """
        if channels == len(self.mean):
            return self
        if channels == len(self.mean) + 2:
            return Scale((*self.mean, *FLOW.mean), (*self.std, *FLOW.std))
        return Scale(FLOW.mean[:1] * channels, FLOW.std[:1] * channels)


IMAGENET = Scale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINETICS = Scale((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
TORCHVISION_VIDEO = Scale((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
FLOW = Scale((0.5, 0.5), (0.25, 0.25))  # .5 is rest: see motion.flow_to_clip


class Recognizer(nn.Module):
    """Clips (B, C, T, H, W) in [0, 1] to logits (B, classes), or to a dict of them by label."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        heads: Mapping[str, int] | None = None,
        scale: Scale = IMAGENET,
        in_channels: int = 3,
        by_frame: bool = False,
        sees_keep: bool = False,
        size: int | None = None,
    ) -> None:
        """
        Args:
            net: the network; its parameters carry the published names.
            heads: outputs by label, whose sum the network gives; None: one label.
            scale: of RGB pixels.
            in_channels: of a frame; 2 is optical flow, 5 is RGB and flow.
            by_frame: whether the network reads frames; their logits are averaged (late fusion).
            sees_keep: whether the network takes dropped tokens; the others see their zeros.
            size: side in pixels to which frames are resized; None: as they come.
        """
        super().__init__()
        self.net = net
        self.heads = dict(heads) if heads else None
        self.in_channels, self.by_frame = in_channels, by_frame
        self.sees_keep, self.size = sees_keep, size
        whole = scale.over(in_channels)
        shape = (1, in_channels, 1, 1, 1)
        # Constants, not weights: a published file does not have them, a checkpoint need not.
        self.register_buffer("mean", torch.tensor(whole.mean).reshape(shape), persistent=False)
        self.register_buffer("std", torch.tensor(whole.std).reshape(shape), persistent=False)

    def forward(self, clip: Tensor, *, keep: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Read a batch of clips.

        Args:
            clip: (B, C, T, H, W) in [0, 1]; T = 1 for a still.
            keep: (B, L, N), bool or in [0, 1], the tubelets that were not dropped. Networks that do
                not read tubelets ignore it: what was dropped is zero in the clip itself.
        """
        logits = self._read(self.net, clip, keep)
        if self.heads is None:
            return logits
        apart = torch.split(logits, list(self.heads.values()), dim=1)
        return dict(zip(self.heads, apart, strict=True))

    def embed(self, clip: Tensor, *, keep: Tensor | None = None) -> Tensor:
        """(B, width): what the head sees, for re-identification and for other heads.

        Args:
            clip: as in `forward`.
            keep: as in `forward`.
        """
        pooled = getattr(self.net, "pooled", None)  # a network of the zoo extra has none
        if pooled is None:
            raise UsageError(
                f"{type(self.net).__name__} gives logits only; embed with another one."
            )
        return self._read(pooled, clip, keep)

    def _read(self, run: Callable[..., Tensor], clip: Tensor, keep: Tensor | None) -> Tensor:
        clip = self._prepared(clip)
        batch, frames = clip.shape[0], clip.shape[2]
        if self.by_frame:
            clip = clip.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
        out = run(clip, keep) if self.sees_keep and keep is not None else run(clip)
        return out.reshape(batch, frames, -1).mean(dim=1) if self.by_frame else out

    def _prepared(self, clip: Tensor) -> Tensor:
        if clip.ndim != 5 or clip.shape[1] != self.in_channels:
            raise UsageError(
                f"This recognizer reads clips (B, {self.in_channels}, T, H, W); "
                f"it was given {tuple(clip.shape)}."
            )
        clip = (clip - self.mean) / self.std
        if self.size is None or clip.shape[3:] == (self.size, self.size):
            return clip
        return _resized(clip, self.size)


def outputs(classes: int | None, heads: Mapping[str, int] | None) -> int:
    """How many logits a network needs for one label of `classes`, or for several `heads`.

    Args:
        classes: of the one label, at least 1.
        heads: classes by label; exactly one of the two is given.
    """
    if (classes is None) == (heads is None):
        raise UsageError("Give a recognizer either classes or heads, one of the two.")
    counts = [classes] if classes is not None else list((heads or {}).values())
    if not counts or min(counts) < 1:
        raise UsageError("A recognizer needs at least one class for each label.")
    return sum(counts)


def _resized(clip: Tensor, size: int) -> Tensor:
    batch, channels, frames = clip.shape[:3]
    flat = clip.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
    # Antialiased, since a frame shrunk without it carries the noise of single pixels.
    flat = F.interpolate(flat, size=(size, size), mode="bilinear", antialias=True)
    return flat.reshape(batch, frames, channels, size, size).transpose(1, 2)

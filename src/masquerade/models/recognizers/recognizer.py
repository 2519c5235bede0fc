"""Recognizer, the contract of networks that read labels off pixels, and its variants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from masquerade.errors import UsageError
from masquerade.models.per_frame import resize_clip
from masquerade.models.vit import VideoViT

NORM_GROUPS = 8
BLACK = 8 / 255  # at most: codecs leave some levels of ringing in what was black


class Normalization(NamedTuple):
    """The mean and standard deviation by which pixels in [0, 1] are standardised, by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def for_channels(self, channels: int) -> Normalization:
        """The same for another number of channels: RGB and flow (5), else flow or grey alone."""
        if channels == len(self.mean):
            return self
        if channels == len(self.mean) + 2:
            return Normalization((*self.mean, *FLOW.mean), (*self.std, *FLOW.std))
        return Normalization(FLOW.mean[:1] * channels, FLOW.std[:1] * channels)


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
KINETICS = Normalization((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
TORCHVISION_VIDEO = Normalization((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))
LANDMARK = Normalization((0.0,) * 3, (1.0,) * 3)  # standardised in the network, joint by joint
FLOW = Normalization((0.5, 0.5), (0.25, 0.25))  # .5 is no motion: see two_stream.flow_to_clip


class Recognizer(nn.Module):
    """Clips (B, C, T, H, W) in [0, 1] to logits (B, classes), or to a dict of them by label.

    Of landmarks H is the joint and W the person, and they are in no range.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,  # in the published state-dict names
        *,
        heads: Mapping[str, int] | None = None,  # outputs by label; None: one label
        normalization: Normalization = IMAGENET,  # of RGB pixels
        in_channels: int = 3,  # of a frame; 2 is optical flow, 5 is RGB and flow
        per_frame: bool = False,  # the network reads frames; logits are averaged (late fusion)
        size: int | None = None,  # side in pixels to which frames are resized
        masks_black: bool = False,  # a network that takes a keep mask drops what is black
    ) -> None:
        super().__init__()
        self.net = net
        self.heads = dict(heads) if heads else None
        self.in_channels, self.per_frame = in_channels, per_frame
        self.takes_keep_mask, self.size = isinstance(net, VideoViT), size  # over its tubelets
        self.masks_black = masks_black
        for name, values in normalization.for_channels(in_channels)._asdict().items():
            constant = torch.tensor(values).reshape(1, in_channels, 1, 1, 1)
            self.register_buffer(name, constant, persistent=False)  # published files lack them

    def extra_repr(self) -> str:
        return (
            f"heads={self.heads}, mean={self.mean.flatten().tolist()}, "
            f"std={self.std.flatten().tolist()}, per_frame={self.per_frame}, size={self.size}, "
            f"masks_black={self.masks_black}"
        )

    def forward(self, clip: Tensor, *, keep: Tensor | None = None) -> Tensor | dict[str, Tensor]:
        """Logits of clips (B, C, T, H, W) in [0, 1]; T = 1 for a still.

        `keep` (B, L, N), bool or in [0, 1], is the keep mask over tubelets, which networks that
        take none ignore (dropped tubelets are zeros in the clip as well).
        """
        logits = self._run(self.net, clip, keep)
        if self.heads is None:
            return logits
        by_label = torch.split(logits, list(self.heads.values()), dim=1)
        return dict(zip(self.heads, by_label, strict=True))

    def embed(self, clip: Tensor) -> Tensor:
        """The features (B, width) before the last layer; `clip` as in `forward`."""
        return self._run(self.net.pooled, clip, None)  # type: ignore[arg-type]

    def _run(self, net: Callable[..., Tensor], clip: Tensor, keep: Tensor | None) -> Tensor:
        if clip.ndim != 5 or clip.shape[1] != self.in_channels:
            raise UsageError(
                f"This recognizer reads clips (B, {self.in_channels}, T, H, W); "
                f"it was given {tuple(clip.shape)}."
            )
        if keep is None and self.masks_black and isinstance(self.net, VideoViT):
            shown = _shown(clip)
            keep = None if shown.all() else _share_of_tubelets(shown, self.net)
        clip = (clip - self.mean) / self.std
        clip = clip if self.size is None else resize_clip(clip, (self.size, self.size))
        batch, frames = clip.shape[0], clip.shape[2]
        if self.per_frame:
            clip = clip.transpose(1, 2).flatten(0, 1)  # (B * T, C, H, W)
        out = net(clip, keep) if self.takes_keep_mask and keep is not None else net(clip)
        return out.reshape(batch, frames, -1).mean(dim=1) if self.per_frame else out


class EmbeddingRecognizer(nn.Module):
    """A recognizer with a projection head in place of its last layer: clips to {name: (B, width)}.

    SPAct's self-supervised adversary (CVPR 2022, 3.2): ResNet-50 without its last layer, then
    2048 - 2048 - 128, a projection head as in SimCLR. `heads` is the one name and the width.
    """

    def __init__(self, trunk: Recognizer, *, heads: Mapping[str, int]) -> None:
        super().__init__()
        features = _remove_head(trunk.net)
        self.trunk, self.heads = trunk, dict(heads)
        ((self.name, width),) = heads.items()
        self.hidden, self.out = nn.Linear(features, features), nn.Linear(features, width)

    def forward(self, clip: Tensor) -> dict[str, Tensor]:
        """(B, C, T, H, W) in [0, 1] to the embedding, not normalised to unit length."""
        return {self.name: self.out(F.relu(self.hidden(self.trunk.embed(clip))))}


def _remove_head(net: nn.Module) -> int:
    """Replace a network's last layer by the identity; returns that layer's input width."""
    names: tuple[str, ...] = getattr(net, "head_names", ())
    layers = [name for name in names if isinstance(net.get_submodule(name), nn.Linear)]
    if len(layers) != 1:
        raise UsageError(f"{type(net).__name__} has no one head to replace by a projection.")
    parent, _, last = layers[0].rpartition(".")
    head = net.get_submodule(layers[0])
    setattr(net.get_submodule(parent) if parent else net, last, nn.Identity())
    return int(head.in_features)  # type: ignore[arg-type]


class MaskedRecognizer(nn.Module):
    """A recognizer bound to the keep mask of the batch it is about to read."""

    def __init__(self, net: Recognizer, keep: Tensor) -> None:
        super().__init__()
        self.net, self.keep = net, keep

    def forward(self, clip: Tensor) -> Tensor | dict[str, Tensor]:
        """Logits of (B, 3, T, H, W) in [0, 1]."""
        return self.net(clip, keep=self.keep)


def with_keep_mask(net: nn.Module, keep: Tensor | None) -> nn.Module:
    """The recognizer bound to a keep mask if it takes one; any other network unchanged.

    `keep` is (B, L, h, w) in [0, 1] over any grid, or over pixels; None: nothing was dropped.
    """
    if keep is None or not isinstance(net, Recognizer) or not isinstance(net.net, VideoViT):
        return net
    return MaskedRecognizer(net, _share_of_tubelets(keep, net.net))


def _share_of_tubelets(keep: Tensor, net: VideoViT) -> Tensor:
    """(B, L, h, w) over any grid, or over pixels, to the share of each tubelet that is kept."""
    share = F.adaptive_avg_pool3d(keep[:, None], net.grid)  # (B, 1, L, h, w)
    return share[:, 0].flatten(2)


def _shown(clip: Tensor) -> Tensor:
    """(B, T, H, W) 0 where a clip (B, C, T, H, W) is black and 1 elsewhere; 1 of one all black."""
    shown = (clip > BLACK).any(dim=1).to(clip.dtype)
    return torch.where(shown.amax((1, 2, 3), keepdim=True) > 0, shown, 1)


def use_group_norm(net: nn.Module) -> nn.Module:
    """Replace a network's batch norms by group norms (Wu and He, ECCV 2018), in place.

    In adversarial training networks change faster than running averages follow: a utility network
    that reads .8 of held-out clips in one epoch reads .1 in the next. Group norms have none. Widths
    that 8 does not divide get one group.
    """
    for name, child in net.named_children():
        if isinstance(child, _BatchNorm):
            groups = 1 if child.num_features % NORM_GROUPS else NORM_GROUPS
            setattr(net, name, nn.GroupNorm(groups, child.num_features))
        else:
            use_group_norm(child)
    return net

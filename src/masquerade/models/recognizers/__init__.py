"""RECOGNIZERS: the networks that read labels off clips, for utility and for privacy attacks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from torch import nn

from masquerade.errors import UsageError
from masquerade.models.mobilenet import MobileNetV1, MobileNetV2
from masquerade.models.mvit import MViT
from masquerade.models.recognizers.modalities import MODALITIES, ModalityRecognizer
from masquerade.models.recognizers.recognizer import (
    IMAGENET,
    KINETICS,
    LANDMARK,
    TORCHVISION_VIDEO,
    EmbeddingRecognizer,
    Normalization,
    Recognizer,
    use_group_norm,
    with_keep_mask,
)
from masquerade.models.recognizers.two_stream import TwoStream
from masquerade.models.resnet import resnet
from masquerade.models.resnet3d import NETWORKS_3D
from masquerade.models.stgcn import LANDMARKS, STGCN
from masquerade.models.tiny3d import Tiny3d
from masquerade.models.vit import FrameViT, VideoViT

__all__ = [
    "RECOGNIZERS",
    "Architecture",
    "EmbeddingRecognizer",
    "Recognizer",
    "Sampling",
    "build_recognizer",
    "use_group_norm",
    "with_keep_mask",
]


class Sampling(NamedTuple):
    """How the papers sample a video for a recognizer."""

    frames: int  # T of a clip
    stride: int  # source frames from one frame of the clip to the next
    size: int  # side of the square crop in pixels; of `st-gcn` the number of landmarks


@dataclass(frozen=True)
class Architecture:
    """A line of RECOGNIZERS; calling it builds the recognizer with fresh weights."""

    network: Callable[..., nn.Module]  # takes `classes` and `in_channels`
    sampling: Sampling
    normalization: Normalization = KINETICS
    per_frame: bool = False  # the network reads single frames, whose logits are averaged
    channels: int = 3  # 2 is optical flow, 5 is RGB and flow, 3 can be changed by `in_channels`
    poses: bool = False  # the network reads sequences of landmarks instead of pixels

    @property
    def modality(self) -> str:
        """What it is fed where nothing else is asked for, in MODALITIES."""
        if self.poses:
            return "poses"
        by_channels = {2: "flow", 5: "frames and flow"}
        return by_channels.get(self.channels, "stills" if self.per_frame else "frames")

    def __call__(
        self,
        *,
        classes: int | None = None,
        heads: Mapping[str, int] | None = None,
        in_channels: int | None = None,
        masks_black: bool = False,
        **arguments: Any,
    ) -> Recognizer:
        """With outputs of one label (`classes`) or by label (`heads`), and network arguments."""
        if (classes is None) == (heads is None):
            raise UsageError("Give a recognizer either classes or heads, one of the two.")
        counts = [classes] if classes is not None else list((heads or {}).values())
        if not counts or min(counts) < 1:
            raise UsageError("A recognizer needs at least one class for each label.")
        channels = in_channels or self.channels
        net = self.network(classes=sum(counts), in_channels=channels, **arguments)
        return Recognizer(
            net,
            heads=heads,
            normalization=self.normalization,
            in_channels=channels,
            per_frame=self.per_frame,
            size=net.shape[1] if isinstance(net, MViT | VideoViT) else None,
            masks_black=masks_black,
        )


# Frame networks are the papers' privacy attackers (Ilic et al., CVPR 2024; SPAct, CVPR 2022).
# Samplings are those of the code of Ilic et al., and of STPrivacy and SPAct (16 frames of 112
# pixels); only X3D-S's 182 pixels differ from the published weights' own (160).
STILL = Sampling(1, 1, 224)
SMALL_CLIP = Sampling(16, 2, 112)
VIT_TI = partial(VideoViT, width=192, attention_heads=3)
RECOGNIZERS: dict[str, Architecture] = {
    "tiny-3d": Architecture(Tiny3d, Sampling(8, 2, 64)),
    "tiny-flow": Architecture(Tiny3d, Sampling(8, 2, 64), channels=2),
    "tiny-2d": Architecture(partial(resnet, 8), Sampling(1, 1, 64), IMAGENET, per_frame=True),
    "resnet-18": Architecture(partial(resnet, 18), STILL, IMAGENET, per_frame=True),
    "resnet-50": Architecture(partial(resnet, 50), STILL, IMAGENET, per_frame=True),
    "resnet-101": Architecture(partial(resnet, 101), STILL, IMAGENET, per_frame=True),
    "mobilenet-v1": Architecture(MobileNetV1, STILL, IMAGENET, per_frame=True),
    "mobilenet-v2": Architecture(MobileNetV2, STILL, IMAGENET, per_frame=True),
    "vit-b-16": Architecture(partial(FrameViT, patch=16), STILL, IMAGENET, per_frame=True),
    "vit-b-32": Architecture(partial(FrameViT, patch=32), STILL, IMAGENET, per_frame=True),
    "c2d-r50": Architecture(NETWORKS_3D["c2d-r50"], Sampling(8, 8, 224)),
    "i3d-r50": Architecture(NETWORKS_3D["i3d-r50"], Sampling(8, 8, 224)),
    "slow-r50": Architecture(NETWORKS_3D["slow-r50"], Sampling(8, 8, 224)),
    "r2plus1d-r50": Architecture(NETWORKS_3D["r2plus1d-r50"], Sampling(16, 4, 224)),
    "csn-r101": Architecture(NETWORKS_3D["csn-r101"], Sampling(32, 2, 224)),
    "x3d-s": Architecture(NETWORKS_3D["x3d-s"], Sampling(13, 6, 182)),
    "x3d-m": Architecture(NETWORKS_3D["x3d-m"], Sampling(16, 5, 224)),
    "x3d-l": Architecture(NETWORKS_3D["x3d-l"], Sampling(16, 5, 312)),
    "slowfast-r50": Architecture(NETWORKS_3D["slowfast-r50"], Sampling(32, 2, 224)),
    "r3d-18": Architecture(NETWORKS_3D["r3d-18"], SMALL_CLIP, TORCHVISION_VIDEO),
    "r3d-18-spact": Architecture(NETWORKS_3D["r3d-18-spact"], SMALL_CLIP, TORCHVISION_VIDEO),
    "r2plus1d-18": Architecture(NETWORKS_3D["r2plus1d-18"], SMALL_CLIP, TORCHVISION_VIDEO),
    "e2s-x3d-s": Architecture(partial(TwoStream, "x3d-s"), Sampling(13, 6, 182), channels=5),
    "e2s-x3d-m": Architecture(partial(TwoStream, "x3d-m"), Sampling(16, 5, 224), channels=5),
    "e2s-x3d-l": Architecture(partial(TwoStream, "x3d-l"), Sampling(16, 5, 312), channels=5),
    "mvit-b": Architecture(MViT, Sampling(16, 4, 224)),
    "vit-s-video": Architecture(VideoViT, SMALL_CLIP, IMAGENET),
    "vit-ti-video": Architecture(VIT_TI, SMALL_CLIP, IMAGENET),
    "st-gcn": Architecture(STGCN, Sampling(24, 4, LANDMARKS), LANDMARK, poses=True),
}
"""By name; a new recognizer is its network's file and a line here."""


def build_recognizer(
    name: str,
    *,
    heads: Mapping[str, int],
    modality: str = "frames",
    widths: tuple[int, ...] | None = None,
    projection: bool = False,
    group_norm: bool = False,
    masks_black: bool = False,
) -> nn.Module:
    """A fresh recognizer of RGB clips (B, 3, T, H, W) in [0, 1], which gives logits by label.

    One of landmarks reads pose sequences (B, 6, T, 33, people) instead.

    Args:
        name: in RECOGNIZERS.
        heads: outputs by label.
        modality: what the network is fed of a clip, in MODALITIES.
        widths: of `tiny-3d`'s convolutions, ignored by the others; None: its own.
        projection: a projection head in place of the last layer, for contrastive losses (SPAct);
            `heads` is then the one name and the width of the embedding.
        group_norm: group norms in place of batch norms, see `use_group_norm`.
        masks_black: whether a network that takes a keep mask leaves out what is black, as STPrivacy
            leaves the tubelets that it drops.

    Raises:
        UsageError: no such recognizer or modality, or one that reads something else.
    """
    if name not in RECOGNIZERS:
        raise UsageError(f"there is no network {name!r}; choose of {', '.join(RECOGNIZERS)}.")
    if modality not in MODALITIES:
        raise UsageError(f"There is no modality {modality!r}; choose of {', '.join(MODALITIES)}.")
    architecture = RECOGNIZERS[name]
    if architecture.channels != 3 and modality != architecture.modality:
        raise UsageError(
            f"{name} reads optical flow, not {modality}; give it {architecture.modality!r}, or "
            "choose another."
        )
    if architecture.poses != (modality == "poses"):
        fed = "landmarks of people" if architecture.poses else "pixels"
        raise UsageError(f"{name} reads {fed}, not {modality}; choose another.")
    own: dict[str, Any] = {"in_channels": MODALITIES[modality].channels}
    if widths and name == "tiny-3d":
        own["widths"] = widths
    if modality == "frames":  # elsewhere 0 is no colour
        own["masks_black"] = masks_black
    net: nn.Module
    if projection:
        net = EmbeddingRecognizer(architecture(classes=1, **own), heads=heads)
    else:
        net = architecture(heads=heads, **own)
    net = use_group_norm(net) if group_norm else net
    return net if modality == "frames" else ModalityRecognizer(net, modality=modality)

"""Recognizers of motion and appearance together: 3-D CNNs and MViT, the papers' action networks."""

from __future__ import annotations

from collections.abc import Mapping

from masquerade.models.mvit import MViT
from masquerade.models.recognizers.recognizer import (
    KINETICS,
    TORCHVISION_VIDEO,
    Recognizer,
    outputs,
)
from masquerade.models.resnet3d import resnet3d
from masquerade.models.tiny3d import Tiny3d


def tiny_3d(
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    in_channels: int = 3,
    widths: tuple[int, ...] = (16, 32, 64),
    dropout: float = 0.0,
) -> Recognizer:
    """The 3-D CNN that learns from scratch in minutes on two cores.

    Args:
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        in_channels: of a frame.
        widths: of each convolution; a fourth one sees further in frames beyond about 64 pixels.
        dropout: before the head.
    """
    count = outputs(classes, heads)
    net = Tiny3d(classes=count, in_channels=in_channels, widths=widths, dropout=dropout)
    return Recognizer(net, heads=heads, scale=KINETICS, in_channels=in_channels)


def clip_recognizer(
    name: str,
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    in_channels: int = 3,
) -> Recognizer:
    """A 3-D ResNet of the published zoos.

    SPAct's R3D-18 (`r3d-18-spact`) reads pixels as torchvision's does.

    Args:
        name: one of `masquerade.models.resnet3d.NAMES`.
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        in_channels: of a frame.
    """
    net = resnet3d(name, classes=outputs(classes, heads), in_channels=in_channels)
    scale = TORCHVISION_VIDEO if "-18" in name else KINETICS
    return Recognizer(net, heads=heads, scale=scale, in_channels=in_channels)


def mvit(
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    in_channels: int = 3,
    frames: int = 16,
    size: int = 224,
) -> Recognizer:
    """MViT-B 16 x 4 (Fan et al., ICCV 2021); frames of another size are resized to its own.

    Args:
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        in_channels: of a frame.
        frames: T of the clips.
        size: side in pixels it works at; published weights want 224.
    """
    net = MViT(classes=outputs(classes, heads), in_channels=in_channels, frames=frames, size=size)
    return Recognizer(net, heads=heads, scale=KINETICS, in_channels=in_channels, size=size)

"""Recognizers of single frames; a clip's logits are the mean of its frames' (late fusion).

What the papers' privacy attackers are: ResNet-18, 50, 101 and ViT-B/16, B/32 (Ilic et al., CVPR
2024), ResNet-50 and MobileNet (SPAct, CVPR 2022). They see no motion, and no order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import nn

from masquerade.models.mobilenet import MobileNetV1, MobileNetV2
from masquerade.models.recognizers.recognizer import IMAGENET, Recognizer, outputs
from masquerade.models.resnet import resnet
from masquerade.models.vit import FrameViT

NETS: dict[str, Callable[..., nn.Module]] = {
    "tiny-2d": partial(resnet, 8),
    "resnet-18": partial(resnet, 18),
    "resnet-50": partial(resnet, 50),
    "resnet-101": partial(resnet, 101),
    "mobilenet-v1": MobileNetV1,
    "mobilenet-v2": MobileNetV2,
    "vit-b-16": partial(FrameViT, patch=16),
    "vit-b-32": partial(FrameViT, patch=32),
}


def frame_recognizer(
    name: str,
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    in_channels: int = 3,
) -> Recognizer:
    """A network that reads each frame by itself.

    Args:
        name: one of `NETS`.
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        in_channels: of a frame.
    """
    net = NETS[name](classes=outputs(classes, heads), in_channels=in_channels)
    return Recognizer(net, heads=heads, scale=IMAGENET, in_channels=in_channels, by_frame=True)

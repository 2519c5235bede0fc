"""Recognizers of motion alone, on optical flow, and of motion beside appearance (E2S-X3D).

Any recognizer reads flow with `in_channels=2`: what it finds is what gait, gesture and outline
tell, whatever was done to the pixels (FACTS 9, attacker A12).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from masquerade.models.recognizers.clips import tiny_3d
from masquerade.models.recognizers.recognizer import KINETICS, Recognizer, outputs
from masquerade.models.resnet3d import resnet3d


def tiny_flow(
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
    widths: tuple[int, ...] = (16, 32, 64),
    dropout: float = 0.0,
) -> Recognizer:
    """`tiny-3d` on two channels of flow.

    Args:
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
        widths: of each convolution.
        dropout: before the head.
    """
    return tiny_3d(classes=classes, heads=heads, in_channels=2, widths=widths, dropout=dropout)


class TwoStreams(nn.Module):
    """An X3D on RGB, one on flow, and a linear layer over the logits of both.

    Our reading of E2S-X3D (Ilic et al., ECCV 2022, and its code): there the flow is drawn in
    colours, three channels; here it is two, and the first layer of a published file is averaged
    over its channels to read it.
    """

    head_names: ClassVar[tuple[str, ...]] = (
        "rgbstream.blocks.5.proj",
        "flowstream.blocks.5.proj",
        "head",
    )

    def __init__(self, name: str, *, classes: int) -> None:
        """
        Args:
            name: of the network of each stream, such as `x3d-s`.
            classes: outputs.
        """
        super().__init__()
        self.rgbstream = resnet3d(name, classes=classes, in_channels=3)
        self.flowstream = resnet3d(name, classes=classes, in_channels=2)
        self.head = nn.Linear(2 * classes, classes)
        with torch.no_grad():  # starts as the mean of both, which already is a late fusion
            half = torch.eye(classes, device=self.head.weight.device) / 2
            self.head.weight.copy_(torch.cat([half, half], dim=1))
            nn.init.zeros_(self.head.bias)

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, 5, T, H, W) -> (B, both widths)."""
        rgb, flow = clip[:, :3], clip[:, 3:]
        return torch.cat([self.rgbstream.pooled(rgb), self.flowstream.pooled(flow)], dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        streams = [self.flowstream(clip[:, 3:]), self.rgbstream(clip[:, :3])]
        return self.head(torch.cat(streams, dim=1))

    def adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """One X3D's weights for both streams; a two-stream file passes unchanged."""
        if any(name.startswith("rgbstream.") for name in weights):
            return weights
        return {
            f"{stream}.{name}": value
            for stream in ("rgbstream", "flowstream")
            for name, value in weights.items()
        }


def e2s(
    name: str,
    *,
    classes: int | None = None,
    heads: Mapping[str, int] | None = None,
) -> Recognizer:
    """E2S-X3D, as we read it; its clips come from `with_flow`.

    Args:
        name: of the network of each stream: `x3d-s`, `x3d-m` or `x3d-l`.
        classes: outputs of the one label.
        heads: outputs by label, instead of `classes`.
    """
    net = TwoStreams(name, classes=outputs(classes, heads))
    return Recognizer(net, heads=heads, scale=KINETICS, in_channels=5)


def flow_to_clip(flow: Tensor, *, reach: float = 0.1) -> Tensor:
    """Optical flow as a clip in [0, 1]: .5 is rest, 0 and 1 are `reach` of the frame in one step.

    Args:
        flow: (B, 2, T, H, W), pixels to the right and down from a frame to the next.
        reach: of the frame's width and height; faster motion is cut off. Two-stream networks cut
            at 20 pixels of 224 (Simonyan & Zisserman, NeurIPS 2014), about a tenth.
    """
    size = flow.new_tensor([flow.shape[4], flow.shape[3]]).reshape(1, 2, 1, 1, 1)
    return (0.5 + flow / (2 * reach * size)).clamp(0, 1)


def with_flow(clip: Tensor, flow: Tensor, *, reach: float = 0.1) -> Tensor:
    """RGB and flow in one clip (B, 5, T, H, W).

    Args:
        clip: (B, 3, T, H, W) in [0, 1].
        flow: (B, 2, T, H, W), or T - 1 frames of it, of which the last is then repeated.
        reach: as in `flow_to_clip`.
    """
    missing = clip.shape[2] - flow.shape[2]
    if missing:
        flow = torch.cat([flow, *[flow[:, :, -1:]] * missing], dim=2)
    return torch.cat([clip, flow_to_clip(flow, reach=reach)], dim=1)

"""E2S-X3D, a recognizer of RGB and optical flow, and optical flow as the channels of a clip.

Ilic et al., "Is Appearance Free Action Recognition Possible?", ECCV 2022, and its code. There flow
is drawn in colours (three channels); here it has two, and the first layer of a published file is
averaged over its channels to read them.
"""

import torch
from torch import Tensor, nn

from masquerade.models.resnet3d import NETWORKS_3D

# share of the frame; two-stream networks clip at 20 pixels of 224 (Simonyan & Zisserman, 2014)
FLOW_LIMIT = 0.1


class TwoStream(nn.Module):
    """An X3D (`name`) on RGB, one on flow, and a linear layer over the logits of both."""

    head_names = ("rgbstream.blocks.5.proj", "flowstream.blocks.5.proj", "head")

    def __init__(self, name: str, *, classes: int, in_channels: int = 5) -> None:
        super().__init__()
        self.rgbstream = NETWORKS_3D[name](classes=classes, in_channels=3)
        self.flowstream = NETWORKS_3D[name](classes=classes, in_channels=in_channels - 3)
        self.head = nn.Linear(2 * classes, classes)
        with torch.no_grad():  # begins as the mean of both streams' logits (late fusion)
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
        return {f"{s}.{n}": v for s in ("rgbstream", "flowstream") for n, v in weights.items()}


def flow_to_clip(flow: Tensor) -> Tensor:
    """Scale optical flow to [0, 1]: .5 is no motion, 0 and 1 a tenth of the frame in one step.

    `flow` (B, 2, T, H, W) is in pixels to the right and down from a frame to the next; faster
    motion is clipped.
    """
    size = flow.new_tensor([flow.shape[4], flow.shape[3]]).reshape(1, 2, 1, 1, 1)
    return (0.5 + flow / (2 * FLOW_LIMIT * size)).clamp(0, 1)


def with_flow(clip: Tensor, flow: Tensor) -> Tensor:
    """RGB and flow in one clip (B, 5, T, H, W), `flow_to_clip` of (B, 2, T, H, W).

    Of T - 1 frames of flow the last is repeated.
    """
    missing = clip.shape[2] - flow.shape[2]
    if missing:
        flow = torch.cat([flow, *[flow[:, :, -1:]] * missing], dim=2)
    return torch.cat([clip, flow_to_clip(flow)], dim=1)

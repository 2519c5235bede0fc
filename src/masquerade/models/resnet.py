"""ResNets for single frames, in torchvision's state-dict names (He et al., CVPR 2016).

The tiny one (depth 8) has three stages of one basic block, 16-32-64 wide, and a 3 x 3 stem.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.building_blocks import ConvNet, conv2d, init_convolutions


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut."""

    expansion = 1

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv2d(width_in, width, 3, stride=stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv2d(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(width_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 (which has the stride), 1 x 1 to four times the width, and a shortcut."""

    expansion = 4

    def __init__(self, width_in: int, width: int, *, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv2d(width_in, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv2d(width, width, 3, stride=stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv2d(width, 4 * width, 1)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = _shortcut(width_in, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        return F.relu(self.bn3(self.conv3(out)) + self.downsample(x))


class ResNet(ConvNet):
    """Frames (B, C, H, W) to logits (B, classes); 0 classes: features only.

    `small` is a 3 x 3 stem without pooling, for frames of about 32 to 64 pixels.
    """

    head_names = ("fc",)

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock,
        depths: tuple[int, ...] = (2, 2, 2, 2),
        widths: tuple[int, ...] = (64, 128, 256, 512),
        small: bool = False,
    ) -> None:
        super().__init__()
        width_in = widths[0]
        self.small = small
        self.conv1 = conv2d(in_channels, width_in, 3 if small else 7, stride=2)
        self.bn1 = nn.BatchNorm2d(width_in)
        self.relu = nn.ReLU()
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
        for index, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            steps: list[nn.Module] = []
            for place in range(depth):
                steps.append(block(width_in, width, stride=2 if index and not place else 1))
                width_in = width * block.expansion
            self.add_module(f"layer{index + 1}", nn.Sequential(*steps))
        self.width = width_in
        self.fc = nn.Linear(width_in, classes) if classes else nn.Identity()
        init_convolutions(self)

    def stages(self, x: Tensor) -> Tensor:
        # Faster on a CPU where channels are few, but slower where they are many; and group norms
        # round more so.
        if self.small and x.device.type == "cpu" and isinstance(self.bn1, nn.BatchNorm2d):
            x = x.contiguous(memory_format=torch.channels_last)
        return super().stages(x)


def resnet(depth: int, *, classes: int, in_channels: int = 3) -> ResNet:
    """ResNet-18, 50 or 101, or the tiny one (depth 8)."""
    build = partial(ResNet, classes=classes, in_channels=in_channels)
    if depth == 8:
        return build(depths=(1, 1, 1), widths=(16, 32, 64), small=True)
    block: type[BasicBlock] | type[Bottleneck] = BasicBlock if depth == 18 else Bottleneck
    depths = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]
    return build(block=block, depths=depths)


def _shortcut(width_in: int, width: int, stride: int) -> nn.Sequential:
    if width_in == width and stride == 1:
        return nn.Sequential()  # the identity
    return nn.Sequential(conv2d(width_in, width, 1, stride=stride), nn.BatchNorm2d(width))

"""MobileNet V1 and V2 for single frames.

V1 (Howard et al., 2017) in the state-dict names of SPAct's attacker; V2 (Sandler et al., CVPR 2018)
in torchvision's.
"""

from torch import Tensor, nn

from masquerade.models.building_blocks import ConvNet, conv2d, init_convolutions

V1_LAYERS = (
    ((32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2))
    + ((512, 512, 1),) * 5
    + ((512, 1024, 2), (1024, 1024, 1))
)
"""Width in, width out, stride of each depthwise-separable layer."""

V2_STAGES = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Expansion, width, depth, first stride of each stage (Table 2 of the paper)."""


class MobileNetV1(ConvNet):
    """Frames (B, C, H, W) to logits (B, classes)."""

    head_names = ("fc",)
    width = 1024

    def __init__(self, *, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        layers = [nn.Sequential(*_conv(in_channels, 32, stride=2), nn.ReLU())]
        for width_in, width, stride in V1_LAYERS:
            depthwise = _conv(width_in, width_in, stride=stride, groups=width_in)
            pointwise = _conv(width_in, width, kernel=1)
            layers.append(nn.Sequential(*depthwise, nn.ReLU(), *pointwise, nn.ReLU()))
        self.model = nn.Sequential(*layers)
        self.fc = nn.Linear(self.width, classes)
        init_convolutions(self)


class InvertedResidual(nn.Module):
    """Expand, convolve depthwise, project linearly; a shortcut where shapes agree."""

    def __init__(self, width_in: int, width: int, *, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width_in * expansion
        steps: list[nn.Module] = []
        if expansion > 1:
            steps.append(nn.Sequential(*_conv(width_in, inner, kernel=1), nn.ReLU6()))
        steps.append(nn.Sequential(*_conv(inner, inner, stride=stride, groups=inner), nn.ReLU6()))
        self.conv = nn.Sequential(*steps, *_conv(inner, width, kernel=1))
        self.adds = stride == 1 and width_in == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.adds else self.conv(x)


class MobileNetV2(ConvNet):
    """Frames (B, C, H, W) to logits (B, classes)."""

    head_names = ("classifier.1",)
    width = 1280

    def __init__(self, *, classes: int, in_channels: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Sequential(*_conv(in_channels, 32, stride=2), nn.ReLU6())]
        width_in = 32
        for expansion, width, depth, stride in V2_STAGES:
            for place in range(depth):
                step = 1 if place else stride
                layers.append(InvertedResidual(width_in, width, stride=step, expansion=expansion))
                width_in = width
        layers.append(nn.Sequential(*_conv(width_in, self.width, kernel=1), nn.ReLU6()))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.width, classes))
        init_convolutions(self)


def _conv(
    width_in: int, width: int, *, kernel: int = 3, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    conv = conv2d(width_in, width, kernel, stride=stride, groups=groups)
    return conv, nn.BatchNorm2d(width)

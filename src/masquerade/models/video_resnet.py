"""R3D-18 and R(2+1)D-18 in torchvision's state-dict names (Tran et al., CVPR 2018).

SPAct's action network (CVPR 2022) is an R3D-18 whose last stage keeps the time axis: `keep_time`.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.resnet import init_convolutions

Kind = Literal["r3d", "r2plus1d"]
WIDTHS = (64, 128, 256, 512)


class BasicBlock3d(nn.Module):
    """Two convolutions over space and time and a shortcut."""

    def __init__(
        self, width_in: int, width: int, *, kind: Kind, stride: int = 1, keep_time: bool = False
    ) -> None:
        super().__init__()
        inner = width_in * width * 27 // (width_in * 9 + 3 * width)
        first = _conv(kind, width_in, width, inner=inner, stride=stride, keep_time=keep_time)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(width))
        self.conv2 = nn.Sequential(_conv(kind, width, width, inner=inner), nn.BatchNorm3d(width))
        self.downsample = nn.Sequential()  # the identity
        if stride > 1 or width_in != width:
            steps = (1 if keep_time else stride, stride, stride)
            self.downsample = nn.Sequential(
                nn.Conv3d(width_in, width, 1, stride=steps, bias=False), nn.BatchNorm3d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.downsample(x))


class VideoResNet(nn.Module):
    """Clips (B, C, T, H, W) to logits (B, classes).

    With SPAct's `keep_time` the last stage does not halve time, its first convolution is dilated by
    two instead; the parameters are the same.
    """

    head_names: ClassVar[tuple[str, ...]] = ("fc",)
    width: ClassVar[int] = 512

    def __init__(
        self, *, classes: int, in_channels: int = 3, kind: Kind = "r3d", keep_time: bool = False
    ) -> None:
        super().__init__()
        self.stem = _stem(kind, in_channels)
        width_in = WIDTHS[0]
        for index, width in enumerate(WIDTHS):
            stride = 2 if index else 1
            edit = keep_time and index == 3
            first = BasicBlock3d(width_in, width, kind=kind, stride=stride, keep_time=edit)
            second = BasicBlock3d(width, width, kind=kind)
            self.add_module(f"layer{index + 1}", nn.Sequential(first, second))
            width_in = width
        self.fc = nn.Linear(self.width, classes) if classes else nn.Identity()
        init_convolutions(self)

    def stages(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 512, T', H', W'), the last stage's output."""
        x = self.stem(clip)
        for index in range(len(WIDTHS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, 512)."""
        return self.stages(clip).mean(dim=(2, 3, 4))

    def forward(self, clip: Tensor) -> Tensor:
        return self.fc(self.pooled(clip))


def _stem(kind: Kind, in_channels: int) -> nn.Sequential:
    if kind != "r2plus1d":
        conv = nn.Conv3d(in_channels, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        return nn.Sequential(conv, nn.BatchNorm3d(64), nn.ReLU())
    space = nn.Conv3d(in_channels, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False)
    time = nn.Conv3d(45, 64, (3, 1, 1), 1, (1, 0, 0), bias=False)
    return nn.Sequential(space, nn.BatchNorm3d(45), nn.ReLU(), time, nn.BatchNorm3d(64), nn.ReLU())


def _conv(
    kind: Kind, width_in: int, width: int, *, inner: int, stride: int = 1, keep_time: bool = False
) -> nn.Module:
    if kind == "r2plus1d":
        space = nn.Conv3d(width_in, inner, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
        time = nn.Conv3d(inner, width, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False)
        return nn.Sequential(space, nn.BatchNorm3d(inner), nn.ReLU(), time)
    if keep_time:
        steps, dilation = (1, stride, stride), (2, 1, 1)
        return nn.Conv3d(width_in, width, 3, steps, dilation, dilation=dilation, bias=False)
    return nn.Conv3d(width_in, width, 3, stride, 1, bias=False)

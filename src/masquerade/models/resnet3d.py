"""The 3-D ResNets of action recognition from one table, in their published state-dict names.

C2D, I3D (Carreira & Zisserman, CVPR 2017, as a ResNet-50), Slow and SlowFast (Feichtenhofer et al.,
ICCV 2019), R(2+1)D-50 (Tran et al., CVPR 2018), CSN (Tran et al., ICCV 2019), X3D (Feichtenhofer,
CVPR 2020) in PyTorchVideo's names; R3D-18 and R(2+1)D-18 (Tran et al., CVPR 2018) in torchvision's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.building_blocks import ConvNet, Triple, conv3d, init_convolutions, named

ConvKind = Literal["spatial", "2plus1d", "depthwise", "x3d"]
"""The middle convolution of a bottleneck: 1 x 3 x 3; 3 x 1 x 1 then 1 x 3 x 3 (R(2+1)D); depthwise
3 x 3 x 3 (CSN); the same with squeeze-and-excitation and swish (X3D)."""


@dataclass(frozen=True, kw_only=True)
class ResNet3dConfig:
    """The numbers that make up one of these networks; each tuple has one entry a stage."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    stem: int = 64  # width
    stem_time: int = 1  # frames of its convolution
    stem_pool: bool = True
    inner: tuple[int, ...] = (64, 128, 256, 512)
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    times_a: tuple[tuple[int, ...], ...] = ((1,), (1,), (3,), (3,))
    """Frames of the first convolution of a block, taken in turn by the blocks."""
    middle: ConvKind = "spatial"
    strides: tuple[tuple[int, int], ...] = ((1, 1), (1, 2), (1, 2), (1, 2))  # in time and in space
    excitation: tuple[int, ...] = (0, 0, 0, 0)  # inner widths of squeeze-and-excitation
    pool_time: bool = False  # time is halved after the first stage
    project: int = 0  # width of X3D's projected pooling; 0: neither it nor X3D's stem
    dropout: float = 0.5

    def stride(self, stage: int, block: int) -> Triple:
        """In time, rows and columns; a stage's first block has it."""
        time, space = (1, 1) if block else self.strides[stage]
        return time, space, space


Kind = Literal["r3d", "r2plus1d"]
ALPHA = 4  # SlowFast's ratio of frame rates
SLOW = ResNet3dConfig()
FAST = ResNet3dConfig(
    stem=8, stem_time=5, inner=(8, 16, 32, 64), widths=(32, 64, 128, 256), times_a=((3,),) * 4
)
X3D = ResNet3dConfig(
    depths=(3, 5, 11, 7),
    stem=24,
    stem_time=5,
    stem_pool=False,
    inner=(54, 108, 216, 432),
    widths=(24, 48, 96, 192),
    times_a=((1,),) * 4,
    middle="x3d",
    strides=((1, 2),) * 4,
    excitation=(8, 8, 16, 32),
    project=2048,
)
CONFIGS: dict[str, ResNet3dConfig] = {
    "c2d-r50": ResNet3dConfig(times_a=((1,),) * 4, pool_time=True),
    "i3d-r50": ResNet3dConfig(stem_time=5, times_a=((3,), (3, 1), (3, 1), (1, 3)), pool_time=True),
    "slow-r50": SLOW,
    "r2plus1d-r50": ResNet3dConfig(
        stem_pool=False,
        times_a=((1,),) * 4,
        middle="2plus1d",
        strides=((1, 2), (1, 2), (2, 2), (2, 2)),
    ),
    "csn-r101": ResNet3dConfig(
        depths=(3, 4, 23, 3),
        stem_time=3,
        times_a=((1,),) * 4,
        middle="depthwise",
        strides=((1, 1), (2, 2), (2, 2), (2, 2)),
        dropout=0.0,
    ),
    "x3d-s": X3D,
    "x3d-m": X3D,  # the same network on longer and larger clips
    "x3d-l": replace(X3D, depths=(5, 10, 25, 15)),
}


class Conv2plus1d(nn.Module):
    """Convolution over time, then over space; X3D's stem swaps them under the same names."""

    def __init__(self, *, conv_t: nn.Module, conv_xy: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.conv_t, self.conv_xy, self.norm = conv_t, conv_xy, norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_t(x)
        return self.conv_xy(x if self.norm is None else F.relu(self.norm(x)))


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation: channels weighted by their means (Hu et al., CVPR 2018)."""

    def __init__(self, *, width: int, inner: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(width, inner, 1), nn.ReLU(), nn.Conv3d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x.mean(dim=(2, 3, 4), keepdim=True))


def _stem(config: ResNet3dConfig, in_channels: int) -> nn.Sequential:
    """Return a convolution, a norm and, but for X3D, a max pooling over space."""
    time, width = config.stem_time, config.stem
    conv: nn.Module
    if config.project:
        over_space = conv3d(in_channels, width, (1, 3, 3), (1, 2, 2))
        over_time = conv3d(width, width, (time, 1, 1), groups=width)
        conv = Conv2plus1d(conv_t=over_space, conv_xy=over_time, norm=None)  # sic: PyTorchVideo's
    else:
        conv = conv3d(in_channels, width, (time, 7, 7), (1, 2, 2))
    pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if config.stem_pool else nn.Identity()
    return named(conv=conv, norm=nn.BatchNorm3d(width), act=nn.ReLU(), pool=pool)


def _bottleneck(config: ResNet3dConfig, stage: int, block: int, width_in: int) -> nn.Sequential:
    """Return a bottleneck: 1 x 1 (over some frames), the middle convolution, 1 x 1 x 1."""
    inner, width, times = config.inner[stage], config.widths[stage], config.times_a[stage]
    swish = config.middle == "x3d"
    conv_a = conv3d(width_in, inner, (times[block % len(times)], 1, 1))
    conv_b = _middle(config.middle, inner, config.stride(stage, block))
    norm_b: nn.Module = nn.BatchNorm3d(inner)
    if swish:
        excitation = 0 if block % 2 else config.excitation[stage]  # in every second block
        identity = nn.Identity()
        extra = SqueezeExcitation(width=inner, inner=excitation) if excitation else identity
        norm_b = nn.Sequential(norm_b, extra)
    return named(
        conv_a=conv_a,
        norm_a=nn.BatchNorm3d(inner),
        act_a=nn.ReLU(),
        conv_b=conv_b,
        norm_b=norm_b,
        act_b=nn.SiLU() if swish else nn.ReLU(),
        conv_c=conv3d(inner, width, (1, 1, 1)),
        norm_c=nn.BatchNorm3d(width),
    )


def _middle(kind: ConvKind, width: int, stride: Triple) -> nn.Module:
    if kind == "spatial":
        return conv3d(width, width, (1, 3, 3), stride)
    if kind == "2plus1d":
        over_time = conv3d(width, width, (3, 1, 1), (stride[0], 1, 1))
        over_space = conv3d(width, width, (1, 3, 3), (1, *stride[1:]))
        return Conv2plus1d(conv_t=over_time, conv_xy=over_space, norm=nn.BatchNorm3d(width))
    return conv3d(width, width, (3, 3, 3), stride, groups=width)


class ResBlock(nn.Module):
    """A bottleneck, `branch2`, and a shortcut, which is a convolution where the shape changes."""

    def __init__(self, config: ResNet3dConfig, stage: int, block: int, *, width_in: int) -> None:
        super().__init__()
        width, stride = config.widths[stage], config.stride(stage, block)
        branch2 = _bottleneck(config, stage, block, width_in)
        self.branch1_conv: nn.Module | None = None
        self.branch1_norm: nn.Module | None = None
        if width_in != width or max(stride) > 1:
            self.branch1_conv = conv3d(width_in, width, (1, 1, 1), stride)
            bare = config.middle == "x3d" and width_in == width  # as X3D's first stage
            self.branch1_norm = None if bare else nn.BatchNorm3d(width)
        self.branch2 = branch2

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.branch1_conv is None else self.branch1_conv(x)
        skip = skip if self.branch1_norm is None else self.branch1_norm(skip)
        return F.relu(skip + self.branch2(x))


def residual_stage(config: ResNet3dConfig, stage: int, *, width_in: int) -> nn.Sequential:
    """Return residual blocks of one width, the first of which has the stride."""
    widths = (width_in, *[config.widths[stage]] * (config.depths[stage] - 1))
    blocks = [ResBlock(config, stage, at, width_in=width) for at, width in enumerate(widths)]
    return named(res_blocks=nn.Sequential(*blocks))


def _stem_and_stages(
    config: ResNet3dConfig, in_channels: int, fused: tuple[int, ...] = (0,) * 5
) -> list[nn.Module]:
    """Return the stem and the four stages; `fused` channels are added to the input of each."""
    widths = [own + more for own, more in zip((config.stem, *config.widths), fused, strict=True)]
    stages = [residual_stage(config, at, width_in=widths[at]) for at in range(len(config.widths))]
    return [_stem(config, in_channels), *stages]


def _projected_pool(*, width_in: int, inner: int, width: int) -> nn.Sequential:
    """Return X3D's pooling: a wider convolution, the mean over the clip, a wider one again."""
    return named(
        pre_conv=conv3d(width_in, inner, (1, 1, 1)),
        pre_norm=nn.BatchNorm3d(inner),
        pre_act=nn.ReLU(),
        mean=nn.AdaptiveAvgPool3d(1),
        post_conv=conv3d(inner, width, (1, 1, 1)),
        post_act=nn.ReLU(),
        flatten=nn.Flatten(),
    )


class Head(nn.Module):
    """The mean over the clip, dropout, one linear layer.

    PyTorchVideo applies the layer to windows and averages afterwards, which is the same for clips
    of its own size.
    """

    def __init__(
        self, *, width: int, classes: int, dropout: float, pool: nn.Module | None = None
    ) -> None:
        super().__init__()
        self.pool, self.dropout = pool, dropout
        self.proj = nn.Linear(width, classes) if classes else nn.Identity()

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"

    def pooled(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        return x.mean(dim=(2, 3, 4)) if self.pool is None else self.pool(x)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.proj(F.dropout(pooled, self.dropout, self.training))


def init_residual(net: nn.Module) -> None:
    """PyTorchVideo's initialisation: blocks begin as their shortcuts, the head near zero."""
    init_convolutions(net)
    for name, module in net.named_modules():
        if name.endswith("norm_c"):
            nn.init.zeros_(cast(nn.BatchNorm3d, module).weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def subsample_frames(clip: Tensor, alpha: int) -> Tensor:
    """One frame of (B, C, T, H, W) in `alpha`, evenly from the first to the last (SlowFast)."""
    count = -(-clip.shape[2] // alpha)  # rounded up, as the strided fusion rounds
    # float64, since linspace in float32 ends just below an integer, which floors to another frame.
    at = torch.linspace(0, clip.shape[2] - 1, count, dtype=torch.float64).long()
    return clip.index_select(2, at.to(clip.device))


class ResNet3d(nn.Module):
    """Clips (B, C, T, H, W) to logits (B, classes)."""

    def __init__(self, config: ResNet3dConfig, *, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        stages = _stem_and_stages(config, in_channels)
        if config.pool_time:
            stages.insert(2, _HalveTime())
        width_in, inner, project = config.widths[-1], config.inner[-1], config.project
        self.width = project or width_in
        pool = _projected_pool(width_in=width_in, inner=inner, width=project) if project else None
        head = Head(width=self.width, classes=classes, dropout=config.dropout, pool=pool)
        self.blocks = nn.ModuleList([*stages, head])
        self.head_names = (f"blocks.{len(self.blocks) - 1}.proj",)
        init_residual(self)

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        for stage in self.blocks[:-1]:
            clip = stage(clip)
        return cast(Head, self.blocks[-1]).pooled(clip)

    def forward(self, clip: Tensor) -> Tensor:
        return self.blocks[-1](self.pooled(clip))


class SlowFast(nn.Module):
    """A slow pathway of few frames and many channels and a fast one, fused after each stage."""

    head_names: tuple[str, ...] = ("blocks.6.proj",)

    def __init__(self, *, classes: int, in_channels: int = 3) -> None:
        super().__init__()
        self.width = SLOW.widths[-1] + FAST.widths[-1]
        outs = (FAST.stem, *FAST.widths)
        fused = tuple(2 * width for width in outs)  # channels added to the slow pathway
        slows = _stem_and_stages(SLOW, in_channels, fused)
        fasts = _stem_and_stages(FAST, in_channels)
        fusions = [*(_fusion(width) for width in outs[:-1]), None]
        pairs = [Pathways(a, b, fusion) for a, b, fusion in zip(slows, fasts, fusions, strict=True)]
        head = Head(width=self.width, classes=classes, dropout=SLOW.dropout)
        self.blocks = nn.ModuleList([*pairs, nn.Identity(), head])  # 5: PyTorchVideo's pooling
        init_residual(self)

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        pair = (subsample_frames(clip, ALPHA), clip)
        for block in self.blocks[:-2]:
            pair = block(pair)
        return torch.cat([path.mean(dim=(2, 3, 4)) for path in pair], dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        return self.blocks[-1](self.pooled(clip))


def _fusion(width: int) -> nn.Sequential:
    """Return the connection from fast to slow: a convolution over time, twice as wide."""
    conv = conv3d(width, 2 * width, (7, 1, 1), (ALPHA, 1, 1))
    return named(conv_fast_to_slow=conv, norm=nn.BatchNorm3d(2 * width), act=nn.ReLU())


class Pathways(nn.Module):
    """One stage of both pathways and the fusion after it."""

    def __init__(self, slow: nn.Module, fast: nn.Module, fusion: nn.Module | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        slow = self.multipathway_blocks[0](pair[0])
        fast = self.multipathway_blocks[1](pair[1])
        if self.multipathway_fusion is not None:
            slow = torch.cat([slow, self.multipathway_fusion(fast)], dim=1)
        return slow, fast


class BasicBlock3d(nn.Module):
    """Two convolutions over space and time and a shortcut; the first may be dilated in time."""

    def __init__(
        self,
        width_in: int,
        width: int,
        *,
        kind: Kind,
        stride: Triple = (1, 1, 1),
        dilation: int = 1,
    ) -> None:
        super().__init__()
        inner = width_in * width * 27 // (width_in * 9 + 3 * width)
        first = _conv(kind, width_in, width, inner=inner, stride=stride, dilation=dilation)
        self.conv1 = nn.Sequential(first, nn.BatchNorm3d(width))
        self.conv2 = nn.Sequential(_conv(kind, width, width, inner=inner), nn.BatchNorm3d(width))
        self.downsample = nn.Sequential()  # the identity
        if max(stride) > 1 or width_in != width:
            conv = conv3d(width_in, width, (1, 1, 1), stride)
            self.downsample = nn.Sequential(conv, nn.BatchNorm3d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.downsample(x))


class VideoResNet(ConvNet):
    """R3D-18 or R(2+1)D-18: clips (B, C, T, H, W) to logits (B, classes).

    With SPAct's `keep_time` (CVPR 2022) the last stage does not halve time, its first convolution
    is dilated by two instead; the parameters are the same.
    """

    head_names = ("fc",)
    width = 512

    def __init__(
        self, *, classes: int, in_channels: int = 3, kind: Kind = "r3d", keep_time: bool = False
    ) -> None:
        super().__init__()
        if kind == "r3d":
            self.stem = _conv_norm_relu(in_channels, 64, (3, 7, 7), (1, 2, 2))
        else:
            space = _conv_norm_relu(in_channels, 45, (1, 7, 7), (1, 2, 2))
            self.stem = nn.Sequential(*space, *_conv_norm_relu(45, 64, (3, 1, 1)))
        width_in = 64
        for index, width in enumerate((64, 128, 256, 512)):
            keeps, step = keep_time and index == 3, 2 if index else 1
            stride, dilation = (1 if keeps else step, step, step), 2 if keeps else 1
            first = BasicBlock3d(width_in, width, kind=kind, stride=stride, dilation=dilation)
            second = BasicBlock3d(width, width, kind=kind)
            self.add_module(f"layer{index + 1}", nn.Sequential(first, second))
            width_in = width
        self.fc = nn.Linear(self.width, classes) if classes else nn.Identity()
        init_convolutions(self)


def _conv_norm_relu(
    width_in: int, width: int, kernel: Triple, stride: Triple = (1, 1, 1)
) -> nn.Sequential:
    conv = conv3d(width_in, width, kernel, stride)
    return nn.Sequential(conv, nn.BatchNorm3d(width), nn.ReLU())


def _conv(
    kind: Kind,
    width_in: int,
    width: int,
    *,
    inner: int,
    stride: Triple = (1, 1, 1),
    dilation: int = 1,
) -> nn.Module:
    if kind == "r2plus1d":
        space = _conv_norm_relu(width_in, inner, (1, 3, 3), (1, *stride[1:]))
        return nn.Sequential(*space, conv3d(inner, width, (3, 1, 1), (stride[0], 1, 1)))
    pad = (dilation, 1, 1)
    return nn.Conv3d(width_in, width, 3, stride, pad, dilation=pad, bias=False)


Net3d = ResNet3d | SlowFast | VideoResNet


class _HalveTime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(x, (2, 1, 1)) if x.shape[2] > 1 else x


NETWORKS_3D: dict[str, Callable[..., Net3d]] = {
    **{name: partial(ResNet3d, config) for name, config in CONFIGS.items()},
    "slowfast-r50": SlowFast,
    "r3d-18": partial(VideoResNet, kind="r3d"),
    "r3d-18-spact": partial(VideoResNet, kind="r3d", keep_time=True),
    "r2plus1d-18": partial(VideoResNet, kind="r2plus1d"),
}
"""Each takes `classes` (0: features only) and `in_channels` (3 for RGB, 2 for optical flow)."""

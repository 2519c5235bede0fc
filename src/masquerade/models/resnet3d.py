"""The 3-D ResNets of action recognition from one table, with the names of their published weights.

C2D, I3D (Carreira & Zisserman, CVPR 2017, as a ResNet-50), Slow and SlowFast (Feichtenhofer et al.,
ICCV 2019), R(2+1)D-50 (Tran et al., CVPR 2018), CSN (Tran et al., ICCV 2019), X3D (Feichtenhofer,
CVPR 2020) as in PyTorchVideo's zoo; R3D-18 and R(2+1)D-18 as in torchvision.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.bottleneck3d import (
    Head,
    Middle,
    Projection,
    SplitConv,
    Stage,
    Stem,
    every,
    init_residual,
)
from masquerade.models.video_resnet import VideoResNet


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What one of these networks is, in numbers; each tuple has one entry a stage."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    stem: int = 64
    """Width of the stem."""
    stem_time: int = 1
    """Frames the stem sees."""
    stem_pool: bool = True
    inner: tuple[int, ...] = (64, 128, 256, 512)
    widths: tuple[int, ...] = (256, 512, 1024, 2048)
    times_a: tuple[tuple[int, ...], ...] = ((1,), (1,), (3,), (3,))
    """Frames that the first convolution of a block sees, taken in turn by the blocks."""
    middle: Middle = "space"
    strides: tuple[tuple[int, int], ...] = ((1, 1), (1, 2), (1, 2), (1, 2))
    """In time and in space."""
    excite: tuple[int, ...] = (0, 0, 0, 0)
    pool_time: bool = False
    """Whether time is halved after the first stage."""
    project: int = 0
    """Width of X3D's projection; 0: none, and none of X3D's stem."""
    dropout: float = 0.5


SLOW = Plan()
FAST = Plan(
    stem=8,
    stem_time=5,
    inner=(8, 16, 32, 64),
    widths=(32, 64, 128, 256),
    times_a=((3,),) * 4,
)
X3D = Plan(
    depths=(3, 5, 11, 7),
    stem=24,
    stem_time=5,
    stem_pool=False,
    inner=(54, 108, 216, 432),
    widths=(24, 48, 96, 192),
    times_a=((1,),) * 4,
    middle="excited",
    strides=((1, 2),) * 4,
    excite=(8, 8, 16, 32),
    project=2048,
)
PLANS: dict[str, Plan] = {
    "c2d-r50": Plan(times_a=((1,),) * 4, pool_time=True),
    "i3d-r50": Plan(stem_time=5, times_a=((3,), (3, 1), (3, 1), (1, 3)), pool_time=True),
    "slow-r50": SLOW,
    "r2plus1d-r50": Plan(
        stem_pool=False,
        times_a=((1,),) * 4,
        middle="split",
        strides=((1, 2), (1, 2), (2, 2), (2, 2)),
    ),
    "csn-r101": Plan(
        depths=(3, 4, 23, 3),
        stem_time=3,
        times_a=((1,),) * 4,
        middle="channels",
        strides=((1, 1), (2, 2), (2, 2), (2, 2)),
        dropout=0.0,
    ),
    "x3d-s": X3D,
    "x3d-m": X3D,  # the same network on longer and larger clips
    "x3d-l": replace(X3D, depths=(5, 10, 25, 15)),
}


class ResNet3d(nn.Module):
    """Clips (B, C, T, H, W) to logits (B, classes), after a plan."""

    def __init__(self, plan: Plan, *, classes: int, in_channels: int = 3) -> None:
        """
        Args:
            plan: one of `PLANS`, or your own.
            classes: outputs; 0: features only.
            in_channels: of a frame.
        """
        super().__init__()
        stages = _stages(plan, plan.stem)
        if plan.pool_time:
            stages.insert(1, _HalveTime())
        head = _head(plan, classes)
        self.width = plan.project or plan.widths[-1]
        self.blocks = nn.ModuleList([_stem(plan, in_channels), *stages, head])
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
    """Two of these: few frames and many channels, many frames and few, joined after each stage."""

    head_names: tuple[str, ...] = ("blocks.6.proj",)

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        slow: Plan = SLOW,
        fast: Plan = FAST,
        alpha: int = 4,
        fusion_time: int = 7,
    ) -> None:
        """
        Args:
            classes: outputs; 0: features only.
            in_channels: of a frame.
            slow: the path that sees one frame in `alpha`.
            fast: the path that sees them all.
            alpha: ratio of the frame rates.
            fusion_time: frames that the convolution from fast to slow sees.
        """
        super().__init__()
        self.alpha = alpha
        self.width = slow.widths[-1] + fast.widths[-1]
        outs = (fast.stem, *fast.widths)
        ins = tuple(2 * width for width in outs)  # fused channels that join the slow path
        slows = [_stem(slow, in_channels), *_stages(slow, slow.stem, joined=ins)]
        fasts = [_stem(fast, in_channels), *_stages(fast, fast.stem)]
        fusions = [Fusion(width=width, time=fusion_time, alpha=alpha) for width in outs[:-1]]
        pairs = [
            Paths(slow=a, fast=b, fusion=fusion)
            for a, b, fusion in zip(slows, fasts, [*fusions, None], strict=True)
        ]
        head = Head(width=self.width, classes=classes, dropout=slow.dropout)
        self.blocks = nn.ModuleList([*pairs, nn.Identity(), head])  # 5: where the zoo pools
        init_residual(self)

    def pooled(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        pair = (every(clip, self.alpha), clip)
        for block in self.blocks[:-2]:
            pair = block(pair)
        return torch.cat([path.mean(dim=(2, 3, 4)) for path in pair], dim=1)

    def forward(self, clip: Tensor) -> Tensor:
        return self.blocks[-1](self.pooled(clip))


class Fusion(nn.Module):
    """What the fast path tells the slow one: a convolution over time, twice as wide."""

    def __init__(self, *, width: int, time: int, alpha: int) -> None:
        super().__init__()
        self.conv_fast_to_slow = nn.Conv3d(
            width, 2 * width, (time, 1, 1), (alpha, 1, 1), (time // 2, 0, 0), bias=False
        )
        self.norm = nn.BatchNorm3d(2 * width)

    def forward(self, fast: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv_fast_to_slow(fast)))


class Paths(nn.Module):
    """One stage of both paths and the fusion after it."""

    def __init__(self, *, slow: nn.Module, fast: nn.Module, fusion: Fusion | None) -> None:
        super().__init__()
        self.multipathway_blocks = nn.ModuleList([slow, fast])
        self.multipathway_fusion = fusion

    def forward(self, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        slow = self.multipathway_blocks[0](pair[0])
        fast = self.multipathway_blocks[1](pair[1])
        if self.multipathway_fusion is not None:
            slow = torch.cat([slow, self.multipathway_fusion(fast)], dim=1)
        return slow, fast


Net3d = ResNet3d | SlowFast | VideoResNet


class _HalveTime(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(x, (2, 1, 1)) if x.shape[2] > 1 else x


def _stem(plan: Plan, in_channels: int) -> Stem:
    time, width = plan.stem_time, plan.stem
    conv: nn.Module
    if plan.project:
        space = nn.Conv3d(in_channels, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False)
        over_time = nn.Conv3d(
            width, width, (time, 1, 1), padding=(time // 2, 0, 0), groups=width, bias=False
        )
        conv = SplitConv(conv_t=space, conv_xy=over_time, norm=None)  # sic: the zoo's own names
    else:
        pad = (time // 2, 3, 3)
        conv = nn.Conv3d(in_channels, width, (time, 7, 7), (1, 2, 2), pad, bias=False)
    return Stem(conv=conv, width=width, pool=plan.stem_pool)


def _stages(plan: Plan, stem: int, joined: tuple[int, ...] = (0,) * 5) -> list[nn.Module]:
    stages: list[nn.Module] = []
    width_in = stem
    for at, width in enumerate(plan.widths):
        stages.append(
            Stage(
                depth=plan.depths[at],
                width_in=width_in + joined[at],
                inner=plan.inner[at],
                width=width,
                times_a=plan.times_a[at],
                middle=plan.middle,
                stride=plan.strides[at],
                excite=plan.excite[at],
            )
        )
        width_in = width
    return stages


def _head(plan: Plan, classes: int) -> Head:
    width = plan.widths[-1]
    if not plan.project:
        return Head(width=width, classes=classes, dropout=plan.dropout)
    pool = Projection(width_in=width, inner=plan.inner[-1], width=plan.project)
    return Head(width=plan.project, classes=classes, dropout=plan.dropout, pool=pool)


NETWORKS_3D: dict[str, Callable[..., Net3d]] = {
    **{name: partial(ResNet3d, plan) for name, plan in PLANS.items()},
    "slowfast-r50": SlowFast,
    "r3d-18": partial(VideoResNet, kind="r3d"),
    "r3d-18-spact": partial(VideoResNet, kind="r3d", keep_time=True),
    "r2plus1d-18": partial(VideoResNet, kind="r2plus1d"),
}
"""Each takes `classes` (0: features only) and `in_channels` (3 for RGB, 2 for optical flow)."""

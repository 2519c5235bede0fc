"""The pieces of PyTorchVideo's zoo, in its state-dict names.

Stem, bottleneck (`branch2.conv_a`, `norm_a`, `conv_b`, ...), stage (`res_blocks`) and head
(`proj`), each told by numbers what it is: a C2D, an I3D, a Slow, an R(2+1)D, a CSN or an X3D.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.resnet import init_convolutions

Middle = Literal["space", "split", "channels", "excited"]
"""The convolution in the middle of a bottleneck: 1 x 3 x 3; 3 x 1 x 1 then 1 x 3 x 3 (R(2+1)D);
3 x 3 x 3 for each channel alone (CSN); the same with squeeze and excitation and a swish (X3D)."""


class SplitConv(nn.Module):
    """Time, then space. X3D's stem has them the other way round under the same names."""

    def __init__(self, *, conv_t: nn.Module, conv_xy: nn.Module, norm: nn.Module | None) -> None:
        super().__init__()
        self.conv_t, self.conv_xy, self.norm = conv_t, conv_xy, norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_t(x)
        return self.conv_xy(x if self.norm is None else F.relu(self.norm(x)))


class SqueezeExcitation(nn.Module):
    """Each channel weighted by what all of them say on average (Hu et al., CVPR 2018)."""

    def __init__(self, *, width: int, inner: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv3d(width, inner, 1), nn.ReLU(), nn.Conv3d(inner, width, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.block(x.mean(dim=(2, 3, 4), keepdim=True))


class Stem(nn.Module):
    """One convolution over space and time, a norm and, where asked, a pooling over space."""

    def __init__(self, *, conv: nn.Module, width: int, pool: bool) -> None:
        super().__init__()
        self.conv, self.pools = conv, pool
        self.norm = nn.BatchNorm3d(width)

    def forward(self, clip: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(clip)))
        return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1)) if self.pools else x


class Bottleneck3d(nn.Module):
    """Narrow (over `time_a` frames), look around, widen."""

    def __init__(
        self,
        *,
        width_in: int,
        inner: int,
        width: int,
        time_a: int,
        middle: Middle,
        stride: tuple[int, int],
        excite: int,
    ) -> None:
        """
        Args:
            width_in: channels that come in.
            inner: channels in the middle.
            width: channels that go out.
            time_a: frames that the first convolution sees.
            middle: see `Middle`.
            stride: of the middle, in time and in space.
            excite: inner width of squeeze and excitation; 0: none.
        """
        super().__init__()
        self.conv_a = nn.Conv3d(
            width_in, inner, (time_a, 1, 1), padding=(time_a // 2, 0, 0), bias=False
        )
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = _middle(middle, inner, stride)
        self.norm_b: nn.Module = nn.BatchNorm3d(inner)
        self.swish = middle == "excited"
        if self.swish:
            extra = SqueezeExcitation(width=inner, inner=excite) if excite else nn.Identity()
            self.norm_b = nn.Sequential(self.norm_b, extra)
        self.conv_c = nn.Conv3d(inner, width, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_a(self.conv_a(x)))
        x = self.norm_b(self.conv_b(x))
        return self.norm_c(self.conv_c(F.silu(x) if self.swish else F.relu(x)))


class ResBlock(nn.Module):
    """`branch2` and a shortcut, which is a convolution where the shape changes."""

    def __init__(
        self, *, branch2: nn.Module, width_in: int, width: int, stride: tuple[int, int], bare: bool
    ) -> None:
        """
        Args:
            branch2: the bottleneck.
            width_in: channels that come in.
            width: channels that go out.
            stride: of the bottleneck, in time and in space.
            bare: whether a shortcut that changes the size but not the width goes without a norm
                (X3D's first stage).
        """
        super().__init__()
        self.branch1_conv: nn.Module | None = None
        self.branch1_norm: nn.Module | None = None
        if width_in != width or max(stride) > 1:
            steps = (stride[0], stride[1], stride[1])
            self.branch1_conv = nn.Conv3d(width_in, width, 1, stride=steps, bias=False)
            self.branch1_norm = None if bare and width_in == width else nn.BatchNorm3d(width)
        self.branch2 = branch2

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.branch1_conv is None else self.branch1_conv(x)
        skip = skip if self.branch1_norm is None else self.branch1_norm(skip)
        return F.relu(skip + self.branch2(x))


class Stage(nn.Module):
    """Blocks of one width; the first of them carries the stride."""

    def __init__(
        self,
        *,
        depth: int,
        width_in: int,
        inner: int,
        width: int,
        times_a: tuple[int, ...] = (1,),
        middle: Middle = "space",
        stride: tuple[int, int] = (1, 1),
        excite: int = 0,
    ) -> None:
        """
        Args:
            depth: number of blocks.
            width_in: channels that come in.
            inner: channels in the middle of a block.
            width: channels that go out.
            times_a: frames the first convolution of a block sees, taken in turn by the blocks.
            middle: see `Middle`.
            stride: in time and in space.
            excite: inner width of squeeze and excitation, in every second block from the first.
        """
        super().__init__()
        blocks = []
        for at in range(depth):
            came, step = (width, (1, 1)) if at else (width_in, stride)
            branch2 = Bottleneck3d(
                width_in=came,
                inner=inner,
                width=width,
                time_a=times_a[at % len(times_a)],
                middle=middle,
                stride=step,
                excite=0 if at % 2 else excite,
            )
            bare = middle == "excited"
            blocks.append(
                ResBlock(branch2=branch2, width_in=came, width=width, stride=step, bare=bare)
            )
        self.res_blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.res_blocks:
            x = block(x)
        return x


class Projection(nn.Module):
    """X3D's way out: wider, the mean over the clip, wider still (`pre_conv`, `post_conv`)."""

    def __init__(self, *, width_in: int, inner: int, width: int) -> None:
        super().__init__()
        self.pre_conv = nn.Conv3d(width_in, inner, 1, bias=False)
        self.pre_norm = nn.BatchNorm3d(inner)
        self.post_conv = nn.Conv3d(inner, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.pre_norm(self.pre_conv(x))).mean(dim=(2, 3, 4), keepdim=True)
        return F.relu(self.post_conv(x)).flatten(1)


class Head(nn.Module):
    """The mean over the clip, dropout, one linear layer.

    The zoo projects each place and takes the mean afterwards; for clips of its own size that is the
    same, and for larger ones every place counts alike here.
    """

    def __init__(
        self, *, width: int, classes: int, dropout: float, pool: Projection | None = None
    ) -> None:
        super().__init__()
        self.pool, self.dropout = pool, dropout
        self.proj = nn.Linear(width, classes) if classes else nn.Identity()

    def pooled(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, width)."""
        return x.mean(dim=(2, 3, 4)) if self.pool is None else self.pool(x)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.proj(F.dropout(pooled, self.dropout, self.training))


def init_residual(net: nn.Module) -> None:
    """As the zoo trains from scratch: every block starts as its shortcut, the head near zero."""
    init_convolutions(net)
    for module in net.modules():
        if isinstance(module, Bottleneck3d):
            nn.init.zeros_(module.norm_c.weight)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def every(clip: Tensor, alpha: int) -> Tensor:
    """One frame in `alpha`, spread evenly from the first to the last (SlowFast's slow path).

    Args:
        clip: (B, C, T, H, W).
        alpha: at least 1.
    """
    count = -(-clip.shape[2] // alpha)  # rounded up, as the strided fusion rounds
    # linspace ends a hair under an integer in float32; flooring that would miss the frame.
    at = torch.linspace(0, clip.shape[2] - 1, count, dtype=torch.float64).long()
    return clip.index_select(2, at.to(clip.device))


def _middle(middle: Middle, inner: int, stride: tuple[int, int]) -> nn.Module:
    steps, time, space = (stride[0], stride[1], stride[1]), (stride[0], 1, 1), (1, *stride[1:] * 2)
    if middle == "space":
        return nn.Conv3d(inner, inner, (1, 3, 3), steps, (0, 1, 1), bias=False)
    if middle == "split":
        over_time = nn.Conv3d(inner, inner, (3, 1, 1), time, (1, 0, 0), bias=False)
        over_space = nn.Conv3d(inner, inner, (1, 3, 3), space, (0, 1, 1), bias=False)
        return SplitConv(conv_t=over_time, conv_xy=over_space, norm=nn.BatchNorm3d(inner))
    return nn.Conv3d(inner, inner, 3, steps, 1, groups=inner, bias=False)

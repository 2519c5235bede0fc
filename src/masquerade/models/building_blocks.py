"""Building blocks of networks: named sequences, convolutions, a chain, initialisations."""

from collections import OrderedDict

from torch import Tensor, nn

Triple = tuple[int, int, int]


def named(**layers: nn.Module) -> nn.Sequential:
    """Return the layers in turn, under their published state-dict names."""
    return nn.Sequential(OrderedDict(layers))


def conv2d(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    """Return a convolution without a bias, padded by half its kernel."""
    pad = kernel // 2
    return nn.Conv2d(in_channels, out_channels, kernel, stride, pad, groups=groups, bias=False)


def conv3d(
    in_channels: int,
    out_channels: int,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    *,
    groups: int = 1,
) -> nn.Conv3d:
    """`conv2d` over time, rows and columns."""
    pad = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(in_channels, out_channels, kernel, stride, pad, groups=groups, bias=False)


class ConvNet(nn.Module):
    """A chain of its children in their order: stages, the mean over all positions, a head."""

    width: int  # of the features that the head, the last child, reads

    def stages(self, x: Tensor) -> Tensor:
        """The last stage's output (B, width, ...) for frames (B, C, H, W) or clips."""
        *stages, _ = self.children()
        for stage in stages:
            x = stage(x)
        return x

    def pooled(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, width)."""
        x = self.stages(x)
        return x.mean(dim=tuple(range(2, x.ndim)))

    def forward(self, x: Tensor) -> Tensor:
        *_, head = self.children()
        return head(self.pooled(x))


def init_convolutions(net: nn.Module) -> None:
    """He et al.'s normal initialisation (ICCV 2015) of every convolution."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def is_embedding(name: str) -> bool:
    """Whether a weight is a position embedding or class token, by its name in the state dict."""
    # MViT has a position embedding for each of time, space and class: pos_embed_temporal, ...
    return name.endswith(("pos_embed", "cls_token")) or "pos_embed_" in name


def init_transformer(net: nn.Module) -> None:
    """Truncated normals of .02 for matrices and embeddings, zero biases (ViT, DeiT)."""
    for name, value in net.named_parameters():
        if is_embedding(name) or (value.ndim == 2 and name.endswith("weight")):
            nn.init.trunc_normal_(value, std=0.02)
        elif name.endswith("bias"):
            nn.init.zeros_(value)

"""DINO and DINOv2 backbones that give the keys of their last layer as dense descriptors.

Caron et al., DINO, ICCV 2021; Oquab et al., DINOv2, 2023. Keys as descriptors and overlapping
patches: Amir et al., 2021, as used by Ilic et al., CVPR 2024, 3.2. State-dict names as published.
"""

import torch
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.models.vit import Block, FrameViT, PatchEmbed


class LayerScale(nn.Module):
    """A learned factor for each channel (Touvron et al., CaiT, ICCV 2021)."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class ScaledBlock(Block):
    """DINOv2's layer, with LayerScale on both branches."""

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__(width=width, heads=heads)
        self.ls1, self.ls2 = LayerScale(width=width), LayerScale(width=width)

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), keep))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class KeyViT(FrameViT):
    """A ViT without a head, with patches that may overlap; loads DINO's and DINOv2's files."""

    def __init__(
        self,
        *,
        patch: int = 8,
        stride: int | None = None,  # pixels from patch to patch; it divides `patch`. None: `patch`
        size: int = 224,  # of the images that the positions were learned for
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        scaled: bool = False,  # with DINOv2's LayerScale and mask token
    ) -> None:
        stride = stride or patch
        if stride < 1 or patch % stride:
            whole = ", ".join(str(n) for n in range(1, patch + 1) if patch % n == 0)
            raise UsageError(f"a stride divides the patch: it is one of {whole}, not {stride}.")
        plain = 0 if scaled else depth
        super().__init__(classes=0, size=size, patch=patch, width=width, depth=plain, heads=heads)
        self.stride = stride
        self.patch_embed = PatchEmbed(in_channels=3, patch=patch, width=width, stride=stride)
        if scaled:
            layers = (ScaledBlock(width=width, heads=heads) for _ in range(depth))
            self.blocks = nn.ModuleList(layers)
            self.mask_token = nn.Parameter(torch.zeros(1, width))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches in an image of that many pixels."""
        return 1 + (height - self.patch) // self.stride, 1 + (width - self.patch) // self.stride

    def keys(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> the last layer's keys (B, rows, columns, D), all heads."""
        tokens = self.embed(frames)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        _, keys, _ = last.attn.queries_keys_values(last.norm1(tokens))  # (B, heads, 1 + N, d)
        keys = keys[:, :, 1:].transpose(1, 2)  # (B, N, heads, d)
        return keys.reshape(len(frames), *self.grid(*frames.shape[2:]), self.width)

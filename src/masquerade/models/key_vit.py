"""DINO and DINOv2 backbones that give the keys of their last layer as dense descriptors.

Caron et al., DINO, ICCV 2021; Oquab et al., DINOv2, 2023. Keys as descriptors and overlapping
patches: Amir et al., 2021, as used by Ilic et al., CVPR 2024, 3.2. State-dict names as published.
"""

import torch
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.models.vit import Block, FrameViT


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
        super().__init__(
            classes=0,
            size=size,
            patch=patch,
            stride=stride,
            width=width,
            depth=depth,
            heads=heads,
            scaled=scaled,
        )
        if scaled:
            self.mask_token = nn.Parameter(torch.zeros(1, width))

    def keys(self, frames: Tensor) -> Tensor:
        """(B, 3, H, W), normalised -> the last layer's keys (B, rows, columns, D), all heads."""
        tokens = self.embed(frames)
        for block in self.blocks[:-1]:
            tokens = block(tokens)
        last = self.blocks[-1]
        assert isinstance(last, Block)
        _, keys, _ = last.attn.split_qkv(last.attn.qkv(last.norm1(tokens)))  # (B, heads, 1 + N, d)
        keys = keys[:, :, 1:].transpose(1, 2)  # (B, N, heads, d)
        return keys.reshape(frames.shape[0], *self.grid(*frames.shape[2:]), self.width)

"""Vision transformers of frames and of clips, in the state-dict names of DINO, DeiT and timm.

FrameViT is ViT (Dosovitskiy et al., ICLR 2021). VideoViT is STPrivacy's recognizer (ICCV 2023, 4.3,
after VideoMAE's fine-tuning network) for actions and attributes alike: tubelets with learned
positions, no class token, the mean over kept tokens, a norm and a head that starts at zero. A tiny
one does not learn motion from scratch (docs/papers.md 8.5); load an image ViT's weights.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.building_blocks import Triple, init_transformer, named
from masquerade.models.masked_attention import Attention, Softmax, gather_kept, masked_mean

Inflation = Literal["average", "central"]


def mlp(*, width: int, hidden: int, out: int | None = None) -> nn.Sequential:
    """Return two linear layers with a GELU between."""
    fc1, fc2 = nn.Linear(width, hidden), nn.Linear(hidden, out or width)
    return named(fc1=fc1, act=nn.GELU(), fc2=fc2)


class LayerScale(nn.Module):
    """A learned factor for each channel (Touvron et al., CaiT, ICCV 2021)."""

    def __init__(self, *, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens * self.gamma


class Block(nn.Module):
    """A pre-norm transformer layer; `heads`, `softmax` and `keep` as in `Attention`.

    `scaled` is DINOv2's, with LayerScale on both branches.
    """

    def __init__(
        self, *, width: int, heads: int, softmax: Softmax = "exact", scaled: bool = False
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width=width, heads=heads, softmax=softmax)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = mlp(width=width, hidden=4 * width)
        self.ls1 = LayerScale(width=width) if scaled else nn.Identity()
        self.ls2 = LayerScale(width=width) if scaled else nn.Identity()

    def forward(self, tokens: Tensor, keep: Tensor | None = None) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), keep))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


def to_tokens(grid: Tensor) -> Tensor:
    """(B, D, T, H, W) -> (B, T * H * W, D), token (t * H + h) * W + w; frames alike, without T."""
    return grid.flatten(2).transpose(1, 2)


class FrameViT(nn.Module):
    """A ViT of single frames with a class token; loads ViT, DeiT and DINO files.

    Positions are learned for frames of `size` pixels and resized for others; 0 classes give
    features only, as DINO's files need.
    """

    head_names = ("head",)

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        size: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        stride: int | None = None,  # pixels from patch to patch; None: `patch`
        scaled: bool = False,  # as in `Block`
    ) -> None:
        super().__init__()
        self.size, self.patch, self.stride, self.width = size, patch, stride or patch, width
        self.patch_embed = named(proj=nn.Conv2d(in_channels, width, patch, self.stride))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, width))
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, scaled=scaled) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes) if classes else nn.Identity()
        init_transformer(self)

    def embed(self, frames: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1 + N, D), positions added."""
        if min(frames.shape[2:]) < self.patch:
            raise UsageError(f"A frame must be at least {self.patch} pixels a side: one patch.")
        patches = to_tokens(self.patch_embed(frames))
        positions = resize_positions(self.pos_embed[:, 1:], self.grid(*frames.shape[2:]))
        first = (self.cls_token + self.pos_embed[:, :1]).expand(frames.shape[0], -1, -1)
        return torch.cat([first, patches + positions], dim=1)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches in a frame of that many pixels."""
        return 1 + (height - self.patch) // self.stride, 1 + (width - self.patch) // self.stride

    def pooled(self, frames: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D), the class token."""
        tokens = self.embed(frames)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)[:, 0]

    def forward(self, frames: Tensor) -> Tensor:
        return self.head(self.pooled(frames))


class TubeletViT(nn.Module):
    """The layers of a ViT over tubelets of clips of one `shape` (T, H, W), without a head.

    `inflation` says how an image ViT's patch becomes a tubelet when its weights are loaded.
    """

    def __init__(
        self,
        *,
        shape: Triple,
        tubelet: Triple,
        width: int,
        depth: int,
        heads: int,
        inflation: Inflation,
        in_channels: int = 3,
        softmax: Softmax = "exact",
    ) -> None:
        super().__init__()
        if any(a % b for a, b in zip(shape, tubelet, strict=True)):
            raise UsageError(f"a clip of {shape} does not divide into tubelets of {tubelet}.")
        self.shape, self.tubelet, self.width, self.inflation = shape, tubelet, width, inflation
        self.grid = (shape[0] // tubelet[0], shape[1] // tubelet[1], shape[2] // tubelet[2])
        self.patch_embed = named(proj=nn.Conv3d(in_channels, width, tubelet, tubelet))
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.grid), width))
        self.blocks = nn.ModuleList(
            Block(width=width, heads=heads, softmax=softmax) for _ in range(depth)
        )

    def embed(self, clip: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, L * N, D), positions added."""
        check_shape(clip, self.shape)
        return to_tokens(self.patch_embed(clip)) + self.pos_embed

    def adapt(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Inflate the weights of an image ViT, DeiT or DINO to a clip's; a video's pass unchanged.

        So do those that have no patch or positions of an image, which `load_weights` refuses.

        See docs/papers.md 1.2. `average` repeats the patch over the tubelet's frames and divides by
        their number; `central` fills the middle frame alone. Positions lose the class token's, are
        resized bicubically and repeated along time. The last norm and head are left out.
        """
        patch = weights.get("patch_embed.proj.weight")  # (D, C, dH, dW)
        positions = weights.get("pos_embed")  # (1, N, D); Swin, whose names are alike, has none
        if patch is None or patch.ndim != 4 or positions is None:
            return weights
        if positions.ndim != 3 or len(positions) != 1 or not positions.numel():
            return weights
        other = ("cls_token", "dist_token", "norm", "fc_norm", "head", "head_dist", "pre_logits")
        out = {name: value for name, value in weights.items() if name.split(".")[0] not in other}
        depth = self.tubelet[0]
        tubelet = patch[:, :, None].repeat(1, 1, depth, 1, 1) / depth
        if self.inflation == "central":
            tubelet = torch.zeros_like(tubelet)
            tubelet[:, :, depth // 2] = patch
        out["patch_embed.proj.weight"] = tubelet
        side = math.isqrt(positions.shape[1])  # less than one row of class and distillation tokens
        positions = resize_positions(positions[:, positions.shape[1] - side**2 :], self.grid[1:])
        out["pos_embed"] = positions.repeat(1, self.grid[0], 1)
        return out


class VideoViT(TubeletViT):
    """STPrivacy's recognizer: a ViT over tubelets that takes a keep mask."""

    head_names = ("head", "fc_norm")

    def __init__(
        self,
        *,
        classes: int,
        in_channels: int = 3,
        frames: int = 16,  # of a clip; a multiple of the tubelet's
        size: int = 112,  # of a frame; a multiple of the tubelet's
        tubelet: Triple = (2, 16, 16),  # frames, rows and columns of one token
        width: int = 384,  # 384 is ViT-S, 192 ViT-Ti
        depth: int = 12,
        attention_heads: int = 6,  # `heads` are a recognizer's outputs by label
        inflation: Inflation = "average",
    ) -> None:
        super().__init__(
            shape=(frames, size, size),
            in_channels=in_channels,
            tubelet=tubelet,
            width=width,
            depth=depth,
            heads=attention_heads,
            inflation=inflation,
        )
        self.fc_norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        init_transformer(self)
        nn.init.zeros_(self.head.weight)  # VideoMAE's init_scale 0: uniform at first

    def pooled(self, clip: Tensor, keep: Tensor | None = None) -> Tensor:
        """(B, C, T, H, W) -> (B, D).

        `keep` is (B, L, N) or (B, L * N), bool or in [0, 1]; a bool one with equally many kept in
        each clip computes only those.
        """
        tokens = self.embed(clip)
        if keep is not None:
            keep = keep.reshape(len(clip), -1)  # (B, L * N)
            if keep.shape[1] != tokens.shape[1]:
                raise UsageError(
                    f"A keep mask of {keep.shape[1]} tokens does not fit a clip of "
                    f"{tokens.shape[1]}; drop tokens of {self.tubelet} pixels."
                )
            counts = keep.sum(dim=1)
            if keep.dtype == torch.bool and bool((counts == counts[0]).all() and counts[0] > 0):
                tokens, keep = gather_kept(tokens, keep), None
        for block in self.blocks:
            tokens = block(tokens, keep)
        return self.fc_norm(masked_mean(tokens, keep))

    def forward(self, clip: Tensor, keep: Tensor | None = None) -> Tensor:
        return self.head(self.pooled(clip, keep))


def check_shape(clip: Tensor, shape: Triple) -> None:
    """Refuse a clip (B, C, T, H, W) of another T, H, W than the network has positions for."""
    if tuple(clip.shape[2:]) != shape:
        frames, rows, columns = clip.shape[2:]
        raise UsageError(
            f"This network reads {shape[0]} frames of {shape[1]} x {shape[2]} pixels; it was given "
            f"{frames} of {rows} x {columns}."
        )


def resize_positions(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize positions (1, side * side, D) of a square grid to (rows, columns), bicubically."""
    side = math.isqrt(positions.shape[1])
    if all(isinstance(length, int) for length in grid) and (side, side) == grid:
        return positions  # not of a graph of any size, where a comparison would fix the size
    square = positions.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # (1, D, side, side)
    square = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return square.flatten(2).transpose(1, 2)  # (1, rows * columns, D)

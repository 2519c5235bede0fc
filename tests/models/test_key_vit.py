"""Keys of KeyViT against independent computations, and the published names."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.key_vit import KeyViT
from masquerade.models.vit import Block

SMALL = {"patch": 8, "size": 32, "width": 24, "depth": 3, "heads": 3}


def small(**other: object) -> KeyViT:
    """A network in which nothing is left at the value it starts with."""
    torch.manual_seed(0)
    net = KeyViT(**{**SMALL, **other}).eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.2)
    return net


def by_hooks(net: KeyViT, frames: Tensor) -> Tensor:
    """The same keys, from what the last layer's qkv projection gives while all of it runs."""
    caught: list[Tensor] = []
    last = net.blocks[-1]
    assert isinstance(last, Block)
    handle = last.attn.qkv.register_forward_hook(lambda _m, _i, out: caught.append(out))
    net.pooled(frames)
    handle.remove()
    width = net.width
    return caught[0][:, 1:, width : 2 * width]  # (B, N, D), class token gone


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("stride", [8, 4, 2])
def test_keys_are_the_last_projections_second_third(stride: int, scaled: bool) -> None:
    net = small(stride=stride, scaled=scaled)
    frames = torch.randn(2, 3, 29, 40)
    rows, columns = 1 + (29 - 8) // stride, 1 + (40 - 8) // stride
    with torch.no_grad():
        keys = net.keys(frames)
        assert keys.shape == (2, rows, columns, 24)
        assert torch.allclose(keys.flatten(1, 2), by_hooks(net, frames), atol=1e-5)


@pytest.mark.parametrize("scaled", [False, True])
def test_keys_equal_a_layer_computed_by_hand(scaled: bool) -> None:
    net = small(depth=2, scaled=scaled)
    frames = torch.randn(1, 3, 32, 32)
    w = net.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def scale(name: str) -> Tensor:
        return w[f"{name}.gamma"] if scaled else torch.ones(24)

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (24,), w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)

    patches = frames.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(1, 16, -1)
    x = patches @ w["patch_embed.proj.weight"].flatten(1).T + w["patch_embed.proj.bias"]
    x = torch.cat([w["cls_token"], x], 1) + w["pos_embed"]
    q, k, v = linear("blocks.0.attn.qkv", norm("blocks.0.norm1", x)).split(24, dim=-1)
    heads = []
    for h in range(3):
        part = slice(8 * h, 8 * h + 8)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(8)
        heads.append(scores.softmax(-1) @ v[..., part])
    x = x + scale("blocks.0.ls1") * linear("blocks.0.attn.proj", torch.cat(heads, -1))
    hidden = F.gelu(linear("blocks.0.mlp.fc1", norm("blocks.0.norm2", x)))
    x = x + scale("blocks.0.ls2") * linear("blocks.0.mlp.fc2", hidden)
    keys = linear("blocks.1.attn.qkv", norm("blocks.1.norm1", x))[:, 1:, 24:48]
    with torch.no_grad():
        assert torch.allclose(net.keys(frames).flatten(1, 2), keys, atol=1e-5)


def test_overlapping_patches_agree_with_the_plain_grid_where_they_coincide() -> None:
    plain, dense = small(), small(stride=4)
    dense.load_state_dict(plain.state_dict())
    frames = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        coarse = plain.patch_embed(frames)  # (1, 24, 4, 4)
        fine = dense.patch_embed(frames)  # (1, 24, 7, 7)
    assert torch.allclose(fine[..., ::2, ::2], coarse, atol=1e-6)


def test_positions_are_interpolated_bicubically_to_the_denser_grid() -> None:
    net = small(stride=4)
    with torch.no_grad():
        net.patch_embed.proj.weight.zero_()
        assert net.patch_embed.proj.bias is not None
        net.patch_embed.proj.bias.zero_()
        found = net.embed(torch.zeros(1, 3, 32, 40))[0, 1:].reshape(7, 9, 24)
        square = net.pos_embed[:, 1:].reshape(1, 4, 4, 24).permute(0, 3, 1, 2)
        wanted = F.interpolate(square, size=(7, 9), mode="bicubic", align_corners=False)
    assert torch.allclose(found, wanted[0].permute(1, 2, 0), atol=1e-6)


def test_parameters_and_names_of_the_published_networks() -> None:
    def count(net: nn.Module) -> int:
        return sum(value.numel() for value in net.parameters())

    with torch.device("meta"):
        assert count(KeyViT(patch=8)) == 21_670_272
        assert count(KeyViT(patch=16)) == 21_665_664
        dinov2 = KeyViT(patch=14, size=518, scaled=True)
    assert count(dinov2) == 22_056_576
    names = set(dinov2.state_dict())
    assert {"mask_token", "blocks.11.ls1.gamma", "blocks.0.ls2.gamma", "norm.weight"} <= names
    assert dinov2.state_dict()["pos_embed"].shape == (1, 1 + 37 * 37, 384)


@pytest.mark.parametrize("stride", [3, 16, -4])
def test_a_stride_that_does_not_divide_the_patch_is_refused(stride: int) -> None:
    with pytest.raises(UsageError, match="one of 1, 2, 4, 8"):
        KeyViT(**{**SMALL, "stride": stride})  # type: ignore[arg-type]

"""Vision transformers: parameter counts, token order, inflation, keep masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.errors import UsageError
from masquerade.models.mvit import MultiScaleBlock, MViT, pool_tokens
from masquerade.models.vit import FrameViT, TubeletViT, VideoViT, resize_positions, to_tokens


def count(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


def tiny(classes: int = 4, **other: object) -> VideoViT:
    torch.manual_seed(0)
    sizes = {"frames": 4, "size": 16, "tubelet": (2, 8, 8), "width": 24, "depth": 2}
    sizes["attention_heads"] = 3
    return VideoViT(classes=classes, **{**sizes, **other})  # type: ignore[arg-type]


def small_image_vit(**other: object) -> FrameViT:
    torch.manual_seed(1)
    sizes = {"classes": 5, "size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3}
    return FrameViT(**{**sizes, **other})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("classes", "parameters"), [(5, 22_036_997), (51, 22_054_707), (101, 22_073_957)]
)
def test_parameters_of_the_papers_recognizer(classes: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(VideoViT(classes=classes)) == parameters


def test_parameters_of_the_others() -> None:
    with torch.device("meta"):
        assert count(FrameViT(classes=1000)) == 86_567_656
        assert count(FrameViT(classes=1000, patch=32)) == 88_224_232
        ours = {"frames": 8, "size": 32, "tubelet": (2, 8, 8), "width": 96, "depth": 4}
        ours["attention_heads"] = 3
        assert count(VideoViT(classes=4, **ours)) == 491_044  # type: ignore[arg-type]
        assert count(MViT(classes=400)) == 36_610_672  # PyTorchVideo: 36.61 M


def test_names_are_those_of_dino() -> None:
    names = small_image_vit(classes=0).state_dict().keys()
    layer = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    parts = [f"blocks.{at}.{part}" for at in range(2) for part in layer]
    both = [
        f"{part}.{kind}"
        for part in ("patch_embed.proj", *parts, "norm")
        for kind in ("weight", "bias")
    ]
    assert set(names) == {"cls_token", "pos_embed", *both}


def test_token_order_is_time_then_rows_then_columns() -> None:
    net = TubeletViT(
        shape=(4, 8, 12),
        tubelet=(2, 4, 4),
        width=1,
        depth=0,
        heads=1,
        inflation="average",
        in_channels=1,
    )
    with torch.no_grad():
        net.patch_embed.proj.weight.fill_(1)
        net.patch_embed.proj.bias.zero_()
        clip = torch.zeros(1, 1, 4, 8, 12)
        clip[0, 0, 2:4, 4:8, 8:12] = 1  # slot 1, row 1, column 2 of a grid 2 x 2 x 3
        tokens = net.embed(clip)[0, :, 0]
    assert tokens.nonzero().flatten().tolist() == [1 * 6 + 1 * 3 + 2]


def test_a_fresh_recognizer_guesses_uniformly() -> None:
    assert (tiny()(torch.rand(2, 3, 4, 16, 16)) == 0).all()


def test_float_and_bool_masks_agree_and_a_full_mask_is_none() -> None:
    net = tiny().double()
    clip = torch.rand(2, 3, 4, 16, 16, dtype=torch.float64)
    keep = torch.tensor([[[1, 0, 1, 1], [0, 0, 1, 0]], [[0, 1, 1, 1], [0, 1, 0, 0]]]).bool()
    uneven = keep.clone()
    uneven[0, 0, 0] = False
    for mask in (keep, uneven):  # equally many: gathered; not so: masked
        assert torch.allclose(net.pooled(clip, mask), net.pooled(clip, mask.double()), atol=1e-12)
    everything = torch.ones(2, 2, 4, dtype=torch.bool)
    assert torch.allclose(net.pooled(clip, everything), net.pooled(clip), atol=1e-12)
    assert not torch.allclose(net.pooled(clip, keep), net.pooled(clip), atol=1e-3)


def test_pixels_of_dropped_tubelets_do_not_matter() -> None:
    net = tiny()
    clip = torch.rand(1, 3, 4, 16, 16)
    keep = torch.ones(1, 2, 4)
    keep[0, 1, 3] = 0
    other = clip.clone()
    other[..., 2:4, 8:16, 8:16] = 7
    assert torch.equal(net.pooled(clip, keep), net.pooled(other, keep))
    assert not torch.equal(net.pooled(clip), net.pooled(other))


def test_keep_decisions_get_a_gradient_and_none_kept_gives_no_nan() -> None:
    net = tiny()
    nn.init.normal_(net.head.weight)
    keep = torch.tensor([[1.0, 0, 1, 0, 1, 1, 0, 1], [0.0] * 8], requires_grad=True)
    net(torch.rand(2, 3, 4, 16, 16), keep).square().sum().backward()
    assert keep.grad is not None and keep.grad.isfinite().all()
    assert (keep.grad[0] != 0).all()


def test_clips_and_masks_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match="reads 4 frames of 16 x 16"):
        tiny()(torch.rand(1, 3, 2, 16, 16))
    with pytest.raises(UsageError, match="mask of 9 tokens"):
        tiny()(torch.rand(1, 3, 4, 16, 16), torch.ones(1, 1, 9))
    with pytest.raises(UsageError, match="does not divide"):
        tiny(size=20)


@pytest.mark.parametrize("how", ["average", "central"])
def test_an_inflated_patch_reads_a_still_clip_as_the_image(how: str) -> None:
    image, video = small_image_vit(), tiny(size=32, inflation=how)
    frame = torch.rand(2, 3, 32, 32)
    weights = video.adapt(image.state_dict())
    video.load_state_dict(weights, strict=False)
    tokens = to_tokens(video.patch_embed(frame[:, :, None].expand(-1, -1, 4, -1, -1)))
    expected = to_tokens(image.patch_embed(frame))
    assert torch.allclose(tokens[:, :16], expected, atol=1e-5)
    assert torch.allclose(tokens[:, 16:], expected, atol=1e-5)


def test_inflated_positions_repeat_in_time_without_the_class_token() -> None:
    image, video = small_image_vit(), tiny(size=32)
    places = video.adapt(image.state_dict())["pos_embed"]
    assert torch.equal(places[:, :16], image.pos_embed[:, 1:])
    assert torch.equal(places[:, 16:], image.pos_embed[:, 1:])
    distilled = image.state_dict() | {
        "pos_embed": torch.cat([image.pos_embed[:, :1], image.pos_embed], 1)
    }
    assert torch.equal(video.adapt(distilled)["pos_embed"], places)


def test_positions_resize_to_another_grid() -> None:
    ramp = torch.arange(16.0).reshape(4, 4).T.reshape(1, 16, 1)  # grows by 4 with the column
    assert resize_positions(ramp, (4, 4)) is ramp
    wide = resize_positions(ramp, (4, 8)).reshape(4, 8)
    assert wide.shape == (4, 8)
    assert (wide[:, 1:] > wide[:, :-1]).all()
    assert torch.allclose(wide.mean(), ramp.mean(), atol=0.1)


def test_frames_of_another_size_are_read() -> None:
    net = small_image_vit()
    assert net(torch.rand(2, 3, 48, 40)).shape == (2, 5)


def test_pooling_tokens_leaves_the_class_token_and_keeps_the_order() -> None:
    tokens = torch.arange(1 + 2 * 4 * 4.0).reshape(1, 1, -1, 1)
    pooled, grid = pool_tokens(tokens, (2, 4, 4), nn.MaxPool3d((1, 2, 2)))
    assert grid == (2, 2, 2)
    assert pooled.flatten().tolist() == [0, 6, 8, 14, 16, 22, 24, 30, 32]


def test_a_multiscale_block_is_what_the_paper_says() -> None:
    torch.manual_seed(0)
    block = MultiScaleBlock(width=8, width_out=12, heads=2, strides=(2, 1)).double()
    tokens = torch.randn(1, 1 + 2 * 4 * 4, 8, dtype=torch.float64)
    attn, normed = block.attn, block.norm1(tokens)

    def pooled(part: Tensor, conv: nn.Module | None, norm: nn.Module | None) -> Tensor:
        heads = []
        for half in part[0].split(4, dim=1):  # each head's own channels
            cube = conv(half[1:].T.reshape(1, 4, 2, 4, 4)).flatten(2)[0].T  # type: ignore[misc]
            heads.append(norm(torch.cat([half[:1], cube])))  # type: ignore[misc]
        return torch.stack(heads)

    q = pooled(attn.q(normed), attn.pool_q, attn.norm_q)
    k = pooled(attn.k(normed), attn.pool_k, attn.norm_k)
    v = pooled(attn.v(normed), attn.pool_v, attn.norm_v)
    mixed = (q @ k.transpose(1, 2) / 2).softmax(dim=-1) @ v  # (heads, 1 + 2 * 2 * 2, 4)
    cube = tokens[:, 1:].transpose(1, 2).reshape(1, 8, 2, 4, 4)
    shrunk = F.max_pool3d(cube, (1, 3, 3), (1, 2, 2), (0, 1, 1)).flatten(2).transpose(1, 2)
    middle = torch.cat([tokens[:, :1], shrunk], dim=1) + attn.proj(torch.cat([*mixed], dim=1))
    second = block.norm2(middle)
    assert block.proj is not None
    expected = block.proj(second) + block.mlp.fc2(F.gelu(block.mlp.fc1(second)))
    out, grid = block(tokens, (2, 4, 4))
    assert grid == (2, 2, 2)
    assert torch.allclose(out, expected, atol=1e-12)


def test_mvit_reads_small_clips_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    net = MViT(classes=3, frames=4, size=32, width=16, dropout=0.0)
    out: Tensor = net(torch.rand(2, 3, 4, 32, 32))
    assert out.shape == (2, 3)
    out.square().sum().backward()
    assert all(value.grad is not None for value in net.parameters())


def test_mvit_names_are_pytorchvideos() -> None:
    with torch.device("meta"):
        state = MViT(classes=400).state_dict()
    for name, shape in {
        "patch_embed.patch_model.weight": (96, 3, 3, 7, 7),
        "cls_positional_encoding.cls_token": (1, 1, 96),
        "cls_positional_encoding.pos_embed_spatial": (1, 3136, 96),
        "cls_positional_encoding.pos_embed_temporal": (1, 8, 96),
        "cls_positional_encoding.pos_embed_class": (1, 1, 96),
        "blocks.0.attn.q.weight": (96, 96),
        "blocks.0.attn.pool_k.weight": (96, 1, 3, 3, 3),
        "blocks.0.attn.norm_v.weight": (96,),
        "blocks.0.proj.weight": (192, 96),
        "blocks.0.mlp.fc1.weight": (384, 96),
        "blocks.1.attn.pool_q.weight": (96, 1, 3, 3, 3),
        "blocks.13.mlp.fc2.weight": (768, 1536),
        "blocks.15.attn.norm_k.weight": (96,),
        "norm_embed.weight": (768,),
        "head.proj.weight": (400, 768),
    }.items():
        assert tuple(state[name].shape) == shape, name
    assert "blocks.0.attn.pool_q.weight" not in state
    assert "blocks.15.attn.pool_q.weight" not in state

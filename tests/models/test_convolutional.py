"""The CNNs: parameter counts of the published networks, their names, the shapes the papers give.

Counts are those of docs/papers.md 7, torchvision and PyTorchVideo (to two decimals), and made
on the meta device, where nothing is allocated.
"""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from masquerade.models.mobilenet import MobileNetV1, MobileNetV2
from masquerade.models.resnet import BasicBlock, resnet
from masquerade.models.resnet3d import (
    FAST,
    NETWORKS_3D,
    SLOW,
    ConvKind,
    ResNet3dConfig,
    SlowFast,
    SqueezeExcitation,
    VideoResNet,
    init_residual,
    residual_stage,
    subsample_frames,
)
from masquerade.models.tiny3d import Tiny3d


def count(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


@pytest.mark.parametrize(
    ("depth", "classes", "parameters"),
    [
        (18, 1000, 11_689_512),
        (50, 1000, 25_557_032),
        (101, 1000, 44_549_160),
        (50, 7, 23_522_375),
        (50, 0, 23_508_032),
    ],
)
def test_parameters_of_resnets(depth: int, classes: int, parameters: int) -> None:
    with torch.device("meta"):
        assert count(resnet(depth, classes=classes)) == parameters


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("c2d-r50", 24.33),
        ("i3d-r50", 28.04),
        ("slow-r50", 32.45),
        ("slowfast-r50", 34.57),
        ("r2plus1d-r50", 28.11),
        ("csn-r101", 22.21),
        ("x3d-s", 3.79),
        ("x3d-m", 3.79),
        ("x3d-l", 6.15),
    ],
)
def test_parameters_of_pytorchvideos_networks(name: str, millions: float) -> None:
    with torch.device("meta"):
        assert round(count(NETWORKS_3D[name](classes=400)) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("r3d-18", 400, 33_371_472),
        ("r3d-18", 101, 33_218_085),
        ("r3d-18-spact", 400, 33_371_472),
        ("r2plus1d-18", 400, 31_505_325),
    ],
)
def test_parameters_of_torchvisions_video_networks(
    name: str, classes: int, parameters: int
) -> None:
    with torch.device("meta"):
        assert count(NETWORKS_3D[name](classes=classes)) == parameters


def test_parameters_of_the_small_ones() -> None:
    with torch.device("meta"):
        assert count(MobileNetV1(classes=1000)) == 4_231_976
        assert count(MobileNetV2(classes=1000)) == 3_504_872
        assert count(Tiny3d(classes=4)) == 70_900


LANDMARKS = {
    "c2d-r50": {
        "blocks.0.conv.weight": (64, 3, 1, 7, 7),
        "blocks.3.res_blocks.0.branch1_conv.weight": (512, 256, 1, 1, 1),
        "blocks.6.proj.weight": (400, 2048),
    },
    "i3d-r50": {
        "blocks.0.conv.weight": (64, 3, 5, 7, 7),
        "blocks.1.res_blocks.2.branch2.conv_a.weight": (64, 256, 3, 1, 1),
        "blocks.3.res_blocks.1.branch2.conv_a.weight": (128, 512, 1, 1, 1),
        "blocks.4.res_blocks.4.branch2.conv_a.weight": (256, 1024, 3, 1, 1),
        "blocks.5.res_blocks.0.branch2.conv_a.weight": (512, 1024, 1, 1, 1),
        "blocks.5.res_blocks.1.branch2.conv_a.weight": (512, 2048, 3, 1, 1),
    },
    "slow-r50": {
        "blocks.0.norm.running_mean": (64,),
        "blocks.1.res_blocks.0.branch1_norm.weight": (256,),
        "blocks.1.res_blocks.0.branch2.conv_b.weight": (64, 64, 1, 3, 3),
        "blocks.4.res_blocks.2.branch2.norm_c.bias": (2048,),
        "blocks.5.proj.bias": (400,),
    },
    "slowfast-r50": {
        "blocks.0.multipathway_blocks.1.conv.weight": (8, 3, 5, 7, 7),
        "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
        "blocks.0.multipathway_fusion.norm.weight": (16,),
        "blocks.1.multipathway_blocks.0.res_blocks.0.branch1_conv.weight": (256, 80, 1, 1, 1),
        "blocks.4.multipathway_blocks.0.res_blocks.0.branch1_conv.weight": (2048, 1280, 1, 1, 1),
        "blocks.4.multipathway_blocks.1.res_blocks.2.branch2.conv_c.weight": (256, 64, 1, 1, 1),
        "blocks.6.proj.weight": (400, 2304),
    },
    "r2plus1d-r50": {
        "blocks.1.res_blocks.0.branch2.conv_b.conv_t.weight": (64, 64, 3, 1, 1),
        "blocks.1.res_blocks.0.branch2.conv_b.norm.weight": (64,),
        "blocks.1.res_blocks.0.branch2.conv_b.conv_xy.weight": (64, 64, 1, 3, 3),
    },
    "csn-r101": {
        "blocks.0.conv.weight": (64, 3, 3, 7, 7),
        "blocks.3.res_blocks.22.branch2.conv_b.weight": (256, 1, 3, 3, 3),
    },
    "x3d-s": {
        "blocks.0.conv.conv_t.weight": (24, 3, 1, 3, 3),
        "blocks.0.conv.conv_xy.weight": (24, 1, 5, 1, 1),
        "blocks.1.res_blocks.0.branch1_conv.weight": (24, 24, 1, 1, 1),
        "blocks.2.res_blocks.0.branch1_norm.weight": (48,),
        "blocks.1.res_blocks.0.branch2.norm_b.0.weight": (54,),
        "blocks.1.res_blocks.2.branch2.norm_b.1.block.0.weight": (8, 54, 1, 1, 1),
        "blocks.4.res_blocks.6.branch2.norm_b.1.block.2.bias": (432,),
        "blocks.5.pool.pre_conv.weight": (432, 192, 1, 1, 1),
        "blocks.5.pool.pre_norm.weight": (432,),
        "blocks.5.pool.post_conv.weight": (2048, 432, 1, 1, 1),
        "blocks.5.proj.weight": (400, 2048),
    },
    "r3d-18": {
        "stem.0.weight": (64, 3, 3, 7, 7),
        "stem.1.running_var": (64,),
        "layer2.0.conv1.0.weight": (128, 64, 3, 3, 3),
        "layer2.0.conv2.1.weight": (128,),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1),
        "fc.weight": (400, 512),
    },
    "r2plus1d-18": {
        "stem.3.weight": (64, 45, 3, 1, 1),
        "layer1.0.conv1.0.0.weight": (144, 64, 1, 3, 3),
        "layer1.0.conv1.0.3.weight": (64, 144, 3, 1, 1),
        "layer2.0.conv2.0.0.weight": (230, 128, 1, 3, 3),
    },
}


@pytest.mark.parametrize("name", LANDMARKS)
def test_names_and_shapes_are_the_published_ones(name: str) -> None:
    with torch.device("meta"):
        state = NETWORKS_3D[name](classes=400).state_dict()
    for key, shape in LANDMARKS[name].items():
        assert tuple(state[key].shape) == shape, key


def test_shortcuts_of_x3ds_first_stage_have_no_norm_and_every_second_block_no_excitation() -> None:
    with torch.device("meta"):
        names = NETWORKS_3D["x3d-s"](classes=400).state_dict().keys()
    assert "blocks.1.res_blocks.0.branch1_norm.weight" not in names
    assert "blocks.1.res_blocks.1.branch2.norm_b.1.block.0.weight" not in names


def test_names_of_frame_networks_are_the_published_ones() -> None:
    with torch.device("meta"):
        states = {
            "resnet": resnet(50, classes=1000).state_dict(),
            "v1": MobileNetV1(classes=7).state_dict(),
            "v2": MobileNetV2(classes=1000).state_dict(),
        }
    for net, key, shape in [
        ("resnet", "conv1.weight", (64, 3, 7, 7)),
        ("resnet", "layer1.0.downsample.1.running_mean", (256,)),
        ("resnet", "layer4.2.conv3.weight", (2048, 512, 1, 1)),
        ("resnet", "fc.bias", (1000,)),
        ("v1", "model.0.0.weight", (32, 3, 3, 3)),
        ("v1", "model.13.3.weight", (1024, 1024, 1, 1)),
        ("v1", "fc.weight", (7, 1024)),
        ("v2", "features.0.0.weight", (32, 3, 3, 3)),
        ("v2", "features.1.conv.1.weight", (16, 32, 1, 1)),
        ("v2", "features.2.conv.0.0.weight", (96, 16, 1, 1)),
        ("v2", "features.17.conv.3.running_var", (320,)),
        ("v2", "features.18.0.weight", (1280, 320, 1, 1)),
        ("v2", "classifier.1.weight", (1000, 1280)),
    ]:
        assert tuple(states[net][key].shape) == shape, key


@pytest.mark.parametrize(("keep_time", "frames"), [(False, 2), (True, 4)])
def test_spacts_edit_keeps_time_in_the_last_stage(keep_time: bool, frames: int) -> None:
    with torch.device("meta"):
        net, clip = VideoResNet(classes=101, keep_time=keep_time), torch.empty(1, 3, 16, 112, 112)
        x = net.stem(clip)
        for index in (1, 2, 3):
            x = net.get_submodule(f"layer{index}")(x)
        assert x.shape == (1, 256, 4, 14, 14)
        assert net.stages(clip).shape == (1, 512, frames, 7, 7)


@pytest.mark.parametrize("name", sorted(set(NETWORKS_3D) - {"x3d-m", "x3d-l"}))  # those are x3d-s
def test_clips_of_any_length_are_read(name: str) -> None:
    with torch.device("meta"):
        net = NETWORKS_3D[name](classes=6, in_channels=2)
        assert net(torch.empty(2, 2, 1, 64, 80)).shape == (2, 6)
        assert net.pooled(torch.empty(2, 2, 7, 64, 80)).shape == (2, net.width)


def test_slow_frames_are_spread_from_the_first_to_the_last() -> None:
    clip = torch.arange(32.0).reshape(1, 1, 32, 1, 1)
    assert subsample_frames(clip, 4).flatten().tolist() == [0, 4, 8, 13, 17, 22, 26, 31]
    assert subsample_frames(clip[:, :, :1], 4).flatten().tolist() == [0]


def test_slowfast_runs_and_both_paths_learn() -> None:
    torch.manual_seed(0)
    net = SlowFast(classes=3)
    out: Tensor = net(torch.rand(1, 3, 8, 32, 32))
    out.square().sum().backward()
    paths = net.blocks[0].get_submodule("multipathway_blocks")
    assert all(
        value.grad is not None and value.grad.abs().sum() > 0 for value in paths.parameters()
    )
    assert FAST.widths[-1] * 8 == SLOW.widths[-1]


@pytest.mark.parametrize("middle", get_args(ConvKind))
def test_a_residual_block_is_what_its_numbers_say(middle: ConvKind) -> None:
    torch.manual_seed(0)
    config = ResNet3dConfig(
        depths=(1,),
        inner=(6,),
        widths=(8,),
        times_a=((3,),),
        middle=middle,
        strides=((2, 2),),
        excitation=(2,),
    )
    stage = residual_stage(config, 0, width_in=4).eval()
    block, x = stage.res_blocks[0], torch.rand(1, 4, 4, 6, 6)
    state, inside = block.state_dict(), block.branch2

    def conv(y: Tensor, name: str, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        weight, pad = state[f"{name}.weight"], tuple(side // 2 for side in kernel)
        assert tuple(weight.shape[2:]) == kernel
        return F.conv3d(y, weight, None, stride, pad, groups=y.shape[1] // weight.shape[1])

    y = F.relu(inside.norm_a(conv(x, "branch2.conv_a", (3, 1, 1), (1, 1, 1))))
    if middle == "2plus1d":
        y = conv(y, "branch2.conv_b.conv_t", (3, 1, 1), (2, 1, 1))
        y = conv(F.relu(inside.conv_b.norm(y)), "branch2.conv_b.conv_xy", (1, 3, 3), (1, 2, 2))
    else:
        y = conv(y, "branch2.conv_b", (1 if middle == "spatial" else 3, 3, 3), (2, 2, 2))
    y = inside.norm_b(y)
    y = y * y.sigmoid() if middle == "x3d" else F.relu(y)
    y = inside.norm_c(conv(y, "branch2.conv_c", (1, 1, 1), (1, 1, 1)))
    skip = block.branch1_norm(conv(x, "branch1_conv", (1, 1, 1), (2, 2, 2)))
    assert torch.allclose(stage(x), F.relu(skip + y), atol=1e-6)


def test_residual_blocks_start_as_their_shortcuts() -> None:
    config = ResNet3dConfig(depths=(2,), inner=(4,), widths=(8,))
    stage = residual_stage(config, 0, width_in=8)
    init_residual(stage)
    x = torch.rand(2, 8, 3, 6, 6)
    assert torch.equal(stage(x), x)  # inputs are not negative, so the ReLU passes them


def test_squeeze_and_excitation_weighs_channels_by_their_means() -> None:
    gate = SqueezeExcitation(width=2, inner=2)
    x = torch.rand(1, 2, 2, 3, 3)
    hidden = F.relu(gate.block[0](x.mean(dim=(2, 3, 4), keepdim=True)))
    assert torch.allclose(gate(x), x * torch.sigmoid(gate.block[2](hidden)))


def test_a_basic_block_is_what_its_weights_say() -> None:
    block = BasicBlock(4, 8, stride=2).eval()
    x = torch.rand(1, 4, 6, 6)
    state = block.state_dict()

    def norm(y: Tensor, name: str) -> Tensor:
        return F.batch_norm(
            y, state[f"{name}.running_mean"], state[f"{name}.running_var"],
            state[f"{name}.weight"], state[f"{name}.bias"],
        )  # fmt: skip

    out = F.relu(norm(F.conv2d(x, state["conv1.weight"], stride=2, padding=1), "bn1"))
    out = norm(F.conv2d(out, state["conv2.weight"], padding=1), "bn2")
    skip = norm(F.conv2d(x, state["downsample.0.weight"], stride=2), "downsample.1")
    assert torch.allclose(block(x), F.relu(out + skip), atol=1e-6)


def test_frame_networks_take_odd_sizes_and_two_channels() -> None:
    with torch.device("meta"):
        for net in (resnet(8, classes=3, in_channels=2), resnet(18, classes=3, in_channels=2)):
            assert net(torch.empty(2, 2, 57, 72)).shape == (2, 3)
        for mobile in (MobileNetV1(classes=3), MobileNetV2(classes=3)):
            assert mobile(torch.empty(2, 3, 57, 72)).shape == (2, 3)
            assert mobile.pooled(torch.empty(2, 3, 57, 72)).shape == (2, mobile.width)

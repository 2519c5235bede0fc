"""Weights in the published naming, from files made here: what fits is loaded, all else refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from masquerade.errors import MasqueradeError, MissingError, UsageError
from masquerade.models.published_weights import load_weights, read_weights
from masquerade.models.recognizers import RECOGNIZERS, Recognizer
from masquerade.models.recognizers.two_stream import TwoStream
from masquerade.models.resnet3d import NETWORKS_3D, X3D, ResNet3d, ResNet3dConfig
from masquerade.models.vit import FrameViT


def published(net: nn.Module, seed: int = 7) -> dict[str, Tensor]:
    """Weights of the same names and shapes that are not the net's own."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for name, value in net.state_dict().items()
    }


def same(net: nn.Module, weights: dict[str, Tensor], but: tuple[str, ...] = ()) -> bool:
    own = net.state_dict()
    return all(torch.equal(own[name], weights[name]) for name in own if name not in but)


@pytest.mark.parametrize("nest", [None, "model_state", "state_dict", "model"])
def test_a_file_loads_whatever_it_is_wrapped_in(tmp_path: Path, nest: str | None) -> None:
    net = RECOGNIZERS["tiny-2d"](classes=5)
    weights = published(net.net)
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    torch.save(wrapped if nest is None else {nest: wrapped, "epoch": 3}, tmp_path / "w.pyth")
    assert load_weights(net.net, tmp_path / "w.pyth") == ()
    assert same(net.net, weights)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("resnet-18", "fc"),
        ("mobilenet-v2", "classifier.1"),
        ("r3d-18", "fc"),
        ("x3d-s", "blocks.5.proj"),
        ("tiny-3d", "head"),
    ],
)
def test_a_head_of_other_classes_stays_fresh(tmp_path: Path, name: str, head: str) -> None:
    weights = published(RECOGNIZERS[name](classes=9).net)
    save_file(weights, tmp_path / "w.safetensors")
    net = RECOGNIZERS[name](classes=4)
    fresh = load_weights(net.net, tmp_path / "w.safetensors")
    assert fresh == (f"{head}.bias", f"{head}.weight")
    assert same(net.net, weights, but=fresh)


def test_a_head_of_the_same_classes_comes_along(tmp_path: Path) -> None:
    net = RECOGNIZERS["tiny-3d"](classes=4)
    weights = published(net.net)
    save_file(weights, tmp_path / "w.safetensors")
    assert load_weights(net.net, tmp_path / "w.safetensors") == ()
    assert same(net.net, weights)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop("convs.1.weight"), "lacks convs.1.weight;"),
        (lambda w: w.update({"extra": torch.zeros(1), "more": torch.zeros(1)}), "extra and 1 more"),
        (lambda w: w.update({"convs.1.weight": torch.zeros(2, 2)}), "another shape convs.1.weight"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_loaded(
    tmp_path: Path, change, sentence: str
) -> None:
    net = RECOGNIZERS["tiny-3d"](classes=4)
    weights = published(net.net)
    change(weights)
    save_file(weights, tmp_path / "w.safetensors")
    before = {name: value.clone() for name, value in net.net.state_dict().items()}
    with pytest.raises(UsageError, match=sentence) as error:
        load_weights(net.net, tmp_path / "w.safetensors")
    assert str(error.value).count(". ") == 0
    assert same(net.net, before)


def test_counters_of_batches_may_be_absent(tmp_path: Path) -> None:
    net = RECOGNIZERS["tiny-2d"](classes=5)
    weights = {n: v for n, v in published(net.net).items() if not n.endswith("batches_tracked")}
    torch.save(weights, tmp_path / "old.pth")
    assert load_weights(net.net, tmp_path / "old.pth") == ()


def test_dino_teachers_backbone_becomes_a_frame_network_and_a_video_one(tmp_path: Path) -> None:
    sizes = {"size": 32, "patch": 8, "width": 24, "depth": 2, "heads": 3}
    dino = FrameViT(classes=0, **sizes)
    weights = published(dino)
    teacher = {f"module.backbone.{name}": value for name, value in weights.items()}
    teacher["module.head.mlp.0.weight"] = torch.zeros(3, 3)
    torch.save({"teacher": teacher, "student": {}, "epoch": 1}, tmp_path / "dino.pth")

    frames = Recognizer(FrameViT(classes=6, **sizes), per_frame=True)
    assert load_weights(frames.net, tmp_path / "dino.pth") == ("head.bias", "head.weight")
    assert same(frames.net, weights, but=("head.bias", "head.weight"))

    video = RECOGNIZERS["vit-s-video"](
        classes=6, frames=4, size=16, tubelet=(2, 8, 8), width=24, depth=2, attention_heads=3
    )
    fresh = load_weights(video.net, tmp_path / "dino.pth")
    assert set(fresh) == {"fc_norm.bias", "fc_norm.weight", "head.bias", "head.weight"}
    patch = video.net.patch_embed.proj.weight
    assert torch.allclose(patch.sum(dim=2), weights["patch_embed.proj.weight"], atol=1e-6)
    assert torch.equal(video.net.blocks[1].attn.qkv.weight, weights["blocks.1.attn.qkv.weight"])


@pytest.mark.parametrize("positions", [None, (1, 0, 24), (17, 24), (2, 16, 24)])
def test_an_image_network_without_positions_is_no_video_ones(
    tmp_path: Path, positions: tuple[int, ...] | None
) -> None:
    """As Swin's, whose other names are those of a ViT."""
    weights = published(FrameViT(classes=0, size=32, patch=8, width=24, depth=2, heads=3))
    del weights["pos_embed"]
    if positions is not None:
        weights["pos_embed"] = torch.zeros(positions)
    save_file(weights, tmp_path / "swin.safetensors")
    video = RECOGNIZERS["vit-s-video"](
        classes=6, frames=4, size=16, tubelet=(2, 8, 8), width=24, depth=2, attention_heads=3
    )
    with pytest.raises(UsageError, match="is not for this network"):
        load_weights(video.net, tmp_path / "swin.safetensors")


def test_rgb_weights_serve_flow_by_their_mean(tmp_path: Path) -> None:
    weights = published(RECOGNIZERS["tiny-3d"](classes=4).net)
    save_file(weights, tmp_path / "rgb.safetensors")
    net = RECOGNIZERS["tiny-flow"](classes=4)
    load_weights(net.net, tmp_path / "rgb.safetensors")
    first = net.net.convs[0].weight
    assert torch.allclose(first[:, 0], weights["convs.0.weight"].mean(dim=1))
    assert torch.equal(first[:, 0], first[:, 1])


def test_one_x3d_fills_both_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ResNet3dConfig(
        **{
            **vars(X3D),
            "depths": (1, 1, 1, 1),
            "widths": (24,) * 4,
            "inner": (8,) * 4,
            "project": 16,
        }
    )
    monkeypatch.setitem(NETWORKS_3D, "small", lambda **sizes: ResNet3d(small, **sizes))
    weights = published(ResNet3d(small, classes=9))
    torch.save({"model_state": weights}, tmp_path / "x3d.pyth")
    net = TwoStream("small", classes=4)
    fresh = load_weights(net, tmp_path / "x3d.pyth")
    assert "head.weight" in fresh and "flowstream.blocks.5.proj.weight" in fresh
    inner = "blocks.1.res_blocks.0.branch2.conv_a.weight"
    for stream in (net.rgbstream, net.flowstream):
        assert torch.equal(stream.state_dict()[inner], weights[inner])
    space = net.flowstream.state_dict()["blocks.0.conv.conv_t.weight"]
    assert torch.allclose(space[:, 1], weights["blocks.0.conv.conv_t.weight"].mean(dim=1))


def test_a_file_that_would_run_code_is_refused_and_does_not(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("evil.pth", "plain.pth"):
        with pytest.raises(UsageError, match="no file of tensors alone"):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"hi\n", b"\x80\x02K"])
def test_a_file_of_something_else_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match="no file of tensors alone"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied"),
        (OSError(5, "Input/output error"), "Input/output error"),
        (MemoryError(), "memory is too short"),
    ],
)
def test_a_file_that_cannot_be_read_is_not_said_to_be_of_something_else(
    name: str, fault: Exception, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise fault

    monkeypatch.setattr(torch, "load", fail)
    monkeypatch.setattr("safetensors.torch.load_file", fail)
    (tmp_path / name).touch()
    with pytest.raises(MasqueradeError, match=rf"{name} cannot be read: {said}\.$"):
        read_weights(tmp_path / name)


def test_a_folder_is_not_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder; name a file of weights"):
        read_weights(tmp_path)


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no weights file none\.pth"):
        read_weights(tmp_path / "none.pth")

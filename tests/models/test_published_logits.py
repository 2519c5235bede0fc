"""Files in torchvision's naming give the logits of torchvision's networks, mean and all.

The reference is written out here from the papers' figures, in functions of torch alone; torchvision
itself is compared where it is installed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.models.published_weights import load_weights
from masquerade.models.recognizers import RECOGNIZERS, build_recognizer

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
CLASSES = 7
DEPTHS = {"resnet-18": (2, 2, 2, 2), "resnet-50": (3, 4, 6, 3), "r3d-18": (2, 2, 2, 2)}
WIDTHS = (64, 128, 256, 512)
Weights = dict[str, Tensor]


def add(weights: Weights, conv: str, norm: str, shape: tuple[int, ...]) -> None:
    """A convolution of this shape, and the batch norm behind it."""
    draw = torch.Generator().manual_seed(len(weights))
    scale = math.sqrt(2 / math.prod(shape[1:]))
    weights[f"{conv}.weight"] = torch.randn(shape, generator=draw) * scale
    for name, low in (("weight", 0.5), ("bias", -0.2), ("running_mean", -0.2)):
        weights[f"{norm}.{name}"] = low + 0.4 * torch.rand(shape[0], generator=draw)
    weights[f"{norm}.running_var"] = 0.8 + 0.4 * torch.rand(shape[0], generator=draw)
    weights[f"{norm}.num_batches_tracked"] = torch.tensor(3)


def published(name: str) -> Weights:
    """Random weights in the names that torchvision publishes for a ResNet-18, -50 or R3D-18."""
    video, deep = name == "r3d-18", name == "resnet-50"
    time, last = ((3,), 512) if video else ((), 2048 if deep else 512)
    made: Weights = {}
    stem = ("stem.0", "stem.1") if video else ("conv1", "bn1")
    add(made, *stem, (64, 3, *time, 7, 7))
    came = 64
    for stage, (depth, width) in enumerate(zip(DEPTHS[name], WIDTHS, strict=True), 1):
        for number in range(depth):
            at, out = f"layer{stage}.{number}", 4 * width if deep else width
            sizes = [(width, came, 1), (width, width, 3), (out, width, 1)] if deep else []
            for i, (a, b, k) in enumerate(sizes or [(width, came, 3), (width, width, 3)], 1):
                conv = (f"{at}.conv{i}.0", f"{at}.conv{i}.1")
                conv = conv if video else (f"{at}.conv{i}", f"{at}.bn{i}")
                add(made, *conv, (a, b, *time, k, k))
            if number == 0 and (out != came or stage > 1):
                ones = (1,) * (3 if video else 2)
                add(made, f"{at}.downsample.0", f"{at}.downsample.1", (out, came, *ones))
            came = out
    made["fc.weight"] = torch.randn((CLASSES, last), generator=torch.Generator().manual_seed(5)) / 9
    made["fc.bias"] = torch.arange(CLASSES) / 10
    return made


def norm(w: Mapping[str, Tensor], name: str, x: Tensor) -> Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    return F.batch_norm(x, *(w[f"{name}.{each}"] for each in names))


def reference(name: str, w: Mapping[str, Tensor], clip: Tensor) -> Tensor:
    """Logits of pixels (B, 3, T, H, W) in [0, 1], frame by frame if the network reads frames."""
    video, deep = name == "r3d-18", name == "resnet-50"
    conv = F.conv3d if video else F.conv2d
    mean, std = KINETICS if video else IMAGENET
    x = torch.stack([(clip[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    if video:
        x = conv(x, w["stem.0.weight"], stride=(1, 2, 2), padding=(1, 3, 3))
        x = F.relu(norm(w, "stem.1", x))
    else:
        x = torch.cat([x[:, :, t] for t in range(x.shape[2])])  # (T * B, 3, H, W)
        x = F.relu(norm(w, "bn1", conv(x, w["conv1.weight"], stride=2, padding=3)))
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, depth in enumerate(DEPTHS[name], 1):
        for number in range(depth):
            at, step = f"layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            out, strided = x, 2 if deep else 1  # the middle convolution of a bottleneck strides
            for i in range(1, 4 if deep else 3):
                names = (f"{at}.conv{i}.0", f"{at}.conv{i}.1")
                names = names if video else (f"{at}.conv{i}", f"{at}.bn{i}")
                kernel = w[f"{names[0]}.weight"]
                stride = step if i == strided else 1
                out = norm(w, names[1], conv(out, kernel, None, stride, kernel.shape[-1] // 2))
                out = F.relu(out) if i < (3 if deep else 2) else out
            if f"{at}.downsample.0.weight" in w:
                shortcut = conv(x, w[f"{at}.downsample.0.weight"], stride=step)
                x = norm(w, f"{at}.downsample.1", shortcut)
            x = F.relu(out + x)
    logits = x.flatten(2).mean(dim=2) @ w["fc.weight"].T + w["fc.bias"]
    return logits if video else logits.reshape(clip.shape[2], len(clip), -1).mean(dim=0)


@pytest.mark.parametrize("name", list(DEPTHS))
def test_a_published_file_gives_the_published_networks_logits(name: str, tmp_path: Path) -> None:
    weights = published(name)
    torch.save(weights, tmp_path / "w.pth")
    net = RECOGNIZERS[name](classes=CLASSES).eval()
    assert load_weights(net.net, tmp_path / "w.pth") == ()
    clip = torch.rand((2, 3, 4, 48, 48), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = reference(name, weights, clip), net(clip)
    assert expected.std() > 0.1 and torch.allclose(found, expected, rtol=1e-3, atol=1e-3)
    # and back: what our network saves has the published names, each with its value
    saved = net.net.state_dict()
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[key], weights[key]) for key in weights)


@pytest.mark.parametrize("name", list(DEPTHS))
def test_torchvisions_own_networks_give_the_same_logits(name: str, tmp_path: Path) -> None:
    models = pytest.importorskip("torchvision").models
    builder = {"resnet-18": "resnet18", "resnet-50": "resnet50"}.get(name)
    make = getattr(models, builder) if builder else models.video.r3d_18
    theirs = make(weights=None, num_classes=CLASSES).eval()
    theirs.load_state_dict(published(name))
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    net = RECOGNIZERS[name](classes=CLASSES).eval()
    load_weights(net.net, tmp_path / "w.pth")
    clip = torch.rand((2, 3, 4, 48, 48), generator=torch.Generator().manual_seed(1))
    own = KINETICS if name == "r3d-18" else IMAGENET
    mean, std = (torch.tensor(each).reshape(3, 1, 1, 1) for each in own)
    pixels = (clip - mean) / std
    with torch.no_grad():
        logits = theirs(pixels if name == "r3d-18" else pixels[:, :, 0])
        assert torch.allclose(net(clip if name == "r3d-18" else clip[:, :, :1]), logits, atol=1e-3)


@pytest.mark.parametrize("modality", ["frames", "motion"])
def test_what_our_recognizers_save_is_read_back(modality: str, tmp_path: Path) -> None:
    """Theirs is the network's name before each weight, and a modality's once more."""
    sizes = {"heads": {"action": 3}, "modality": modality, "widths": (4, 4)}
    torch.manual_seed(1)
    saved, fresh = build_recognizer("tiny-3d", **sizes), build_recognizer("tiny-3d", **sizes)
    torch.save(saved.state_dict(), tmp_path / "own.weights")
    inner = fresh.net.net if modality == "motion" else fresh.net
    assert load_weights(inner, tmp_path / "own.weights") == ()
    for name, value in saved.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value)

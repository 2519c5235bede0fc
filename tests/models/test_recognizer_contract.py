"""One contract for every recognizer of the table, on the clips its papers feed it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from masquerade.errors import UsageError
from masquerade.models.recognizers import RECOGNIZERS, Recognizer, build_recognizer
from masquerade.models.recognizers.recognizer import FLOW, IMAGENET, KINETICS, Normalization

PER_FRAME = [name for name, made in RECOGNIZERS.items() if made.per_frame]
RUN = ("tiny-2d", "tiny-3d", "tiny-flow")
"""Small enough to be run; the others are built and traced on the meta device."""


class Echo(nn.Module):
    """Gives back the mean of each channel, which shows what a network is fed."""

    width = 3

    def pooled(self, clip: Tensor) -> Tensor:
        return clip.flatten(2).mean(dim=2)

    def forward(self, clip: Tensor) -> Tensor:
        return self.pooled(clip)


def clip_for(name: str, frames: int | None = None) -> Tensor:
    sampling, channels = RECOGNIZERS[name].sampling, RECOGNIZERS[name].channels
    width = 2 if RECOGNIZERS[name].poses else sampling.size  # of people, or pixels
    return torch.empty(2, channels, frames or sampling.frames, sampling.size, width)


def test_the_published_names() -> None:
    frame = "tiny-2d resnet-18 resnet-50 resnet-101 mobilenet-v1 mobilenet-v2 vit-b-16 vit-b-32"
    assert " ".join(PER_FRAME) == frame
    clip = (
        "tiny-3d tiny-flow c2d-r50 i3d-r50 slow-r50 r2plus1d-r50 csn-r101 x3d-s x3d-m x3d-l"
        " slowfast-r50 r3d-18 r3d-18-spact r2plus1d-18 e2s-x3d-s e2s-x3d-m e2s-x3d-l"
        " mvit-b vit-s-video vit-ti-video st-gcn"
    )
    assert set(RECOGNIZERS) == {*frame.split(), *clip.split()}


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_logits_and_heads(name: str) -> None:
    with torch.device("meta"):
        net = RECOGNIZERS[name](heads={"action": 6, "pair": 20, "red": 1}).eval()
        out = net(clip_for(name))
    assert {label: tuple(logits.shape) for label, logits in out.items()} == {
        "action": (2, 6),
        "pair": (2, 20),
        "red": (2, 1),
    }


@pytest.mark.parametrize("name", ["tiny-3d", "resnet-18", "x3d-s", "mvit-b", "vit-ti-video"])
def test_one_label_gives_a_tensor_and_a_feature(name: str) -> None:
    with torch.device("meta"):
        net = RECOGNIZERS[name](classes=7)
        assert net(clip_for(name)).shape == (2, 7)
        assert net.embed(clip_for(name)).shape == (2, net.net.width)


@pytest.mark.parametrize("name", PER_FRAME)
def test_frame_networks_read_stills(name: str) -> None:
    with torch.device("meta"):
        assert RECOGNIZERS[name](classes=7)(clip_for(name, frames=1)).shape == (2, 7)


@pytest.mark.parametrize("name", RUN)
def test_small_ones_run_are_repeatable_and_pass_gradients_to_pixels(name: str) -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS[name](classes=4).eval()
    clip = torch.rand(2, RECOGNIZERS[name].channels, 4, 32, 40, requires_grad=True)
    out = net(clip)
    assert out.isfinite().all() and torch.equal(out, net(clip))
    out.square().sum().backward()
    assert clip.grad is not None and (clip.grad.abs().sum(dim=(1, 2, 3, 4)) > 0).all()


def test_classes_or_heads_exactly_one() -> None:
    for arguments in ({}, {"classes": 2, "heads": {"a": 2}}, {"classes": 0}, {"heads": {}}):
        with pytest.raises(UsageError):
            RECOGNIZERS["tiny-3d"](**arguments)


def test_heads_are_columns_of_the_same_logits() -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-3d"](heads={"a": 3, "b": 1}).eval()
    clip = torch.rand(2, 3, 4, 32, 32)
    whole = net.net((clip - 0.45) / 0.225)
    assert torch.allclose(torch.cat(list(net(clip).values()), dim=1), whole, atol=1e-6)


def test_frames_are_averaged_whatever_their_order() -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-2d"](classes=4).eval()
    clip = torch.rand(2, 3, 5, 32, 32)
    whole = net(clip)
    assert torch.allclose(whole, net(clip.flip(2)), atol=1e-5)
    apart = torch.stack([net(clip[:, :, at : at + 1]) for at in range(5)])
    assert torch.allclose(whole, apart.mean(dim=0), atol=1e-5)


@pytest.mark.parametrize(
    ("constants", "channels", "expected"),
    [
        (IMAGENET, 3, IMAGENET),
        (IMAGENET, 2, FLOW),
        (
            KINETICS,
            5,
            Normalization((0.45, 0.45, 0.45, 0.5, 0.5), (0.225, 0.225, 0.225, 0.25, 0.25)),
        ),
        (KINETICS, 1, Normalization((0.5,), (0.25,))),
    ],
)
def test_normalizations_for_other_channels(
    constants: Normalization, channels: int, expected: Normalization
) -> None:
    assert constants.for_channels(channels) == expected


def test_pixels_are_standardised_inside() -> None:
    net = Recognizer(Echo(), normalization=IMAGENET)
    mean = torch.tensor(IMAGENET.mean).reshape(1, 3, 1, 1, 1)
    clip = mean.expand(2, 3, 4, 8, 8) + torch.tensor(IMAGENET.std).reshape(1, 3, 1, 1, 1)
    assert torch.allclose(net(clip), torch.ones(2, 3), atol=1e-5)
    assert not net.state_dict()  # constants stay out of checkpoints


def test_frames_are_resized_for_networks_of_one_size() -> None:
    seen = []
    net = Recognizer(Echo(), normalization=Normalization((0,) * 3, (1,) * 3), size=8)
    net.net.register_forward_hook(lambda module, given, out: seen.append(given[0].shape))
    ramp = torch.linspace(0, 1, 30).expand(2, 3, 4, 20, 30)
    assert torch.allclose(net(ramp), torch.full((2, 3), 0.5), atol=1e-2)
    assert seen == [(2, 3, 4, 8, 8)]


def test_wrong_channels_are_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"reads clips \(B, 2, T, H, W\)"):
        RECOGNIZERS["tiny-flow"](classes=2)(torch.rand(1, 3, 4, 32, 32))


def test_a_built_recognizer_is_the_tables_with_the_same_draws() -> None:
    torch.manual_seed(0)
    ours = build_recognizer("tiny-3d", heads={"a": 2}, modality="both", widths=(4, 8))
    torch.manual_seed(0)
    table = RECOGNIZERS["tiny-3d"](heads={"a": 2}, in_channels=4, widths=(4, 8))
    for name, value in table.state_dict().items():
        assert torch.equal(ours.state_dict()[f"net.{name}"], value)
    assert isinstance(build_recognizer("tiny-2d", heads={"a": 2}), Recognizer)


@pytest.mark.parametrize(
    ("name", "modality", "says"),
    [
        ("none", "frames", "no network 'none'"),
        ("tiny-3d", "none", "no modality 'none'"),
        ("tiny-flow", "motion", "reads optical flow"),
        ("st-gcn", "frames", "reads landmarks of people, not frames"),
        ("tiny-3d", "poses", "reads pixels, not poses"),
    ],
)
def test_what_cannot_be_built_is_refused(name: str, modality: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        build_recognizer(name, heads={"a": 2}, modality=modality)


def test_only_networks_of_tubelets_look_at_the_mask() -> None:
    torch.manual_seed(0)
    video = RECOGNIZERS["vit-ti-video"](
        classes=3, frames=4, size=16, tubelet=(2, 8, 8), width=24, depth=1
    )
    nn.init.normal_(video.net.head.weight)
    clip, keep = torch.rand(2, 3, 4, 16, 16), torch.ones(2, 2, 4)
    keep[:, 1, 2] = 0
    assert not torch.equal(video(clip), video(clip, keep=keep))
    plain = RECOGNIZERS["tiny-3d"](classes=3).eval()
    assert torch.equal(plain(clip), plain(clip, keep=keep))

"""Modalities: channels and ranges, and what each of them leaves out of a clip."""

from __future__ import annotations

import pytest
import torch

from masquerade.models.recognizers import RECOGNIZERS, build_recognizer
from masquerade.models.recognizers.modalities import MODALITIES, ModalityRecognizer

FEED = {name: modality.transform for name, modality in MODALITIES.items()}
PIXELS = [name for name in MODALITIES if name != "poses"]


@pytest.mark.parametrize("name", PIXELS)
def test_modalities_have_the_channels_they_promise(name: str) -> None:
    channels, clip = MODALITIES[name].channels, torch.rand(2, 3, 4, 16, 16)
    net = ModalityRecognizer(
        RECOGNIZERS["tiny-3d"](heads={"a": 2}, in_channels=channels), modality=name
    )
    assert net.heads == {"a": 2} and net(clip)["a"].shape == (2, 2)
    shown = FEED[name](clip)
    assert shown.shape[1] == channels and shown.min() >= 0 and shown.max() <= 1
    assert FEED[name](clip[:, :, :1]).shape[:3] == (2, channels, 1)


def test_motion_is_change_and_has_no_colour() -> None:
    clip = torch.full((1, 3, 4, 4, 4), 0.5)
    assert FEED["motion"](clip).max() == 0
    clip[:, :, 2, 1, 1] += 0.1
    motion = FEED["motion"](clip)
    assert motion[0, 0, :, 1, 1].tolist() == pytest.approx([0, 0.4, 0.4])
    assert torch.equal(FEED["motion"](clip.flip(1)), motion)
    both = FEED["both"](clip)
    assert torch.equal(both[:, :3], clip[:, :, 1:]) and torch.equal(both[:, 3:], motion)


@pytest.mark.parametrize("name", PIXELS)
@pytest.mark.parametrize("frames", [2, 5, 16])
def test_modalities_take_clips_of_any_length(name: str, frames: int) -> None:
    shown = FEED[name](torch.rand(2, 3, frames, 48, 64))
    assert shown.shape[0] == 2 and shown.min() >= 0 and shown.max() <= 1


def test_flow_tells_where_a_square_goes_and_flows_lie_behind_the_frames() -> None:
    clip = torch.full((1, 3, 4, 48, 64), 0.2)
    texture = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    for at in range(4):  # two pixels a frame to the right
        clip[0, :, at, 16:32, 16 + 2 * at : 32 + 2 * at] = 0.4 + 0.6 * texture
    flow = FEED["flow"](clip)
    right, down = flow[0, :, 1, 20:28, 22:30].mean(dim=(1, 2))
    assert right == pytest.approx(0.5 + 2 / (0.2 * 64), abs=0.06)  # a tenth of the width is 1
    assert down == pytest.approx(0.5, abs=0.06) and flow[0, :, 1, :6].sub(0.5).abs().max() < 0.05
    both = FEED["frames and flow"](clip)
    assert torch.equal(both[:, :3], clip) and torch.equal(both[:, 3:, :3], flow)
    assert torch.equal(both[:, 3:, 3], flow[:, :, 2])  # a flow fewer than frames


def test_networks_of_flow_read_rgb_clips() -> None:
    for name, modality in (("tiny-flow", "flow"), ("e2s-x3d-s", "frames and flow")):
        assert RECOGNIZERS[name].modality == modality
    net = build_recognizer("tiny-flow", heads={"a": 2}, modality="flow").eval()
    clip = torch.rand(2, 3, 4, 32, 32)
    still = clip[:, :, :1].expand(-1, -1, 4, -1, -1)
    with torch.no_grad():
        assert net(clip)["a"].shape == (2, 2)
        assert torch.allclose(net(still)["a"][0], net(still.flip(0))["a"][0], atol=0.05)
    two = build_recognizer("e2s-x3d-s", heads={"a": 2}, modality="frames and flow").eval()
    with torch.no_grad():
        assert two(torch.rand(1, 3, 4, 32, 32))["a"].shape == (1, 2)


def test_the_background_is_the_top_twelfth_and_a_still_clip_has_no_motion() -> None:
    clip = torch.rand(1, 3, 16, 48, 64)
    below = clip.clone()
    below[:, :, :, 4:] = 0
    assert torch.equal(FEED["background"](clip), FEED["background"](below))
    still = torch.rand(1, 3, 1, 48, 64).expand(1, 3, 16, 48, 64)
    assert not FEED["motion"](still).any()

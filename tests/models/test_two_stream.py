"""Flow as clips, the two-stream network, and tiny networks that learn from scratch in seconds."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from masquerade.models.recognizers import RECOGNIZERS
from masquerade.models.recognizers.two_stream import flow_to_clip, with_flow


def test_flow_is_measured_against_the_frame() -> None:
    flow = torch.zeros(1, 2, 1, 50, 100)
    flow[0, 0], flow[0, 1, :, :25] = 5, -2.5  # both a twentieth of the frame
    clip = flow_to_clip(flow)
    assert torch.allclose(clip[0, 0], torch.tensor(0.75))
    assert torch.allclose(clip[0, 1, :, :25], torch.tensor(0.25))
    assert torch.allclose(clip[0, 1, :, 25:], torch.tensor(0.5))
    assert flow_to_clip(100 * flow).max() == 1 and flow_to_clip(100 * flow).min() == 0


def test_flow_joins_rgb_and_its_last_frame_is_repeated() -> None:
    clip, flow = torch.rand(2, 3, 4, 8, 8), torch.rand(2, 2, 3, 8, 8)
    both = with_flow(clip, flow)
    assert torch.equal(both[:, :3], clip)
    assert torch.equal(both[:, 3:, :3], flow_to_clip(flow))
    assert torch.equal(both[:, 3:, 3], both[:, 3:, 2])


def test_two_streams_start_as_the_mean_of_both() -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS["e2s-x3d-s"](classes=3).eval()
    clip = torch.rand(1, 5, 4, 32, 32)
    rgb, flow = (clip[:, :3] - 0.45) / 0.225, (clip[:, 3:] - 0.5) / 0.25
    expected = (net.net.rgbstream(rgb) + net.net.flowstream(flow)) / 2
    assert torch.allclose(net(clip), expected, atol=1e-5)
    assert expected.abs().max() > 0


def moving_dots(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A red or green dot that moves left, right, up or down from a random place, over noise."""
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator)

    direction, hue, x, y = draw(4), draw(2), 8 + draw(8), 8 + draw(8)
    clip = torch.rand(count, 3, 6, 24, 24, generator=generator) * 0.3
    steps = torch.tensor([(-1, 0), (1, 0), (0, -1), (0, 1)])[direction]
    for at in range(count):
        for t in range(6):
            column, row = (int(x[at] + t * steps[at, 0]), int(y[at] + t * steps[at, 1]))
            clip[at, hue[at], t, row - 2 : row + 2, column - 2 : column + 2] = 1
    return clip, direction, hue


def test_tiny_3d_learns_motion_and_colour_at_once_from_scratch() -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-3d"](heads={"direction": 4, "hue": 2})
    clip, direction, hue = moving_dots(256, seed=1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for step in range(64):
        part = slice(32 * (step % 8), 32 * (step % 8) + 32)
        out = net(clip[part])
        loss = F.cross_entropy(out["direction"], direction[part]) + F.cross_entropy(
            out["hue"], hue[part]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    clip, direction, hue = moving_dots(128, seed=2)
    with torch.no_grad():
        out = net.eval()(clip)
    assert (out["direction"].argmax(dim=1) == direction).float().mean() > 0.9
    assert (out["hue"].argmax(dim=1) == hue).float().mean() > 0.95


def test_a_frame_network_reads_the_colour_but_not_the_direction() -> None:
    torch.manual_seed(0)
    net = RECOGNIZERS["tiny-2d"](heads={"direction": 4, "hue": 2})
    clip, direction, hue = moving_dots(128, seed=1)
    optimiser = torch.optim.AdamW(net.parameters(), lr=4e-3)
    for step in range(8):
        part = slice(32 * (step % 4), 32 * (step % 4) + 32)
        out = net(clip[part, :, 2:3])
        loss = F.cross_entropy(out["direction"], direction[part]) + F.cross_entropy(
            out["hue"], hue[part]
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    clip, direction, hue = moving_dots(128, seed=2)
    with torch.no_grad():
        out = net(clip[:, :, 2:3])
    assert (out["hue"].argmax(dim=1) == hue).float().mean() > 0.95
    assert (out["direction"].argmax(dim=1) == direction).float().mean() < 0.5

"""The thresholded frame difference: white where the grey level changed, black elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from masquerade.errors import UsageError
from masquerade.methods.frame_difference import BLUE, GREEN, RED, WHITE, FrameDifference


def moving(frames: int = 4) -> torch.Tensor:
    """(1, 3, T, 32, 32): a bright square steps to the right by 2 over grey."""
    clip = torch.full((1, 3, frames, 32, 32), 0.4)
    for t in range(frames):
        clip[..., t, 10:16, 4 + 2 * t : 10 + 2 * t] = 0.9
    return clip


def test_the_edges_of_motion_are_white_and_the_rest_black() -> None:
    out = FrameDifference()(moving()).clip
    assert set(out.unique().tolist()) == {0.0, 1.0}
    for t in (1, 2, 3):
        white = out[0, 0, t].nonzero()
        assert {int(x) for x in white[:, 1]} == {2 + 2 * t, 3 + 2 * t, 8 + 2 * t, 9 + 2 * t}
        assert {int(y) for y in white[:, 0]} == set(range(10, 16))


def test_first_frame_is_black_and_state_continues() -> None:
    method, clip = FrameDifference(), moving()
    assert not method(clip).clip[:, :, 0].any()
    state = method(clip[:, :, :2], state=method.init_state()).state
    assert method(clip[:, :, 2:], state=state).clip[:, :, 0].any()


@pytest.mark.parametrize(("step", "white"), [(0.05, False), (0.07, True)])
def test_changes_below_the_threshold_are_black(step: float, white: bool) -> None:
    clip = torch.full((1, 3, 2, 16, 16), 0.5)
    clip[:, :, 1, 4:8, 4:8] += step
    assert bool(FrameDifference(change=0.06)(clip).clip.any()) is white


def test_colour_leaves_no_trace() -> None:
    """Two colours of one grey: swapping them is no change."""
    clip = torch.zeros(1, 3, 2, 8, 8)
    clip[:, 0, 0], clip[:, 1, 1] = 150 / 255, 77 / 255
    assert not FrameDifference(change=0.0)(clip).clip.any()


def test_a_cut_or_a_flash_does_not_show_the_scene() -> None:
    scene = torch.rand(1, 3, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    clip = torch.cat([torch.zeros(1, 3, 1, 32, 32), scene, scene], dim=2)
    assert not FrameDifference().forward(clip).clip.any()
    assert FrameDifference(most=1.0).forward(clip).clip.any()


def test_bytes_continue_over_windows_as_floats_do() -> None:
    method = FrameDifference()
    frames = (moving(6)[0].permute(1, 2, 3, 0) * 255).round().byte().numpy()
    whole, _ = method.on_bytes(frames, state=method.init_state())
    first, state = method.on_bytes(frames[:3], state=method.init_state())
    second, _ = method.on_bytes(frames[3:], state=state)
    assert np.array_equal(np.concatenate([first, second]), whole)
    assert np.array_equal(method.forward_on_pixels(frames, state=method.init_state())[0], whole)


def test_grey_levels_of_bytes_are_weighted_sums_in_full() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (1, 20, 30, 3), np.uint8)
    frames[0, 0] = 255
    _, state = FrameDifference().on_bytes(frames)
    assert np.array_equal(state, frames.astype(np.int32) @ np.array([RED, GREEN, BLUE]))
    assert state.dtype == np.int32 and state.max() == WHITE


@pytest.mark.parametrize("wrong", [{"change": -0.1}, {"change": 1.0}, {"most": 0.0}])
def test_settings_must_make_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(wrong))} must be"):
        FrameDifference(**wrong)

"""`gait_jitter` perturbs motion and outline, uncovers nothing, and works window by window."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.datasets.mimes import Mimes
from masquerade.errors import UsageError
from masquerade.methods.selective import Selective, gait_jitter
from masquerade.methods.selective.gait_jitter import (
    History,
    history_length,
    perturb_flow,
    push,
    widen_outline,
)
from masquerade.models.optical_flow import dis_flow, grey
from masquerade.pipeline.config import PipelineConfig, with_default_regions


def walker(size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A walking person, (T, H, W, 3), and the mask, (T, H, W), 255 inside."""
    mimes = Mimes(size=size, frames=14, clips=8, people=4, actions=("walk", "march"))
    clip = next(c for c in map(mimes.clip, range(8)) if c.labels["action"] == "walk")
    frames = np.ascontiguousarray(clip.clip.transpose(1, 2, 3, 0))
    return frames, clip.person.astype(np.uint8) * 255


@pytest.mark.parametrize("jitter", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("hidden", ["everywhere", "a person"])
def test_window_by_window_equals_one_pass(jitter: float, hidden: str) -> None:
    frames, mask = walker()
    clip = torch.tensor(frames).permute(3, 0, 1, 2)[None] / 255
    region = None if hidden == "everywhere" else torch.tensor(mask)[None, None] / 255
    method = Selective(gait_jitter=jitter)
    whole = method(clip, mask=region, state=method.init_state(seed=5))
    state, clips, hiddens = method.init_state(seed=5), [], []
    for at in (slice(0, 1), slice(1, 6), slice(6, 14)):
        part = None if region is None else region[:, :, at]
        out = method(clip[:, :, at], mask=part, state=state)
        state = out.state
        clips.append(out.clip)
        hiddens.append(out.hidden)
    assert torch.equal(torch.cat(clips, 2), whole.clip)
    assert whole.hidden is not None and torch.equal(torch.cat(hiddens, 2), whole.hidden)
    given = None if region is None else mask
    fast, _ = method.on_bytes(frames, mask=given, state=method.init_state(seed=5))
    slow, _ = method.forward_on_pixels(frames, mask=given, state=method.init_state(seed=5))
    assert np.abs(fast.astype(int) - slow).max() <= 1


@settings(max_examples=12)
@given(seed=st.integers(0, 2**31), jitter=st.sampled_from([0.2, 1.0, 5.0]))
def test_region_stays_covered_and_only_the_widened_outline_changes(
    seed: int, jitter: float
) -> None:
    frames, mask = walker()
    clip = torch.tensor(frames).permute(3, 0, 1, 2)[None] / 255
    region = torch.tensor(mask)[None, None] / 255
    method = Selective(gait_jitter=jitter)
    out = method(clip, mask=region, state=method.init_state(seed=seed))
    assert out.hidden is not None and (out.hidden >= region).all()
    untouched = (out.hidden == 0).expand_as(clip)
    assert torch.equal(out.clip[untouched], clip[untouched])
    assert (out.hidden > 0).sum() > (region > 0).sum()


def test_hidden_pixels_do_not_depend_on_colours() -> None:
    """Same outlines, same flow, other colours: the same noise, bit for bit."""
    frames, mask = walker()
    tinted = np.stack([_tinted(frame) for frame in frames])  # flow looks at grey: it stays
    assert (tinted != frames).any() and np.array_equal(grey(tinted[0]), grey(frames[0]))
    method = Selective(gait_jitter=1.0)
    outs = [
        method.on_bytes(x, mask=mask, state=method.init_state(seed=3))[0][mask > 0]
        for x in (frames, tinted)
    ]
    assert np.array_equal(*outs)


def _tinted(frame: np.ndarray) -> np.ndarray:
    """Up to three levels less blue, where the grey level stays the same."""
    for less in (3, 2, 1):
        other = frame.copy()
        other[..., 2] = np.maximum(frame[..., 2].astype(int) - less, 0)
        same = grey(other) == grey(frame)
        frame = np.where(same[..., None], other, frame)
    return frame


def test_motion_is_perturbed_differently_in_every_video() -> None:
    frames, mask = walker()
    flow = np.stack([dis_flow(grey(now), grey(before)) for before, now in pairwise(frames)])
    whole = slice(0, 64), slice(0, 64)
    runs = []
    for key in (b"one", b"two"):
        history, steps = History(), []
        for t in range(len(flow)):
            history = push(history, flow[t], whole, mask[t + 1], 1.0)
            steps.append(perturb_flow(history, whole, key, t, 1.0))
        runs.append(np.stack(steps)[4:][mask[5:] > 0])
    raw = flow[4:][mask[5:] > 0]
    for one, two in ((raw, runs[0]), (raw, runs[1]), (*runs,)):
        off = np.linalg.norm(one - two, axis=-1).mean() / np.linalg.norm(raw, axis=-1).mean()
        assert 0.15 < off < 1.6  # another motion, of the same order


@pytest.mark.parametrize("strength", [0.1, 1.0, 100.0])
def test_history_is_bounded_and_the_outline_only_grows(strength: float) -> None:
    _, mask = walker()
    whole = slice(0, 64), slice(0, 64)
    history, still = History(), np.zeros((64, 64, 2), np.float32)
    for t in range(40):
        outline = mask[t % 14]
        history = push(history, still, whole, outline, strength)
        assert len(history.flows) == len(history.outlines) <= history_length(strength) + 1 <= 13
        assert (widen_outline(history, b"key", t, strength)[outline > 0] == 255).all()
        assert not perturb_flow(history, whole, b"key", t, strength).any()


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_every_step_is_a_number(strength: float) -> None:
    """Where the length of a step is drawn beyond what a number can be."""
    whole, history = (slice(0, 64), slice(0, 64)), History()
    for t in range(20):
        flow = np.full((64, 64, 2), 3, np.float32)
        history = push(history, flow, whole, np.full((64, 64), 255, np.uint8), strength)
        for key in (b"one", b"two", b"three"):
            step = perturb_flow(history, whole, key, t, strength)
            assert np.isfinite(step).all() and np.abs(step).max() < 3000


def test_frames_without_anybody_cost_no_picture_of_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []
    for name in ("remap", "pixel_grid"):
        monkeypatch.setattr(gait_jitter, name, lambda *given, **_: calls.append(given))
    history = History()
    for t in range(20):
        history = push(history, None, None, np.zeros((64, 96), np.uint8), 1.0)
        assert not widen_outline(history, b"key", t, 1.0).any()
    assert history.flows[0].shape == (64, 96, 2) and not calls


def test_empty_region_is_hidden_only_as_long_as_its_history() -> None:
    frames, mask = walker()
    mask[4:] = 0
    method = Selective(gait_jitter=1.0)
    out, _ = method.on_bytes(frames, mask=mask, state=method.init_state(seed=1))
    late = slice(5 + history_length(1.0), None)
    assert np.array_equal(out[late], frames[late])


def test_the_outline_is_not_shown_again_by_black_around_it() -> None:
    both = PipelineConfig(outside="black")
    with pytest.raises(UsageError, match="shows the outline that --gait-jitter widens"):
        with_default_regions(both, Selective(gait_jitter=0.5))
    assert with_default_regions(both, Selective()).outside == "black"
    assert with_default_regions(PipelineConfig(), Selective(gait_jitter=0.5)).outside == "keep"

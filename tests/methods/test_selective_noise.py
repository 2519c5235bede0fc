"""Advected noise stays white under any flow and follows a constant one (Ilic et al., eq. 4)."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masquerade.methods.selective import Selective
from masquerade.methods.selective.noise import (
    Draw,
    NoiseField,
    Part,
    advect,
    new_field,
    uniform,
    warp_once,
)
from masquerade.models.optical_flow import pixel_grid, remap

SIZE = 48
WHOLE = (slice(0, SIZE), slice(0, SIZE))


def flow_of(motion: str, frame: int) -> np.ndarray:
    """(SIZE, SIZE, 2) of a motion of the whole frame."""
    here = pixel_grid(SIZE, SIZE)
    centred = here - SIZE / 2
    turn = np.array([[0, 0.03], [-0.03, 0]], np.float32)
    shake = np.random.default_rng(frame).normal(0, 2, 2)
    flow = {
        "travel": np.full_like(here, 1) * np.array([1.3, -0.4]),
        "zoom in": -0.03 * centred,
        "zoom out": 0.03 * centred,
        "turn": centred @ turn,
        "shake": np.zeros_like(here) + shake,
        "swell": 0.8 * np.sin(here[..., ::-1] / 5 + frame),
    }[motion]
    return flow.astype(np.float32)


def fresh(frame: int):
    return lambda count: uniform(b"key", f"fresh {frame}", count, 3)


def first() -> NoiseField:
    return new_field(uniform(b"key", "first", SIZE, SIZE, 3))


def alike(noise: np.ndarray) -> float:
    """Correlation of neighbours, the larger of across and down."""
    values = noise - noise.mean()
    across = (values[:, 1:] * values[:, :-1]).mean() / values.var()
    return float(max(across, (values[1:] * values[:-1]).mean() / values.var()))


def moved_plainly(noise: np.ndarray, part: Part, flow: np.ndarray, draw: Draw) -> np.ndarray:
    """A first step of `advect`, pixel by pixel."""
    rows, columns = part
    height, width = noise.shape[:2]
    came_from, out = {}, noise.copy()
    for y in range(rows.start, rows.stop):
        for x in range(columns.start, columns.stop):
            by = flow[y - rows.start, x - columns.start]
            came_from[y, x] = (
                int(np.rint(by[1] + np.float32(y))),
                int(np.rint(by[0] + np.float32(x))),
            )
    taken = {at: pixel for pixel, at in came_from.items()}  # by the last that wants it
    anew = []
    for pixel, at in came_from.items():
        if 0 <= at[0] < height and 0 <= at[1] < width and taken[at] == pixel:
            out[pixel] = noise[at]
        else:
            anew.append(pixel)
    on = {at for at in taken if 0 <= at[0] < height and 0 <= at[1] < width}
    anew += sorted(on - came_from.keys())
    for pixel, value in zip(anew, draw(len(anew)), strict=True):
        out[pixel] = value
    return out


@settings(max_examples=60)
@given(seed=st.integers(0, 2**31), speed=st.sampled_from([0.0, 0.4, 3.0, 90.0]))
def test_noise_moves_as_pixel_by_pixel(seed: int, speed: float) -> None:
    """Byte for byte, also out of the frame and where nothing of the flow lies on it."""
    draw = np.random.default_rng(seed)
    height, width = draw.integers(5, 24, 2)
    top, left = (int(draw.integers(0, side)) // 4 * 4 for side in (height, width))
    bottom, right = (int(draw.integers(a, b)) + 1 for a, b in ((top, height), (left, width)))
    part = slice(top, bottom), slice(left, right)
    flow = draw.normal(draw.choice([0, -60, 5]), speed, (bottom - top, right - left, 2))
    noise, flow = draw.integers(0, 256, (height, width, 3), np.uint8), flow.astype(np.float32)
    found = advect(new_field(noise), part, flow, fresh(0)).noise
    assert np.array_equal(found, moved_plainly(noise, part, flow, fresh(0)))


def test_a_small_region_of_a_large_frame_takes_little_memory() -> None:
    """No more than the frame's noise itself, of which each step makes a copy."""
    field = new_field(np.zeros((1200, 1200, 3), np.uint8))
    flow = np.ones((80, 100, 2), np.float32)
    tracemalloc.start()
    try:
        advect(field, (slice(400, 480), slice(600, 700)), flow, fresh(0))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.4 * field.noise.nbytes


@pytest.mark.parametrize("motion", ["travel", "zoom in", "zoom out", "turn", "shake", "swell"])
def test_noise_stays_white_over_hundreds_of_frames(motion: str) -> None:
    """Mean and variance within 5 % of the nominal in every frame, neighbours uncorrelated.

    The control moves an image of the noise by the same flow and draws nothing anew.
    """
    field, image = first(), first().noise
    for frame in range(300):
        flow = flow_of(motion, frame)
        field = advect(field, WHOLE, flow, fresh(frame))
        image = remap(image, pixel_grid(SIZE, SIZE) + flow, nearest=True)
        assert field.noise.mean() == pytest.approx(127.5, rel=0.05)
        assert field.noise.var() == pytest.approx((256**2 - 1) / 12, rel=0.05)
        assert alike(field.noise) < 0.06
    different = [len(np.unique(x.reshape(-1, 3), axis=0)) / SIZE**2 for x in (field.noise, image)]
    assert different[0] > 0.99
    if motion in ("zoom in", "zoom out", "swell"):
        assert different[1] < 0.6


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    speed=st.sampled_from([0.0, 0.4, 3.0, 40.0]),
    smooth=st.sampled_from([0.0, 3.0]),
    box=st.tuples(*[st.integers(0, 8) for _ in range(4)]),
)
def test_no_noise_value_is_used_twice(
    seed: int, speed: float, smooth: float, box: tuple[int, ...]
) -> None:
    """Whatever the flow and the parts, so that noise stays independent."""
    rng = np.random.default_rng(seed)
    names = iter(range(10**6))  # every pixel ever drawn has a number of its own

    def draw(count: int) -> np.ndarray:
        numbers = np.array([next(names) for _ in range(count)], np.uint32)
        return numbers.view(np.uint8).reshape(-1, 4)[:, :3]

    field = new_field(draw(20 * 24).reshape(20, 24, 3))
    for step in range(6):
        top, left = (box[0] // 2 + step) % 3 * 4, (box[1] + step) % 4 * 4  # in whole blocks
        part = slice(top, top + 2 + box[2]), slice(left, left + 2 + box[3])
        flow = rng.normal(0, 1, (2 + box[2], 2 + box[3], 2)).astype(np.float32)
        if smooth:
            flow = cv2.GaussianBlur(flow, (0, 0), smooth)
        field = advect(field, part, speed * flow, draw)
        assert len(np.unique(field.noise.reshape(-1, 3), axis=0)) == 20 * 24
        assert np.abs(field.residual).max() <= 0.5


def test_constant_flow_moves_the_noise_exactly() -> None:
    """Flow (u, v) = (3, -2) at every pixel of every frame."""
    flow = np.full((SIZE, SIZE, 2), (3, -2), np.float32)
    fields = [first()]
    for frame in range(3):
        fields.append(advect(fields[-1], WHOLE, flow, fresh(frame)))
    for before, after in pairwise(fields):
        moved = np.roll(before.noise, (2, -3), (0, 1))  # out[y, x] = in[y - 2, x + 3]
        assert np.array_equal(after.noise[2:, :-3], moved[2:, :-3])
    once = warp_once(first().noise, WHOLE, flow, "nearest")
    assert np.array_equal(once[2:, :-3], fields[1].noise[2:, :-3])


def test_fractions_of_a_pixel_add_up() -> None:
    """Ten steps of 0.3 are three pixels, everywhere in the frame, also after irregular motion."""
    field = first()
    for frame in range(50):
        field = advect(field, WHOLE, flow_of("swell", frame), fresh(frame))
    started = field
    for frame in range(10):
        flow = np.full((SIZE, SIZE, 2), (0.3, 0), np.float32)
        field = advect(field, WHOLE, flow, fresh(100 + frame))
    near = [(field.noise == np.roll(started.noise, -x, 1)).all(-1)[:, 4:-6] for x in (2, 3, 4)]
    assert np.mean(near[1]) > 0.6
    assert np.logical_or.reduce(near).mean() > 0.9


def test_state_is_not_changed_in_place() -> None:
    """State is a value: continuing twice from one state gives the same twice."""
    rng = np.random.default_rng(0)
    frames = cv2.GaussianBlur(rng.integers(0, 256, (40, 60, 12), np.uint8), (0, 0), 2)
    frames = np.moveaxis(frames.reshape(40, 60, 4, 3), 2, 0)
    for jitter in (0.0, 1.0):
        method = Selective(gait_jitter=jitter)
        _, state = method.on_bytes(frames[:2], state=method.init_state(seed=1))
        outs = [method.on_bytes(frames[2:], state=state)[0] for _ in range(2)]
        assert np.array_equal(*outs)

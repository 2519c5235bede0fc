"""Blending in bytes is what its formula says, whether or not a mask has values in between."""

import numpy as np
import pytest

from masquerade.methods.blend import blend_bytes


@pytest.mark.parametrize("values", [(0, 255), (0,), (255,), (0, 1, 128, 254, 255), (128,)])
@pytest.mark.parametrize("strided", [False, True])
def test_bytes_are_blended_by_the_mask(values: tuple[int, ...], *, strided: bool) -> None:
    rng = np.random.default_rng(0)
    frame, rewritten = rng.integers(0, 256, (2, 24, 32, 3), dtype=np.uint8)
    mask = rng.choice(np.array(values, np.uint8), (24, 32))
    if strided:  # as a part of a frame is
        part = slice(3, 21), slice(5, 30)
        frame, rewritten, mask = frame[part], rewritten[part], mask[part]
    before = frame.copy()
    exact = frame + mask[..., None] / 255 * (rewritten.astype(float) - frame)
    blended = blend_bytes(frame, rewritten, mask)
    assert blended.dtype == np.uint8
    assert np.array_equal(blended, np.floor(exact + 127 / 255).astype(np.uint8))
    assert np.array_equal(frame, before)

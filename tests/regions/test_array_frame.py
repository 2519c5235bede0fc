"""A frame in memory, whose pixels may be those of a smaller copy."""

from __future__ import annotations

import numpy as np

from masquerade.regions.region import ArrayFrame


def test_pixels_are_given_as_they_are_and_at_any_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    frame = ArrayFrame(pixels)
    assert (frame.width, frame.height) == (64, 48)
    assert frame.rgb() is frame.rgb((64, 48)) is pixels
    blocks = pixels.reshape(24, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(frame.rgb((32, 24)) - blocks).max() <= 0.5  # each pixel counts


def test_a_smaller_copy_stands_for_the_whole_frame_and_is_enlarged_smoothly() -> None:
    ramp = np.repeat(np.arange(0, 256, 4, dtype=np.uint8)[None, :, None], 48, axis=0)
    frame = ArrayFrame(np.repeat(ramp, 3, axis=2), size=(128, 96))
    assert (frame.width, frame.height) == (128, 96)
    steps = np.diff(frame.rgb()[5, :, 0].astype(int))
    assert frame.rgb().shape == (96, 128, 3) and steps.max() <= 3
    assert frame.rgb((64, 48)) is frame.pixels

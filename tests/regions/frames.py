"""Frames for the tests of region sources: arrays, and frames of the shared clips."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

DATA = Path(__file__).parents[3] / "shared" / "data"


class ArrayFrame:
    """A frame over an array, (H, W, 3); `time` in seconds, if it is known."""

    def __init__(self, pixels: np.ndarray, time: float | None = None) -> None:
        self.pixels, self.time = pixels, time

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    def rgb(self, size: tuple[int, int] | None = None) -> np.ndarray:
        if size is None or size == (self.width, self.height):
            return self.pixels
        return cv2.resize(self.pixels, size)  # linear, as the peer does it


class Counted:
    """Frames that count how many of them were read."""

    def __init__(self, pictures: Iterable[ArrayFrame]) -> None:
        self.pictures, self.taken = iter(pictures), 0

    def __iter__(self) -> Iterator[ArrayFrame]:
        return self

    def __next__(self) -> ArrayFrame:
        picture = next(self.pictures)
        self.taken += 1
        return picture


def clip(name: str, frames: int, *, step: int = 1) -> list[ArrayFrame]:
    """Frames of a shared clip; the test is skipped where the clips are not."""
    if not (DATA / name).exists():
        pytest.skip("the shared clips are not here")
    import av

    with av.open(str(DATA / name)) as container:
        decoded = enumerate(container.decode(video=0))
        taken = (f.to_ndarray(format="rgb24") for i, f in decoded if i % step == 0)
        return [ArrayFrame(pixels) for pixels, _ in zip(taken, range(frames), strict=False)]


def noise(width: int, height: int, seed: int = 0, *, low: int = 40, high: int = 200) -> np.ndarray:
    """An image with texture at several scales, (H, W, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(low, high, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def portrait() -> np.ndarray:
    """The public-domain portrait that matplotlib carries, (300, 256, 3)."""
    from matplotlib import get_data_path

    image = cv2.imread(str(Path(get_data_path()) / "sample_data" / "grace_hopper.jpg"))
    assert image is not None
    half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(half, cv2.COLOR_BGR2RGB)


FACE = (91, 30, 170, 150)  # where that portrait's face is, by eye
